"""A second code of 2 to 8 bits a component, which only the rows that may be near are compared by (Gao et al. 2025,
"Practical and Asymptotically Optimal Quantization of High-Dimensional Vectors", doi 10.1145/3725413).

1. A row's rotated vector z (see `binary_code`) is cut into 2^bits equal steps, of the width that loses least where
   components are normal (Max 1960, IRE Trans. Inf. Theory 6(1), table II). With u the steps, c their middle and
   s = |z|^2 / <z, u - c>, the inner product with y is estimated as s <u - c, y>.
2. Bits are kept in planes: plane i holds bit i of all components. A query's y is rounded to 256 steps and kept so too.
   Then <u, y> is a sum of counts of common bits, times powers of 2.
3. The error is of standard deviation s1 * |y| * spread, with s1 the scale of the row's one-bit code, so that the margin
   of a query serves all rows; what rounding y adds is counted in.

Buffers: `planes` uint64 [n, bits, ceil(D / 64)]; `fine_factors` float32 [n, 2], s and the sum of u.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray

from .binary_code import centred
from .jit import kernel
from .rotation import width
from .simd import Int, popcount

STEPS: Final = (0.0, 0.0, 0.9957, 0.5860, 0.3352, 0.1881, 0.1041, 0.0569, 0.0308)  # by bits, of standard deviation 1
QUERY_BITS: Final = 8
HALF: Final = 128  # what is added to a query's steps, to have no negative ones
_ONE: Final = np.uint64(1)


def empty_planes(rows: int, d: int, bits: int) -> tuple[NDArray[np.uint64], FloatArray]:
    """(planes, fine_factors) of so many rows, all zero; of no rows where bits is 0."""
    rows = rows if bits else 0
    return np.zeros((rows, bits, -(-width(d) // 64)), np.uint64), np.zeros((rows, 2), np.float32)


@kernel
def encode_fine(
    rows: FloatArray,
    start: int,
    centre: FloatArray,
    signs: FloatArray,
    squared: bool,
    planes: NDArray[np.uint64],
    factors: FloatArray,
) -> float:
    """Write the planes and factors of rows [m, d], as the numbers `start` and on; returns their spread."""
    wide, bits = signs.shape[1], planes.shape[1]
    middle, most = 0.5 * ((1 << bits) - 1), (1 << bits) - 1
    z, other = np.empty(wide, np.float32), np.empty(wide, np.float32)
    missed = 0.0
    for r in range(rows.shape[0]):
        centred(rows[r], centre, signs, z, other)
        sum_, square = 0.0, 0.0
        for i in range(wide):
            sum_ += abs(np.float64(z[i]))
            square += np.float64(z[i]) * np.float64(z[i])
        step = STEPS[bits] * np.sqrt(square / wide)
        inverse = 1.0 / step if step > 0.0 else 0.0
        planes[start + r, :, :] = np.uint64(0)
        total, inner, length = 0, 0.0, 0.0
        for i in range(wide):
            level = min(max(int(np.floor(np.float64(z[i]) * inverse)) + (1 << (bits - 1)), 0), most)
            total += level
            inner += np.float64(z[i]) * (level - middle)
            length += (level - middle) * (level - middle)
            for bit in range(bits):
                planes[start + r, bit, i >> 6] |= np.uint64((level >> bit) & 1) << np.uint64(i & 63)
        scale = square / inner if inner > 0.0 else 0.0
        factors[start + r, 0], factors[start + r, 1] = 2.0 * scale if squared else scale, total
        if scale > 0.0:  # |z - s (u - c)|^2 by the square of s1
            lost = max(scale * scale * length - square, 0.0) / wide
            missed += lost * (sum_ / square) ** 2
    return float(np.sqrt(missed / max(rows.shape[0], 1)))


@kernel
def encode_fine_query(y: FloatArray, bits: Int, weights: NDArray[np.uint64]) -> tuple[float, float]:
    """Write the planes uint64 [QUERY_BITS, words] of a rotated query y [width]; returns (step, bias): the estimate of
    <u - c, y> is step * (product - HALF * sum(u) - bias)."""
    largest = np.float32(0.0)
    for value in y:
        largest = max(largest, abs(value))
    step = np.float64(largest) / (HALF - 1)
    inverse = 1.0 / step if step > 1e-30 else 0.0
    weights[:, :] = np.uint64(0)
    total = 0
    for i in range(y.shape[0]):
        level = min(max(int(np.rint(np.float64(y[i]) * inverse)), 1 - HALF), HALF - 1) + HALF
        total += level - HALF
        for bit in range(QUERY_BITS):
            weights[bit, i >> 6] |= np.uint64((level >> bit) & 1) << np.uint64(i & 63)
    return step, 0.5 * ((1 << bits) - 1) * total


@kernel
def product(planes: NDArray[np.uint64], row: Int, weights: NDArray[np.uint64], query: Int) -> int:
    """The inner product of the steps of a row and of a query, both without sign."""
    total = 0
    for i in range(planes.shape[1]):
        for j in range(QUERY_BITS):
            common = 0
            for word in range(planes.shape[2]):
                common += popcount(planes[row, i, word] & weights[query, j, word])
            total += common << (i + j)
    return total
