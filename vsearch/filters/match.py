"""A filter on one payload at a time: the evaluation by definition, for points that have no columns yet.

`compile_filter` turns a tree into closures once; each call then walks one payload. The tests of single values are also
what evaluate.py applies to dictionaries and to rows that columns cannot decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from vsearch.types import Payload, PointId

from .paths import EACH, parse_path
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
from .values import Place, datetime_us, distance_m, in_ring, instant_us, number, place, words

Test = Callable[[Any], bool]  # of one value
Predicate = Callable[[Payload], bool]
Matcher = Callable[[PointId, Payload], bool]

_MISSING: Final = object()


def matches(node: Node, point_id: PointId, payload: Payload) -> bool:
    """Whether one point satisfies the filter; for several points compile it once by `compile_filter`."""
    return compile_filter(node)(point_id, payload)


def compile_filter(node: Node) -> Matcher:
    """The filter as a function of a point's id and payload."""
    match node:
        case And(conditions):
            every = [compile_filter(one) for one in conditions]
            return lambda point_id, payload: all(one(point_id, payload) for one in every)
        case Or(conditions):
            some = [compile_filter(one) for one in conditions]
            return lambda point_id, payload: any(one(point_id, payload) for one in some)
        case Not(condition):
            inner = compile_filter(condition)
            return lambda point_id, payload: not inner(point_id, payload)
        case MinShould(conditions, count):
            counted = [compile_filter(one) for one in conditions]
            return lambda point_id, payload: sum(one(point_id, payload) for one in counted) >= count
        case HasId(ids):
            wanted = frozenset(ids)
            return lambda point_id, payload: point_id in wanted
        case Leaf():
            holds = predicate(node)
            return lambda point_id, payload: holds(payload)
    raise AssertionError(f"bug: no evaluation of {node!r}")


def predicate(leaf: Leaf) -> Predicate:
    """A condition on a path as a function of the payload."""
    sites = sites_of(leaf.path)
    match leaf:
        case Nested():
            inner = compile_filter(leaf.condition)
            return lambda payload: any(inner(0, one) for one in sites(payload) if isinstance(one, dict))
        case Exists():
            return lambda payload: bool(sites(payload))
        case IsNull():
            return lambda payload: any(
                site is None or (isinstance(site, list) and None in site) for site in sites(payload)
            )
        case IsEmpty():
            return lambda payload: all(site is None or site == [] for site in sites(payload))
        case ValuesCount():
            fits = count_test(leaf)
            return lambda payload: any(map(fits, map(_count, sites(payload) or [None])))
    test = value_test(leaf)
    return lambda payload: any(map(test, values_of(sites(payload))))


def value_test(leaf: Leaf) -> Test:
    """The test that a condition on values puts to each value."""
    match leaf:
        case Equals(_, value):
            return _one_of((value,))
        case Except(_, values):
            excluded = _one_of(values)
            return lambda value: value is not None and not excluded(value)
        case In(_, values):
            return _one_of(values)
        case Range():
            return _within(leaf)
        case TextMatch():
            found = text_test(leaf)
            return lambda value: isinstance(value, str) and found(value)
        case GeoRadius() | GeoBox() | GeoPolygon():
            inside = place_test(leaf)
            return lambda value: (at := place(value)) is not None and inside(at)
    raise AssertionError(f"bug: no test of values for {leaf!r}")


def text_test(leaf: TextMatch) -> Callable[[str], bool]:
    """The test that a text condition puts to a string."""
    text = leaf.text
    match leaf.mode, leaf.ignore_case:
        case "substring", False:
            return lambda value: text in value
        case "prefix", False:
            return lambda value: value.startswith(text)
        case "substring", True:
            folded = text.casefold()
            return lambda value: folded in value.casefold()
        case "prefix", True:
            folded = text.casefold()
            return lambda value: value.casefold().startswith(folded)
    wanted = words(text)
    some = set(wanted)
    if not wanted:
        return lambda value: False
    if leaf.mode == "any_word":
        return lambda value: not some.isdisjoint(words(value))
    if leaf.mode == "words":
        # Case folding goes letter by letter, so a word of the text is also a part of the folded text: look there first.
        return lambda value: all(map(value.casefold().__contains__, some)) and some.issubset(words(value))
    phrase = f" {' '.join(wanted)} "
    return lambda value: phrase in f" {' '.join(words(value))} "


def place_test(leaf: GeoRadius | GeoBox | GeoPolygon) -> Callable[[Place], bool]:
    """The test that a geographic condition puts to a place."""
    match leaf:
        case GeoRadius(_, lat, lon, radius_m):
            return lambda at: distance_m((lat, lon), at) < radius_m
        case GeoBox(_, top, left, bottom, right):
            if left > right:
                return lambda at: top > at[0] > bottom and (at[1] > left or at[1] < right)
            return lambda at: top > at[0] > bottom and left < at[1] < right
        case GeoPolygon(_, exterior, interiors):
            return lambda at: in_ring(at, exterior) is True and all(in_ring(at, ring) is False for ring in interiors)


def count_test(leaf: ValuesCount) -> Callable[[int], bool]:
    """The test that a condition on the number of values puts to each number."""
    return _between(leaf.gt, leaf.gte, leaf.lt, leaf.lte)


def _one_of(values: tuple[Any, ...]) -> Test:
    # Hashes of equal ints and floats agree in Python and their comparison is exact, so one set serves both.
    numbers = {value for value in values if not isinstance(value, (str, bool))}
    others = {value for value in values if isinstance(value, (str, bool))}

    def test(value: Any) -> bool:
        if isinstance(value, (str, bool)):
            return value in others
        return isinstance(value, (int, float)) and number(value) in numbers

    return test


def _within(leaf: Range) -> Test:
    bounds: list[Any] = [leaf.gt, leaf.gte, leaf.lt, leaf.lte]
    if leaf.of_datetimes:
        inside = _between(*(None if bound is None else datetime_us(bound) for bound in bounds))
        return lambda value: isinstance(value, str) and (us := instant_us(value)) is not None and inside(us)
    inside = _between(*bounds)
    return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and inside(number(value))


def _between(gt: Any, gte: Any, lt: Any, lte: Any) -> Test:
    def test(value: Any) -> bool:
        return (
            (gt is None or value > gt)
            and (gte is None or value >= gte)
            and (lt is None or value < lt)
            and (lte is None or value <= lte)
        )

    return test


def _count(site: Any) -> int:
    if isinstance(site, list):
        return len(site)
    return 0 if site is None else 1


def values_of(sites: list[Any]) -> list[Any]:
    """The values of a path, of what stands there: the elements of lists instead of the lists."""
    if len(sites) == 1:
        return sites[0] if isinstance(sites[0], list) else sites
    return [value for site in sites for value in (site if isinstance(site, list) else (site,))]


def sites_of(path: str) -> Callable[[Payload], list[Any]]:
    """The function that finds what stands at a path: [] where it is missing."""
    steps = parse_path(path)
    first = steps[0]
    if len(steps) == 1:  # most paths are one key

        def find(payload: Payload) -> list[Any]:
            value = payload.get(first, _MISSING)  # type: ignore[arg-type]
            return [] if value is _MISSING else [value]

        return find

    def walk(payload: Payload) -> list[Any]:
        found: list[Any] = [payload]
        for step in steps:
            if step is EACH:
                found = [one for site in found if isinstance(site, list) for one in site]
            elif isinstance(step, int):
                found = [site[step] for site in found if isinstance(site, list) and step < len(site)]
            else:
                found = [site[step] for site in found if isinstance(site, dict) and step in site]
        return found

    return walk
