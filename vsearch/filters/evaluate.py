"""A filter on the columns of a segment: a bool for every row, the same as match.py gives for its payload.

1. And, Or, Not and MinShould combine masks. `within` is the mask of rows whose answer still matters: outside of it a
   node may answer anything. And passes on what is left, so payloads are read for few rows.
2. A condition on values tests numbers by interval, strings once for each dictionary entry, places by columns of
   `lat` and `lon` that line up.
3. IsNull, IsEmpty, Exists and ValuesCount follow from the markers. Of the values at a path, those in lists number
   `lengths of the lists - nulls, objects and lists at path[]`; the others stand alone (see flatten.py).
4. What columns cannot decide is decided on payloads, for the rows that columns leave as candidates: Nested, `[n]`, a
   final `[]` after an earlier one, and places whose `lat` and `lon` do not line up.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import reduce
from typing import Any, Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Column, ColumnType, IntArray, Payload, PointId

from .arguments import Scalar
from .columns import NO_INSTANT, BoolArray, ColumnSet, RowMasks
from .match import count_test, place_test, predicate, text_test
from .paths import EACH, Path, format_path, parse_path
from .tree import (
    And,
    Equals,
    Except,
    Exists,
    GeoBox,
    GeoPolygon,
    GeoRadius,
    HasId,
    In,
    IsEmpty,
    IsNull,
    Leaf,
    MinShould,
    Nested,
    Node,
    Not,
    Or,
    Range,
    TextMatch,
    ValuesCount,
)
from .values import EARTH_RADIUS_M, INT64_MAX, INT64_MIN, datetime_us

__all__ = ["ColumnSet", "evaluate"]

Geo = GeoRadius | GeoBox | GeoPolygon
FloatArray = NDArray[np.float64]
Ids = Callable[[tuple[PointId, ...]], BoolArray]
PayloadOf = Callable[[int], Payload]

NUMBERS: Final[tuple[ColumnType, ...]] = ("int", "float")
SCALARS: Final[tuple[ColumnType, ...]] = (*NUMBERS, "str", "bool")
MARKERS: Final[tuple[ColumnType, ...]] = ("null", "list", "object")
EDGE_M: Final = 1.0  # far above the rounding of a distance, a few decimetres near the antipode
FEW: Final = 64  # values of one condition looked up one by one rather than by a scan


def evaluate(
    node: Node, rows: int, columns: ColumnSet, ids: Ids, payload_of: PayloadOf, within: BoolArray | None = None
) -> BoolArray:
    """bool [rows]: which of a segment's rows satisfy the filter.

    `ids` gives the mask (bool [rows]) of the rows with one of some ids; `payload_of` the payload of a row, read only
    where columns cannot decide. `within` (bool [rows]) restricts the answer, for example to live rows: no payload
    outside of it is read.
    """
    scope = np.ones(rows, dtype=np.bool_) if within is None else within
    return _Evaluation(RowMasks(rows, columns), ids, payload_of).mask(node, scope) & scope


class _Evaluation:
    """One call of `evaluate`: the segment's side of it."""

    def __init__(self, masks: RowMasks, ids: Ids, payload_of: PayloadOf) -> None:
        self.masks = masks
        self.ids = ids
        self.payload_of = payload_of

    def mask(self, node: Node, within: BoolArray) -> BoolArray:
        match node:
            case And(conditions):
                left = within
                for one in sorted(conditions, key=_needs_payloads):
                    left = left & self.mask(one, left)
                return left
            case Or(conditions):
                found = self.masks.none()
                for one in sorted(conditions, key=_needs_payloads):
                    found = found | self.mask(one, within & ~found)
                return found
            case Not(condition):
                return ~self.mask(condition, within)
            case MinShould(conditions, count):
                held = np.zeros(self.masks.rows, dtype=np.int32)
                for one in conditions:
                    held += self.mask(one, within)
                return held >= count
            case HasId(ids):
                return self.ids(ids)
            case Leaf():
                if _needs_payloads(node):
                    return self._read(node, within & self._candidates(node, ()))
                if isinstance(node, Geo):
                    found, unclear = self._places(node)
                    return found | self._read(node, within & unclear & ~found)
                return self._leaf(node)
        raise AssertionError(f"bug: no evaluation of {node!r}")

    def _read(self, leaf: Leaf, candidates: BoolArray) -> BoolArray:
        """Decides the candidates on their payloads; the others do not hold."""
        holds = predicate(leaf)
        found = self.masks.none()
        for row in np.flatnonzero(candidates).tolist():
            found[row] = holds(self.payload_of(row))
        return found

    def _candidates(self, node: Node, prefix: Path) -> BoolArray:
        """The rows that a condition on objects at `prefix` may hold for: never fewer than it does."""
        every = ~self.masks.none()
        match node:
            case And(conditions):
                return reduce(np.logical_and, (self._candidates(one, prefix) for one in conditions), every)
            case Or(conditions) | MinShould(conditions):
                return reduce(np.logical_or, (self._candidates(one, prefix) for one in conditions), ~every)
            case Nested(path, condition):
                inner = (*prefix, *_widened(path))
                return self.masks.has(format_path(inner), "object") & self._candidates(condition, inner)
            case Not() | HasId() | IsEmpty() | ValuesCount():
                return every
            case Leaf():
                wide = replace(node, path=format_path((*prefix, *_widened(node.path))))
                return np.logical_or(*self._places(wide)) if isinstance(wide, Geo) else self._leaf(wide)
        raise AssertionError(f"bug: no candidates for {node!r}")

    def _leaf(self, leaf: Leaf) -> BoolArray:
        """The rows by columns alone; too many for a value condition on a path with a final [] after another."""
        path, masks = leaf.path, self.masks
        match leaf:
            case Exists():
                return masks.has(path, *SCALARS, *MARKERS) | (self._elements(path) > 0)
            case IsNull():
                return masks.has(path, "null") | masks.has(path + "[]", "null")
            case IsEmpty():
                return ~(self._alone(path) | masks.has(path, "object") | self._lists(path, 1, INT64_MAX))
            case ValuesCount():
                return self._values_count(leaf)
        found = masks.none()
        for column, among in self._columns_of(path):
            hits = self._values(leaf, column)
            found |= hits if among is None else hits & among
        if isinstance(leaf, Except):  # objects and lists among the values differ from every scalar
            found |= masks.has(path, "object") | masks.has(path + "[]", "object", "list")
        return found

    def _columns_of(self, path: str) -> Iterator[tuple[Column, BoolArray | None]]:
        """The columns with the scalar values of a path, and in which rows they are (None: in all)."""
        for kind in SCALARS:
            if (column := self.masks.get(path, kind)) is not None:
                yield column, None
            if path.endswith("[]") and (column := self.masks.get(path[:-2], kind)) is not None:
                yield column, self.masks.has(path[:-2], "list")

    def _in_lists(self, path: str) -> IntArray:
        """int64 [rows]: how many of the scalars at a path are elements of lists there."""
        lists = self.masks.get(path, "list")
        if lists is None:
            return np.zeros(self.masks.rows, dtype=np.int64)
        ends = np.concatenate(([0], np.cumsum(lists.values, dtype=np.int64)))[lists.offsets]
        members: IntArray = np.diff(ends)
        for kind in MARKERS:
            members = members - self.masks.counts(path + "[]", kind)
        return members

    def _elements(self, path: str) -> IntArray:
        """int64 [rows]: how many sites of a path with a final [] are scalars (0 for another path)."""
        return self._in_lists(path[:-2]) if path.endswith("[]") else np.zeros(self.masks.rows, dtype=np.int64)

    def _alone(self, path: str) -> BoolArray:
        """bool [rows]: whether a site of the path is a scalar."""
        scalars = sum(self.masks.counts(path, kind) for kind in SCALARS)
        return (scalars > self._in_lists(path)) | (self._elements(path) > 0)

    def _lists(self, path: str, shortest: int, longest: int) -> BoolArray:
        """bool [rows]: whether a list at the path has so many elements."""
        lists = self.masks.get(path, "list")
        if lists is None:
            return self.masks.none()
        return self.masks.of(lists, (lists.values >= shortest) & (lists.values <= longest))

    def _values_count(self, leaf: ValuesCount) -> BoolArray:
        path, masks, fits = leaf.path, self.masks, count_test(leaf)
        found = self._lists(path, *_interval(leaf.gt, leaf.gte, leaf.lt, leaf.lte))
        if fits(1):
            found = found | self._alone(path) | masks.has(path, "object")
        if fits(0):
            found = found | masks.has(path, "null") | ~self._leaf(Exists(path))
        return found

    def _values(self, leaf: Leaf, column: Column) -> BoolArray:
        """bool [rows]: whether a value of the column satisfies the condition."""
        match leaf:
            case Equals(_, value):
                return self._one_of((value,), column)
            case Except(_, values):
                return self.masks.of(column, ~_equal_one_of(values, column))
            case In(_, values):
                return self._one_of(values, column)
            case Range():
                return self._range(leaf, column)
            case TextMatch() if column.type == "str":
                return self._text(leaf, column)
        return self.masks.none()

    def _one_of(self, values: tuple[Scalar, ...], column: Column) -> BoolArray:
        wanted = _stored(values, column)
        if len(wanted) <= (FEW if self.masks.columns.order(column) is not None else 1):
            found = self.masks.none()
            for value in wanted:
                found |= self.masks.between(column, value, value)
            return found
        return self.masks.of(column, _equal_one_of(values, column))

    def _range(self, leaf: Range, column: Column) -> BoolArray:
        bounds: list[Any] = [leaf.gt, leaf.gte, leaf.lt, leaf.lte]
        if leaf.of_datetimes and column.type == "str":
            low, high = _interval(*(None if bound is None else datetime_us(bound) for bound in bounds))
            instants = self.masks.columns.instants_us(column)
            hits = (instants >= max(low, NO_INSTANT + 1)) & (instants <= high)
            return self.masks.of(column, hits[column.values])
        if leaf.of_datetimes or column.type not in ("int", "float"):
            return self.masks.none()
        ends = _interval(*bounds) if column.type == "int" else _float_interval(*bounds)
        return self.masks.between(column, *ends) if ends[0] <= ends[1] else self.masks.none()

    def _text(self, leaf: TextMatch, column: Column) -> BoolArray:
        if leaf.mode == "prefix" and not leaf.ignore_case:  # the dictionary is sorted: these strings are neighbours
            size = len(leaf.text)
            first = bisect_left(column.dictionary, leaf.text, key=lambda text: text[:size])
            end = bisect_right(column.dictionary, leaf.text, lo=first, key=lambda text: text[:size])
            return self.masks.between(column, first, end - 1) if first < end else self.masks.none()
        hits = self.masks.columns.texts(column, (leaf.mode, leaf.text, leaf.ignore_case), text_test(leaf))
        return self.masks.of(column, hits[column.values])

    def _places(self, leaf: Geo) -> tuple[BoolArray, BoolArray]:
        """bool [rows] twice: rows with a place inside, and rows whose places columns cannot tell."""
        found, unclear = self.masks.none(), self.masks.none()
        for path in (leaf.path, leaf.path + "[]"):  # places that stand there, and those in a list there
            objects = self.masks.counts(path, "object")
            if not objects.any():
                continue
            owner = np.repeat(np.arange(self.masks.rows), objects)
            lat, lat_clear, lat_some = self._degrees(path + ".lat", objects, owner)
            lon, lon_clear, lon_some = self._degrees(path + ".lon", objects, owner)
            found[owner[_inside(leaf, lat, lon)]] = True
            unclear |= lat_some & lon_some & ~(lat_clear & lon_clear)
        return found, unclear

    def _degrees(self, path: str, objects: IntArray, owner: IntArray) -> tuple[FloatArray, BoolArray, BoolArray]:
        """One coordinate of each object, the rows where it is clear which object has which, and where there is any.

        It is clear where all objects of a row have a number of one type, and none has a list: then values and objects
        are in the same order. float64 [len(owner)] with nan where unclear, bool [rows], bool [rows].
        """
        degrees = np.full(len(owner), np.nan)
        clear = self.masks.none()
        alone = ~self.masks.has(path, "list") & (objects > 0)
        for kind in NUMBERS:
            if (column := self.masks.get(path, kind)) is not None:
                full = alone & (self.masks.counts(path, kind) == objects)
                degrees[full[owner]] = column.values[full[column.rows]]
                clear |= full
        return degrees, clear, self.masks.has(path, *NUMBERS)


