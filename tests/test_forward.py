"""The forward index: rows come out as they went in, in each layout, and score what a sum over dicts does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_sparse import from_dicts, to_dicts

from vsearch.index import forward
from vsearch.index.forward import GROUP, GROUP_BYTES, HEAD, Forward, pack, score_row, unpack
from vsearch.index.inverted_lists import inverted
from vsearch.index.jit import kernel
from vsearch.types import SparseRows


@kernel
def compiled_score(groups, first, last, table):
    forward.prefetch_row(groups, first, last)
    return score_row(groups, first, last, table)


def random(seed: int, n: int, terms: int, length: int, weights: Any) -> SparseRows:
    """Rows of up to so many terms, some of them empty, over a dictionary that has all terms."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(terms, rng.integers(0, length + 1), replace=False) for _ in range(n)]
    made = from_dicts([dict(zip(row.tolist(), weights(rng, len(row)).tolist(), strict=True)) for row in rows])
    numbers = made.numbers.astype(np.uint16 if terms <= 1 << 16 else np.uint32)
    return SparseRows(made.offsets, numbers, made.weights, np.arange(terms, dtype=np.uint32) * 3)


def packed(rows: SparseRows, order: np.ndarray) -> Forward:
    return pack(rows, order, inverted(rows)[2])


def steps(rng: Any, m: int) -> np.ndarray:
    return rng.integers(1, 256, m) * np.float32(0.0173)


def even(rng: Any, m: int) -> np.ndarray:
    return rng.random(m, np.float32) + np.float32(0.1)


def heavy(rng: Any, m: int) -> np.ndarray:
    return np.exp(4 * rng.standard_normal(m)).astype(np.float32)


LAYOUTS = {  # by what rows: dtype of the groups, and whether weights are stored exactly
    "exact": (500, steps, np.uint8, True),
    "8 bits": (500, even, np.uint8, False),
    "16 bits": (500, heavy, np.uint16, False),
    "wide": (70_000, heavy, np.uint32, False),
    "wide, exact": (70_000, steps, np.uint32, True),
    "as many terms as 16 bits number": (65_536, even, np.uint8, False),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_rows_come_out_as_they_went_in(name: str, seed: int) -> None:
    terms, weights, dtype, exact = LAYOUTS[name]
    rows = random(seed, 60, terms, 90, weights)
    order = np.random.default_rng(seed).permutation(60)
    made = packed(rows, order)
    assert (made.groups.dtype, made.exact, made.groups.nbytes % GROUP_BYTES[made.groups.dtype]) == (dtype, exact, 0)
    dicts = to_dicts(SparseRows(rows.offsets, rows.numbers, rows.weights))
    for place, row in enumerate(order.tolist()):
        first, _, last = made.starts[2 * place : 2 * place + 3].tolist()
        numbers, codes = unpack(made.groups, first, last)
        count = len(dicts[row])
        assert len(numbers) == -(-count // GROUP) * GROUP
        assert (codes[:count] >= 1).all()
        assert not codes[count:].any()
        stored = {int(t): float(c) * made.scale for t, c in zip(numbers[:count], codes[:count], strict=True)}
        assert stored == pytest.approx(dicts[row], rel=1e-6, abs=0 if exact else 1.001 * made.scale)


@pytest.mark.parametrize("name", ["exact", "wide, exact"])
def test_the_head_of_a_row_is_the_least_that_has_enough(name: str, seed: int) -> None:
    rows = random(seed, 80, *LAYOUTS[name][:1], 150, steps)
    made = packed(rows, np.arange(80))
    for row in range(80):
        first, tail, last = made.starts[2 * row : 2 * row + 3].tolist()
        codes = unpack(made.groups, first, last)[1].astype(float)
        head = codes[: (tail - first) * GROUP]
        assert head.sum() >= HEAD * codes.sum()
        assert len(head) == 0 or head[:-GROUP].sum() < HEAD * codes.sum()
        weights = codes[codes > 0]
        assert (weights[1:] <= weights[:-1] + weights.max(initial=0) / 255).all()  # in order, by 256 levels


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_row_scores_what_a_sum_over_dicts_does(name: str, seed: int) -> None:
    terms, weights, _, _ = LAYOUTS[name]
    rows = random(seed, 40, terms, 90, weights)
    made = packed(rows, np.arange(40))
    groups = made.groups.copy()
    groups.flags.writeable = False
    table = np.random.default_rng(seed).standard_normal(terms).astype(np.float32)
    for row in range(40):
        bounds = [int(start) for start in made.starts[2 * row : 2 * row + 3]]
        for first, last in (bounds[:2], bounds[1:], bounds[::2]):
            numbers, codes = unpack(made.groups, first, last)
            expected = sum(float(table[t]) * float(c) for t, c in zip(numbers, codes, strict=True))
            size = sum(abs(float(table[t])) * float(c) for t, c in zip(numbers, codes, strict=True))
            for some in (made.groups, groups):
                got = compiled_score(some, np.int64(first), np.int64(last), table)
                assert got == pytest.approx(expected, abs=1e-6 * size)
            assert score_row(made.groups, first, last, table) == pytest.approx(expected, abs=1e-6 * size)


@given(
    st.integers(1, 255).flatmap(lambda top: st.lists(st.integers(1, top), min_size=1, max_size=30)),
    st.floats(1e-37, 1e10),
)
def test_whole_multiples_of_a_step_are_stored_exactly(multiples: list[int], step: float) -> None:
    weights = [float(np.float32(m) * np.float32(step)) for m in multiples]
    rows = from_dicts([{i: weight} for i, weight in enumerate(weights)], dictionary=True)
    made = packed(rows, np.arange(len(rows)))
    if made.exact:
        codes = [unpack(made.groups, row, row + 1)[1][0] for row in range(len(rows))]
        np.testing.assert_allclose(np.array(codes) * made.scale, weights, rtol=1.1e-6)
    else:  # where no two weights are one step apart, the step cannot be seen
        gaps = np.diff(sorted({0, *multiples}))
        assert any(m % gaps.min() for m in multiples)


def test_weights_near_multiples_of_a_step_are_not_taken_for_them() -> None:
    weights = np.arange(1, 256, dtype=np.float32)
    weights[0] *= 1.0002  # that it is off by less than a millionth of the heaviest does not help its own row
    made = packed(from_dicts([{0: float(w)} for w in weights], dictionary=True), np.arange(255))
    assert not made.exact
    assert packed(from_dicts([{0: float(w)} for w in weights[1:]], dictionary=True), np.arange(254)).exact


@pytest.mark.parametrize("rows", [[], [{}], [{}, {}, {}]])
def test_no_entries(rows: list[dict[int, float]]) -> None:
    made = packed(from_dicts(rows, dictionary=True), np.arange(len(rows)))
    assert (len(made.groups), made.exact, made.starts.tolist()) == (0, True, [0] * (2 * len(rows) + 1))


@pytest.mark.parametrize("weight", [1e-45, 1e-44, 1e-38, 1e15])
def test_weights_at_the_ends_of_what_there_is(weight: float) -> None:
    made = packed(from_dicts([{3: weight, 4: weight / 2}, {4: weight}], dictionary=True), np.arange(2))
    codes = unpack(made.groups, 0, 2)[1].astype(float)
    assert np.isfinite(made.scale)
    assert 1.17e-38 < made.scale <= weight or weight < 1e-37
    assert ((codes >= 1).sum(), codes.max() <= 255) == (3, True)
