"""Filters as Python expressions: `(F("year") >= 2020) & F("tag").any(["a", "b"])`.

Each comparison gives a node of the tree; nodes combine by `&`, `|`, `~` and `min_should`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, NoReturn

from vsearch.errors import InvalidFilter
from vsearch.types import PointId

from .tree import (
    Equals,
    Exists,
    GeoBox,
    GeoPolygon,
    GeoRadius,
    HasId,
    In,
    IsEmpty,
    IsNull,
    MinShould,
    Nested,
    Node,
    Range,
    TextMatch,
    ValuesCount,
    all_of,
    negate,
)
from .values import Place


def min_should(conditions: Iterable[Node], count: int) -> Node:
    """At least `count` of the conditions hold."""
    parts = tuple(conditions)
    for part in parts:
        if not isinstance(part, Node):
            raise InvalidFilter(f"min_should got {part!r}", "Give a list of conditions, such as F(x) == 1")
    return MinShould(parts, count)


class _Operand:
    """What may stand left of `&`, `|` and in `if` only by mistake: a field before it is compared with anything."""

    _name: str

    def _misused(self, *_: object) -> NoReturn:
        raise InvalidFilter(
            f"{self._name} is not compared with anything",
            "Put parentheses around each comparison, as in (F(x) >= 1) & (F(y) == 2)",
        )

    def __bool__(self) -> NoReturn:
        self._misused()

    __and__ = __rand__ = __or__ = __ror__ = _misused

    def __invert__(self) -> NoReturn:
        self._misused()


class F(_Operand):
    """A payload field by its path: `F("year")`, `F("author.name")`, `F("authors[].name")`, `F('"odd.key"')`.

    A condition on values holds if any value of a list satisfies it (see vsearch.filters.tree). Wrong arguments raise
    InvalidFilter.
    """

    def __init__(self, path: str) -> None:
        self.path = Exists(path).path
        self._name = f"F({self.path!r})"

    def __repr__(self) -> str:
        return self._name

    @staticmethod
    def ids(ids: Iterable[PointId]) -> Node:
        """The point's id is one of these."""
        return HasId(ids)  # type: ignore[arg-type]  # made a tuple there

    def __eq__(self, value: object) -> Node:  # type: ignore[override]
        """Some value equals this one; for a datetime, some value denotes this instant."""
        if isinstance(value, date):
            return Range(self.path, gte=value, lte=value)  # type: ignore[arg-type]
        return Equals(self.path, value)  # type: ignore[arg-type]

    def __ne__(self, value: object) -> Node:  # type: ignore[override]
        """No value equals this one; also true where the field is missing."""
        return negate(self == value)

    __hash__ = None  # type: ignore[assignment]

    def __gt__(self, bound: Any) -> Node:
        return Range(self.path, gt=_given(bound))

    def __ge__(self, bound: Any) -> Node:
        return Range(self.path, gte=_given(bound))

    def __lt__(self, bound: Any) -> Node:
        return Range(self.path, lt=_given(bound))

    def __le__(self, bound: Any) -> Node:
        return Range(self.path, lte=_given(bound))

    def between(self, low: Any, high: Any) -> Node:
        """Some value lies in [low, high]: numbers, datetimes or RFC 3339 strings."""
        return Range(self.path, gte=_given(low), lte=_given(high))

    def any(self, values: Iterable[Any]) -> Node:
        """Some value equals one of these."""
        return In(self.path, values)  # type: ignore[arg-type]

    def all(self, values: Iterable[Any]) -> Node:
        """Each of these equals some value: a list contains them all."""
        return all_of(Equals(self.path, value) for value in In(self.path, values).values)  # type: ignore[arg-type]

    def none(self, values: Iterable[Any]) -> Node:
        """No value equals one of these; also true where the field is missing."""
        return negate(self.any(values))

    def is_null(self) -> Node:
        """The value is null, or a list with a null in it."""
        return IsNull(self.path)

    def is_empty(self) -> Node:
        """The field is missing, null or an empty list."""
        return IsEmpty(self.path)

    def exists(self) -> Node:
        """The field is there, be it null or empty."""
        return Exists(self.path)

    def text(self, text: str) -> Node:
        """Some string holds every word of the text, in any order and case."""
        return TextMatch(self.path, text, "words")

    def text_any(self, text: str) -> Node:
        """Some string holds at least one word of the text, in any case."""
        return TextMatch(self.path, text, "any_word")

    def phrase(self, text: str) -> Node:
        """Some string holds the words of the text next to each other, in any case."""
        return TextMatch(self.path, text, "phrase")

    def prefix(self, text: str, ignore_case: bool = False) -> Node:
        """Some string starts with the text."""
        return TextMatch(self.path, text, "prefix", ignore_case)

    def contains(self, text: str, ignore_case: bool = False) -> Node:
        """Some string holds the text anywhere. For a list that has an element, use ==."""
        return TextMatch(self.path, text, "substring", ignore_case)

    def within_radius(self, lat: float, lon: float, radius_m: float) -> Node:
        """Some place `{"lat", "lon"}` is nearer than so many metres."""
        return GeoRadius(self.path, lat, lon, radius_m)

    def within_box(self, top_left: Place, bottom_right: Place) -> Node:
        """Some place lies inside the box between two (lat, lon) corners."""
        try:
            (top, left), (bottom, right) = top_left, bottom_right
        except (TypeError, ValueError):
            raise InvalidFilter(f"box is {top_left!r}, {bottom_right!r}", "Give two corners (lat, lon)") from None
        return GeoBox(self.path, top, left, bottom, right)

    def within_polygon(self, exterior: Iterable[Place], interiors: Iterable[Iterable[Place]] = ()) -> Node:
        """Some place lies inside a closed ring of (lat, lon) pairs and outside the interior rings."""
        return GeoPolygon(self.path, exterior, interiors)  # type: ignore[arg-type]

    def nested(self, condition: Node) -> Node:
        """One object of the list satisfies the whole condition, whose paths begin at that object."""
        if not isinstance(condition, Node):
            raise InvalidFilter(f"nested got {condition!r}", "Give a condition, such as F(x) == 1")
        return Nested(self.path, condition)

    @property
    def count(self) -> Count:
        """The number of values, to be compared: a list counts its elements, null and missing are 0, others 1."""
        return Count(self.path)


class Count(_Operand):
    """The number of values of a field: compare it with an integer."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._name = f"F({path!r}).count"

    def __eq__(self, count: object) -> Node:  # type: ignore[override]
        return ValuesCount(self.path, gte=_given(count), lte=_given(count))

    def __ne__(self, count: object) -> Node:  # type: ignore[override]
        return negate(self == count)

    __hash__ = None  # type: ignore[assignment]

    def __gt__(self, count: int) -> Node:
        return ValuesCount(self.path, gt=_given(count))

    def __ge__(self, count: int) -> Node:
        return ValuesCount(self.path, gte=_given(count))

    def __lt__(self, count: int) -> Node:
        return ValuesCount(self.path, lt=_given(count))

    def __le__(self, count: int) -> Node:
        return ValuesCount(self.path, lte=_given(count))

    def between(self, low: int, high: int) -> Node:
        """The number of values lies in [low, high]."""
        return ValuesCount(self.path, gte=_given(low), lte=_given(high))


def _given(bound: Any) -> Any:
    """A bound that was written down: None would silently mean an open one."""
    if bound is None:
        raise InvalidFilter("compared with None", "Null has no order; for null values use is_null or is_empty")
    return bound
