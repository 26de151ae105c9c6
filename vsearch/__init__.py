"""vsearch: a durable vector search database.

    import vsearch

    with vsearch.open("my-data") as db:
        docs = db.create_collection("docs", fields={"dense": vsearch.Dense(384)})
        docs.upsert(["a", "b"], vectors={"dense": X}, payloads=[{"year": 2024}, {"year": 2025}])
        hits = docs.search(query, limit=10, filter=vsearch.F("year") >= 2025)

Importing this package is cheap: the engine and the kernels are loaded when a database is opened or searched.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsearch.errors import (
    AlreadyExists,
    Closed,
    Corruption,
    DimensionMismatch,
    DurabilityError,
    InvalidArgument,
    InvalidFilter,
    LimitExceeded,
    Locked,
    MissingExtra,
    NotFound,
    ReadOnly,
    UnsupportedFormat,
    VSearchError,
)
from vsearch.filters import F, min_should
from vsearch.hits import Hit, Hits, Page, Point
from vsearch.types import Dense, Durability, SearchParams

if TYPE_CHECKING:
    from vsearch.collection import Collection
    from vsearch.database import Database
    from vsearch.planner import Plan

__all__ = [
    "AlreadyExists",
    "Closed",
    "Collection",
    "Corruption",
    "Database",
    "Dense",
    "DimensionMismatch",
    "DurabilityError",
    "F",
    "Hit",
    "Hits",
    "InvalidArgument",
    "InvalidFilter",
    "LimitExceeded",
    "Locked",
    "MissingExtra",
    "NotFound",
    "Page",
    "Plan",
    "Point",
    "ReadOnly",
    "SearchParams",
    "UnsupportedFormat",
    "VSearchError",
    "__version__",
    "min_should",
    "open",
]

__version__ = "0.1.0"

_LAZY = {"Collection": "vsearch.collection", "Database": "vsearch.database", "Plan": "vsearch.planner"}


def open(path: str | Path, durability: Durability = "sync", read_only: bool = False) -> Database:
    """Open the database in a directory, creating it when there is none.

    `durability`: "sync" fsyncs before a write returns; "os" hands it to the operating system, which survives a killed
    process but not a power failure. `read_only`: open beside a writer in another process; `refresh()` follows it.

    Raises Locked when another process writes to it, NotFound for a missing database opened read-only,
    UnsupportedFormat or Corruption when its files cannot be read.
    """
    from vsearch.database import Database

    return Database(path, durability, read_only)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vsearch' has no attribute {name!r}")
