"""Damaged files, newer formats, full disks: a typed error or a rebuilt index, never a wrong answer."""

from __future__ import annotations

import logging
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vsearch
from vsearch import SearchParams
from vsearch.storage import failpoints

RNG = np.random.default_rng(3)
X = RNG.normal(size=(400, 8)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed database with one sealed, indexed segment and a few unsealed points."""
    path = tmp_path / "db"
    with vsearch.open(path) as db:
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(8, metric="l2", index="hnsw")})
        docs.upsert(range(380), vectors={"v": X[:380]}, payloads=[{"n": i} for i in range(380)])
        docs.optimize()
        docs.upsert(range(380, 400), vectors={"v": X[380:]})
    return path


def file_of(path: Path, pattern: str) -> Path:
    (found,) = path.glob(f"segments/*/*/{pattern}")
    return found


def flip(file: Path, offset: int) -> None:
    data = bytearray(file.read_bytes())
    data[offset] ^= 0x40
    file.unlink()  # a mapping of the old file must not change under a reader
    file.write_bytes(data)


def finds_itself(docs: vsearch.Collection, rows: range) -> bool:
    return all(docs.search(X[i], limit=1, params=SearchParams(ef=100)).point_ids == [i] for i in rows)


def test_a_damaged_vector_file_is_named(path: Path) -> None:
    file = file_of(path, "f0.vectors.vsa")
    flip(file, file.stat().st_size // 2)
    with vsearch.open(path) as db:
        (problem, *_) = db.check()
        assert file.name in problem
    flip(file, 3)
    with vsearch.open(path) as db, pytest.raises(vsearch.Corruption, match=file.name):
        db.collection("docs")


@pytest.mark.parametrize("pattern", ["f0.vectors.vsa", "rows.vsa"])
def test_a_truncated_or_missing_file_is_named(path: Path, pattern: str) -> None:
    file = file_of(path, pattern)
    data = file.read_bytes()
    for size in (0, 10, 64, len(data) // 2, len(data) - 1):
        file.unlink()
        file.write_bytes(data[:size])
        with vsearch.open(path) as db:
            with pytest.raises(vsearch.Corruption, match=file.name):
                db.collection("docs")
            assert any(file.name in problem for problem in db.check())
    file.unlink()
    with vsearch.open(path) as db, pytest.raises(vsearch.Corruption, match=file.name):
        db.collection("docs")


@pytest.mark.parametrize("damage", ["header", "missing", "truncated"])
def test_a_damaged_index_is_rebuilt_from_the_vectors(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    file = file_of(path, "f0.hnsw.vsa")
    data = file.read_bytes()
    file.unlink()
    if damage != "missing":
        file.write_bytes(data[: len(data) // 2] if damage == "truncated" else b"XXXX" + data[4:])
    with caplog.at_level(logging.WARNING, "vsearch"), vsearch.open(path) as db:
        docs = db.collection("docs")
        assert finds_itself(docs, range(0, 400, 37))
        assert "rebuilt" in caplog.text
        docs.optimize()
        assert db.check() == []
        assert finds_itself(docs, range(0, 400, 37))
    with vsearch.open(path) as db:
        assert db.check() == []


def test_random_damage_never_crashes_and_never_lies(path: Path, tmp_path: Path, seed: int) -> None:
    """Every byte of a segment is covered by a checksum: `check` finds each flip."""
    rng = random.Random(seed)
    files = [f.relative_to(path) for f in path.glob("segments/*/*/*")]
    for _ in range(30):
        copy = tmp_path / "copy"
        shutil.copytree(path, copy)
        file = copy / rng.choice(files)
        flip(file, rng.randrange(file.stat().st_size))
        with vsearch.open(copy) as db:
            assert db.check(), file
            try:
                db.collection("docs").search(X[0])
            except vsearch.Corruption as error:
                assert file.name in str(error)  # noqa: PT017
        shutil.rmtree(copy)


def test_a_newer_format_is_refused_and_left_alone(path: Path) -> None:
    stamp = path / "FORMAT"
    stamp.write_text(stamp.read_text().replace("1", "99"))
    before = sorted(str(p) for p in path.rglob("*"))
    for read_only in (False, True):
        with pytest.raises(vsearch.UnsupportedFormat, match="99"):
            vsearch.open(path, read_only=read_only)
    assert set(before) <= set(map(str, path.rglob("*")))


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(vsearch.VSearchError, match="not a database"):
        vsearch.open(tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_orphans_are_removed_at_open(path: Path) -> None:
    segment = file_of(path, "rows.vsa").parent
    orphan = segment.parent / "00-00-orphan"
    shutil.copytree(segment, orphan)
    (segment / "f0.other.vsa").write_bytes(b"x")
    with vsearch.open(path) as db:
        assert not orphan.exists()
        assert not (segment / "f0.other.vsa").exists()
        assert db.check() == []


def test_a_full_disk_makes_the_database_read_only(tmp_path: Path) -> None:
    """The engine refuses a write: it is not acknowledged, reads go on, and what was acknowledged is kept."""
    code = f"""
import sys, numpy as np, vsearch
X = np.eye(4)
db = vsearch.open({str(tmp_path / "db")!r})
docs = db.create_collection("docs", fields={{"v": vsearch.Dense(4)}})
acked = 0
try:
    for i in range(10):
        docs.upsert([i], vectors={{"v": X[:1]}})
        acked += 1
except vsearch.DurabilityError as error:
    assert "No space left" in str(error), error
    assert error.hint
try:
    docs.upsert([99], vectors={{"v": X[:1]}})
except vsearch.ReadOnly:
    pass
else:
    raise SystemExit("took a write after a failed one")
assert docs.count() == acked == 4, (docs.count(), acked)
assert len(docs.search(X[0])) == acked
db.close()
"""
    name = failpoints.COMMIT_WRITTEN
    environment = {**os.environ, "VSEARCH_FAILPOINTS": f"{name}=enospc:6"}  # creating the collection is the first
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with vsearch.open(tmp_path / "db") as db:
        assert {p.id for p in db.collection("docs").scroll()} >= {0, 1, 2, 3}
        db.collection("docs").upsert([99], vectors={"v": np.eye(4)[:1]})


def test_a_disk_that_fills_up_while_sealing_loses_nothing(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        docs = db.create_collection("docs", fields={"v": vsearch.Dense(8, metric="l2")})
        docs.upsert(range(300), vectors={"v": X[:300]})
        failpoints.arm(f"{failpoints.FILE_WRITE}=enospc")
        try:
            with pytest.raises(vsearch.DurabilityError, match="No space left"):
                docs.optimize()
        finally:
            failpoints.arm("")
        assert docs.count() == 300
        assert finds_itself(docs, range(0, 300, 29))
        docs.upsert([300], vectors={"v": X[300:301]})
        docs.optimize()
        assert docs.stats()["segments"][0]["sealed"]
        assert docs.count() == 301
        assert db.check() == []
