"""The load of the model behind a cache: averages, hysteresis without flapping, and what it makes of a policy."""

from __future__ import annotations

import math
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.cache.load import Hysteresis, InFlight, LoadSignal, effective
from vsearch.cache.policy import CachePolicy
from vsearch.errors import InvalidArgument

SHARES = st.floats(0.0, 1.0)


class ManualClock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def changes(levels: list[float]) -> int:
    return sum(a != b for a, b in pairwise(levels))


# Hysteresis.


@given(
    st.floats(0.0, 1.0),
    st.lists(st.tuples(st.floats(-0.049, 0.049), st.floats(0.0, 20.0)), min_size=1, max_size=200),
    st.lists(SHARES, max_size=20),
)
def test_noise_narrower_than_the_band_moves_the_level_a_few_times_and_then_never(
    middle: float, noise: list[tuple[float, float]], before: list[float]
) -> None:
    hysteresis, now = Hysteresis(0.1, 5.0), 0.0
    for raw in before:
        now += 3.0
        hysteresis.follow(raw, now)
    levels = [hysteresis.level]
    for offset, passed in noise:
        now += passed
        levels.append(hysteresis.follow(min(max(middle + offset, 0.0), 1.0), now))
    assert changes(levels) <= 3


@given(st.lists(st.tuples(SHARES, st.floats(0.0, 10.0)), max_size=200))
def test_the_level_rises_at_once_and_falls_late(steps: list[tuple[float, float]]) -> None:
    band, fall_s, now = 0.1, 5.0, 0.0
    hysteresis = Hysteresis(band, fall_s)
    seen: list[tuple[float, float]] = []
    for raw, passed in steps:
        now += passed
        before = hysteresis.level
        level = hysteresis.follow(raw, now)
        seen.append((now, raw))
        assert raw < level + band
        if level > before:
            assert level == raw
        if level < before:
            assert all(r <= level for t, r in seen if t >= now - fall_s)
            assert seen[0][0] <= now - fall_s


def test_the_ends_are_reached_whatever_the_band() -> None:
    hysteresis = Hysteresis(0.3, 5.0)
    assert hysteresis.follow(0.9, 0.0) == 0.9
    assert hysteresis.follow(0.99, 1.0) == 0.9
    assert hysteresis.follow(1.0, 2.0) == 1.0
    assert hysteresis.follow(0.2, 3.0) == 1.0
    assert hysteresis.follow(0.1, 8.0) == 0.2
    assert hysteresis.follow(0.0, 9.0) == 0.2
    assert hysteresis.follow(0.0, 13.9) == 0.2
    assert hysteresis.follow(0.0, 14.0) == 0.0


def test_a_short_dip_is_no_fall() -> None:
    hysteresis = Hysteresis(0.1, 5.0)
    hysteresis.follow(0.8, 0.0)
    for now in range(1, 100):
        assert hysteresis.follow(0.8 if now % 5 == 0 else 0.1, float(now)) == 0.8


# The signal.


def naive_load(pushes: list[tuple[float, float]], until: float, smoothing: float, silence: float) -> float:
    """The same average by small steps of Euler's method."""
    load, step = 0.0, 0.002
    for now in np.arange(pushes[0][0], until, step):
        held = [(at, value) for at, value in pushes if at <= now + 1e-9]
        at, value = held[-1]
        load += (step / smoothing) * ((value if now - at < silence else 0.0) - load)
    return load


@given(st.lists(st.tuples(st.integers(1, 4), st.floats(0.0, 50.0)), min_size=1, max_size=6), st.integers(0, 6))
def test_the_average_is_that_of_a_low_pass_filter(steps: list[tuple[int, float]], after: int) -> None:
    signal = LoadSignal(1.0, 2.0, smoothing_s=2.0, silence_s=3.0)
    now, pushes = 10.0, []
    for passed, value in steps:
        now += passed
        signal.push(value, now)
        pushes.append((now, value))
    expected = naive_load(pushes, now + after, 2.0, 3.0)
    assert signal.load(now + after) == pytest.approx(expected, abs=0.1, rel=0.01)


