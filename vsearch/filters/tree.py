"""The syntax tree of a filter: what the three spellings are read into and what both evaluations walk.

What a condition means:
- A path selects sites, the values that stand there: none when a key is missing, several when it has `[]`.
- A condition on values holds if any one value satisfies it. The values of a path are its sites, and where a site is a
  list, the elements of that list instead of the list.
- Types are kept apart: True is not 1, "1" is not 1. Integers and floats are one type and compare exactly: 1 is 1.0.
- Not is the complement over all points: a point without the path satisfies `Not(Equals(path, value))`.
- Numbers are finite. Integers of more than 64 bits count as the nearest float64, here and in payloads.

Trees are immutable, hashable and kept canonical by `all_of`, `any_of` and `negate`: no And directly in an And, no Or
in an Or, no Not in a Not, and neither And nor Or has exactly one condition. Equal trees mean the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Final, Literal, NoReturn, get_args

from vsearch.errors import InvalidFilter
from vsearch.types import MAX_FILTER_DEPTH, MAX_FILTER_VALUES, PointId

from .arguments import Bound, Scalar, bound, degrees, plain, ring, scalar, sequence
from .paths import format_path, parse_path
from .values import Place

TextMode = Literal["substring", "prefix", "words", "any_word", "phrase"]
BOUNDS: Final = ("gt", "gte", "lt", "lte")


class Node:
    """One node. Nodes combine by `&`, `|` and `~`, and refuse to be used as a truth value."""

    @property
    def children(self) -> tuple[Node, ...]:
        return ()

    @cached_property
    def depth(self) -> int:
        """Levels of nodes below this one."""
        return max((1 + child.depth for child in self.children), default=0)

    def __and__(self, other: object) -> Node:
        return all_of((self, _operand(other)))

    def __or__(self, other: object) -> Node:
        return any_of((self, _operand(other)))

    __rand__ = __and__
    __ror__ = __or__

    def __invert__(self) -> Node:
        return negate(self)

    def __bool__(self) -> NoReturn:
        raise InvalidFilter(
            "a filter condition has no truth value of its own",
            "Combine conditions by & | ~ instead of and, or, not; write a < F(x) < b as F(x).between(a, b)",
        )


@dataclass(frozen=True)
class And(Node):
    """Every condition holds; without conditions it holds for every point."""

    conditions: tuple[Node, ...]

    def __post_init__(self) -> None:
        assert len(self.conditions) != 1, "bug: an And of one condition"
        assert not any(isinstance(condition, And) for condition in self.conditions), "bug: an And in an And"
        _check_size(self)

    @property
    def children(self) -> tuple[Node, ...]:
        return self.conditions


@dataclass(frozen=True)
class Or(Node):
    """At least one condition holds."""

    conditions: tuple[Node, ...]

    def __post_init__(self) -> None:
        assert len(self.conditions) > 1, "bug: an Or of fewer than two conditions"
        assert not any(isinstance(condition, Or) for condition in self.conditions), "bug: an Or in an Or"
        _check_size(self)

    @property
    def children(self) -> tuple[Node, ...]:
        return self.conditions


@dataclass(frozen=True)
class Not(Node):
    """The condition does not hold: the complement over all points."""

    condition: Node

    def __post_init__(self) -> None:
        assert not isinstance(self.condition, Not), "bug: a Not in a Not"
        _check_size(self)

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.condition,)


@dataclass(frozen=True)
class MinShould(Node):
    """At least `count` (1 or more) of the conditions hold."""

    conditions: tuple[Node, ...]
    count: int

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise InvalidFilter(f"min_should wants {self.count!r} conditions to hold", "Use an integer of 1 or more")
        _check_size(self)

    @property
    def children(self) -> tuple[Node, ...]:
        return self.conditions


@dataclass(frozen=True)
class HasId(Node):
    """The point's id is one of these."""

    ids: tuple[PointId, ...]

    def __post_init__(self) -> None:
        _set(self, "ids", tuple(plain(one) for one in sequence(self.ids, "ids")))
        for one in self.ids:
            if isinstance(one, bool) or not isinstance(one, (int, str)):
                raise InvalidFilter(f"point id is {one!r}", "An id is an integer or a string")


