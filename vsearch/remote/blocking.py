"""The client that waits: each method makes its call and returns the result. Every call may be made from any thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, TypeVar

import httpx

from vsearch.hits import SnapshotInfo
from vsearch.remote import caches as cache_calls
from vsearch.remote import databases, reads, upkeep, writes
from vsearch.remote.cache import RemoteCache
from vsearch.remote.caches import CacheDescription
from vsearch.remote.call import Call, as_method
from vsearch.remote.files import PIECE_BYTES
from vsearch.remote.protocol import Server, repeatable
from vsearch.remote.upkeep import Description
from vsearch.types import Field

P = ParamSpec("P")
T = TypeVar("T")


def of_database(make: Callable[P, Call[T]]) -> Callable[Concatenate[RemoteDatabase, P], T]:
    @as_method(make, bound=0)
    def method(self: RemoteDatabase, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(make(*args, **kwargs))

    return method


def opening(make: Callable[P, Call[Description]]) -> Callable[Concatenate[RemoteDatabase, P], RemoteCollection]:
    @as_method(make, bound=0)
    def method(self: RemoteDatabase, /, *args: P.args, **kwargs: P.kwargs) -> RemoteCollection:
        return RemoteCollection(self, self._run(make(*args, **kwargs)))

    return method


def opening_cache(make: Callable[P, Call[CacheDescription]]) -> Callable[Concatenate[RemoteDatabase, P], RemoteCache]:
    @as_method(make, bound=0)
    def method(self: RemoteDatabase, /, *args: P.args, **kwargs: P.kwargs) -> RemoteCache:
        return RemoteCache(self, self._run(make(*args, **kwargs)))

    return method


def of_collection(make: Callable[Concatenate[str, P], Call[T]]) -> Callable[Concatenate[RemoteCollection, P], T]:
    @as_method(make, bound=1)
    def method(self: RemoteCollection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._db._run(make(self.name, *args, **kwargs))

    return method


class RemoteDatabase:
    """A database on a server, with the methods and errors of `Database`; a context manager. Made by `vsearch.connect`.

    Connections are made when they are needed, and kept. Beyond what each method says, every call may raise Unavailable,
    Timeout, PermissionDenied and ResourceExhausted. Reads are made once more when a connection turns out to be broken,
    writes only if they were never sent.
    """

    def __init__(self, server: Server, transport: httpx.BaseTransport) -> None:
        self._server = server
        self._transport = transport
        self._closed = False

    def __repr__(self) -> str:
        return f"RemoteDatabase({self.url!r})"

    @property
    def url(self) -> str:
        """Where the server is."""
        return str(self._server)

    create_collection = opening(databases.create_collection)
    collection = opening(databases.collection)
    collections = of_database(databases.collections)
    aliases = of_database(databases.aliases)
    update_aliases = of_database(databases.update_aliases)
    delete_collection = of_database(databases.delete_collection)
    create_snapshot = of_database(databases.create_snapshot)
    snapshots = of_database(databases.snapshots)
    delete_snapshot = of_database(databases.delete_snapshot)
    restore_collection = opening(databases.restore_collection)
    create_cache = opening_cache(cache_calls.create_cache)
    cache = opening_cache(cache_calls.cache)
    caches = of_database(cache_calls.caches)
    delete_cache = of_database(cache_calls.delete_cache)
    check = of_database(databases.check)
    stats = of_database(databases.stats)

    def download_snapshot(self, name: str, path: str | Path, collection: str | None = None) -> SnapshotInfo:
        """Write a snapshot into a file of this machine, in constant memory, and verify it.

        An existing file is replaced when the new one is whole and on disk. Raises NotFound; Corruption for a checksum
        that differs; DurabilityError when the disk of this machine refuses.
        """
        info = databases.named(self.snapshots(collection), name)
        self._run(databases.download_snapshot(info, path, collection))
        return info

    def backup(self, file: str | Path, overwrite: bool = False) -> SnapshotInfo:
        """Take a snapshot of everything straight to a file. Raises as `create_snapshot`, and AlreadyExists.

        The file is on this machine; on the server the snapshot is deleted afterwards.
        """
        databases.check_backup(file, overwrite)
        info = self.create_snapshot()
        try:
            self._run(databases.download_snapshot(info, file))
        finally:
            self.delete_snapshot(info.name)
        return replace(info, name=Path(file).name)

    def refresh(self) -> None:
        """Nothing to do: a server shows what it has acknowledged."""
        self._open()

    def close(self) -> None:
        """Close the connections. The database stays open on its server. Closing twice is no error."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> RemoteDatabase:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, call: Call[T]) -> T:
        self._open()
        try:
            return self._attempt(call)
        except httpx.RequestError as error:
            if not repeatable(call, error):
                raise self._server.failure(call, error) from error
        try:
            return self._attempt(call)
        except httpx.RequestError as error:
            raise self._server.failure(call, error) from error

    def _attempt(self, call: Call[T]) -> T:
        with closing(self._transport.handle_request(self._server.request(call))) as response:
            if call.download is None or response.status_code != 200:
                assert isinstance(response.stream, httpx.SyncByteStream), "bug: an answer for the other client"
                return self._server.result(call, response, b"".join(response.stream))
            with call.download as file:
                for piece in response.iter_raw(PIECE_BYTES):
                    file.write(piece)
                file.finish()
            return call.decode(file.nbytes)

    def _open(self) -> None:
        if self._closed:
            raise self._server.closed()


class RemoteCollection:
    """A collection on a server, with the methods of `Collection`. It is a name there: of one that was deleted and made
    again it is the new one. Made by `RemoteDatabase.create_collection` and `RemoteDatabase.collection`."""

    def __init__(self, db: RemoteDatabase, description: Description) -> None:
        self._db = db
        self._description = description
        self.name = description.name

    def __repr__(self) -> str:
        return f"RemoteCollection({self.name!r}, fields={list(self.schema)})"

    @property
    def schema(self) -> dict[str, Field]:
        """The fields by name."""
        return dict(self._description.fields)

    upsert = of_collection(writes.upsert)
    insert = of_collection(writes.insert)
    update = of_collection(writes.update)
    set_payload = of_collection(writes.set_payload)
    overwrite_payload = of_collection(writes.overwrite_payload)
    delete_payload = of_collection(writes.delete_payload)
    clear_payload = of_collection(writes.clear_payload)
    update_vectors = of_collection(writes.update_vectors)
    delete_vectors = of_collection(writes.delete_vectors)
    delete = of_collection(writes.delete)
    get = of_collection(reads.get)
    count = of_collection(reads.count)
    facet = of_collection(reads.facet)
    scroll = of_collection(reads.scroll)
    search = of_collection(reads.search)
    search_batch = of_collection(reads.search_batch)
    explain = of_collection(reads.explain)
    create_payload_index = of_collection(upkeep.create_payload_index)
    delete_payload_index = of_collection(upkeep.delete_payload_index)
    flush = of_collection(upkeep.flush)
    optimize = of_collection(upkeep.optimize)
    stats = of_collection(upkeep.stats)
    import_file = of_collection(upkeep.import_file)
    export_file = of_collection(upkeep.export_file)

    @property
    def payload_indexes(self) -> list[str]:
        """The payload paths that have an index."""
        return self._db._run(upkeep.describe(self.name)).payload_indexes

    @property
    def version(self) -> int:
        """How far the collection has come: it grows with every write of a point.

        Read before searching, it says as of when a cached answer was made (`depends_on` of `Cache.store`). Versions of
        different collections differ, also of those that had the same name one after the other.
        """
        return self._db._run(upkeep.version(self.name))
