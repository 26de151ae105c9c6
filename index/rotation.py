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
    stages = 0
    while 1 << stages < window:
        stages += 1
    for number in range(signs.shape[0]):
        for i in range(wide):
            vector[i] *= signs[number, i]
        start = _start(number, wide, window)
        for stage in range(stages):
            if stage & 1:
                _butterflies(other, 0, vector, start, window >> 1)
            else:
                _butterflies(vector, start, other, 0, window >> 1)
        if stages & 1:
            for i in range(window):
                vector[start + i] = other[i]
        if window < wide:
            half = wide >> 1
            for i in range(half):
                low, high = vector[i], vector[half + i]
                vector[i], vector[half + i] = low + high, low - high


@kernel
def _butterflies(source: FloatArray, start: int, target: FloatArray, begin: int, half: int) -> None:
    """One stage of the transform, the same for all stages: neighbours are added into the first half and subtracted
    into the second (Pease 1968, J. ACM 15(2))."""
    for i in range(half):
        low, high = source[start + 2 * i], source[start + 2 * i + 1]
        target[begin + i] = low + high
        target[begin + half + i] = low - high


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
