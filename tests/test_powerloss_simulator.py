"""The power-loss simulator: what it lets survive, what it drops, and that it tells a right protocol from a wrong one.

Programs run under the recorder in a process of their own; what they leave is checked on the images of many cuts.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from rocksdict import Options, Rdict

from tests.powerloss import Kind, Unsupported, ack, cuts, read_journal, record, replay, sync_counts, tree, unavailable
from vsearch.storage.rocks import IDS, POINTS, Engine

PREAMBLE = "import os, sys, powerloss\nos.chdir(sys.argv[1])\n"


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """A function that records a program, which runs in the recorded folder, and returns the journal."""
    if reason := unavailable():
        pytest.skip(reason)

    def run(program: str, *arguments: str) -> Path:
        root, journal = tmp_path / "root", tmp_path / "journal"
        record(["-c", PREAMBLE + dedent(program), str(root), *arguments], root, journal)
        return journal

    return run


# What is recorded.


def test_every_way_to_change_a_file_is_recorded(run, tmp_path):
    # record() itself compares the journal with the folder; the kinds show that no call was recorded as another.
    journal = run("""
        import mmap, shutil, threading
        import numpy as np
        os.mkdir("a"); os.makedirs("a/b/c"); os.rmdir("a/b/c")
        fd = os.open("plain", os.O_RDWR | os.O_CREAT, 0o644)
        os.write(fd, b"hello"); os.pwrite(fd, b"J", 0); os.writev(fd, [b" wor", b"", b"ld"])
        os.pwritev(fd, [b"x", b"y"], 20)
        other = os.dup(fd); os.write(other, b"!"); os.lseek(fd, 2, os.SEEK_SET); os.write(other, b"LL")
        os.posix_fallocate(fd, 0, 4096); os.ftruncate(fd, 3000); os.fsync(fd); os.fdatasync(fd)
        os.close(other); os.close(fd); os.truncate("plain", 2500)
        with open("appended", "ab") as file: file.write(b"1"); file.flush(); os.pwrite(file.fileno(), b"2", 0)
        with open("appended", "ab") as file: file.write(b"3")
        shutil.copyfile("plain", "shortened"); fd = os.open("shortened", os.O_WRONLY)
        os.ftruncate(fd, 10); os.close(fd)
        with open("plain", "r+b") as file: file.seek(100); file.write(b"z" * 70000)
        with open("again", "wb") as file: file.write(b"old content")
        with open("again", "w") as file: file.write("new")
        shutil.copyfile("plain", "copied")  # sendfile or copy_file_range
        source, target = os.open("plain", os.O_RDONLY), os.open("ranged", os.O_WRONLY | os.O_CREAT)
        os.copy_file_range(source, target, 1000, 50, 7); os.copy_file_range(source, target, 9)
        os.sendfile(target, source, 0, 99)
        np.arange(5000).tofile("stream"); np.save("array.npy", np.ones((3, 5)))  # stdio
        with open("mixed", "wb") as file:
            file.write(b"head"); file.flush(); np.arange(9).tofile(file); file.write(b"tail")
        os.link("plain", "a/link"); os.rename("plain", "a/link")  # does nothing: two names of one file
        os.rename("again", "a/b/moved"); os.replace("copied", "ranged"); os.unlink("a/link")
        folder = os.open("a", os.O_RDONLY)
        os.mkdir("d", dir_fd=folder); os.rename("d", "e", src_dir_fd=folder, dst_dir_fd=folder); os.rename("a", "z")
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=folder)); os.unlink("f", dir_fd=folder)
        for _ in range(3):  # an inode number that is used again is another file
            open("reused", "w").write("some text"); os.remove("reused")
        open("reused", "w").close()
        mmap.mmap(os.open("ranged", os.O_RDONLY), 0, prot=mmap.PROT_READ)  # a mapping only for reading
        def work(name):
            with open(name, "ab") as file:
                for i in range(50): file.write(b"%d" % i); file.flush(); os.fsync(file.fileno())
        threads = [threading.Thread(target=work, args=(name,)) for name in ("t1", "t2", "shared", "shared")]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        if (child := os.fork()) == 0: work("shared"); os._exit(0)
        work("shared"); os.waitpid(child, 0)
        shutil.copytree("z", "y"); shutil.rmtree("y")
        os.chdir("z"); open("../z/relative", "w").write("x")
        """)
    kinds = Counter(record.kind for record in read_journal(journal))
    assert kinds[Kind.SYNC] == 1 + 2 + 6 * 50
    assert kinds[Kind.LINK] == 1
    assert kinds[Kind.RENAME] == 4
    assert tree(tmp_path / "root")["shared"] is not None
    moved = next(r for r in read_journal(journal) if r.kind is Kind.RENAME)
    assert (moved.path, moved.to_path) == ("again", "a/b/moved")


def test_the_journal_has_the_order_of_events_across_threads_and_processes(run):
    # All share one position in one file: a write that is recorded late gets a wrong offset, which record() finds.
    run("""
        import threading
        fd = os.open("f", os.O_WRONLY | os.O_CREAT)
        def work(mark):
            for i in range(600): os.write(fd, mark)
        marks = (b"a" * 1000, b"b" * 2000, b"c" * 3000, b"d" * 4000)
        threads = [threading.Thread(target=work, args=(mark,)) for mark in marks]
        for thread in threads: thread.start()
        children = []
        for mark in (b"e", b"ff", b"ggg"):  # forked while threads are inside recorded calls
            if (child := os.fork()) == 0: work(mark); os._exit(0)
            children.append(child)
        for thread in threads: thread.join()
        for child in children: os.waitpid(child, 0)
        """)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import mmap; open('f', 'wb').write(b'x'); mmap.mmap(os.open('f', os.O_RDWR), 1)", "writable shared mapping"),
        ("os.symlink('f', 'g')", "symbolic link"),
        ("os.open('f', os.O_WRONLY | os.O_CREAT | os.O_SYNC)", "O_SYNC"),
        ("open('f', 'w').close(); os.rename('f', '../f')", "out of the folder"),
        (
            "r, w = os.pipe(); os.write(w, b'x'); os.splice(r, os.open('f', os.O_WRONLY | os.O_CREAT), 1)",
            "not recorded",
        ),
    ],
)
def test_what_cannot_be_simulated_is_refused(run, program, reason):
    with pytest.raises(Unsupported, match=reason):
        run(program)


def test_what_lay_in_the_folder_is_durable_and_a_second_run_goes_on(run, tmp_path):
    old = tmp_path / "root" / "folder" / "old"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"from before")
    old.with_name("link").hardlink_to(old)
    run("open('folder/new', 'w').write('text')")
    journal = run("os.rename('folder/new', 'folder/newer')")
    images = {cut: tree(image) for cut, image, _ in cuts(journal)}
    assert images
    assert all(image["folder/old"] == b"from before" for image in images.values())
    assert {name for image in images.values() for name in image if "new" in name} == {"folder/new", "folder/newer"}
    assert [r.path for r in read_journal(journal) if r.kind is Kind.LINK] != []


def test_syncs_are_counted_for_each_acknowledgement(run):
    journal = run("""
        fd = os.open("f", os.O_WRONLY | os.O_CREAT)
        for i in range(3):
            for _ in range(i): os.fsync(fd); os.fdatasync(fd)
            powerloss.ack(str(i))
        os.fsync(fd)
        """)
    assert sync_counts(journal) == [0, 2, 4, 1]
    assert [r.message for r in read_journal(journal) if r.kind is Kind.ACK] == ["0", "1", "2"]


def test_an_acknowledgement_outside_a_recording_is_an_error():
    with pytest.raises(RuntimeError, match="nothing is recorded"):
        ack("x")


# Protocols: a value is replaced again and again, and each is acknowledged.

RIGHT = ("write", "sync", "rename", "sync folder", "ack")
SAVE = """
    def write(i):
        with open("tmp", "wb") as file:
            for _ in range(3): file.write(b"%d " % i * 300); file.flush()
    def sync(i): fd = os.open("value" if "value" in synced else "tmp", os.O_RDONLY); os.fsync(fd); os.close(fd)
    def rename(i): os.replace("tmp", "value")
    def sync_folder(i): fd = os.open(".", os.O_RDONLY); os.fsync(fd); os.close(fd)
    def ack(i): powerloss.ack(str(i))
    steps = sys.argv[2].split(",")
    synced = "value" if "sync" in steps and steps.index("sync") > steps.index("rename") else "tmp"
    for i in range(1, 5):
        for step in steps: globals()[step.replace(" ", "_")](i)
    """


def broken(image: Path, acked: list[str]) -> str | None:
    """What is wrong with the value: it is lost, or neither the old one nor the new."""
    if not (image / "value").exists():
        return "lost" if acked else None
    words = (image / "value").read_bytes().split()
    if len(words) != 900 or len(set(words)) != 1:
        return "torn"
    return "lost" if int(words[0]) < int(acked[-1] if acked else 0) else None


def test_a_right_protocol_survives_every_cut(run):
    journal = run(SAVE, ",".join(RIGHT))
    seen = set()
    for cut, image, acked in cuts(journal, count=1000):
        assert broken(image, acked) is None, cut
        seen.add((cut.mode, len(acked)))
    assert seen == {(mode, n) for mode in ("least", "random", "most") for n in range(5)}


@pytest.mark.parametrize(
    ("steps", "modes", "damage"),
    [
        (("write", "rename", "sync folder", "ack"), ("least", "random"), {"torn"}),
        (("write", "sync", "rename", "ack"), ("least", "random"), {"lost"}),
        (("write", "rename", "sync", "sync folder", "ack"), ("random",), {"torn"}),
        (("write", "rename", "sync folder", "sync", "ack"), ("least", "random"), {"torn"}),
        (("ack", "write", "sync", "rename", "sync folder"), ("least", "random", "most"), {"lost"}),
        (("write", "ack", "sync", "rename", "sync folder"), ("least", "random", "most"), {"lost"}),
    ],
    ids=",".join,
)
def test_a_wrong_protocol_is_caught(run, steps, modes, damage):
    journal = run(SAVE, ",".join(steps))
    found = {(cut.mode, broken(image, acked)) for cut, image, acked in cuts(journal, count=1000)}
    assert {mode for mode, what in found if what} == set(modes)
    assert {what for _, what in found if what} == damage


def test_an_entry_survives_with_its_files_sync_only_when_asked(run):
    journal = run("""
        for name in ("one", "two"):
            with open(name, "w") as file: file.write(name); file.flush(); os.fsync(file.fileno())
            powerloss.ack(name)
        """)
    for weaker in (False, True):
        lost = [acked for _, image, acked in cuts(journal, entry_with_fsync=weaker) if set(acked) - set(tree(image))]
        assert bool(lost) is not weaker


# Many cuts.


def test_cuts_repeat_with_their_seed_and_keep_to_their_count(run):
    journal = run("""
        for i in range(60):
            with open(str(i % 7), "wb") as file: file.write(b"%d" % i * 2000)
        """)
    first, again, other = ([(c, tree(i)) for c, i, _ in cuts(journal, 20, seed)] for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 60
    assert first[-1][0].position == len(list(read_journal(journal)))
    cut, image = next((c, t) for c, t in first if c.mode == "random" and t)
    replay(journal, cut.position, journal.with_name("image"), cut.mode, cut.seed)
    assert tree(journal.with_name("image")) == image


# RocksDB, alone and behind the engine.

ROCKSDB = """
    from rocksdict import Options, Rdict, WriteOptions
    write = WriteOptions(); write.sync = sys.argv[2] == "sync"
    for start in range(0, 240, 80):  # opened three times
        options = Options(raw_mode=True); options.create_if_missing(True)
        options.set_level_zero_file_num_compaction_trigger(2)
        db = Rdict(".", options)
        for i in range(start, start + 80):
            db.put(b"%d" % i, b"%d " % i * 50, write_opt=write)
            powerloss.ack(str(i))
            if i % 30 == 29: db.flush()
        db.close()
    """


def lost_keys(image: Path, acked: list[str]) -> list[str]:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    db = Rdict(str(image), options)
    try:
        return [key for key in acked if db.get(key.encode()) != f"{key} ".encode() * 50]
    finally:
        db.close()


def test_rocksdb_keeps_synced_writes_at_every_cut(run, seed):
    journal = run(ROCKSDB, "sync")
    records = list(read_journal(journal))
    suffixes = {Path(r.path).suffix for r in records if r.kind is Kind.WRITE}
    assert {".log", ".sst", ".dbtmp"} <= suffixes, "its logs, tables and pointer files are seen"
    assert any(r.kind is Kind.RENAME and r.to_path == "CURRENT" for r in records)
    assert any(r.kind is Kind.WRITE and r.path.startswith("MANIFEST") for r in records)
    assert any(r.kind is Kind.SYNC and not r.path for r in records), "it syncs its folder"
    assert min(sync_counts(journal)[:-1]) >= 1
    for cut, image, acked in cuts(journal, count=40, seed=seed):
        assert lost_keys(image, acked) == [], cut


def test_rocksdb_loses_unsynced_writes_at_some_cut(run):
    journal = run(ROCKSDB, "no sync")
    assert min(sync_counts(journal)) == 0
    losses = Counter(cut.mode for cut, image, acked in cuts(journal, count=30) if lost_keys(image, acked))
    assert losses["least"]
    assert losses["random"]
    assert not losses["most"]


ENGINE = """
    from pathlib import Path
    from vsearch.storage.rocks import IDS, POINTS, Engine
    start, end = map(int, sys.argv[3:])
    for start in range(start, end + 1, 30):  # opened again for every 30 commits
        engine = Engine.open(Path("new/db"), durability=sys.argv[2])
        for i in range(start, min(start + 30, end)):
            batch = engine.batch()
            batch.put(IDS, b"%d" % i, b"%d" % i)
            batch.put(POINTS, b"%d" % i, b"%d " % i * 500)
            engine.commit(batch)
            powerloss.ack(str(i))
        engine.close()
    """


def check_engine(image: Path, acked: list[str], cut: object) -> None:
    """Opens the image's database: every acknowledged commit is there, at most one that was not, and each is whole."""
    engine = Engine.open(image / "new" / "db")
    ids = dict(engine.scan(IDS, b"", b"\xff"))
    points = dict(engine.scan(POINTS, b"", b"\xff"))
    engine.close()
    assert points == {key: b"%s " % key * 500 for key in ids}, cut
    assert set(map(int, ids)) == set(range(len(ids))), cut
    assert len(acked) <= len(ids) <= len(acked) + 1, cut


