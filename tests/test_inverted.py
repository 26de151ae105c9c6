"""The approximate inverted index: against its definition, against exact search, and with what it should refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_inverted import NaiveInverted, blocks_of, matrix, pruned, summary, written
from naive_sparse import check_sparse_neighbours, from_dicts, naive_search, random_rows, to_dicts
from strategies import sparse_vectors

from vsearch.errors import InvalidArgument
from vsearch.index import bitset, inverted_blocks, inverted_lists
from vsearch.index.base import Neighbours
from vsearch.index.inverted import Inverted, build
from vsearch.index.inverted_check import DTYPES
from vsearch.index.inverted_recall import SETTINGS, Effort, chosen_effort, sampled_queries
from vsearch.index.sparse_flat import SparseFlat
from vsearch.types import SearchParams, SparseRows

DEFAULT, EXACT, FULL = SearchParams(), SearchParams(exact=True), SearchParams(recall=1.0)
EASY, HARD = Effort(0.2, 1.0, 0), Effort(0.9, 0.5, 0)


def read_only(array: np.ndarray) -> np.ndarray:
    array = array.view()
    array.flags.writeable = False  # as it is when mapped from a file
    return array


def make(rows: SparseRows, knn: int = 0, threads: int = 1) -> Inverted:
    buffers = build(rows, "dot", {"knn": knn}, threads)
    arrays = (rows.offsets, rows.numbers, rows.weights)
    mapped = SparseRows(*map(read_only, arrays), rows.terms)
    return Inverted(mapped, {name: read_only(array) for name, array in buffers.items()}, "dot", threads)


def same(a: Neighbours, b: Neighbours) -> None:
    np.testing.assert_array_equal(a.ordinals, b.ordinals)
    np.testing.assert_array_equal(a.distances, b.distances)


def all_distances(rows: SparseRows, queries: SparseRows) -> list[dict[int, float]]:
    """For each query, the distances of all rows that share a term, by ordinal."""
    ordinals, distances = naive_search(rows, queries, max(len(rows), 1))
    pairs = zip(ordinals.tolist(), distances.tolist(), strict=True)
    return [{i: d for i, d in zip(row, here, strict=True) if i >= 0} for row, here in pairs]


def check_valid(found: Neighbours, expected: list[dict[int, float]], k: int, live: Any = None) -> None:
    """As many live rows that share a term with each query as there are, up to k, with their distances, sorted.

    expected: as of `all_distances`; live: bool [n], or None for all."""
    assert found.ordinals.shape == found.distances.shape == (len(expected), k)
    assert (found.ordinals.dtype, found.distances.dtype) == (np.int64, np.float32)
    for q, every in enumerate(expected):
        there = every if live is None else {i: d for i, d in every.items() if live[i]}
        count = min(k, len(there))
        got = list(zip(found.distances[q].tolist(), found.ordinals[q].tolist(), strict=True))
        assert got[count:] == [(np.inf, -1)] * (k - count)
        assert got[:count] == sorted(got[:count])
        ordinals = [ordinal for _, ordinal in got[:count]]
        assert len(set(ordinals) & there.keys()) == count
        wanted = np.array([there[i] for i in ordinals])
        np.testing.assert_allclose([d for d, _ in got[:count]], wanted, rtol=1e-5, atol=1e-36)


def some_queries(rows: SparseRows, count: int = 12) -> SparseRows:
    """Parts of rows; an empty one, one of unknown terms, one of a term of weight 0, which is shared all the same."""
    terms = rows.term_values()
    odd = [{}, {4_000_000_001: 1.0, 4_000_000_002: 0.5}, {int(terms[0]) if len(terms) else 7: 0.0}]
    parts = to_dicts(sampled_queries(rows, count)) if len(rows) else []
    return from_dicts([*parts, *odd])


def clustered(seed: int, n: int, topics: int = 200, vocabulary: int = 3_000, length: int = 40) -> SparseRows:
    """Rows about one topic or two: a topic is 80 terms, each with a weight, of which a row has some, moved a little."""
    rng, truth = np.random.default_rng(seed), np.random.default_rng(1)
    terms = (vocabulary * truth.random((topics, 80)) ** 2).astype(np.int64)
    weights = np.exp(0.8 * truth.standard_normal((topics, 80)))
    chosen = np.concatenate(
        [rng.integers(0, topics, (n, 1)).repeat(length, 1), rng.integers(0, topics, (n, length // 2))], 1
    )
    chosen[:, length:] = chosen[:, length : length + 1]
    places = (80 * rng.random(chosen.shape) ** 1.5).astype(np.int64)
    made = weights[chosen, places] * np.exp(0.3 * rng.standard_normal(chosen.shape))
    keys = np.arange(n)[:, None] * vocabulary + terms[chosen, places]
    keys, first = np.unique(keys, return_index=True)
    offsets = np.searchsorted(keys, np.arange(n + 1) * vocabulary)
    return SparseRows(offsets, (keys % vocabulary).astype(np.uint32), made.reshape(-1)[first].astype(np.float32))


def drawn(rng: Any, weights: Callable[[Any, int], np.ndarray], n: int = 400, terms: int = 200, length: int = 16) -> Any:
    rows = [np.unique((terms * rng.random(rng.integers(0, 2 * length)) ** 2).astype(int)) for _ in range(n)]
    return from_dicts([dict(zip(row.tolist(), weights(rng, len(row)).tolist(), strict=True)) for row in rows])


def repeated(rng: Any, different: int, n: int, **how: Any) -> SparseRows:
    """Few different rows, many times each."""
    rows = to_dicts(random_rows(rng, different, range(100), 10))
    return from_dicts([rows[i] for i in rng.integers(0, different, n)], **how)


def many_terms(rng: Any) -> SparseRows:
    """Over 70,000 different terms of about a million, the last one there is among them."""
    vocabulary = np.append(rng.choice(2**32 - 1, 1_000_000), 2**32 - 1)
    rows = [dict.fromkeys(rng.choice(vocabulary, 60).tolist() + [2**32 - 1], 1.0) for _ in range(1_300)]
    return from_dicts([{t: float(w) for t, w in zip(row, rng.random(len(row)) + 0.01, strict=True)} for row in rows])


SHAPES: dict[str, Callable[[Any], SparseRows]] = {
    "no rows": lambda rng: from_dicts([]),
    "one row": lambda rng: from_dicts([{3: 1.5, 9: 0.25}]),
    "empty rows only": lambda rng: from_dicts([{}] * 5),
    "some rows": lambda rng: random_rows(rng, 700, range(300), 20),
    "with a dictionary": lambda rng: random_rows(rng, 700, range(300), 20, dictionary=True),
    "float16": lambda rng: random_rows(rng, 700, range(300), 20, weights=np.float16),
    "one row many times": lambda rng: repeated(rng, 1, 300),
    "many ties": lambda rng: repeated(rng, 8, 2_000),
    "one term": lambda rng: from_dicts([{7: float(w)} for w in rng.integers(1, 50, 1_500)]),
    "a term a row": lambda rng: from_dicts([{i: 1.0} for i in range(300)]),
    "many terms": many_terms,
    "tiny weights": lambda rng: drawn(rng, lambda rng, m: np.float32(1e-30) * rng.random(m, np.float32) + 1e-32),
    "huge weights": lambda rng: drawn(rng, lambda rng, m: np.float32(9e14) * rng.random(m, np.float32) + 1e12),
    "heavy tails": lambda rng: drawn(rng, lambda rng, m: np.exp(4 * rng.standard_normal(m)).astype(np.float32)),
    "all magnitudes": lambda rng: drawn(rng, lambda rng, m: np.float32(10) ** rng.integers(-20, 15, m)),
    "whole steps": lambda rng: drawn(rng, lambda rng, m: rng.integers(1, 256, m) * np.float32(0.0173)),
    "long rows": lambda rng: from_dicts([dict.fromkeys(range(i, 65_535), 0.5 + i) for i in (0, 0, 1, 65_000)]),
}


@pytest.fixture(scope="module", params=SHAPES)
def shape(request: pytest.FixtureRequest) -> tuple[SparseRows, SparseRows, Inverted, list[dict[int, float]]]:
    """(rows, queries, reader, all distances)."""
    rows = SHAPES[request.param](np.random.default_rng(list(SHAPES).index(request.param)))
    queries = some_queries(rows)
    return rows, queries, make(rows), all_distances(rows, queries)


# Against an exact search.


@pytest.mark.parametrize("k", [1, 10, 1_000])
def test_only_rows_that_share_a_term_and_never_fewer_than_there_are(shape: Any, k: int) -> None:
    _, queries, reader, expected = shape
    check_valid(reader.search(queries, k, DEFAULT), expected, k)
    for effort in (HARD, EASY):
        check_valid(reader.search_with(effort, queries, k), expected, k)


@pytest.mark.parametrize("k", [1, 10, 1_000])
def test_exact_searches_are_exact(shape: Any, k: int) -> None:
    rows, queries, reader, _ = shape
    expected = naive_search(rows, queries, k)
    slack = 1e-5 * np.abs(np.where(np.isfinite(expected[1]), expected[1], 0)).max(axis=1, initial=0, keepdims=True)
    for params in (EXACT, FULL):
        check_sparse_neighbours(reader.search(queries, k, params), expected, slack + 1e-36)
        assert reader.width(k, params) == 0


@pytest.mark.parametrize("density", [0.0, 0.002, 0.1, 0.5, 0.97, 1.0])
def test_live_sets_of_every_density(shape: Any, density: float) -> None:
    rows, queries, reader, expected = shape
    mask = np.random.default_rng(5).random(len(rows)) < density
    live = bitset.from_mask(mask)
    for effort in (EASY, HARD):
        check_valid(reader.search_with(effort, queries, 10, live), expected, 10, mask)
    for params in (DEFAULT, EXACT):
        check_valid(reader.search(queries, 10, params, live), expected, 10, mask)


def test_a_query_finds_the_same_alone_and_among_others(shape: Any) -> None:
    _, queries, reader, _ = shape
    for k, effort in ((10, EASY), (3, HARD)):
        together = reader.search_with(effort, queries, k)
        for q in range(len(queries)):
            alone = reader.search_with(effort, queries[q : q + 1], k)
            np.testing.assert_array_equal(alone.ordinals[0], together.ordinals[q])
            np.testing.assert_array_equal(alone.distances[0], together.distances[q])


def test_the_layout_of_each_shape() -> None:
    """That the shapes above are of all kinds that there are."""
    wanted = {"many terms": "uint32", "heavy tails": "uint16", "some rows": "uint8", "tiny weights": "uint8"}
    for name, dtype in wanted.items():
        assert build(SHAPES[name](np.random.default_rng(0)), "dot", {})["groups"].dtype == dtype
    for name, exact in {"whole steps": 1, "some rows": 1, "float16": 1, "heavy tails": 0, "huge weights": 0}.items():
        assert build(SHAPES[name](np.random.default_rng(0)), "dot", {})["made"][2] == exact


@given(st.lists(sparse_vectors(), max_size=40), st.lists(sparse_vectors(), max_size=6), st.integers(1, 12), st.data())
def test_any_rows_and_queries(rows: Any, queries: Any, k: int, data: st.DataObject) -> None:
    stored, asked = from_dicts(rows), from_dicts(queries)
    ordinals = data.draw(st.none() | st.lists(st.integers(0, len(rows) - 1), unique=True) if rows else st.none())
    mask = None if ordinals is None else np.isin(np.arange(len(rows)), ordinals)
    live = None if mask is None else bitset.from_mask(mask)
    reader = make(stored, data.draw(st.sampled_from([0, 3])))
    for effort in (EASY, HARD, Effort(0.5, 0.8, 3)):
        check_valid(reader.search_with(effort, asked, k, live), all_distances(stored, asked), k, mask)
    check_sparse_neighbours(reader.search(asked, k, EXACT, live), naive_search(stored, asked, k, ordinals), 0.0)


def test_queries_with_negative_weights_are_searched_exactly() -> None:
    rows = random_rows(np.random.default_rng(2), 3_000, range(300), 20)
    reader = make(rows)
    queries = to_dicts(sampled_queries(rows, 20))
    signed = [{t: -w if t % 3 == 0 else w for t, w in query.items()} for query in queries]
    mixed = from_dicts([query for pair in zip(queries, signed, strict=True) for query in pair])
    found = reader.search_with(HARD, mixed, 10)
    same(
        reader.search_with(HARD, from_dicts(queries), 10),
        Neighbours(found.ordinals[::2], found.distances[::2], found.cost),
    )
    negative = [q for q, query in enumerate(signed) if min(query.values(), default=0) < 0]
    assert len(negative) > 10
    expected = naive_search(rows, from_dicts([signed[q] for q in negative]), 10)
    picked = Neighbours(*(array[1::2][negative] for array in found[:2]), found.cost)
    check_sparse_neighbours(picked, expected, 1e-3)


@pytest.mark.parametrize("weight", [np.inf, -np.inf, np.nan, 3e38, -3e38])
def test_weights_of_queries_that_cannot_be_do_not_reach_the_kernels(weight: float) -> None:
    rows = random_rows(np.random.default_rng(2), 500, range(50), 10)
    reader = make(rows)
    with np.errstate(all="ignore"):
        found = reader.search_with(HARD, from_dicts([{1: weight, 2: 1.0}, {1: 1.0}, {3: weight}]), 5)
    same(
        reader.search_with(HARD, from_dicts([{1: 1.0}]), 5),
        Neighbours(found.ordinals[1:2], found.distances[1:2], found.cost),
    )
    assert ((found.ordinals >= -1) & (found.ordinals < 500)).all()


# Against its definition.


@pytest.fixture(scope="module")
def small() -> tuple[SparseRows, dict[str, np.ndarray], np.ndarray]:
    """(rows with a dictionary, buffers, the rows densely); sums of these weights are exact."""
    rows = random_rows(np.random.default_rng(11), 600, range(150), 24, dictionary=True)
    buffers = build(rows, "dot", {"knn": 6})
    assert buffers["scale"].tolist() == [1 / 64]
    return rows, buffers, matrix(rows)


@pytest.mark.parametrize("cap", [10**9, 100, 7])
def test_rows_and_lists_are_pruned_as_they_should(small: Any, monkeypatch: pytest.MonkeyPatch, cap: int) -> None:
    rows, _, dense = small
    monkeypatch.setattr(inverted_lists, "LEAST_CAP", cap)
    monkeypatch.setattr(inverted_lists, "CAP_ROOT", 0.0)
    expected = pruned(dense, cap)
    assert max(map(len, expected)) == min(cap, max(map(len, pruned(dense, 10**9))))
    for threads in (1, 2):
        starts, ordinals, ranks = inverted_lists.inverted(rows, threads)
        assert [part.tolist() for part in np.split(ordinals, starts[1:-1])] == expected
        for row in range(len(rows)):
            some = slice(*rows.offsets[row : row + 2])
            weights = rows.weights[some][ranks[some]]
            assert sorted(ranks[some].tolist()) == list(range(len(weights)))
            assert (weights[1:] <= weights[:-1] + weights.max(initial=0) / 255).all()


def test_blocks_hold_the_pruned_lists_and_summaries_are_their_largest_weights(small: Any) -> None:
    rows, buffers, dense = small
    layout = dense[buffers["ordinals"]]
    lists, block = pruned(dense, 1_000), 0
    for term, blocks in enumerate(blocks_of(buffers)):
        assert sorted(int(buffers["ordinals"][row]) for rows in blocks for row in rows) == lists[term]
        assert all(rows and rows == sorted(rows) for rows in blocks)
        assert len(blocks) <= max(1, 0.2 * len(lists[term]))
        summaries = [summary(layout[rows]) for rows in blocks]
        steps = buffers["steps"][block : block + len(blocks)] * buffers["scale"][0]
        np.testing.assert_allclose(steps, [step for _, step in summaries], rtol=1e-6)
        block += len(blocks)
        entries = buffers["entries"][slice(*buffers["entry_starts"][term : term + 2])]
        directory = buffers["directory"][slice(*buffers["directory_starts"][term : term + 2])]
        expected = written([codes for codes, _ in summaries]) if blocks else ([], [])
        assert (entries.tolist(), directory.tolist()) == expected
    assert block == len(buffers["steps"])
    assert sorted(buffers["ordinals"].tolist()) == list(range(len(rows)))


@pytest.mark.parametrize("effort", [(0.2, 1.0, 0), (0.4, 0.9, 0), (0.6, 0.7, 0), (0.9, 0.4, 0), (0.4, 0.9, 6)])
def test_a_search_finds_what_its_rule_says(small: Any, effort: tuple[float, float, int]) -> None:
    rows, buffers, dense = small
    naive, reader = NaiveInverted(dense, buffers), Inverted(rows, buffers, "dot")
    queries = sampled_queries(rows, 50)
    mask = np.random.default_rng(0).random(len(rows)) < 0.4
    fewer = 0
    for k, live in ((1, None), (10, None), (4, mask)):
        allowed = set(range(len(rows)) if live is None else np.flatnonzero(live).tolist())
        for q in range(len(queries)):
            found = reader.search_with(
                Effort(*effort), queries[q : q + 1], k, live if live is None else bitset.from_mask(live)
            )
            query = np.zeros(dense.shape[1], np.float32)
            some = slice(*queries.offsets[q : q + 2])
            query[np.searchsorted(rows.terms, queries.numbers[some])] = queries.weights[some]
            ordinals, scores, compared = naive.search(query, Effort(*effort), k, allowed)
            if len(ordinals) < k:  # found exactly then
                continue
            assert found.ordinals[0].tolist() == ordinals
            assert (-found.distances[0]).tolist() == [float(score) for score in scores]
            assert found.cost.distances == compared
            fewer += compared < len(allowed) / 2
    assert fewer > 20


# Recall.


@pytest.fixture(scope="module")
def large() -> tuple[SparseRows, SparseRows, Neighbours]:
    """(20,000 rows, 500 queries, their nearest)."""
    rows, queries = clustered(3, 20_000), clustered(4, 500, length=25)
    return rows, queries, SparseFlat(rows, {}, "dot", 2).search(queries, 10, EXACT)


def recall(found: Neighbours, truth: Neighbours) -> float:
    """The share of the nearest that were found, or others as near."""
    return float((found.distances <= truth.distances[:, -1:] * (1 - 1e-5)).mean())


def test_recall_is_as_asked(large: Any) -> None:
    rows, queries, truth = large
    reader = make(rows, threads=2)
    costs = []
    for asked in (0.9, 0.95, 0.99):
        found = reader.search(queries, 10, SearchParams(recall=asked))
        assert recall(found, truth) >= asked - 0.03
        assert reader.width(10, SearchParams(recall=asked)) >= 10
        costs.append(found.cost.distances)
    assert costs == sorted(costs)
    assert costs[-1] < 0.2 * len(rows) * len(queries), "few rows are compared"


def test_neighbours_are_the_nearest_others_and_help(large: Any) -> None:
    rows, queries, truth = large
    rows = rows[:6_000]
    truth = SparseFlat(rows, {}, "dot", 2).search(queries, 10, EXACT)
    told: list[tuple[int, int]] = []
    buffers = build(rows, "dot", {"knn": 8}, 2, lambda *done: told.append(done))
    near = buffers["ordinals"][buffers["neighbours"]].astype(np.int64)
    assert near.shape == (6_000, 8)
    some = np.arange(0, 6_000, 20)
    nearest = SparseFlat(rows, {}, "dot").search(rows[some], 9, EXACT).ordinals
    others = [[i for i in row if i != own][:8] for own, row in zip(some.tolist(), nearest.tolist(), strict=True)]
    assert np.mean([len({*a} & {*b}) / 8 for a, b in zip(near[some].tolist(), others, strict=True)]) > 0.9
    assert not (near == np.arange(6_000)[:, None]).any()
    reader = Inverted(rows, buffers, "dot")
    without, with_ = (recall(reader.search_with(Effort(0.3, 1.0, knn), queries, 10), truth) for knn in (0, 8))
    assert with_ >= without
    assert with_ > 0.5
    assert told == sorted(told)


def test_a_row_without_enough_others_is_its_own_neighbour() -> None:
    rows = from_dicts([{1: 1.0, 2: 2.0}, {2: 1.0}, {9: 1.0}, {}])
    buffers = build(rows, "dot", {"knn": 2})
    near = buffers["ordinals"][buffers["neighbours"]].tolist()
    assert near == [[1, 0], [0, 1], [2, 2], [3, 3]]


def test_the_setting_for_a_recall() -> None:
    table = np.array([[0.2, 1.0, 0, 0.5], [0.4, 0.8, 0, 0.9], [0.6, 0.6, 0, 0.9], [0.8, 0.4, 0, 0.991]], np.float32)
    assert chosen_effort(table, 0.1) == pytest.approx((0.2, 1.0, 0))
    halfway = chosen_effort(table, 1 - 0.3 / 0.9)  # a tenth of the misses is kept in reserve
    assert halfway == pytest.approx((0.3, 0.9, 0), rel=1e-5)
    assert chosen_effort(table, 1 - 0.009001 / 0.9) == pytest.approx((0.8, 0.4, 0), abs=1e-4)
    assert chosen_effort(table, 0.991) is None
    assert chosen_effort(table[:0], 0.5) is None
    assert chosen_effort(np.array([[0.2, 1, 7, 0.95]], np.float32), 0.9) == pytest.approx((0.2, 1.0, 7))


# The same, whatever it runs on.


@pytest.mark.parametrize("knn", [0, 4])
def test_builds_and_searches_do_not_depend_on_threads(large: Any, knn: int) -> None:
    rows, queries, _ = large
    rows = rows[:5_000]
    one, two = (build(rows, "dot", {"knn": knn}, threads) for threads in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    for params in (DEFAULT, EXACT):
        found = [Inverted(rows, one, "dot", threads).search(queries, 10, params) for threads in (1, 2)]
        same(*found)


def test_many_threads_on_one_reader(large: Any) -> None:
    rows, queries, _ = large
    reader = make(rows[:3_000])
    expected = [reader.search_with(HARD, queries[q : q + 25], 10) for q in range(0, 500, 25)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            for found, wanted in zip(
                pool.map(lambda q: reader.search_with(HARD, queries[q : q + 25], 10), range(0, 500, 25)),
                expected,
                strict=True,
            ):
                same(found, wanted)


def test_mapped_files(tmp_path: Path) -> None:
    rows = random_rows(np.random.default_rng(4), 500, range(100), 12, dictionary=True)
    buffers, queries = build(rows, "dot", {"knn": 3}), sampled_queries(rows, 20)
    arrays = {**buffers, **{f"row_{name}": getattr(rows, name) for name in ("offsets", "numbers", "weights", "terms")}}
    for name, array in arrays.items():
        np.save(tmp_path / name, array)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in arrays}
    stored = SparseRows(*(mapped.pop(f"row_{name}") for name in ("offsets", "numbers", "weights", "terms")))
    again = build(stored, "dot", {"knn": 3})
    for name in buffers:
        np.testing.assert_array_equal(buffers[name], again[name])
    for effort in (EASY, Effort(0.5, 0.8, 3)):
        same(
            Inverted(stored, mapped, "dot").search_with(effort, queries, 5),
            Inverted(rows, buffers, "dot").search_with(effort, queries, 5),
        )
    assert Inverted(stored, mapped, "dot").memory_bytes() == sum(array.nbytes for array in buffers.values())


SMALL = """
import numpy as np
from naive_sparse import random_rows
from vsearch.index import bitset, inverted_recall
from vsearch.index.inverted import Inverted, build
inverted_recall.SAMPLE = 4
rng = np.random.default_rng(0)
live = bitset.from_mask(rng.random(60) < 0.5)
for weights in (np.float32, np.float16):
    rows, queries = random_rows(rng, 60, range(30), 8, weights=weights), random_rows(rng, 6, range(40), 5)
    buffers = build(rows, "dot", {"knn": 2})
    reader = Inverted(rows, buffers, "dot")
    print({name: array.tolist() for name, array in buffers.items()})
    for bits in (None, live):
        found = reader.search_with(inverted_recall.Effort(0.6, 0.7, 2), queries, 3, bits)
        print(found.ordinals.tolist(), found.distances.tolist())
