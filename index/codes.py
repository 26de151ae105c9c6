"""Scalar 8-bit codes of vectors: a quarter of the bytes of float32, and one instruction for 64 products.

1. Each row is coded on its own scale: code = round(x / scale) + 128 with scale = max |x| / 127. For the squared
   Euclidean distance the mean row is subtracted before, which leaves distances as they are and makes codes finer.
2. A query is coded the same way, as signed bytes. Then the distance of a query q to a row x is

       offset_q + offset_x - scale_q * scale_x * (dot(code_x, code_q) - 128 * sum(code_q))

   with both offsets 0 for the inner product; for the squared distance the offsets are the squared norms of the coded
   vectors, and scale_q is doubled. One formula: a graph walk does not know which distance it follows.
3. A coded row, its codes less 128, serves as a query too: distances between rows need no vectors.

The norms are those of the coded vectors, not of the given ones: the result is then exactly the distance of two nearby
points, and its error shrinks with the distance itself.

Buffers: `codes` uint8 [n, stride], stride the dimension rounded up to a multiple of 64, filled up with 128 (which is
zero); `scales` float32 [n, 2], scale and offset, side by side because both are needed at once; `mean` float32 [d].
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Distance, FloatArray

from .jit import kernel, read_only
from .simd import BLOCK, Int, dot_u8s8
from .threads import run_ranges

CHUNK: Final = 1024  # rows worth a thread's while; bounds the float32 copy of float16 rows

_LARGEST: Final = float(np.finfo(np.float32).max)
_SIGN: Final = np.uint8(128)


class Factors(NamedTuple):
    """What belongs to the code of a query; bias is 128 times the sum of the code."""

    scale: float
    offset: float
    bias: Int


def stride(d: int) -> int:
    """Bytes of one coded row of d components."""
    return -(-d // BLOCK) * BLOCK


def encode(
    vectors: NDArray[Any], distance: Distance, threads: int = 1
) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    """codes uint8 [n, stride], scales float32 [n, 2] and mean float32 [d] of vectors [n, d] of any stored dtype."""
    n, d = vectors.shape
    squared = distance == "l2"
    mean = np.zeros(d, dtype=np.float32)
    if squared and n:
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    codes = aligned_rows(n, stride(d))
    scales = np.empty((n, 2), dtype=np.float32)

    def some(first: int, last: int) -> None:
        for start in range(first, last, CHUNK):
            stop = min(start + CHUNK, last)
            rows = np.ascontiguousarray(vectors[start:stop], dtype=np.float32)
            encode_rows(read_only(rows), read_only(mean), squared, codes[start:stop], scales[start:stop])

    run_ranges(some, n, threads, min_chunk=CHUNK)
    return codes, scales, mean


def aligned_rows(n: int, width: int) -> NDArray[np.uint8]:
    """uint8 [n, width] that starts at a cache line, so that no row touches one line more than it must."""
    memory = np.empty(n * width + BLOCK, dtype=np.uint8)
    start = -memory.ctypes.data % BLOCK
    return memory[start : start + n * width].reshape(n, width)


@kernel
def encode_rows(
    rows: FloatArray, mean: FloatArray, squared: bool, codes: NDArray[np.uint8], scales: FloatArray
) -> None:
    """Write the codes [n, stride] and scales [n, 2] of rows [n, d]."""
    d = rows.shape[1]
    for i in range(rows.shape[0]):
        scale, norm = _quantise(rows[i], mean, codes[i])
        codes[i, d:] = _SIGN
        scales[i, 0] = scale
        scales[i, 1] = min(scale * scale * norm, _LARGEST) if squared else 0.0


@kernel
def encode_query(query: FloatArray, mean: FloatArray, squared: bool, code: NDArray[np.int8]) -> Factors:
    """The coded query of float32 [d]; its code is written into `code` int8 [stride]."""
    unsigned = code.view(np.uint8)
    scale, norm = _quantise(query, mean, unsigned)
    unsigned[query.shape[0] :] = _SIGN
    total = np.int64(0)
    for i in range(code.shape[0]):
        unsigned[i] ^= _SIGN
        total += np.int64(code[i])
    if squared:
        return Factors(2.0 * scale, min(scale * scale * norm, _LARGEST), 128 * total)
    return Factors(scale, 0.0, 128 * total)


@kernel
def row_as_query(
    codes: NDArray[np.uint8], scales: FloatArray, row: Int, squared: bool, code: NDArray[np.int8]
) -> Factors:
    """The coded query that a coded row is; its code is written into `code` int8 [stride]."""
    total = np.int32(0)
    for i in range(code.shape[0]):
        value = np.int8(codes[row, i] ^ _SIGN)
        code[i] = value
        total += np.int32(value)
    scale = np.float64(scales[row, 0])
    return Factors(2.0 * scale if squared else scale, np.float64(scales[row, 1]), 128 * np.int64(total))


@kernel
def decoded(dot: Int, scale: float, offset: float, factors: Factors) -> np.float32:
    """The distance of a coded row, given by its scale and offset, to a query; dot is `dot_u8s8` of their codes.

    Never NaN, because it is summed up in float64.
    """
    product = factors.scale * np.float64(scale) * np.float64(np.int64(dot) - factors.bias)
    return np.float32(factors.offset + np.float64(offset) - product)


@kernel
def coded_distance(
    codes: NDArray[np.uint8], scales: FloatArray, row: Int, code: NDArray[np.int8], factors: Factors
) -> np.float32:
    """The distance of a coded row to a coded query.

    Not for the innermost loops: numba counts references to the arrays at every such call, which takes longer than the
    product. They call `dot_u8s8` and `decoded`.
    """
    length = np.int64(code.shape[0])
    dot = dot_u8s8(codes, row * length, code, 0, length >> 6)
    return decoded(dot, scales[row, 0], scales[row, 1], factors)


@kernel
def _quantise(row: FloatArray, mean: FloatArray, code: NDArray[np.uint8]) -> tuple[float, float]:
    """Write the unsigned codes of row - mean; the scale, and the sum of the squared codes."""
    d = row.shape[0]
    largest = 0.0
    for i in range(d):
        largest = max(largest, abs(np.float64(row[i]) - np.float64(mean[i])))
    scale = np.float64(np.float32(largest / 127.0))
    inverse = 1.0 / scale if scale > 0.0 else 0.0
    norm = 0
    for i in range(d):
        value = int(np.rint((np.float64(row[i]) - np.float64(mean[i])) * inverse))
        value = min(max(value, -127), 127)  # past it only where the scale is too small to be exact in float32
        code[i] = np.uint8(value + 128)
        norm += value * value
    return scale, float(norm)
