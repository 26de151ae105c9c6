"""Index kind bm25: scores from the definition, whatever the mean length, and the store of texts that arrive."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_knn import same
from naive_sparse import check_sparse_neighbours, from_dicts, naive_bm25, random_rows

from vsearch.errors import InvalidArgument
from vsearch.index import bitset, bm25, lists, registry
from vsearch.index.bm25 import Bm25, Bm25Store, build, join_classes, make_classes
from vsearch.types import SearchParams, SparseRows, TextQueries

PARAMS = SearchParams()
WORDS = np.arange(210, dtype=np.uint64) * np.uint64(2**64 // 211)
every_form = pytest.mark.parametrize("how", [{"dtype": np.uint64}, {"dtype": np.uint64, "dictionary": True}])


def random_texts(rng: np.random.Generator, n: int, **how: Any) -> SparseRows:
    rows = random_rows(rng, n, WORDS[:200], 8, **how)
    counts = rng.geometric(0.6, len(rows.weights)).astype(np.float32)
    return SparseRows(rows.offsets, rows.numbers, counts, rows.terms)


def random_queries(rng: np.random.Generator, nq: int, mean_length: float = 13.7) -> TextQueries:
    return TextQueries(random_rows(rng, nq, WORDS, 4, dtype=np.uint64), mean_length)


def check(found: Any, rows: SparseRows, queries: TextQueries, k: int, live: Any = None, **how: float) -> None:
    slack = 1e-5 * float(np.abs(queries.rows.weights).sum()) + 1e-30
    check_sparse_neighbours(found, naive_bm25(rows, queries, k, live, **how), slack)


@every_form
@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.0, 0.5), (2.0, 0.0), (0.9, 1.0)])
def test_scores_are_those_of_the_definition(how: dict[str, Any], k1: float, b: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, queries = random_texts(rng, 600, **how), random_queries(rng, 9)
    buffers = build(rows, "dot", {"k1": k1, "b": b})
    for array in buffers.values():
        array.flags.writeable = False
    for reader in (Bm25(rows, buffers, "dot"), Bm25(rows, {}, "dot", settings={"k1": k1, "b": b})):
        for k in (1, 10, 1000):
            check(reader.search(queries, k, PARAMS), rows, queries, k, k1=k1, b=b)
        live = np.flatnonzero(rng.random(600) < 0.1)
        found = reader.search(queries, 7, PARAMS, bitset.from_ordinals(live, 600))
        check(found, rows, queries, 7, live.tolist(), k1=k1, b=b)


def test_another_mean_length_gives_other_scores(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_texts(rng, 300, dtype=np.uint64)
    reader, queries = Bm25(rows, {}, "dot"), random_queries(rng, 5)
    for mean_length in (13.7, 1e-3, 1e9, 0.0, 13.7):
        asked = TextQueries(queries.rows, mean_length)
        check(reader.search(asked, 10, PARAMS), rows, asked, 10)
    for bad in (-1.0, np.inf, np.nan):
        with pytest.raises(InvalidArgument, match="mean length"):
            reader.search(TextQueries(queries.rows, bad), 10, PARAMS)


words = st.dictionaries(st.sampled_from([0, 1, 2, 2**63, 2**64 - 1]), st.integers(1, 70_000), max_size=4)


@given(st.lists(words, max_size=40), words, st.integers(1, 6), st.floats(0.5, 1e5))
def test_any_texts(texts: list[Any], query: dict[int, int], k: int, mean_length: float) -> None:
    rows, queries = from_dicts(texts, np.uint64), TextQueries(from_dicts([query], np.uint64), mean_length)
    check(Bm25(rows, {}, "dot").search(queries, k, PARAMS), rows, queries, k)


@pytest.mark.parametrize("dtype", [np.float32, np.uint16, np.uint32])
def test_counts_of_any_kind(dtype: Any) -> None:
    rows = from_dicts([{1: 2, 5: 1}, {5: 300}, {}], np.uint64, dtype)
    queries = TextQueries(from_dicts([{5: 1.5}], np.uint64), 2.0)
    check(Bm25(rows, {}, "dot").search(queries, 3, PARAMS), rows, queries, 3)


@pytest.mark.parametrize("most", [4, 1 << 16])
def test_classes_are_the_distinct_pairs(most: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "MOST_CLASSES", most)
    monkeypatch.setattr(bm25, "PIECE", 64)
    monkeypatch.setattr(lists, "PIECE", 64)
    rng = np.random.default_rng(seed)
    rows, queries = random_texts(rng, 300, dtype=np.uint64), random_queries(rng, 5)
    made = make_classes(rows, 0)
    lengths = [row.sum() for row in np.split(rows.weights, rows.offsets[1:-1])]
    every = np.stack([rows.weights, np.repeat(lengths, np.diff(rows.offsets))], axis=1)
    np.testing.assert_array_equal(made.pairs, np.unique(every, axis=0))
    assert made.values.dtype == (np.uint16 if most > 4 else np.uint32)
    joined = join_classes(make_classes(rows[:99], 0), make_classes(rows[99:], 99))
    for one, other in zip(joined, made, strict=True):
        np.testing.assert_array_equal(one, other)
    check(Bm25(rows, {}, "dot").search(queries, 10, PARAMS), rows, queries, 10)


def test_threads_find_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, queries = random_texts(rng, 2000, dtype=np.uint64), random_queries(rng, 41)
    found = Bm25(rows, {}, "dot").search(queries, 10, PARAMS)
    assert found.cost.lists > 0
    assert found.cost.distances > 0
    reader = Bm25(rows, {}, "dot", 4)

    def look(i: int) -> Any:
        other = TextQueries(queries.rows, 7.0)  # the table of impacts changes under the others
        return reader.search(queries if i % 2 else other, 10, PARAMS)

    with ThreadPoolExecutor(8) as pool:
        for again in list(pool.map(look, range(32)))[1::2]:
            same(again, found)


@every_form
def test_a_store_finds_what_lists_of_all_texts_find(
    how: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "CHUNK", 64)
    rng = np.random.default_rng(seed)
    rows, settings = random_texts(rng, 900, **how), {"k1": 0.8, "b": 0.4}
    store, start = Bm25Store(900, settings), 0
    while start < 900:
        stop = min(start + int(rng.choice([1, 50, 200])), 900)
        store.put(rows[:stop], start, stop)
        queries = random_queries(rng, 5, float(rng.uniform(1, 30)))
        for count in (stop, int(rng.integers(0, stop + 1))):
            whole = Bm25(rows[:count], {}, "dot", settings=settings).search(queries, 10, PARAMS)
            same(store.reader(rows, count).search(queries, 10, PARAMS), whole)
        start = stop
    assert 1 < len(store._store._parts) <= 8


def test_what_cannot_be_is_refused() -> None:
    rows = from_dicts([{1: 1.0, 2: 2.0}, {2: 1.0}], np.uint64)
    buffers = build(rows, "dot", {})
    assert buffers["settings"].tolist() == [1.2, 0.75]
    with pytest.raises(InvalidArgument):
        Bm25(rows[:1], buffers, "dot")
    for name in ("starts", "ordinals", "classes", "pairs", "settings", "terms", "made"):
        with pytest.raises(InvalidArgument):
            Bm25(rows, {**buffers, name: buffers[name][:-1]}, "dot")
    with pytest.raises(InvalidArgument):
        Bm25(rows, {**buffers, "settings": np.array([-1.0, 0.5])}, "dot")
    for settings in ({"k1": -0.1}, {"k1": 101}, {"b": 1.5}, {"b": float("nan")}):
        with pytest.raises(InvalidArgument, match="k1"):
            build(rows, "dot", settings)
        with pytest.raises(InvalidArgument, match="k1"):
            Bm25Store(10, settings)
    for counts in ([0.0, 1.0, 1.0], [1.5, 1.0, 1.0], [-1.0, 1.0, 1.0], [np.nan, 1.0, 1.0], [4e9, 4e9, 1.0]):
        with pytest.raises(InvalidArgument, match="counts"):
            build(SparseRows(rows.offsets, rows.numbers, np.array(counts, np.float32)), "dot", {})
    assert registry.reader("bm25") is Bm25


def test_no_texts_and_no_words() -> None:
    queries = TextQueries(from_dicts([{1: 1.0}, {}], np.uint64), 0.0)
    for texts in ([], [{}], [{}, {2: 1.0}]):
        found = Bm25(from_dicts(texts, np.uint64), {}, "dot").search(queries, 2, PARAMS)
        assert found.ordinals.tolist() == [[-1, -1], [-1, -1]]
    assert Bm25Store(4).reader(from_dicts([], np.uint64), 0).search(queries, 1, PARAMS).ordinals.tolist() == [
        [-1],
        [-1],
    ]