"""


def test_without_compilation_it_is_the_same() -> None:
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    outputs = []
    for extra in ({}, {"NUMBA_DISABLE_JIT": "1"}):
        environment = {**os.environ, "PYTHONPATH": path, **extra}
        command = [sys.executable, "-c", SMALL]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]


def test_progress_is_told_and_may_stop_the_build() -> None:
    rows = random_rows(np.random.default_rng(4), 900, range(200), 12)
    for knn in (0, 2):
        told: list[tuple[int, int]] = []
        build(rows, "dot", {"knn": knn}, 2, lambda *done, told=told: told.append(done))
        assert len(told) > 20
        assert told == sorted(told)
        assert (told[0][0] < 200, told[-1]) == (True, (900, 900))
        for stop in (0, len(told) // 2, len(told) - 1):
            left = iter(range(stop))

            def stopped(done: int, total: int, left: Any = left) -> None:
                if next(left, None) is None:
                    raise InterruptedError

            with pytest.raises(InterruptedError):
                build(rows, "dot", {"knn": knn}, 2, stopped)


def test_long_rows_do_not_make_a_long_index() -> None:
    rows = SHAPES["long rows"](np.random.default_rng(0))
    buffers = build(rows, "dot", {})
    assert len(buffers["rows"]) == len(rows) * inverted_lists.MOST_TERMS
    sizes = np.diff(buffers["entry_starts"]) / np.maximum(np.diff(buffers["block_starts"]), 1)
    assert sizes.max() == inverted_blocks.MOST_ENTRIES


def test_a_million_terms_need_no_memory_for_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only lists that are cut do: of short ones there may be very many."""
    numbers = np.arange(1_000_000, dtype=np.uint32).reshape(100, 10_000)
    rows = SparseRows(
        np.arange(101) * 10_000, numbers.reshape(-1), np.ones(10**6, np.float32), np.arange(10**6, dtype=np.uint32)
    )
    starts, ordinals, _ = inverted_lists.inverted(rows)
    assert len(ordinals) == starts[-1] == 100 * inverted_lists.MOST_TERMS
    assert (np.diff(starts) <= 1).all()