def _needs_payloads(node: Node) -> bool:
    if isinstance(node, Nested):
        return True
    if isinstance(node, Leaf):
        steps = parse_path(node.path)
        if isinstance(node, (Equals, In, Range, TextMatch)) and steps[-1] is EACH and EACH in steps[:-1]:
            return True
        return any(isinstance(step, int) for step in steps)
    return any(map(_needs_payloads, node.children))


def _widened(path: str) -> Path:
    """The steps of a path with every element of a list instead of one."""
    return tuple(EACH if isinstance(step, int) else step for step in parse_path(path))


def _stored(values: tuple[Scalar, ...], column: Column) -> list[Any]:
    """Those of the values that the column could hold, as it holds them: strings as codes."""
    match column.type:
        case "bool":
            return [int(value) for value in values if isinstance(value, bool)]
        case "str":
            return _codes({value for value in values if isinstance(value, str)}, column)
        case "int":
            exact = [int(value) for value in values if _is_number(value) and value == int(value)]
            return [value for value in exact if INT64_MIN <= value <= INT64_MAX]
    return [float(value) for value in values if _is_number(value) and value == float(value)]


def _is_number(value: Scalar) -> TypeGuard[int | float]:
    return not isinstance(value, (str, bool))


def _codes(texts: set[str], column: Column) -> list[int]:
    dictionary = column.dictionary
    if len(texts) * 16 > len(dictionary):  # a search costs as much as 16 steps of a scan
        return [code for code, text in enumerate(dictionary) if text in texts]
    found = ((bisect_left(dictionary, text), text) for text in texts)
    return [code for code, text in found if code < len(dictionary) and dictionary[code] == text]


