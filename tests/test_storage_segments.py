"""Segments appear whole or not at all, are swept when nobody names them; nothing outside their folder is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from storage_crash import in_fresh_process, kill_everywhere

from vsearch.errors import AlreadyExists, Corruption, DurabilityError, InvalidArgument, ReadOnly
from vsearch.storage import failpoints
from vsearch.storage.manifest import FileEntry, SegmentEntry
from vsearch.storage.segments import COLUMNS_FILE, SegmentStore
from vsearch.types import Column

VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)
YEARS = Column("year", "int", np.array([0, 1, 2, 3]), np.array([1999, 2024, 2025]))


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


@pytest.fixture
def store(tmp_path: Path) -> SegmentStore:
    return SegmentStore(tmp_path)


def make(store: SegmentStore, number: int = 1, name: str = "s1") -> SegmentEntry:
    """A segment of two files."""
    with store.begin(number, name) as draft:
        with draft.arrays("dense.vectors", "vectors", {"dim": 4}) as writer:
            writer.add("vectors", VECTORS)
        draft.columns([YEARS], 3)
        return SegmentEntry(name, 1, 3, 3, draft.publish())


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def test_a_published_segment_is_read_back(store: SegmentStore, tmp_path: Path) -> None:
    entry = make(store)
    assert files_of(tmp_path) == ["segments/1/s1/dense.vectors", f"segments/1/s1/{COLUMNS_FILE}"]
    for name, file in entry.files.items():
        assert file.nbytes == (tmp_path / "segments/1/s1" / name).stat().st_size
    file = store.open_arrays(1, "s1", "dense.vectors", "vectors", verify=True)
    assert (file.meta, file.checksum) == ({"dim": 4}, entry.files["dense.vectors"].checksum)
    np.testing.assert_array_equal(file.arrays["vectors"], VECTORS)
    for checksum in (None, entry.files[COLUMNS_FILE].checksum):
        (years,) = store.open_columns(1, "s1", checksum)
        assert years.values.tolist() == [1999, 2024, 2025]
    assert store.check(1, entry) == []
    assert store.disk_bytes(1) == sum(file.nbytes for file in entry.files.values())
    assert store.disk_bytes(2) == 0


def test_an_added_file_is_read_back_and_may_be_replaced_under_its_readers(store: SegmentStore, tmp_path: Path) -> None:
    entry = make(store)
    first = store.add_file(1, "s1", "dense.hnsw", "hnsw", {"m": 16}, {"links": np.arange(5), "levels": np.zeros(0)})
    old = store.open_arrays(1, "s1", "dense.hnsw", "hnsw").arrays["links"]
    second = store.add_file(1, "s1", "dense.hnsw", "hnsw", {"m": 8}, {"links": np.arange(9)})
    assert old.tolist() == list(range(5))
    file = store.open_arrays(1, "s1", "dense.hnsw", "hnsw")
    assert (file.meta, file.arrays["links"].tolist()) == ({"m": 8}, list(range(9)))
    assert second == FileEntry(file.checksum, file.nbytes) != first
    assert store.check(1, replace(entry, files={**entry.files, "dense.hnsw": second})) == []
    assert not [name for name in files_of(tmp_path) if ".tmp-" in name]


def test_an_unpublished_draft_leaves_nothing(store: SegmentStore, tmp_path: Path) -> None:
    with store.begin(1, "s1") as draft:
        draft.columns([YEARS], 3)
    with pytest.raises(ZeroDivisionError), store.begin(1, "s1") as draft, draft.arrays("a", "k", {}) as writer:
        writer.add("x", np.zeros(1 // 0))
    draft = store.begin(1, "s1")
    draft.columns([], 0)
    draft.abandon()
    draft.abandon()
    assert files_of(tmp_path) == []
    assert list((tmp_path / "segments" / "1").iterdir()) == []
    make(store)


def test_a_taken_name_is_refused_and_the_segment_that_has_it_stays(store: SegmentStore) -> None:
    entry = make(store)
    with pytest.raises(AlreadyExists, match="s1"):
        make(store)
    assert store.check(1, entry) == []
    make(store, 2)
    make(store, 1, "s2")


def test_a_draft_with_an_unfinished_file_or_published_twice_is_a_bug(store: SegmentStore) -> None:
    with store.begin(1, "s1") as draft:
        with draft.arrays("x", "k", {}), pytest.raises(AssertionError, match="bug: x is not finished"):
            draft.publish()
        draft.publish()
        with pytest.raises(AssertionError, match="bug: "):
            draft.publish()


BAD_NAMES = ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\0b", ".tmp-x", "-x", "a b", "é", "x" * 129, "a\n", "a\\b"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_lead_elsewhere_is_refused(store: SegmentStore, name: str, tmp_path: Path) -> None:
    entry = make(store)
    calls: list[Any] = [
        lambda: store.begin(1, name),
        lambda: store.add_file(1, name, "a", "k", {}, {}),
        lambda: store.add_file(1, "s1", name, "k", {}, {}),
        lambda: store.open_arrays(1, name, "a", "k"),
        lambda: store.open_arrays(1, "s1", name, "k"),
        lambda: store.open_columns(1, name),
        lambda: store.remove(1, name),
        lambda: store.check(1, replace(entry, name=name)),
        lambda: store.check(1, replace(entry, files={name: FileEntry("", 0)})),
    ]
    before = files_of(tmp_path)
    for call in calls:
        with pytest.raises(InvalidArgument, match="cannot name"):
            call()
    with store.begin(1, "s2") as draft, pytest.raises(InvalidArgument, match="cannot name"):
        draft.arrays(name, "k", {})
    assert files_of(tmp_path) == before


def test_segments_and_collections_are_removed(store: SegmentStore, tmp_path: Path) -> None:
    make(store, 1, "s1")
    make(store, 1, "s2")
    make(store, 12, "s1")
    mapped = store.open_arrays(1, "s1", "dense.vectors", "vectors").arrays["vectors"]
    store.remove(1, "s1")
    store.remove(1, "s1")
    assert mapped.tolist() == VECTORS.tolist()
    assert sorted(os.listdir(tmp_path / "segments" / "1")) == ["s2"]
    store.remove_collection(1)
    store.remove_collection(1)
    assert os.listdir(tmp_path / "segments") == ["12"]


def test_a_read_only_store_reads_and_refuses_the_rest(store: SegmentStore, tmp_path: Path) -> None:
    entry = make(store)
    reader = SegmentStore(tmp_path, read_only=True)
    assert reader.check(1, entry) == []
    assert len(reader.open_columns(1, "s1")) == 1
    calls: list[Any] = [
        lambda: reader.begin(1, "s2"),
        lambda: reader.add_file(1, "s1", "a", "k", {}, {}),
        lambda: reader.remove(1, "s1"),
        lambda: reader.remove_collection(1),
        lambda: reader.sweep({}),
    ]
    for call in calls:
        with pytest.raises(ReadOnly):
            call()
    assert reader.check(1, entry) == []


# Sweeping.


def test_what_no_manifest_names_is_swept_and_nothing_else(store: SegmentStore, tmp_path: Path) -> None:
    live = {1: {"s1": set(make(store).files)}, 2: {"s1": set(make(store, 2).files)}}
    assert store.sweep(live) == []
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "x").touch()
    root = tmp_path / "segments"
    make(store, 1, "s2")
    make(store, 3)
    store.add_file(1, "s1", "dense.hnsw", "hnsw", {}, {})
    store.begin(2, "s9")
    (root / "1" / "s1" / ".tmp-x").touch()
    (root / "1" / "file").touch()
    (root / "2" / "s1" / "folder").mkdir()
    (root / "link").symlink_to(outside)
    (root / "1" / "link").symlink_to(outside)
    (root / "1" / "s1" / "link").symlink_to(outside / "x")
    for odd in ("01", "-1", "1 ", "x", "²", "99999999999"):
        (root / odd).mkdir()
    before = files_of(tmp_path)
    removed = store.sweep(live)
    assert sorted(removed) == sorted(
        [*("01", "-1", "1 ", "x", "²", "99999999999", "3", "link"), *("1/s2", "1/file", "1/link", "2/.tmp-s9")]
        + [*("1/s1/dense.hnsw", "1/s1/.tmp-x", "1/s1/link", "2/s1/folder")]
    )
    kept = [f"segments/{n}/s1/{name}" for n in (1, 2) for name in live[n]["s1"] if name]
    assert files_of(tmp_path) == sorted([*kept, "precious/x"])
    assert set(kept) <= set(before)
    assert store.sweep(live) == []


def test_a_linked_segment_folder_is_swept_without_following_it(store: SegmentStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").touch()
    (tmp_path / "segments" / "1").mkdir(parents=True)
    (tmp_path / "segments" / "1" / "s1").symlink_to(outside)  # of a name that is live
    (tmp_path / "segments" / "2").symlink_to(outside)
    assert store.sweep({1: {"s1": []}, 2: {}}) == ["1/s1", "2"]
    assert files_of(outside) == ["x"]


def test_sweeping_where_nothing_was_ever_written_is_fine(store: SegmentStore, tmp_path: Path) -> None:
    assert store.sweep({1: {"s1": []}}) == []
    assert list(tmp_path.iterdir()) == []


# Damage.


def test_check_names_each_damaged_file(store: SegmentStore, tmp_path: Path) -> None:
    entry = make(store)
    folder = tmp_path / "segments" / "1" / "s1"
    for name in entry.files:
        good = (folder / name).read_bytes()
        for bad in (good[:-1], b"", good[: len(good) // 2] + b"~" + good[len(good) // 2 + 1 :], good + b"\0"):
            (folder / name).write_bytes(bad)
            (problem,) = store.check(1, entry)
            assert str(folder / name) in problem
        (folder / name).unlink()
        (problem,) = store.check(1, entry)
        assert f"{folder / name} is missing" in problem
        with pytest.raises(Corruption, match=str(folder / name)):
            store.open_columns(1, "s1") if name == COLUMNS_FILE else store.open_arrays(1, "s1", name, "vectors")
        (folder / name).write_bytes(good)
    for name, value in ((COLUMNS_FILE, np.int64(2024)), ("dense.vectors", np.float32(7))):
        good = (folder / name).read_bytes()
        (folder / name).write_bytes(good.replace(value.tobytes(), (value + 1).tobytes()))
        (problem,) = store.check(1, entry)
        assert f"{folder / name} is damaged" in problem
        (folder / name).write_bytes(good)
    assert store.check(1, entry) == []
    (folder / COLUMNS_FILE).unlink()
    (folder / "dense.vectors").unlink()
    assert len(store.check(1, entry)) == 2


def test_check_finds_a_sound_file_that_is_not_the_one_in_the_manifest(store: SegmentStore) -> None:
    entry = make(store)
    other = store.add_file(1, "s1", "dense.vectors", "vectors", {"dim": 4}, {"vectors": VECTORS + 1})
    (problem,) = store.check(1, entry)
    assert other.checksum in problem
    wrong = {**entry.files, "dense.vectors": replace(other, nbytes=other.nbytes + 1)}
    assert len(store.check(1, replace(entry, files=wrong))) == 1


# Failures.


@pytest.mark.parametrize("name", failpoints.names())
@pytest.mark.parametrize("action", ["error", "enospc"])
def test_a_refused_publish_is_told_and_can_be_repeated(
    store: SegmentStore, tmp_path: Path, name: str, action: str
) -> None:
    live = {1: {"s0": set(make(store, 1, "s0").files)}}
    for visit in range(1, 30):
        failpoints.arm(f"{name}={action}:{visit}")
        try:
            make(store)
        except (DurabilityError, OSError) as error:
            failpoints.arm("")
            assert isinstance(error, DurabilityError) or name.startswith("segment.")  # noqa: PT017
            left = set(store.sweep(live))
            assert left <= {"1/s1", "1/.tmp-s1"}
            assert "1/.tmp-s1" not in left or name.startswith(("remove", "directory", "rename"))
        else:
            break
    failpoints.arm("")
    store.sweep(live)
    assert store.check(1, make(store)) == []


@pytest.mark.parametrize("point", ["file.write", "file.sync.before", "rename.before"])
def test_a_refused_index_file_leaves_the_segment_as_it_was(store: SegmentStore, tmp_path: Path, point: str) -> None:
    entry = make(store)
    before = files_of(tmp_path)
    failpoints.arm(f"{point}=enospc")
    with pytest.raises(DurabilityError, match="No space"):
        store.add_file(1, "s1", "dense.hnsw", "hnsw", {}, {"links": np.arange(10)})
    failpoints.arm("")
    assert set(files_of(tmp_path)) - set(before) <= {"segments/1/s1/.tmp-dense.hnsw"}
    store.add_file(1, "s1", "dense.hnsw", "hnsw", {}, {"links": np.arange(10)})
    assert store.check(1, entry) == []


# Kills. A case is a folder with one live segment; the action adds a second one and an index to the first.


def publish(root: Path) -> None:
    make(SegmentStore(root), 2, "s1")


def add_index(root: Path) -> None:
    SegmentStore(root).add_file(1, "s1", "dense.hnsw", "hnsw", {}, {"links": np.arange(5000)})


def remove(root: Path) -> None:
    SegmentStore(root).remove(1, "s1")


def check_after_kill(root: Path, point: str) -> None:
    """Whatever was there is whole; unless a manifest names it, it is swept; and it can be done again."""
    store = SegmentStore(root)
    entry = SegmentEntry("s1", 1, 3, 3, EXPECTED)
    assert store.check(1, entry) == [], point
    if (root / "segments/2/s1").exists():  # it has its name, so it is complete
        assert store.check(2, entry) == [], point
    if (root / "segments/1/s1/dense.hnsw").exists():
        links = store.open_arrays(1, "s1", "dense.hnsw", "hnsw", verify=True).arrays["links"]
        assert links.tolist() == list(range(5000)), point
    store.sweep({1: {"s1": EXPECTED}})
    assert files_of(root) == [f"segments/1/s1/{name}" for name in sorted(EXPECTED)], point
    publish(root)
    assert store.check(2, entry) == [], point


def check_after_removal(root: Path, point: str) -> None:
    store = SegmentStore(root)
    store.sweep({})
    assert files_of(root) == [], point
    make(store)


EXPECTED: dict[str, FileEntry] = {}


def kill_all(folder: Path) -> None:
    publish(folder / "warm")  # loads the modules once, before any fork
    shutil.rmtree(folder / "warm")
    EXPECTED.update(make(SegmentStore(folder / "case")).files)
    assert kill_everywhere(folder / "case", publish, check_after_kill) > 30
    assert kill_everywhere(folder / "case", add_index, check_after_kill) > 8
    assert kill_everywhere(folder / "case", remove, check_after_removal) == 4


def test_a_kill_at_any_point_leaves_whole_segments_and_what_can_be_swept(tmp_path: Path) -> None:
    in_fresh_process(kill_all, tmp_path)
