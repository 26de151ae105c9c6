"""Filters in Qdrant's JSON, which is also the form in which a filter is sent and stored.

`parse` reads what Qdrant reads: clauses must, should, must_not, min_should of conditions, which are filters again, or
{"key", one test}, has_id, is_empty, is_null and nested. It refuses has_vector and slice.

Beyond Qdrant, and written by `to_dict` only for trees that need it:
- `match` takes floats and mixed lists; 1 matches 1.0.
- `match: {"substring" or "prefix": text, "ignore_case": true}`
- `{"key": path, "exists": true}`
- ranges and bounds of datetimes may be dates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from vsearch.errors import InvalidFilter
from vsearch.types import MAX_FILTER_DEPTH

from .tree import (
    BOUNDS,
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
    MinShould,
    Nested,
    Node,
    Not,
    Or,
    Range,
    TextMatch,
    TextMode,
    ValuesCount,
    all_of,
    any_of,
    negate,
)
from .values import Place

CLAUSES: Final = ("must", "should", "must_not", "min_should")
_MODES: Final[dict[str, TextMode]] = {
    "text": "words",
    "text_any": "any_word",
    "phrase": "phrase",
    "prefix": "prefix",
    "substring": "substring",
}
_MODE_NAMES: Final = {mode: name for name, mode in _MODES.items()}
_MAX_LEVELS: Final = 2 * MAX_FILTER_DEPTH + 1  # of JSON: a nested filter around one condition takes two for one level


def parse(spec: Mapping[str, Any]) -> Node:
    """The tree of a Qdrant filter. Raises InvalidFilter, which names the place of what cannot be read."""
    return _filter(spec, "filter", 1)


def is_condition(spec: Mapping[str, Any]) -> bool:
    """Whether a dict has the shape of a filter or condition of Qdrant's, right or wrong in its details."""
    if any(clause in spec for clause in CLAUSES):
        return True
    if "key" in spec:
        return any(test in spec for test in _TESTS)
    if len(spec) != 1:
        return False
    ((name, body),) = spec.items()
    if name == "has_id":
        return isinstance(body, (list, tuple))
    return name in ("is_empty", "is_null", "nested") and isinstance(body, Mapping) and "key" in body


def _filter(spec: Any, where: str, level: int) -> Node:
    if level > _MAX_LEVELS:
        raise InvalidFilter(f"filter has more than {MAX_FILTER_DEPTH} levels", "Nest filters less deeply")
    body = _body(spec, where, optional=CLAUSES)
    must = _conditions(body, "must", where, level)
    must_not = [negate(one) for one in _conditions(body, "must_not", where, level)]
    should = _conditions(body, "should", where, level)
    parts = [*must, *([any_of(should)] if should else []), *must_not]
    if "min_should" in body:
        inner = f"{where}.min_should"
        clause = _body(body["min_should"], inner, required=("conditions", "min_count"))
        parts.append(MinShould(tuple(_conditions(clause, "conditions", inner, level)), clause["min_count"]))
    return all_of(parts)


def _conditions(body: Mapping[str, Any], clause: str, where: str, level: int) -> list[Node]:
    given = body.get(clause, ())
    if not isinstance(given, (list, tuple)):
        given = [given]
    return [_condition(one, f"{where}.{clause}[{number}]", level) for number, one in enumerate(given)]


def _condition(spec: Any, where: str, level: int) -> Node:
    if not isinstance(spec, Mapping):
        raise InvalidFilter(f"{where} is {spec!r}", 'Write a condition, such as {"key": "a", "match": {"value": 1}}')
    if "key" in spec:
        return _field(spec, where)
    if "has_id" in spec:
        return HasId(_body(spec, where, required=("has_id",))["has_id"])
    for name, kind in (("is_empty", IsEmpty), ("is_null", IsNull)):
        if name in spec:
            field = _body(spec, where, required=(name,))[name]
            return kind(_body(field, f"{where}.{name}", required=("key",))["key"])
    if "nested" in spec:
        inner = f"{where}.nested"
        nested = _body(_body(spec, where, required=("nested",))["nested"], inner, required=("key", "filter"))
        return Nested(nested["key"], _filter(nested["filter"], f"{inner}.filter", level + 1))
    for name in ("has_vector", "slice"):
        if name in spec:
            raise InvalidFilter(f"{where} tests {name}, which is not supported", "Filter by payload or by has_id")
    return _filter(spec, where, level + 1)


