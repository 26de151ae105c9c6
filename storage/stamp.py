"""What a database directory is: the file `FORMAT`, one line of text, written before anything else.

    vsearch database, format 1

A directory without it is not a database. One with a newer number was written by a newer release and is left alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vsearch.errors import Corruption, NotFound, UnsupportedFormat

from . import files

FORMAT_VERSION: Final = 1
FORMAT_FILE: Final = "FORMAT"
LOCK_FILE: Final = "LOCK.vsearch"
SEGMENTS_FOLDER: Final = "segments"
_STAMP: Final = "vsearch database, format "


def is_database(path: Path) -> bool:
    """Whether `path` holds a database (True) or a new one can be created there (False). Writes nothing.

    Raises NotFound when it is something else, UnsupportedFormat for a newer format, Corruption for a damaged stamp or
    for a database that has lost the file CURRENT: creating a new one over its remains would hide the loss.
    """
    if not path.exists():
        return False
    if not path.is_dir():
        raise NotFound(f"{path} is not a directory", "Give the directory of a database")
    try:
        stamp = (path / FORMAT_FILE).read_bytes()[:256].decode("ascii", "replace").strip()
    except FileNotFoundError:
        _refuse_foreign(path)
        return False
    except OSError as error:
        raise Corruption(f"{path / FORMAT_FILE} cannot be read: {error.strerror}") from error
    version = stamp.removeprefix(_STAMP)
    if version == stamp or not version.isdecimal():
        raise Corruption(f"{path / FORMAT_FILE} is damaged: it holds {stamp!r}", f"Expected {_STAMP!r} and a number")
    if int(version) != FORMAT_VERSION:
        message = f"database {path} has format {version}, this release reads {FORMAT_VERSION}"
        raise UnsupportedFormat(message, "Open it with the release that wrote it, or a newer one")
    if (path / "CURRENT").exists():
        return True
    if any(name.endswith((".sst", ".log")) for name in os.listdir(path)) or _has_entries(path / SEGMENTS_FOLDER):
        raise Corruption(f"database {path} has lost its file CURRENT", "Restore the directory from a backup")
    return False  # creating it was interrupted after the stamp


def _refuse_foreign(path: Path) -> None:
    """Raises NotFound when a folder without a stamp has content that is not ours."""
    for name in os.listdir(path):
        ours = name == LOCK_FILE or name.startswith(files.TEMPORARY_PREFIX)
        if not ours and (name != SEGMENTS_FOLDER or _has_entries(path / name)):
            raise NotFound(f"{path} holds {name!r} but no {FORMAT_FILE}: not a database", "Use an empty directory")


def _has_entries(path: Path) -> bool:
    return path.is_dir() and bool(os.listdir(path))


def write(path: Path) -> None:
    """Creates the directory when it is missing and stamps it, both durably."""
    files.make_directory(path)
    files.write_atomic(path / FORMAT_FILE, f"{_STAMP}{FORMAT_VERSION}\n".encode())
