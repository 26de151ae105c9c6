"""Aliases: other names of collections, changed together or not at all."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import vsearch
from vsearch.storage import manifest
from vsearch.storage.rocks import MANIFEST

FIELDS = {"v": vsearch.Dense(2, metric="l2")}


@pytest.fixture
def db(db: vsearch.Database) -> vsearch.Database:
    """The collections blue and green, each with one point that says which it is."""
    for name in ("blue", "green"):
        db.create_collection(name, fields=FIELDS).upsert([name], vectors={"v": [[0, 1]]})
    return db


def only_id(db: vsearch.Database, name: str) -> Any:
    (point,) = db.collection(name).scroll()
    return point.id


def test_an_alias_stands_for_its_collection(db: vsearch.Database) -> None:
    assert db.aliases() == {}
    db.update_aliases({"live": "blue", "ünïcode alias": "green", "a": "green"})
    assert list(db.aliases().items()) == [("a", "green"), ("live", "blue"), ("ünïcode alias", "green")]
    assert db.collection("live") is db.collection("blue")
    assert db.collection("live").name == "blue"
    assert only_id(db, "ünïcode alias") == "green"
    assert db.collections() == ["blue", "green"]
    db.update_aliases({"live": "green", "a": None, "never was": None})
    assert db.aliases() == {"live": "green", "ünïcode alias": "green"}
    assert only_id(db, "live") == "green"
    with pytest.raises(vsearch.NotFound, match="no collection named 'a'"):
        db.collection("a")
    db.aliases()["live"] = "blue"  # a copy
    assert only_id(db, "live") == "green"
    db.update_aliases({})
    assert len(db.aliases()) == 2


BAD: dict[str, tuple[type[vsearch.VSearchError], Any]] = {
    "missing collection": (vsearch.NotFound, {"new": "red"}),
    "alias as a target": (vsearch.NotFound, {"new": "live"}),
    "alias of the same call as a target": (vsearch.NotFound, {"x": "blue", "new": "x"}),
    "a collection's name": (vsearch.AlreadyExists, {"green": "blue"}),
    "empty name": (vsearch.InvalidArgument, {"": "blue"}),
    "a path": (vsearch.InvalidArgument, {"../new": "blue"}),
    "no text": (vsearch.InvalidArgument, {7: "blue"}),
    "too long": (vsearch.InvalidArgument, {"x" * 256: "blue"}),
    "surrogate": (vsearch.InvalidArgument, {"\ud800": "blue"}),
    "bad name to remove": (vsearch.InvalidArgument, {"": None}),
    "target that is no text": (vsearch.InvalidArgument, {"new": 7}),
    "target in a list": (vsearch.InvalidArgument, {"new": ["blue"]}),
    "no mapping": (vsearch.InvalidArgument, ["new"]),
}


@pytest.mark.parametrize("case", BAD)
def test_one_bad_change_refuses_all(db: vsearch.Database, tmp_path: Path, case: str) -> None:
    error, changes = BAD[case]
    db.update_aliases({"live": "blue"})
    good_first = {"live": "green", "other": "green", **changes} if isinstance(changes, dict) else changes
    with pytest.raises(error) as caught:
        db.update_aliases(good_first)
    assert caught.value.hint
    assert db.aliases() == {"live": "blue"}
    db.close()
    with vsearch.open(tmp_path / "db") as again:
        assert again.aliases() == {"live": "blue"}


def test_names_of_aliases_are_taken(db: vsearch.Database) -> None:
    db.update_aliases({"live": "blue"})
    with pytest.raises(vsearch.AlreadyExists, match="alias of the collection 'blue'"):
        db.create_collection("live", fields=FIELDS)
    db.update_aliases({"live": None})
    assert db.create_collection("live", fields=FIELDS).count() == 0


def test_a_collection_is_deleted_by_its_own_name_and_takes_its_aliases_along(
    db: vsearch.Database, tmp_path: Path
) -> None:
    db.update_aliases({"live": "blue", "old": "blue", "next": "green"})
    with pytest.raises(vsearch.NotFound, match="'live' is an alias of the collection 'blue'"):
        db.delete_collection("live")
    assert only_id(db, "live") == "blue"
    docs = db.collection("live")
    db.delete_collection("blue")
    assert db.aliases() == {"next": "green"}
    for name in ("live", "blue"):
        with pytest.raises(vsearch.NotFound, match="no collection named"):
            db.collection(name)
    with pytest.raises(vsearch.NotFound):
        docs.count()
    db.close()
    with vsearch.open(tmp_path / "db") as again:
        assert again.aliases() == {"next": "green"}
        assert again.create_collection("live", fields=FIELDS).count() == 0


def test_aliases_survive_reopening(db: vsearch.Database, tmp_path: Path) -> None:
    db.update_aliases({"live": "blue", "é": "green", "gone": "green"})
    db.update_aliases({"gone": None, "é": "blue"})
    db.close()
    for call in (db.aliases, lambda: db.update_aliases({"x": "blue"}), lambda: db.collection("live")):
        with pytest.raises(vsearch.Closed):
            call()
    with vsearch.open(tmp_path / "db") as again:
        assert again.aliases() == {"live": "blue", "é": "blue"}
        assert only_id(again, "é") == "blue"
        assert again.check() == []


def test_a_failed_write_changes_no_alias(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    db.update_aliases({"live": "blue"})

    def fail(*_: Any, **__: Any) -> None:
        raise vsearch.DurabilityError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(db._engine, "commit", fail)
        for call in (lambda: db.update_aliases({"live": "green"}), lambda: db.delete_collection("blue")):
            with pytest.raises(vsearch.DurabilityError):
                call()
    assert db.aliases() == {"live": "blue"}
    assert only_id(db, "live") == "blue"


def test_a_reader_sees_aliases_when_it_refreshes(db: vsearch.Database, tmp_path: Path) -> None:
    db.update_aliases({"live": "blue"})
    with vsearch.open(tmp_path / "db", read_only=True) as reader:
        assert only_id(reader, "live") == "blue"
        for change in ({"live": "green"}, {"x": None}):
            with pytest.raises(vsearch.ReadOnly):
                reader.update_aliases(change)
        db.update_aliases({"live": "green", "extra": "blue"})
        assert reader.aliases() == {"live": "blue"}
        reader.refresh()
        assert reader.aliases() == {"extra": "blue", "live": "green"}
        assert only_id(reader, "live") == "green"
        db.delete_collection("green")
        reader.refresh()
        assert reader.aliases() == {"extra": "blue"}
        with pytest.raises(vsearch.NotFound):
            reader.collection("live")


def test_a_reader_keeps_the_collection_that_an_alias_has_come_to_mean(db: vsearch.Database, tmp_path: Path) -> None:
    """The reader opens an alias whose target it has not opened and the writer has changed: a handle stays the same."""
    db.update_aliases({"live": "blue"})
    with vsearch.open(tmp_path / "db", read_only=True) as reader:
        green = reader.collection("green")
        db.update_aliases({"live": "green"})
        assert reader.collection("live") is green
        assert reader.collection("green") is green


def test_an_open_collection_is_given_without_a_lock(db: vsearch.Database) -> None:
    """While another thread holds the guard, as it does for the whole of a delete."""
    db.update_aliases({"live": "blue"})
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with db._guard:
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(30)
    found: list[Any] = []
    asker = threading.Thread(target=lambda: found.extend([db.collection("blue"), db.collection("live")]))
    asker.start()
    asker.join(5)
    ready = len(found)
    done.set()
    holder.join()
    asker.join()
    assert ready == 2


def test_readers_of_an_alias_never_miss_it(db: vsearch.Database) -> None:
    db.update_aliases({"live": "blue"})
    done, seen, wrong = threading.Event(), set(), []

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(db.collection("live").name)
            except vsearch.VSearchError as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(50):
        db.update_aliases({"live": ("green", "blue")[i % 2], f"other {i}": "blue"})
    done.set()
    for thread in threads:
        thread.join()
    assert (wrong, seen) == ([], {"blue", "green"})


@pytest.mark.parametrize("row", [(b"a\xff", b"blue"), (b"alive", b"\xff")])
def test_a_damaged_alias_is_told(db: vsearch.Database, tmp_path: Path, row: tuple[bytes, bytes]) -> None:
    batch = db._engine.batch()
    batch.put(MANIFEST, *row)
    db._engine.commit(batch, sync=True)
    db.close()
    with pytest.raises(vsearch.Corruption, match="alias that is not UTF-8"):
        vsearch.open(tmp_path / "db")


def test_aliases_are_rows_of_their_own(db: vsearch.Database) -> None:
    """`a, name -> collection`, beside the collections, the counters and nothing else."""
    before = set(db._engine.scan(MANIFEST, b"", b"\xff"))
    db.update_aliases({"c": "blue", "ß": "green"})
    rows = set(db._engine.scan(MANIFEST, b"", b"\xff")) - before
    assert rows == {(b"ac", b"blue"), (b"a\xc3\x9f", b"green")}
    assert manifest.load_aliases(db._engine) == {"c": "blue", "ß": "green"}
    assert sorted(manifest.load(db._engine)) == ["blue", "green"]


def test_writes_go_through_an_alias(db: vsearch.Database) -> None:
    db.update_aliases({"live": "blue"})
    db.collection("live").upsert(["x"], vectors={"v": [[1, 1]]})
    db.collection("live").set_payload({"n": 1}, ids=["blue"])
    assert [(point.id, point.payload) for point in db.collection("blue").scroll()] == [("blue", {"n": 1}), ("x", None)]
    assert only_id(db, "green") == "green"
