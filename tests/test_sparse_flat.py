"""Index kind sparse_flat: the exact scan of sparse rows, and what all exact kinds of sparse rows have in common."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_knn import same
from naive_sparse import check_sparse_neighbours, from_dicts, naive_search, random_rows, to_dicts

from vsearch.errors import InvalidArgument
from vsearch.index import bitset, registry, sparse_flat
from vsearch.index.sparse_flat import SparseFlat, rescore
from vsearch.index.sparse_scan import STRIP
from vsearch.types import SearchParams, SparseRows

PARAMS = SearchParams()
TOP32, TOP64 = 2**32 - 1, 2**64 - 1
every_kind = pytest.mark.parametrize("kind", ["sparse_flat", "postings"])
every_form = pytest.mark.parametrize("form", ["local", "terms", "long", "half"])
FORMS: dict[str, dict[str, Any]] = {
    "local": {"dictionary": True},
    "terms": {},
    "long": {"dtype": np.uint64},
    "half": {"dictionary": True, "weights": np.float16},
}


def make(kind: str, rows: SparseRows, threads: int = 1) -> Any:
    buffers = registry.builder(kind)(rows, "dot", {}, threads)  # type: ignore[arg-type]
    for array in (*buffers.values(), rows.offsets, rows.numbers, rows.weights):
        array.flags.writeable = False  # as they are when mapped from a file
    return registry.reader(kind)(rows, buffers, "dot", threads)  # type: ignore[arg-type]


def slack(rows: SparseRows, queries: SparseRows) -> np.ndarray:
    """[nq, 1]: the most that rounding can put a score off."""
    highest = float(rows.weights.max(initial=0))
    sums = [len(query) * sum(map(abs, query.values())) for query in to_dicts(queries)]
    return 2.0**-22 * highest * np.array(sums).reshape(-1, 1) + 1e-37


def check(kind: str, rows: SparseRows, queries: SparseRows, k: int, live: list[int] | None = None) -> None:
    bits = None if live is None else bitset.from_ordinals(np.array(live, np.int64), len(rows))
    found = make(kind, rows).search(queries, k, PARAMS, bits)
    check_sparse_neighbours(found, naive_search(rows, queries, k, live), slack(rows, queries))


# What all kinds promise.


@every_kind
@every_form
@pytest.mark.parametrize("nq", [1, 3, 16, 37])
def test_it_finds_what_the_obvious_search_finds(
    kind: str, form: str, nq: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_flat, "MIN_ROWS", 0)
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 700, range(300), 10, **FORMS[form]), random_rows(rng, nq, range(400), 5)
    for k in (1, 10, 1000):
        check(kind, rows, queries, k)


@every_kind
@pytest.mark.parametrize("density", [0.0, 0.002, 0.02, 0.5, 0.97, 1.0])
def test_live_sets_of_every_density(kind: str, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 1000, range(200), 8), random_rows(rng, 6, range(200), 4)
    live = np.flatnonzero(rng.random(1000) < density).tolist()
    for k in (1, 10, 300):
        check(kind, rows, queries, k, live)


sparse = st.dictionaries(
    st.one_of(st.integers(0, 9), st.integers(0, TOP32)), st.floats(2.0**-126, 2.0**49, width=32), max_size=8
)
asking = st.dictionaries(
    st.one_of(st.integers(0, 9), st.integers(0, TOP32)),
    st.floats(-(2.0**49), 2.0**49, width=32, allow_subnormal=False),
    max_size=8,
)


@every_kind
@given(st.lists(sparse, max_size=70), st.lists(asking, max_size=6), st.integers(1, 12), st.data())
def test_any_rows_and_queries(kind: str, rows: list[Any], queries: list[Any], k: int, data: st.DataObject) -> None:
    live = data.draw(st.none() | st.lists(st.integers(0, max(len(rows) - 1, 0)), unique=True, max_size=len(rows)))
    live = None if live is None else sorted(live)
    made = from_dicts(rows, dictionary=data.draw(st.booleans()))
    check(kind, made, from_dicts(queries), k, live)


@every_kind
def test_rows_that_share_a_term_are_results_whatever_their_score(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = 1e-30
    rows = from_dicts([{1: tiny}, {1: 1, 2: 1}, {3: 1}, {}, {2: 5}, {4: 2}] + [{9: 1}] * 60)
    queries = [{1: tiny}, {1: 1, 2: -1}, {1: -tiny}, {2: -1}, {4: 0.0}, {7: 1}, {}, {3: -1, 4: -1}]
    expected = [[1, 0], [0, 1, 4], [0, 1], [1, 4], [5], [], [], [2, 5]]
    for least in (0, 10_000):  # in groups and one by one
        monkeypatch.setattr(sparse_flat, "MIN_ROWS", least)
        found = make(kind, rows).search(from_dicts(queries), 4, PARAMS)
        assert [[i for i in row if i >= 0] for row in found.ordinals.tolist()] == expected
        assert found.distances[2, 0] == 0  # the product is below the smallest float


@every_kind
def test_ties_come_in_order_of_the_ordinals(kind: str) -> None:
    rows = from_dicts([{i % 3: 1.0} for i in range(500)], dictionary=True)
    found = make(kind, rows).search(from_dicts([{0: 1.0, 1: 1.0}]), 7, PARAMS)
    assert found.ordinals.tolist() == [[0, 1, 3, 4, 6, 7, 9]]


@every_kind
@pytest.mark.parametrize("dicts", [[], [{}], [{5: 2.0}], [{}, {}, {5: 1.0}]])
def test_few_rows_and_more_neighbours_than_rows(kind: str, dicts: list[Any]) -> None:
    for form in FORMS.values():
        for queries in ([{5: 1.0}], [{}], [{4: 1.0}, {5: 1.0, 6: 1.0}], []):
            check(kind, from_dicts(dicts, **form), from_dicts(queries), 5)


@every_kind
def test_the_largest_terms(kind: str) -> None:
    for dtype, top in ((np.uint32, TOP32), (np.uint64, TOP64)):
        dicts = [{0: 1.0, top: 2.0}, {top: 3.0}, {top - 1: 1.0}, {1: 1.0}]
        for dictionary in (False, True):
            rows = from_dicts(dicts, dtype, dictionary=dictionary)
            check(kind, rows, from_dicts([{top: 1.0}, {top - 1: 1.0}, {0: 1.0}], dtype), 3)
    # A number above 2**32 is not what is left of it in 32 bits.
    found = make(kind, from_dicts([{5: 1.0}])).search(from_dicts([{2**32 + 5: 1.0}], np.uint64), 1, PARAMS)
    assert found.ordinals.tolist() == [[-1]]


@every_kind
def test_a_vocabulary_of_a_million(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dicts = [dict.fromkeys(rng.integers(0, 1_000_000, 20).tolist(), 1.0) for _ in range(300)]
    rows = from_dicts(dicts)
    whole = SparseRows(rows.offsets, rows.numbers, rows.weights, np.arange(1_000_000, dtype=np.uint32))
    queries = from_dicts([{**dicts[0], 999_999: 1.0}, dicts[7]])
    check(kind, rows, queries, 5)
    check(kind, whole, queries, 5)


@every_kind
def test_long_rows_and_queries(kind: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_flat, "MIN_ROWS", 0)
    rng = np.random.default_rng(seed)
    dicts: list[Any] = [
        {int(term): float(rng.integers(1, 9)) for term in rng.choice(90_000, size, replace=False)}
        for size in (0, 1, STRIP - 1, STRIP, STRIP + 1, 65_535, 3 * STRIP, 20_000)
    ]
    for form in FORMS.values():
        check(kind, from_dicts(dicts, **form), from_dicts([dicts[5], dicts[3], dicts[7], {1: 1.0}, dicts[6]]), 9)


@every_kind
def test_terms_that_share_a_slot(kind: str) -> None:
    """Multiples of 2**32 have the same lowest bits, so that all of them are marked in one place."""
    rows = from_dicts([{i << 32: 1.0, 7: 1.0} for i in range(300)], np.uint64)
    queries = from_dicts([{i << 32: float(i) for i in range(0, 200, 2)}, {7: 1.0}], np.uint64)
    check(kind, rows, queries, 150)


@every_kind
def test_huge_weights_do_not_become_nan(kind: str) -> None:
    rows = from_dicts([{1: 3e38, 2: 3e38}, {1: 1.0}, {2: 3e38}])
    found = make(kind, rows).search(from_dicts([{1: 3e38, 2: -3e38}]), 3, PARAMS)
    assert found.ordinals.tolist() == [[1, 0, 2]]
    assert found.distances[0].tolist() == [-np.float32(3e38), np.inf, np.inf]


@every_form
def test_every_way_gives_the_same_to_the_last_bit(form: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_flat, "MIN_ROWS", 0)
    monkeypatch.setattr(sparse_flat, "MIN_TERMS", 64)
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 2000, range(500), 12, **FORMS[form]), random_rows(rng, 40, range(500), 6)
    weights = (queries.weights * rng.choice([-1.0, 0.37, 1.61], len(queries.weights))).astype(np.float32)
    queries = SparseRows(queries.offsets, queries.numbers, weights)
    live = bitset.from_mask(rng.random(2000) < 0.7)
    whole = make("sparse_flat", rows).search(queries, 20, PARAMS, live)
    for kind in ("sparse_flat", "postings"):
        for threads in (1, 2, 5):
            reader = make(kind, rows, threads)
            same(reader.search(queries, 20, PARAMS, live), whole)
            for q in range(0, 40, 13):
                one = reader.search(queries[q : q + 1], 20, PARAMS, live)
                np.testing.assert_array_equal(one.ordinals[0], whole.ordinals[q])
                np.testing.assert_array_equal(one.distances[0], whole.distances[q])
        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(lambda _: reader.search(queries, 20, PARAMS, live), range(24)):  # noqa: B023
                same(found, whole)


@every_kind
def test_bad_arguments_are_refused(kind: str) -> None:
    rows, queries = from_dicts([{1: 1.0}] * 70), from_dicts([{1: 1.0}])
    reader = make(kind, rows)
    for k in (0, -1):
        with pytest.raises(InvalidArgument, match="k is"):
            reader.search(queries, k, PARAMS)
    for live in (np.zeros(1, np.uint64), np.zeros(2, np.int64), np.zeros(3, np.uint64)):
        with pytest.raises(InvalidArgument, match="live set"):
            reader.search(queries, 1, PARAMS, live)
    for bad in (
        SparseRows(np.array([0, 2]), np.array([1], np.uint32), np.ones(1, np.float32)),
        SparseRows(np.array([0, 1]), np.array([1], np.uint32), np.ones(2, np.float32)),
        SparseRows(np.array([1, 1]), np.array([1], np.uint32), np.ones(1, np.float32)),
        SparseRows(np.array([0, 1], np.int32), np.array([1], np.uint32), np.ones(1, np.float32)),
        SparseRows(np.array([0, 1]), np.array([1], np.int64), np.ones(1, np.float32)),
        SparseRows(np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.float32)),
    ):
        with pytest.raises(InvalidArgument):
            reader.search(bad, 1, PARAMS)
        with pytest.raises(InvalidArgument):
            make(kind, bad)


SMALL = """
import numpy as np
from naive_sparse import check_sparse_neighbours, naive_bm25, naive_search, random_rows
from vsearch.index import bm25, postings, sparse_flat
from vsearch.types import SearchParams, SparseRows, TextQueries