def _field(spec: Mapping[str, Any], where: str) -> Node:
    body = _body(spec, where, required=("key",), optional=tuple(_TESTS))
    tests = [name for name in body if name != "key"]
    if len(tests) != 1:
        hint = "Give one test to a condition and combine conditions by must or should"
        raise InvalidFilter(f"{where} has {len(tests)} tests of {body['key']!r}", hint)
    return _TESTS[tests[0]](body["key"], body[tests[0]], f"{where}.{tests[0]}")


def _match(path: str, spec: Any, where: str) -> Node:
    body = _body(spec, where, optional=("value", "any", "except", *_MODES, "ignore_case"))
    ignore_case = body.pop("ignore_case", False)
    if len(body) != 1:
        hint = f"Give one of value, any, except, {', '.join(_MODES)}"
        raise InvalidFilter(f"{where} has {len(body)} tests", hint)
    ((name, given),) = body.items()
    if name in _MODES:
        return TextMatch(path, given, _MODES[name], ignore_case)
    if ignore_case is not False:
        raise InvalidFilter(f"{where}.{name} ignores no case", "Use ignore_case with substring or prefix")
    kinds: dict[str, Callable[[str, Any], Node]] = {"value": Equals, "any": In, "except": Except}
    return kinds[name](path, given)


def _range(path: str, spec: Any, where: str) -> Node:
    return Range(path, **_body(spec, where, optional=BOUNDS))


def _values_count(path: str, spec: Any, where: str) -> Node:
    return ValuesCount(path, **_body(spec, where, optional=BOUNDS))


def _geo_radius(path: str, spec: Any, where: str) -> Node:
    body = _body(spec, where, required=("center", "radius"))
    return GeoRadius(path, *_place(body["center"], f"{where}.center"), body["radius"])


def _geo_box(path: str, spec: Any, where: str) -> Node:
    body = _body(spec, where, required=("top_left", "bottom_right"))
    top_left = _place(body["top_left"], f"{where}.top_left")
    return GeoBox(path, *top_left, *_place(body["bottom_right"], f"{where}.bottom_right"))


def _geo_polygon(path: str, spec: Any, where: str) -> Node:
    body = _body(spec, where, required=("exterior",), optional=("interiors",))
    interiors = [_ring(ring, f"{where}.interiors") for ring in _list(body.get("interiors", ()), f"{where}.interiors")]
    return GeoPolygon(path, _ring(body["exterior"], f"{where}.exterior"), tuple(interiors))


def _ring(spec: Any, where: str) -> tuple[Place, ...]:
    points = _list(_body(spec, where, required=("points",))["points"], f"{where}.points")
    return tuple(_place(point, f"{where}.points") for point in points)


def _place(spec: Any, where: str) -> Place:
    body = _body(spec, where, required=("lat", "lon"))
    return body["lat"], body["lon"]


def _flag(kind: type[IsEmpty | IsNull | Exists]) -> Callable[[str, Any, str], Node]:
    def parse_flag(path: str, wanted: Any, where: str) -> Node:
        if not isinstance(wanted, bool):
            raise InvalidFilter(f"{where} is {wanted!r}", "Use true or false")
        return kind(path) if wanted else negate(kind(path))

    return parse_flag


