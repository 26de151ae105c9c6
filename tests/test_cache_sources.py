"""No cached answer outlives a change of the points it was made from: whatever changes them, and whenever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vsearch

DIM = 4
VECTOR = np.eye(DIM, dtype=np.float32)[0]
IDS = ["a", "b", 3]


@pytest.fixture
def db(tmp_path: Path) -> Iterator[vsearch.Database]:
    with vsearch.open(tmp_path / "db", durability="os") as opened:
        docs = opened.create_collection("docs", fields={"dense": vsearch.Dense(2)})
        docs.upsert(IDS, vectors={"dense": np.ones((3, 2))}, payloads=[{"n": i} for i in range(3)])
        opened.create_cache("answers", DIM)
        yield opened


def kept(db: vsearch.Database) -> set[str]:
    """Prompts that are answered from the cache."""
    cache = db.cache("answers")
    return {prompt for prompt in ("of a", "of b", "of both", "of 3", "of none") if cache.check(prompt) is not None}


def fill(db: vsearch.Database) -> None:
    cache = db.cache("answers")
    for prompt, ids in (("of a", ["a"]), ("of b", ["b"]), ("of both", ["a", "b"]), ("of 3", [3]), ("of none", [])):
        cache.store(prompt, 1, VECTOR, depends_on=[("docs", i) for i in ids])
    assert len(kept(db)) == 5


CHANGES: list[tuple[Callable[[Any], Any], set[str]]] = [
    (lambda docs: docs.upsert(["a"], vectors={"dense": [[0, 1]]}), {"of b", "of 3", "of none"}),
    (lambda docs: docs.delete(ids=["b", "missing"]), {"of a", "of 3", "of none"}),
    (lambda docs: docs.delete(filter=vsearch.F("n") == 2), {"of a", "of b", "of both", "of none"}),
    (lambda docs: docs.update("a", payload={"m": 1}), {"of b", "of 3", "of none"}),
    (lambda docs: docs.set_payload({"m": 1}, filter=vsearch.F("n") >= 1), {"of a", "of none"}),
    (lambda docs: docs.delete_payload(["n"], ids=[3]), {"of a", "of b", "of both", "of none"}),
    (lambda docs: docs.upsert([4], vectors={"dense": [[0, 1]]}), {"of a", "of b", "of both", "of 3", "of none"}),
    (lambda docs: docs.optimize(wait=True), {"of a", "of b", "of both", "of 3", "of none"}),
]


@pytest.mark.parametrize("reopened", [False, True])
@pytest.mark.parametrize(("change", "left"), CHANGES)
def test_a_change_takes_its_answers_with_it(
    db: vsearch.Database, tmp_path: Path, change: Callable[[Any], Any], left: set[str], reopened: bool
) -> None:
    fill(db)
    if reopened:  # the cache is not open when the source changes
        db.close()
        db = vsearch.open(tmp_path / "db", durability="os")
    change(db.collection("docs"))
    assert kept(db) == left
    assert db.check() == []
    db.close()
    with vsearch.open(tmp_path / "db") as again:
        assert kept(again) == left
        assert again.check() == []


def test_deleting_or_replacing_a_collection_takes_its_answers_with_it(db: vsearch.Database, tmp_path: Path) -> None:
    fill(db)
    snapshot = db.create_snapshot("docs")
    db.restore_collection("docs", db.snapshot_path(snapshot.name, "docs"), replace=True)
    assert kept(db) == {"of none"}
    fill(db)
    db.delete_collection("docs")
    assert kept(db) == {"of none"}
    assert db.check() == []


def test_an_alias_that_moves_takes_its_answers_with_it(db: vsearch.Database) -> None:
    db.update_aliases({"current": "docs"})
    cache = db.cache("answers")
    cache.store("of a", 1, depends_on=[("current", "a")])
    assert [entry.sources for entry in cache.entries()] == [(("docs", "a"),)]
    db.create_collection("newer", fields={"dense": vsearch.Dense(2)})
    db.update_aliases({"current": "newer"})
    assert kept(db) == set()


def test_an_answer_to_what_has_changed_meanwhile_is_not_kept(db: vsearch.Database) -> None:
    docs, cache = db.collection("docs"), db.cache("answers")
    version = docs.version
    assert cache.store("of a", 1, depends_on=[("docs", "a", version)]) is not None
    docs.update("a", payload={"n": 9})
    assert cache.store("of a", 1, depends_on=[("docs", "a", version)]) is None
    assert cache.store("of b", 1, depends_on=[("docs", "b", version)]) is not None
    docs.delete(ids=["b"])
    assert cache.store("of b", 1, depends_on=[("docs", "b", version)]) is None
    assert kept(db) == set()
    assert cache.stats()["total"]["refused"] == 2


def test_a_version_is_of_one_collection(db: vsearch.Database) -> None:
    """The name may come to stand for another collection, whose points have lower numbers."""
    docs, cache = db.collection("docs"), db.cache("answers")
    for _ in range(5):
        docs.upsert(["a"], vectors={"dense": [[1, 1]]})
    version = docs.version
    db.delete_collection("docs")
    db.create_collection("docs", fields={"dense": vsearch.Dense(2)}).upsert(["a"], vectors={"dense": [[2, 2]]})
    assert cache.store("of a", 1, depends_on=[("docs", "a", version)]) is None
    assert cache.store("of a", 1, depends_on=[("docs", "a", db.collection("docs").version)]) is not None


def test_an_answer_ends_with_its_sources_however_stale_it_may_be(db: vsearch.Database) -> None:
    cache = db.cache("answers")
    cache.set_policy("slow", vsearch.CachePolicy(stale=100.0))
    db.collection("docs").upsert(["soon"], vectors={"dense": [[1, 1]]}, expires_at=time.time() + 0.4)
    cache.store("of a", 1, category="slow", depends_on=[("docs", "soon")])
    assert kept(db) == {"of a"}
    time.sleep(0.45)
    assert kept(db) == set()


@pytest.mark.parametrize("names", [["docs", "more"], ["more", "docs"]])
def test_stores_of_two_collections_and_whoever_holds_all_do_not_wait_for_each_other(
    db: vsearch.Database, tmp_path: Path, names: list[str]
) -> None:
    more = db.create_collection("more", fields={"dense": vsearch.Dense(2)})
    more.upsert([1], vectors={"dense": [[1, 1]]})
    cache, stop = db.cache("answers"), threading.Event()

    def store() -> None:
        while not stop.is_set():
            cache.store("of both", 1, depends_on=[(name, 1) for name in names])

    def invalidate() -> None:
        while not stop.is_set():
            cache.invalidate(source=("docs", 1), where=lambda entry: True)

    threads = [threading.Thread(target=work, daemon=True) for work in (store, store, invalidate)]
    for thread in threads:
        thread.start()
    for turn in range(5):
        db.backup(tmp_path / f"{turn}.tar")
        db.update_aliases({"one": names[turn % 2], "two": names[1 - turn % 2]})
    stop.set()
    for thread in threads:
        thread.join(20.0)
        assert not thread.is_alive()
    assert db.check() == []


def test_a_cache_that_is_deleted_under_a_store_leaves_nothing(db: vsearch.Database) -> None:
    for turn in range(6):
        cache, problems = db.create_cache(f"c{turn}", DIM), []

        def store(cache: vsearch.Cache = cache, problems: list[Any] = problems) -> None:
            try:
                for i in range(100_000):
                    cache.store(f"p{i}", 1, VECTOR, depends_on=[("docs", "a")])
            except vsearch.NotFound:
                return
            problems.append("it went on")

        thread = threading.Thread(target=store)
        thread.start()
        time.sleep(0.05)
        db.delete_cache(f"c{turn}")
        thread.join(20.0)
        assert problems == []
    assert db.caches() == ["answers"]
    assert db.check() == []


def test_a_point_that_is_missing_may_be_a_source(db: vsearch.Database) -> None:
    db.cache("answers").store("of a", "there is no such thing", depends_on=[("docs", "new")])
    assert kept(db) == {"of a"}
    db.collection("docs").upsert(["new"], vectors={"dense": [[1, 1]]})
    assert kept(db) == set()


def test_an_answer_ends_with_its_sources(db: vsearch.Database) -> None:
    docs, cache = db.collection("docs"), db.cache("answers")
    docs.upsert(["soon"], vectors={"dense": [[1, 1]]}, expires_at=time.time() + 0.5)
    cache.store("of a", 1, depends_on=[("docs", "soon")], ttl=100.0)
    assert kept(db) == {"of a"}
    time.sleep(0.6)
    assert kept(db) == set()


def test_invalidation_by_source(db: vsearch.Database) -> None:
    fill(db)
    cache = db.cache("answers")
    assert cache.invalidate(source=("docs", "a"), dry_run=True) == 2
    assert cache.invalidate(source=("docs", "a")) == 2
    assert cache.invalidate(source="docs") == 2
    assert kept(db) == {"of none"}


def test_no_stale_answer_is_seen_while_threads_write(db: vsearch.Database) -> None:
    """A writer counts a point up; others cache what they read of it. What is served is never older than the last
    count that was acknowledged before the question."""
    docs, cache = db.collection("docs"), db.cache("answers")
    docs.upsert(["counter"], vectors={"dense": [[1, 1]]}, payloads=[{"n": 0}])
    acknowledged, problems, stop = [0], [], threading.Event()

    def write() -> None:
        for n in range(1, 300):
            docs.set_payload({"n": n}, ids=["counter"])
            acknowledged[0] = n
        stop.set()

    def read() -> None:
        while not stop.is_set():
            before = acknowledged[0]
            hit = cache.check("how much?", VECTOR)
            if hit is not None:
                if hit.response < before:
                    problems.append((hit.response, before))
                continue
            version = docs.version
            n = docs.get(["counter"])[0].payload["n"]
            cache.store("how much?", n, VECTOR, depends_on=[("docs", "counter", version)])

    threads = [threading.Thread(target=write), *(threading.Thread(target=read) for _ in range(3))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert cache.stats()["total"]["hits"] > 0
    assert db.check() == []


KILLED = """
import sys, numpy as np, vsearch
db = vsearch.open(sys.argv[1], durability="os")
docs, cache = db.collection("docs"), db.cache("answers")
vector = np.eye(4)[0]
n = int(docs.get(["a"])[0].payload["n"])
while True:
    version = docs.version
    cache.store("of a", n, vector, depends_on=[("docs", "a", version)])
    cache.store("of both", n, vector, depends_on=[("docs", "a", version), ("docs", "b")])
    n += 1
    docs.set_payload({"n": n}, ids=["a"])
    print(n, flush=True)
"""


def test_a_killed_process_leaves_no_stale_answer(db: vsearch.Database, tmp_path: Path) -> None:
    db.close()
    directory = tmp_path / "db"
    for turn in range(4):
        command = [sys.executable, "-c", KILLED, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": "."}) as process:
            assert process.stdout is not None
            acknowledged = 0
            for _ in range(20 + 7 * turn):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
        with vsearch.open(directory) as again:
            assert again.check() == []
            now = again.collection("docs").get(["a"])[0].payload["n"]  # type: ignore[index]
            assert now >= acknowledged
            for prompt in ("of a", "of both"):
                hit = again.cache("answers").check(prompt)
                assert hit is None or hit.response == now
