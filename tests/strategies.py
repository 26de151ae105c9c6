"""Hypothesis strategies for payloads and filters, drawn from small sets so that filters often hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from vsearch.filters import tree
from vsearch.filters.paths import format_path

KEYS = ["a", "a", "a", "b", "b", "c", "odd.key", 'q"[]']

# Numbers around the limits of float64's whole numbers, of int64 and of float64 itself.
EDGES = [2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**64 + 1, 10**400]
integers = st.integers(-3, 5) | st.sampled_from(EDGES) | st.integers(-(2**65), 2**65)
finite = (
    st.sampled_from([-0.0, 0.0, 1.0, 1.5, 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**63), 1e300, 5e-324])
    | st.floats(-4, 4, width=16)
    | st.floats(allow_nan=False, allow_infinity=False)
)

TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "Ab",
    "red fox",
    "the Red, FOX jumps",
    "fox red",
    "Straße",
    "STRASSE",
    "\u0391\u03a3.\u0392",
    "\u03b1\u03c2",
    "\U0010ffff",
    "a\U0010ffff",
]
DATETIMES = [
    "2024-05-01",
    "2024-05-01T00:00",
    "2024-05-01 00:00:00",
    "2024-05-01T02:00:00+02:00",
    "2024-04-30T22:30:00 -0130",
    "2024-05-01t00:00:00.000000999z",
    "2024-05-01T00:00:00.000001Z",
    "2024-05-01 00:00:00.5 UTC",
    "2024-05-01T23:59:59.999999+23",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2024-02-30",
    "2024-5-1",
    "2024-05-01T25:00",
    "2024-05-01T00:00:00+24:00",
    "2024-05-01T00:00:00+",
    "20240501",
]
texts = st.sampled_from(TEXTS) | st.sampled_from(DATETIMES) | st.text(max_size=4)
common = st.sampled_from([0, 1, 2, 1.0, True, "a", "b", "red fox", "2024-05-01", "2024-05-01T00:00"])
scalars = common | common | common | common | st.booleans() | integers | finite | texts

keys = st.sampled_from(KEYS)

eighths = st.integers(-24, 24).map(lambda n: n / 8)  # sides of rings are computed without rounding
degrees = st.sampled_from([-180, -91, -90, -0.5, 0, 0.5, 1, 2, 90, 90.5, 180, 181]) | eighths
odd_degrees = degrees | st.sampled_from([None, "1", True, [1.0], [1, 2], float("nan"), 10**400])
places = st.fixed_dictionaries({"lat": degrees, "lon": degrees}) | st.fixed_dictionaries(
    {}, optional={"lat": odd_degrees, "lon": odd_degrees}
)

values = st.recursive(
    st.none() | scalars | st.just(float("nan")) | st.just(float("inf")) | places,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
objects = st.lists(st.dictionaries(keys, values, max_size=3) | values, max_size=3)
payloads = st.dictionaries(keys, objects | values, min_size=1, max_size=3) | st.just({})
point_ids = st.integers(0, 4) | st.sampled_from(["0", "1", "x"])


@st.composite
def paths(draw: st.DrawFn) -> str:
    """Up to three keys, some with brackets."""
    steps: list[str | int | None] = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 2, 3]))):
        steps.append(draw(keys))
        steps += draw(st.sampled_from([[], [], [], [], [None], [None], [None, None], [0], [1], [None, 0]]))
    return format_path(steps)


def places_in(value: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each (path, value) within a payload; elements of a list both as [] and by number."""
    if steps:
        yield format_path(steps), value
    if isinstance(value, dict):
        for key, one in value.items():
            yield from places_in(one, (*steps, key))
    elif isinstance(value, list) and steps:
        for number, one in enumerate(value):
            yield from places_in(one, (*steps, None))
            if number < 2:
                yield from places_in(one, (*steps, number))


def within_64_bits(value: Any) -> bool:
    return not isinstance(value, (int, float)) or abs(value) < 2**1000  # neither nan nor infinite as a float


wanted = scalars.filter(within_64_bits)
numbers = (st.integers(-1, 3) | integers | finite).filter(within_64_bits)
instants = st.sampled_from(DATETIMES[:9]) | st.datetimes()
rings = st.lists(st.tuples(eighths, eighths), min_size=3, max_size=5).map(lambda points: (*points, points[0]))
mostly = st.sampled_from([True, True, True, False])
modes = st.sampled_from(["substring", "prefix", "words", "any_word", "phrase"])


