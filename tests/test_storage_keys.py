"""Keys sort like what they encode, and come back as they were."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vsearch.errors import Corruption, InvalidArgument
from vsearch.storage import keys

integers = st.integers(0, 2**64 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
ids = integers | texts
numbers = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 255, 256, 2**32 - 2, 2**32 - 1])


def order(point_id: int | str) -> tuple[int, int, str]:
    return (0, point_id, "") if isinstance(point_id, int) else (1, 0, point_id)


@given(st.lists(ids), numbers)
def test_ids_sort_integers_first_then_text_by_code_point(values: list[int | str], number: int) -> None:
    by_key = sorted(values, key=lambda value: keys.id_key(number, value))
    assert by_key == sorted(values, key=order)


@given(st.lists(integers), numbers)
def test_pids_sort_as_numbers(values: list[int], number: int) -> None:
    assert sorted(values, key=lambda pid: keys.pid_key(number, pid)) == sorted(values)


@given(ids, numbers)
def test_ids_come_back(value: int | str, number: int) -> None:
    assert keys.decode_id(keys.encode_id(value)) == value
    assert keys.id_of(keys.id_key(number, value)) == value
    assert keys.id_key(number, value) == keys.prefix(number) + keys.encode_id(value)


@given(integers, numbers)
def test_pids_come_back(pid: int, number: int) -> None:
    assert keys.pid_of(keys.pid_key(number, pid)) == pid
    assert len(keys.pid_key(number, pid)) == 12
    assert keys.pid_from_value(keys.pid_value(pid)) == pid


@given(ids, integers, numbers, numbers)
@example("\U0010ffff", 2**64 - 1, 2**32 - 1, 0)
def test_a_collections_range_holds_its_keys_and_no_others(value: int | str, pid: int, number: int, other: int) -> None:
    for key in (keys.id_key(number, value), keys.pid_key(number, pid)):
        assert keys.prefix(number) <= key < keys.prefix_end(number)
        assert (keys.prefix(other) <= key < keys.prefix_end(other)) == (other == number)


@pytest.mark.parametrize("value", [-1, 2**64, 10**30, "\ud800"])
def test_an_id_that_has_no_key_is_an_invalid_argument(value: int | str) -> None:
    with pytest.raises(InvalidArgument, match="id"):
        keys.id_key(1, value)


@given(st.binary(max_size=12))
def test_foreign_bytes_are_corruption_or_an_id_with_these_bytes(data: bytes) -> None:
    try:
        value = keys.decode_id(data)
    except Corruption:
        return
    assert keys.encode_id(value) == data


@pytest.mark.parametrize("data", [b"", b"\0" * 7, b"\0" * 9])
def test_pids_of_another_length_are_corruption(data: bytes) -> None:
    with pytest.raises(Corruption):
        keys.pid_from_value(data)
    with pytest.raises(Corruption):
        keys.pid_of(b"\0\0\0\1" + data)
