"""Bitsets against Python sets."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vsearch.index import bitset
from vsearch.index.simd import has_bit

SIZES = st.sampled_from([0, 1, 63, 64, 65, 128, 200])


@st.composite
def sets(draw: st.DrawFn) -> tuple[int, list[int], list[int]]:
    """(n, two lists of ordinals below n, with repeats)"""
    n = draw(SIZES)
    ordinals = st.lists(st.integers(0, n - 1), max_size=30) if n else st.just([])
    return n, draw(ordinals), draw(ordinals)


def array(ordinals: list[int]) -> np.ndarray:
    return np.array(ordinals, np.int64)


@given(sets())
def test_a_bitset_is_a_set(case: tuple[int, list[int], list[int]]) -> None:
    n, first, second = case
    bits = bitset.from_ordinals(array(first), n)
    assert bits.dtype == np.uint64
    assert len(bits) == bitset.words(n) == -(-n // 64)
    assert bitset.to_ordinals(bits).tolist() == sorted(set(first))
    assert bitset.count(bits) == len(set(first))
    assert [bool(has_bit(bits, i)) for i in range(n)] == [i in first for i in range(n)]
    mask = bitset.to_mask(bits, n)
    assert mask.dtype == np.bool_
    assert np.flatnonzero(mask).tolist() == sorted(set(first))
    np.testing.assert_array_equal(bitset.from_mask(mask), bits)

    bitset.add(bits, array(second))
    assert bitset.to_ordinals(bits).tolist() == sorted({*first, *second})
    bitset.remove(bits, array(first))
    assert bitset.to_ordinals(bits).tolist() == sorted({*second} - {*first})


@given(SIZES)
def test_full_and_empty_sets(n: int) -> None:
    assert bitset.to_ordinals(bitset.full(n)).tolist() == list(range(n))
    assert bitset.count(bitset.full(n)) == n
    assert bitset.count(bitset.empty(n)) == 0


@given(sets())
def test_intersection_with_all_rows_is_the_other_set(case: tuple[int, list[int], list[int]]) -> None:
    n, first, second = case
    a, b = (bitset.from_ordinals(array(ordinals), n) for ordinals in (first, second))
    both = bitset.intersect(a, b)
    assert both is not None
    assert bitset.to_ordinals(both).tolist() == sorted({*first} & {*second})
    assert bitset.intersect(a, None) is a
    assert bitset.intersect(None, b) is b
    assert bitset.intersect(None, None) is None