_TESTS: Final[dict[str, Callable[[str, Any, str], Node]]] = {
    "match": _match,
    "range": _range,
    "values_count": _values_count,
    "geo_radius": _geo_radius,
    "geo_bounding_box": _geo_box,
    "geo_polygon": _geo_polygon,
    "is_empty": _flag(IsEmpty),
    "is_null": _flag(IsNull),
    "exists": _flag(Exists),
}


def _body(spec: Any, where: str, required: Iterable[str] = (), optional: Iterable[str] = ()) -> dict[str, Any]:
    """The entries that are not null, which clients write for what is left out, checked for names."""
    if not isinstance(spec, Mapping):
        raise InvalidFilter(f"{where} is {spec!r}", "Write an object")
    names = (*required, *optional)
    for name in spec:
        if name not in names:
            raise InvalidFilter(f"{where} has an unknown entry {name!r}", f"Known here: {', '.join(names)}")
    body = {name: value for name, value in spec.items() if value is not None}
    for name in required:
        if name not in body:
            raise InvalidFilter(f"{where} lacks {name!r}", f"Needed here: {', '.join(required)}")
    return body


def _list(value: Any, where: str) -> Iterable[Any]:
    if not isinstance(value, (list, tuple)):
        raise InvalidFilter(f"{where} is {value!r}", "Write a list")
    return value


def to_dict(node: Node) -> dict[str, Any]:
    """The filter in JSON types; `parse` of it gives an equal tree."""
    written = _write(node)
    return written if any(clause in written for clause in CLAUSES) else {"must": [written]}


def _write(node: Node) -> dict[str, Any]:
    match node:
        case And(conditions):
            return {"must": [_write(one) for one in conditions]}
        case Or(conditions):
            return {"should": [_write(one) for one in conditions]}
        case Not(condition):
            return {"must_not": [_write(condition)]}
        case MinShould(conditions, count):
            return {"min_should": {"conditions": [_write(one) for one in conditions], "min_count": count}}
        case HasId(ids):
            return {"has_id": list(ids)}
        case Nested(path, condition):
            return {"nested": {"key": path, "filter": to_dict(condition)}}
        case IsNull(path):
            return {"is_null": {"key": path}}
        case IsEmpty(path):
            return {"is_empty": {"key": path}}
        case Exists(path):
            return {"key": path, "exists": True}
    return {"key": node.path, **_write_test(node)}  # type: ignore[attr-defined]  # all others are leaves


def _write_test(node: Node) -> dict[str, Any]:
    match node:
        case Equals():
            return {"match": {"value": node.value}}
        case Except():
            return {"match": {"except": list(node.values)}}
        case In():
            return {"match": {"any": list(node.values)}}
        case TextMatch():
            ignore_case = {"ignore_case": True} if node.ignore_case and node.mode in ("substring", "prefix") else {}
            return {"match": {_MODE_NAMES[node.mode]: node.text, **ignore_case}}
        case Range():
            bounds = node.bounds.items()
            return {"range": {name: b.isoformat() if isinstance(b, datetime) else b for name, b in bounds}}
        case ValuesCount():
            return {"values_count": node.bounds}
        case GeoRadius():
            return {"geo_radius": {"center": _point((node.lat, node.lon)), "radius": node.radius_m}}
        case GeoBox():
            corners = {"top_left": _point((node.top, node.left)), "bottom_right": _point((node.bottom, node.right))}
            return {"geo_bounding_box": corners}
        case GeoPolygon():
            rings: dict[str, Any] = {"exterior": _points(node.exterior)}
            if node.interiors:
                rings["interiors"] = [_points(ring) for ring in node.interiors]
            return {"geo_polygon": rings}
    raise AssertionError(f"bug: no wire form for {node!r}")


def _point(point: Place) -> dict[str, float]:
    return {"lat": point[0], "lon": point[1]}


def _points(ring: Iterable[Place]) -> dict[str, Any]:
    return {"points": [_point(point) for point in ring]}
