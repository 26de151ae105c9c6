"""`vsearch cache ...`: on a directory, and through a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vsearch
from tests.serving import Server, serving
from tests.test_cli import Shell
from vsearch import CachePolicy
from vsearch.cli import show

V = [1.0, 0.0]


def fill(db: Any) -> None:
    """Three entries: one made from a point, one with a tag and a scope, one of a category."""
    db.create_collection("docs", {"v": vsearch.Dense(2)}).upsert(["a", 7], {"v": [V, V]})
    cache = db.create_cache("answers", 2, {"code": CachePolicy(threshold=0.5, ttl=60.0)}, model="a model")
    cache.store("q1", 1, V, depends_on=[("docs", 7)])
    cache.store("q2", 2, V, scope={"user": "ann"}, tags=["[red]t", "u"])
    cache.store("q3", 3, category="code", cost=0.5, compute_s=2.0)
    cache.check("q3")
    cache.check("q3", category="default", scope="x")


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server") / "db", "--no-access-log") as server:
        yield server


@pytest.fixture(params=["directory", "server"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where the filled database is."""
    if request.param == "directory":
        with vsearch.open(tmp_path / "db") as db:
            fill(db)
        yield str(tmp_path / "db")
        return
    url = request.getfixturevalue("server").url
    with vsearch.connect(url) as db:
        fill(db)
        yield url
        db.delete_cache("answers")
        db.delete_collection("docs")


def lines(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def test_lists_and_numbers(shell: Shell, source: str) -> None:
    heading, only = lines(shell.run("cache", "list", source))
    assert dict(zip(heading, only, strict=True)) == {
        "cache": "answers", "dim": "2", "model": "a model", "entries": "3", "bytes": only[4], "lookups": "2",
        "hits": "1", "rate": "50.0%", "wrong": "0", "saved s": "2.0", "saved cost": "0.50",
    }  # fmt: skip
    assert json.loads(shell.run("cache", "list", source, "--json"))[0]["entries"] == 3
    first, heading, *categories = lines(shell.run("cache", "stats", source, "answers"))
    assert first[0].startswith("answers: 3 of 1,000,000 entries, ")
    rows = {row[0]: dict(zip(heading, row, strict=True)) for row in categories}
    assert rows.keys() == {"default", "code"}
    assert (rows["code"]["threshold"], rows["code"]["ttl"], rows["default"]["ttl"]) == ("0.5", "60 s", "for ever")
    assert (rows["code"]["hits"], rows["code"]["advice"]) == ("1", "too few lookups")
    found = json.loads(shell.run("cache", "stats", source, "answers", "--json"))
    assert found["categories"]["code"]["saved_s"] == 2.0
    assert "no cache named 'nope'" in shell.run("cache", "stats", source, "nope", code=2)


def test_entries(shell: Shell, source: str) -> None:
    heading, *rows = lines(shell.run("cache", "entries", source, "answers"))
    entries = [dict(zip(heading, row, strict=True)) for row in rows]
    assert [entry["id"] for entry in entries] == ["1", "2", "3"]
    assert [entry["tags"] for entry in entries] == ["", "[red]t u", ""]
    assert [entry["sources"] for entry in entries] == ["docs/7", "", ""]
    assert [entry["expires"] == "never" for entry in entries] == [True, True, False]
    assert entries[0]["scope"] != entries[1]["scope"]
    found = json.loads(shell.run("cache", "entries", source, "answers", "--after", 1, "--limit", 1, "--json"))
    assert [(entry["id"], entry["tags"]) for entry in found] == [(2, ["[red]t", "u"])]


def test_what_goes(shell: Shell, source: str) -> None:
    def invalidate(*options: str, code: int = 0) -> str:
        return shell.run("cache", "invalidate", source, "answers", *options, code=code).strip()

    assert invalidate("--tag", "u", "--dry-run") == "1 to remove"
    assert invalidate("--scope", '{"user": "ann"}', "--dry-run") == "1 to remove"
    assert invalidate("--source", "docs", "--dry-run") == "1 to remove"
    assert invalidate("--source", '["docs", "a"]') == "0 removed"
    assert invalidate("--source", '["docs", 7]') == "1 removed"
    assert invalidate("--category", "code", "--id", "2") == "0 removed"
    assert invalidate("--id", "2", "--tag", "u") == "1 removed"
    assert "nothing says what" in invalidate(code=2)
    assert "--scope is not JSON" in invalidate("--scope", "{", code=2)
    assert "--source is" in invalidate("--source", '["docs"]', code=2)
    assert "unknown category" in invalidate("--category", "nope", code=2)
    assert shell.run("cache", "clear", source, "answers") == "1 removed\n"
    assert len(lines(shell.run("cache", "entries", source, "answers"))) == 1


def test_policies(shell: Shell, source: str) -> None:
    heading, *rows = lines(shell.run("cache", "policy", source, "answers"))
    assert sorted(heading) == ["", "code", "default"]
    settings = {row[0]: dict(zip(heading, row, strict=True)) for row in rows}
    assert (settings["threshold"]["code"], settings["ttl"]["default"]) == ("0.5", "null")
    changed = shell.run("cache", "policy", source, "answers", "code", "--set", '{"ttl": 5}', "--json")
    assert json.loads(changed) == {"code": CachePolicy(threshold=0.5, ttl=5).to_dict()}
    made = shell.run("cache", "policy", source, "answers", "new", "--set", '{"guards": false}', "--json")
    assert json.loads(made)["new"]["guards"] == []
    for options, problem in (
        (["code", "--set", '{"threshold": 2}'], "threshold is 2"),
        (["code", "--set", "[1]"], "JSON object"),
        (["--set", "{}"], "Name it"),
        (["code", "--set", '{"treshold": 0.5}'], "treshold"),
        (["nope"], "no category named 'nope'"),
    ):
        assert problem in shell.run("cache", "policy", source, "answers", *options, code=2)
    kept = json.loads(shell.run("cache", "policy", source, "answers", "--json"))
    assert (kept["code"]["ttl"], kept["default"]) == (5, CachePolicy().to_dict())


def test_a_missing_database_is_not_made(shell: Shell, tmp_path: Path) -> None:
    for command in (["list"], ["clear", "c"], ["policy", "c"]):
        assert "there is no database" in shell.run("cache", command[0], tmp_path / "no", *command[1:], code=2)
    assert not (tmp_path / "no").exists()


def test_a_terminal_gets_a_table(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with vsearch.open(tmp_path / "db") as db:
        fill(db)
    monkeypatch.setattr(show.out, "_force_terminal", True)
    printed = shell.run("cache", "entries", tmp_path / "db", "answers")
    assert "\t" not in printed
    assert "docs/7" in printed
