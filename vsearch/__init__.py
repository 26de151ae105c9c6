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

from vsearch.cache.answers import CacheEntry, CacheHit, Computed, Lookup
from vsearch.cache.policy import CachePolicy
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
    NotSupported,
    PermissionDenied,
    ReadOnly,
    ResourceExhausted,
    Timeout,
    Unavailable,
    UnsupportedFormat,
    VSearchError,
)
from vsearch.filters import F, min_should
from vsearch.hits import FacetValue, Hit, Hits, Page, Point, SnapshotInfo
from vsearch.types import Dense, Durability, SearchParams, Sparse, Text

if TYPE_CHECKING:
    from vsearch.cache.cache import Cache
    from vsearch.collection import Collection
    from vsearch.database import Database
    from vsearch.planner import Plan
    from vsearch.remote.asynchronous import AsyncCollection, AsyncDatabase
    from vsearch.remote.blocking import RemoteCollection, RemoteDatabase
    from vsearch.remote.cache import AsyncCache, RemoteCache

__all__ = [
    "AlreadyExists",
    "AsyncCache",
    "AsyncCollection",
    "AsyncDatabase",
    "Cache",
    "CacheEntry",
    "CacheHit",
    "CachePolicy",
    "Closed",
    "Collection",
    "Computed",
    "Corruption",
    "Database",
    "Dense",
    "DimensionMismatch",
    "DurabilityError",
    "F",
    "FacetValue",
    "Hit",
    "Hits",
    "InvalidArgument",
    "InvalidFilter",
    "LimitExceeded",
    "Locked",
    "Lookup",
    "MissingExtra",
    "NotFound",
    "NotSupported",
    "Page",
    "PermissionDenied",
    "Plan",
    "Point",
    "ReadOnly",
    "RemoteCache",
    "RemoteCollection",
    "RemoteDatabase",
    "ResourceExhausted",
    "SearchParams",
    "SnapshotInfo",
    "Sparse",
    "Text",
    "Timeout",
    "Unavailable",
    "UnsupportedFormat",
    "VSearchError",
    "__version__",
    "connect",
    "connect_async",
    "min_should",
    "open",
]

__version__ = "0.1.0"

_LAZY = {
    "AsyncCache": "vsearch.remote.cache",
    "AsyncCollection": "vsearch.remote.asynchronous",
    "AsyncDatabase": "vsearch.remote.asynchronous",
    "Cache": "vsearch.cache.cache",
    "Collection": "vsearch.collection",
    "Database": "vsearch.database",
    "Plan": "vsearch.planner",
    "RemoteCache": "vsearch.remote.cache",
    "RemoteCollection": "vsearch.remote.blocking",
    "RemoteDatabase": "vsearch.remote.blocking",
}


def open(path: str | Path, durability: Durability = "sync", read_only: bool = False) -> Database:
    """Open the database in a directory, creating it when there is none.

    `durability`: "sync" fsyncs before a write returns; "os" hands it to the operating system, which survives a killed
    process but not a power failure. `read_only`: open beside a writer in another process; `refresh()` follows it.

    Raises Locked when another process writes to it, NotFound for a missing database opened read-only,
    UnsupportedFormat or Corruption when its files cannot be read.
    """
    from vsearch.database import Database

    return Database(path, durability, read_only)


def connect(
    url: str, api_key: str | None = None, timeout_s: float | None = 60.0, verify: bool | str = True
) -> RemoteDatabase:
    """A database on a server (`vsearch serve`), with the methods and errors of one opened here.

    `url`: "http://localhost:6333", also with a path. `timeout_s`: how long to wait for a connection, and then whenever
    the server is silent; None waits without end, as do calls that may take long, such as `optimize`. `verify`: whether
    the certificate of an https server is checked, or a file or folder of certificates to check it with.

    Nothing is sent before the first call. Raises InvalidArgument.
    """
    from vsearch.remote.blocking import RemoteDatabase
    from vsearch.remote.protocol import Server

    server = Server(url, api_key, timeout_s, verify)
    return RemoteDatabase(server, server.transport())


def connect_async(
    url: str, api_key: str | None = None, timeout_s: float | None = 60.0, verify: bool | str = True
) -> AsyncDatabase:
    """As `connect`, for asyncio: the methods are coroutines. Not itself to be awaited."""
    from vsearch.remote.asynchronous import AsyncDatabase
    from vsearch.remote.protocol import Server

    server = Server(url, api_key, timeout_s, verify)
    return AsyncDatabase(server, server.async_transport())


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'vsearch' has no attribute {name!r}")
