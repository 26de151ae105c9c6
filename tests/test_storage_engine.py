"""The engine: atomic, ordered, closable at any moment, and honest about failures."""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_crash import forked, in_fresh_process, kill_everywhere

from vsearch.errors import (
    Closed,
    Corruption,
    DurabilityError,
    InvalidArgument,
    Locked,
    NotFound,
    ReadOnly,
    UnsupportedFormat,
    VSearchError,
)
from vsearch.storage import failpoints, logs
from vsearch.storage.cursor import Cursor
from vsearch.storage.rocks import FAMILIES, IDS, POINTS, TOMBSTONES, UNSEALED, Engine

LAST = b"\xff" * 8


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine.open(tmp_path / "db")
    yield engine
    engine.close()


def put(engine: Engine, *pairs: tuple[bytes, bytes], family: str = POINTS, sync: bool | None = None) -> None:
    batch = engine.batch()
    for key, value in pairs:
        batch.put(family, key, value)
    engine.commit(batch, sync)


def content(engine: Engine, family: str = POINTS) -> dict[bytes, bytes]:
    return dict(engine.scan(family, b"", LAST))


# Against a dictionary.

key = st.binary(max_size=3)
change = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(FAMILIES), key, st.binary(max_size=5)),
    st.tuples(st.just("delete"), st.sampled_from(FAMILIES), key),
    st.tuples(st.just("delete_range"), st.sampled_from(FAMILIES), key, key),
)
step = st.lists(change, max_size=8) | st.sampled_from(["reopen", "scan", "refresh"])


@settings(max_examples=20)
@given(st.lists(step, max_size=10), st.lists(key, min_size=1, max_size=40), key, key)
def test_it_holds_what_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], keys: list[bytes], start: bytes, end: bytes
) -> None:
    path = tmp_path_factory.mktemp("model")
    model: dict[str, dict[bytes, bytes]] = {family: {} for family in FAMILIES}
    engine, reader = Engine.open(path, "os"), None
    scans = []
    for action in steps:
        if action == "reopen":
            engine.close()
            engine = Engine.open(path, "os")
        elif action == "scan":
            scans.append((engine.scan(POINTS, start, LAST), sorted(model[POINTS].items())))
            next(scans[-1][0], None)
        elif action == "refresh":
            reader = reader or Engine.open(path, read_only=True)
            reader.refresh()
            assert content(reader) == model[POINTS]
        else:
            commit(engine, model, action)
    for family, expected in model.items():
        rows = sorted(expected.items())
        assert list(engine.scan(family, b"", LAST)) == rows
        within = [row for row in rows if start <= row[0] < end]
        assert list(engine.scan(family, start, end)) == within
        assert engine.last_key(family, start, end) == (within[-1][0] if within else None)
        assert engine.get_many(family, keys) == [expected.get(k) for k in keys]
        assert [engine.get(family, k) for k in keys] == [expected.get(k) for k in keys]
    engine.close()
    if reader is not None:
        reader.close()
    shutil.rmtree(path)


def commit(engine: Engine, model: dict[str, dict[bytes, bytes]], changes: list[Any]) -> None:
    batch = engine.batch()
    for name, family, *arguments in changes:
        getattr(batch, name)(family, *arguments)
        if name == "put":
            model[family][arguments[0]] = arguments[1]
        elif name == "delete":
            model[family].pop(arguments[0], None)
        else:
            for k in [k for k in model[family] if arguments[0] <= k < arguments[1]]:
                del model[family][k]
    assert len(batch) == sum(name != "delete_range" or arguments[0] < arguments[1] for name, _, *arguments in changes)
    engine.commit(batch)


