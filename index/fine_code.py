"""A second code of 2, 4 or 8 bits a component, which only the rows that may be near are compared by (Gao et al. 2025,
"Practical and Asymptotically Optimal Quantization of High-Dimensional Vectors", doi 10.1145/3725413).

1. A row's rotated vector z (see `binary_code`) is cut into 2^bits equal steps, of the width that loses least where
   components are normal (Max 1960, IRE Trans. Inf. Theory 6(1), table II). With u the steps, c their middle and
   s = |z|^2 / <z, u - c>, the inner product with y is estimated as s <u - c, y>.
2. A query's y is rounded to 255 steps w, so that <u, w> is a sum of products of bytes.
3. The error is of standard deviation s1 * |y| * spread, with s1 the scale of the row's one-bit code, so that the margin
   of a query serves all rows; what rounding y adds is counted in.

Buffers: `fine` uint8 [n, size], size such that 8 / bits times it holds D components, a multiple of 64: byte j holds the
steps of the components j, j + size, ..., the first in the lowest bits; `fine_scales` float32 [n], the s.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray

from .binary_code import centred, norms
from .jit import kernel
from .rotation import width
from .simd import BLOCK, Int, dot_u8s8

STEPS: Final = (0.0, 0.0, 0.9957, 0.0, 0.3352, 0.0, 0.0, 0.0, 0.0308)  # by bits, for a standard deviation of 1
MOST: Final = 127  # steps of a query, on either side


def fine_size(d: int, bits: int) -> int:
    """Bytes of a row's second code; 0 where there is none."""
    return -(-width(d) * bits // (8 * BLOCK)) * BLOCK


def empty_fine(rows: int, d: int, bits: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """(fine, fine_scales) of so many rows, all zero; of no rows where bits is 0."""
    rows = rows if bits else 0
    return np.zeros((rows, fine_size(d, bits)), np.uint8), np.zeros(rows, np.float32)


@kernel
def encode_fine(
    rows: FloatArray,
    start: int,
    centre: FloatArray,
    signs: FloatArray,
    squared: bool,
    bits: int,
    fine: NDArray[np.uint8],
    scales: FloatArray,
) -> float:
    """Write the second codes and scales of rows [m, d], as the numbers `start` and on; returns their spread."""
    wide, size = signs.shape[1], fine.shape[1]
    middle, most = 0.5 * ((1 << bits) - 1), (1 << bits) - 1
    z, other = np.empty(wide, np.float32), np.empty(wide, np.float32)
    missed = 0.0
    for r in range(rows.shape[0]):
        centred(rows[r], centre, signs, z, other)
        sum_, square = norms(z)
        step = STEPS[bits] * np.sqrt(square / wide)
        inverse = 1.0 / step if step > 0.0 else 0.0
        fine[start + r, :] = np.uint8(0)
        inner, length = 0.0, 0.0
        for i in range(wide):
            level = min(max(int(np.floor(np.float64(z[i]) * inverse)) + (1 << (bits - 1)), 0), most)
            inner += np.float64(z[i]) * (level - middle)
            length += (level - middle) * (level - middle)
            fine[start + r, i % size] |= np.uint8(level << (i // size * bits))
        scale = square / inner if inner > 0.0 else 0.0
        scales[start + r] = 2.0 * scale if squared else scale
        if scale > 0.0:  # |z - s (u - c)|^2 by the square of s1
            lost = max(scale * scale * length - square, 0.0) / wide
            missed += lost * (sum_ / square) ** 2
    return float(np.sqrt(missed / max(rows.shape[0], 1)))


@kernel
def encode_fine_query(y: FloatArray, bits: Int, weights: NDArray[np.int8]) -> tuple[float, float]:
    """Write the steps int8 [size * 8 / bits] of a rotated query y [width]; returns (step, bias): the estimate of
    <u - c, y> is step * (product - bias)."""
    largest = np.float32(0.0)
    for value in y:
        largest = max(largest, abs(value))
    step = np.float64(largest) / MOST
    inverse = 1.0 / step if step > 1e-30 else 0.0
    weights[:] = np.int8(0)
    total = 0
    for i in range(y.shape[0]):
        level = min(max(int(np.rint(np.float64(y[i]) * inverse)), -MOST), MOST)
        weights[i] = level
        total += level
    return step, 0.5 * ((1 << bits) - 1) * total


@kernel
def product(
    fine: NDArray[np.uint8],
    row: Int,
    bits: Int,
    weights: NDArray[np.int8],
    query: Int,
    steps: NDArray[np.uint8],
) -> int:
    """The inner product of the steps of a row and of a query, row `query` of weights; `steps` is scratch, as long."""
    size = fine.shape[1]
    length, mask = weights.shape[1], np.uint8((1 << bits) - 1)
    for part in range(8 // bits):
        shift = np.uint8(part * bits)
        for j in range(size):
            steps[part * size + j] = (fine[row, j] >> shift) & mask
    return int(dot_u8s8(steps, 0, weights, query * length, length // BLOCK))
