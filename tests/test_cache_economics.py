"""What a cache saves: counters that add up, the break-even hit rate, and advice that follows from both."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.cache.answers import BELOW_THRESHOLD, DISABLED, EMPTY, GUARD
from vsearch.cache.economics import Tally, advise, break_even, total, wilson
from vsearch.cache.policy import CachePolicy

EVENTS = st.one_of(
    st.tuples(
        st.just("hit"), st.sampled_from(["exact", "semantic"]), st.booleans(), *(st.integers(0, 100) for _ in range(3))
    ),
    st.tuples(
        st.just("miss"), st.sampled_from([DISABLED, EMPTY, BELOW_THRESHOLD, f"{GUARD}numbers"]), st.integers(0, 100)
    ),
    st.tuples(st.just("stored"), st.booleans(), st.none() | st.integers(0, 100), st.none() | st.integers(0, 100)),
    st.tuples(st.just("reported"), st.booleans()),
    st.tuples(st.just("removed"), st.sampled_from(["evicted", "expired", "invalidated"]), st.integers(0, 9)),
)


def tally_of(events: list[tuple[Any, ...]]) -> Tally:
    tally = Tally()
    for name, *arguments in events:
        getattr(tally, name)(*arguments)
    return tally


@given(st.lists(EVENTS, max_size=60))
def test_a_snapshot_counts_what_happened(events: list[tuple[Any, ...]]) -> None:
    seen = tally_of(events).snapshot()
    hits = [event for event in events if event[0] == "hit"]
    misses = [event for event in events if event[0] == "miss"]
    asked = [event for event in misses if event[1] != DISABLED]
    stored = [event for event in events if event[0] == "stored"]
    assert seen["lookups"] == len(hits) + len(asked)
    assert seen["lookups_disabled"] == len(misses) - len(asked)
    assert seen["hits"] == len(hits) == seen["hits_exact"] + seen["hits_semantic"]
    assert seen["hits_exact"] == sum(event[1] == "exact" for event in hits)
    assert seen["hits_stale"] == sum(event[2] for event in hits)
    assert seen["misses"] == len(asked)
    assert seen["guarded"] == sum(event[1].startswith(GUARD) for event in misses)
    assert sum(seen["misses_by_reason"].values()) == len(misses)
    assert (seen["stores"], seen["refused"]) == (sum(e[1] for e in stored), sum(not e[1] for e in stored))
    assert seen["saved_s"] == sum(event[4] for event in hits)
    assert seen["saved_cost"] == sum(event[5] for event in hits)
    spent = sum(event[3] for event in hits) + sum(event[2] for event in asked)
    assert seen["net_saved_s"] == seen["saved_s"] - spent
    known = [event[2] for event in stored if event[2] is not None]
    assert seen["mean_compute_s"] == (sum(known) / len(known) if known else None)
    for why in ("evicted", "expired", "invalidated"):
        assert seen[why] == sum(event[2] for event in events if event[:2] == ("removed", why))
    for correct in (True, False):
        reports = sum(event == ("reported", correct) for event in events)
        assert seen["right" if correct else "wrong"] == reports
    assert json.loads(json.dumps(seen)) == seen


@given(st.lists(EVENTS, max_size=40), st.lists(EVENTS, max_size=40))
def test_counters_survive_and_add_up(first: list[tuple[Any, ...]], second: list[tuple[Any, ...]]) -> None:
    whole = tally_of([*first, *second])
    kept = json.loads(json.dumps(tally_of(first).to_dict()))
    continued = Tally.from_dict(kept)
    assert continued == tally_of(first)
    for name, *arguments in second:
        getattr(continued, name)(*arguments)
    assert continued == whole
    assert total([tally_of(first), tally_of(second)]) == whole
    assert Tally.from_dict({**kept, "unknown": 3}) == tally_of(first)  # of a later release
    assert Tally.from_dict({}) == Tally()


def test_threads_count_together() -> None:
    tally = Tally()

    def work() -> None:
        for _ in range(5_000):
            tally.hit("exact", False, 1.0, 2.0, 3.0)
            tally.miss(EMPTY, 1.0)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.snapshot()["lookups"] == 40_000
    assert (tally.hit_s, tally.saved_s, tally.saved_cost, tally.miss_s) == (20_000.0, 40_000.0, 60_000.0, 20_000.0)


# Break-even.


def test_break_even_of_the_paper() -> None:
    """30 ms of remote search pay from 15 to 20 % on where the model takes 150 to 200 ms."""
    assert break_even(0.030, 0.200) == pytest.approx(0.15)
    assert break_even(0.030, 0.150) == pytest.approx(0.20)
    assert break_even(0.002, 0.200) == pytest.approx(0.01)


@given(st.floats(1e-6, 1.0), st.floats(0.01, 100.0), st.floats(0.0, 1.0), st.floats(0.0, 100.0))
def test_at_break_even_a_cache_costs_what_it_saves(
    lookup: float, saving: float, error: float, error_cost: float
) -> None:
    even = break_even(lookup, saving, error, error_cost)
    assert 0.0 < even <= 1.0
    if even < 1.0:
        assert even * (saving - error * error_cost) == pytest.approx(lookup)
    else:
        assert saving - error * error_cost <= lookup * (1 + 1e-9)


@given(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0), st.floats(1e-3, 10.0), st.integers(1, 99))
def test_measured_break_even_separates_gain_from_loss(hit_s: float, miss_s: float, compute_s: float, h: int) -> None:
    tally = Tally()
    for _ in range(h):
        tally.hit("semantic", False, hit_s, compute_s, 0.0)
    for _ in range(100 - h):
        tally.miss(BELOW_THRESHOLD, miss_s)
        tally.stored(compute_s=compute_s)
    even = tally.snapshot()["break_even_hit_rate"]
    gain = compute_s - (h * hit_s + (100 - h) * (miss_s + compute_s)) / 100
    if abs(gain) > 1e-9 and even < 1.0:
        assert (h / 100 > even) == (gain > 0)
    if even == 1.0:
        assert gain < 1e-9


def test_without_measurements_there_is_no_break_even() -> None:
    tally = Tally()
    tally.miss(EMPTY, 0.001)
    assert tally.snapshot()["break_even_hit_rate"] is None
    tally.stored(compute_s=1.0)
    assert tally.snapshot()["break_even_hit_rate"] == pytest.approx(0.001)
    fast = Tally()
    fast.hit("exact", False, 0.5, 0.0, 0.0)
    fast.stored(compute_s=0.1)
    assert fast.snapshot()["break_even_hit_rate"] == 1.0  # an answer is computed before it is found


# Advice.


def seen(
    hits: int, misses: int, wrong: int = 0, right: int = 0, lookup_s: float = 0.001, compute_s: float = 1.0
) -> dict[str, Any]:
    return Tally.from_dict(
        {
            "hits_semantic": hits,
            "misses": {BELOW_THRESHOLD: misses},
            "wrong": wrong,
            "right": right,
            "hit_s": hits * lookup_s,
            "miss_s": misses * lookup_s,
            "computed": 1,
            "computed_s": compute_s,
        }
    ).snapshot()


@pytest.mark.parametrize(
    ("snapshot", "policy", "action"),
    [
        (seen(50, 100), CachePolicy(), "too few lookups"),
        (seen(500, 500), CachePolicy(), "keep"),  # no reports: nothing is known of wrong answers
        (seen(500, 500, wrong=50), CachePolicy(), "raise threshold"),
        (seen(500, 500, wrong=50, right=400), CachePolicy(), "raise threshold"),
        (seen(500, 500, wrong=6), CachePolicy(), "keep"),  # 1.2 %, not surely above 1 %
        (seen(1000, 1000, wrong=1, right=100), CachePolicy(), "lower threshold"),
        (seen(1000, 0, wrong=1, right=100), CachePolicy(), "keep"),  # nothing to gain
        (seen(1000, 1000, wrong=1, right=100), CachePolicy(threshold=0.0), "keep"),
        (seen(5, 995, lookup_s=0.03, compute_s=0.15), CachePolicy(), "disable"),
        (seen(100, 900, lookup_s=0.03, compute_s=0.15), CachePolicy(), "disable"),
        (seen(190, 810, lookup_s=0.03, compute_s=0.15), CachePolicy(), "keep"),  # 19 % may well be 20 %
        (seen(1000, 9000, right=100, lookup_s=0.03, compute_s=0.15), CachePolicy(), "lower threshold"),
        (seen(100, 900, wrong=30, lookup_s=0.03, compute_s=0.15), CachePolicy(), "disable"),
        (seen(1000, 1000, wrong=100), CachePolicy(max_error=0.01), "keep"),  # it has no threshold
        (seen(1000, 1000, wrong=100), CachePolicy(max_error=0.2), "keep"),
        (seen(500, 500, wrong=50), CachePolicy(enabled=False), "keep"),
    ],
)
def test_advice(snapshot: dict[str, Any], policy: CachePolicy, action: str) -> None:
    advice = advise(snapshot, policy)
    assert advice.action == action, advice
    assert any(character.isdigit() for character in advice.reason)


def test_dear_errors_disable_a_category() -> None:
    snapshot = seen(300, 700, wrong=3, lookup_s=0.01, compute_s=0.2)
    assert advise(snapshot, CachePolicy()).action == "keep"
    assert advise(snapshot, CachePolicy(), error_cost=19.0).action == "disable"


@given(st.integers(0, 1_000), st.integers(0, 1_000))
def test_wilson_interval_holds_the_share(a: int, b: int) -> None:
    count, n = min(a, b), max(a, b)
    low, high = wilson(count, n)
    assert 0.0 <= low <= high <= 1.0
    if n:
        assert low - 1e-12 <= count / n <= high + 1e-12


def test_wilson_interval_is_the_published_one() -> None:
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))  # Newcombe 1998
    assert wilson(1, 29) == (pytest.approx(0.0061, abs=1e-4), pytest.approx(0.1718, abs=1e-4))
