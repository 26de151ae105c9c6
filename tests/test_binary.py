"""Index kind binary: the rotation, the codes and what they promise, and the search from its definition."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_binary import bits_of, bounds, check_definition, estimates, factors_of, rotated
from naive_knn import check_neighbours, clustered, same

from vsearch.errors import DimensionMismatch, InvalidArgument
from vsearch.index import binary, binary_scan, binary_search, bitset, coding, simd
from vsearch.index.binary import Binary
from vsearch.index.binary_code import BLOCK, LEVELS, blocks, code_bytes
from vsearch.index.coding import Codes, CodeStore, encode, from_buffers, to_buffers
from vsearch.index.flat import Flat
from vsearch.index.jit import kernel
from vsearch.index.rotation import random_signs, rotate, width
from vsearch.types import SearchParams

DEFAULT, EXACT = SearchParams(), SearchParams(exact=True)
every_distance = pytest.mark.parametrize("distance", ["dot", "l2"])


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the smallest set is searched by codes."""
    monkeypatch.setattr(binary, "FEW_ROWS", 0)


def reader(vectors: np.ndarray, distance: Any, threads: int = 1, extra_bits: int = 0) -> Binary:
    return Binary(vectors, binary.build(vectors, distance, {"extra_bits": extra_bits}), distance, threads)


def codes_of(vectors: np.ndarray, distance: Any = "dot", bits: int = 0) -> Codes:
    return encode(vectors, distance, bits)


# The rotation.


@pytest.mark.parametrize("d", [1, 8, 31, 32, 33, 64, 100, 384, 1000, 2048])
def test_a_rotation_keeps_lengths_and_angles(d: int, seed: int) -> None:
    signs = random_signs(d, 7)
    vectors = np.zeros((6, width(d)), np.float32)
    vectors[:, :d] = np.random.default_rng(seed).standard_normal((6, d))
    before = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    for row in vectors:
        rotate(row, np.empty(width(d), np.float32), signs)
    after = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    np.testing.assert_allclose(after, before, atol=1e-5 * (1 + np.abs(before).max()))


@pytest.mark.parametrize("d", [64, 384, 1024])
def test_a_rotation_spreads_a_single_component(d: int) -> None:
    signs = random_signs(d, 7)
    for i in range(0, d, 17):
        vector = np.zeros(width(d), np.float32)
        vector[i] = 1
        rotate(vector, np.empty_like(vector), signs)
        assert np.abs(vector).max() <= 0.5
        assert np.abs(vector).sum() >= 0.5 * np.sqrt(width(d))  # about 0.8 where components are normal


def test_the_width_is_a_multiple_of_32_and_codes_fit_their_budget() -> None:
    for d in range(8, 8193):
        assert width(d) % 32 == 0
        assert d <= width(d) <= max(d + 31, 64)
        assert code_bytes(d) + 8 <= d / 8 + 16
        assert width(d) // 4 * LEVELS < 1 << 16


# The codes.


