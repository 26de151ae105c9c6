"""Rows of unequal length, one after another in flat arrays: row i has the elements offsets[i]:offsets[i + 1]."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vsearch.types import IntArray


def offsets_of(lengths: Any) -> IntArray:
    """int64 [n + 1]: where rows of these lengths [n] start, and where the last ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def gathered(offsets: IntArray, rows: IntArray) -> tuple[IntArray, IntArray]:
    """(offsets, positions of the elements) of the rows at these ordinals."""
    starts = offsets[:-1][rows]
    lengths = offsets[1:][rows] - starts
    kept = offsets_of(lengths)
    return kept, np.arange(kept[-1]) + np.repeat(starts - kept[:-1], lengths)


def chunks(offsets: IntArray, rows: IntArray, elements: int) -> Iterator[IntArray]:
    """The ordinals in runs of at most so many elements, but at least one row."""
    ends = np.cumsum(offsets[1:][rows] - offsets[:-1][rows])
    start, before = 0, 0
    while start < len(rows):
        stop = max(start + 1, int(np.searchsorted(ends, before + elements, side="right")))
        yield rows[start:stop]
        start, before = stop, int(ends[stop - 1])


def order_of(n: int, positions: Sequence[NDArray[Any]]) -> IntArray:
    """For each of n places which of the parts' rows, counted through, comes there: the last that names it, else the
    row after all of them. `positions`: of each part's rows, ordinals or a bool mask."""
    source = np.full(n, -1, np.int64)
    total = 0
    for at in positions:
        count = int(np.count_nonzero(at)) if at.dtype == np.bool_ else len(at)
        source[at] = np.arange(total, total + count)
        total += count
    source[source < 0] = total
    return source


def check_offsets(offsets: IntArray, elements: int) -> None:
    """Raises ValueError unless these are offsets into so many elements."""
    if offsets.dtype != np.int64 or not len(offsets) or offsets[0] != 0 or offsets[-1] != elements:
        raise ValueError(f"the offsets do not span {elements} elements")
    if (offsets[1:] < offsets[:-1]).any():
        raise ValueError("the offsets descend")


class RaggedStore:
    """Up to `capacity` rows that are appended by one thread, and read by others below a published count.

    There is room for `elements` at once: the operating system commits pages only as rows arrive. Flat arrays that are
    full are replaced by twice as long ones: a reader keeps those that it has.
    """

    def __init__(self, capacity: int, elements: int, dtypes: Sequence[DTypeLike]) -> None:
        self._offsets = np.zeros(capacity + 1, np.int64)
        self._arrays = tuple(np.empty(elements, dtype) for dtype in dtypes)

    def put(self, at: int, offsets: IntArray, arrays: Sequence[NDArray[Any]]) -> None:
        """Append rows, given like those of the store, as the numbers `at` and on."""
        used = int(self._offsets[at])
        end = used + int(offsets[-1])
        if end > len(self._arrays[0]):
            self._arrays = tuple(_longer(array, used, max(end, 2 * len(array))) for array in self._arrays)
        for mine, new in zip(self._arrays, arrays, strict=True):
            mine[used:end] = new
        self._offsets[at + 1 : at + len(offsets)] = offsets[1:] + used

    def first(self, count: int) -> tuple[IntArray, tuple[NDArray[Any], ...]]:
        """(offsets, arrays) of the first rows, as views."""
        end = int(self._offsets[count])
        return self._offsets[: count + 1], tuple(array[:end] for array in self._arrays)


def _longer(array: NDArray[Any], used: int, length: int) -> NDArray[Any]:
    longer = np.empty(length, array.dtype)
    longer[:used] = array[:used]
    return longer