def _equal_one_of(values: tuple[Scalar, ...], column: Column) -> BoolArray:
    """bool [len(column.values)]: which values of the column equal one of these."""
    wanted = np.array(_stored(values, column), dtype=column.values.dtype)
    if column.type != "str":
        return np.isin(column.values, wanted)
    entries = np.zeros(len(column.dictionary), dtype=np.bool_)  # codes are small: a look-up needs no sorting
    entries[wanted] = True
    hits: BoolArray = entries[column.values]
    return hits


def _interval(gt: Any, gte: Any, lt: Any, lte: Any) -> tuple[int, int]:
    """The integers of 64 bits within exact bounds: from the first to the second, (1, 0) for none."""
    low, high = INT64_MIN, INT64_MAX
    if gt is not None:
        low = max(low, math.floor(gt) + 1)
    if gte is not None:
        low = max(low, math.ceil(gte))
    if lt is not None:
        high = min(high, math.ceil(lt) - 1)
    if lte is not None:
        high = min(high, math.floor(lte))
    return (low, high) if low <= high else (1, 0)


def _float_interval(gt: Any, gte: Any, lt: Any, lte: Any) -> tuple[float, float]:
    """The same among float64. float(bound) may round an integer, which Python then compares exactly."""
    low, high = -math.inf, math.inf
    if gt is not None:
        low = max(low, near if (near := float(gt)) > gt else math.nextafter(near, math.inf))
    if gte is not None:
        low = max(low, near if (near := float(gte)) >= gte else math.nextafter(near, math.inf))
    if lt is not None:
        high = min(high, near if (near := float(lt)) < lt else math.nextafter(near, -math.inf))
    if lte is not None:
        high = min(high, near if (near := float(lte)) <= lte else math.nextafter(near, -math.inf))
    return low, high