# What is refused.


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf, -np.inf, 1.1e15])
def test_weights_of_rows_that_cannot_be(weight: float) -> None:
    with pytest.raises(InvalidArgument, match="weight"):
        build(from_dicts([{1: 1.0, 2: weight}, {2: 1.0}]), "dot", {})


def test_rows_whose_arrays_do_not_belong_together() -> None:
    rows = random_rows(np.random.default_rng(4), 50, range(30), 8, dictionary=True)
    rows = from_dicts([*to_dicts(rows), {29: 1.0}], dictionary=True)  # the last row is not empty
    offsets = rows.offsets.copy()
    offsets[[7, 9]] = len(rows.numbers), 0
    assert rows.terms is not None
    for bad in (
        SparseRows(rows.offsets, rows.numbers[:-1], rows.weights, rows.terms),
        SparseRows(rows.offsets[:-1], rows.numbers, rows.weights, rows.terms),
        SparseRows(offsets, rows.numbers, rows.weights, rows.terms),
        SparseRows(rows.offsets, rows.numbers, rows.weights, rows.terms[:-1]),
        SparseRows(
            np.array([0, 65_536]), np.zeros(65_536, np.uint16), np.ones(65_536, np.float32), np.zeros(1, np.uint32)
        ),
    ):
        with pytest.raises(InvalidArgument):
            build(bad, "dot", {})