@dataclass(frozen=True)
class Leaf(Node):
    """A condition on what stands at `path` (kept in canonical form)."""

    path: str

    def __post_init__(self) -> None:
        _set(self, "path", format_path(parse_path(self.path)))


@dataclass(frozen=True)
class Nested(Leaf):
    """One object in a list satisfies `condition`, whose paths begin at that object.

    The path of the list may be given with or without a final `[]`, and is kept with it.
    """

    condition: Node

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path.endswith("[]"):
            _set(self, "path", self.path + "[]")
        if _holds_ids(self.condition):
            hint = "Put the condition on ids beside the nested one"
            raise InvalidFilter("a nested filter tests ids, which its objects do not have", hint)
        _check_size(self)

    @property
    def children(self) -> tuple[Node, ...]:
        return (self.condition,)


@dataclass(frozen=True)
class Equals(Leaf):
    """A value equals this one. Strings are compared by code points."""

    value: Scalar
    is_bool: bool = field(init=False, repr=False)  # so that True and 1, equal in Python, make unequal nodes

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, "value", scalar(self.value))
        _set(self, "is_bool", isinstance(self.value, bool))


@dataclass(frozen=True)
class In(Leaf):
    """A value equals one of these; never, if there are none."""

    values: tuple[Scalar, ...]
    are_bool: tuple[bool, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, "values", tuple(scalar(value) for value in sequence(self.values, "values")))
        _set(self, "are_bool", tuple(isinstance(value, bool) for value in self.values))


@dataclass(frozen=True)
class Except(In):
    """A value other than null equals none of these. Unlike Not(In), it fails where the path is missing or null."""


@dataclass(frozen=True)
class Range(Leaf):
    """A value lies within all the given bounds: numbers within numbers, RFC 3339 strings within datetimes.

    A bound may be given as a number, a datetime or date (UTC when it has no offset) or such a string; it is kept as a
    number or as a datetime in UTC. Other strings have no order.
    """

    gt: Bound = None
    gte: Bound = None
    lt: Bound = None
    lte: Bound = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in BOUNDS:
            _set(self, name, bound(getattr(self, name)))
        kinds = {isinstance(given, datetime) for given in self.bounds.values()}
        if len(kinds) != 1:
            problem = "has no bound" if not kinds else "mixes numbers and datetimes"
            raise InvalidFilter(f"range of {self.path!r} {problem}", "Give gt, gte, lt or lte, all of one type")

    @property
    def bounds(self) -> dict[str, int | float | datetime]:
        """The given bounds by name."""
        return {name: given for name in BOUNDS if (given := getattr(self, name)) is not None}

    @property
    def of_datetimes(self) -> bool:
        return any(isinstance(given, datetime) for given in self.bounds.values())


@dataclass(frozen=True)
class ValuesCount(Leaf):
    """The number of values at one site lies within all the given bounds.

    A list counts its elements, null and a missing path count 0, any other value counts 1.
    """

    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, count in self.bounds.items():
            if isinstance(count, bool) or not isinstance(count, int):
                raise InvalidFilter(f"{name} of a count of values is {count!r}", "Use an integer")
        if not self.bounds:
            raise InvalidFilter(f"the count of values of {self.path!r} has no bound", "Give gt, gte, lt or lte")

    @property
    def bounds(self) -> dict[str, int]:
        """The given bounds by name."""
        return {name: given for name in BOUNDS if (given := getattr(self, name)) is not None}


