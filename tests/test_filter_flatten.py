"""Payloads as columns, and the columns of kept rows."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import payloads
from vsearch.errors import InvalidArgument
from vsearch.filters.flatten import flatten, merge
from vsearch.types import Column, Payload

DTYPES = {"int": "int64", "float": "float64", "bool": "uint8", "str": "int32"}


def cells(columns: list[Column]) -> dict[tuple[str, str], list[list[Any]]]:
    """The values of each column, row by row, strings spelled out."""
    found = {}
    for column in columns:
        values = [column.dictionary[code] for code in column.values] if column.type == "str" else column.values.tolist()
        ends = column.offsets.tolist()
        found[column.path, column.type] = [values[a:b] for a, b in pairwise(ends)]
    return found


def test_values_stand_at_their_paths() -> None:
    columns = flatten(
        [
            {"n": 1, "s": "b", "deep": {"x.y": 1.5, "ok": True}},
            {"n": 2.0, "s": None, "tags": ["b", 3, "a", None]},
            {"authors": [{"name": "x", "of": [1, 2]}, {"name": "y"}, 7], "empty": []},
            {"grid": [[1, 2], [3], [[4]]]},
        ]
    )
    assert cells(columns) == {
        ("authors", "int"): [[], [], [7], []],
        ("authors", "list"): [[], [], [3], []],
        ("authors[]", "object"): [[], [], [0, 0], []],
        ("authors[].name", "str"): [[], [], ["x", "y"], []],
        ("authors[].of", "int"): [[], [], [1, 2], []],
        ("authors[].of", "list"): [[], [], [2], []],
        ('deep."x.y"', "float"): [[1.5], [], [], []],
        ("deep", "object"): [[0], [], [], []],
        ("deep.ok", "bool"): [[1], [], [], []],
        ("empty", "list"): [[], [], [0], []],
        ("grid", "list"): [[], [], [], [3]],
        ("grid[]", "int"): [[], [], [], [1, 2, 3]],
        ("grid[]", "list"): [[], [], [], [2, 1, 1]],
        ("grid[][]", "int"): [[], [], [], [4]],
        ("grid[][]", "list"): [[], [], [], [1]],
        ("n", "float"): [[], [2.0], [], []],
        ("n", "int"): [[1], [], [], []],
        ("s", "null"): [[], [0], [], []],
        ("s", "str"): [["b"], [], [], []],
        ("tags", "int"): [[], [3], [], []],
        ("tags", "list"): [[], [4], [], []],
        ("tags", "str"): [[], ["b", "a"], [], []],
        ("tags[]", "null"): [[], [0], [], []],
    }


def test_integers_of_more_than_64_bits_are_floats_in_their_place() -> None:
    (floats, ints, _) = flatten([{"a": [2**63, -(2**63), 0.5, 10**400, -(10**400)]}])
    assert floats.values.tolist() == [2.0**63, 0.5, np.inf, -np.inf]
    assert ints.values.tolist() == [-(2**63)]


@given(st.lists(payloads, max_size=5))
def test_columns_keep_their_invariants(rows: list[Payload]) -> None:
    columns = flatten(rows)
    assert [(c.path, c.type) for c in columns] == sorted({(c.path, c.type) for c in columns})
    for column in columns:
        assert column.values.dtype == DTYPES.get(column.type, "int32")
        assert column.offsets.dtype == np.int64
        assert column.offsets[0] == 0
        assert column.offsets[-1] == len(column.values) > 0
        assert len(column.offsets) == len(rows) + 1
        assert (np.diff(column.offsets) >= 0).all()
        if column.type == "str":
            assert list(column.dictionary) == sorted(set(column.dictionary))
            assert sorted(set(column.values.tolist())) == list(range(len(column.dictionary)))


@settings(max_examples=150)
@given(st.lists(st.lists(payloads, max_size=4), max_size=3), st.data())
def test_merged_columns_are_those_of_the_kept_payloads(segments: list[list[Payload]], data: st.DataObject) -> None:
    keeps = [data.draw(st.permutations(range(len(rows))).map(lambda r: r[: len(r) // 2 + 1])) for rows in segments]
    parts = [(flatten(rows), np.array(keep, dtype=np.int64)) for rows, keep in zip(segments, keeps, strict=True)]
    merged = merge(parts)
    expected = flatten([rows[row] for rows, keep in zip(segments, keeps, strict=True) for row in keep])
    assert [(c.path, c.type, list(c.dictionary)) for c in merged] == [
        (c.path, c.type, list(c.dictionary)) for c in expected
    ]
    for one, other in zip(merged, expected, strict=True):
        assert one.values.dtype == other.values.dtype
        np.testing.assert_array_equal(one.offsets, other.offsets)
        np.testing.assert_array_equal(one.values, other.values)  # nan equals nan here


def test_nothing_makes_no_columns() -> None:
    assert flatten([]) == []
    assert flatten([{}, {}]) == []
    assert merge([]) == []
    assert merge([(flatten([{"a": 1}]), np.array([], dtype=np.int64))]) == []


@pytest.mark.parametrize(
    ("payload", "named"), [({"a": {"b": [{1, 2}]}}, "a.b"), ({"a": (1,)}, "a"), ({"a": {1: 2}}, "a")]
)
def test_what_json_does_not_have_is_refused(payload: Any, named: str) -> None:
    with pytest.raises(InvalidArgument, match=f"'{named}"):
        flatten([payload])