@pytest.fixture(scope="module", params=["8 bits", "16 bits", "wide"])
def damaged(request: pytest.FixtureRequest) -> tuple[SparseRows, dict[str, np.ndarray]]:
    """Rows and buffers of each layout, to be damaged."""
    rng = np.random.default_rng(6)
    weights = {"8 bits": 0.3, "16 bits": 4.0, "wide": 4.0}[request.param]
    rows = drawn(rng, lambda rng, m: np.exp(weights * rng.standard_normal(m)).astype(np.float32), n=300)
    if request.param == "wide":
        rows = SparseRows(rows.offsets, rows.numbers, rows.weights, np.arange(70_000, dtype=np.uint32))
    buffers = build(rows, "dot", {"knn": 3})
    assert buffers["groups"].dtype == {"8 bits": np.uint8, "16 bits": np.uint16, "wide": np.uint32}[request.param]
    Inverted(rows, buffers, "dot")
    return rows, buffers


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_buffers_cut_short_or_missing_or_of_another_dtype(damaged: Any, name: str) -> None:
    rows, buffers = damaged
    array = buffers[name]
    short, longer = array[:-1], np.concatenate([array, array[-1:]])
    if name == "calibration":  # settings, of which there may be any number
        short, longer = array[:, :-1], array[0]
    for bad in (short, longer, array[:0] if name != "calibration" else array[0], array.astype(np.int16), array[None]):
        with pytest.raises(InvalidArgument, match="the index is damaged"):
            Inverted(rows, {**buffers, name: bad}, "dot")
    with pytest.raises(InvalidArgument):
        Inverted(rows, {key: value for key, value in buffers.items() if key != name}, "dot")


