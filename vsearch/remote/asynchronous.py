"""The client for asyncio: each method is a coroutine that makes its call and returns the result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

import httpx

from vsearch.hits import SnapshotInfo
from vsearch.remote import caches as cache_calls
from vsearch.remote import databases, reads, upkeep, writes
from vsearch.remote.cache import AsyncCache
from vsearch.remote.caches import CacheDescription
from vsearch.remote.call import Call, as_method
from vsearch.remote.files import PIECE_BYTES
from vsearch.remote.protocol import Server, repeatable
from vsearch.remote.upkeep import Description
from vsearch.types import Field

P = ParamSpec("P")
T = TypeVar("T")
Awaited = Coroutine[Any, Any, T]


def of_database(make: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncDatabase, P], Awaited[T]]:
    @as_method(make, bound=0)
    async def method(self: AsyncDatabase, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(make(*args, **kwargs))

    return method


def opening(
    make: Callable[P, Call[Description]],
) -> Callable[Concatenate[AsyncDatabase, P], Awaited[AsyncCollection]]:
    @as_method(make, bound=0)
    async def method(self: AsyncDatabase, /, *args: P.args, **kwargs: P.kwargs) -> AsyncCollection:
        return AsyncCollection(self, await self._run(make(*args, **kwargs)))

    return method


def opening_cache(
    make: Callable[P, Call[CacheDescription]],
) -> Callable[Concatenate[AsyncDatabase, P], Awaited[AsyncCache]]:
    @as_method(make, bound=0)
    async def method(self: AsyncDatabase, /, *args: P.args, **kwargs: P.kwargs) -> AsyncCache:
        return AsyncCache(self, await self._run(make(*args, **kwargs)))

    return method


def of_collection(
    make: Callable[Concatenate[str, P], Call[T]],
) -> Callable[Concatenate[AsyncCollection, P], Awaited[T]]:
    @as_method(make, bound=1)
    async def method(self: AsyncCollection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._db._run(make(self.name, *args, **kwargs))

    return method


class AsyncDatabase:
    """`RemoteDatabase` for asyncio: every method is to be awaited; an asynchronous context manager. Used in one event
    loop. Made by `vsearch.connect_async`."""

    def __init__(self, server: Server, transport: httpx.AsyncBaseTransport) -> None:
        self._server = server
        self._transport = transport
        self._closed = False

    def __repr__(self) -> str:
        return f"AsyncDatabase({self.url!r})"

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

    async def download_snapshot(self, name: str, path: str | Path, collection: str | None = None) -> SnapshotInfo:
        """As `RemoteDatabase.download_snapshot`."""
        info = databases.named(await self.snapshots(collection), name)
        await self._run(databases.download_snapshot(info, path, collection))
        return info

    async def backup(self, file: str | Path, overwrite: bool = False) -> SnapshotInfo:
        """Take a snapshot of everything straight to a file. Raises as `create_snapshot`, and AlreadyExists.

        The file is on this machine; on the server the snapshot is deleted afterwards.
        """
        databases.check_backup(file, overwrite)
        info = await self.create_snapshot()
        try:
            await self._run(databases.download_snapshot(info, file))
        finally:
            await self.delete_snapshot(info.name)
        return replace(info, name=Path(file).name)

    async def refresh(self) -> None:
        """Nothing to do: a server shows what it has acknowledged."""
        self._open()

    async def close(self) -> None:
        """Close the connections. The database stays open on its server. Closing twice is no error."""
        self._closed = True
        await self._transport.aclose()

    async def __aenter__(self) -> AsyncDatabase:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, call: Call[T]) -> T:
        self._open()
        try:
            return await self._attempt(call)
        except httpx.RequestError as error:
            if not repeatable(call, error):
                raise self._server.failure(call, error) from error
        try:
            return await self._attempt(call)
        except httpx.RequestError as error:
            raise self._server.failure(call, error) from error

    async def _attempt(self, call: Call[T]) -> T:
        response = await self._transport.handle_async_request(self._server.request(call))
        try:
            if call.download is None or response.status_code != 200:
                assert isinstance(response.stream, httpx.AsyncByteStream), "bug: an answer for the other client"
                return self._server.result(call, response, b"".join([piece async for piece in response.stream]))
            with call.download as file:
                async for piece in response.aiter_raw(PIECE_BYTES):
                    await asyncio.to_thread(file.write, piece)
                await asyncio.to_thread(file.finish)
            return call.decode(file.nbytes)
        finally:
            await response.aclose()

    def _open(self) -> None:
        if self._closed:
            raise self._server.closed()


class AsyncCollection:
    """`RemoteCollection` for asyncio. Made by `AsyncDatabase.create_collection` and `AsyncDatabase.collection`."""

    def __init__(self, db: AsyncDatabase, description: Description) -> None:
        self._db = db
        self._description = description
        self.name = description.name

    def __repr__(self) -> str:
        return f"AsyncCollection({self.name!r}, fields={list(self.schema)})"

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
    def payload_indexes(self) -> Awaited[list[str]]:
        """The payload paths that have an index: `await docs.payload_indexes`."""
        return self._payload_indexes()

    @property
    def version(self) -> Awaited[int]:
        """How far the collection has come: it grows with every write of a point.

        Read before searching, it says as of when a cached answer was made (`depends_on` of `Cache.store`). Versions of
        different collections differ, also of those that had the same name one after the other.
        """
        return self._version()

    async def _payload_indexes(self) -> list[str]:
        return (await self._db._run(upkeep.describe(self.name))).payload_indexes

    async def _version(self) -> int:
        return await self._db._run(upkeep.version(self.name))
