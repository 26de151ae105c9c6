"""What index/base.py promises, on every registered kind."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from naive_knn import check_neighbours, clustered, naive_knn, same

from vsearch.index import bitset, registry
from vsearch.index.base import Reader
from vsearch.index.flat import Flat
from vsearch.types import SearchParams

DEFAULT, EXACT = SearchParams(), SearchParams(exact=True)
SETTINGS = {"m": 16, "ef_construction": 100}
DENSITIES = [0.0, 0.002, 0.02, 0.1, 0.5, 0.97, 1.0]  # 0.002 of the 1,000 rows below: one, or a few


def available(kind: str) -> bool:
    module = registry.KINDS[kind].split(":")[0]
    return importlib.util.find_spec(f"vsearch.index{module}") is not None


KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(not available(kind), reason="not in this build"))
    for kind in sorted(registry.KINDS)
]
every_kind = pytest.mark.parametrize("kind", KINDS)
every_distance = pytest.mark.parametrize("distance", ["dot", "l2"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float16"])


def make(kind: str, vectors: np.ndarray, distance: Any, threads: int = 1) -> Reader:
    buffers = registry.builder(kind)(vectors, distance, SETTINGS, threads)
    for array in buffers.values():
        array.flags.writeable = False  # as they are when mapped from a file
    vectors = vectors.view()
    vectors.flags.writeable = False
    return registry.reader(kind)(vectors, buffers, distance, threads)


# Every kind.


@every_kind
@every_distance
@every_dtype
@pytest.mark.parametrize("d", [1, 3, 17, 64, 384, 1000])
def test_every_dimension(kind: str, distance: Any, dtype: str, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = rng.standard_normal((70, d)).astype(dtype), rng.standard_normal((11, d)).astype(np.float32)
    reader = make(kind, vectors, distance)
    for some in (queries, queries[:2]):
        for params in (DEFAULT, EXACT):
            found = reader.search(some, 7, params)
            check_neighbours(found, vectors, some, 7, distance, exact=params.exact)
            assert found.cost.distances > 0


@every_kind
@every_distance
@pytest.mark.parametrize("n", [1, 2, 5, 64, 65])
def test_few_rows_and_more_neighbours_than_rows(kind: str, distance: Any, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = rng.standard_normal((n, 8)).astype(np.float32), rng.standard_normal((3, 8)).astype(np.float32)
    reader = make(kind, vectors, distance)
    for k in (1, 4, 100):
        check_neighbours(reader.search(queries, k, DEFAULT), vectors, queries, k, distance, exact=n <= 5)


@every_kind
@every_distance
@pytest.mark.parametrize("density", DENSITIES)
def test_live_sets_of_every_density(kind: str, distance: Any, density: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = clustered(rng, 1000, 24), clustered(rng, 12, 24)
    reader = make(kind, vectors, distance)
    mask = rng.random(1000) < density
    live, rows = bitset.from_mask(mask), np.flatnonzero(mask).tolist()
    for k in (1, 10, 300):  # never fewer than there are
        check_neighbours(reader.search(queries, k, DEFAULT, live), vectors, queries, k, distance, rows)
        found = reader.search(queries, k, EXACT, live)
        check_neighbours(found, vectors, queries, k, distance, rows, exact=True)


@every_kind
def test_one_live_row_at_either_end_of_a_word(kind: str) -> None:
    vectors = clustered(np.random.default_rng(5), 200, 16)
    reader = make(kind, vectors, "dot")
    for row in (0, 63, 64, 127, 128, 199):
        live = bitset.from_ordinals(np.array([row]), 200)
        for nq in (1, 20):
            found = reader.search(vectors[:nq], 2, DEFAULT, live)
            assert found.ordinals.tolist() == [[row, -1]] * nq


@every_kind
@every_distance
def test_equal_distances_come_in_order_of_the_ordinals(kind: str, distance: Any) -> None:
    rng = np.random.default_rng(6)
    different = rng.integers(-3, 4, (8, 12)).astype(np.float32)
    vectors = different[rng.integers(0, 8, 400)]
    reader = make(kind, vectors, distance)
    for nq in (1, 8):
        for params in (DEFAULT, EXACT):
            check_neighbours(reader.search(different[:nq], 30, params), vectors, different[:nq], 30, distance)
        expected = naive_knn(vectors, different[:nq], 30, distance)[0]
        np.testing.assert_array_equal(reader.search(different[:nq], 30, EXACT).ordinals, expected)


@every_kind
@every_distance
def test_one_vector_many_times(kind: str, distance: Any) -> None:
    vectors = np.tile(np.arange(1, 17, dtype=np.float32), (300, 1))
    reader = make(kind, vectors, distance)
    for k in (5, 300):
        found = reader.search(vectors[:3], k, EXACT)
        assert found.ordinals.tolist() == [list(range(k))] * 3
        check_neighbours(reader.search(vectors[:3], k, DEFAULT), vectors, vectors[:3], k, distance)


@every_kind
@every_distance
def test_zero_vectors(kind: str, distance: Any) -> None:
    vectors = np.zeros((100, 9), np.float32)
    vectors[50] = 1
    reader = make(kind, vectors, distance)
    queries = np.stack([np.zeros(9), np.ones(9)]).astype(np.float32)
    for params in (DEFAULT, EXACT):
        check_neighbours(reader.search(queries, 5, params), vectors, queries, 5, distance, exact=params.exact)


@every_kind
@every_distance
@pytest.mark.parametrize(("dtype", "huge"), [("float16", 6e4), ("float32", 1e18), ("float32", 3e38)])
def test_huge_values(kind: str, distance: Any, dtype: str, huge: float) -> None:
    """Each vector has one component, so that no sum mixes infinities; float32 distances may be infinite."""
    vectors = np.zeros((96, 6), dtype)
    vectors[np.arange(96), np.arange(96) % 6] = np.resize([huge, -huge, 1, -1, huge / 2], 96)
    queries = np.concatenate([np.eye(6), np.eye(6) * np.float32(huge)]).astype(np.float32)
    reader = make(kind, vectors, distance)
    expected = naive_knn(vectors, queries, 96, distance)[1]
    with np.errstate(over="ignore"):
        expected = expected.astype(np.float32)
    for some in (slice(0, 12), slice(10, 12)):
        for params in (DEFAULT, EXACT):
            found = reader.search(queries[some], 96, params)
            np.testing.assert_allclose(found.distances, expected[some], rtol=1e-5)
            assert (np.sort(found.ordinals, axis=1) == np.arange(96)).all()


@every_kind
@every_distance
def test_a_query_finds_the_same_alone_and_among_others(kind: str, distance: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = clustered(rng, 1500, 33), clustered(rng, 300, 33)
    live = bitset.from_mask(rng.random(1500) < 0.6)
    reader = make(kind, vectors, distance)
    for params, set_ in ((DEFAULT, None), (DEFAULT, live), (EXACT, live)):
        together = reader.search(queries, 9, params, set_)
        for q in range(0, 300, 43):
            alone = reader.search(queries[q : q + 1], 9, params, set_)
            np.testing.assert_array_equal(alone.ordinals[0], together.ordinals[q])
            np.testing.assert_array_equal(alone.distances[0], together.distances[q])


@every_kind
def test_any_number_of_threads_gives_the_same(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = clustered(rng, 2000, 20), clustered(rng, 600, 20)
    one = make(kind, vectors, "dot")
    expected = one.search(queries, 10, DEFAULT)
    same(make(kind, vectors, "dot", threads=4).search(queries, 10, DEFAULT), expected)
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(lambda q: one.search(queries[q : q + 50], 10, DEFAULT), range(0, 600, 50)):
            at = int(np.flatnonzero((expected.ordinals == found.ordinals[0]).all(axis=1))[0])
            np.testing.assert_array_equal(found.ordinals, expected.ordinals[at : at + 50])
            np.testing.assert_array_equal(found.distances, expected.distances[at : at + 50])


@every_kind
@every_distance
@every_dtype
def test_exact_is_what_flat_finds_and_the_default_comes_near(kind: str, distance: Any, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = np.split(clustered(rng, 3200, 48), [3000])
    vectors = vectors.astype(dtype)
    live = bitset.from_mask(rng.random(3000) < 0.3)
    reader, flat = make(kind, vectors, distance), Flat(vectors, {}, distance)
    for set_ in (None, live):
        truth = flat.search(queries, 10, DEFAULT, set_)
        same(reader.search(queries, 10, EXACT, set_), truth)
        found = reader.search(queries, 10, DEFAULT, set_)
        hits = [len({*a} & {*b}) for a, b in zip(found.ordinals.tolist(), truth.ordinals.tolist(), strict=True)]
        assert np.mean(hits) / 10 >= 0.95


@every_kind
def test_a_reader_changes_neither_vectors_nor_queries(kind: str) -> None:
    rng = np.random.default_rng(8)
    vectors, queries = clustered(rng, 300, 16), clustered(rng, 20, 16)
    reader = make(kind, vectors, "dot")
    before = vectors.copy(), queries.copy()
    reader.search(queries, 5, DEFAULT)
    np.testing.assert_array_equal(vectors, before[0])
    np.testing.assert_array_equal(queries, before[1])
    assert queries.flags.writeable
    assert (reader.kind, reader.memory_bytes() >= 0) == (kind, True)


@every_kind
def test_no_queries(kind: str) -> None:
    found = make(kind, np.ones((4, 3), np.float32), "dot").search(np.empty((0, 3), np.float32), 2, DEFAULT)
    assert found.ordinals.shape == found.distances.shape == (0, 2)


def test_without_compilation_every_kind_works() -> None:
    code = """
    import sys
    import numpy as np
    from naive_knn import check_neighbours
    from vsearch.index import bitset, registry
    from vsearch.types import SearchParams

    rng = np.random.default_rng(0)
    vectors, queries = (rng.integers(-3, 4, (n, 18)).astype(np.float32) for n in (70, 18))
    rows = [1, 5, 63, 64, 69]
    for kind in sys.argv[1:]:
        for distance in ("dot", "l2"):
            for dtype in (np.float32, np.float16):
                stored = vectors.astype(dtype)
                buffers = registry.builder(kind)(stored, distance, {"m": 4, "ef_construction": 16})
                reader = registry.reader(kind)(stored, buffers, distance)
                for some in (queries[:2], queries):
                    found = reader.search(some, 6, SearchParams())
                    check_neighbours(found, stored, some, 6, distance)
                live = bitset.from_ordinals(np.array(rows), len(vectors))
                found = reader.search(queries, 6, SearchParams(exact=True), live)
                check_neighbours(found, stored, queries, 6, distance, rows, exact=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(code), *filter(available, registry.KINDS)]
    path = os.pathsep.join([os.path.dirname(__file__), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
