"""Sets of ordinals as bits: bit i of a set is bit (i & 63) of word (i >> 6).

A set over n rows has ceil(n / 64) words; the bits past n in the last word are 0. Kernels test a bit with
`simd.has_bit`. Everything here is numpy, and the `&`, `|` and `~` of numpy serve as they are (mind the bits past n
after a `~`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Bitset, IntArray

_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)  # set bits of each byte


def words(n: int) -> int:
    """How many words a set over n rows has."""
    return (n + 63) >> 6


def empty(n: int) -> Bitset:
    """The set over n rows that holds none: uint64 [ceil(n / 64)]."""
    return np.zeros(words(n), dtype=np.uint64)


def full(n: int) -> Bitset:
    """The set that holds all of n rows."""
    bits = np.full(words(n), np.iinfo(np.uint64).max, dtype=np.uint64)
    if n & 63:
        bits[-1] = (1 << (n & 63)) - 1
    return bits


def from_mask(mask: NDArray[np.bool_]) -> Bitset:
    """The set of the positions where mask [n] is true."""
    packed = np.zeros(words(len(mask)) * 8, dtype=np.uint8)
    packed[: (len(mask) + 7) >> 3] = np.packbits(mask, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def to_mask(bits: Bitset, n: int) -> NDArray[np.bool_]:
    """bool [n]: whether each row is in the set."""
    packed = bits.astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(packed, count=n, bitorder="little").view(np.bool_)


def from_ordinals(ordinals: IntArray, n: int) -> Bitset:
    """The set of the given rows, out of n; in any order, repeats allowed."""
    bits = empty(n)
    add(bits, ordinals)
    return bits


def to_ordinals(bits: Bitset) -> IntArray:
    """int64: the rows in the set, ascending."""
    filled = np.flatnonzero(bits)  # a sparse set is unpacked only where it holds something
    row, bit = np.nonzero(to_mask(bits[filled], len(filled) * 64).reshape(-1, 64))
    return filled[row] * 64 + bit


def count(bits: Bitset) -> int:
    """How many rows are in the set."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return int(np.bitwise_count(bits).sum())
    return int(_ONES[bits.view(np.uint8)].sum())


def add(bits: Bitset, ordinals: IntArray) -> None:
    """Put rows into the set, in place."""
    np.bitwise_or.at(bits, ordinals >> 6, _bit(ordinals))


def remove(bits: Bitset, ordinals: IntArray) -> None:
    """Take rows out of the set, in place."""
    np.bitwise_and.at(bits, ordinals >> 6, ~_bit(ordinals))


def intersect(a: Bitset | None, b: Bitset | None) -> Bitset | None:
    """The rows in both sets, where None stands for all rows."""
    if a is None or b is None:
        return a if b is None else b
    return a & b


def _bit(ordinals: IntArray) -> Bitset:
    return np.left_shift(np.uint64(1), (ordinals & 63).astype(np.uint64))
