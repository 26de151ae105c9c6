"""Where a database is: in a directory of this machine, or at the URL of its server."""

from __future__ import annotations


def is_url(source: str) -> bool:
    """Whether it is a server's URL."""
    return source.startswith(("http://", "https://"))
