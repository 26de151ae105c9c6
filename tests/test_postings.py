"""Index kind postings: how inverted lists are made, kept up with rows that arrive, and refused; blocks and threads."""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_knn import same
from naive_sparse import from_dicts, random_rows, to_dicts

from vsearch.errors import InvalidArgument
from vsearch.index import bitset, lists, postings
from vsearch.index.lists import Lists, join, make_lists, number
from vsearch.index.postings import Postings, PostingStore, build
from vsearch.index.sparse_flat import SparseFlat
from vsearch.types import SearchParams, SparseRows

PARAMS = SearchParams()


# Making lists.


@given(
    st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1), st.integers(0, 2**33)), max_size=60),
    st.booleans(),
)
def test_keys_are_numbered_in_order(keys: list[int], long: bool) -> None:
    made = np.array([key if long else key & 0xFFFFFFFF for key in keys], np.uint64 if long else np.uint32)
    distinct, numbers = number(made)
    expected, places = np.unique(made, return_inverse=True)
    np.testing.assert_array_equal(distinct, expected)
    np.testing.assert_array_equal(numbers, places)
    assert (distinct.dtype, numbers.dtype) == (made.dtype, np.uint32)


def naive_lists(rows: SparseRows, first: int = 0) -> dict[int, list[tuple[int, float]]]:
    made: dict[int, list[tuple[int, float]]] = {}
    for i, row in enumerate(to_dicts(rows)):
        for term, weight in row.items():
            made.setdefault(term, []).append((first + i, weight))
    return made


def listed(made: Lists) -> dict[int, list[tuple[int, float]]]:
    pairs = list(zip(made.ordinals.tolist(), made.values.tolist(), strict=True))
    bounds = zip(made.starts[:-1].tolist(), made.starts[1:].tolist(), strict=True)
    assert (np.diff(made.terms.astype(float)) > 0).all()
    return {int(t): pairs[a:b] for t, (a, b) in zip(made.terms, bounds, strict=True) if b > a}


def weights(rows: SparseRows) -> Any:
    return rows.weights.astype(np.float32)


