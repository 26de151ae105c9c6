"""The commands `backup` and `restore`: a database as one file, and back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import vsearch
from vsearch.cli import show
from vsearch.cli.source import is_url
from vsearch.errors import InvalidArgument, Locked, NotFound
from vsearch.storage.archive import read_head
from vsearch.storage.stamp import is_database


def backup(source: str, file: Path, overwrite: bool, api_key: str | None) -> None:
    """Write a snapshot of a database to a file: of one in a directory, which no other process may have open for
    writing, or of one that a server has, by its URL."""
    try:
        with show.waiting(f"backing up {source}"), opened(source, api_key) as db:
            info, names = db.backup(file, overwrite), db.collections()
    except Locked as error:
        hint = f"If that is a server, back up through it: vsearch backup http://localhost:6333 {file}"
        raise Locked(error.message, hint) from error
    about = f"{show.size(info.nbytes)}, sha256 {info.checksum}"
    show.line(f"backed up {counted(len(names), 'collection')} to {file}: {about}")


def opened(source: str, api_key: str | None) -> vsearch.Database | vsearch.RemoteDatabase:
    """The database in a directory, which must exist, or at a URL."""
    if is_url(source):
        return vsearch.connect(source, api_key=api_key)
    if not is_database(Path(source)):
        raise NotFound(f"there is no database in {source}")
    return vsearch.open(source)


def restore(
    file: Path, target: str, collection: str | None, name: str | None, replace: bool, api_key: str | None
) -> None:
    """Make a database of a snapshot or, given a `collection` of it, bring that into a database under a name."""
    from vsearch.snapshots import restore_database

    if collection is None:
        if name is not None or replace:
            raise InvalidArgument("--as and --replace are for one collection", "Say which one with --collection")
        if is_url(target):
            raise InvalidArgument("a server restores one collection at a time", "Say which one with --collection")
        with show.waiting(f"restoring {target}"):
            restore_database(file, Path(target))
        show.line(f"restored {', '.join(read_head(file)['collections']) or 'an empty database'} into {target}")
        return
    held = read_head(file)["collections"]
    if collection not in held:  # told before a database is made
        raise NotFound(f"{file} holds no collection {collection!r}", f"It holds: {', '.join(held) or 'none'}")
    with show.waiting(f"restoring {collection}"), ExitStack() as stack:
        if is_url(target):
            db: vsearch.Database | vsearch.RemoteDatabase = stack.enter_context(
                vsearch.connect(target, api_key=api_key)
            )
        else:
            db = stack.enter_context(vsearch.open(target))
        docs = db.restore_collection(name or collection, file, replace, source=collection)
        points = counted(docs.count(), "point")
    show.line(f"restored {docs.name} into {target}: {points}")


def counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
