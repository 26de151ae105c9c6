"""Damaged and hostile snapshots: each is refused by name, and nothing of it stays or gets out."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from snapshot_cases import FIELDS, content, fill, folder_in_memory, mixed

import vsearch
from vsearch.snapshots import restore_database
from vsearch.storage import archive, files, keys, manifest
from vsearch.storage.rocks import IDS, UNSEALED, Engine


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with folder_in_memory() as folder:
        yield folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    with vsearch.open(folder / "db") as db:
        docs = db.create_collection("docs", fields=FIELDS)
        fill(docs, range(30))
        docs.optimize()
        fill(docs, range(30, 35))
        db.backup(folder / "b")
    return (folder / "b").read_bytes()


def refused(data: bytes, folder: Path, kind: type[Exception] = vsearch.Corruption, message: str = ".") -> None:
    """It cannot be restored, nothing is left of the attempt, and the error names the file."""
    file = folder / "bad.snapshot"
    file.write_bytes(data)
    before = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    with pytest.raises(kind, match=message) as caught:
        restore_database(file, folder / "new")
    assert str(file) in str(caught.value)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*")) == before


def test_every_flipped_byte_is_found_or_does_no_harm(sound: bytes, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    file, folder = tmp_path / "bad.snapshot", tmp_path / "new"
    found = 0
    for _ in range(60):
        data = bytearray(sound)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        file.write_bytes(data)
        with suppress(vsearch.Corruption):
            restore_database(file, folder)
        if not folder.exists():
            refused(bytes(data), tmp_path)
            found += 1
            continue
        with vsearch.open(folder) as db:  # it was in the padding between two entries
            assert db.check() == []
            assert db.collection("docs").count() == 35
        shutil.rmtree(folder)
    assert found > 20


def test_every_truncation_is_found(sound: bytes, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    ends = {0, 1, 512, 513, len(sound) - 1, len(sound) - 512, len(sound) - 1024, len(sound) - 1536}
    with tarfile.open(fileobj=io.BytesIO(sound)) as tar:
        ends |= {entry.offset for entry in rng.sample(tar.getmembers()[1:], 5)}
    for end in ends | {rng.randrange(len(sound)) for _ in range(20)}:
        refused(sound[:end], tmp_path)
    refused(sound + b"\0", tmp_path)
    refused(sound + sound, tmp_path)


def test_an_open_database_takes_no_damaged_file_either(sound: bytes, db: vsearch.Database, tmp_path: Path) -> None:
    file = tmp_path / "bad.snapshot"
    mixed(db, "docs")
    before = content(db.collection("docs"))
    for data in (sound[:-2000], sound[:520] + b"~" + sound[521:], b"", b"x" * 5000):
        file.write_bytes(data)
        with pytest.raises(vsearch.Corruption, match=str(file)):
            db.restore_collection("docs", file, replace=True)
    assert content(db.collection("docs")) == before
    assert os.listdir(db.path / "segments") == ["1"]
    assert os.listdir(db.path / "snapshots") == []


def entries_of(data: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [(entry, tar.extractfile(entry).read()) for entry in tar.getmembers()]  # type: ignore[union-attr]


def packed(
    entries: list[tuple[tarfile.TarInfo, bytes]], checksums: bool = True, form: int = tarfile.GNU_FORMAT
) -> bytes:
    """A tar of entries, with right checksums."""
    if checksums:
        right = {entry.name: f"{files.digest(data):016x}" for entry, data in entries[:-1]}
        entries = [*entries[:-1], (entries[-1][0], json.dumps(right).encode())]
    out = io.BytesIO()
    for entry, data in entries:
        entry.size = len(data) if 0 <= entry.size < 1 << 40 else entry.size
        out.write(entry.tobuf(form) + data + bytes(-len(data) % 512))
    return out.getvalue() + bytes(1024)


def entry_named(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.size, entry.linkname = kind, size, target
    return entry


def test_a_repacked_snapshot_is_taken(sound: bytes, tmp_path: Path) -> None:
    """So the hostile ones below are refused for what is wrong with them."""
    (tmp_path / "good").write_bytes(packed(entries_of(sound)))
    restore_database(tmp_path / "good", tmp_path / "new")
    with vsearch.open(tmp_path / "new") as db:
        assert db.collection("docs").count() == 35


HOSTILE = [
    entry_named("../escaped"),
    entry_named("/tmp/escaped"),
    entry_named("segments/1/../../../escaped"),
    entry_named("segments/../x/y"),
    entry_named("segments/1/.hidden/y"),
    entry_named("segments/01/s/y"),
    entry_named("segments/1/s"),
    entry_named("LOCK.vsearch"),
    entry_named("notes.txt"),
    entry_named("000001.sst/x"),
    entry_named("snapshots/all/x"),
    entry_named(""),
    entry_named("segments/1/s/link", tarfile.SYMTYPE, target="/etc/passwd"),
    entry_named("segments/1/s/link", tarfile.LNKTYPE, target="CURRENT"),
    entry_named("segments/1/s/folder", tarfile.DIRTYPE),
    entry_named("segments/1/s/device", tarfile.CHRTYPE),
    entry_named("segments/1/s/fifo", tarfile.FIFOTYPE),
    entry_named("segments/1/s/sparse", tarfile.GNUTYPE_SPARSE),
    entry_named("segments/1/s/long", tarfile.GNUTYPE_LONGNAME),
    entry_named("segments/1/s/pax", tarfile.XHDTYPE),
    entry_named("segments/1/s/huge", size=1 << 60),
    entry_named("segments/1/s/negative", size=-5),
    entry_named("CURRENT"),
    entry_named("snapshot.json"),
]


@pytest.mark.parametrize("entry", HOSTILE, ids=lambda entry: f"{entry.name}:{entry.type.decode()}")
def test_a_hostile_entry_is_refused(sound: bytes, tmp_path: Path, entry: tarfile.TarInfo) -> None:
    entries = entries_of(sound)
    refused(packed([*entries[:-1], (entry, b""), entries[-1]]), tmp_path)
    refused(packed([entries[0], (entry, b""), *entries[1:]]), tmp_path)
    assert not (tmp_path.parent / "escaped").exists()
    assert not Path("/tmp/escaped").exists()


def test_entries_that_are_missing_changed_or_out_of_place_are_refused(sound: bytes, tmp_path: Path) -> None:
    entries = entries_of(sound)
    head, last = entries[0], entries[-1]
    for number, (entry, data) in enumerate(entries):
        refused(packed([*entries[:number], *entries[number + 1 :]], checksums=False), tmp_path)
        if data and entry not in (head[0], last[0]):
            changed = [*entries[:number], (entry, data[:-1] + bytes([data[-1] ^ 1])), *entries[number + 1 :]]
            refused(packed(changed, checksums=False), tmp_path)
    for name in ("CURRENT", "FORMAT"):  # with checksums that fit
        refused(packed([pair for pair in entries if pair[0].name != name]), tmp_path)
    gone = next(pair for pair in entries if pair[0].name.endswith("rows.vsa"))
    refused(packed([pair for pair in entries if pair is not gone]), tmp_path, message="rows.vsa is missing")
    refused(packed([*entries[1:-1], head, last]), tmp_path, message="does not start with")
    refused(packed([head, last]), tmp_path, message="holds no database")
    for text in (
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"version": "1"}',
        b'{"version": 1}',
        b'{"version": 1, "collections": [1]}',
    ):
        refused(packed([(head[0], text), *entries[1:]]), tmp_path)
    wrong = json.dumps({**json.loads(head[1]), "collections": ["docs", "more"]}).encode()
    refused(packed([(head[0], wrong), *entries[1:]]), tmp_path, message="does not hold the collections")


def test_a_newer_format_is_told(sound: bytes, tmp_path: Path) -> None:
    entries = entries_of(sound)
    newer = json.dumps({**json.loads(entries[0][1]), "version": 2}).encode()
    refused(packed([(entries[0][0], newer), *entries[1:]]), tmp_path, vsearch.UnsupportedFormat, "this release reads 1")
    stamp = [(e, b"vsearch database, format 2\n" if e.name == "FORMAT" else data) for e, data in entries]
    refused(packed(stamp), tmp_path, vsearch.UnsupportedFormat, "format 2")


@pytest.mark.parametrize("wrong", ["field", "file", "number", "unsealed", "id"])
def test_a_database_made_to_do_harm_is_refused(tmp_path: Path, wrong: str) -> None:
    """Its checksums fit, and each of its files is in order."""
    with vsearch.open(tmp_path / "db") as db:
        fill(db.create_collection("docs", fields=FIELDS), range(30))
        db.collection("docs").optimize()
        fill(db.collection("docs"), range(30, 33))
    engine = Engine.open(tmp_path / "db")
    docs = manifest.load(engine)["docs"]
    batch = engine.batch()
    if wrong == "field":
        docs = replace(docs, fields={"v": {**docs.fields["v"], "odd": 1}})
    elif wrong == "file":
        entry = docs.segments[0]
        files_ = {**entry.files, "../../../../escaped": next(iter(entry.files.values()))}
        docs = replace(docs, segments=(replace(entry, files=files_),))
    elif wrong == "number":
        docs = replace(docs, number=7)
    elif wrong == "unsealed":
        batch.put(UNSEALED, keys.pid_key(1, docs.sealed_pid + 1), b"\x93\x01")
    else:
        batch.put(IDS, keys.prefix(1) + b"\x09", b"short")
    manifest.put(batch, docs)
    engine.commit(batch)
    engine.close()
    with files.WritableFile(tmp_path / "made") as file:
        archive.pack(tmp_path / "db", file, {"collections": ["docs"]}, lambda: None)
    data = (tmp_path / "made").read_bytes()
    shutil.rmtree(tmp_path / "db")
    refused(data, tmp_path)


def test_restored_files_are_plain(sound: bytes, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(sound)
    restore_database(tmp_path / "b", tmp_path / "new")
    for path in (tmp_path / "new").rglob("*"):
        mode = path.lstat().st_mode
        assert stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and not mode & 0o111)
