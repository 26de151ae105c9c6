"""Writers give way to searches, and only then."""

from __future__ import annotations

import threading

import pytest

from vsearch import courtesy
from vsearch.courtesy import MAX_REST_S, REST, Courtesy


class Clock:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(courtesy, "time", clock)
    return clock


def write(gate: Courtesy, clock: Clock, busy_s: float) -> None:
    began_s = gate.before_write()
    clock.now_s += busy_s
    gate.after_write(began_s)


def test_writes_never_wait_while_nobody_searches(clock: Clock) -> None:
    gate = Courtesy()
    for _ in range(5):
        write(gate, clock, 0.01)
    assert clock.slept_s == 0


def test_back_to_back_writes_rest_while_others_search(clock: Clock) -> None:
    gate = Courtesy()
    with gate.searching():
        for _ in range(5):
            write(gate, clock, 0.01)
    assert clock.slept_s == pytest.approx(4 * REST * 0.01)


def test_a_thread_that_searches_and_writes_in_turn_never_waits(clock: Clock) -> None:
    gate = Courtesy()
    for _ in range(5):
        with gate.searching():
            clock.now_s += 0.001
        write(gate, clock, 0.01)
    assert clock.slept_s == 0


def test_a_search_of_another_thread_that_has_just_ended_counts(clock: Clock) -> None:
    gate = Courtesy()
    write(gate, clock, 0.001)

    def search() -> None:
        with gate.searching():
            pass

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    write(gate, clock, 0.001)
    assert clock.slept_s == pytest.approx(REST * 0.001)


def test_a_write_that_comes_later_does_not_wait(clock: Clock) -> None:
    gate = Courtesy()
    write(gate, clock, 0.01)
    clock.now_s += 1.0
    with gate.searching():
        write(gate, clock, 0.01)
    assert clock.slept_s == 0


def test_a_rest_is_bounded(clock: Clock) -> None:
    gate = Courtesy()
    write(gate, clock, 60.0)
    with gate.searching():
        write(gate, clock, 0.01)
    assert clock.slept_s == pytest.approx(MAX_REST_S)
