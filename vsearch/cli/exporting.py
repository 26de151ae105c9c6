"""The command `export`: a collection into one file, which is there whole or not at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import typer

import vsearch
from vsearch.cli import show
from vsearch.errors import AlreadyExists, InvalidArgument, NotFound
from vsearch.storage.exporting import ExportFormat
from vsearch.storage.files import TEMPORARY_PREFIX, WritableFile, replace
from vsearch.transfer import export

SUFFIXES: Final[dict[str, ExportFormat]] = {".parquet": "parquet", ".arrow": "arrow", ".arrows": "arrow"}


def format_of(file: Path, option: str | None) -> ExportFormat:
    """The format that is asked for, or that the file's name tells. Raises InvalidArgument."""
    found = SUFFIXES.get(file.suffix.lower() if option is None else f".{option}")
    if found is None:
        what = f"the name of {file} tells no format" if option is None else f"unknown format {option!r}"
        raise InvalidArgument(what, "Use --format parquet or --format arrow")
    return found


def check_target(file: Path, force: bool) -> None:
    """Raises AlreadyExists, NotFound or InvalidArgument when no file of that name should be written."""
    if file.is_dir():
        raise InvalidArgument(f"{file} is a directory", "Give the name of a file")
    if file.exists() and not force:
        raise AlreadyExists(f"{file} exists", "Use --force to replace it")
    if not file.parent.is_dir():
        raise NotFound(f"there is no directory {file.parent}", "Make it first")


def fetch(url: str, api_key: str | None, collection: str, file: Path, format: ExportFormat) -> None:
    """Export a collection of a server, and say how it went."""
    start_s = time.monotonic()
    with show.waiting(f"exporting {collection}"), vsearch.connect(url, api_key=api_key) as db:
        nbytes = db.collection(collection).export_file(file, format)
    show.line(f"exported {collection} to {file} ({show.size(nbytes)}, {time.monotonic() - start_s:,.1f} s)")


def write(docs: vsearch.Collection, file: Path, format: ExportFormat) -> None:
    """Export, and say how it went."""
    start_s = time.monotonic()
    temporary = file.with_name(TEMPORARY_PREFIX + file.name)
    points = 0
    with show.progress(f"exporting {docs.name}", docs.count()) as update:

        def advance(done: int, total: int) -> None:
            nonlocal points
            points = done
            update(done, total)

        try:
            with WritableFile(temporary, overwrite=True) as target:
                for piece in export(docs, format, progress=advance):
                    target.write(piece)
        except KeyboardInterrupt:
            show.err.print(f"stopped; {file} is as it was")
            raise typer.Exit(130) from None
        replace(temporary, file)
    elapsed_s = time.monotonic() - start_s
    show.line(f"exported {points:,} points to {file} ({show.size(target.position)}, {elapsed_s:,.1f} s)")