def test_a_scan_keeps_the_state_it_started_with(engine: Engine) -> None:
    rows = [(b"%05d" % i, b"x") for i in range(1000)]
    put(engine, *rows)
    scan = engine.scan(POINTS, b"", LAST)
    batch = engine.batch()
    batch.delete_range(POINTS, b"", LAST)
    batch.put(POINTS, b"00001x", b"new")
    engine.commit(batch)
    assert list(scan) == rows
    assert content(engine) == {b"00001x": b"new"}


def test_large_values_come_back_and_a_scan_fetches_few_of_them_at_a_time(engine: Engine) -> None:
    rows = [(b"%d" % i, bytes([i]) * (1 << 20)) for i in range(5)]
    put(engine, *rows)
    assert list(engine.scan(POINTS, b"", LAST)) == rows
    with engine._calls:
        cursor = Cursor(engine._calls, engine._families[POINTS].iter(), b"", LAST)
        cursor.seek()
    assert len(cursor.fetch()) == 1
    cursor.drop()


def test_a_batch_counts_and_is_committed_once(engine: Engine) -> None:
    batch = engine.batch()
    assert (len(batch), batch.nbytes >= 0) == (0, True)
    batch.put(IDS, b"a", b"1" * 1000)
    batch.delete(IDS, b"b")
    batch.delete_range(IDS, b"c", b"d")
    batch.delete_range(IDS, b"d", b"c")  # empty
    assert len(batch) == 3
    assert 1000 <= batch.nbytes < 1200
    engine.commit(batch)
    with pytest.raises(AssertionError, match="bug: "):
        engine.commit(batch)
    assert engine.failed is None
    engine.commit(engine.batch())
    assert content(engine, IDS) == {b"a": b"1" * 1000}


# Opening.


def test_what_is_not_a_database_is_not_found_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis").touch()
    for name in ("file", "folder"):
        for read_only in (False, True):
            with pytest.raises(NotFound, match=str(tmp_path / name)):
                Engine.open(tmp_path / name, read_only=read_only)
    (tmp_path / "empty").mkdir()
    for name in ("missing", "empty"):
        with pytest.raises(NotFound, match=str(tmp_path / name)):
            Engine.open(tmp_path / name, read_only=True)
    assert sorted(os.listdir(tmp_path)) == ["empty", "file", "folder"]
    assert [os.listdir(tmp_path / name) for name in ("empty", "folder")] == [[], ["thesis"]]


def test_missing_folders_and_our_own_leftovers_are_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    Engine.open(path).close()
    assert (path / "FORMAT").read_text() == "vsearch database, format 1\n"
    other = tmp_path / "c"
    (other / "segments").mkdir(parents=True)
    for name in ("LOCK.vsearch", ".tmp-FORMAT"):
        (other / name).touch()
    Engine.open(other).close()
    third = tmp_path / "d"
    third.mkdir()
    shutil.copy(path / "FORMAT", third)  # killed right after the stamp
    Engine.open(third).close()


def test_an_unknown_durability_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="'fast'"):
        Engine.open(tmp_path / "db", "fast")  # type: ignore[arg-type]


def test_a_newer_format_is_unsupported_and_a_broken_stamp_corruption(tmp_path: Path) -> None:
    path = tmp_path / "db"
    Engine.open(path).close()
    for read_only in (False, True):
        (path / "FORMAT").write_text("vsearch database, format 2\n")
        with pytest.raises(UnsupportedFormat, match=f"{path} has format 2"):
            Engine.open(path, read_only=read_only)
        for text in ("", "vsearch database, format \n", "vsearch database, format x", "\xff" * 1000):
            (path / "FORMAT").write_text(text)
            with pytest.raises(Corruption, match=f"{path / 'FORMAT'} is damaged"):
                Engine.open(path, read_only=read_only)


def test_the_second_writer_is_locked_out_until_the_first_closes(tmp_path: Path) -> None:
    first = Engine.open(tmp_path / "db")
    with pytest.raises(Locked, match=str(tmp_path)):
        Engine.open(tmp_path / "db")
    first.close()
    Engine.open(tmp_path / "db").close()


