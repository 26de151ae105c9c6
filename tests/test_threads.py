"""Many threads: readers beside writers, and writers that share a commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import vsearch
from vsearch import F, growing, reading
from vsearch.commit import CommitQueue, Ticket


def run_all(*tasks: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result(timeout=120) for future in [pool.submit(task) for task in tasks]]


@pytest.fixture
def docs(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> vsearch.Collection:
    monkeypatch.setattr(growing, "MIN_ROWS", 64)
    monkeypatch.setattr(growing, "MAX_ROWS", 64)
    return db.create_collection("docs", fields={"v": vsearch.Dense(8, metric="l2", index="hnsw")})


def test_readers_never_see_half_a_batch(docs: vsearch.Collection, db: vsearch.Database) -> None:
    """Each batch replaces the same ten ids with one generation: a search must find all ten, of one generation."""
    rounds, ids = 150, list(range(10))
    docs.upsert(ids, vectors={"v": np.zeros((10, 8))}, payloads=[{"g": -1}] * 10)
    done = threading.Event()

    def write() -> None:
        try:
            for generation in range(rounds):
                docs.upsert(ids, vectors={"v": np.full((10, 8), generation)}, payloads=[{"g": generation}] * 10)
        finally:
            done.set()

    def read() -> int:
        seen = 0
        while not done.is_set():
            hits = docs.search(np.zeros(8), limit=20)
            generations = {hit.payload["g"] for hit in hits if hit.payload}
            assert sorted(hits.point_ids) == ids, hits
            assert len(generations) == 1, generations
            assert docs.count() == 10
            assert len(docs.get(ids)) == 10
            seen += 1
        return seen

    results = run_all(write, read, read, read)
    assert min(results[1:]) > 0
    docs.optimize()
    assert docs.count() == 10
    assert db.check() == []


def test_writers_of_many_threads_lose_nothing(docs: vsearch.Collection, db: vsearch.Database) -> None:
    def write(thread: int) -> Callable[[], None]:
        def work() -> None:
            rng = np.random.default_rng(thread)
            for i in range(60):
                name = f"{thread}-{i}"
                docs.upsert([name, "shared"], vectors={"v": rng.normal(size=(2, 8))}, payloads=[{"t": thread}] * 2)
                if i % 3 == 0:
                    docs.delete(ids=[name])
                if i % 20 == 0:
                    docs.optimize(wait=False)

        return work

    run_all(*[write(thread) for thread in range(6)])
    assert docs.count() == 6 * 40 + 1
    assert docs.count(F("t") == 3) - docs.count((F("t") == 3) & F.ids(["shared"])) == 40
    docs.optimize()
    assert docs.count() == 6 * 40 + 1
    assert db.check() == []


def test_of_concurrent_inserts_of_one_id_exactly_one_succeeds(docs: vsearch.Collection) -> None:
    barrier = threading.Barrier(8)

    def insert() -> bool:
        barrier.wait()
        try:
            docs.insert(["one"], vectors={"v": np.zeros((1, 8))})
        except vsearch.AlreadyExists:
            return False
        return True

    for _ in range(10):
        assert sum(run_all(*[insert] * 8)) == 1
        docs.delete(ids=["one"])


class Change:
    points = 1


def test_a_group_shares_one_commit_and_its_error() -> None:
    entered, release = threading.Event(), threading.Event()
    groups: list[int] = []

    def commit(tickets: list[Ticket[Change]]) -> None:
        groups.append(len(tickets))
        if len(groups) == 1:
            entered.set()
            release.wait(10)
        if len(groups) == 3:
            raise OSError("disk")
        for ticket in tickets:
            ticket.result = len(groups)

    queue: CommitQueue[Change] = CommitQueue(commit)
    with ThreadPoolExecutor(6) as pool:
        first = pool.submit(queue.submit, Change())
        assert entered.wait(10)
        others = [pool.submit(queue.submit, Change()) for _ in range(5)]
        while len(queue._queued) < 5:
            pass
        release.set()
        assert first.result(10) == 1
        assert {future.result(10) for future in others} == {2}
    assert groups == [1, 5]
    with pytest.raises(OSError, match="disk"):
        queue.submit(Change())
    assert queue.submit(Change()) == 4


@pytest.mark.parametrize("sort_limit", [10_000, 10])
def test_scrolling_and_checking_beside_writers(
    docs: vsearch.Collection, db: vsearch.Database, monkeypatch: pytest.MonkeyPatch, sort_limit: int
) -> None:
    """Points that live throughout are met exactly once, and a check finds nothing wrong."""
    monkeypatch.setattr(reading, "SORT_LIMIT", sort_limit)
    stay, done = [f"stay-{i:03}" for i in range(200)], threading.Event()
    docs.upsert(stay, vectors={"v": np.zeros((200, 8))}, payloads=[{"keep": True}] * 200)

    def write() -> None:
        try:
            for i in range(200):
                docs.upsert([stay[i], f"new-{i}"], vectors={"v": np.full((2, 8), i)}, payloads=[{"keep": True}, {}])
                docs.delete(ids=[f"new-{i - 3}"])
        finally:
            done.set()

    def read() -> int:
        rounds = 0
        while not done.is_set():
            for condition in (None, F("keep") == True):  # noqa: E712
                seen: list[Any] = []
                cursor: Any = None
                while True:
                    page = docs.scroll(filter=condition, limit=37, cursor=cursor)
                    seen += [point.id for point in page]
                    cursor = page.cursor
                    if cursor is None:
                        break
                assert [name for name in seen if str(name).startswith("stay")] == stay
                assert len(seen) == len(set(seen))
            assert db.check() == []
            rounds += 1
        return rounds

    assert run_all(write, read, read)[1] > 0