@dataclass(frozen=True)
class TextMatch(Leaf):
    """A string value contains the text.

    `mode`: substring and prefix compare code points, or case-folded texts with `ignore_case`. words (all of them),
    any_word (one of them) and phrase (all of them, adjacent and in order) compare runs of letters and digits and never
    mind case; a text without any word matches nothing.
    """

    text: str
    mode: TextMode
    ignore_case: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.text, str):
            raise InvalidFilter(f"text to find is {self.text!r}", "Use a string")
        if self.mode not in get_args(TextMode):
            raise InvalidFilter(f"unknown text mode {self.mode!r}", f"Use one of {', '.join(get_args(TextMode))}")
        if not isinstance(self.ignore_case, bool):
            raise InvalidFilter(f"ignore_case is {self.ignore_case!r}", "Use True or False")
        if self.mode not in ("substring", "prefix"):
            _set(self, "ignore_case", True)


@dataclass(frozen=True)
class GeoRadius(Leaf):
    """A place `{"lat", "lon"}` is nearer than `radius_m` metres on the sphere."""

    lat: float
    lon: float
    radius_m: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, "lat", degrees(self.lat, 90, "latitude"))
        _set(self, "lon", degrees(self.lon, 180, "longitude"))
        _set(self, "radius_m", degrees(self.radius_m, math.inf, "radius"))
        if self.radius_m < 0:
            raise InvalidFilter(f"radius is {self.radius_m} m", "Use a radius of 0 or more metres")


@dataclass(frozen=True)
class GeoBox(Leaf):
    """A place lies strictly inside a box of degrees; where left > right the box crosses the 180th meridian."""

    top: float
    left: float
    bottom: float
    right: float

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("top", "bottom"):
            _set(self, name, degrees(getattr(self, name), 90, "latitude"))
        for name in ("left", "right"):
            _set(self, name, degrees(getattr(self, name), 180, "longitude"))


@dataclass(frozen=True)
class GeoPolygon(Leaf):
    """A place lies strictly inside the exterior ring and strictly outside the interior ones, in the plane of degrees.

    A ring is a sequence of (lat, lon), at least four, of which the last repeats the first.
    """

    exterior: tuple[Place, ...]
    interiors: tuple[tuple[Place, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        _set(self, "exterior", ring(self.exterior))
        _set(self, "interiors", tuple(ring(one) for one in sequence(self.interiors, "interiors")))


@dataclass(frozen=True)
class IsNull(Leaf):
    """A site is null or a list with a null in it."""


@dataclass(frozen=True)
class IsEmpty(Leaf):
    """The path is missing, or every site is null or an empty list."""


@dataclass(frozen=True)
class Exists(Leaf):
    """There is a site, be it null or empty."""


def all_of(conditions: Iterable[Node]) -> Node:
    """The conjunction: the condition itself if there is one; And(()), which always holds, if there is none."""
    flat = [part for one in conditions for part in (one.conditions if isinstance(one, And) else (one,))]
    return flat[0] if len(flat) == 1 else And(tuple(flat))


def any_of(conditions: Iterable[Node]) -> Node:
    """The disjunction: the condition itself if there is one. Raises InvalidFilter for none."""
    flat = [part for one in conditions for part in (one.conditions if isinstance(one, Or) else (one,))]
    if not flat:
        raise InvalidFilter("an alternative of no conditions", "Give at least one condition")
    return flat[0] if len(flat) == 1 else Or(tuple(flat))


def negate(condition: Node) -> Node:
    """The complement."""
    return condition.condition if isinstance(condition, Not) else Not(condition)


def _set(node: Node, name: str, value: object) -> None:
    object.__setattr__(node, name, value)  # frozen dataclasses are normalised once, while they are made


def _operand(value: object) -> Node:
    if isinstance(value, Node):
        return value
    raise InvalidFilter(f"cannot combine a condition with {value!r}", "Put parentheses around each comparison")


def _check_size(node: Node) -> None:
    if len(node.children) > MAX_FILTER_VALUES:
        raise InvalidFilter(f"{len(node.children)} conditions in one place", f"Use at most {MAX_FILTER_VALUES}")
    if node.depth > MAX_FILTER_DEPTH:
        raise InvalidFilter(f"filter has more than {MAX_FILTER_DEPTH} levels", "Nest and, or, not less deeply")


def _holds_ids(node: Node) -> bool:
    return isinstance(node, HasId) or any(_holds_ids(child) for child in node.children)