# Closing.


def test_it_can_be_opened_again_whatever_is_left_of_it(tmp_path: Path) -> None:
    path = tmp_path / "db"
    engine = Engine.open(path)
    put(engine, *((b"%05d" % i, b"x") for i in range(2000)))
    half = engine.scan(POINTS, b"", LAST)
    next(half)
    fresh, ended, dropped = (engine.scan(POINTS, b"", LAST) for _ in range(3))
    for _ in ended:
        pass
    next(dropped)
    dropped.close()  # type: ignore[attr-defined]
    batch = engine.batch()
    batch.put(POINTS, b"a", b"")
    engine.close()
    engine.close()
    again = Engine.open(path)
    assert len(content(again)) == 2000
    for scan in (half, fresh):
        with pytest.raises(Closed):
            next(scan)
    again.close()


CALLS: dict[str, Callable[[Engine], Any]] = {
    "batch": lambda engine: engine.batch(),
    "get": lambda engine: engine.get(POINTS, b""),
    "get_many": lambda engine: engine.get_many(POINTS, [b""] * 20),
    "scan": lambda engine: engine.scan(POINTS, b"", LAST),
    "last_key": lambda engine: engine.last_key(POINTS, b"", LAST),
    "refresh": lambda engine: engine.refresh(),
    "memory_bytes": lambda engine: engine.memory_bytes(),
    "disk_bytes": lambda engine: engine.disk_bytes(),
}


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("name", CALLS)
def test_after_close_every_call_says_so(tmp_path: Path, name: str, read_only: bool) -> None:
    path = tmp_path / "db"
    Engine.open(path).close()
    engine = Engine.open(path, read_only=read_only)
    batch = engine.batch()
    CALLS[name](engine)
    engine.close()
    with pytest.raises(Closed, match=str(path)):
        CALLS[name](engine)
    with pytest.raises(ReadOnly if read_only else Closed):
        engine.commit(batch)
    for change in (lambda: batch.put(IDS, b"", b""), lambda: batch.delete(IDS, b"")):
        with pytest.raises(Closed):
            change()


def test_closing_waits_for_a_call_that_is_under_way(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "db")
    closer = threading.Thread(target=engine.close)
    with engine._calls:
        closer.start()
        closer.join(0.2)
        assert closer.is_alive()
        assert engine._db is not None
    closer.join()
    assert engine._db is None


def test_closing_waits_for_other_threads_and_the_directory_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "db"
    for _ in range(8):
        engine = Engine.open(path, "os")
        put(engine, *((b"%05d" % i, b"x" * 100) for i in range(500)))
        errors: list[BaseException] = []
        started = threading.Barrier(5)

        def work(kind: int, engine: Engine = engine, errors: Any = errors, started: Any = started) -> None:
            started.wait()
            try:
                for i in itertools.count():
                    if kind == 0:
                        assert len(list(engine.scan(POINTS, b"", b"a"))) == 500
                    elif kind == 1:
                        assert engine.get_many(POINTS, [b"%05d" % j for j in range(50)]) == [b"x" * 100] * 50
                    elif kind == 2:
                        assert engine.get(POINTS, b"00001") == b"x" * 100
                    else:
                        put(engine, (b"b%d" % i, b""))
            except Closed:
                pass
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(kind,)) for kind in range(4)]
        for thread in threads:
            thread.start()
        started.wait()
        engine.get(POINTS, b"")
        engine.close()
        Engine.open(path, "os").close()  # at once: nothing of the other threads is still inside
        for thread in threads:
            thread.join()
        assert not errors


# Failures.


