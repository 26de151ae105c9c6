"""One filter, three evaluations, one answer: the naive one, on payloads, and on columns."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.naive_filter import holds
from tests.strategies import Maker, makers
from vsearch.filters import F, Node, tree
from vsearch.filters.columns import ColumnSet, sorted_order
from vsearch.filters.evaluate import evaluate
from vsearch.filters.flatten import flatten, merge
from vsearch.filters.match import matches
from vsearch.types import Column, Payload, PointId

L_SHAPE = [(0, 0), (0, 2), (2, 2), (2, 1), (1, 1), (1, 0), (0, 0)]

Points = list[tuple[PointId, Payload]]


def by_columns(
    node: Node, rows: Points, columns: list[Column] | None = None, indexed: bool = False, within: Any = None
) -> list[bool]:
    made = flatten([payload for _, payload in rows]) if columns is None else columns
    orders = {(c.path, c.type): sorted_order(c) for c in made if c.type in ("int", "float", "str")} if indexed else {}

    def ids(wanted: tuple[PointId, ...]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.array([any(type(i) is type(w) and i == w for w in wanted) for i, _ in rows], dtype=np.bool_)

    mask = evaluate(node, len(rows), ColumnSet(made, orders), ids, lambda row: rows[row][1], within)
    assert mask.dtype == np.bool_
    assert mask.shape == (len(rows),)
    return mask.tolist()  # type: ignore[no-any-return]


def unread(row: int) -> Payload:
    raise AssertionError(f"the payload of row {row} was read")


def no_ids(wanted: object) -> Any:
    raise AssertionError("ids were asked for")


def make_points(maker: Maker) -> Points:
    return maker.some(lambda: (maker.point_id(), maker.payload()), 1, 5)


def make_case(maker: Maker) -> tuple[Points, Node]:
    """Points, and a filter that says something about them."""
    rows = make_points(maker)
    return rows, maker.filter([payload for _, payload in rows])


@settings(max_examples=1000)
@given(makers.map(make_case))
def test_all_evaluations_agree(case: tuple[Points, Node]) -> None:
    rows, node = case
    expected = [holds(node, point_id, payload) for point_id, payload in rows]
    assert [matches(node, point_id, payload) for point_id, payload in rows] == expected
    assert by_columns(node, rows) == expected
    assert by_columns(node, rows, indexed=True) == expected


@settings(max_examples=300)
@given(makers.map(make_case), st.data())
def test_kept_rows_of_several_segments_answer_as_before(case: tuple[Points, Node], data: st.DataObject) -> None:
    rows, node = case
    cut = len(rows) // 2
    segments = [rows[:cut], rows[cut:]]
    keeps = [[row for row in range(len(segment)) if data.draw(st.booleans())] for segment in segments]
    parts = [(flatten([p for _, p in s]), np.array(k, dtype=np.int64)) for s, k in zip(segments, keeps, strict=True)]
    kept = [segment[row] for segment, keep in zip(segments, keeps, strict=True) for row in keep]
    expected = [holds(node, point_id, payload) for point_id, payload in kept]
    assert by_columns(node, kept, merge(parts)) == expected


@settings(max_examples=300)
@given(makers.map(make_case), st.data())
def test_rows_outside_are_neither_answered_nor_read(case: tuple[Points, Node], data: st.DataObject) -> None:
    rows, node = case
    within = np.array([data.draw(st.booleans()) for _ in rows], dtype=np.bool_)
    shown: Any = [(point, payload if inside else None) for (point, payload), inside in zip(rows, within, strict=True)]
    expected = [bool(inside) and holds(node, *row) for row, inside in zip(rows, within, strict=True)]
    columns = flatten([payload for _, payload in rows])
    assert by_columns(node, shown, columns, within=within) == expected  # to read a payload of None would fail


def make_places(maker: Maker) -> tuple[list[Payload], Node]:
    rows = maker.some(lambda: {"loc": maker.one_of([maker.place(), maker.some(maker.place)])}, 1, 5)
    return rows, maker.geo("loc")


@settings(max_examples=300)
@given(makers.map(make_places))
def test_places_alone_and_in_lists(case: tuple[list[Payload], Node]) -> None:
    rows, node = case
    assert by_columns(node, [(0, row) for row in rows]) == [holds(node, 0, row) for row in rows]


@pytest.mark.parametrize(
    ("node", "payload", "expected"),
    [
        (F("a") == 1, {"a": True}, False),
        (F("a") == 1, {"a": 1.0}, True),
        (F("a") == 1.0, {"a": 1}, True),
        (F("a") == True, {"a": 1}, False),  # noqa: E712
        (F("a") == "1", {"a": 1}, False),
        (F("a") == 0, {"a": -0.0}, True),
        (F("a") == 2**53 + 1, {"a": 2.0**53}, False),
        (F("a") > 2.0**53, {"a": 2**53 + 1}, True),
        (F("a") > 2**53 + 1, {"a": 2.0**53}, False),
        (F("a") >= 2**53 + 1, {"a": 2.0**53 + 2}, True),
        (F("a") > 2**53 + 3, {"a": 2.0**53 + 4}, True),  # as a float the bound is 2**53 + 4
        (F("a") >= 2**53 + 1, {"a": 2.0**53}, False),  # and here 2**53
        (F("a") < 2**53 + 1, {"a": 2.0**53}, True),
        (F("a") <= 2**53 + 3, {"a": 2.0**53 + 4}, False),
        (F("a") < 2**63, {"a": 2**63 - 1}, True),
        (F("a") == 2.0**63, {"a": 2**63 - 1}, False),
        (F("a") == 1.5, {"a": 1}, False),
        (F("a").any([1, 1.5]), {"a": 1.5}, True),
        (F("a") == 2**64, {"a": 2**64 + 1}, True),  # both are the float 2**64
        (F("a") <= 5, {"a": float("nan")}, False),
        (F("a") > 5, {"a": float("inf")}, True),
        (F("a") >= 0, {"a": True}, False),
        (F("a") != 1, {}, True),
        (F("a") != 1, {"a": [1, 2]}, False),
        (F("a").between(3, 4), {"a": [1, 9]}, False),  # no single value lies between
        (F("a").all([1, 2]), {"a": [2, 3, 1]}, True),
        (F("a").all([1, 2]), {"a": [2, 3]}, False),
        (F("a").any([]), {"a": 1}, False),
        (F("a").none(["x"]), {"a": None}, True),
        (tree.Except("a", ("x",)), {"a": None}, False),
        (tree.Except("a", ("x",)), {"a": ["x", "y"]}, True),
        (tree.Except("a", ("x",)), {"a": {}}, True),
        (tree.Except("a", ("x",)), {"a": ["x"]}, False),
        (tree.Except("a", ("x",)), {"a": ["x", {}]}, True),
        (tree.Except("a", ("x",)), {"a": ["x", []]}, True),
        (tree.Except("a", ("x",)), {"a": ["x", None]}, False),
        (F("a").is_null(), {"a": [None]}, True),
        (F("a").is_null(), {"a": [[None]]}, False),
        (F("a").is_null(), {}, False),
        (F("a").is_empty(), {}, True),
        (F("a").is_empty(), {"a": None}, True),
        (F("a").is_empty(), {"a": []}, True),
        (F("a").is_empty(), {"a": [None]}, False),
        (F("a").is_empty(), {"a": {}}, False),
        (F("a").is_empty(), {"a": ""}, False),
        (F("a").exists(), {"a": None}, True),
        (F("a").exists(), {}, False),
        (F("a[]").exists(), {"a": [1]}, True),
        (F("a[]").exists(), {"a": 1}, False),
        (F("a[]").exists(), {"a": []}, False),
        (F("a[]").is_empty(), {"a": [1]}, False),
        (F("a[]").is_empty(), {"a": [None, []]}, True),
        (F("a[]").is_empty(), {"a": [[None]]}, False),
        (F("a").count == 0, {}, True),
        (F("a").count == 0, {"a": None}, True),
        (F("a").count == 1, {"a": {"x": 1}}, True),
        (F("a").count == 1, {"a": [1, 2]}, False),
        (F("a").count == 1, {"a": [None, 2]}, False),
        (F("a").count == 2, {"a": [None, [1]]}, True),
        (F("a[]").count == 1, {"a": [5, [1, 2]]}, True),
        (F("a[]").count == 1, {"a": [None, [1, 2]]}, False),
        (F("a[]").count == 0, {"a": [None, [1, 2]]}, True),
        (F("a[].b").count == 1, {"a": [{"b": [1, 2]}, {"b": 3}]}, True),
        (F("a[].b").count == 1, {"a": [{"b": [1, 2]}, {"b": [None, 3]}]}, False),
        (F("a[].b").count == 0, {"a": [{}, {"b": 1}]}, False),
        (F("a.b") == 1, {"a": [{"b": 1}]}, False),  # a list is entered by [] only
        (F("a[].b") == 1, {"a": [{"b": 1}]}, True),
        (F("a[].b") == 1, {"a": {"b": 1}}, False),
        (F("a[]") == 1, {"a": [1]}, True),
        (F("a[]") == 1, {"a": 1}, False),
        (F("a") == 1, {"a": [[1]]}, False),  # only one level of a list is opened
        (F("a[]") == 1, {"a": [[1]]}, True),
        (F("a[].b[]") == 1, {"a": [{"b": 1}, {"b": [2]}]}, False),
        (F("a[].b[]") == 2, {"a": [{"b": 1}, {"b": [2]}]}, True),
        (F("a[1]") == 1, {"a": [1, 2]}, False),
        (F("a[0]") == 1, {"a": [1, 2]}, True),
        (F('"a.b"') == 1, {"a.b": 1}, True),
        (F("a").nested((F("x") == 1) & (F("y") == 2)), {"a": [{"x": 1, "y": 0}, {"x": 0, "y": 2}]}, False),
        (F("a").nested((F("x") == 1) & (F("y") == 2)), {"a": [{"x": 1, "y": 2}]}, True),
        (F("a").nested(F("x").is_empty()), {"a": [{"x": 1}, {}]}, True),
        (F("a").nested(F("x").count == 0), {"a": [{"x": 1}, {}]}, True),
        (F("a").nested(~(F("x") == 1)), {"a": [{"x": 1}, {}]}, True),
        (F("a").nested((F("x") == 1) | (F("y") == 1)), {"a": [{"y": 1}]}, True),
        (F("a").nested(F("x") == 1), {"a": {"x": 1}}, False),  # only objects in a list are elements
        (F("a").nested(~(F("x") == 1)), {"a": [1]}, False),
        (F("d") >= "2024-05-01T00:00:00Z", {"d": "2024-05-01T01:30:00+02:00"}, False),
        (F("d") >= "2024-05-01T00:00:00Z", {"d": "2024-05-01"}, True),
        (F("d") >= datetime(2024, 5, 1, 0, 0, 0, 400_000), {"d": "2024-05-01T00:00:00.5Z"}, True),
        (F("d") >= "2024-05-01", {"d": "never"}, False),
        (F("d") < "2024-05-01", {"d": "never"}, False),
        (F("d") >= "2024-05-01", {"d": "2024-05-01T00:00:60Z"}, False),
        (F("d") >= "2024-04-01", {"d": "2024-05-01T00:00:00+24:00"}, False),
        (F("d") >= "2024-04-01", {"d": "2024-05-01T00:00:00+23:60"}, False),
        (F("d") >= "2024-05-01", {"d": "2024-05-01T24:00"}, False),
        (F("t").text("fox RED"), {"t": "A red, red fox"}, True),
        (F("t").text("fox RED"), {"t": "A redfox"}, False),
        (F("t").text(" - "), {"t": "anything"}, False),
        (F("t").text_any("cat fox"), {"t": "A red fox"}, True),
        (F("t").phrase("red FOX"), {"t": "A Red   fox!"}, True),
        (F("t").phrase("red fox"), {"t": "red old fox"}, False),
        (F("t").phrase("red fox"), {"t": "bored foxes"}, False),
        (F("t").prefix("Re"), {"t": "Red"}, True),
        (F("t").prefix("re"), {"t": "Red"}, False),
        (F("t").prefix("re", ignore_case=True), {"t": "Red"}, True),
        (F("t").contains("D F"), {"t": "red fox"}, False),
        (F("t").contains("D F", ignore_case=True), {"t": "red fox"}, True),
        (F("t").contains(""), {"t": 5}, False),
        (F("g").within_box((10, 170), (-10, -170)), {"g": {"lat": 0, "lon": -179}}, True),  # across the 180th meridian
        (F("g").within_box((10, 170), (-10, -170)), {"g": {"lat": 0, "lon": 0}}, False),
        (F("g").within_box((10, 0), (0, 10)), {"g": {"lat": 0, "lon": 5}}, False),  # the edge is outside
        (F("g").within_radius(52.52, 13.405, 1000), {"g": {"lat": 52.521, "lon": 13.41}}, True),
        (F("g").within_polygon(L_SHAPE), {"g": {"lat": 0.5, "lon": 1}}, True),  # in line with an edge, not on it
        (F("g").within_polygon(L_SHAPE), {"g": {"lat": 1, "lon": 1.5}}, True),
        (F("g").within_polygon(L_SHAPE), {"g": {"lat": 1, "lon": 0.5}}, False),
        (F("g").within_polygon(L_SHAPE), {"g": {"lat": 1.5, "lon": 0.5}}, False),
        (F("g").within_radius(0, 0, 1e9), {"g": {"lat": 91, "lon": 0}}, False),  # no such place
        (F("g").within_radius(0, 0, 1e9), {"g": {"lat": True, "lon": 0}}, False),
    ],
)
def test_meaning(node: Node, payload: Payload, expected: bool) -> None:
    assert holds(node, 0, payload) is expected
    assert matches(node, 0, payload) is expected
    assert by_columns(node, [(0, payload)]) == [expected]


def test_ids_are_typed() -> None:
    rows: Points = [(1, {}), ("1", {}), (2, {})]
    node = F.ids([1, "2"])
    assert [matches(node, point_id, payload) for point_id, payload in rows] == [True, False, False]
    assert by_columns(node, rows) == [True, False, False]


@given(st.floats(0, 6e6), st.floats(-80, 80), st.floats(-170, 170))
def test_a_radius_equal_to_the_distance_is_decided_alike(metres: float, lat: float, lon: float) -> None:
    """On the edge the two evaluations must not round differently."""
    from vsearch.filters.values import distance_m

    degrees = metres / 111_000
    payload = {"g": {"lat": lat, "lon": max(-180.0, min(180.0, lon + degrees))}}
    exact = distance_m((lat, lon), (payload["g"]["lat"], payload["g"]["lon"]))
    for radius_m in (exact, np.nextafter(exact, 0), np.nextafter(exact, 1e9)):
        node = F("g").within_radius(lat, lon, radius_m)
        assert by_columns(node, [(0, payload)]) == [matches(node, 0, payload)]


def make_leaf(maker: Maker) -> tuple[Points, tree.Leaf]:
    rows = make_points(maker)
    return rows, maker.leaf([payload for _, payload in rows])


@settings(max_examples=300)
@given(makers.map(make_leaf))
def test_plain_paths_read_no_payload(case: tuple[Points, tree.Leaf]) -> None:
    """Columns decide every condition on a path without [n] and with at most one []; places may be unclear."""
    rows, node = case
    if node.path.count("[") > 1 or "[0]" in node.path or "[1]" in node.path or "Geo" in type(node).__name__:
        return
    found = evaluate(node, len(rows), ColumnSet(flatten([p for _, p in rows])), no_ids, unread)
    assert found.tolist() == [holds(node, point_id, payload) for point_id, payload in rows]


def test_payloads_are_read_last_and_only_for_candidates() -> None:
    rows = [{"n": row, "a": [{"x": row % 3}, {"y": 1}] if row % 2 else []} for row in range(60)]
    read: list[int] = []

    def payload_of(row: int) -> Payload:
        read.append(row)
        return rows[row]

    node = F("a").nested((F("x") == 1) & ~(F("y") == 1)) & (F("n") < 20)
    found = evaluate(node, 60, ColumnSet(flatten(rows)), no_ids, payload_of)
    assert np.flatnonzero(found).tolist() == [1, 7, 13, 19]
    assert sorted(read) == [1, 7, 13, 19]


def test_a_place_without_a_coordinate_is_not_read() -> None:
    rows: list[Payload] = [{"g": {"lat": 1.0}}, {"g": {"lat": 1.0, "lon": 1}}, {"g": "here"}, {}]
    found = evaluate(F("g").within_radius(1, 1, 10), 4, ColumnSet(flatten(rows)), no_ids, unread)
    assert found.tolist() == [False, True, False, False]


def test_an_unclear_place_is_read_only_within() -> None:
    rows: list[Payload] = [{"g": [{"lat": 1, "lon": 1}, {"lat": 1.5, "lon": 1}]} for _ in range(3)]
    read: list[int] = []

    def payload_of(row: int) -> Payload:
        read.append(row)
        return rows[row]

    within = np.array([False, True, False])
    found = evaluate(F("g").within_radius(1, 1, 10), 3, ColumnSet(flatten(rows)), no_ids, payload_of, within)
    assert found.tolist() == [False, True, False]
    assert read == [1]


def test_one_text_condition_on_two_fields() -> None:
    columns = ColumnSet(flatten([{"t": "red", "u": "zebra"}, {"t": "blue", "u": "red"}]))
    assert evaluate(F("t").contains("red"), 2, columns, no_ids, unread).tolist() == [True, False]
    assert evaluate(F("u").contains("red"), 2, columns, no_ids, unread).tolist() == [False, True]


@pytest.mark.parametrize("indexed", [False, True])
def test_strings_among_many(indexed: bool) -> None:
    rows: Points = [(0, {"t": f"w{row:03}"}) for row in range(0, 200, 2)]
    for wanted in (["w000"], ["w100"], ["w198"], ["w101"], ["w"], ["x"], ["w100", "w101", "x"]):
        expected = [payload["t"] in wanted for _, payload in rows]
        assert by_columns(F("t").any(wanted), rows, indexed=indexed) == expected
    assert by_columns(F("t").prefix("w19"), rows, indexed=indexed) == [row >= 190 for row in range(0, 200, 2)]


def test_a_payload_index_leaves_out_nan_and_sorts_the_rest() -> None:
    (column,) = flatten([{"a": value} for value in (2.0, float("nan"), -1.0, 2.0, float("inf"))])
    assert sorted_order(column).tolist() == [2, 0, 3, 4]
    assert sorted_order(column).dtype == np.int32


def test_one_column_set_serves_many_threads() -> None:
    rows = [{"t": f"w{row % 7} x{row}", "d": f"2024-01-{row % 28 + 1:02}", "n": [row, row + 1]} for row in range(2000)]
    nodes = [F("t").text(f"w{i}") & (F("d") >= f"2024-01-{i + 1:02}") & (F("n") < 1500 - i) for i in range(7)]
    expected = [[matches(node, 0, row) for row in rows] for node in nodes]
    columns, failures = ColumnSet(flatten(rows)), []

    def work(start: int) -> None:
        for i in range(7):
            node = (start + i) % 7
            if evaluate(nodes[node], 2000, columns, no_ids, unread).tolist() != expected[node]:
                failures.append(node)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(any(answer) and not all(answer) for answer in expected)


def test_kept_results_of_text_conditions_are_bounded() -> None:
    from vsearch.filters.columns import MAX_TESTS_KEPT

    columns = ColumnSet(flatten([{"t": "a"}, {"t": "b"}]))
    for i in range(MAX_TESTS_KEPT * 3):
        evaluate(F("t").contains(str(i)), 2, columns, no_ids, unread)
    assert len(columns._tests) <= MAX_TESTS_KEPT
    assert evaluate(F("t").contains("b"), 2, columns, no_ids, unread).tolist() == [False, True]
    assert evaluate(F("t").prefix("b", ignore_case=True), 2, columns, no_ids, unread).tolist() == [False, True]


@example([])
@given(st.lists(st.sampled_from("abc"), max_size=200))
def test_many_values_of_one_condition(found: list[str]) -> None:
    wanted = [*found, *map(str, range(100))]
    rows: Points = [(0, {"t": text}) for text in ("a", "b", "7", "x")]
    expected = [text in wanted for text in ("a", "b", "7", "x")]
    assert by_columns(F("t").any(wanted), rows) == expected
    assert by_columns(F("t").any(wanted), rows, indexed=True) == expected
