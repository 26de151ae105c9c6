"""kill -9 in a loop: a process writes, is killed at a random moment or at a failpoint, and what it left is checked.

1. The worker writes each change to a journal before it makes it ("begin") and after it returned ("ack"). Each of its
   threads has ids of its own, so at most one change a thread is in flight.
2. SIGKILL.
3. The database is opened again and compared with the journal: every acknowledged change is there; of a change in
   flight either all or nothing; count = scroll = exact search = every index; every vector finds itself.
4. The next worker goes on from there.

Vectors follow from (id, version), so nothing but the journal is needed to know what must be stored.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import vsearch
from vsearch import F

DIM = 8
IDS_PER_THREAD = 150
THREADS = 2
BUCKETS = 5

Change = list[
    Any
]  # ["put", [[id, version], ...]] | ["delete", [id, ...]] | ["delete_where", bucket] | ["update", id, version]
Model = dict[str, tuple[int, int]]  # id -> (version of the vector, version of the payload)


def vector(point_id: str, version: int) -> np.ndarray:
    """The vector of a version of a point: random, and the same in every process."""
    seed = [*point_id.encode(), version]
    return np.random.default_rng(seed).normal(size=DIM).astype(np.float32)


def payload(point_id: str, version: int) -> dict[str, Any]:
    return {"thread": int(point_id.split("-")[0]), "version": version, "bucket": version % BUCKETS}


def apply(model: Model, thread: int, change: Change) -> None:
    """What a change does to the model."""
    kind = change[0]
    if kind == "put":
        model.update({point_id: (version, version) for point_id, version in change[1]})
    elif kind == "delete":
        for point_id in change[1]:
            model.pop(point_id, None)
    elif kind == "update":
        model[change[1]] = (model[change[1]][0], change[2])
    else:
        for point_id, (_, version) in list(model.items()):
            if point_id.startswith(f"{thread}-") and version % BUCKETS == change[1]:
                del model[point_id]


def make(docs: vsearch.Collection, thread: int, change: Change) -> None:
    """The same on the database."""
    kind = change[0]
    if kind == "put":
        ids = [point_id for point_id, _ in change[1]]
        rows = np.array([vector(*point) for point in change[1]])
        docs.upsert(ids, vectors={"v": rows}, payloads=[payload(*point) for point in change[1]])
    elif kind == "delete":
        docs.delete(ids=change[1])
    elif kind == "update":
        docs.update(change[1], payload=payload(change[1], change[2]))
    else:
        docs.delete(filter=(F("thread") == thread) & (F("bucket") == change[1]))


def next_change(rng: random.Random, thread: int, model: Model, version: int) -> Change:
    """A random change to the thread's own ids."""
    mine = [point_id for point_id in model if point_id.startswith(f"{thread}-")]
    dice = rng.random()
    if dice < 0.65 or not mine:
        numbers = rng.sample(range(IDS_PER_THREAD), rng.choice((1, 1, 5, 40)))
        return ["put", [[f"{thread}-{number}", version] for number in numbers]]
    if dice < 0.8:
        return ["delete", rng.sample(mine, min(len(mine), rng.randint(1, 10)))]
    if dice < 0.95:
        return ["update", rng.choice(mine), version]
    return ["delete_where", rng.randrange(BUCKETS)]


@dataclass
class Journal:
    """What the workers began and what was acknowledged: one JSON value a line."""

    path: Path
    acked: Model = field(default_factory=dict)
    in_flight: dict[int, Change] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Journal:
        journal = cls(path)
        for line in path.read_text().splitlines() if path.exists() else ():
            journal.replay(json.loads(line))
        return journal

    def replay(self, entry: list[Any]) -> None:
        kind, thread = entry[0], entry[1]
        if kind == "begin":
            self.in_flight[thread] = entry[2]
        elif kind == "ack":
            apply(self.acked, thread, self.in_flight.pop(thread))
        else:  # "settled": what a check found of the changes that were in flight
            self.acked, self.in_flight = {point_id: tuple(v) for point_id, v in entry[2].items()}, {}

    def settle(self, found: Model) -> None:
        """Go on from what the check found."""
        with self.path.open("a") as file:
            file.write(json.dumps(["settled", -1, found]) + "\n")

    def possible(self) -> list[Model]:
        """Every state that is right: each change in flight made or not."""
        states = [dict(self.acked)]
        for thread, change in self.in_flight.items():
            for state in list(states):
                made = dict(state)
                if change[0] != "update" or change[1] in made:
                    apply(made, thread, change)
                    states.append(made)
        return states


def shrink_limits() -> None:
    """Small segments, so that sealing, merging and indexing happen all the time."""
    from vsearch import compaction, growing, maintenance

    growing.MIN_ROWS, growing.MAX_ROWS = 16, 64
    compaction.MIN_INDEX_ROWS = 32
    maintenance.QUIET_S = 0.05


def open_collection(db: vsearch.Database) -> vsearch.Collection:
    if "docs" in db.collections():
        return db.collection("docs")
    return db.create_collection("docs", fields={"v": vsearch.Dense(DIM, metric="l2", index="hnsw", m=8)})


