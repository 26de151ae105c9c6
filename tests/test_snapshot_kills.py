"""Kills while snapshots are taken and restored. A case is a database with a backup beside it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from snapshot_cases import DIM, fill, folder_in_memory, leftovers, numbers_in
from storage_crash import forked, in_fresh_process, kill_everywhere

import vsearch
from vsearch import growing
from vsearch.snapshots import restore_database
from vsearch.storage import manifest


def open_small(path: Path) -> vsearch.Database:
    growing.MIN_ROWS, growing.MAX_ROWS = 16, 64
    return vsearch.open(path)


def make_case(folder: Path) -> None:
    with open_small(folder / "db") as db:
        for name in ("docs", "other"):
            docs = db.create_collection(name, fields={"v": vsearch.Dense(DIM, index="flat")})  # no kernel to load
            fill(docs, range(20), name)
            docs.optimize()
            fill(docs, range(20, 24), name)
        db.create_snapshot("docs")
        db.backup(folder / "b")
        fill(db.collection("docs"), range(24, 30), "docs")


def take_one(folder: Path) -> None:
    with open_small(folder / "db") as db:
        db.create_snapshot("docs")


def replace_docs(folder: Path) -> None:
    with open_small(folder / "db") as db:
        db.restore_collection("docs", folder / "b", replace=True)


def restore_all(folder: Path) -> None:
    restore_database(folder / "b", folder / "new")


def check_database(folder: Path, point: str) -> None:
    """The database is sound, docs is the old or the new, every snapshot listed is whole, and nothing is left over."""
    with open_small(folder / "db") as db:
        assert db.check() == [], point
        assert (db.collection("docs").count(), db.collection("other").count()) in ((30, 24), (24, 24)), point
        number = db.collection("docs")._state.number
        assert manifest.restoring(db._engine) == [], point
        assert numbers_in(db) == {2, number}, point
        assert {int(name) for name in os.listdir(db.path / "segments")} == {2, number}, point
        assert set(os.listdir(db.path / "snapshots")) <= {"all", f"c{number}"}, point
        listed = [(None, info) for info in db.snapshots()] + [("docs", info) for info in db.snapshots("docs")]
        assert listed, point
        for name, info in listed:
            data = db.snapshot_path(info.name, name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == info.checksum, point
        assert not leftovers(db.path), point
        assert len(list((db.path / "snapshots").rglob("*.*"))) == 2 * len(listed), point
        assert db.create_collection("next", {"v": vsearch.Dense(DIM, index="flat")})._state.number > number


def check_restored(folder: Path, point: str) -> None:
    """The new database is whole, or not there and can be made, whatever was left."""
    if not (folder / "new").exists():
        restore_database(folder / "b", folder / "new")
    assert not leftovers(folder), point
    with open_small(folder / "new") as db:
        assert db.check() == [], point
        assert db.collection("docs").count() == 24, point


def kill_all(folder: Path, action: Callable[[Path], None], check: Callable[[Path, str], None]) -> None:
    import pyarrow  # noqa: F401  once, before any fork

    assert forked(lambda: make_case(folder / "case"))
    assert kill_everywhere(folder / "case", action, check, every_visit=False) >= 8


@pytest.mark.parametrize(
    ("action", "check"),
    [
        (take_one, check_database),
        (replace_docs, check_database),
        (restore_all, check_restored),
    ],
)
def test_a_kill_leaves_the_old_or_the_new(action: Callable[[Path], None], check: Callable[[Path, str], None]) -> None:
    with folder_in_memory() as folder:  # what is killed need not be on a disk
        in_fresh_process(kill_all, folder, action, check)
