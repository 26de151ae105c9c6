"""What a disk may hold after the power was cut, worked out from the journal of a recording.

The rules are those that POSIX and the manual pages of fsync(2) and rename(2) let a program rely on:

1. Bytes and size of a file are durable up to its last fsync or fdatasync. What was written since may have reached
   the disk or not, sector by sector and in any order, though a sector always shows the file as it was at some instant.
2. Entries of a folder (create, mkdir, link, rename, unlink, rmdir) are durable up to the last fsync of the folder.
   "Calling fsync() does not necessarily ensure that the entry in the directory containing the file has also reached
   disk. For that an explicit fsync() on a file descriptor for the directory is also needed" (fsync(2)). Changes
   since then survive in the order in which they were made: of each folder a prefix.
3. A rename is one change: after the cut there is the old name or the new one, never both and never none. Between two
   folders it belongs to the one it went to, and takes with it what happened before in the one it left.
4. A file whose entry survived but whose bytes were never synced is there and empty.

`entry_with_fsync=True` weakens 2 as ext4, xfs and btrfs do in practice: the sync of a file forces the file system's
own journal, and with it the file's entries so far. RocksDB does not need it: it syncs the folder after the first
sync of a new log, after writing tables, and after renaming CURRENT.

`Replayer` walks a journal once, forwards, and writes out the disk at any place on the way. `replay` is one such
place, `cuts` many of them for the body of a test.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Final, NamedTuple

from .disk import MODES, Change, Edit, File, Folder, Mode, survivors, sync
from .journal import Kind, Record, read_journal

SCRATCH_BYTES: Final = 1 << 30  # an image is as large as the recorded folder was, and recovery adds to it


class Unsupported(Exception):
    """The program did something that the simulation would get wrong, or that was not seen at all."""


class Cut(NamedTuple):
    """Where the power went: just before record `position` of the journal. `replay` makes the image again."""

    position: int
    mode: Mode
    seed: int


class Replayer:
    """The disk at a place in a journal that only moves forwards.

    `position` is the index of the next record, `acked` the acknowledgements so far. Raises Unsupported.
    """

    def __init__(self, journal: Path, *, entry_with_fsync: bool = False) -> None:
        self.records = list(read_journal(journal))
        for record in self.records:
            if record.kind is Kind.UNSUPPORTED:
                raise Unsupported(f"{record.path}: {record.message}")
        self.position = 0
        self.acked: list[str] = []
        self._entry_with_fsync = entry_with_fsync
        self._root = Folder()
        self._nodes: dict[int, File | Folder] = {}
        self._changes: list[Change] = []

    @property
    def start(self) -> int:
        """Index of the first record of the program itself."""
        return 1 + next(i for i, record in enumerate(self.records) if record.kind is Kind.START)

    def advance(self, position: int) -> None:
        """Moves to just before record `position`."""
        if not self.position <= position <= len(self.records):
            raise ValueError(f"cannot move to record {position}: at {self.position} of {len(self.records)}")
        for record in self.records[self.position : position]:
            self._apply(record)
        self.position = position

    def image(self, target: Path, mode: Mode = "least", seed: int = 0) -> None:
        """Writes the disk as it may be when the power goes now into the new folder `target`."""
        rng = Random(f"{seed} {self.position}")
        view: dict[Folder, dict[str, File | Folder]] = {}

        def entries(folder: Folder) -> dict[str, File | Folder]:
            if folder not in view:
                view[folder] = folder.durable.copy()
            return view[folder]

        for change in survivors(self._changes, mode, rng):
            change.apply(entries)
        written: dict[File, Path] = {}

        def write(folder: Folder, path: Path) -> None:
            path.mkdir()
            for name, node in entries(folder).items():
                if isinstance(node, Folder):
                    write(node, path / name)
                elif node in written:
                    os.link(written[node], path / name)
                else:
                    written[node] = path / name
                    written[node].write_bytes(node.content(mode, rng))

        write(self._root, target)

    def _apply(self, record: Record) -> None:
        match record.kind:
            case Kind.ROOT:
                self._nodes[record.node] = self._root
            case Kind.CREATE | Kind.MKDIR:
                self._nodes[record.node] = File() if record.kind is Kind.CREATE else Folder()
                self._changes.append(Change(self._node(record), None, self._place(record.parent, record.path)))
            case Kind.LINK:
                self._changes.append(Change(self._node(record), None, self._place(record.parent, record.path)))
            case Kind.UNLINK:
                self._changes.append(Change(self._node(record), self._place(record.parent, record.path), None))
            case Kind.RENAME:
                source, target = (record.parent, record.path), (record.to_parent, record.to_path)
                self._changes.append(Change(self._node(record), self._place(*source), self._place(*target)))
            case Kind.WRITE:
                self._file(record).unsynced.append(Edit(record.offset, record.data))
            case Kind.TRUNCATE:
                self._file(record).unsynced.append(Edit(record.offset, None))
            case Kind.SYNC:
                self._sync(self._node(record))
            case Kind.ACK:
                self.acked.append(record.message)

    def _sync(self, node: File | Folder) -> None:
        if isinstance(node, Folder):
            self._changes = sync(self._changes, {node})
        else:
            node.sync()
            if self._entry_with_fsync:
                self._changes = sync(self._changes, set(), node)

    def _node(self, record: Record) -> File | Folder:
        if record.node not in self._nodes:
            raise Unsupported(f"{record.path}: {record.kind.name} of a file that was made unseen")
        return self._nodes[record.node]

    def _file(self, record: Record) -> File:
        node = self._node(record)
        assert isinstance(node, File), f"bug: {record.kind.name} of the folder {record.path}"
        return node

    def _place(self, parent: int, path: str) -> tuple[Folder, str]:
        folder = self._nodes.get(parent)
        if not isinstance(folder, Folder):
            raise Unsupported(f"{path}: in a folder that was made unseen")
        return folder, path.rpartition("/")[2]


def replay(
    journal: Path, cut: int, target: Path, mode: Mode = "least", seed: int = 0, *, entry_with_fsync: bool = False
) -> None:
    """Writes the disk after a power loss just before record `cut` into the new folder `target`."""
    replayer = Replayer(journal, entry_with_fsync=entry_with_fsync)
    replayer.advance(cut)
    replayer.image(target, mode, seed)


def cuts(
    journal: Path,
    count: int = 200,
    seed: int = 0,
    modes: Sequence[Mode] = MODES,
    *,
    entry_with_fsync: bool = False,
) -> Iterator[tuple[Cut, Path, list[str]]]:
    """(cut, image, acknowledgements before the cut) for `count` places, each in every mode, in the journal's order.

    All places when there are no more than `count`; otherwise the end, and half of the rest beside an event other
    than a write, where protocols break. The image is a folder that the caller may change; it is gone after the step.
    """
    replayer = Replayer(journal, entry_with_fsync=entry_with_fsync)
    with _scratch() as folder:
        for position in _positions(replayer, count, Random(seed)):
            replayer.advance(position)
            for mode in modes:
                image = folder / "image"
                replayer.image(image, mode, seed)
                yield Cut(position, mode, seed), image, replayer.acked.copy()
                shutil.rmtree(image)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for images: in memory where there is room, since recovery syncs files and a disk is slow at that."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > SCRATCH_BYTES
    with tempfile.TemporaryDirectory(prefix="powerloss-", dir=memory if roomy else None) as folder:
        yield Path(folder)


def _positions(replayer: Replayer, count: int, rng: Random) -> list[int]:
    places = range(replayer.start, len(replayer.records) + 1)
    if len(places) <= count:
        return list(places)
    events = (i for i in places[:-1] if replayer.records[i].kind is not Kind.WRITE)
    borders = sorted({place for i in events for place in (i, i + 1)})
    chosen = {places[-1], *rng.sample(borders, min(len(borders), count // 2))}
    others = [place for place in places if place not in chosen]
    return sorted(chosen | set(rng.sample(others, count - len(chosen))))


def verify(journal: Path, root: Path) -> None:
    """Checks that the journal tells all that happened: without a cut it gives the folder as it is now.

    Raises Unsupported, naming the first file that differs: something wrote to it by a way that is not recorded.
    """
    replayer = Replayer(journal)
    replayer.advance(len(replayer.records))
    with _scratch() as folder:
        image = folder / "image"
        replayer.image(image, "most")
        recorded, real = tree(image), tree(root)
        for path in sorted(recorded.keys() | real.keys()):
            if path not in recorded or path not in real:
                raise Unsupported(f"{path}: {'made' if path in real else 'removed'} by a call that is not recorded")
            if recorded[path] != real[path]:
                raise Unsupported(f"{path}: written by a call that is not recorded")


def tree(root: Path) -> dict[str, bytes | None]:
    """Relative path of everything below -> its bytes, None for a folder."""
    return {p.relative_to(root).as_posix(): None if p.is_dir() else p.read_bytes() for p in root.rglob("*")}
