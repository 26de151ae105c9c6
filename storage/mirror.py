"""How a read-only engine follows the writer: a RocksDB secondary over a private folder of links, and proof it is whole.

The binding rewrites a settings file in the folder that it opens. A reader must not do that: the directory may be
another user's or lie on a read-only disk, and readers would race. So each reader opens a temporary folder that holds
one symbolic link for each file of the database.

A secondary that cannot open a table, because the writer deleted it a moment ago or because it is damaged, goes on with
an older state of that family, says nothing, and never recovers; one that follows the manifest over flushes has been
seen to lose rows. So a secondary is used only as far as it can be trusted:
1. It gets a copy of the manifest instead of a link: it reads the tail of the log, which is the common and cheap case,
   and never hears of flushes and compactions.
2. A new one is opened, with a new copy, whenever files came or went or the manifest grew. The same folder is opened in
   the strict mode as well, which fails for a missing or damaged table, and both must have the same live tables.
3. Either counts only if files and manifest are the same before and after: nothing that was read can be out of date.

A database that no newer release has written to yet lacks the families that came later; they are `absent`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rocksdict import AccessType, Options, Rdict

from vsearch.errors import Locked

from . import tuning

_PATIENCE_S: Final = 5.0  # a writer brings and removes files some times a second, and a try takes some milliseconds
_TRIES: Final = 20  # at least, however slow the machine
_FAILURES: Final = 3  # in a row, with the same files before and after: no longer a race, but damage
_PAUSE_S: Final = 0.02

_State = tuple[frozenset[str], int]  # the names of the database's files, and the manifest's length in bytes


def belongs(name: str) -> bool:
    """Whether a file is part of the RocksDB database, as against its lock, its diary and what is ours."""
    return (
        name in ("CURRENT", "IDENTITY") or name.startswith(("MANIFEST-", "OPTIONS-")) or name.endswith((".sst", ".log"))
    )


def _copied(name: str) -> bool:
    return name == "CURRENT" or name.startswith("MANIFEST-")


def size_of(path: Path) -> int:
    """Length of a file in bytes; 0 when RocksDB has removed it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class Mirror:
    """The links to the database at `path`, and the secondaries opened through them. Used by one thread at a time."""

    def __init__(self, path: Path, families: Mapping[str, Options]) -> None:
        self._path = path.resolve()
        self._families = families
        self.absent: frozenset[str] = frozenset()  # families that the secondary lacks
        self._state: _State | None = None  # in which the secondary was opened
        root = Path(tempfile.mkdtemp(prefix="vsearch-reader-"))
        self.remove = weakref.finalize(self, shutil.rmtree, root, True)  # also when the process ends without a close
        self.folder = root / "database"
        self._diary = root / "diary"  # RocksDB's own log file
        self._no_log = root / "no-log"  # stays empty, so that the strict opening replays nothing
        for folder in (self.folder, self._diary, self._no_log):
            folder.mkdir()

    def follow(self, secondary: Rdict | None) -> Rdict:
        """A secondary that shows what is committed now: the given one, caught up, or a new one.

        Raises RocksDB's or the operating system's error when it persists while the files stay the same, and Locked when
        they come and go too fast to be followed.
        """
        deadline = time.monotonic() + _PATIENCE_S
        tries = failures = 0
        while tries < _TRIES or time.monotonic() < deadline:
            tries += 1
            state = self._update()
            try:
                if secondary is not None and state == self._state:
                    secondary.try_catch_up_with_primary()
                    whole = True
                else:
                    secondary = self._open()
                    whole = _live(secondary) == self._strictly_live()
                if whole and self._update() == state:
                    self._state = state
                    return secondary
                secondary, failures = None, 0
            except Exception:
                secondary, failures = None, failures + 1 if self._update() == state else 0
                if failures == _FAILURES:
                    raise
                time.sleep(_PAUSE_S)
        raise Locked(f"database {self._path} is changed too fast by its writer to be followed", "Refresh again")

    def _update(self) -> _State:
        """Adds links to new files, removes those to files that are gone, returns what the writer has now."""
        names = frozenset(filter(belongs, os.listdir(self._path)))
        for name in os.listdir(self.folder):
            if (self.folder / name).is_symlink() and name not in names:
                (self.folder / name).unlink()
        for name in names:
            if not _copied(name) and not os.path.lexists(self.folder / name):
                os.symlink(self._path / name, self.folder / name)
        return names, sum(size_of(self._path / name) for name in names if name.startswith("MANIFEST-"))

    def _open(self) -> Rdict:
        for name in filter(_copied, os.listdir(self.folder)):
            (self.folder / name).unlink()
        for name in filter(_copied, os.listdir(self._path)):
            shutil.copyfile(self._path / name, self.folder / name)
        self.absent = frozenset(tuning.LATER_FAMILIES).difference(Rdict.list_cf(str(self.folder)))
        access = AccessType.secondary(str(self._diary))
        return Rdict(str(self.folder), tuning.database_options(True), self._present(), access)

    def _strictly_live(self) -> frozenset[str]:
        options = tuning.database_options(True)
        options.set_wal_dir(str(self._no_log))
        access = AccessType.read_only(False)
        return _live(Rdict(str(self.folder), options, self._present(), access))

    def _present(self) -> dict[str, Options]:
        return {family: options for family, options in self._families.items() if family not in self.absent}


def _live(db: Rdict) -> frozenset[str]:
    """The names of the tables that hold a database's current content."""
    return frozenset(table["name"] for table in db.live_files())