@pytest.mark.parametrize("point", ["commit.before", "commit.written", "commit.after"])
@pytest.mark.parametrize("action", ["error", "enospc"])
def test_after_a_failed_commit_reads_go_on_and_writes_stop_until_it_is_opened_again(
    tmp_path: Path, point: str, action: str
) -> None:
    path = tmp_path / "db"
    engine = Engine.open(path)
    put(engine, (b"a", b"1"))
    scan = engine.scan(POINTS, b"", LAST)
    failpoints.arm(f"{point}={action}:1")
    with pytest.raises(DurabilityError, match=str(path)) as caught:
        put(engine, (b"b", b"2"))
    assert "disk" in caught.value.hint
    assert engine.failed is not None
    with pytest.raises(ReadOnly, match=f"takes no writes since one failed: .*{point}"):
        put(engine, (b"c", b"3"))
    with pytest.raises(ReadOnly):
        engine.commit(engine.batch(), sync=False)
    assert engine.get(POINTS, b"a") == b"1"
    assert next(scan) == (b"a", b"1")
    engine.close()
    engine = Engine.open(path)
    assert content(engine) == {b"a": b"1", **({} if point == "commit.before" else {b"b": b"2"})}
    put(engine, (b"c", b"3"))
    assert engine.failed is None
    engine.close()


def test_an_interrupted_commit_stops_the_writes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.open(tmp_path / "db")

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "reach", interrupt)
        with pytest.raises(KeyboardInterrupt):
            put(engine, (b"a", b""))
    with pytest.raises(ReadOnly, match="interrupted"):
        put(engine, (b"a", b""))
    engine.close()


def reopen_and_fill(path: Path) -> None:
    engine = Engine.open(path)
    try:
        put(engine, *((b"b%d" % i, os.urandom(1000)) for i in range(100)))
    finally:
        engine.close()


def fill_the_disk(path: Path) -> None:
    """A real refusal, by a limit on the length of files."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    engine = Engine.open(path)
    put(engine, (b"a", os.urandom(1000)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    with pytest.raises(DurabilityError, match="File too large"):
        put(engine, *((b"b%d" % i, os.urandom(1000)) for i in range(100)))
    with pytest.raises(ReadOnly):
        put(engine, (b"c", b""))
    assert list(content(engine)) == [b"a"]
    engine.close()
    with pytest.raises(VSearchError):
        reopen_and_fill(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    engine = Engine.open(path)
    assert list(content(engine)) == [b"a"]
    put(engine, (b"c", b""))
    engine.close()


def test_a_full_disk_loses_no_earlier_commit_and_no_part_of_a_batch_appears(tmp_path: Path) -> None:
    in_fresh_process(fill_the_disk, tmp_path / "db")


class Spy:
    """Stands in for RocksDB's handle and writes down what is called."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.called: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.called.append(name)
        return getattr(self.db, name)


@pytest.mark.parametrize(
    ("durability", "sync", "expected"),
    [
        ("sync", None, ["write", "flush_wal"]),
        ("sync", True, ["write", "flush_wal"]),
        ("sync", False, ["write"]),
        ("os", None, ["write"]),
        ("os", True, ["write", "flush_wal"]),
    ],
)
def test_a_commit_is_synced_when_it_should_be(tmp_path: Path, durability: Any, sync: Any, expected: list[str]) -> None:
    engine = Engine.open(tmp_path / "db", durability)
    spy: Any = Spy(engine._db)
    engine._db = spy
    put(engine, (b"a", b""), sync=sync)
    assert spy.called == expected
    spy.called.clear()
    engine.commit(engine.batch(), sync)
    assert spy.called == expected[1:]  # an empty batch still syncs what was not synced before
    engine._db = spy.db
    engine.close()


# Damage.


def flushed(path: Path) -> None:
    engine = Engine.open(path, "os")
    put(engine, *((b"%05d" % i, os.urandom(200)) for i in range(2000)))
    engine.close()


