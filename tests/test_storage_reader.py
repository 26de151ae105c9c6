"""Readers beside a writer: they see whole states, write nothing, and say so when they cannot follow."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rocksdict import Cache, Rdict
from storage_crash import in_fresh_process

from vsearch.errors import Corruption, DurabilityError, Locked, ReadOnly
from vsearch.storage import stamp, tuning
from vsearch.storage.mirror import Mirror
from vsearch.storage.rocks import CACHE_FAMILIES, FAMILIES, POINTS, Engine

LAST = b"\xff" * 8


def put(engine: Engine, *pairs: tuple[bytes, bytes]) -> None:
    batch = engine.batch()
    for key, value in pairs:
        batch.put(POINTS, key, value)
    engine.commit(batch)


def content(engine: Engine, family: str = POINTS) -> dict[bytes, bytes]:
    return dict(engine.scan(family, b"", LAST))


def listing(path: Path) -> dict[str, tuple[int, int]]:
    return {name: (s.st_mtime_ns, s.st_size) for name in os.listdir(path) for s in [os.lstat(path / name)]}


def test_a_reader_follows_the_writer_and_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "db"
    writer = Engine.open(path)
    put(writer, (b"a", b"1"))
    before = listing(path)
    reader = Engine.open(path, read_only=True)
    assert reader.get(POINTS, b"a") == b"1"
    with pytest.raises(ReadOnly):
        reader.commit(writer.batch())
    put(writer, (b"a", b"2"), (b"b", b""))
    assert content(reader) == {b"a": b"1"}
    now = listing(path)
    reader.refresh()
    assert content(reader) == {b"a": b"2", b"b": b""}
    reader.close()
    assert listing(path) == now
    assert set(now) == set(before)
    writer.close()


def test_a_reader_follows_through_flushes_compactions_and_restarts(tmp_path: Path) -> None:
    path = tmp_path / "db"
    writer = Engine.open(path, "os")
    put(writer, (b"", b""))
    reader = Engine.open(path, read_only=True)
    view = reader._mirror.folder  # type: ignore[union-attr]
    old = reader.scan(POINTS, b"", LAST)
    for turn in range(12):
        put(writer, *((b"%d-%d" % (turn % 3, i), b"%d" % turn) for i in range(50)))
        batch = writer.batch()
        batch.delete_range(POINTS, b"%d-3" % (turn % 3), b"%d-4" % (turn % 3))
        writer.commit(batch)
        writer._families[POINTS].flush()
        if turn % 4 == 3:
            writer._families[POINTS].compact_range(None, None)
        if turn % 6 == 5:
            writer.close()
            writer = Engine.open(path, "os")
        reader.refresh()
        assert content(reader) == content(writer)
    assert list(old) == [(b"", b"")]  # from files that are long gone
    assert not [link for link in view.iterdir() if link.is_symlink() and not link.exists()]
    reader.close()
    assert not view.parent.exists()
    writer.close()


def test_a_reader_trusts_a_secondary_only_while_the_files_stay_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "db"
    writer = Engine.open(path)
    put(writer, (b"a", b"1"))
    opened: list[int] = []
    open_secondary = Mirror._open

    def counting(mirror: Mirror) -> Any:
        opened.append(1)
        secondary = open_secondary(mirror)
        if len(opened) == 1:  # the writer flushes while the reader opens
            put(writer, (b"a", b"2"))
            writer._families[POINTS].flush()
        return secondary

    monkeypatch.setattr(Mirror, "_open", counting)
    reader = Engine.open(path, read_only=True)
    assert (len(opened), reader.get(POINTS, b"a")) == (2, b"2")
    put(writer, (b"a", b"3"))
    reader.refresh()
    assert reader._db is not None
    assert (len(opened), reader.get(POINTS, b"a")) == (2, b"3")  # the log has grown: the secondary reads on
    writer._families[POINTS].flush()
    before = [table["name"] for table in reader._db.live_files()]
    reader._mirror._update()  # type: ignore[union-attr]
    reader._db.try_catch_up_with_primary()
    assert [table["name"] for table in reader._db.live_files()] == before  # it does not hear of the flush
    snapshot = reader.snapshot()
    reader.refresh()
    assert (len(opened), reader.get(POINTS, b"a")) == (3, b"3")  # files have changed: a new one
    assert snapshot.get(POINTS, b"a") == b"3"  # from the one before
    reader.close()
    writer.close()


def make_with(path: Path, families: Sequence[str]) -> None:
    """A database of these families only, with one row in POINTS or in the first of them."""
    stamp.write(path)
    cache = Cache(1 << 20)
    db = Rdict(
        str(path), tuning.database_options(False), {name: tuning.family_options(name, cache) for name in families}
    )
    db.get_column_family(POINTS if POINTS in families else families[0]).put(b"a", b"1")
    db.close()


def test_a_database_without_the_families_of_caches_is_read_as_if_they_were_empty(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_with(path, [family for family in FAMILIES if family not in CACHE_FAMILIES])
    before = listing(path)
    reader = Engine.open(path, read_only=True)
    assert content(reader) == {b"a": b"1"}
    snapshot = reader.snapshot()
    for family in CACHE_FAMILIES:
        assert content(reader, family) == dict(snapshot.scan(family, b"", LAST)) == {}
        assert reader.get(family, b"a") is snapshot.get(family, b"a") is reader.last_key(family, b"", LAST) is None
        assert reader.get_many(family, [b"a"] * 20) == [None] * 20
    reader.refresh()
    assert listing(path) == before
    writer = Engine.open(path)  # adds them
    batch = writer.batch()
    for family in CACHE_FAMILIES:
        batch.put(family, b"b", family.encode())
    writer.commit(batch)
    reader.refresh()
    for family in CACHE_FAMILIES:
        assert content(reader, family) == {b"b": family.encode()}
    assert content(reader) == {b"a": b"1"}
    reader.close()
    writer.close()


def test_a_family_that_every_release_had_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "db"
    make_with(path, [family for family in FAMILIES if family != POINTS])
    with pytest.raises(Corruption, match="points"):
        Engine.open(path, read_only=True)


def test_a_reader_that_cannot_keep_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "db"
    Engine.open(path).close()
    states = itertools.count()
    update = Mirror._update
    monkeypatch.setattr(Mirror, "_update", lambda mirror: (update(mirror)[0], next(states)))
    monkeypatch.setattr("vsearch.storage.mirror._PATIENCE_S", 0.1)
    with pytest.raises(Locked, match="too fast") as caught:
        Engine.open(path, read_only=True)
    assert caught.value.retryable


def write_busily(path: Path, commits: int) -> None:
    """Flushes, compacts and starts anew all the time: buffers are tiny here."""
    family_options = tuning.family_options

    def tiny(family: str, cache: Any) -> Any:
        options = family_options(family, cache)
        options.set_write_buffer_size(64 << 10)
        options.set_level_zero_file_num_compaction_trigger(2)
        return options

    tuning.family_options = tiny
    engine = Engine.open(path, "os")
    for i in range(1, commits + 1):
        batch = engine.batch()
        for family in FAMILIES:
            batch.put(family, b"last", b"%d" % i)
            batch.put(family, b"row %d" % (i % WINDOW), b"%d " % i + bytes(400))
        engine.commit(batch)
        if i % 700 == 0:
            engine.close()
            engine = Engine.open(path, "os")
    engine.close()


WINDOW = 200


def test_a_reader_beside_a_busy_writer_sees_whole_batches_and_all_before_them(tmp_path: Path) -> None:
    path = tmp_path / "db"
    Engine.open(path).close()
    writer = multiprocessing.get_context("spawn").Process(target=write_busily, args=(path, 4000))
    writer.start()
    reader, last = None, 0
    while last < 4000:
        alive = writer.is_alive()
        try:
            reader = reader or Engine.open(path, read_only=True)
            reader.refresh()
        except Locked:  # too busy: so says the message
            continue
        states = [content(reader, family) for family in FAMILIES]
        (seen,) = {int(state.pop(b"last", b"0")) for state in states}
        assert seen >= last
        assert alive or seen == 4000
        for state in states:
            assert {key: int(value.split()[0]) for key, value in state.items()} == {
                b"row %d" % (i % WINDOW): i for i in range(max(1, seen - WINDOW + 1), seen + 1)
            }
        last = seen
        if last % 3 == 0:
            reader.close()
            reader = None
    writer.join()
    assert writer.exitcode == 0
    if reader is not None:
        reader.close()


def drop_rights_and_read(path: Path) -> None:
    import encodings.idna  # noqa: F401  what is imported later could be out of reach
    import random  # noqa: F401

    os.setuid(65534)
    with pytest.raises(PermissionError):
        (path / "x").touch()
    reader = Engine.open(path, read_only=True)
    assert reader.get(POINTS, b"a") == b"1"
    reader.close()
    with pytest.raises(DurabilityError, match="Permission denied"):
        Engine.open(path)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user; others are denied by the mode alone")
def test_a_reader_needs_no_permission_to_write() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        path = Path(folder) / "db"
        writer = Engine.open(path)
        put(writer, (b"a", b"1"))
        writer.close()
        Path(folder).chmod(0o755)
        in_fresh_process(drop_rights_and_read, path)
