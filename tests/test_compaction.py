"""The merge policy, and that merging reclaims what is dead."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vsearch
from vsearch import compaction, growing
from vsearch.compaction import BuildIndex, Facts, Merge, full_merge, next_task

MB = 1 << 20


def facts(nbytes: int, dead: int = 0, unindexed: tuple[str, ...] = ()) -> Facts:
    return Facts(rows=100, live=100 - dead, nbytes=nbytes, unindexed=unindexed)


def test_four_neighbours_of_one_tier_are_merged() -> None:
    assert next_task([facts(MB)] * 3, quiet=True) is None
    assert next_task([facts(MB)] * 4, quiet=False) == Merge(0, 4)
    assert next_task([facts(1000 * MB), *[facts(MB)] * 4], quiet=False) == Merge(1, 5)


def test_a_mostly_dead_segment_is_rewritten() -> None:
    assert next_task([facts(MB), facts(MB, dead=26)], quiet=False) == Merge(1, 2)
    assert next_task([facts(MB), facts(MB, dead=25)], quiet=False) is None


def test_indexes_wait_until_writes_are_quiet() -> None:
    segments = [facts(MB), facts(MB, unindexed=("v",))]
    assert next_task(segments, quiet=False) is None
    assert next_task(segments, quiet=True) == BuildIndex(1, "v")


sizes = st.lists(st.builds(facts, st.integers(1, 2 * compaction.MAX_SEGMENT_BYTES), st.integers(0, 100)), max_size=12)


@given(sizes)
def test_merging_ends_and_respects_the_size_limit(segments: list[Facts]) -> None:
    for _ in range(100):
        task = full_merge(segments)
        if task is None:
            break
        part = segments[task.start : task.stop]
        live = sum(f.live_bytes for f in part)
        assert len(part) == 1 or live <= compaction.MAX_SEGMENT_BYTES
        rows = sum(f.live for f in part)
        merged = [Facts(rows, rows, int(live))] if rows else []
        segments = segments[: task.start] + merged + segments[task.stop :]
    else:
        pytest.fail("merging does not end")
    assert all(f.live == f.rows for f in segments)


def test_background_work_merges_and_reclaims(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "MIN_ROWS", 16)
    monkeypatch.setattr(growing, "MAX_ROWS", 16)
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(4, metric="l2")})
    for start in range(0, 400, 10):
        docs.upsert(range(start, start + 10), vectors={"v": np.full((10, 4), start)})
    docs.delete(ids=list(range(300)))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        segments = docs.stats()["segments"]
        rows, live = sum(s["rows"] for s in segments), sum(s["live"] for s in segments)
        if len(segments) < 8 and rows - live <= rows * compaction.MAX_DEAD_SHARE:
            break
        time.sleep(0.05)
    assert live == 100
    assert len(segments) < 8
    docs.optimize()
    assert [(s["rows"], s["live"]) for s in docs.stats()["segments"]] == [(100, 100)]
    assert docs.count() == 100
    assert db.check() == []


def test_searches_go_on_while_everything_is_rewritten(db: vsearch.Database) -> None:
    docs = db.create_collection("docs", fields={"v": vsearch.Dense(8, metric="l2", index="hnsw")})
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(3_000, 8))
    docs.upsert(range(3_000), vectors={"v": vectors})
    docs.optimize(wait=False)
    for _ in range(20):
        for i in (0, 1_500, 2_999):
            assert docs.search(vectors[i], limit=1).point_ids == [i]
    docs.optimize()
    assert docs.search(vectors[7], limit=1).point_ids == [7]
    assert docs.stats()["segments"][0]["indexes"] == {"v": "hnsw"}