def test_the_average_does_not_depend_on_how_often_it_is_read_or_pushed() -> None:
    rare, often = LoadSignal(1.0, 2.0), LoadSignal(1.0, 2.0)
    rare.push(5.0, 0.0)
    for step in range(200):
        often.push(5.0, step * 0.1)
        often.stress(step * 0.1 + 0.05)
    assert rare.load(20.0) == pytest.approx(often.load(20.0))
    assert rare.load(20.0) == pytest.approx(5.0 * (1.0 - math.exp(-2.0)))


def test_stress_follows_load_up_and_down() -> None:
    signal = LoadSignal(10.0, 20.0, smoothing_s=1.0, hysteresis=0.1, fall_s=5.0, silence_s=1_000.0)
    assert signal.stress(0.0) == 0.0
    signal.push(9.0, 0.0)
    assert signal.stress(100.0) == 0.0
    signal.push(15.0, 100.0)
    assert signal.stress(100.0) == 0.0  # an outlier does nothing yet
    signal.push(15.0, 110.0)
    assert signal.stress(110.0) == pytest.approx(0.5, abs=0.11)
    signal.push(100.0, 120.0)
    assert signal.stress(130.0) == 1.0
    signal.push(0.0, 130.0)
    seen = [signal.stress(130.0 + step) for step in range(20)]
    assert seen[4] == 1.0
    assert seen[-1] == 0.0
    assert seen == sorted(seen, reverse=True)


def test_silence_is_no_load() -> None:
    signal = LoadSignal(1.0, 2.0, smoothing_s=5.0, fall_s=10.0, silence_s=60.0)
    signal.push(50.0, 0.0)
    assert signal.stress(50.0) == 1.0
    assert signal.stress(65.0) == 1.0
    for now in range(65, 200):
        signal.stress(float(now))
    assert signal.stress(200.0) == 0.0
    assert signal.load(1e6) == pytest.approx(0.0)


def test_a_clock_that_goes_back_stands_still() -> None:
    signal = LoadSignal(1.0, 2.0, smoothing_s=1.0)
    signal.push(5.0, 100.0)
    assert signal.stress(110.0) == 1.0
    before = signal.load(110.0)
    signal.push(5.0, 0.0)
    assert signal.load(-1e9) == before
    assert signal.load(110.0) == before


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 1e12), st.booleans()), max_size=100))
def test_stress_stays_between_0_and_1(steps: list[tuple[float, float, bool]]) -> None:
    signal, now = LoadSignal(3.0, 30.0), 0.0
    for passed, value, push in steps:
        now += passed
        if push:
            signal.push(value, now)
        assert 0.0 <= signal.stress(now) <= 1.0
        assert signal.load(now) >= 0.0


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 29.0))
def test_stress_does_not_flap_at_an_edge(seed: int, edge: float) -> None:
    """Pushes scattered by a fifth of the range around any load: at most a few changes in an hour."""
    rng = np.random.default_rng(seed)
    signal, now, levels = LoadSignal(0.0, 30.0, smoothing_s=20.0, hysteresis=0.2), 0.0, []
    for value in np.clip(edge + rng.normal(0.0, 3.0, 1_800), 0.0, None):
        now += 2.0
        signal.push(float(value), now)
        levels.append(signal.stress(now))
    assert changes(levels[100:]) <= 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, "1", None, True, 1e300])
def test_a_bad_load_is_refused_and_changes_nothing(value: object) -> None:
    signal = LoadSignal(1.0, 2.0, smoothing_s=1.0)
    signal.push(1.5, 0.0)
    with pytest.raises(InvalidArgument):
        signal.push(value, 1.0)  # type: ignore[arg-type]
    assert signal.load(50.0) == pytest.approx(1.5)


