"""Payloads as columns: one for each path and type of value, of all rows of a segment.

How values are laid out, by the path at which they stand:
1. A number, a string or a bool is a value of the column of its type at its path. Integers of more than 64 bits are
   values of the float column.
2. null is a value (0) of the null column, an object of the object column (0); an object's entries stand at
   `path.key`.
3. A list is a value of the list column, its length. Its numbers, strings and bools are values at the list's own path,
   in order; its nulls, objects and lists stand at `path[]` and are laid out there by these rules.

So the values at a path without `[]` are those of one value or of one list, and columns keep what a filter asks for
exactly, except which list a value came from and the order of values of different types.

Invariants: columns are sorted by (path, type) and hold at least one value; dictionaries are sorted by code point,
without repetition and without strings that no row uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from vsearch.errors import InvalidArgument
from vsearch.types import Column, ColumnType, IntArray, Payload

from .paths import format_path
from .values import INT64_MAX, INT64_MIN, number

_DTYPES: Final[dict[ColumnType, DTypeLike]] = {
    "int": np.int64,
    "float": np.float64,
    "bool": np.uint8,
    "str": np.int32,
    "null": np.int32,
    "list": np.int32,
    "object": np.int32,
}


class _Cell:
    """The values of one path and type found so far; `add` and `at` are the methods that append to them."""

    __slots__ = ("add", "at", "rows", "values")

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.values: list[Any] = []
        self.at: Callable[[int], None] = self.rows.append
        self.add: Callable[[Any], None] = self.values.append


class _Site:
    """One path, its cells, and the sites below it."""

    __slots__ = ("cells", "children", "element", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.cells: dict[ColumnType, _Cell] = {}
        self.children: dict[str, _Site] = {}
        self.element: _Site | None = None

    def put(self, kind: ColumnType, row: int, value: Any) -> None:
        cell = self.cells.get(kind)
        if cell is None:
            cell = self.cells[kind] = _Cell()
        cell.at(row)
        cell.add(value)

    def child(self, key: str) -> _Site:
        site = self.children.get(key)
        if site is None:
            if not isinstance(key, str):
                raise InvalidArgument(f"payload key is {key!r} below {self.path!r}", "Keys are strings")
            path = format_path((key,))
            site = self.children[key] = _Site(f"{self.path}.{path}" if self.path else path)
        return site

    def each(self) -> _Site:
        if self.element is None:
            self.element = _Site(self.path + "[]")
        return self.element

    def all(self) -> list[_Site]:
        below = [*self.children.values(), *([self.element] if self.element else [])]
        return [self, *(site for one in below for site in one.all())]


def flatten(payloads: Sequence[Payload]) -> list[Column]:
    """The columns of payloads; row i is `payloads[i]`.

    Raises InvalidArgument for a value that is not of JSON's types.
    """
    root = _Site("")
    children = root.children
    for row, payload in enumerate(payloads):
        for key, value in payload.items():
            site = children.get(key)
            if site is None:
                site = root.child(key)
            cell = site.cells.get("str") if type(value) is str else None
            if cell is None:
                _lay(site, row, value)
            else:  # a column of strings, the most frequent kind, without a call
                cell.at(row)
                cell.add(value)
    columns = [
        _column(site.path, kind, cell, len(payloads)) for site in root.all() for kind, cell in site.cells.items()
    ]
    return sorted(columns, key=lambda column: (column.path, column.type))


def _lay(site: _Site, row: int, value: Any) -> None:
    if _lay_scalar(site, row, value):
        return
    if value is None:
        site.put("null", row, 0)
    elif isinstance(value, dict):
        site.put("object", row, 0)
        for key, entry in value.items():
            _lay(site.child(key), row, entry)
    elif isinstance(value, list):
        site.put("list", row, len(value))
        for one in value:
            if not _lay_scalar(site, row, one):
                _lay(site.each(), row, one)
    else:
        kind = type(value).__name__
        raise InvalidArgument(f"payload value at {site.path!r} is of type {kind}", "Use the types of JSON")


def _lay_scalar(site: _Site, row: int, value: Any) -> bool:
    if isinstance(value, str):
        site.put("str", row, value)
    elif isinstance(value, bool):
        site.put("bool", row, value)
    elif isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        site.put("int", row, value)
    elif isinstance(value, (int, float)):
        site.put("float", row, number(value))
    else:
        return False
    return True


def _column(path: str, kind: ColumnType, cell: _Cell, rows: int) -> Column:
    offsets = _offsets(np.bincount(np.asarray(cell.rows, dtype=np.int64), minlength=rows))
    if kind != "str":
        return Column(path, kind, offsets, np.asarray(cell.values, dtype=_DTYPES[kind]))
    dictionary = sorted(set(cell.values))
    codes = {text: code for code, text in enumerate(dictionary)}
    values = np.fromiter(map(codes.__getitem__, cell.values), dtype=np.int32, count=len(cell.values))
    return Column(path, kind, offsets, values, dictionary)


def _offsets(counts: NDArray[np.integer[Any]]) -> IntArray:
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def merge(parts: Sequence[tuple[Sequence[Column], NDArray[np.integer[Any]]]]) -> list[Column]:
    """The columns of kept rows of several segments, one segment after the other.

    Each part is a segment's columns and the numbers of the rows to keep, in the order in which they are to follow.
    The result is what `flatten` makes of the payloads of those rows.
    """
    assert not any(keep.dtype == np.bool_ for _, keep in parts), "bug: a mask where row numbers are due"
    found: dict[tuple[str, ColumnType], list[Column | None]] = {}
    for number_of_part, (columns, _) in enumerate(parts):
        for column in columns:
            found.setdefault((column.path, column.type), [None] * len(parts))[number_of_part] = column
    keeps = [np.asarray(keep, dtype=np.int64) for _, keep in parts]
    merged = [_merge_column(path, kind, found[path, kind], keeps) for path, kind in sorted(found)]
    return [column for column in merged if len(column.values)]


def _merge_column(path: str, kind: ColumnType, columns: Sequence[Column | None], keeps: Sequence[IntArray]) -> Column:
    counts, values, texts = [], [], []
    for column, keep in zip(columns, keeps, strict=True):
        if column is None:
            counts.append(np.zeros(len(keep), dtype=np.int64))
            continue
        count, kept = _take(column, keep)
        counts.append(count)
        if kind == "str":
            used, kept = np.unique(kept, return_inverse=True)
            texts.append([column.dictionary[code] for code in used.tolist()])
        values.append(kept)
    dictionary: list[str] = sorted({text for part in texts for text in part})
    if kind == "str":
        codes = {text: code for code, text in enumerate(dictionary)}
        recoded = [np.array([codes[text] for text in part], dtype=np.int32) for part in texts]
        values = [new[old] for new, old in zip(recoded, values, strict=True)]
    offsets = _offsets(np.concatenate(counts))
    return Column(path, kind, offsets, np.concatenate(values).astype(_DTYPES[kind], copy=False), dictionary)


def _take(column: Column, keep: IntArray) -> tuple[IntArray, NDArray[Any]]:
    """How many values each kept row has, and those values, one row after the other."""
    starts = column.offsets[keep]
    counts = column.offsets[keep + 1] - starts
    ends = np.cumsum(counts)
    # Value j of the result is value j - (ends - counts) of its row, which begins at that row's start.
    positions = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - counts), counts)
    return counts, column.values[positions]
