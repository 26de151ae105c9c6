"""The command `serve`: its options become the server's settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from vsearch.cli import show
from vsearch.errors import InvalidArgument, MissingExtra

UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def nbytes_of(text: str | None) -> int | None:
    """Bytes of a size such as 512M or 4G. Raises InvalidArgument."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InvalidArgument(f"{text!r} is not a size", "Write a number of bytes, or 512M, or 4G")
    return int(match[1]) * UNITS[match[2].upper()]


def start(directory: Path, memory: str | None, max_body: str, **options: Any) -> None:
    """Serve until stopped. Raises MissingExtra without the extra `server`, and what Settings and `run` raise."""
    try:
        from vsearch.api.serve import run
        from vsearch.api.settings import Settings
    except ImportError as error:
        hint = 'pip install "vsearch-db[server]"'
        raise MissingExtra(f"the server is not installed ({error.name} is missing)", hint) from error
    limit = nbytes_of(max_body)
    settings = Settings(directory, memory_bytes=nbytes_of(memory), max_body_bytes=limit or 0, **options)

    def ready(url: str) -> None:
        show.line(f"vsearch serves {directory} at {url}")
        show.out.file.flush()

    run(settings, ready)