def bounds(one: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.lists(st.sampled_from(tree.BOUNDS), min_size=1, max_size=2, unique=True)
    return names.flatmap(lambda chosen: st.fixed_dictionaries(dict.fromkeys(chosen, one)))


@st.composite
def leaves(draw: st.DrawFn, rows: Sequence[Any] = ()) -> tree.Leaf:
    """A condition, most often on a path and a value that one of the payloads has."""
    found = [place for row in rows for place in places_in(row)]
    path, there = draw(st.sampled_from(found)) if found and draw(mostly) else (draw(paths()), None)
    near = [one for one in (there if isinstance(there, list) else [there]) if one is not None and within_64_bits(one)]
    kinds = _kinds_for(near)
    kind = draw(st.sampled_from(kinds if kinds and draw(mostly) else LEAVES))
    texts_near = [one for one in near if isinstance(one, str)]
    scalars_near = [one for one in near if isinstance(one, (str, int, float))]
    scalar = st.sampled_from(scalars_near) if scalars_near and draw(mostly) else wanted
    match kind:
        case "equals":
            return tree.Equals(path, draw(scalar))
        case "in":
            return tree.In(path, tuple(draw(st.lists(scalar, max_size=3))))
        case "except":
            return tree.Except(path, tuple(draw(st.lists(scalar, max_size=3))))
        case "range":
            numbers_near = [one for one in scalars_near if not isinstance(one, (str, bool))]
            return tree.Range(
                path, **draw(bounds(st.sampled_from(numbers_near) | numbers if numbers_near else numbers))
            )
        case "datetimes":
            return tree.Range(path, **draw(bounds(instants)))
        case "text":
            text = draw(st.sampled_from(texts_near) if texts_near and draw(mostly) else texts)
            part = text[draw(st.integers(0, 1)) : draw(st.sampled_from([1, 3, 99]))]
            return tree.TextMatch(path, part, draw(modes), draw(st.booleans()))
        case "count":
            return tree.ValuesCount(path, **draw(bounds(st.integers(-1, 4))))
        case "radius":
            return tree.GeoRadius(path, draw(eighths), draw(eighths), draw(st.sampled_from([0, 1e5, 3e5, 1e6])))
        case "box":
            top, left, bottom, right = (
                draw(st.sampled_from([near, far])) for near, far in ((1, 90), (-1, 179), (-1, 1), (1, -179))
            )
            return tree.GeoBox(path, top, left, bottom, right)
        case "polygon":
            return tree.GeoPolygon(path, draw(rings), tuple(draw(st.lists(rings, max_size=1))))
    return {"null": tree.IsNull, "empty": tree.IsEmpty, "exists": tree.Exists}[kind](path)


def _kinds_for(values: list[Any]) -> list[str]:
    """The kinds of conditions that may hold for such values, to be drawn more often."""
    kinds = ["equals", "in"] * any(isinstance(one, (str, int, float)) for one in values)
    kinds += ["range"] * any(isinstance(one, (int, float)) for one in values)
    kinds += ["text", "text", "datetimes"] * any(isinstance(one, str) for one in values)
    return kinds + ["radius", "box", "polygon"] * 3 * any(isinstance(one, dict) for one in values)


LEAVES = [
    "equals",
    "in",
    "except",
    "range",
    "datetimes",
    "text",
    "count",
    "null",
    "empty",
    "exists",
    "radius",
    "box",
    "polygon",
]


@st.composite
def filters(draw: st.DrawFn, rows: Sequence[Any] = (), ids: bool = True, levels: int = 3) -> tree.Node:
    """A filter of at most so many levels, most often on paths and values that the payloads have."""
    found = [place for row in rows for place in places_in(row) if _has_objects(place[1])]
    kinds = (
        (["and", "or", "not", "min_should"] + ["nested"] * (2 if found else 1)) * (levels > 0)
        + ["leaf"] * 3
        + ["ids"] * ids
    )
    kind = draw(st.sampled_from(kinds))
    if kind == "leaf":
        return draw(leaves(rows))
    if kind == "ids":
        return tree.HasId(tuple(draw(st.lists(point_ids, max_size=3))))
    if kind == "not":
        return tree.negate(draw(filters(rows, ids, levels - 1)))
    if kind == "nested":
        path, inner = draw(st.sampled_from(found)) if found and draw(mostly) else (draw(paths()), [])
        return tree.Nested(path, draw(filters([one for one in inner if isinstance(one, dict)], False, levels - 1)))
    parts = draw(st.lists(filters(rows, ids, levels - 1), min_size=kind == "or", max_size=3))
    if kind == "min_should":
        return tree.MinShould(tuple(parts), draw(st.integers(1, 3)))
    return tree.all_of(parts) if kind == "and" else tree.any_of(parts)


def _has_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) and one for one in value)
