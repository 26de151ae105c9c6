"""A fast random rotation: a vector's length is kept, and what it holds is spread evenly over all of its components.

1. A vector of d components is filled up with zeros to `width(d)` components.
2. ROUNDS times: random signs; a Walsh-Hadamard transform of a window as long as the largest power of 2 that fits, the
   first components in one round and the last in the next; then, where the window is shorter than the vector, both
   halves are replaced by their sum and difference (one step of Kac's walk), which carries what one window holds to the
   other.

It takes d log d additions where a random orthogonal matrix takes d * d multiplications, and codes made from either
are equally good (Ailon and Chazelle 2009, SIAM J. Comput. 39(1), for the transform with signs; Kac 1956 for the walk).
Deterministic by seed, and to the last bit on every machine: it only adds, and multiplies by constants.

The width is d rounded up to a multiple of 32, and at least 64: short vectors get more bits than components, a redundant
picture of them.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np

from vsearch.types import FloatArray

from .jit import kernel, read_only

LEAST_WIDTH: Final = 64
LANES: Final = 16  # a window is a multiple of it
ROUNDS: Final = 4  # with fewer, a vector of a single component is not yet spread


def width(d: int) -> int:
    """Components of a rotated vector of d components."""
    return max(-(-d // 32) * 32, LEAST_WIDTH)


@cache
def random_signs(d: int, seed: int) -> FloatArray:
    """float32 [ROUNDS, width(d)]: the signs of each round, times what keeps the length."""
    wide = width(d)
    window = _window(wide)
    signs = np.random.default_rng(seed).choice(np.array([-1.0, 1.0]), (ROUNDS, wide))
    for number, row in enumerate(signs):
        start = _start(number, wide, window)
        row[start : start + window] /= np.sqrt(window)
        if window < wide:
            row /= np.sqrt(2.0)
    return read_only(signs.astype(np.float32))


@kernel
def rotate(vector: FloatArray, other: FloatArray, signs: FloatArray) -> None:
    """Rotate float32 [width] in place; `other` is scratch of the same length, `signs` as `random_signs` makes them."""
    wide = signs.shape[1]
    window = _window(wide)
    for number in range(signs.shape[0]):
        for i in range(wide):
            vector[i] *= signs[number, i]
        start = _start(number, wide, window)
        _transform(vector[start : start + window], other[:window])
        if window < wide:
            half = wide >> 1
            _butterfly(vector[:half], vector[half:])


@kernel
def _transform(vector: FloatArray, other: FloatArray) -> None:
    """A Walsh-Hadamard transform, up to the order of the components, which does not matter here: all strides of LANES
    and more, then the same for what was the lower part of the index. So every inner loop is a vector operation."""
    rows = len(vector) // LANES
    _strides(vector, LANES)
    for lane in range(LANES):
        for row in range(rows):
            other[lane * rows + row] = vector[row * LANES + lane]
    _strides(other, rows)
    vector[:] = other


@kernel
def _strides(vector: FloatArray, least: int) -> None:
    """Replace components by their sums and differences, for every stride from half the length down to `least`."""
    stride = len(vector) >> 1
    while stride >= least:
        for begin in range(0, len(vector), 2 * stride):
            _butterfly(vector[begin : begin + stride], vector[begin + stride : begin + 2 * stride])
        stride >>= 1


@kernel
def _butterfly(a: FloatArray, b: FloatArray) -> None:
    """Replace both vectors by their sum and difference."""
    for i in range(len(a)):
        low, high = a[i], b[i]
        a[i], b[i] = low + high, low - high


@kernel
def _window(wide: int) -> int:
    """The largest power of 2 up to a width."""
    window = 1
    while 2 * window <= wide:
        window *= 2
    return window


@kernel
def _start(number: int, wide: int, window: int) -> int:
    """Where the window of a round starts."""
    return wide - window if number & 1 else 0
