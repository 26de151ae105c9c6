"""The exact index against the obvious search, in each of the ways it divides its work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from naive_knn import check_neighbours, clustered, naive_knn, same

from vsearch.errors import DimensionMismatch, InvalidArgument
from vsearch.index import bitset, registry
from vsearch.index.flat import Flat, distances_to, elements, rescore
from vsearch.index.tile import ROWS, WIDTH
from vsearch.types import SearchParams

DEFAULT = SearchParams()
every_distance = pytest.mark.parametrize("distance", ["dot", "l2"])


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int, str, list[int] | None, int]:
    """(vectors, queries, k, distance, live, threads) of small whole numbers: distances are exact and often tie."""
    n, nq, d = draw(st.integers(0, 90)), draw(st.sampled_from([1, 2, 9, 40])), draw(st.sampled_from([1, 2, 17]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors, queries = (rng.integers(-3, 4, (rows, d)).astype(np.float32) for rows in (n, nq))
    vectors = vectors.astype(draw(st.sampled_from([np.float32, np.float16])))
    live = draw(st.none() | st.lists(st.integers(0, n - 1), unique=True)) if n else None
    return (
        vectors,
        queries,
        draw(st.integers(1, 100)),
        draw(st.sampled_from(["dot", "l2"])),
        live,
        draw(st.integers(1, 7)),
    )


@given(cases())
def test_flat_is_the_obvious_search(case: tuple[Any, ...]) -> None:
    vectors, queries, k, distance, live, threads = case
    bits = None if live is None else bitset.from_ordinals(np.array(live, np.int64), len(vectors))
    found = Flat(vectors, {}, distance, threads).search(queries, k, DEFAULT, bits)
    ordinals, distances = naive_knn(vectors, queries, k, distance, live)
    np.testing.assert_array_equal(found.ordinals, ordinals)
    np.testing.assert_array_equal(found.distances, distances.astype(np.float32))
    assert found.cost.distances == len(queries) * (len(vectors) if live is None else len(live))


@example(1, "dot", 19.5, 0, 0)  # sums of infinities of both signs
@example(1, "l2", 18.6, 30, 0)  # only some squares are infinite
@example(1, "dot", -30, 1e6, 38)  # squares of the vectors underflow, products with the queries do not
@example(1, "dot", 8, 1e6, -38)  # and the other way round
@example(1, "l2", -22, 1, 0)  # every square underflows
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["dot", "l2"]),
    st.floats(-23, 20),
    st.sampled_from([0, 1, 30, 1e4]),
    st.just(0) | st.integers(-3, 3),
)
def test_every_path_of_flat_gives_the_same_bits(
    seed: int, distance: Any, size: float, offset: float, more: float
) -> None:
    """Vectors of any scale, down to where products underflow and up to where sums are infinite or not a number, and
    far from the origin: there, scores by matrix product are rounded differently."""
    rng = np.random.default_rng(seed)
    centre = offset * rng.standard_normal(24)
    vectors, queries = (centre + rng.standard_normal((n, 24)) for n in (500, 2 * WIDTH + 5))
    vectors, queries = (10**size * vectors).astype(np.float32), (10 ** (size + more) * queries).astype(np.float32)
    reader = Flat(vectors, {}, distance)
    together = reader.search(queries, 10, DEFAULT)
    assert not np.isnan(together.distances).any()
    for q in range(len(queries)):
        alone = reader.search(queries[q : q + 1], 10, DEFAULT)
        np.testing.assert_array_equal(alone.ordinals[0], together.ordinals[q])
        np.testing.assert_array_equal(alone.distances[0], together.distances[q])


@every_distance
def test_large_scans_divided_among_threads(distance: Any, seed: int) -> None:
    """Enough rows, and enough queries, for every way to divide them."""
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-2, 3, (9000, 512)).astype(np.float32)
    queries = rng.integers(-2, 3, (520, 512)).astype(np.float32)
    one, four = (Flat(vectors, {}, distance, threads) for threads in (1, 4))
    for nq in (1, 30, 520):
        same(four.search(queries[:nq], 60, DEFAULT), one.search(queries[:nq], 60, DEFAULT))
    check_neighbours(one.search(queries[:1], 60, DEFAULT), vectors, queries[:1], 60, distance, exact=True)


def test_the_product_leaves_few_pairs_to_compare() -> None:
    """Else the results would be right, and the batch as slow as one query after the other."""
    rng = np.random.default_rng(9)
    vectors, queries = clustered(rng, 3000, 64), clustered(rng, 10 * WIDTH, 64)
    for distance in ("dot", "l2"):
        cost = Flat(vectors, {}, distance).search(queries, 10, DEFAULT).cost
        assert 10 * len(queries) <= cost.rescored < 0.1 * cost.distances


def test_flat_without_rows() -> None:
    found = Flat(np.empty((0, 3), np.float32), {}, "dot").search(np.ones((2, 3), np.float32), 4, DEFAULT)
    assert found.ordinals.tolist() == [[-1] * 4] * 2
    assert np.isposinf(found.distances).all()


@pytest.mark.parametrize("rows", [ROWS - 1, ROWS, ROWS + 1, 2 * ROWS])
@pytest.mark.parametrize("nq", [WIDTH - 1, WIDTH, WIDTH + 1])
def test_tiles_and_panels_at_their_edges(rows: int, nq: int) -> None:
    rng = np.random.default_rng(rows * nq)
    vectors, queries = (rng.integers(-3, 4, (n, 20)).astype(np.float32) for n in (rows, nq))
    found = Flat(vectors, {}, "l2").search(queries, rows + 2, DEFAULT)
    np.testing.assert_array_equal(found.ordinals, naive_knn(vectors, queries, rows + 2, "l2")[0])


@given(cases())
def test_rescoring_orders_the_candidates(case: tuple[Any, ...]) -> None:
    vectors, queries, k, distance, live, threads = case
    live = list(range(len(vectors))) if live is None else live
    rng = np.random.default_rng(len(live))
    candidates = np.full((len(queries), len(live) + 3), -1, np.int64)
    for row in candidates:
        row[rng.permutation(len(row))[: len(live)]] = rng.permutation(live)
    ordinals, distances = rescore(vectors, queries, candidates, distance, k, threads)
    expected = naive_knn(vectors, queries, k, distance, live)
    np.testing.assert_array_equal(ordinals, expected[0])
    np.testing.assert_array_equal(distances, expected[1].astype(np.float32))
    every = distances_to(vectors, queries, candidates, distance)
    assert np.isposinf(every[candidates < 0]).all()
    np.testing.assert_array_equal(np.sort(every)[:, : min(k, len(live))], distances[:, : min(k, len(live))])


def test_wrong_arguments() -> None:
    reader = Flat(np.ones((100, 3), np.float32), {}, "dot")
    with pytest.raises(DimensionMismatch):
        reader.search(np.ones((1, 4), np.float32), 1, DEFAULT)
    with pytest.raises(InvalidArgument, match="k is 0"):
        reader.search(np.ones((1, 3), np.float32), 0, DEFAULT)
    for live in (np.zeros(1, np.uint64), np.zeros(100, np.bool_)):
        with pytest.raises(InvalidArgument, match="live set"):
            reader.search(np.ones((1, 3), np.float32), 1, DEFAULT, live)
    with pytest.raises(InvalidArgument, match="float64"):
        elements(np.ones((2, 3)))
    with pytest.raises(InvalidArgument, match="flat, hnsw"):
        registry.reader("tree")


def test_mapped_and_uneven_vectors(tmp_path: Any) -> None:
    vectors = clustered(np.random.default_rng(10), 64, 12)
    np.save(tmp_path / "v.npy", vectors)
    expected = Flat(vectors, {}, "dot").search(vectors[:3], 5, DEFAULT)
    same(Flat(np.load(tmp_path / "v.npy", mmap_mode="r"), {}, "dot").search(vectors[:3], 5, DEFAULT), expected)
    same(Flat(np.asfortranarray(vectors), {}, "dot").search(vectors[:3], 5, DEFAULT), expected)


@pytest.mark.parametrize("kind", ["flat", "hnsw", "binary"])
@pytest.mark.parametrize("distance", ["dot", "l2"])
@pytest.mark.parametrize("d", [8, 33, 96])
def test_rows_of_int8(kind: str, distance: Any, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-128, 128, (1_500, d)).astype(np.int8)
    vectors[7], vectors[8] = -128, 127
    queries = rng.normal(size=(12, d)).astype(np.float32)
    reader = registry.reader(kind)(vectors, registry.builder(kind)(vectors, distance, {"m": 8}), distance)
    for some in (queries, queries[:1]):
        for exact in (True, False):
            found = reader.search(some, 9, SearchParams(exact=exact, recall=0.99))
            check_neighbours(found, vectors, some, 9, distance, exact=exact)
