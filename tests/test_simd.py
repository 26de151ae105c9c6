"""The vector instructions against plain numpy: every length, every alignment, every half-precision value."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.index import simd, tile
from vsearch.index.jit import kernel

# What is compiled for beside this machine: 256-bit vectors, and the least that x86 has.
TARGETS = {"avx2": ("haswell", "+avx2,+fma,+f16c"), "plain": ("generic", "")}


@kernel
def dot_f32(a, start_a, b, start_b, d):
    return simd.dot_f32(a, start_a, b, start_b, d)


@kernel
def l2_f32(a, start_a, b, start_b, d):
    return simd.l2_f32(a, start_a, b, start_b, d)


@kernel
def dot_u8s8(a, start_a, b, start_b, blocks):
    return simd.dot_u8s8(a, start_a, b, start_b, blocks)


@kernel
def bits_of(word, array, index):
    simd.prefetch(array, index)
    return simd.popcount(word), simd.trailing_zeros(word)


@kernel
def near_tile(numbers, panels, panel, chunks, scale, shift, lengths, bounds, hits):
    tile.near_tile(numbers, panels, panel, chunks, scale, shift, lengths, bounds, hits)


@kernel
def place_row(rows, start, d, numbers, row):
    return tile.place_row(rows, start, d, numbers, row)


LENGTHS = [*range(1, 67), 95, 96, 100, 127, 128, 384, 1000]


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_floats_of_every_length(dtype: str) -> None:
    """Surrounded by NaN, so that an element too many shows."""
    rng = np.random.default_rng(1)
    for d in LENGTHS:
        start_a, start_b = rng.integers(0, 5, 2)
        a, b = np.full(d + 6, np.nan, dtype), np.full(d + 6, np.nan, np.float32)
        x, y = rng.standard_normal(d).astype(dtype), rng.standard_normal(d).astype(np.float32)
        a[start_a : start_a + d], b[start_b : start_b + d] = x, y
        stored = a.view(np.uint16) if dtype == "float16" else a
        x64, y64 = x.astype(np.float64), y.astype(np.float64)
        room = (d + 8) * 2.0**-23 * (1 + np.abs(x64 * y64).sum())
        assert abs(dot_f32(stored, start_a, b, start_b, d) - x64 @ y64) <= room
        difference = x64 - y64
        assert abs(l2_f32(stored, start_a, b, start_b, d) - difference @ difference) <= 3 * room


def test_small_whole_numbers_are_exact() -> None:
    """Sums of whole numbers below 2 ** 24 have no rounding, so every lane must be counted once."""
    rng = np.random.default_rng(2)
    for d in LENGTHS:
        a, b = rng.integers(-9, 10, (2, d)).astype(np.float32)
        assert dot_f32(a, 0, b, 0, d) == int((a * b).sum())
        assert l2_f32(a, 0, b, 0, d) == int(((a - b) ** 2).sum())


def test_the_result_does_not_depend_on_the_place() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 391)).astype(np.float32)
    results = set()
    for start in range(20):
        a = np.concatenate([np.zeros(start, np.float32), x])
        results.add((float(dot_f32(a, start, y, 0, 391)), float(l2_f32(a, start, y, 0, 391))))
    assert len(results) == 1


def test_every_half_precision_value() -> None:
    halves, one = np.arange(1 << 16, dtype=np.uint16), np.ones(1, np.float32)
    expected = halves.view(np.float16).astype(np.float32)
    masked = [dot_f32(halves, i, one, 0, 1) for i in range(1 << 16)]
    np.testing.assert_array_equal(np.array(masked), expected)
    numbers = np.empty(tile.ROWS * 16, np.float32)
    for i in range(0, 1 << 16, 16):
        place_row(halves, i, 16, numbers, 1)
        np.testing.assert_array_equal(numbers[16:32], expected[i : i + 16])


@given(st.integers(0, 21), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_bytes_of_every_length(blocks: int, start_a: int, start_b: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = rng.choice([0, 1, 127, 128, 255, rng.integers(256)], blocks * 64 + 3).astype(np.uint8)
    b = rng.choice([-128, -127, -1, 0, 127, rng.integers(-128, 128)], blocks * 64 + 3).astype(np.int8)
    x, y = (v[s : s + blocks * 64].astype(np.int64) for v, s in ((a, start_a), (b, start_b)))
    assert dot_u8s8(a, start_a, b, start_b, blocks) == x @ y


@given(st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 63).map(lambda bit: 1 << bit)))
def test_bits(word: int) -> None:
    zeros = next((i for i in range(64) if word >> i & 1), 64)
    assert bits_of(np.uint64(word), np.zeros(1), -(10**12)) == (bin(word).count("1"), zeros)
    assert (simd.popcount(word), simd.trailing_zeros(word)) == (bin(word).count("1"), zeros)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("d", [1, 15, 16, 17, 50])
def test_tiles_mark_the_scores_that_reach_their_bound(d: int, dtype: str) -> None:
    rng = np.random.default_rng(d)
    chunks = -(-d // 16)
    rows = rng.integers(-4, 5, (tile.ROWS, d)).astype(dtype)
    queries = rng.integers(-4, 5, (3, tile.WIDTH, d)).astype(np.float32)
    panels = np.zeros((3, chunks * 16, tile.WIDTH), np.float32)
    panels[:, :d] = queries.transpose(0, 2, 1)
    numbers = np.full(chunks * 16 * tile.ROWS, np.nan, np.float32)
    stored = rows.view(np.uint16).ravel() if dtype == "float16" else rows.ravel()
    for row in range(tile.ROWS):
        assert place_row(stored, row * d, d, numbers, row) == np.square(rows[row].astype(np.float64)).sum()
    scale, shift = rng.integers(-2, 3, (2, tile.ROWS)).astype(np.float32)
    shift[1] = np.nan
    lengths, bounds = rng.integers(-2, 3, (2, 3 * tile.WIDTH)).astype(np.float32)
    bounds[0], bounds[1] = np.inf, -np.inf
    for panel in range(3):
        hits = np.zeros(tile.ROWS, np.uint32)
        near_tile(numbers, panels, panel, chunks, scale, shift, lengths, bounds, hits)
        for row in range(tile.ROWS):
            for q in range(tile.WIDTH):
                at = panel * tile.WIDTH + q
                score = float(rows[row].astype(np.float64) @ queries[panel, q]) + scale[row] * lengths[at] + shift[row]
                assert bool(hits[row] >> q & 1) == (not score < bounds[at])


def test_wrong_arrays_are_refused_when_compiled() -> None:
    with pytest.raises(Exception, match="C-contiguous"):
        dot_f32(np.ones(4), 0, np.ones(4, np.float32), 0, 4)  # float64
    with pytest.raises(Exception, match="C-contiguous"):
        dot_f32(np.ones(8, np.float32)[::2], 0, np.ones(4, np.float32), 0, 4)


@pytest.mark.parametrize("target", TARGETS)
def test_other_processors_compute_the_same(target: str, tmp_path: Path) -> None:
    """This file again, compiled for less than this machine has."""
    if os.environ.get("NUMBA_CPU_NAME") or not simd.FEATURES & {"+avx2"}:
        pytest.skip("inside such a run, or not a machine with AVX2")
    name, features = TARGETS[target]
    again = {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    names = "lengths or length or exact or half or bytes or tiles"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", names]
    done = subprocess.run(command, env={**os.environ, **again}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