def test_buffers_of_other_rows_or_another_version(damaged: Any) -> None:
    rows, buffers = damaged
    for other in (rows[:-1], rows[:0], rows[np.append(np.arange(len(rows)), 0)]):
        with pytest.raises(InvalidArgument, match=f"not of these {len(other)} rows"):
            Inverted(other, buffers, "dot")
    with pytest.raises(InvalidArgument):
        Inverted(rows, {**buffers, "made": buffers["made"] + [1, 0, 0]}, "dot")


OUT_OF_RANGE: dict[str, Any] = {
    "group_starts": 2**32 - 1, "ordinals": 300, "block_starts": -1, "row_starts": 2**40, "rows": 300,
    "steps": np.nan, "entry_starts": 2**40, "directory_starts": 5, "directory": 2**32 - 1, "neighbours": 300,
    "scale": 0.0, "calibration": np.inf,
}  # fmt: skip


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_values_that_lead_out_of_arrays(damaged: Any, name: str) -> None:
    rows, buffers = damaged
    for place in {0, buffers[name].size // 2, buffers[name].size - 1}:
        bad = buffers[name].copy()
        bad.reshape(-1)[place] = OUT_OF_RANGE[name]
        with pytest.raises(InvalidArgument):
            Inverted(rows, {**buffers, name: bad}, "dot")


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_damaged_bytes_are_refused_or_lead_nowhere_else(damaged: Any, name: str, seed: int) -> None:
    rows, buffers = damaged
    rng, queries = np.random.default_rng(seed), sampled_queries(rows, 10)
    for _ in range(15):
        bad = buffers[name].copy()
        data = bad.reshape(-1).view(np.uint8)
        places = rng.integers(0, len(data), rng.integers(1, 40))
        data[places] = rng.integers(0, 256, len(places))
        try:
            reader = Inverted(rows, {**buffers, name: bad}, "dot")
        except InvalidArgument:
            continue
        with np.errstate(all="ignore"):
            for effort in (HARD, Effort(0.5, 0.8, 3)):
                found = reader.search_with(effort, queries, 10).ordinals
                assert ((found >= -1) & (found < len(rows))).all()


def test_what_is_not_read_when_a_reader_is_made_has_room(damaged: Any) -> None:
    rows, buffers = damaged
    queries = sampled_queries(rows, 10)
    for name in ("entries", "groups"):
        if buffers["groups"].dtype == np.uint32 and name == "groups":
            bad = np.full_like(buffers[name], 2**32 - 1)
            with pytest.raises(InvalidArgument):
                Inverted(rows, {**buffers, name: bad}, "dot")
            continue
        for value in (0, np.iinfo(buffers[name].dtype).max):
            reader = Inverted(rows, {**buffers, name: np.full_like(buffers[name], value)}, "dot")
            for effort in (HARD, Effort(0.5, 0.8, 3)):
                check_valid(reader.search_with(effort, queries, 10), all_distances(rows, queries), 10)


def test_arguments_that_cannot_be(damaged: Any) -> None:
    rows, buffers = damaged
    reader, queries = Inverted(rows, buffers, "dot"), sampled_queries(rows, 2)
    with pytest.raises(InvalidArgument, match="k is 0"):
        reader.search_with(HARD, queries, 0)
    for live in (np.zeros(1, np.uint64), np.zeros(5, np.int64)):
        with pytest.raises(InvalidArgument, match="live set"):
            reader.search_with(HARD, queries, 3, live)


def test_the_settings_rise_in_cost() -> None:
    assert list(SETTINGS) == sorted(SETTINGS, key=lambda setting: (setting[0], -setting[1]))
    assert all(b[1] <= a[1] for a, b in pairwise(SETTINGS))