def largest(path: Path, pattern: str) -> Path:
    return max(path.glob(pattern), key=lambda file: file.stat().st_size)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_block_is_corruption_and_never_a_shorter_answer(tmp_path: Path, read_only: bool) -> None:
    path = tmp_path / "db"
    flushed(path)
    table = largest(path, "*.sst")
    data = bytearray(table.read_bytes())
    data[len(data) // 2] ^= 255
    table.write_bytes(data)
    keys = [b"%05d" % i for i in range(2000)]
    engine = Engine.open(path, read_only=read_only)
    caught: list[Corruption] = []

    def expect(read: Callable[[], Any]) -> None:
        with pytest.raises(Corruption, match=f"{path} is damaged") as error:
            read()
        caught.append(error.value)

    expect(lambda: list(engine.scan(POINTS, b"", LAST)))
    expect(lambda: engine.get_many(POINTS, keys))
    expect(lambda: [engine.get(POINTS, k) for k in keys])
    expect(lambda: [engine.get_many(POINTS, [k]) for k in keys])
    expect(lambda: [engine.last_key(POINTS, b"", k) for k in keys])
    assert engine.get(POINTS, b"00000") is not None
    engine.close()
    Engine.open(path).close()  # though the errors, and what they refer to, are still held
    assert len(caught) == 5


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "CURRENT").unlink(),
        lambda path: (path / "CURRENT").write_bytes(b""),
        lambda path: (path / "CURRENT").write_bytes(b"MANIFEST-999999\n"),
        lambda path: largest(path, "MANIFEST-*").write_bytes(b""),
        lambda path: largest(path, "MANIFEST-*").write_bytes(os.urandom(500)),
        lambda path: largest(path, "*.sst").unlink(),
        lambda path: largest(path, "*.sst").write_bytes(b""),
        lambda path: largest(path, "*.sst").write_bytes(os.urandom(largest(path, "*.sst").stat().st_size)),
    ],
)
def test_a_damaged_database_is_corruption_that_names_it(
    tmp_path: Path, damage: Callable[[Path], Any], read_only: bool
) -> None:
    path = tmp_path / "db"
    flushed(path)
    damage(path)
    with pytest.raises(Corruption, match=str(path)):
        Engine.open(path, read_only=read_only)
    names = set(os.listdir(path))
    with pytest.raises(Corruption, match=str(path)):
        Engine.open(path, read_only=read_only)
    assert set(os.listdir(path)) == names or not read_only


