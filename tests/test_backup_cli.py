"""The commands backup and restore: what they make, what they print, what they refuse."""

from __future__ import annotations

import hashlib
import io
import time
from pathlib import Path

import pytest
from rich.console import Console

import vsearch
from vsearch.__main__ import main
from vsearch.cli import show

FIELDS = {"v": vsearch.Dense(2, index="flat")}


class Shell:
    """Runs commands in a folder with the database `db`, which holds docs (3 points) and other (1 point)."""

    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    def run(self, command: str, code: int = 0) -> str:
        """What a command prints; on failure, its stderr."""
        self._capture.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(command.split())
        output = self._capture.readouterr()
        assert (stopped.value.code or 0) == code, output.err
        return output.err if code else output.out


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.chdir(tmp_path)
    with vsearch.open("db") as db:
        for name, count in (("docs", 3), ("other", 1)):
            docs = db.create_collection(name, fields=FIELDS)
            docs.upsert([f"{name}-{i}" for i in range(count)], vectors={"v": [[1, i] for i in range(count)]})
    return Shell(capsys)


def ids(directory: str, collection: str) -> list[vsearch.types.PointId]:
    with vsearch.open(directory, read_only=True) as db:
        assert db.check() == []
        return [point.id for point in db.collection(collection).scroll()]


def test_a_database_is_backed_up_and_restored(shell: Shell) -> None:
    checksum = shell.run("backup db b").split()[-1]
    assert checksum == hashlib.sha256(Path("b").read_bytes()).hexdigest()
    assert shell.run("backup db b --force").startswith("backed up 2 collections to b: ")
    assert shell.run("restore b new") == "restored docs, other into new\n"
    for name in ("docs", "other"):
        assert ids("new", name) == ids("db", name)
    assert sorted(path.name for path in Path().iterdir()) == ["b", "db", "new"]


def test_a_database_without_collections_too(shell: Shell) -> None:
    vsearch.open("none").close()
    assert shell.run("backup none b").startswith("backed up 0 collections to b: ")
    assert shell.run("restore b new") == "restored an empty database into new\n"


def test_one_collection_is_restored_into_a_new_or_an_existing_database(shell: Shell) -> None:
    shell.run("backup db b")
    assert shell.run("restore b new --collection docs") == "restored docs into new: 3 points\n"
    assert shell.run("restore b new --collection docs --as old") == "restored old into new: 3 points\n"
    with vsearch.open("new") as db:
        assert db.collections() == ["docs", "old"]
        db.collection("old").delete(ids=["docs-1"])
    assert shell.run("restore b new --collection docs --as old --replace") == "restored old into new: 3 points\n"
    assert ids("new", "old") == ["docs-0", "docs-1", "docs-2"]
    assert shell.run("restore b new --collection other --as old --replace") == "restored old into new: 1 point\n"


def test_a_collection_is_restored_from_its_own_snapshot(shell: Shell) -> None:
    with vsearch.open("db") as db:
        path = db.snapshot_path(db.create_snapshot("docs").name, "docs")
    assert shell.run(f"restore {path} new") == "restored docs into new\n"
    assert shell.run(f"restore {path} db --collection docs --replace") == "restored docs into db: 3 points\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("backup nowhere x", "no database in nowhere"),
        ("backup . x", "not a database"),
        ("backup db b", "b exists"),
        ("backup db nowhere/x", "no folder nowhere"),
        ("restore nowhere new", "nowhere cannot be read"),
        ("restore b db", "is not an empty directory"),
        ("restore junk new", "junk is not a whole snapshot"),
        ("restore junk new --collection docs", "junk is not a whole snapshot"),
        ("restore b new --replace", "--as and --replace are for one collection"),
        ("restore b new --as x", "--as and --replace are for one collection"),
        ("restore b new --collection none", "It holds: docs, other"),
        ("restore b db --collection docs", "a collection named 'docs' exists"),
    ],
)
def test_what_cannot_be_done_is_one_line(shell: Shell, command: str, message: str) -> None:
    shell.run("backup db b")
    Path("junk").write_bytes(b"x" * 3000)
    text = shell.run(command, code=2)
    assert text.startswith("error: ")
    assert text.count("\n") == 1
    assert message in text
    assert sorted(path.name for path in Path().iterdir()) == ["b", "db", "junk"]


def test_a_database_in_use_is_to_be_backed_up_over_http(shell: Shell) -> None:
    with vsearch.open("db"):
        assert "vsearch backup http://localhost:6333 b" in shell.run("backup db b", code=2)


def test_a_spinner_shows_only_at_a_terminal_and_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(terminal: bool, patience_s: float) -> str:
        output = io.StringIO()
        monkeypatch.setattr(show, "err", Console(file=output, force_terminal=terminal))
        monkeypatch.setattr(show, "PATIENCE_S", patience_s)
        with show.waiting("backing up"):
            time.sleep(0.2)
        return output.getvalue()

    assert "backing up" in shown(True, 0.01)
    assert shown(True, 60) == ""
    assert shown(False, 0.01) == ""
    with pytest.raises(ZeroDivisionError), show.waiting("failing"):
        raise ZeroDivisionError
