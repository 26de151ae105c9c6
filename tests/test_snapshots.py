"""Snapshots: they show one instant and hold only what belongs in them; collections are restored in one instant."""

from __future__ import annotations

import hashlib
import json
import os
import random
import secrets
import shutil
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from snapshot_cases import FIELDS, LAST, content, fill, folder_in_memory, leftovers, mixed, numbers_in, vector

import vsearch
from vsearch import compaction, growing, maintenance, reading
from vsearch.filters import parse_filter
from vsearch.hits import SnapshotInfo
from vsearch.snapshots import restore_database
from vsearch.storage import archive, failpoints, files, keys, manifest
from vsearch.storage.rocks import COLLECTION_FAMILIES, FAMILIES, Engine


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sealing, merging and indexing happen all the time."""
    monkeypatch.setattr(growing, "MIN_ROWS", 16)
    monkeypatch.setattr(growing, "MAX_ROWS", 64)
    monkeypatch.setattr(compaction, "MIN_INDEX_ROWS", 32)
    monkeypatch.setattr(maintenance, "QUIET_S", 0.05)
    yield
    failpoints.arm("")


@pytest.fixture
def db(db: vsearch.Database) -> vsearch.Database:
    """The collections docs and other."""
    mixed(db, "docs")
    mixed(db, "other", "y")
    return db


# What a snapshot holds.


def test_a_restored_database_is_the_same(db: vsearch.Database, tmp_path: Path) -> None:
    db.update_aliases({"live": "docs"})
    before = {name: content(db.collection(name)) for name in db.collections()}
    taken = datetime.now(UTC)
    info = db.create_snapshot()
    assert abs(info.created_at - taken) < timedelta(seconds=10)
    assert info.created_at.tzinfo is UTC
    fill(db.collection("docs"), range(5), "late")
    path = db.snapshot_path(info.name)
    assert path.parent == db.path / "snapshots" / "all"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == info.checksum
    assert path.stat().st_size == info.nbytes
    (tmp_path / "empty").mkdir()
    for directory in (tmp_path / "new", tmp_path / "a" / "b", tmp_path / "empty"):
        restore_database(path, directory)
        with vsearch.open(directory) as restored:
            assert restored.check() == []
            assert {name: content(restored.collection(name)) for name in restored.collections()} == before
            assert restored.aliases() == {"live": "docs"}
            docs = restored.collection("docs")
            assert docs.payload_indexes == ["number"]
            assert docs.search(vector(40), using="v", limit=1).point_ids == ["x-40"]
            fill(docs, range(90), "after")
            docs.optimize()
            assert docs.count() == len(before["docs"]) + 90
            assert restored.check() == []
    assert not leftovers(tmp_path)
    assert content(db.collection("docs")).keys() > before["docs"].keys()


def test_a_snapshot_is_a_plain_tar_that_says_what_it_holds(db: vsearch.Database) -> None:
    for name in (None, "docs"):
        info = db.create_snapshot(name)
        with tarfile.open(db.snapshot_path(info.name, name), "r:") as tar:
            entries = tar.getmembers()
            assert all(entry.isreg() for entry in entries)
            assert [entries[0].name, entries[-1].name] == ["snapshot.json", "checksums.json"]
            head = json.load(tar.extractfile(entries[0]))  # type: ignore[arg-type]
        assert head.pop("created_at") == info.created_at.isoformat()
        held = ["docs"] if name else ["docs", "other"]
        kind = "collection" if name else "database"
        assert head == {"version": 1, "vsearch": vsearch.__version__, "holds": kind, "collections": held}
        numbers = {entry.name.split("/")[1] for entry in entries if entry.name.startswith("segments/")}
        assert numbers == ({"1"} if name else {"1", "2"})


def test_snapshots_are_listed_found_and_deleted(db: vsearch.Database) -> None:
    db.update_aliases({"live": "docs"})
    assert db.snapshots() == db.snapshots("docs") == []
    made = [db.create_snapshot() for _ in range(3)]
    of_docs = [db.create_snapshot("docs"), db.create_snapshot("live")]
    assert db.snapshots() == made
    assert db.snapshots("docs") == db.snapshots("live") == of_docs
    assert db.snapshots("other") == []
    assert all(info.name.startswith("docs-") for info in of_docs)
    assert all(info.name.startswith("database-") for info in made)
    db.close()
    with vsearch.open(db.path, read_only=True) as reader:
        assert reader.snapshots() == made
        assert reader.snapshot_path(made[0].name).is_file()
        for call in (reader.create_snapshot, lambda: reader.delete_snapshot(made[0].name)):
            with pytest.raises(vsearch.ReadOnly):
                call()
        with pytest.raises(vsearch.ReadOnly):
            reader.restore_collection("new", reader.snapshot_path(made[0].name))
    with vsearch.open(db.path) as again:
        assert again.snapshots() == made  # and nothing was swept
        again.delete_snapshot(made[1].name)
        with again.snapshot_path(made[0].name).open("rb") as file:
            again.delete_snapshot(made[0].name)
            assert len(file.read()) == made[0].nbytes
        assert again.snapshots() == [made[2]]
        assert len(os.listdir(again.path / "snapshots" / "all")) == 2
        again.delete_snapshot(of_docs[0].name, "docs")
        assert again.snapshots("docs") == of_docs[1:]
        for name, collection in ((made[0].name, None), (of_docs[1].name, None), (made[2].name, "docs")):
            with pytest.raises(vsearch.NotFound, match="no snapshot named"):
                again.delete_snapshot(name, collection)
        with pytest.raises(vsearch.NotFound, match="no collection named 'none'"):
            again.snapshots("none")


@pytest.mark.parametrize("name", ["Größe & Co.", "日本", "-", "a b", "x" * 255, ".hidden", "c.snapshot"])
def test_any_name_of_a_collection_makes_a_name_of_a_file(tmp_path: Path, name: str) -> None:
    with vsearch.open(tmp_path / "db") as db:
        fill(db.create_collection(name, fields=FIELDS), range(3))
        info = db.create_snapshot(name)
        assert db.snapshots(name) == [info]
        assert info.name.isascii()
        assert len(info.name) <= 102
        restored = db.restore_collection("copy", db.snapshot_path(info.name, name))
        assert restored.count() == 3


BAD_NAMES = [
    "",
    ".",
    "..",
    "../x",
    "/etc/passwd",
    "a\0b",
    "x.snapshot",
    "database-2024-01-01-00-00-00-0123456G.snapshot",
]


def test_a_name_that_could_lead_elsewhere_is_no_snapshot(db: vsearch.Database, tmp_path: Path) -> None:
    good = db.create_snapshot().name
    outside = tmp_path / "secret"
    outside.write_text("x")
    link = good.replace("database", "link")
    (db.path / "snapshots" / "all" / link).symlink_to(outside)
    (db.path / "snapshots" / "all" / f"{link}.sha256").write_text("x")
    for name in [*BAD_NAMES, f"../all/{good}", f"{good}/", f"{good}\n", f"{good}.sha256", link]:
        for call in (db.snapshot_path, db.delete_snapshot):
            with pytest.raises(vsearch.NotFound, match="no snapshot named"):
                call(name)
    assert [info.name for info in db.snapshots()] == [good]
    assert outside.exists()


def test_one_collection_has_no_byte_of_others(tmp_path: Path) -> None:
    """Sealed and not, deleted and not, while others are written."""
    marker, erased = secrets.token_hex(16), secrets.token_hex(16)
    with vsearch.open(tmp_path / "db") as db:
        docs, other = (db.create_collection(name, fields=FIELDS) for name in ("docs", f"name{marker}"))
        stop, writes = threading.Event(), []

        def write() -> None:
            while not stop.is_set():
                number = len(writes)
                ids = [f"{marker}-{number}-{i}" for i in range(20)]
                payloads = [{"secret": f"{erased}{i}"} for i in range(20)]
                other.upsert(ids, vectors={"v": [vector(i) for i in range(20)]}, payloads=payloads)
                other.delete(ids=ids[::2])
                writes.append(number)

        db.update_aliases({f"alias{marker}": other.name})
        thread = threading.Thread(target=write)
        thread.start()
        fill(docs, range(150))
        docs.delete(ids=["x-3"])
        while len(writes) < 20:
            time.sleep(0.01)
        info, whole = db.create_snapshot("docs"), db.create_snapshot()
        stop.set()
        thread.join()
        data = db.snapshot_path(info.name, "docs").read_bytes()
        everything = db.snapshot_path(whole.name).read_bytes()
        restore_database(db.snapshot_path(info.name, "docs"), tmp_path / "new")
    for text in (marker, erased):
        assert text.encode() in everything  # so it would be seen
        assert text.encode() not in data
    with vsearch.open(tmp_path / "new") as alone:
        assert alone.collections() == ["docs"]
        assert alone.aliases() == {}
        assert alone.check() == []
        assert alone.collection("docs").count() == 149
    engine = Engine.open(tmp_path / "new")
    assert {key[:4] for family in COLLECTION_FAMILIES for key, _ in engine.scan(family, b"", LAST)} <= {keys.prefix(1)}
    assert [key[:5] for key, _ in engine.scan("manifest", b"", LAST)] == [b"cdocs", b"n", b"p\0\0\0\1"]
    engine.close()


def test_a_snapshot_under_writes_shows_one_instant(tmp_path: Path, seed: int) -> None:
    """Each thread writes its versions in order, first to one collection and then to the other."""
    rng = random.Random(seed)
    acknowledged, begun = [0, 0], [0, 0]
    stop = threading.Event()
    found: list[tuple[SnapshotInfo, list[int], list[int]]] = []
    with vsearch.open(tmp_path / "db") as db:
        pair = [db.create_collection(name, fields=FIELDS) for name in ("a", "b")]

        def write(thread: int) -> None:
            while not stop.is_set():
                version = begun[thread] = begun[thread] + 1
                for docs in pair:
                    ids = [f"{thread}-{version}", f"{thread}-newest", version % 50]
                    payloads = [{"thread": thread, "version": version}] * 3
                    docs.upsert(ids, vectors={"v": [vector(version)] * 3}, payloads=payloads)
                acknowledged[thread] = version

        def tidy() -> None:
            while not stop.is_set():
                rng.choice(pair).optimize()

        threads = [threading.Thread(target=write, args=(n,)) for n in (0, 1)] + [threading.Thread(target=tidy)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            time.sleep(rng.uniform(0.05, 0.2))
            least = list(acknowledged)
            found.append((db.create_snapshot(), least, list(begun)))
        stop.set()
        for thread in threads:
            thread.join()
        assert acknowledged > found[-1][1]
        paths = [db.snapshot_path(info.name) for info, _, _ in found]
    for number, (path, (_, least, most)) in enumerate(zip(paths, found, strict=True)):
        restore_database(path, tmp_path / f"new{number}")
        with vsearch.open(tmp_path / f"new{number}") as restored:
            assert restored.check() == []
            newest = [prefixes(restored.collection(name)) for name in ("a", "b")]
        for thread in (0, 1):
            first, second = newest[0][thread], newest[1][thread]
            assert least[thread] <= second <= first <= second + 1
            assert first <= most[thread]


def prefixes(docs: vsearch.Collection) -> list[int]:
    """The newest version of each thread, all the versions before it being there."""
    stored = content(docs)
    newest = []
    for thread in (0, 1):
        versions = {int(key.split("-")[1]) for key in stored if str(key).startswith(f"{thread}-") and key[2] != "n"}
        assert versions == set(range(1, len(versions) + 1))
        newest.append(len(versions))
        if versions:
            assert stored[f"{thread}-newest"][0]["version"] == len(versions)
    return newest


@pytest.mark.parametrize("name", [None, "docs"])
def test_only_writers_concerned_wait_and_only_for_the_cut(
    db: vsearch.Database, monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    def written(collection: str) -> threading.Thread:
        docs = db.collection(collection)
        thread = threading.Thread(target=fill, args=(docs, range(3), "cut"))
        thread.start()
        thread.join(0.2 if collection == "docs" or name is None else 20)
        return thread

    waiting: list[threading.Thread] = []
    checkpoint, pack = db._engine.checkpoint, archive.pack

    def watched_checkpoint(path: Path) -> None:
        waiting.extend(map(written, ("docs", "other")))
        assert [thread.is_alive() for thread in waiting] == [True, name is None]
        assert db.collection("docs").search(vector(40), using="v", limit=1)  # readers do not wait
        checkpoint(path)

    def watched_pack(*args: Any) -> str:
        for thread in waiting:
            thread.join(20)
            assert not thread.is_alive()
        return pack(*args)

    monkeypatch.setattr(db._engine, "checkpoint", watched_checkpoint)
    monkeypatch.setattr(archive, "pack", watched_pack)
    info = db.create_snapshot(name)
    restored = db.restore_collection("new", db.snapshot_path(info.name, name), source="docs")
    assert "cut-1" not in content(restored)
    assert "cut-1" in content(db.collection("docs"))


def test_an_empty_database_and_an_empty_collection_have_snapshots(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        info = db.create_snapshot()
        restore_database(db.snapshot_path(info.name), tmp_path / "new")
        db.create_collection("docs", fields=FIELDS)
        of_docs = db.create_snapshot("docs")
        assert db.restore_collection("copy", db.snapshot_path(of_docs.name, "docs")).count() == 0
    with vsearch.open(tmp_path / "new") as restored:
        assert restored.collections() == []


def test_snapshots_go_with_their_collection(db: vsearch.Database) -> None:
    db.create_snapshot("docs")
    kept = db.create_snapshot("other"), db.create_snapshot()
    db.delete_collection("docs")
    mixed(db, "docs")
    assert db.snapshots("docs") == []
    assert (db.snapshots("other"), db.snapshots()) == ([kept[0]], [kept[1]])
    assert sorted(os.listdir(db.path / "snapshots")) == ["all", "c2"]


def test_what_a_crash_left_is_swept_and_is_no_snapshot(db: vsearch.Database) -> None:
    info, of_docs = db.create_snapshot(), db.create_snapshot("docs")
    root = db.path / "snapshots"
    whole = db.snapshot_path(info.name).read_bytes()
    db.close()
    (root / ".tmp-1" / "copy").mkdir(parents=True)
    (root / ".tmp-2").touch()
    (root / "c77").mkdir()
    shutil.copy(root / "all" / info.name, root / "c77")
    (root / "all" / f"{info.name.replace('database', 'lost')}.sha256").touch()
    (root / "all" / info.name.replace("database", "half")).write_bytes(whole[:100])  # without its checksum
    (root / "notes").touch()
    with vsearch.open(db.path) as again:
        assert again.snapshots() == [info]
        assert again.snapshots("docs") == [of_docs]
    assert sorted(os.listdir(root)) == ["all", "c1", "notes"]
    names = [info.name, f"{info.name}.sha256", info.name.replace("database", "half")]
    assert sorted(os.listdir(root / "all")) == sorted(names)


# When it cannot be taken.


def test_damage_is_told_when_the_snapshot_is_taken(db: vsearch.Database) -> None:
    db.close()
    victim = next((db.path / "segments" / "1").rglob("f0.vectors.vsa"))
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with vsearch.open(db.path) as again:
        for name in (None, "docs"):
            with pytest.raises(vsearch.Corruption, match=str(victim)):
                again.create_snapshot(name)
        assert again.create_snapshot("other")
        victim.unlink()
        with pytest.raises(vsearch.Corruption, match=f"{victim} is missing"):
            again.create_snapshot("docs")
        assert not leftovers(db.path)


def test_a_full_disk_ends_a_snapshot_and_nothing_else(db: vsearch.Database) -> None:
    for docs in map(db.collection, db.collections()):
        docs.optimize()  # so that nothing else is written
    for point in (*(f"file.write=enospc:{n}" for n in (1, 9, 30)), "rename.before=enospc:2", "snapshot.packed=error"):
        failpoints.arm(point)
        with pytest.raises((vsearch.DurabilityError, OSError)):
            db.create_snapshot()
        failpoints.arm("")
        assert not leftovers(db.path)
        assert db.snapshots() == []
    fill(db.collection("docs"), range(3), "more")
    assert db.create_snapshot().nbytes
    assert db.check() == []


def test_without_hard_links_files_are_copied(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    before = content(db.collection("docs"))
    monkeypatch.setattr(os, "link", refuse)
    info = db.create_snapshot("docs")
    db.restore_collection("docs", db.snapshot_path(info.name, "docs"), replace=True)
    assert content(db.collection("docs")) == before
    assert db.snapshots("docs") == [info]
    assert db.check() == []


def test_closing_ends_a_snapshot(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    packing, errors = threading.Event(), []
    pieces = archive._pieces

    def slow(path: Path) -> Iterator[bytes]:
        packing.set()
        time.sleep(0.01)
        yield from pieces(path)

    def create() -> None:
        try:
            db.create_snapshot()
        except vsearch.VSearchError as error:
            errors.append(type(error))

    monkeypatch.setattr(archive, "_pieces", slow)
    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert packing.wait(10)
    db.close()
    for thread in threads:
        thread.join()
    assert errors == [vsearch.Closed] * 2
    assert not leftovers(db.path)
    for call in (db.create_snapshot, db.snapshots, lambda: db.snapshot_path("x"), lambda: db.backup("x")):
        with pytest.raises(vsearch.Closed):
            call()


def test_a_collection_that_is_deleted_meanwhile_has_no_snapshot(
    db: vsearch.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = archive.pack

    def then_delete(*args: Any) -> str:
        db.delete_collection("docs")
        mixed(db, "docs")
        return pack(*args)

    monkeypatch.setattr(archive, "pack", then_delete)
    with pytest.raises(vsearch.NotFound, match="deleted while"):
        db.create_snapshot("docs")
    assert db.snapshots("docs") == []
    assert not leftovers(db.path)


# Backup to a file.


def test_a_backup_is_written_to_a_file(db: vsearch.Database, tmp_path: Path) -> None:
    before = content(db.collection("docs"))
    info = db.backup(tmp_path / "b")
    assert info.name == "b"
    assert hashlib.sha256((tmp_path / "b").read_bytes()).hexdigest() == info.checksum
    with pytest.raises(vsearch.AlreadyExists, match="b exists"):
        db.backup(tmp_path / "b")
    assert db.backup(tmp_path / "b", overwrite=True).checksum
    with pytest.raises(vsearch.NotFound, match="no folder"):
        db.backup(tmp_path / "none" / "b")
    assert db.snapshots() == []
    assert not leftovers(tmp_path)
    restore_database(tmp_path / "b", tmp_path / "new")
    with vsearch.open(tmp_path / "new") as restored:
        assert content(restored.collection("docs")) == before


# Restoring one collection.


def test_a_collection_is_restored_under_any_name(db: vsearch.Database) -> None:
    db.update_aliases({"live": "docs"})
    before = content(db.collection("docs"))
    alone = db.snapshot_path(db.create_snapshot("docs").name, "docs")
    both = db.snapshot_path(db.create_snapshot().name)
    fill(db.collection("docs"), range(500, 600))
    assert content(db.restore_collection("one", alone)) == before
    assert content(db.restore_collection("two", both, source="docs")) == before
    other = db.restore_collection("other", both, replace=True)  # that of the same name
    assert "y-40" in content(other)
    for docs in map(db.collection, ("one", "two")):
        assert docs.payload_indexes == ["number"]
        newest = docs._state.view.sources[-1].segment.last_pid
        fill(docs, range(90), "new")
        assert docs._maintenance is not None
        assert docs._maintenance.writer.newest_pid >= newest + 90  # none is given twice
        docs.optimize()
        assert docs.count() == len(before) + 90
        assert docs.search(vector(40), using="v", limit=1, filter={"tag": "new"}).point_ids == ["new-40"]
    assert db.check() == []
    db.close()
    with vsearch.open(db.path) as again:
        assert again.collections() == ["docs", "one", "other", "two"]
        assert again.check() == []
        assert again.collection("one").count() == len(before) + 90


def test_what_cannot_be_restored_is_refused(db: vsearch.Database, tmp_path: Path) -> None:
    db.update_aliases({"live": "docs"})
    both = db.snapshot_path(db.create_snapshot().name)
    cases: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (vsearch.AlreadyExists, "a collection named 'docs'", lambda: db.restore_collection("docs", both)),
        (vsearch.AlreadyExists, "'live' is an alias", lambda: db.restore_collection("live", both, replace=True)),
        (vsearch.NotFound, "It holds: docs, other", lambda: db.restore_collection("new", both)),
        (vsearch.NotFound, "'none'", lambda: db.restore_collection("docs", both, replace=True, source="none")),
        (vsearch.InvalidArgument, "paths", lambda: db.restore_collection("../x", both)),
        (vsearch.InvalidArgument, "cannot be read", lambda: db.restore_collection("new", tmp_path / "none")),
        (vsearch.InvalidArgument, "cannot be read", lambda: db.restore_collection("new", tmp_path)),
        (vsearch.AlreadyExists, "not an empty directory", lambda: restore_database(both, db.path)),
        (vsearch.AlreadyExists, "not an empty directory", lambda: restore_database(both, both)),
    ]
    for kind, message, call in cases:
        with pytest.raises(kind, match=message):
            call()
    assert db.collections() == ["docs", "other"]
    assert sorted(os.listdir(db.path / "segments")) == ["1", "2"]
    assert not leftovers(tmp_path)


def test_restored_files_are_durable_before_they_appear(db: vsearch.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    path = db.snapshot_path(db.create_snapshot("docs").name, "docs")
    synced: set[Path] = set()
    sync, exchange = files.sync_directory, db._exchange

    def noting(folder: Path) -> None:
        sync(folder)
        synced.add(folder)

    def checked(name: str, batch: Any, new: Any) -> None:
        root = db.path / "segments"
        folders = [root / "3" / entry.name for entry in new._state.manifest.segments]
        assert folders
        assert {db.path, root, root / "3", *folders} <= synced
        exchange(name, batch, new)

    monkeypatch.setattr(files, "sync_directory", noting)
    monkeypatch.setattr(db, "_exchange", checked)
    db.restore_collection("docs", path, replace=True)


def test_replacing_is_one_instant_for_readers(tmp_path: Path) -> None:
    with vsearch.open(tmp_path / "db") as db:
        kept: dict[int, Path] = {}
        for size in (130, 170):
            docs = db.create_collection("docs", fields=FIELDS)
            fill(docs, range(size), f"s{size}")
            docs.optimize()
            db.backup(tmp_path / f"{size}")
            kept[size] = tmp_path / f"{size}"
            if size == 130:
                db.delete_collection("docs")
        stop = threading.Event()
        seen: list[tuple[int, set[str]]] = []
        errors: list[BaseException] = []

        def read() -> None:
            where = {"parts": {"$elemMatch": {"a": {"$gte": 0}, "tag": {"$exists": False}}}}  # which reads payloads
            while not stop.is_set():
                try:
                    docs = db.collection("docs")
                    hits = docs.search(vector(0), limit=500, filter=where)
                    seen.append((len(hits), {str(i).split("-")[0] for i in hits.point_ids}))
                    assert docs.count(filter={"number": {"$gte": 0}}) == len(hits)
                except vsearch.NotFound:  # replaced between the two calls
                    continue
                except BaseException as error:
                    errors.append(error)
                    return

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for number in range(6):
            db.restore_collection("docs", kept[(130, 170)[number % 2]], replace=True)
        stop.set()
        for thread in threads:
            thread.join()
        assert not errors
        assert {(size, frozenset(tags)) for size, tags in seen} == {(s, frozenset({f"s{s}"})) for s in kept}
        assert db.check() == []
        assert len(os.listdir(db.path / "segments")) == 1


def test_a_search_under_way_goes_on_with_what_was_replaced(db: vsearch.Database) -> None:
    path = db.snapshot_path(db.create_snapshot("other").name, "other")
    docs = db.collection("docs")
    db.close()
    with vsearch.open(db.path) as db:
        docs = db.collection("docs")
        state, size = docs._state, docs.count()
        node = parse_filter({"parts": {"$elemMatch": {"a": {"$gte": 0}, "b": "x"}}})
        db.restore_collection("docs", path, replace=True)
        assert reading.count(state, node) == size - 2  # maps columns and reads payloads only now
        with pytest.raises(vsearch.NotFound, match="was deleted"):
            docs.count()


def test_replacing_keeps_snapshots_and_aliases(db: vsearch.Database) -> None:
    db.update_aliases({"live": "docs"})
    made = [db.create_snapshot("docs") for _ in range(2)]
    for info in made:
        db.restore_collection("docs", db.snapshot_path(info.name, "docs"), replace=True)
        assert db.snapshots("docs") == made
        assert db.collection("live") is db.collection("docs")
    assert sorted(os.listdir(db.path / "snapshots")) == ["c4"]
    db.close()
    with vsearch.open(db.path) as again:
        assert again.snapshots("live") == made


def test_a_damaged_collection_is_replaced(db: vsearch.Database) -> None:
    before = content(db.collection("docs"))
    path = db.snapshot_path(db.create_snapshot("docs").name, "docs")
    db.close()
    for victim in (db.path / "segments" / "1").rglob("*.vsa"):
        victim.unlink()
    with vsearch.open(db.path) as again:
        with pytest.raises(vsearch.Corruption):
            again.collection("docs")
        again.restore_collection("docs", path, replace=True)
        assert content(again.collection("docs")) == before
        assert again.check() == []


@pytest.mark.parametrize("reopen", [False, True])
def test_a_failed_restore_leaves_nothing_and_uses_up_its_number(
    db: vsearch.Database, monkeypatch: pytest.MonkeyPatch, reopen: bool
) -> None:
    path = db.snapshot_path(db.create_snapshot().name)
    failpoints.arm("restore.copied=error")
    if reopen:  # as if the process had died
        monkeypatch.setattr(db._snapshots, "_remove_restored", lambda number: None)
        monkeypatch.setattr(db._store, "remove_collection", lambda number: None)
    with pytest.raises(OSError, match="failpoint"):
        db.restore_collection("new", path, source="docs")
    failpoints.arm("")
    if reopen:
        assert numbers_in(db) == {1, 2, 3}
        assert sorted(os.listdir(db.path / "segments")) == ["1", "2", "3"]
        db.close()
        db = vsearch.open(db.path)
    assert numbers_in(db) == {1, 2}
    assert sorted(os.listdir(db.path / "segments")) == ["1", "2"]
    assert manifest.restoring(db._engine) == []
    assert manifest.last_pid(db._engine, 3) == 0
    assert db.create_collection("new", fields=FIELDS)._state.number == 4
    assert db.check() == []
    db.close()


def test_a_reader_in_another_process_sees_the_old_or_the_new(db: vsearch.Database) -> None:
    path = db.snapshot_path(db.create_snapshot("other").name, "other")
    with vsearch.open(db.path, read_only=True) as reader:
        docs = reader.collection("docs")
        old = docs.count()
        db.restore_collection("docs", path, replace=True)
        assert docs.count() == old
        reader.refresh()
        assert "y-40" in content(reader.collection("docs"))
        for name in db.collections():
            db.collection(name).optimize()  # so that no files go while the reader checks them
        reader.refresh()
        assert reader.check() == []


# The engine's side.


def test_a_checkpoint_has_what_is_committed_in_every_family(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "db", "os")

    def put(*keys: bytes) -> None:
        batch = engine.batch()
        for family in FAMILIES:
            batch.put_all(family, ((key, family.encode()) for key in keys))
        engine.commit(batch)

    put(b"old")
    engine.flush()
    put(b"new")
    engine.checkpoint(tmp_path / "copy")
    put(b"later")
    with pytest.raises(vsearch.Corruption, match="exists"):
        engine.checkpoint(tmp_path / "copy")
    assert sum(path.stat().st_size for path in (tmp_path / "copy").glob("*.log")) == 0
    engine.close()
    Engine.open(tmp_path / "db").close()  # the checkpoint holds no lock
    shutil.copy(tmp_path / "db" / "FORMAT", tmp_path / "copy")
    copy = Engine.open(tmp_path / "copy")
    for family in FAMILIES:
        assert dict(copy.scan(family, b"", LAST)) == {b"old": family.encode(), b"new": family.encode()}
    copy.close()