def test_a_lost_setting_of_the_binding_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "db"
    flushed(path)
    for text in (b"", b'{"raw', b'{"raw_mode":false}'):
        (path / "rocksdict-config.json").write_bytes(text)
        engine = Engine.open(path)
        assert len(content(engine)) == 2000
        engine.close()


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as a crash leaves it: thirty batches of three, only in the log."""
    path = tmp_path_factory.mktemp("crashed")
    engine = Engine.open(path / "db", "os")
    for i in range(30):
        batch = engine.batch()
        for family in (IDS, POINTS, UNSEALED):
            batch.put(family, b"%02d" % i, os.urandom(2000))  # so that the log has several blocks of 32 KiB
        engine.commit(batch)
    shutil.copytree(path / "db", path / "copy")
    engine.close()
    return path / "copy"


@settings(max_examples=25)
@given(st.data())
def test_a_torn_log_ends_at_a_batch_and_never_has_a_hole(
    tmp_path_factory: pytest.TempPathFactory, crashed: Path, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("torn") / "db"
    shutil.copytree(crashed, path)
    log = largest(path, "*.log")
    content_ = bytearray(log.read_bytes())
    cut = data.draw(st.integers(0, len(content_) - 1))
    how = data.draw(st.sampled_from(["truncate", "zero", "garbage", "flip"]))
    if how == "flip":
        content_[cut] ^= 1 << data.draw(st.integers(0, 7))
    else:
        tail = {"truncate": b"", "zero": bytes(len(content_) - cut), "garbage": os.urandom(len(content_) - cut)}
        content_[cut:] = tail[how]
    log.write_bytes(content_)
    try:
        engine = Engine.open(path)
    except Corruption:
        if how == "truncate":
            raise
        return
    families = [content(engine, family) for family in (IDS, POINTS, UNSEALED)]
    engine.close()
    count = len(families[0])
    for family in families:
        assert list(family) == [b"%02d" % i for i in range(count)]
    assert cut > 0 or count == 0
    shutil.rmtree(path)


@pytest.mark.parametrize("kind", sorted(logs.RECYCLED))
@pytest.mark.parametrize("block", [0, 2])
def test_a_record_that_seems_recycled_ends_the_log(tmp_path: Path, crashed: Path, kind: int, block: int) -> None:
    """RocksDB alone would never finish opening these."""
    path = tmp_path / "db"
    shutil.copytree(crashed, path)
    log = largest(path, "*.log")
    data = bytearray(log.read_bytes())
    assert list(logs.find_endless(data)) == []
    at = block * logs.BLOCK
    data[at + logs.TYPE_AT] = kind
    log.write_bytes(data)
    assert list(logs.find_endless(data)) == [at]
    with pytest.raises(Corruption, match=log.name):
        Engine.open(path, read_only=True)
    engine = Engine.open(path)
    families = [content(engine, family) for family in (IDS, POINTS, UNSEALED)]
    engine.close()
    count = len(families[0])
    assert (count == 30) == (block == 0)  # the type put in its place happens to be the first record's own
    for family in families:
        assert list(family) == [b"%02d" % i for i in range(count)]


# Kills.


def commit_three(path: Path) -> None:
    engine = Engine.open(path)
    batch = engine.batch()
    for family in (IDS, POINTS, TOMBSTONES):
        batch.put(family, b"new", b"x" * 100_000)
        batch.delete(family, b"old")
    engine.commit(batch)
    os._exit(0)  # without closing


def check_three(path: Path, committed: bool) -> None:
    engine = Engine.open(path)
    for family in (IDS, POINTS, TOMBSTONES):
        assert list(content(engine, family)) == [b"new" if committed else b"old"]
    engine.close()


def write_old(path: Path) -> None:
    engine = Engine.open(path)
    put(engine, (b"old", b""), family=IDS)
    put(engine, (b"old", b""), family=POINTS)
    put(engine, (b"old", b""), family=TOMBSTONES)
    engine.close()


def kill_commits(folder: Path) -> None:
    for point in ("commit.before", "commit.written", "commit.after", ""):
        path = folder / (point or "none")
        assert forked(lambda path=path: write_old(path))
        assert forked(lambda path=path: commit_three(path), f"{point}=kill" if point else "") == (not point)
        assert forked(lambda path=path, point=point: check_three(path, point != "commit.before"))


def test_a_killed_commit_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    in_fresh_process(kill_commits, tmp_path)


def create(path: Path) -> None:
    Engine.open(path / "db").close()


def kill_creations(folder: Path) -> None:
    folder.mkdir()
    assert kill_everywhere(folder, create, lambda path, point: create(path)) > 8


def test_a_creation_that_was_killed_can_be_repeated(tmp_path: Path) -> None:
    in_fresh_process(kill_creations, tmp_path / "case")


# Figures.


def test_memory_and_disk_are_told(tmp_path: Path) -> None:
    engine = Engine.open(tmp_path / "db", cache_bytes=1 << 20)
    put(engine, *((b"%05d" % i, os.urandom(100)) for i in range(10_000)))
    memory, disk = engine.memory_bytes(), engine.disk_bytes()
    assert memory.keys() == {"block_cache", "memtables", "table_readers"}
    assert memory["memtables"] > 1_000_000
    assert disk > 1_000_000
    engine.close()
    engine = Engine.open(tmp_path / "db", cache_bytes=256 << 10)
    assert len(content(engine)) == 10_000
    assert 0 < engine.memory_bytes()["block_cache"] <= 512 << 10
    engine.close()