def _inside(leaf: Geo, lat: FloatArray, lon: FloatArray) -> BoolArray:
    """bool [n]: which places lie inside, none that has nan or is out of range."""
    hits = (np.abs(lat) <= 90) & (np.abs(lon) <= 180)
    match leaf:
        case GeoBox(_, top, left, bottom, right):
            across = (lon > left) | (lon < right) if left > right else (lon > left) & (lon < right)
            return hits & (lat < top) & (lat > bottom) & across
        case GeoRadius():
            metres = np.full(len(lat), np.inf)
            metres[hits] = _distances_m(leaf, lat[hits], lon[hits])
            # numpy's sine may differ from the C library's in the last bits: near the edge the latter decides.
            edge = hits & (np.abs(metres - leaf.radius_m) <= EDGE_M)
            hits &= metres < leaf.radius_m
        case GeoPolygon(_, ring):
            lats, lons = zip(*ring, strict=True)
            edge = hits & (lat >= min(lats)) & (lat <= max(lats)) & (lon >= min(lons)) & (lon <= max(lons))
            hits = np.zeros_like(edge)
    inside = place_test(leaf)
    places = zip(lat[edge].tolist(), lon[edge].tolist(), strict=True)
    hits[edge] = np.fromiter(map(inside, places), dtype=np.bool_, count=np.count_nonzero(edge))
    return hits


def _distances_m(leaf: GeoRadius, lat: FloatArray, lon: FloatArray) -> FloatArray:
    lat_a, lat_b = math.radians(leaf.lat), np.radians(lat)
    h = np.sin((lat_b - lat_a) / 2) ** 2
    h += math.cos(lat_a) * np.cos(lat_b) * np.sin((np.radians(lon) - math.radians(leaf.lon)) / 2) ** 2
    metres: FloatArray = 2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(h, 1.0)))
    return metres