@pytest.mark.parametrize(
    "settings",
    [
        {"low": 2.0, "high": 2.0},
        {"low": 3.0, "high": 2.0},
        {"low": -1.0, "high": 2.0},
        {"low": math.nan, "high": 2.0},
        {"low": 0.0, "high": math.inf},
        {"low": 0.0, "high": 1.0, "smoothing_s": 0.0},
        {"low": 0.0, "high": 1.0, "hysteresis": 1.5},
        {"low": 0.0, "high": 1.0, "fall_s": -1.0},
        {"low": 0.0, "high": 1.0, "silence_s": math.nan},
        {"low": "0", "high": 1.0},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument) as error:
        LoadSignal(**settings)
    assert error.value.hint


def test_threads_may_push_and_read() -> None:
    signal = LoadSignal(1.0, 2.0)
    seen: list[float] = []

    def work(seed: int) -> None:
        for step in range(2_000):
            signal.push(float(seed), step * 0.01)
            seen.append(signal.stress(step * 0.01))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8_000
    assert all(0.0 <= stress <= 1.0 for stress in seen)


# Requests in flight.


def test_requests_in_flight_are_pushed() -> None:
    clock, pushed = ManualClock(), []
    flights = InFlight(lambda value, now: pushed.append((value, now)), clock=clock)
    with flights.request():
        clock.now += 1.0
        with flights.request():
            assert len(flights) == 2
            clock.now += 1.0
    assert pushed == [(1.0, 100.0), (2.0, 101.0), (1.0, 102.0), (0.0, 102.0)]
    assert len(flights) == 0


def test_latency_is_pushed_even_while_nothing_is_finished() -> None:
    clock, pushed = ManualClock(), []
    flights = InFlight(lambda value, _: pushed.append(value), of="latency_s", clock=clock)
    with flights.request():
        clock.now += 2.0
    assert flights.latency_s == 2.0
    with flights.request():
        clock.now += 50.0
        with flights.request():
            assert pushed[-1] == 50.0
    assert pushed[-1] == flights.latency_s > 2.0


def test_a_request_that_fails_at_once_is_not_a_quick_one() -> None:
    clock = ManualClock()
    flights = InFlight(lambda *_: None, of="latency_s", clock=clock)
    with flights.request():
        clock.now += 2.0
    for _ in range(50):
        with pytest.raises(OSError, match="busy"), flights.request():
            raise OSError("busy")
    assert flights.latency_s == 2.0
    assert len(flights) == 0


def test_in_flight_drives_a_signal() -> None:
    clock = ManualClock()
    signal = LoadSignal(2.0, 8.0, smoothing_s=1.0)
    flights = InFlight(signal.push, clock=clock)
    requests = [flights.request() for _ in range(10)]
    for request in requests:
        request.__enter__()
    clock.now += 10.0
    assert signal.stress(clock.now) == 1.0
    for request in requests:
        request.__exit__(None, None, None)
    signal.stress(clock.now)
    clock.now += 10.0
    signal.stress(clock.now)
    clock.now += 62.0
    assert signal.stress(clock.now) == 0.0


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(InvalidArgument):
        InFlight(lambda *_: None, of="errors")  # type: ignore[arg-type]


# Policies under stress.


@given(SHARES, SHARES, SHARES, st.floats(0.0, 1e6), st.floats(0.0, 1e6), SHARES)
def test_effective_values_stay_between_policy_and_bound(
    threshold: float, lower: float, stress: float, ttl: float, longer: float, more: float
) -> None:
    policy = CachePolicy(threshold=threshold, min_threshold=threshold * lower, ttl=ttl, max_ttl=ttl + longer)
    tau, life = effective(policy, stress)
    assert policy.min_threshold is not None
    assert policy.max_ttl is not None
    assert life is not None
    assert policy.min_threshold <= tau <= threshold
    assert ttl <= life <= policy.max_ttl
    tighter, later = effective(policy, min(1.0, stress + more))
    assert later is not None
    assert tighter <= tau + 1e-12  # more stress relaxes more
    assert later >= life - 1e-6


def test_stress_interpolates() -> None:
    policy = CachePolicy(threshold=0.9, min_threshold=0.8, ttl=100.0, max_ttl=300.0)
    assert effective(policy, 0.0) == (0.9, 100.0)
    assert effective(policy, 0.5) == (pytest.approx(0.85), pytest.approx(200.0))
    assert effective(policy, 1.0) == (0.8, 300.0)


@pytest.mark.parametrize("stress", [0.0, 0.3, 1.0])
def test_a_policy_without_bounds_stays_as_it_is(stress: float) -> None:
    assert effective(CachePolicy(threshold=0.9, ttl=60.0), stress) == (0.9, 60.0)
    assert effective(CachePolicy(threshold=0.0, ttl=0.0), stress) == (0.0, 0.0)
    assert effective(CachePolicy(threshold=0.9, ttl=None, max_ttl=60.0), stress) == (0.9, None)
