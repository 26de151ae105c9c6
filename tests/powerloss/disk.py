"""Files and folders as a disk holds them: what is durable, and what was done since and may be lost.

Bytes of a file are durable up to its last sync, entries of a folder up to the last sync of the folder; replay.py
gives the rules and where they come from. Entries point to `File` and `Folder` objects, so a file that was renamed
or has lost its name is still the same file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Literal, NamedTuple, get_args

Mode = Literal["least", "random", "most"]
MODES: tuple[Mode, ...] = get_args(Mode)  # of what is unsynced survives nothing; a part, by the seed; everything
SECTOR_BYTES = 512  # what a disk writes whole or not at all


class Edit(NamedTuple):
    """A write of `data` at `offset`; without data, a change of the file's size to `offset`."""

    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        content.extend(bytes(max(0, self.offset - len(content))))
        if self.data is None:
            del content[self.offset :]
        else:
            content[self.offset : self.offset + len(self.data)] = self.data

    def sectors(self) -> range:
        """The sectors whose bytes are changed; of those that a shorter size cuts off nobody sees the bytes."""
        end = self.offset + len(self.data) if self.data is not None else _sector_end(self.offset)
        return range(self.offset // SECTOR_BYTES, _sector_end(end) // SECTOR_BYTES)


def _sector_end(offset: int) -> int:
    return -(-offset // SECTOR_BYTES) * SECTOR_BYTES


@dataclass(eq=False)
class File:
    """A file: its durable bytes and what was done to it since."""

    durable: bytearray = field(default_factory=bytearray)
    unsynced: list[Edit] = field(default_factory=list)

    def sync(self) -> None:
        for edit in self.unsynced:
            edit.apply(self.durable)
        self.unsynced.clear()

    def content(self, mode: Mode, rng: Random) -> bytearray:
        """Bytes of the file after the cut; not to be changed."""
        if mode == "least" or not self.unsynced:
            return self.durable
        survives = rng.choice(("nothing", "everything", "a beginning", "scattered sectors"))
        if mode == "random" and survives == "nothing":
            return self.durable
        if mode == "random" and survives != "everything":
            return self._torn(rng, scattered=survives == "scattered sectors")
        content = self.durable.copy()
        for edit in self.unsynced:
            edit.apply(content)
        return content

    def _torn(self, rng: Random, scattered: bool) -> bytearray:
        """The file when each of its sectors reached the disk as memory held it at some instant, and so did its size.

        Instant i is before unsynced edit i; of a sector only instants after a change to it count. Scattered, each
        sector has an instant of its own. Otherwise all have the same, but the edit then under way got to some sector.
        """
        n = len(self.unsynced)
        now = rng.randrange(n)
        under_way = self.unsynced[now]
        reached = range(0) if scattered else under_way.sectors()[: rng.randrange(len(under_way.sectors()) + 1)]
        size_at = rng.choice((0, n, now)) if scattered else now

        instants: defaultdict[int, list[int]] = defaultdict(lambda: [0])
        for i, edit in enumerate(self.unsynced):
            for sector in edit.sectors():
                instants[sector].append(i + 1)
        due: defaultdict[int, list[int]] = defaultdict(list)  # instant -> sectors that the disk shows as of then
        for sector, at in instants.items():
            last = max(i for i in at if i <= now + (sector in reached))
            due[rng.choice((0, at[-1], rng.choice(at))) if scattered else last].append(sector)

        memory, disk, size = self.durable.copy(), self.durable.copy(), 0
        for i in range(n + 1):
            size = len(memory) if i == size_at else size
            for sector in due[i]:
                start = sector * SECTOR_BYTES
                Edit(start, bytes(memory[start : start + SECTOR_BYTES].ljust(SECTOR_BYTES, b"\0"))).apply(disk)
            if i < n:
                self.unsynced[i].apply(memory)
                if self.unsynced[i].data is None and i < size_at:  # what a size cut off is zeros when it grows again
                    del disk[_sector_end(self.unsynced[i].offset) :]
        if reached and under_way.data is not None:
            size = max(size, min(reached.stop * SECTOR_BYTES, under_way.offset + len(under_way.data)))
        Edit(size, None).apply(disk)
        return disk


@dataclass(eq=False)
class Folder:
    """A folder: its durable entries. What changed since is a list of `Change` for all folders together."""

    durable: dict[str, File | Folder] = field(default_factory=dict)


class Change(NamedTuple):
    """A file or folder got the entry `target`, or lost the entry `source`, or (rename) both at once."""

    node: File | Folder
    source: tuple[Folder, str] | None
    target: tuple[Folder, str] | None

    @property
    def folders(self) -> list[Folder]:
        return [place[0] for place in (self.source, self.target) if place]

    def is_synced_with(self, folder: Folder) -> bool:
        """Whether syncing the folder makes the change durable: a rename belongs to where it went."""
        place = self.target or self.source
        return place is not None and place[0] is folder

    def apply(self, entries: Callable[[Folder], dict[str, File | Folder]]) -> None:
        if self.source:
            folder, name = self.source
            if entries(folder).get(name) is self.node:
                del entries(folder)[name]
        if self.target:
            folder, name = self.target
            entries(folder)[name] = self.node


def durable(folder: Folder) -> dict[str, File | Folder]:
    """The entries that are durable now."""
    return folder.durable


def sync(changes: list[Change], folders: set[Folder], node: File | None = None) -> list[Change]:
    """Makes durable what syncing `folders` does (with `node`, also that file's entries); returns what is left.

    A rename from another folder takes along what happened in that folder before.
    """
    folders = set(folders)
    synced, left = [], []
    for change in reversed(changes):
        if change.node is node or any(change.is_synced_with(folder) for folder in folders):
            folders.update(change.folders)
            synced.append(change)
        else:
            left.append(change)
    for change in reversed(synced):
        change.apply(durable)
    return left[::-1]


def survivors(changes: list[Change], mode: Mode, rng: Random) -> Iterator[Change]:
    """The unsynced changes that the cut left: of each folder, a prefix."""
    chances: defaultdict[Folder, float] = defaultdict(lambda: rng.choice((0.0, 0.5, 0.9, 1.0)))
    cut: set[Folder] = set()  # folders of which no more survives
    for change in changes if mode != "least" else []:
        lost = any(folder in cut or rng.random() >= chances[folder] for folder in change.folders)
        if lost and mode == "random":
            cut.update(change.folders)
        else:
            yield change
