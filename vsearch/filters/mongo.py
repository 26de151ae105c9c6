"""Filters as MongoDB's query documents: `{"year": {"$gte": 2020}, "$or": [{"tag": "a"}, {"tag": {"$in": ["b"]}}]}`.

All entries of a document must hold, and all operators of a field. Differences from MongoDB, all of them those of the
tree: a path enters lists of objects only by `[]` (`authors[].name`); the bounds among one field's operators hold for
one value together; `$size` counts a value that is no list as one and a missing one as none. A value of null matches a
field that is null or missing. Strings are searched by `$contains`, `$icontains`, `$not_contains`, `$prefix`, `$text`
(all words) and `$phrase`; `$between` takes [low, high].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vsearch.errors import InvalidFilter
from vsearch.types import MAX_FILTER_DEPTH

from .tree import (
    Equals,
    Exists,
    In,
    IsNull,
    Nested,
    Node,
    Range,
    TextMatch,
    ValuesCount,
    all_of,
    any_of,
    negate,
)

_BOUNDS: Final = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
_MAX_LEVELS: Final = 3 * MAX_FILTER_DEPTH  # of documents: some add no level to the tree


def parse(spec: Mapping[str, Any]) -> Node:
    """The tree of a query document. Raises InvalidFilter."""
    return _document(spec, 1)


def _document(spec: Any, level: int) -> Node:
    if level > _MAX_LEVELS:
        raise InvalidFilter(f"filter has more than {MAX_FILTER_DEPTH} levels", "Nest $and, $or, $not less deeply")
    if not isinstance(spec, Mapping):
        raise InvalidFilter(f"{spec!r} is no filter", 'Write a document, such as {"year": {"$gte": 2020}}')
    return all_of(_entry(key, value, level) for key, value in spec.items())


def _entry(key: Any, value: Any, level: int) -> Node:
    if not isinstance(key, str):
        raise InvalidFilter(f"field name is {key!r}", "Use strings")
    if key == "$not":
        return negate(_document(value, level + 1))
    if key in ("$and", "$or", "$nor"):
        if not isinstance(value, (list, tuple)) or not value:
            raise InvalidFilter(f"{key} has {value!r}", "Give a list of one or more documents")
        parts = [_document(one, level + 1) for one in value]
        if key == "$and":
            return all_of(parts)
        return any_of(parts) if key == "$or" else negate(any_of(parts))
    if key.startswith("$"):
        raise _unknown(key, f"On this level: $and, $or, $nor, $not, or a field's path; quote such a field: '\"{key}\"'")
    if isinstance(value, Mapping):
        return _operators(key, value, level + 1)
    if isinstance(value, (list, tuple)):
        raise InvalidFilter(f"field {key!r} is compared with a list", "Use $in for one of several, $all for every one")
    return _equals(key, value)


def _operators(path: str, spec: Mapping[Any, Any], level: int) -> Node:
    if level > _MAX_LEVELS:
        raise InvalidFilter(f"filter has more than {MAX_FILTER_DEPTH} levels", "Nest $not and $elemMatch less deeply")
    if not spec or not all(isinstance(name, str) and name.startswith("$") for name in spec):
        hint = "Use operators such as $eq; reach into objects by a dotted path"
        raise InvalidFilter(f"field {path!r} is compared with {dict(spec)!r}", hint)
    bounds = {_BOUNDS[name]: _given(name, value) for name, value in spec.items() if name in _BOUNDS}
    parts: list[Node] = [Range(path, **bounds)] if bounds else []
    for name, value in spec.items():
        if name == "$not":
            if not isinstance(value, Mapping):
                raise InvalidFilter(f"$not of {path!r} has {value!r}", 'Give operators: {"$not": {"$gt": 5}}')
            parts.append(negate(_operators(path, value, level + 1)))
        elif name == "$elemMatch":
            parts.append(_elem_match(path, value, level + 1))
        elif name in _OPERATORS:
            parts.append(_OPERATORS[name](path, value))
        elif name not in _BOUNDS:
            hint = "Use $prefix, $contains, $text or $phrase" if name in ("$regex", "$like", "$ilike") else ""
            raise _unknown(name, hint or f"Operators: {', '.join((*_BOUNDS, *_OPERATORS, '$not', '$elemMatch'))}")
    return all_of(parts)


def _elem_match(path: str, spec: Any, level: int) -> Node:
    if isinstance(spec, Mapping) and any(isinstance(name, str) and name in _OPERATORS | _BOUNDS for name in spec):
        condition = _operators(path, spec, level)
        if condition.children:
            hint = "Use one operator, or bounds; for lists of objects name their fields"
            raise InvalidFilter(f"$elemMatch of {path!r} has several operators for one value", hint)
        return condition
    return Nested(path, _document(spec, level))


def _given(name: str, value: Any) -> Any:
    if value is None:
        raise InvalidFilter(f"{name} has None", "Null has no order; leave out a bound that is open")
    return value


def _equals(path: str, value: Any) -> Node:
    return _null(path) if value is None else Equals(path, value)


def _null(path: str) -> Node:
    return any_of((IsNull(path), negate(Exists(path))))


def _in(path: str, values: Any) -> Node:
    if isinstance(values, (list, tuple)) and None in values:
        rest = In(path, tuple(value for value in values if value is not None))
        return any_of((rest, _null(path))) if rest.values else _null(path)
    return In(path, values)


def _all(path: str, values: Any) -> Node:
    if not isinstance(values, (list, tuple)) or not values:
        raise InvalidFilter(f"$all has {values!r}", "Give a list of one or more values")
    return all_of(_equals(path, value) for value in values)


def _exists(path: str, wanted: Any) -> Node:
    if not isinstance(wanted, bool):
        raise InvalidFilter(f"$exists has {wanted!r}", "Use True or False")
    return Exists(path) if wanted else negate(Exists(path))


def _between(path: str, bounds: Any) -> Node:
    if not isinstance(bounds, (list, tuple)) or len(bounds) != 2:
        raise InvalidFilter(f"$between has {bounds!r}", "Give [low, high]")
    return Range(path, gte=_given("$between", bounds[0]), lte=_given("$between", bounds[1]))


_OPERATORS: Final[dict[str, Callable[[str, Any], Node]]] = {
    "$eq": _equals,
    "$ne": lambda path, value: negate(_equals(path, value)),
    "$in": _in,
    "$nin": lambda path, values: negate(_in(path, values)),
    "$all": _all,
    "$exists": _exists,
    "$size": lambda path, count: ValuesCount(path, gte=_given("$size", count), lte=count),
    "$between": _between,
    "$contains": lambda path, text: TextMatch(path, text, "substring"),
    "$icontains": lambda path, text: TextMatch(path, text, "substring", ignore_case=True),
    "$not_contains": lambda path, text: negate(TextMatch(path, text, "substring")),
    "$prefix": lambda path, text: TextMatch(path, text, "prefix"),
    "$text": lambda path, text: TextMatch(path, text, "words"),
    "$phrase": lambda path, text: TextMatch(path, text, "phrase"),
}


def _unknown(name: str, hint: str) -> InvalidFilter:
    return InvalidFilter(f"unknown operator {name!r}", hint)