@every_distance
@pytest.mark.parametrize("d", [8, 33, 384])
def test_codes_are_signs_and_estimates_are_near(distance: Any, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = np.split(clustered(rng, 520, d) + np.float32(0.1), [500])
    codes = codes_of(vectors, distance)
    z = rotated(vectors, codes)
    clear = np.abs(z) > 1e-6
    np.testing.assert_array_equal(bits_of(codes, 500)[clear], (z > 0)[clear])
    np.testing.assert_allclose(codes.centre, vectors.mean(axis=0), atol=1e-6)
    scales = factors_of(codes, 500)[1]
    expected = (z**2).sum(axis=1) / np.abs(z).sum(axis=1)
    np.testing.assert_allclose(scales, 2 * expected if distance == "l2" else expected, rtol=1e-5)
    exact = Flat(vectors, {}, distance).search(queries, 500, EXACT)
    errors = []
    for q, query in enumerate(queries):
        near = estimates(vectors, query, codes, distance)[exact.ordinals[q]] - exact.distances[q]
        errors.append(near / (scales[exact.ordinals[q]] * np.linalg.norm(rotated(query[None], codes)[0])))
    # In standard deviations of `binary_code`, step 2: no bias, and errors as large as it says, or smaller.
    assert abs(np.mean(errors)) < 0.15 * codes.spread[0]
    assert 0.5 * codes.spread[0] < np.std(errors) < 1.1 * codes.spread[0]


def test_bits_are_balanced_and_independent(seed: int) -> None:
    vectors = clustered(np.random.default_rng(seed), 4000, 96) + np.float32(0.2)
    bits = bits_of(codes_of(vectors), 4000)
    share = bits.mean(axis=0)
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
    assert entropy.mean() > 0.98
    assert np.abs(np.corrcoef(bits.T) - np.eye(bits.shape[1])).mean() < 0.15


@pytest.mark.parametrize("bits", [0, 2, 4, 8])
def test_rows_may_come_one_batch_after_another(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = clustered(rng, 700, 40)
    for batch in (1, 33, 250, 700):
        store = CodeStore(1000, 40, "l2", bits, 200)
        for start in range(0, 700, batch):
            store.put(vectors, start, min(start + batch, 700))
            some = min(start + batch, 700)
            assert (store.buffers(some) == {}) == (some <= 200)
        expected = Codes.empty(700, 40, bits)
        expected.train(vectors[:200])
        expected.put(vectors, 0, "l2")
        made = from_buffers(store.buffers(700), 700, 40)
        for name in Codes._fields:
            np.testing.assert_array_equal(getattr(made, name), getattr(expected, name), err_msg=name)


def test_any_number_of_threads_makes_the_same_codes() -> None:
    vectors = clustered(np.random.default_rng(1), 5000, 24)
    one, four = (to_buffers(encode(vectors, "dot", 4, threads), 5000) for threads in (1, 4))
    for name, array in one.items():
        np.testing.assert_array_equal(array, four[name])


# The scan.


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_scan_is_what_it_says(units: int, count: int, seed: int) -> None:
    """Compiled, against the plain Python of `_near`; with infinities and NaN among the factors."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (count, units * 4, BLOCK), dtype=np.uint8)
    factors = rng.standard_normal((count, 2, BLOCK)).astype(np.float32)
    factors[rng.random(factors.shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf, 0])
    tables = rng.integers(0, LEVELS + 1, (5, units * 128), dtype=np.uint8)
    constants = rng.standard_normal((5, binary_scan.CONSTANTS)).astype(np.float32)
    for tile in (1, binary_scan.TILE):
        bounds, hits = np.zeros((2, binary_scan.TILE, BLOCK), np.float32), np.zeros((2, binary_scan.TILE), np.uint32)
        for block in range(count):
            arguments = codes, factors, block, units, tables, constants, 1
            expected = binary_scan._near(*arguments, bounds[0], hits[0], tile)
            assert (near_row if tile == 1 else near_rows)(*arguments, bounds[1], hits[1]) == expected
            np.testing.assert_array_equal(hits[0], hits[1])
            np.testing.assert_array_equal(bounds[0], bounds[1])


@kernel
def near_row(codes, factors, block, units, tables, constants, first, bounds, hits):
    return binary_scan.near_row(codes, factors, block, units, tables, constants, first, bounds, hits)


@kernel
def near_rows(codes, factors, block, units, tables, constants, first, bounds, hits):
    return binary_scan.near_rows(codes, factors, block, units, tables, constants, first, bounds, hits)


# The search.


@pytest.mark.usefixtures("_few")
@every_distance
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("d", [8, 33, 100, 1000])
def test_every_dimension(distance: Any, dtype: str, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = np.split(clustered(rng, 330, d), [300])
    vectors = vectors.astype(dtype)
    index, codes = reader(vectors, distance), codes_of(vectors, distance)
    for some in (queries, queries[:1]):
        for recall in (0.3, 0.95):
            found = index.search(some, 7, SearchParams(recall=recall))
            check_neighbours(found, vectors, some, 7, distance)
            check_definition(found, vectors, some, codes, distance, recall, 7)
    assert index.memory_bytes() < 10 * 300 * (d / 8 + 16) / 9 + 4 * d + 1000


@pytest.mark.usefixtures("_few")
@every_distance
@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 65])
def test_few_rows_and_more_neighbours_than_rows(distance: Any, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = rng.standard_normal((n, 9)).astype(np.float32), rng.standard_normal((6, 9)).astype(np.float32)
    index = reader(vectors, distance)
    for k in (1, 4, 100):
        check_neighbours(index.search(queries, k, DEFAULT), vectors, queries, k, distance, exact=k >= n)


@pytest.mark.usefixtures("_few")
@every_distance
@pytest.mark.parametrize("density", [0.0, 0.002, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("extra_bits", [0, 4])
def test_live_sets_of_every_density(distance: Any, density: float, extra_bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = clustered(rng, 1000, 24), clustered(rng, 12, 24)
    index, codes = reader(vectors, distance, extra_bits=extra_bits), codes_of(vectors, distance)
    mask = rng.random(1000) < density
    live = bitset.from_mask(mask)
    for k in (1, 10, 300):
        for params in (DEFAULT, SearchParams(oversampling=2.0), SearchParams(oversampling=2.0, recall=1.0)):
            found = index.search(queries, k, params, live)
            check_neighbours(found, vectors, queries, k, distance, np.flatnonzero(mask).tolist())
        if not extra_bits:
            check_definition(index.search(queries, k, DEFAULT, live), vectors, queries, codes, distance, 0.95, k, live)


@pytest.mark.usefixtures("_few")
@every_distance
@pytest.mark.parametrize("extra_bits", [0, 4])
def test_the_same_for_any_batch_threads_and_order(
    distance: Any, extra_bits: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = clustered(rng, 3000, 20), clustered(rng, 70, 20)
    buffers = binary.build(vectors, distance, {"extra_bits": extra_bits})
    for params in (SearchParams(recall=0.5), DEFAULT, SearchParams(rescore=False), SearchParams(oversampling=3.0)):
        expected = Binary(vectors, buffers, distance).search(queries, 10, params)
        same(Binary(vectors, buffers, distance, 3).search(queries, 10, params), expected)
        for q in (0, 33, 69):
            alone = Binary(vectors, buffers, distance).search(queries[q : q + 1], 10, params)
            np.testing.assert_array_equal(alone.ordinals[0], expected.ordinals[q])
            np.testing.assert_array_equal(alone.distances[0], expected.distances[q])
        with monkeypatch.context() as patch:  # rows are divided, not queries
            patch.setattr(binary, "MIN_BLOCKS", 8)
            patch.setattr(binary, "MIN_QUERIES", 1000)
            same(Binary(vectors, buffers, distance, 4).search(queries, 10, params), expected)
        order = rng.permutation(len(vectors))
        codes = from_buffers(buffers, 3000, 20)
        moved = Codes.empty(3000, 20, extra_bits)._replace(centre=codes.centre, spread=codes.spread)
        moved.put(vectors[order], 0, distance)
        again = Binary(vectors[order], to_buffers(moved, 3000), distance).search(queries, 10, params)
        np.testing.assert_array_equal(again.distances, expected.distances)


@every_distance
def test_recall_is_the_chance_that_none_is_missing(distance: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = np.split(clustered(rng, 6300, 64), [6000])
    index = reader(vectors, distance)
    truth = Flat(vectors, {}, distance).search(queries, 10, EXACT).ordinals
    compared = []
    for recall in (0.5, 0.9, 0.99):
        found = index.search(queries, 10, SearchParams(recall=recall))
        complete = (np.sort(found.ordinals) == np.sort(truth)).all(axis=1)
        assert complete.mean() >= recall - 3 * np.sqrt(recall * (1 - recall) / len(queries))
        compared.append(found.cost.rescored)
    assert compared == sorted(compared)
    assert compared[-1] < 0.5 * 300 * 6000
    same(index.search(queries, 10, SearchParams(recall=1.0)), index.search(queries, 10, EXACT))


@every_distance
def test_bounds_hold_as_often_as_they_should(distance: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = np.split(clustered(rng, 2040, 128), [2000])
    codes = codes_of(vectors, distance)
    near = Flat(vectors, {}, distance).search(queries, 20, EXACT)
    broken = []
    for q, query in enumerate(queries):
        least = bounds(vectors, query, codes, distance, NormalDist().inv_cdf(0.9))
        broken.append(least[near.ordinals[q]] > near.distances[q])
    assert 0.03 <= np.mean(broken) <= 0.1 + 3 * np.sqrt(0.09 / len(queries))  # those of one query fail together


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_more_bits_estimate_better(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = np.split(clustered(rng, 2040, 96), [2000])
    exact = Flat(vectors, {}, "dot").search(queries, 2000, EXACT)
    truth = np.take_along_axis(exact.distances, np.argsort(exact.ordinals), 1)
    errors = []
    for extra in (0, bits):
        found = reader(vectors, "dot", extra_bits=extra).search(queries, 50, SearchParams(rescore=False))
        errors.append(np.std(found.distances - np.take_along_axis(truth, found.ordinals, 1)))
    assert errors[1] < errors[0] * {2: 0.65, 4: 0.25, 8: 0.08}[bits]
    few, many = (reader(vectors, "dot", extra_bits=extra).search(queries, 10, DEFAULT) for extra in (0, bits))
    assert many.cost.rescored < few.cost.rescored
    assert (many.ordinals == few.ordinals).mean() > 0.99


def test_fixed_oversampling_compares_so_many(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = np.split(clustered(rng, 3050, 48), [3000])
    index = reader(vectors, "dot")
    found = index.search(queries, 10, SearchParams(oversampling=7.5))
    assert found.cost.rescored == 50 * 75
    by_estimate = index.search(queries, 75, SearchParams(rescore=False))
    for q in range(50):
        exact = Flat(vectors, {}, "dot").search(
            queries[q : q + 1], 10, EXACT, bitset.from_ordinals(by_estimate.ordinals[q], 3000)
        )
        np.testing.assert_array_equal(found.ordinals[q], exact.ordinals[0])
    assert index.width(10, SearchParams(oversampling=7.5)) == 75


# Strange rows and queries.


@pytest.mark.usefixtures("_few")
@every_distance
@pytest.mark.parametrize("extra_bits", [0, 2, 8])
def test_all_rows_equal(distance: Any, extra_bits: int) -> None:
    for row in (np.zeros(12), np.arange(1, 13), np.eye(12)[3]):
        vectors = np.tile(row.astype(np.float32), (300, 1))
        index = reader(vectors, distance, extra_bits=extra_bits)
        for k in (5, 300):
            for params in (DEFAULT, SearchParams(oversampling=1.0), SearchParams(rescore=False)):
                found = index.search(np.stack([vectors[0], np.ones(12, np.float32)]), k, params)
                assert found.ordinals.tolist() == [list(range(k))] * 2


@pytest.mark.usefixtures("_few")
@every_distance
@pytest.mark.parametrize("huge", [1e-30, 1e15, 3e38])
def test_tiny_and_huge_values(distance: Any, huge: float) -> None:
    """Each vector has one component, so that no sum mixes infinities."""
    vectors = np.zeros((96, 8), np.float32)
    vectors[np.arange(96), np.arange(96) % 8] = np.resize([huge, -huge, 1, -1, huge / 2], 96)
    queries = np.concatenate([np.eye(8), np.eye(8) * np.float32(huge)]).astype(np.float32)
    for extra_bits in (0, 4):
        found = reader(vectors, distance, extra_bits=extra_bits).search(queries, 96, DEFAULT)
        assert (np.sort(found.ordinals, axis=1) == np.arange(96)).all()
        exact = Flat(vectors, {}, distance).search(queries, 96, EXACT)
        np.testing.assert_array_equal(found.distances, exact.distances)


@pytest.mark.usefixtures("_few")
def test_rows_that_wait_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows at nearly one distance, more than wait at once, the nearest last."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((4000, 64))
    vectors = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
    vectors *= np.linspace(1.01, 1.0, 4000, dtype=np.float32)[:, None]
    query = np.zeros((1, 64), np.float32)
    codes = codes_of(vectors, "l2")
    found = reader(vectors, "l2").search(query, 5, DEFAULT)
    check_definition(found, vectors, query, codes, "l2", 0.95, 5)
    assert found.cost.rescored > binary_search.WAITING


def test_wrong_arguments() -> None:
    index = reader(np.ones((2000, 8), np.float32), "dot")
    with pytest.raises(DimensionMismatch):
        index.search(np.ones((1, 9), np.float32), 3, DEFAULT)
    with pytest.raises(InvalidArgument, match="k is 0"):
        index.search(np.ones((1, 8), np.float32), 0, DEFAULT)
    with pytest.raises(InvalidArgument, match="live set"):
        index.search(np.ones((1, 8), np.float32), 1, DEFAULT, bitset.full(1))


@pytest.mark.parametrize("name", ["codes", "factors", "fine", "fine_scales", "centre", "spread", "made"])
def test_buffers_that_are_cut_short_are_refused(name: str) -> None:
    vectors = clustered(np.random.default_rng(0), 100, 16)
    buffers = binary.build(vectors, "dot", {"extra_bits": 2})
    with pytest.raises(InvalidArgument):
        Binary(vectors, {**buffers, name: buffers[name][:-1]}, "dot")
    with pytest.raises(InvalidArgument):
        Binary(vectors, {**buffers, name: buffers[name].astype(np.float64)}, "dot")
    with pytest.raises(InvalidArgument):
        Binary(vectors[:50], buffers, "dot")


def test_codes_of_another_rotation_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clustered(np.random.default_rng(0), 100, 16)
    buffers = binary.build(vectors, "dot", {})
    monkeypatch.setattr(coding, "SEED", coding.SEED + 1)
    with pytest.raises(InvalidArgument, match="seed"):
        Binary(vectors, buffers, "dot")


# Other processors, and none.


SMALL = """
import numpy as np
from naive_binary import check_definition
from naive_knn import clustered
from vsearch.index import binary
from vsearch.index.coding import from_buffers
from vsearch.types import SearchParams

binary.FEW_ROWS = 0
rng = np.random.default_rng(0)
vectors, queries = np.split(clustered(rng, 105, 18), [100])
for distance in ("dot", "l2"):
    for bits in (0, 2):
        buffers = binary.build(vectors, distance, {"extra_bits": bits})
        found = binary.Binary(vectors, buffers, distance).search(queries, 5, SearchParams())
        if not bits:
            check_definition(found, vectors, queries, from_buffers(buffers, 100, 18), distance, 0.95, 5)
        print(buffers["codes"].sum(), buffers["fine"].sum(), found.ordinals.tolist())
"""
TARGETS = {
    "avx2": ("haswell", "+avx2,+fma,+f16c"),
    "ssse3": ("generic", "+ssse3"),
    "plain": ("generic", ""),
}


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


@pytest.mark.parametrize("target", TARGETS)
def test_other_processors_scan_the_same(target: str, tmp_path: Path) -> None:
    """The scan's test again, compiled for less than this machine has."""
    if os.environ.get("NUMBA_CPU_NAME") or not simd.FEATURES & {"+avx2"}:
        pytest.skip("inside such a run, or not a machine with AVX2")
    name, features = TARGETS[target]
    again = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "what_it_says"]
    done = subprocess.run(command, env={**os.environ, **again}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_blocks_of_rows() -> None:
    assert [blocks(n) for n in (0, 1, 32, 33)] == [0, 1, 1, 2]