@pytest.mark.parametrize("how", [{}, {"dictionary": True}, {"dtype": np.uint64}, {"weights": np.float16}])
def test_lists_hold_every_row_once_a_term(how: dict[str, Any], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PIECE", 50)
    rng, steps = np.random.default_rng(seed), []
    rows = random_rows(rng, 333, range(100), 6, **how)
    made = make_lists(rows, weights, 64, lambda done, total: steps.append((done, total)))
    assert listed(made) == naive_lists(rows, 64)
    assert made.values.dtype == np.float32
    assert steps == [(min(50 * i, 333), 333) for i in range(1, 8)]


def test_joined_lists_are_those_of_the_rows_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = random_rows(rng, 200, range(80), 5)
    for cut in (0, 1, 77, 200):
        parts = make_lists(rows[:cut], weights, 0), make_lists(rows[cut:], weights, cut)
        assert listed(join(*parts)) == naive_lists(rows)


def test_a_build_may_be_abandoned() -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(from_dicts([{1: 1.0}]), "dot", {}, 1, stop)


def test_buffers_do_not_depend_on_threads_and_bring_their_own_terms(seed: int) -> None:
    rows = random_rows(np.random.default_rng(seed), 300, range(100), 6)
    one, four = build(rows, "dot", {}, 1), build(rows, "dot", {}, 4)
    assert list(one) == list(four) == ["starts", "ordinals", "weights", "terms", "made"]
    for name, array in one.items():
        np.testing.assert_array_equal(array, four[name])
    local = random_rows(np.random.default_rng(seed), 300, range(100), 6, dictionary=True)
    assert list(build(local, "dot", {})) == ["starts", "ordinals", "weights", "made"]
    reader = Postings(rows, one, "dot")
    assert reader.memory_bytes() == sum(one[name].nbytes for name in ("starts", "ordinals", "weights"))
    assert reader.width(10, PARAMS) == 0


def test_buffers_cut_short_or_of_other_rows_are_refused() -> None:
    rows = from_dicts([{1: 1.0, 2: 2.0}, {2: 1.0}])
    buffers = build(rows, "dot", {})
    others = from_dicts([{1: 1.0, 2: 2.0}, {2: 1.0}, {}])
    with pytest.raises(InvalidArgument, match="made for"):
        Postings(others, buffers, "dot")
    for name in ("starts", "ordinals", "weights", "terms", "made"):
        for bad in (buffers[name][:-1], buffers[name].astype(np.float64)):
            if name != "made" or len(bad) != len(buffers[name]):
                with pytest.raises(InvalidArgument):
                    Postings(rows, {**buffers, name: bad}, "dot")
    for bad_starts in ([1, 2, 3], [0, 1, 2]):
        with pytest.raises(InvalidArgument):
            Postings(rows, {**buffers, "starts": np.array(bad_starts)}, "dot")


# Searching them.


@pytest.mark.parametrize("few", [0, 8, 1 << 40])
@pytest.mark.parametrize("block", [64, 192])
def test_blocks_do_not_show(few: int, block: int, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain Python of the kernel, with small blocks, each way of choosing, and rows that begin and end anywhere."""
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 500, range(60), 4), random_rows(rng, 3, range(60), 4)
    flat = SparseFlat(rows, {}, "dot").search(queries, 20, PARAMS)
    made = build(rows, "dot", {})
    for name in ("_add", "_choose", "_choose_listed"):
        monkeypatch.setattr(postings, name, getattr(postings, name).py_func)
    monkeypatch.setattr(postings, "search_lists", postings.search_lists.py_func)  # type: ignore[attr-defined]
    monkeypatch.setattr(postings, "BLOCK", block)
    monkeypatch.setattr(postings, "FEW", few)
    monkeypatch.setattr(postings, "MIN_BLOCKS", 1)
    pool = postings.Pool(lambda: np.full(block, postings.ABSENT, np.float32))
    monkeypatch.setattr(postings, "_sums", pool)
    for threads in (1, 2):
        same(Postings(rows, made, "dot", threads).search(queries, 20, PARAMS), flat)
        for sums in pool._idle:
            np.testing.assert_array_equal(sums.view(np.int32), postings.ABSENT_BITS)


def test_rows_divided_among_threads_find_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    n = 3 * postings.BLOCK + 100
    terms = np.sort(rng.integers(0, 5, (n, 1)), axis=1).astype(np.uint32)
    rows = SparseRows(np.arange(n + 1), terms.reshape(-1), rng.random(n).astype(np.float32) + 0.5)
    queries, live = from_dicts([{0: 1.0, 3: 2.0}, {9: 1.0}]), bitset.from_mask(rng.random(n) < 0.5)
    monkeypatch.setattr(postings, "MIN_BLOCKS", 1)
    found = Postings(rows, {}, "dot", 1).search(queries, 30, PARAMS, live)
    same(SparseFlat(rows, {}, "dot").search(queries, 30, PARAMS, live), found)
    shared = Postings(rows, {}, "dot", 4).search(queries, 30, PARAMS, live)
    same(shared, found)
    assert shared.cost.distances == found.cost.distances == int(np.isin(terms, [0, 3]).sum())


# Rows that arrive.


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "CHUNK", 64)
    monkeypatch.setattr(lists, "MAX_POSTINGS", 1500)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("how", [{}, {"dictionary": True}, {"weights": np.float16}])
def test_a_store_finds_what_lists_of_all_rows_find(how: dict[str, Any], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 1000, range(200), 6, **how), random_rows(rng, 5, range(200), 4)
    store, start = PostingStore(1000), 0
    while start < 1000:
        stop = min(start + int(rng.choice([1, 20, 64, 150])), 1000)
        store.put(rows[:stop], start, stop)
        for count in {stop, int(rng.integers(0, stop + 1)), max(stop - 1, 0), stop - stop % 64}:
            reader = store.reader(rows, count)
            live = bitset.from_mask(rng.random(count) < 0.8)
            whole = Postings(rows[:count], {}, "dot")
            same(reader.search(queries, 10, PARAMS), whole.search(queries, 10, PARAMS))
            same(reader.search(queries, 10, PARAMS, live), whole.search(queries, 10, PARAMS, live))
        start = stop
    parts = store._store._parts
    assert 1 < len(parts) <= 12
    assert all(len(part.ordinals) <= 1500 for part, _ in parts)
    assert store.reader(rows, 1000).memory_bytes() == sum(part.nbytes for part, _ in parts)


@pytest.mark.usefixtures("_small")
def test_a_store_is_searched_while_rows_arrive(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, queries = random_rows(rng, 2000, range(200), 6), random_rows(rng, 3, range(200), 4)
    counts = list(range(0, 2001, 37))
    expected = {count: Postings(rows[:count], {}, "dot").search(queries, 5, PARAMS) for count in counts}
    store, published, errors = PostingStore(2000), [0], []

    def look() -> None:
        try:
            while published[0] < counts[-1]:
                for count in (published[0], published[0] // 37 // 2 * 37):
                    same(store.reader(rows, count).search(queries, 5, PARAMS), expected[count])
        except BaseException as error:
            errors.append(error)

    readers = [threading.Thread(target=look) for _ in range(3)]
    for reader in readers:
        reader.start()
    for start, stop in pairwise(counts):
        store.put(rows, start, stop)
        published[0] = stop
    for reader in readers:
        reader.join()
    assert not errors


def test_an_empty_store() -> None:
    found = PostingStore(10).reader(from_dicts([]), 0).search(from_dicts([{1: 1.0}]), 3, PARAMS)
    assert found.ordinals.tolist() == [[-1, -1, -1]]
