"""How fast this machine reads memory: the yardstick of scans."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray


def reading(size_bytes: int) -> Callable[[], np.uint64]:
    """A task for one thread that reads so many bytes, one after the other, and does next to nothing with them."""
    words = np.arange(-(-size_bytes // 8), dtype=np.uint64)  # pages that were never written would all be the same one
    read: Callable[[NDArray[np.uint64]], np.uint64] = _any_bits
    read(words[:8])
    return lambda: read(words)


@numba.njit(nogil=True, boundscheck=False)
def _any_bits(words: NDArray[np.uint64]) -> np.uint64:
    bits = np.uint64(0)
    for i in range(words.shape[0]):
        bits |= words[i]
    return bits
