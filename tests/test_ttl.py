"""Points that end: every read leaves them out at once, upkeep reclaims them."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import numpy as np
import pytest

import vsearch
from vsearch import F, points

X = np.eye(4, dtype=np.float32)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> int:
        return int(self.now_s * 1000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    from vsearch import changes, maintenance, reading, search

    clock = Clock()
    for module in (points, changes, maintenance, reading, search):
        monkeypatch.setattr(module, "now_ms", clock)
    return clock


@pytest.fixture
def docs(db: vsearch.Database, clock: Clock) -> vsearch.Collection:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(4)})
    ends = [None, clock.now_s + 10, clock.now_s + 20]
    docs.upsert([0, 1, 2], vectors={"v": X[:3]}, payloads=[{"n": i} for i in range(3)], expires_at=ends)
    return docs


@pytest.mark.parametrize("sealed", [False, True])
def test_no_read_shows_an_expired_point(docs: vsearch.Collection, clock: Clock, sealed: bool) -> None:
    if sealed:
        docs.optimize()
    for seconds, alive in ((0, [0, 1, 2]), (10, [0, 2]), (10, [0])):
        clock.now_s += seconds
        assert sorted(docs.search(X[0], limit=3).point_ids) == alive
        assert [p.id for p in docs.scroll()] == alive
        assert [p.id for p in docs.get([0, 1, 2])] == alive
        assert docs.count() == len(alive)
        assert docs.count(F("n") >= 0) == len(alive)


def test_an_expired_id_is_free_again(docs: vsearch.Collection, clock: Clock) -> None:
    with pytest.raises(vsearch.AlreadyExists):
        docs.insert([1], vectors={"v": X[:1]})
    clock.now_s += 10
    with pytest.raises(vsearch.NotFound):
        docs.update(1, payload={})
    assert docs.delete(ids=[1]) == 0
    docs.insert([1], vectors={"v": X[:1]})
    assert docs.count() == 3


def test_upkeep_reclaims_what_has_expired(docs: vsearch.Collection, clock: Clock, db: vsearch.Database) -> None:
    docs.optimize()
    clock.now_s += 15
    docs.optimize()
    assert [(s["rows"], s["live"]) for s in docs.stats()["segments"]] == [(2, 2)]
    assert db.check() == []


def test_an_update_can_move_the_end(docs: vsearch.Collection, clock: Clock) -> None:
    docs.update(1, expires_at=clock.now_s + 100)
    clock.now_s += 50
    (point,) = docs.get([1])
    assert point.expires_at == pytest.approx(1_700_000_100)
    assert point.payload == {"n": 1}


def test_expiry_survives_reopening_and_real_time(tmp_path: Path) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(4)})
        docs.upsert([0, 1], vectors={"v": X[:2]}, expires_at=[soon, None])
    with vsearch.open(tmp_path / "db") as db:
        docs = db.collection("docs")
        deadline = time.monotonic() + 20
        while docs.count() > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [p.id for p in docs.scroll()] == [1]


@pytest.mark.parametrize("bad", ["tomorrow", -1, True, float("nan"), 1e15, datetime.datetime(2030, 1, 1)])
def test_a_bad_end_is_refused(docs: vsearch.Collection, bad: object) -> None:
    with pytest.raises(vsearch.InvalidArgument, match="expires_at"):
        docs.upsert([9], vectors={"v": X[:1]}, expires_at=bad)  # type: ignore[arg-type]
    assert docs.count() == 3
