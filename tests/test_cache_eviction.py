"""Which entries give way: expected value, and a queue of victims beside sorting everything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from vsearch.cache import eviction
from vsearch.cache.eviction import HALF_LIFE_S, NO_ROW, Victims, heated, rates, values
from vsearch.types import IntArray

TIMES = st.floats(0.0, 1e6)
Array = NDArray[Any]


class Fixed:
    """Rows of given values; `ranked` counts the rows whose value was asked for."""

    def __init__(self, value: Array, category: Array | None = None) -> None:
        self.value = np.asarray(value, np.float64)
        self.category = np.zeros(len(self.value), np.int64) if category is None else category
        self.stamp = np.arange(1, len(self.value) + 1)
        self.live = np.ones(len(self.value), bool)
        self.clock = len(self.value)
        self.ranked = 0

    def rows(self, category: int | None) -> IntArray:
        return np.flatnonzero(self.live if category is None else self.live & (self.category == category))

    def values(self, rows: IntArray) -> NDArray[np.float64]:
        self.ranked += len(rows)
        return self.value[rows]

    def stamps(self, rows: IntArray) -> IntArray:
        return self.stamp[rows]

    def put(self, row: int, value: float, category: int) -> None:
        self.clock += 1
        self.value[row], self.category[row], self.stamp[row], self.live[row] = value, category, self.clock, True

    def remove(self, row: int) -> None:
        assert self.live[row]
        self.clock += 1
        self.live[row], self.stamp[row] = False, self.clock


# Values.


def naive_rate(heat: float, age_s: float, idle_s: float) -> float:
    """The posterior rate, exposure summed over minutes with the weight of each."""
    hits = heat * 0.5 ** (idle_s / HALF_LIFE_S)
    edges = np.linspace(0.0, age_s, 2_000)
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    seen = float((0.5 ** (middle / HALF_LIFE_S) * width).sum())
    return (eviction.PRIOR_HITS + hits) / (eviction.PRIOR_S + seen)


@given(st.floats(0.0, 1_000.0), st.floats(0.0, 200_000.0), st.floats(0.0, 1.0))
def test_rates_are_hits_over_time_both_fading(heat: float, age_s: float, part: float) -> None:
    assert rates(heat, age_s, age_s * part) == pytest.approx(naive_rate(heat, age_s, age_s * part), rel=1e-3)


@given(st.lists(st.floats(1.0, 1e5), min_size=1, max_size=30))
def test_heat_is_a_count_of_hits_that_halves(gaps: list[float]) -> None:
    heat = 0.0
    for gap in gaps:
        heat = heated(heat, gap)
    at = np.cumsum(gaps)
    assert heat == pytest.approx(float((0.5 ** ((at[-1] - at) / HALF_LIFE_S)).sum()))


def test_a_steady_rate_is_found() -> None:
    heat, gap = 0.0, 50.0
    for _ in range(10_000):
        heat = heated(heat, gap)
    assert rates(heat, 10_000 * gap, 0.0) == pytest.approx(1.0 / gap, rel=0.03)


@given(st.floats(0.0, 100.0), TIMES, st.floats(0.0, 1.0), TIMES)
def test_an_entry_that_is_not_hit_never_rises(heat: float, age_s: float, part: float, later: float) -> None:
    idle_s = age_s * part
    assert rates(heat, age_s + later, idle_s + later) <= rates(heat, age_s, idle_s) * (1 + 1e-12)


def test_fresh_entries_stay_and_bursts_fade() -> None:
    hour, day = 3600.0, 86_400.0
    fresh = rates(0.0, 1.0, 1.0)
    assert fresh > rates(0.0, hour, hour)  # had its chance
    assert fresh > rates(1.0, day, hour)  # a single hit in a day
    assert fresh < rates(2.0, hour, 60.0)
    steady, burst = rates(3.0, 3 * day, hour), rates(100.0, 3 * day, 3 * day)
    assert steady > burst


def test_values_weigh_priority_saving_and_bytes() -> None:
    one = values(1.0, [1.0], [60.0], [60.0], [2.0], [1_000])
    assert values(3.0, [1.0], [60.0], [60.0], [2.0], [1_000]) == pytest.approx(3 * one)
    assert values(1.0, [1.0], [60.0], [60.0], [4.0], [1_000]) == pytest.approx(2 * one)
    assert values(1.0, [1.0], [60.0], [60.0], [2.0], [2_000]) == pytest.approx(one / 2)
    assert values(0.0, [9.0], [60.0], [60.0], [2.0], [1_000]) == 0.0
    assert np.isfinite(values(1.0, [0.0], [-5.0], [-5.0], [0.0], [0])).all()  # whatever a table may hold
    assert values(1.0, [], [], [], [], []).shape == (0,)


def test_an_unknown_saving_counts_as_the_mean() -> None:
    unknown, low, high = values(1.0, 1.0, 60.0, 60.0, [0.0, 1.0, 3.0], 100)
    assert unknown == pytest.approx((low + high) / 2)
    assert len(set(values(1.0, 1.0, 60.0, 60.0, [0.0, 0.0], 100))) == 1


# The queue.


@given(st.lists(st.integers(0, 20), max_size=300), st.integers(0, 40))
def test_victims_are_the_lowest_in_order(numbers: list[int], wanted: int) -> None:
    """Nothing changes but what is evicted: the same as sorting all, taking the lowest."""
    table = Fixed(np.array(numbers, np.float64))
    victims = Victims(table)
    expected = sorted(numbers)
    for step in range(min(wanted, len(numbers))):
        row = victims.next()
        assert table.value[row] == expected[step]
        table.remove(row)
    if wanted >= len(numbers):
        assert victims.next() == NO_ROW


STEPS = st.lists(
    st.tuples(st.sampled_from(["evict", "touch", "put", "remove"]), st.integers(0, 399), st.floats(0.0, 1.0)),
    max_size=150,
)


@given(st.integers(0, 2**32 - 1), STEPS, st.sampled_from([None, 0, 1]))
def test_victims_are_low_live_and_untouched(seed: int, steps: list[tuple[str, int, float]], only: int | None) -> None:
    """Beside a naive twin that sorts at every eviction: among the lowest, whatever happened since they were queued."""
    rng = np.random.default_rng(seed)
    table = Fixed(rng.random(400), rng.integers(0, 2, 400))
    victims, bound = Victims(table), 0.0
    for what, row, value in steps:
        if what == "evict":
            rows, ranked = table.rows(only), table.ranked
            victim = victims.next(only)
            if not len(rows):
                assert victim == NO_ROW
                continue
            assert table.live[victim]
            assert only is None or table.category[victim] == only
            if table.ranked > ranked:
                bound = np.sort(table.value[rows])[max(1, len(rows) // 100) - 1]
            assert table.value[victim] <= bound
            table.remove(victim)
        elif what == "touch" and table.live[row]:
            table.put(row, 2.0 + value, int(table.category[row]))  # dearer than any
        elif what == "put":
            table.put(row, value, row % 2)
        elif what == "remove" and table.live[row]:
            table.remove(row)


def test_categories_have_queues_of_their_own() -> None:
    table = Fixed(np.arange(1_000.0), np.arange(1_000) % 3)
    victims = Victims(table)
    for expected, category in [(1, 1), (0, None), (2, None), (3, 0), (4, 1), (5, 2), (6, None)]:
        row = victims.next(category)
        assert row == expected
        table.remove(row)
    assert victims.next(7) == NO_ROW


def test_forgetting_ranks_by_new_values() -> None:
    table = Fixed(np.arange(1_000.0))
    victims = Victims(table)
    table.remove(victims.next())
    table.value = -table.value
    assert victims.next() == 1
    victims.forget()
    assert victims.next() == 999


def test_a_victim_that_was_not_removed_does_not_come_again_at_once() -> None:
    table = Fixed(np.arange(1_000.0))
    victims = Victims(table)
    assert [victims.next() for _ in range(10)] == list(range(10))
    assert victims.next() == 0  # ranked anew


def test_an_eviction_ranks_a_hundred_rows_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eviction, "SAMPLE", 4_096)
    rng = np.random.default_rng(3)
    table = Fixed(np.roll(np.sort(rng.random(200_000)), 70_000))  # no part of the rows is like the whole
    order = np.argsort(np.argsort(table.value)) / len(table.value)
    victims, victim_order = Victims(table), []
    for _ in range(2_000):
        row = victims.next()
        victim_order.append(order[row])
        table.remove(row)
    assert table.ranked <= 105 * 2_000 + 4_096
    assert max(victim_order) < 0.025  # 1 % were evicted; of samples of 1/49, the lowest 1 % of what is left
    assert np.mean(victim_order) < 0.011


# Beside LRU and FIFO.


class Simulated(Fixed):
    """A table of `capacity` rows whose values a policy gives."""

    def __init__(self, capacity: int, policy: str) -> None:
        super().__init__(np.zeros(capacity))
        self.live[:] = False
        self.policy, self.now = policy, 0.0
        self.heat, self.made, self.hit, self.cost, self.nbytes = np.zeros((5, capacity))

    def values(self, rows: IntArray) -> NDArray[np.float64]:
        if self.policy == "fifo":
            return self.made[rows]
        if self.policy == "lru":
            return self.hit[rows]
        age_s, idle_s = self.now - self.made[rows], self.now - self.hit[rows]
        return values(1.0, self.heat[rows], age_s, idle_s, self.cost[rows], self.nbytes[rows])


def saved(policy: str, keys: Array, cost: Array, gap_s: float, capacity: int = 300) -> float:
    """Share of all cost that a cache of so many entries of equal size saves."""
    table, at, whole = Simulated(capacity, policy), {}, 0.0
    victims, free, key_of = Victims(table), list(range(capacity)), {}
    for key in keys.tolist():
        table.now += gap_s
        row = at.get(key)
        if row is not None:
            whole += cost[key]
            table.heat[row] = heated(float(table.heat[row]), table.now - float(table.hit[row]))
        else:
            if not free:
                free.append(victims.next())
                del at[key_of[free[-1]]]
            row = free.pop()
            at[key], key_of[row] = row, key
            table.heat[row], table.made[row], table.cost[row], table.nbytes[row] = 0.0, table.now, cost[key], 500.0
        table.hit[row] = table.now
        table.put(row, 0.0, 0)
    return whole / float(cost[keys].sum())


@pytest.mark.parametrize("gap_s", [0.1, 10.0])
@pytest.mark.parametrize("drift", [0, 37])
def test_more_is_saved_than_by_lru_and_fifo(gap_s: float, drift: int) -> None:
    """Zipf traffic over answers of different cost; with `drift` others become popular every 2,000 requests."""
    rng = np.random.default_rng(7)
    p = 1.0 / np.arange(1, 6_001) ** 0.9
    keys = (rng.choice(6_000, 12_000, p=p / p.sum()) + np.arange(12_000) // 2_000 * drift) % 6_000
    cost = rng.lognormal(0.0, 1.0, 6_000)
    ours, lru, fifo = (saved(policy, keys, cost, gap_s) for policy in ("value", "lru", "fifo"))
    assert ours > 1.1 * lru
    assert ours > 1.15 * fifo