def work(
    path: Path, journal_path: Path, seed: int, acknowledge: Callable[[bytes], Any] | None = None, changes: int = 0
) -> None:
    """Write until killed, or `changes` changes a thread. `acknowledge` gets each line of the journal instead."""
    shrink_limits()
    journal = Journal.read(journal_path)
    versions = max((max(pair) for pair in journal.acked.values()), default=0) + 1_000 * (seed % 1_000_003)
    descriptor = os.open(journal_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write = acknowledge or (lambda line: os.write(descriptor, line))
    db = vsearch.open(path)
    docs = open_collection(db)

    def run(thread: int) -> None:
        rng, model, made = random.Random(seed * 10 + thread), dict(journal.acked), 0
        while not changes or made < changes:
            made += 1
            change = next_change(rng, thread, model, versions + made)
            write((json.dumps(["begin", thread, change]) + "\n").encode())
            make(docs, thread, change)
            write((json.dumps(["ack", thread]) + "\n").encode())
            apply(model, thread, change)
            if rng.random() < 0.03:
                docs.optimize(wait=rng.random() < 0.5)

    threads = [threading.Thread(target=run, args=(thread,), daemon=True) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    db.close()


def stored(docs: vsearch.Collection) -> dict[str, tuple[dict[str, Any] | None, np.ndarray]]:
    """Everything, by scrolling."""
    found, cursor = {}, None
    while True:
        page = docs.scroll(limit=1000, cursor=cursor, with_vectors=True)
        for point in page:
            assert point.vectors is not None
            found[str(point.id)] = (point.payload, point.vectors["v"])
        cursor = page.cursor
        if cursor is None:
            return found


def verify(db: vsearch.Database, possible: Iterable[Model], search: bool = True) -> Model:
    """Compare with what may be stored; returns what is. Raises AssertionError with the difference."""
    problems = db.check()
    assert not problems, problems
    docs = open_collection(db)
    found = stored(docs)
    versions = {point_id: int((body or {})["version"]) for point_id, (body, _) in found.items()}
    model = next((m for m in possible if {i: p for i, (_, p) in m.items()} == versions), None)
    if model is None:
        nearest = min(possible, key=lambda m: len({(i, p) for i, (_, p) in m.items()} ^ set(versions.items())))
        wanted = {i: p for i, (_, p) in nearest.items()}
        missing = {i: p for i, p in wanted.items() if versions.get(i) != p}
        surplus = {i: p for i, p in versions.items() if wanted.get(i) != p}
        raise AssertionError(f"acknowledged and not stored: {missing}; stored and not written: {surplus}")
    for point_id, (body, values) in found.items():
        assert body == payload(point_id, model[point_id][1]), (point_id, body)
        assert np.array_equal(values, vector(point_id, model[point_id][0])), point_id
    assert docs.count() == len(found)
    if search and found:
        ids = list(found)
        queries = np.array([found[point_id][1] for point_id in ids])
        for params in (vsearch.SearchParams(exact=True), vsearch.SearchParams(ef=100)):
            batch = docs.search_batch(queries, limit=1, params=params, with_payload=False)
            lost = [i for i, hits in zip(ids, batch, strict=True) if not hits or hits[0].id != i]
            assert not lost, f"vectors that do not find themselves with {params}: {lost}"
        everything = docs.search(queries[0], limit=len(ids) + 10, params=vsearch.SearchParams(exact=True))
        assert sorted(everything.point_ids) == sorted(ids)
    return model


def kill_once(path: Path, journal_path: Path, seed: int, delay_s: float, failpoints: str = "") -> bool:
    """Run a worker and kill it after `delay_s` of writing, or let a failpoint do it; then verify and settle.

    Returns whether the worker was killed (a failpoint may never be reached).
    """
    environment = {**os.environ, "VSEARCH_FAILPOINTS": failpoints}
    command = [sys.executable, "-m", "bench.crash", str(path), str(journal_path), str(seed)]
    size = journal_path.stat().st_size if journal_path.exists() else 0
    worker = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while worker.poll() is None and time.monotonic() < deadline:
        if journal_path.exists() and journal_path.stat().st_size > size:
            break
        time.sleep(0.002)
    try:
        worker.wait(timeout=delay_s)
    except subprocess.TimeoutExpired:
        worker.kill()
    _, complaint = worker.communicate()
    assert worker.returncode == -signal.SIGKILL, complaint.decode()
    journal = Journal.read(journal_path)
    with vsearch.open(path) as db:
        journal.settle(verify(db, journal.possible()))
    return True


def run(options: argparse.Namespace) -> None:
    """Kill `--kills` times; the seed is shown, so that a failure can be had again."""
    from rich.console import Console
    from rich.progress import track

    seed = options.seed if options.seed is not None else random.randrange(1 << 30)
    console = Console(stderr=True)
    console.print(f"seed {seed}")
    rng = random.Random(seed)
    shrink_limits()
    with tempfile.TemporaryDirectory() as folder:
        path, journal_path = Path(folder) / "db", Path(folder) / "journal"
        for number in track(range(options.kills), "kills", console=console, disable=not console.is_terminal):
            kill_once(path, journal_path, seed + number, rng.uniform(0.01, 0.6))
        size = journal_path.stat().st_size
    figures = {"bench": "crash", "seed": seed, "kills": options.kills, "lost": 0, "journal_bytes": size}
    Console().print(json.dumps(figures), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    work(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
