"""Dividing work among threads, and the pool of scratch memory."""

from __future__ import annotations

import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.index.scratch import Pool
from vsearch.index.threads import run_ranges


@given(st.integers(0, 300), st.integers(1, 9), st.integers(1, 70))
def test_ranges_cover_everything_once_and_in_order(n: int, threads: int, min_chunk: int) -> None:
    ranges = run_ranges(lambda start, stop: (start, stop), n, threads, min_chunk)
    assert [i for start, stop in ranges for i in range(start, stop)] == list(range(n))
    assert len(ranges) == 1 or all(stop - start >= min_chunk for start, stop in ranges)


def test_one_thread_is_the_caller() -> None:
    assert run_ranges(lambda start, stop: threading.get_ident(), 1000, 1) == [threading.get_ident()]


def test_helpers_work_at_the_same_time() -> None:
    """Three ranges wait for each other: with fewer than three threads they would wait for ever."""
    meeting = threading.Barrier(min(3, os.cpu_count() or 1))
    pieces = meeting.parties * 4  # run_ranges makes four pieces a thread
    run_ranges(lambda start, stop: meeting.wait(timeout=20), pieces, meeting.parties)


def test_calls_within_calls_do_not_wait_for_each_other() -> None:
    def outer(start: int, stop: int) -> int:
        return sum(run_ranges(lambda a, b: b - a, stop - start, 4))

    assert sum(run_ranges(outer, 640, 8)) == 640


@pytest.mark.parametrize("error", [IndexError, ValueError])
@pytest.mark.parametrize("where", [0, 50, 99])
def test_an_error_is_raised_after_all_have_stopped(error: type[Exception], where: int) -> None:
    active = set()

    def fail(start: int, stop: int) -> None:
        active.add(start)
        try:
            if start <= where < stop:
                raise error("here")
        finally:
            active.discard(start)

    with pytest.raises(error, match="here"):
        run_ranges(fail, 100, 4)
    assert not active


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    run_ranges(lambda start, stop: None, 100, 2)
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if sum(run_ranges(lambda start, stop: stop - start, 100, 3)) == 100 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_pool_lends_to_one_at_a_time_and_keeps_what_was_given_back() -> None:
    made: list[list[int]] = []

    def make() -> list[int]:
        made.append([])
        return made[-1]

    pool = Pool(make)
    with pool.take() as first, pool.take() as second:
        assert first is not second
    with pool.take() as again:
        assert again in (first, second)
    assert len(made) == 2


def test_scratch_of_a_failed_search_is_not_used_again() -> None:
    pool = Pool(object)
    lent = []

    def search() -> None:
        with pool.take() as scratch:
            lent.append(scratch)
            if len(lent) == 1:
                raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        search()
    search()
    assert lent[0] is not lent[1]


def test_an_idle_pool_keeps_no_more_than_the_processors_can_use() -> None:
    pool = Pool(object)
    takers = [pool.take() for _ in range((os.cpu_count() or 1) + 5)]
    seen = {id(taker.__enter__()) for taker in takers}
    assert len(seen) == len(takers)
    for taker in takers:
        taker.__exit__(None, None, None)
    assert len(pool._idle) == (os.cpu_count() or 1)
