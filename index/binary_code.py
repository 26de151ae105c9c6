"""Codes of one bit a component, and the estimate of a distance that they allow (RaBitQ: Gao and Long 2024,
doi 10.1145/3654970).

1. A row o is centred and rotated: z = rotate(o - c), c the mean of a sample of the rows. Its code b is the signs of z:
   each bit is one for about half of the rows, and bits are correlated little, about as the vectors' directions are.
2. For a query q, likewise y = rotate(q - c), <z, y> is estimated as s <b, y> with s = |z|^2 / |z|_1, which is right for
   y = z and unbiased over random rotations (section 3.2 there, as one factor). Its error is that of a random
   direction: about normal, of standard deviation

       s * |y| * spread,    spread^2 = the mean over rows of 1 - |z|_1^2 / (D |z|^2), about 1 - 2 / pi

   (theorem 3.2 there). |y| stands for the length of the part of y that is orthogonal to z, so errors are a little
   smaller than this says.
3. The distance of a row is `offset - s <b, y>`, and a constant of the query:

       dot:    -<o, q>   = (|c|^2 - <o, c>) - s <b, y> - <c, q>
       l2:     |o - q|^2 =  |o - c|^2 - 2 s <b, y>     + |q - c|^2     (the 2 goes into s)

   A row's `factors` are its offset and its s: 8 bytes beside the code.
4. A query keeps 31 steps for the sum of each four components: `encode_query` makes a table of the 16 sums that four
   bits can stand for, so <b, y> becomes D / 4 lookups. Rounding adds a hundredth to the variance of the estimate.

Rows lie in blocks of 32, so that one vector instruction looks up four bits of all of them: byte j of a row holds the
bits of the components 8 j to 8 j + 7, and the bytes j of the rows 0, 16, 1, 17, ... of a block follow each other. The
lookups of even and odd bytes are then the sums of 16 consecutive rows each.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import FloatArray

from .jit import kernel
from .rotation import rotate, width

BLOCK: Final = 32  # rows that lie together
LEVELS: Final = 31  # of a lookup: eight of them add up to less than 256, and D / 4 to less than 65,536
GROUP: Final = 4  # components of one lookup

_LARGEST: Final = float(np.finfo(np.float32).max)


def blocks(rows: int) -> int:
    """How many blocks hold so many rows."""
    return -(-rows // BLOCK)


def code_bytes(d: int) -> int:
    """Bytes of the code of one row of d components."""
    return width(d) // 8


def empty_codes(rows: int, d: int) -> tuple[NDArray[np.uint8], FloatArray]:
    """(codes uint8 [blocks, code_bytes, BLOCK], factors float32 [blocks, 2, BLOCK]) for so many rows, all zero."""
    count = blocks(rows)
    return np.zeros((count, code_bytes(d), BLOCK), np.uint8), np.zeros((count, 2, BLOCK), np.float32)


@kernel
def encode_rows(
    rows: FloatArray,
    start: int,
    centre: FloatArray,
    signs: FloatArray,
    squared: bool,
    codes: NDArray[np.uint8],
    factors: FloatArray,
) -> float:
    """Write the codes and factors of rows [m, d], as the numbers `start` and on; returns their spread."""
    wide = signs.shape[1]
    z, other = np.empty(wide, np.float32), np.empty(wide, np.float32)
    length_centre, missed = inner_product(centre, centre), 0.0
    for r in range(rows.shape[0]):
        inner = centred(rows[r], centre, signs, z, other)
        sum_, square = norms(z)
        block, row = (start + r) // BLOCK, (start + r) % BLOCK
        place = 2 * (row & 15) + (row >> 4)
        for j in range(wide >> 3):
            byte = 0
            for bit in range(8):
                byte |= int(z[8 * j + bit] > 0.0) << bit
            codes[block, j, place] = np.uint8(byte)
        scale = square / sum_ if sum_ > 0.0 else 0.0
        missed += 1.0 - sum_ / (wide * scale) if scale > 0.0 else 0.0
        offset = square if squared else length_centre - inner
        factors[block, 0, row] = min(max(offset, -_LARGEST), _LARGEST)
        factors[block, 1, row] = min(2.0 * scale if squared else scale, _LARGEST)
    return float(np.sqrt(max(missed / max(rows.shape[0], 1), 0.0)))


@kernel
def centred(vector: FloatArray, centre: FloatArray, signs: FloatArray, z: FloatArray, other: FloatArray) -> float:
    """Write rotate(vector - centre) into z; returns <vector, centre>. `other` is scratch as long as z."""
    d = vector.shape[0]
    for i in range(d):
        z[i] = vector[i] - centre[i]
    z[d:] = 0.0
    rotate(z, other, signs)
    return float(inner_product(vector, centre))


@kernel(fastmath={"reassoc"})  # any order of additions, so that they are vector operations
def inner_product(a: FloatArray, b: FloatArray) -> float:
    """<a, b>, summed up in float64, where no square of a float32 overflows."""
    total = 0.0
    for i in range(len(a)):
        total += np.float64(a[i]) * np.float64(b[i])
    return total


@kernel(fastmath={"reassoc"})
def norms(z: FloatArray) -> tuple[float, float]:
    """(|z|_1, |z|^2), likewise."""
    sum_, square = 0.0, 0.0
    for value in z:
        sum_ += abs(np.float64(value))
        square += np.float64(value) * np.float64(value)
    return sum_, square


@kernel
def encode_query(
    query: FloatArray,
    centre: FloatArray,
    signs: FloatArray,
    squared: bool,
    table: NDArray[np.uint8],
    y: FloatArray,
    other: FloatArray,
) -> tuple[float, float, float, float]:
    """Write the lookup table uint8 [width / 4 * 16] of a query [d]; `y` and `other` are scratch, float32 [width].

    Returns (a, b, length, constant): <b, y> of a row is a + b * (the sum of its lookups), |y|, and what a distance has
    beside `offset - s <b, y>`.
    """
    wide = signs.shape[1]
    inner = centred(query, centre, signs, y, other)
    total, square = norms(y)
    largest = np.float32(0.0)
    for group in range(wide // GROUP):
        reach = np.float32(0.0)
        for i in range(GROUP * group, GROUP * (group + 1)):
            reach += abs(y[i])
        largest = max(largest, reach)
    step = 2.0 * np.float64(largest) / LEVELS
    inverse = np.float32(1.0 / step) if step > 1e-30 else np.float32(0.0)
    for group in range(wide // GROUP):
        here = y[GROUP * group : GROUP * (group + 1)]
        least = -(abs(here[0]) + abs(here[1]) + abs(here[2]) + abs(here[3]))
        for bits in range(16):
            value = -least
            for i in range(GROUP):
                value += here[i] if (bits >> i) & 1 else -here[i]
            level = int(np.rint(value * inverse))
            table[16 * group + bits] = min(max(level, 0), LEVELS)
    return -total, step, np.sqrt(square), square if squared else -inner