sparse_flat.MIN_ROWS = 0
rng, params = np.random.default_rng(3), SearchParams()
for how in ({"dictionary": True}, {"dtype": np.uint64}, {"weights": np.float16}):
    rows, queries = random_rows(rng, 70, range(30), 4, **how), random_rows(rng, 5, range(30), 3)
    expected = naive_search(rows, queries, 6)
    for found in (
        sparse_flat.SparseFlat(rows, {}, "dot").search(queries, 6, params),
        sparse_flat.SparseFlat(rows, {}, "dot").search(queries[:2], 6, params),
        postings.Postings(rows, {}, "dot").search(queries, 6, params),
    ):
        check_sparse_neighbours(found, tuple(part[: len(found.ordinals)] for part in expected), 1e-3)
        print(found.ordinals.tolist(), found.distances.tolist())
    texts = SparseRows(rows.offsets, rows.numbers, np.ceil(rows.weights), rows.terms)
    asked = TextQueries(queries, 9.0)
    found = bm25.Bm25(texts, {}, "dot").search(asked, 6, params)
    check_sparse_neighbours(found, naive_bm25(texts, asked, 6), 1e-3)
    print(found.ordinals.tolist(), found.distances.tolist())
"""


def test_without_compilation_it_finds_the_same() -> None:
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    outputs = []
    for extra in ({}, {"NUMBA_DISABLE_JIT": "1"}):
        environment = {**os.environ, "PYTHONPATH": path, **extra}
        done = subprocess.run(
            [sys.executable, "-c", SMALL], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]


# What only the scan has.


@every_form
def test_rescoring_gives_what_a_search_gives(form: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_flat, "MIN_TERMS", 64)
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 500, range(100), 6, **FORMS[form]), random_rows(rng, 30, range(100), 4)
    found = SparseFlat(rows, {}, "dot").search(queries, 40, PARAMS)
    candidates = rng.permuted(np.hstack([found.ordinals, np.full((30, 3), -1)]), axis=1)
    for threads in (1, 3):
        for k in (40, 10, 60):
            ordinals, distances = rescore(rows, queries, candidates, k, threads)
            np.testing.assert_array_equal(ordinals[:, :40], found.ordinals[:, :k])
            np.testing.assert_array_equal(distances[:, :40], found.distances[:, :k])
            assert (ordinals[:, 40:] == -1).all()
    unrelated = rescore(from_dicts([{1: 1.0}, {2: 1.0}]), from_dicts([{2: 1.0}]), np.array([[0, 1]]), 2)
    assert unrelated[0].tolist() == [[1, -1]]
    assert unrelated[1].tolist() == [[-1.0, np.inf]]


def test_rescoring_few_or_nothing() -> None:
    rows, queries = from_dicts([{1: 1.0}]), from_dicts([{1: 1.0}, {}])
    assert rescore(rows, queries, np.empty((2, 0), np.int64), 2)[0].tolist() == [[-1, -1]] * 2
    assert rescore(rows, queries[:0], np.empty((0, 4), np.int64), 2)[0].shape == (0, 2)
    assert rescore(rows[:0], queries, np.full((2, 3), -1), 1)[0].tolist() == [[-1]] * 2


def test_scratch_is_left_as_it_was(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 300, range(100), 6), random_rows(rng, 7, range(100), 4)
    reader = SparseFlat(rows, {}, "dot")
    for some in (queries, queries[:1]):
        reader.search(some, 5, PARAMS)
        reader.rescore(some, np.arange(len(some) * 3).reshape(-1, 3), 2)
        for probe in sparse_flat._probes._idle:
            assert not probe.marks.any()


def test_the_real_data(data_dir: Any) -> None:
    def load(name: str) -> SparseRows:
        z = dict(np.load(data_dir / "wordnet" / name))
        weights = z["values"].astype(np.float32) * np.float32(z["scale"])
        return SparseRows(z["indptr"].astype(np.int64), z["indices"].astype(np.uint32), weights)

    docs, queries = load("sparse.npz"), load("queries_sparse.npz")[:48]
    exact = np.load(data_dir / "wordnet" / "sparse_top100.npy")[:48]
    docs = SparseRows(docs.offsets, docs.numbers.astype(np.uint16), docs.weights, np.arange(30_522, dtype=np.uint32))
    scan, lists = make("sparse_flat", docs, 2), make("postings", docs, 2)
    found = scan.search(queries, 100, PARAMS)
    same(found, lists.search(queries, 100, PARAMS))
    assert (found.ordinals == exact).mean() > 0.99  # but for rounding
    np.testing.assert_array_equal(scan.search(queries[:1], 100, PARAMS).ordinals, found.ordinals[:1])
