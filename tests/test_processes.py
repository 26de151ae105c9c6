"""Several processes: one writer, any number of readers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vsearch

X = np.eye(8, dtype=np.float32)

HOLD = """
import sys, time, numpy as np, vsearch
db = vsearch.open(sys.argv[1])
docs = db.create_collection("docs", fields={"v": vsearch.Dense(8, metric="l2")})
docs.upsert(range(8), vectors={"v": np.eye(8)}, payloads=[{"n": i} for i in range(8)])
sys.stdout.write("ready\\n"); sys.stdout.flush()
for line in sys.stdin:
    exec(line)
    sys.stdout.write("done\\n"); sys.stdout.flush()
"""


class Holder:
    """Another process that has the database open for writing and does what it is told."""

    def __init__(self, path: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=pipe, stdout=pipe, text=True)
        self.answer("ready")

    def answer(self, wanted: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == wanted

    def do(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        self.answer("done")


@pytest.fixture
def holder(tmp_path: Path):  # type: ignore[no-untyped-def]
    holder = Holder(tmp_path / "db")
    yield holder
    holder.process.kill()
    holder.process.communicate()


def test_a_second_writer_is_told_who_holds_the_lock(tmp_path: Path, holder: Holder) -> None:
    with pytest.raises(vsearch.Locked, match=str(holder.process.pid)):
        vsearch.open(tmp_path / "db")
    os.kill(holder.process.pid, signal.SIGSTOP)  # a stopped holder is still the holder
    with pytest.raises(vsearch.Locked):
        vsearch.open(tmp_path / "db")
    os.kill(holder.process.pid, signal.SIGKILL)
    holder.process.wait()
    with vsearch.open(tmp_path / "db") as db:
        assert db.collection("docs").count() == 8


def test_the_same_process_cannot_open_twice(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db"):
        with pytest.raises(vsearch.Locked, match=str(os.getpid())):
            vsearch.open(tmp_path / "db")
        with vsearch.open(tmp_path / "db", read_only=True) as reader:
            assert reader.collections() == []
    vsearch.open(tmp_path / "db").close()


def test_a_reader_follows_the_writer_when_it_refreshes(tmp_path: Path, holder: Holder) -> None:
    with vsearch.open(tmp_path / "db", read_only=True) as db:
        docs = db.collection("docs")
        assert docs.count() == 8
        assert docs.search(X[3], limit=1).point_ids == [3]
        holder.do("docs.upsert([100], vectors={'v': [[9] * 8]}); docs.delete(ids=[3])")
        assert docs.count() == 8
        assert 3 in docs.search(X[3], limit=8).point_ids
        db.refresh()
        assert docs.search([9] * 8, limit=1).point_ids == [100]
        assert 3 not in docs.search(X[3], limit=8).point_ids
        for line in ("docs.optimize()", "docs.update(1, payload={'n': 11})", "docs.optimize()"):
            holder.do(line)
            db.refresh()
            assert docs.count() == 8
            assert docs.search(X[1], limit=1).point_ids == [1]
        assert docs.get(1)[0].payload == {"n": 11}
        assert db.check() == []
        holder.do("db.create_collection('more', fields={'v': vsearch.Dense(2)})")
        holder.do("db.delete_collection('docs')")
        db.refresh()
        assert db.collections() == ["more"]
        with pytest.raises(vsearch.NotFound):
            docs.count()


def test_a_reader_survives_compaction_behind_its_back(tmp_path: Path, holder: Holder) -> None:
    with vsearch.open(tmp_path / "db", read_only=True) as db:
        holder.do("docs.optimize()")
        db.refresh()
        docs = db.collection("docs")
        holder.do("docs.upsert(range(50, 60), vectors={'v': np.ones((10, 8))}); docs.optimize()")
        for i in range(8):  # files of the old segment are gone, but this view has them mapped
            assert docs.search(X[i], limit=1, filter=vsearch.F("n") == i).point_ids == [i]
        db.refresh()
        assert docs.count() == 18


def test_a_reader_takes_no_writes(tmp_path: Path, holder: Holder) -> None:
    with vsearch.open(tmp_path / "db", read_only=True) as db:
        docs = db.collection("docs")
        for call in (
            lambda: docs.upsert([1], vectors={"v": X[:1]}),
            lambda: docs.delete(ids=[1]),
            lambda: docs.update(1, payload={}),
            lambda: docs.optimize(),
            lambda: docs.flush(),
            lambda: db.create_collection("x", fields={"v": vsearch.Dense(2)}),
            lambda: db.delete_collection("docs"),
        ):
            with pytest.raises(vsearch.ReadOnly):
                call()
    assert holder.process.poll() is None


def test_readers_run_while_a_writer_writes(tmp_path: Path, holder: Holder) -> None:
    with vsearch.open(tmp_path / "db", read_only=True) as db:
        docs = db.collection("docs")
        assert holder.process.stdin is not None
        loop = "exec('for i in range(300):\\n docs.upsert([1000 + i], vectors={\"v\": np.ones((1, 8))})')"
        holder.process.stdin.write(loop + "\n")
        holder.process.stdin.flush()
        deadline, last = time.monotonic() + 60, 8
        while last < 308 and time.monotonic() < deadline:
            db.refresh()
            count = docs.count()
            assert last <= count <= 308
            assert docs.search(X[5], limit=1).point_ids == [5]
            last = count
        assert last == 308
        holder.answer("done")


def test_a_missing_database_is_not_created_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(vsearch.NotFound):
        vsearch.open(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()
