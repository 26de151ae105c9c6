"""The three spellings of a filter: what they mean, what they refuse, and how they are told apart."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import filters
from vsearch.errors import InvalidArgument, InvalidFilter
from vsearch.filters import F, Node, min_should, mongo, parse_filter, qdrant, tree
from vsearch.filters.paths import format_path, parse_path
from vsearch.filters.tree import (
    And,
    Equals,
    Exists,
    HasId,
    In,
    IsEmpty,
    IsNull,
    MinShould,
    Nested,
    Not,
    Or,
    Range,
    TextMatch,
)
from vsearch.types import MAX_FILTER_DEPTH, MAX_FILTER_VALUES

MAY = datetime(2024, 5, 1, tzinfo=UTC)
A, B, C = Equals("a", 1), Equals("b", 2), Equals("c", 3)


# Qdrant's JSON


@settings(max_examples=300)
@given(filters)
def test_a_filter_survives_its_wire_form(node: Node) -> None:
    wire = json.loads(json.dumps(qdrant.to_dict(node), allow_nan=False))
    assert qdrant.parse(wire) == node
    assert parse_filter(wire) == (None if node == And(()) else node)
    assert hash(qdrant.parse(wire)) == hash(node)


@given(filters)
def test_filters_are_values(node: Node) -> None:
    assert pickle.loads(pickle.dumps(node)) == node
    assert node.depth <= MAX_FILTER_DEPTH


def one(condition: dict[str, Any]) -> dict[str, Any]:
    return {"must": [condition]}


CENTER = {"lat": 52.5, "lon": 13.4}
RING = {"points": [{"lat": 0, "lon": 0}, {"lat": 0, "lon": 1}, {"lat": 1, "lon": 1}, {"lat": 0, "lon": 0}]}


@pytest.mark.parametrize(
    ("spec", "node"),
    [
        (one({"key": "a", "match": {"value": 1}}), A),
        ({"must": {"key": "a", "match": {"value": 1}}}, A),  # one condition without a list
        ({"must": [{"key": "a", "match": {"value": 1}}], "should": None}, A),
        ({"should": [qdrant.to_dict(A), qdrant.to_dict(B)]}, Or((A, B))),
        ({"must_not": [{"key": "a", "match": {"value": 1}}]}, Not(A)),
        ({"must": [qdrant.to_dict(A)], "must_not": [qdrant.to_dict(B), qdrant.to_dict(C)]}, And((A, Not(B), Not(C)))),
        ({"should": [], "must": []}, And(())),
        ({"min_should": {"conditions": [qdrant.to_dict(A), qdrant.to_dict(B)], "min_count": 1}}, MinShould((A, B), 1)),
        (one({"key": "a", "match": {"any": [1, 2]}}), In("a", (1, 2))),
        (one({"key": "a", "match": {"except": ["x"]}}), tree.Except("a", ("x",))),
        (one({"key": "a", "match": {"text": "x y"}}), TextMatch("a", "x y", "words")),
        (one({"key": "a", "match": {"text_any": "x y"}}), TextMatch("a", "x y", "any_word")),
        (one({"key": "a", "match": {"phrase": "x y"}}), TextMatch("a", "x y", "phrase")),
        (one({"key": "a", "match": {"prefix": "x"}}), TextMatch("a", "x", "prefix")),
        (one({"key": "a", "match": {"substring": "x"}}), TextMatch("a", "x", "substring")),
        (one({"key": "a", "match": {"prefix": "x", "ignore_case": True}}), TextMatch("a", "x", "prefix", True)),
        (one({"key": "a", "range": {"gt": 1, "lte": 2.5, "gte": None}}), Range("a", gt=1, lte=2.5)),
        (one({"key": "a", "range": {"gte": "2024-05-01T02:00:00+02:00"}}), Range("a", gte=MAY)),
        (one({"key": "a", "range": {"gte": date(2024, 5, 1)}}), Range("a", gte=MAY)),
        (one({"key": "a", "values_count": {"gte": 2}}), tree.ValuesCount("a", gte=2)),
        (one({"key": "a", "geo_radius": {"center": CENTER, "radius": 100}}), tree.GeoRadius("a", 52.5, 13.4, 100)),
        (
            one({"key": "a", "geo_bounding_box": {"top_left": CENTER, "bottom_right": {"lat": 50, "lon": 14}}}),
            tree.GeoBox("a", 52.5, 13.4, 50, 14),
        ),
        (one({"key": "a", "geo_polygon": {"exterior": RING}}), tree.GeoPolygon("a", ((0, 0), (0, 1), (1, 1), (0, 0)))),
        (one({"is_empty": {"key": "a"}}), IsEmpty("a")),
        (one({"is_null": {"key": "a"}}), IsNull("a")),
        (one({"key": "a", "is_empty": False}), Not(IsEmpty("a"))),
        (one({"key": "a", "is_null": True}), IsNull("a")),
        (one({"key": "a", "exists": True}), Exists("a")),
        (one({"has_id": [1, "x"]}), HasId((1, "x"))),
        (one({"nested": {"key": "a", "filter": qdrant.to_dict(B)}}), Nested("a", B)),
        (one({"nested": {"key": "a[]", "filter": qdrant.to_dict(B)}}), Nested("a", B)),
        (one({"must": [{"should": [qdrant.to_dict(A)]}]}), A),
    ],
)
def test_qdrant_spelling(spec: dict[str, Any], node: Node) -> None:
    assert qdrant.parse(spec) == node
    assert parse_filter(spec) == (None if node == And(()) else node)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"must": [{"key": "a"}]}, r"must\[0\] has 0 tests"),
        ({"must": [5]}, r"must\[0\] is 5"),
        ({"must": [], "musst": []}, "unknown entry 'musst'"),
        ({"min_should": {"conditions": []}}, "lacks 'min_count'"),
        ({"min_should": {"conditions": [], "min_count": 0}}, "wants 0"),
        ({"min_should": {"conditions": [], "min_count": True}}, "wants True"),
        (one({"key": "a", "match": {"value": 1}, "range": {"gt": 1}}), "has 2 tests"),
        (one({"key": "a", "match": {"value": None}}), "has 0 tests"),
        (one({"key": "a", "match": {"value": [1]}}), r"cannot compare with \[1\]"),
        (one({"key": "a", "match": {"value": float("nan")}}), "nan"),
        (one({"key": "a", "match": {"any": 5}}), "values are 5"),
        (one({"key": "a", "match": {"any": "text"}}), "values are 'text'"),
        (one({"key": "a", "match": {"text": 5}}), "text to find is 5"),
        (one({"key": "a", "match": {"value": 1, "ignore_case": True}}), "ignores no case"),
        (one({"key": "a", "match": {"prefix": "x", "ignore_case": 1}}), "ignore_case is 1"),
        (one({"key": "a", "match": {"like": "x"}}), "unknown entry 'like'"),
        (one({"key": "a", "match": "x"}), "match is 'x'"),
        (one({"key": "a", "range": {}}), "no bound"),
        (one({"key": "a", "range": {"above": 5}}), "unknown entry 'above'"),
        (one({"key": "a", "range": {"gt": "five"}}), "'five' has no order"),
        (one({"key": "a", "range": {"gt": True}}), "True has no order"),
        (one({"key": "a", "range": {"gt": 5, "lt": "2024-05-01"}}), "mixes"),
        (one({"key": "a", "range": {"gt": float("inf")}}), "inf"),
        (one({"key": "a", "range": {"gt": "0001-01-01T00:00:00+10:00"}}), "out of range"),
        (one({"key": "a", "values_count": {"gt": 1.5}}), "1.5"),
        (one({"key": "a", "values_count": {}}), "no bound"),
        (one({"key": "a", "geo_radius": {"center": CENTER}}), "lacks 'radius'"),
        (one({"key": "a", "geo_radius": {"center": {"lat": 91, "lon": 0}, "radius": 1}}), "latitude is 91"),
        (one({"key": "a", "geo_radius": {"center": CENTER, "radius": -1}}), "radius is -1"),
        (one({"key": "a", "geo_bounding_box": {"top_left": CENTER, "bottom_right": {"lat": 0, "lon": 181}}}), "181"),
        (one({"key": "a", "geo_polygon": {"exterior": {"points": RING["points"][:3]}}}), "not closed"),
        (one({"key": "a", "geo_polygon": {"exterior": RING, "interiors": 5}}), "interiors is 5"),
        (one({"key": "a", "is_empty": 1}), "is_empty is 1"),
        (one({"is_null": "a"}), "is_null is 'a'"),
        (one({"has_id": 5}), "ids are 5"),
        (one({"has_id": [1.5]}), "point id is 1.5"),
        (one({"has_id": [True]}), "point id is True"),
        (one({"has_vector": "dense"}), "not supported"),
        (one({"slice": {"total": 2, "index": 0}}), "not supported"),
        (one({"nested": {"key": "a"}}), "lacks 'filter'"),
        (one({"nested": {"key": "a", "filter": {"must": [{"has_id": [1]}]}}}), "nested filter tests ids"),
        (one({"key": "a..b", "match": {"value": 1}}), "path 'a..b'"),
        (one({"key": 5, "match": {"value": 1}}), "path is 5"),
    ],
)
def test_qdrant_spelling_refuses(spec: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidFilter, match=problem) as caught:
        parse_filter(spec)
    assert caught.value.hint


# MongoDB's documents


@pytest.mark.parametrize(
    ("spec", "node"),
    [
        ({"a": 1}, A),
        ({"a": 1, "b": {"$eq": 2}}, And((A, B))),
        ({"$and": [{"a": 1}, {"b": 2}]}, And((A, B))),
        ({"$or": [{"a": 1}, {"b": 2}]}, Or((A, B))),
        ({"$nor": [{"a": 1}, {"b": 2}]}, Not(Or((A, B)))),
        ({"$not": {"a": 1}}, Not(A)),
        ({"a": {"$ne": 1}}, Not(A)),
        ({"a": {"$not": {"$eq": 1}}}, Not(A)),
        ({"a": {"$gte": 1, "$lt": 5}}, Range("a", gte=1, lt=5)),
        ({"a": {"$gt": "2024-05-01"}}, Range("a", gt=MAY)),
        ({"a": {"$between": [1, 5]}}, Range("a", gte=1, lte=5)),
        ({"a": {"$in": [1, 2]}}, In("a", (1, 2))),
        ({"a": {"$nin": [1, 2]}}, Not(In("a", (1, 2)))),
        ({"a": None}, Or((IsNull("a"), Not(Exists("a"))))),
        ({"a": {"$ne": None}}, Not(Or((IsNull("a"), Not(Exists("a")))))),
        ({"a": {"$in": [1, None]}}, Or((In("a", (1,)), IsNull("a"), Not(Exists("a"))))),
        ({"a": {"$all": [1]}}, A),
        ({"a": {"$all": ["x", "y"]}}, And((Equals("a", "x"), Equals("a", "y")))),
        ({"a": {"$exists": True}}, Exists("a")),
        ({"a": {"$exists": False}}, Not(Exists("a"))),
        ({"a": {"$size": 2}}, tree.ValuesCount("a", gte=2, lte=2)),
        ({"a": {"$elemMatch": {"b": 2}}}, Nested("a", B)),
        ({"a": {"$elemMatch": {"$gte": 1, "$lt": 5}}}, Range("a", gte=1, lt=5)),
        ({"a": {"$contains": "x"}}, TextMatch("a", "x", "substring")),
        ({"a": {"$icontains": "x"}}, TextMatch("a", "x", "substring", True)),
        ({"a": {"$not_contains": "x"}}, Not(TextMatch("a", "x", "substring"))),
        ({"a": {"$prefix": "x"}}, TextMatch("a", "x", "prefix")),
        ({"a": {"$text": "x"}}, TextMatch("a", "x", "words")),
        ({"a": {"$phrase": "x"}}, TextMatch("a", "x", "phrase")),
        ({"a[].b": 1}, Equals("a[].b", 1)),
        ({"key": 1}, Equals("key", 1)),  # a field like any other, without one of Qdrant's tests beside it
        ({'"$a"': 1}, Equals('"$a"', 1)),
        ({}, And(())),
    ],
)
def test_mongo_spelling(spec: dict[str, Any], node: Node) -> None:
    assert mongo.parse(spec) == node
    assert parse_filter(spec) == (None if node == And(()) else node)


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ({"$xor": []}, "unknown operator '\\$xor'"),
        ({"$and": []}, r"\$and has \[\]"),
        ({"$or": {"a": 1}}, r"\$or has"),
        ({"$and": [5]}, "5 is no filter"),
        ({"a": {"$regex": "^x"}}, "unknown operator '\\$regex'"),
        ({"a": {"$like": "x%"}}, "unknown operator '\\$like'"),
        ({"a": {"$gt": None}}, r"\$gt has None"),
        ({"a": {"$gt": 1, "$lt": "2024-05-01"}}, "mixes"),
        ({"a": {"$gt": [1]}}, "no order"),
        ({"a": {}}, "compared with {}"),
        ({"a": {"b": 1}}, "compared with {'b': 1}"),
        ({"a": {"$eq": 1, "b": 1}}, "compared with"),
        ({"a": [1, 2]}, "compared with a list"),
        ({"a": {"$in": 5}}, "values are 5"),
        ({"a": {"$in": [[1]]}}, r"cannot compare with \[1\]"),
        ({"a": {"$all": []}}, r"\$all has \[\]"),
        ({"a": {"$exists": 1}}, r"\$exists has 1"),
        ({"a": {"$size": None}}, r"\$size has None"),
        ({"a": {"$size": "2"}}, "'2'"),
        ({"a": {"$not": 1}}, r"\$not of 'a' has 1"),
        ({"a": {"$between": [1]}}, r"\$between has \[1\]"),
        ({"a": {"$between": [1, None]}}, r"\$between has None"),
        ({"a": {"$elemMatch": {"$eq": 1, "$ne": 2}}}, "several operators"),
        ({"a": {"$elemMatch": 5}}, "5 is no filter"),
        ({"a": {"$contains": 5}}, "text to find is 5"),
        ({5: 1}, "field name is 5"),
        ({"a": object()}, "cannot compare"),
    ],
)
def test_mongo_spelling_refuses(spec: dict[Any, Any], problem: str) -> None:
    with pytest.raises(InvalidFilter, match=problem) as caught:
        parse_filter(spec)
    assert caught.value.hint


# Python's expressions


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (F("a") == 1, A),
        (1 == F("a"), A),  # noqa: SIM300, RUF100
        (F("a") != 1, Not(A)),
        (F("a") > 1, Range("a", gt=1)),
        (1 <= F("a"), Range("a", gte=1)),  # noqa: SIM300
        (F("a") < 1.5, Range("a", lt=1.5)),
        (F("a") <= date(2024, 5, 1), Range("a", lte=MAY)),
        (F("a") >= datetime(2024, 5, 1, 2, tzinfo=timezone(timedelta(hours=2))), Range("a", gte=MAY)),  # noqa: DTZ001, RUF100
        (F("a") == MAY, Range("a", gte=MAY, lte=MAY)),
        (F("a").between(1, 2), Range("a", gte=1, lte=2)),
        (F("a").any([1, 2]), In("a", (1, 2))),
        (F("a").any(np.array([1, 2])), In("a", (1, 2))),
        (F("a").all([1]), A),
        (F("a").none({1}), Not(In("a", (1,)))),
        (F("a").is_null() | F("a").is_empty() | F("a").exists(), Or((IsNull("a"), IsEmpty("a"), Exists("a")))),
        (F("a").text("x"), TextMatch("a", "x", "words")),
        (F("a").text_any("x"), TextMatch("a", "x", "any_word")),
        (F("a").phrase("x"), TextMatch("a", "x", "phrase")),
        (F("a").prefix("x"), TextMatch("a", "x", "prefix")),
        (F("a").contains("x", ignore_case=True), TextMatch("a", "x", "substring", True)),
        (F("a").within_radius(1, 2, 3), tree.GeoRadius("a", 1, 2, 3)),
        (F("a").within_box((4, 1), (2, 3)), tree.GeoBox("a", 4, 1, 2, 3)),
        (
            F("a").within_polygon([(0, 0), (0, 1), (1, 1), (0, 0)]),
            tree.GeoPolygon("a", ((0, 0), (0, 1), (1, 1), (0, 0))),
        ),
        (F("a").count == 2, tree.ValuesCount("a", gte=2, lte=2)),
        (F("a").count != 2, Not(tree.ValuesCount("a", gte=2, lte=2))),
        (F("a").count > 2, tree.ValuesCount("a", gt=2)),
        (F("a").count >= 2, tree.ValuesCount("a", gte=2)),
        (F("a").count < 2, tree.ValuesCount("a", lt=2)),
        (F("a").count <= 2, tree.ValuesCount("a", lte=2)),
        (F("a").count.between(1, 2), tree.ValuesCount("a", gte=1, lte=2)),
        (F("a").nested(B), Nested("a", B)),
        (F.ids([1, "x"]), HasId((1, "x"))),
        (F.ids(np.array([1, 2])), HasId((1, 2))),
        (A & B & C, And((A, B, C))),
        (A | B | C, Or((A, B, C))),
        (~~A, A),
        (~(A & B) | C, Or((Not(And((A, B))), C))),
        (min_should([A, B], 1), MinShould((A, B), 1)),
        (F("a") == np.int64(1), A),
        (F("a") == np.True_, Equals("a", True)),
        (F('"a"') == 1, A),
        (F("my key") == 1, Equals('"my key"', 1)),
    ],
)
def test_python_spelling(node: Node, expected: Node) -> None:
    assert node == expected
    assert parse_filter(node) is node


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: F("a") == None,  # noqa: E711
        lambda: F("a") == [1],
        lambda: F("a") == {"b": 1},
        lambda: F("a") > None,
        lambda: F("a") > "x",
        lambda: F("a") > True,
        lambda: F("a") > float("nan"),
        lambda: F("a") == float("inf"),
        lambda: F("a").between(1, None),
        lambda: F("a").between(1, "2024-05-01"),
        lambda: F("a").any("text"),
        lambda: F("a").any(5),
        lambda: F("a").any([MAY]),
        lambda: F("a").any(range(MAX_FILTER_VALUES + 1)),
        lambda: F("a").text(5),  # type: ignore[arg-type]
        lambda: F("a").prefix(b"x"),  # type: ignore[arg-type]
        lambda: F("a").within_radius(91, 0, 1),
        lambda: F("a").within_radius(0, 0, -1),
        lambda: F("a").within_radius("0", 0, 1),  # type: ignore[arg-type]
        lambda: F("a").within_box(1, 2),  # type: ignore[arg-type]
        lambda: F("a").within_polygon([(0, 0), (1, 1)]),
        lambda: F("a").within_polygon(5),  # type: ignore[arg-type]
        lambda: F("a").count == 1.5,
        lambda: F("a").count > None,  # type: ignore[operator]
        lambda: F("a").nested({"b": 1}),  # type: ignore[arg-type]
        lambda: F("a").nested(F.ids([1])),
        lambda: F.ids(5),  # type: ignore[arg-type]
        lambda: F.ids("abc"),
        lambda: F.ids([None]),  # type: ignore[list-item]
        lambda: F.ids(range(MAX_FILTER_VALUES + 1)),
        lambda: min_should([A, "b"], 1),  # type: ignore[list-item]
        lambda: min_should([A], 0),
        lambda: F("a") >= 2020 & F("b"),  # the precedence that people forget
        lambda: (F("a") == 1) & F("b"),
        lambda: F("a") & (F("b") == 1),
        lambda: ~F("a"),
        lambda: (F("a") == 1) and (F("b") == 1),
        lambda: not A,
        lambda: 1 < F("a") < 5,
        lambda: bool(F("a")),
        lambda: bool(F("a").count),
        lambda: 1 in [F("a")],
        lambda: A | 5,
        lambda: parse_filter(F("a")),
        lambda: parse_filter("a = 1"),
        lambda: parse_filter([{"a": 1}]),
    ],
)
def test_python_spelling_refuses(wrong: Any) -> None:
    with pytest.raises(InvalidFilter) as caught:
        wrong()
    assert caught.value.hint
    assert isinstance(caught.value, InvalidArgument)


# Common to all


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a[",
        "a]",
        "a[x]",
        "a[-1]",
        "[]",
        "[0].a",
        'a"b',
        '"a',
        "a[]b",
        "a[1234567890123456789]",
    ],
)
def test_unreadable_paths(path: str) -> None:
    with pytest.raises(InvalidFilter, match="path"):
        F(path)


@given(st.lists(st.text() | st.none() | st.integers(0, 99), min_size=1).filter(lambda steps: isinstance(steps[0], str)))
def test_every_path_has_one_text(steps: list[Any]) -> None:
    text = format_path(steps)
    assert parse_path(text) == tuple(steps)
    assert format_path(parse_path(text)) == text


def test_true_and_one_are_different_filters() -> None:
    assert Equals("a", True) != Equals("a", 1)
    assert In("a", (True,)) != In("a", (1,))
    assert Equals("a", 1.0) == Equals("a", 1)
    assert len({Equals("a", True), Equals("a", 1), Equals("a", 1.0)}) == 2


def nest(levels: int) -> Node:
    node: Node = A
    for level in range(levels):
        node = And((node, B)) if level % 2 else Or((node, B))
    return node


def test_depth_is_limited() -> None:
    deepest = nest(MAX_FILTER_DEPTH)
    assert qdrant.parse(qdrant.to_dict(deepest)) == deepest
    with pytest.raises(InvalidFilter, match="levels"):
        nest(MAX_FILTER_DEPTH + 1)
    objects: Node = A
    for _ in range(MAX_FILTER_DEPTH):
        objects = Nested("a", objects)
    assert qdrant.parse(qdrant.to_dict(objects)) == objects


@pytest.mark.parametrize(
    "wrap",
    [
        lambda spec: {"must": [spec]},
        lambda spec: {"must_not": [spec]},
        lambda spec: {"min_should": {"conditions": [spec], "min_count": 1}},
        lambda spec: {"must": [{"nested": {"key": "a", "filter": spec}}]},
        lambda spec: {"$and": [spec]},
        lambda spec: {"$not": spec},
        lambda spec: {"a": {"$elemMatch": spec}},
    ],
)
def test_bottomless_filters_are_refused(wrap: Any) -> None:
    spec: Any = {}
    for _ in range(50_000):
        spec = wrap(spec)
    with pytest.raises(InvalidFilter, match="levels"):
        parse_filter(spec)


def test_bottomless_operators_are_refused() -> None:
    spec: Any = {"$eq": 1}
    for _ in range(50_000):
        spec = {"$not": spec}
    with pytest.raises(InvalidFilter, match="levels"):
        parse_filter({"a": spec})


def test_many_conditions_side_by_side_are_no_depth() -> None:
    node = F("a") == 0
    for value in range(1000):
        node = node | (F("a") == value)
    assert node.depth == 1


def test_a_condition_of_qdrant_is_a_filter() -> None:
    assert parse_filter({"key": "a", "match": {"value": 1}}) == A
    assert parse_filter({"has_id": [1]}) == HasId((1,))
    assert parse_filter({"nested": {"key": "a", "filter": {"must": [{"key": "b", "match": {"value": 2}}]}}}) == Nested(
        "a", B
    )
    assert parse_filter({"is_null": {"key": "a"}}) == IsNull("a")
    assert parse_filter({"is_null": True}) == Equals("is_null", True)
    assert parse_filter(None) is None
