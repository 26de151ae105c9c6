"""The columns of one segment, found by path and type, with what is derived from them.

Columns never change, so derived data are computed on first use and kept. Any number of threads may use one ColumnSet:
two that miss the same entry compute it twice and keep the first, which a dict does atomically.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Column, ColumnType, IntArray

from .values import INT64_MIN, instant_us

BoolArray = NDArray[np.bool_]
Order = NDArray[np.int32]  # positions in a column's values

NO_INSTANT: Final = INT64_MIN  # stands for a string that is no datetime; real instants are far above
MAX_TESTS_KEPT: Final = 64  # results of text conditions over dictionaries: one byte a distinct string each


def sorted_order(column: Column) -> Order:
    """The payload index of a column: int32 positions of its values, sorted by value, those of nan left out.

    With it a lookup of a value or an interval costs two binary searches instead of a scan. Strings are sorted by code
    point, as their codes are. It serves columns of type int, float and str.
    """
    order = np.argsort(column.values, kind="stable")
    if column.type == "float":  # nan is sorted last
        order = order[: len(order) - np.count_nonzero(np.isnan(column.values))]
    return order.astype(np.int32)


class ColumnSet:
    """The columns of a segment, as `flatten` or `merge` made them, and payload indexes of some of them.

    `orders`: the `sorted_order` of columns by path and type.
    """

    def __init__(self, columns: Iterable[Column], orders: Mapping[tuple[str, ColumnType], Order] | None = None) -> None:
        self._columns = {(column.path, column.type): column for column in columns}
        self._orders = dict(orders or {})
        self._derived: dict[Hashable, Any] = {}
        self._tests: dict[Hashable, BoolArray] = {}

    def get(self, path: str, kind: ColumnType) -> Column | None:
        return self._columns.get((path, kind))

    def order(self, column: Column) -> Order | None:
        """The payload index of a column, if it has one."""
        return self._orders.get((column.path, column.type))

    def is_single(self, column: Column) -> bool:
        """Whether each row has exactly one value, so that values and rows are the same."""

        def compare() -> bool:
            rows = len(column.offsets) - 1
            return len(column.values) == rows and bool(np.array_equal(column.offsets, np.arange(rows + 1)))

        return bool(self._once(("single", column.path, column.type), compare))

    def instants_us(self, column: Column) -> IntArray:
        """int64 [len(dictionary)]: the datetimes that strings denote, NO_INSTANT where they denote none."""

        def parse() -> IntArray:
            found = [instant_us(text) for text in column.dictionary]
            return np.array([NO_INSTANT if us is None else us for us in found], dtype=np.int64)

        instants: IntArray = self._once(("instants", column.path), parse)
        return instants

    def texts(self, column: Column, key: Hashable, test: Callable[[str], bool]) -> BoolArray:
        """bool [len(dictionary)]: the strings that satisfy a test, which `key` identifies."""
        place = (column.path, key)
        hits = self._tests.get(place)
        if hits is None:
            hits = np.fromiter(map(test, column.dictionary), dtype=np.bool_, count=len(column.dictionary))
            if len(self._tests) >= MAX_TESTS_KEPT:
                self._tests.clear()
            self._tests[place] = hits
        return hits

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        found = self._derived.get(key)
        return self._derived.setdefault(key, make()) if found is None else found


class RowMasks:
    """What columns say about rows: masks (bool [rows]) and counts (int64 [rows])."""

    def __init__(self, rows: int, columns: ColumnSet) -> None:
        self.rows = rows
        self.columns = columns

    def get(self, path: str, kind: ColumnType) -> Column | None:
        column = self.columns.get(path, kind)
        assert column is None or len(column.offsets) == self.rows + 1, f"bug: column {path!r} has other rows"
        return column

    def none(self) -> BoolArray:
        """A new mask of no rows."""
        return np.zeros(self.rows, dtype=np.bool_)

    def counts(self, path: str, kind: ColumnType) -> IntArray:
        """How many values each row has at a path; zeros without such a column."""
        column = self.get(path, kind)
        return np.zeros(self.rows, dtype=np.int64) if column is None else np.diff(column.offsets)

    def has(self, path: str, *kinds: ColumnType) -> BoolArray:
        """Whether a row has a value of one of the types at a path."""
        mask = self.none()
        for kind in kinds:
            if (column := self.get(path, kind)) is not None:
                mask |= column.offsets[1:] > column.offsets[:-1]
        return mask

    def of(self, column: Column, hits: BoolArray) -> BoolArray:
        """The rows of the values that `hits` (bool [len(values)]) marks."""
        if self.columns.is_single(column):
            return hits
        mask = self.none()
        mask[column.rows[hits]] = True
        return mask

    def between(self, column: Column, low: Any, high: Any) -> BoolArray:
        """The rows with a value in [low, high], which are numbers, or codes of strings."""
        values, order = column.values, self.columns.order(column)
        if order is None:
            return self.of(column, values == low if low == high else (values >= low) & (values <= high))
        # bisect reads a few values; np.searchsorted would first copy the whole int32 order to int64.
        places = range(len(order))
        first = bisect_left(places, low, key=lambda place: values[order[place]])
        last = bisect_right(places, high, lo=first, key=lambda place: values[order[place]])
        mask = self.none()
        mask[column.rows[order[first:last]]] = True
        return mask