def test_the_engine_keeps_every_commit_whole_at_every_cut(run, seed):
    journal = run(ENGINE, "sync", "0", "150")
    assert min(sync_counts(journal)[:-1]) >= 1
    for cut, image, acked in cuts(journal, count=60, seed=seed):
        check_engine(image, acked, cut)


def test_the_engine_survives_a_second_cut_while_it_recovers_from_the_first(run, tmp_path, seed):
    journal = run(ENGINE, "sync", "0", "90")
    for cut, image, acked in cuts(journal, count=3, seed=seed, modes=("random",)):
        root, again = tmp_path / "root", tmp_path / f"journal of {cut.position}"
        shutil.rmtree(root)
        shutil.copytree(image, root)
        record(["-c", PREAMBLE + dedent(ENGINE), str(root), "sync", "0", "0"], root, again)  # opens and closes
        for second, image_again, none in cuts(again, count=8, seed=seed):
            assert none == []
            check_engine(image_again, acked, (cut, second))


def test_the_engine_without_sync_loses_commits(run):
    journal = run(ENGINE, "os", "0", "30")
    for _cut, image, acked in cuts(journal, count=10, modes=("least",)):
        engine = Engine.open(image / "new" / "db")
        kept = len(dict(engine.scan(IDS, b"", b"\xff")))
        engine.close()
        if kept < len(acked):
            return
    pytest.fail("nothing was lost: the simulation keeps what was never synced")
