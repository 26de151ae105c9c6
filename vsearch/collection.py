"""A collection: points with named vectors and payloads, written durably and searched.

Every method may be called from any thread. Reads see every write that returned before them. A write that returns is
durable (as the database's durability says); a write that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from vsearch import points, reading
from vsearch.courtesy import Courtesy
from vsearch.edits import Edit, Selection, checked_fields, merging, removing, replacing
from vsearch.errors import Closed, InvalidArgument, LimitExceeded, NotFound, ReadOnly
from vsearch.fields import kind_of
from vsearch.filters import parse_filter
from vsearch.hits import FacetValue, Hits, Page, Point
from vsearch.points import Expiry
from vsearch.query import Filter, parse_search
from vsearch.storage.keys import version_of
from vsearch.types import MAX_LIMIT, Field, Payload, PointId, Progress, SearchParams

if TYPE_CHECKING:
    from vsearch.maintenance import Maintenance
    from vsearch.planner import Plan
    from vsearch.state import State

Ids = Sequence[PointId] | NDArray[Any]
Vectors = Mapping[str, Any]  # field -> one for each point, in the forms that its kind takes (see upsert)


class Collection:
    """Made by `Database.create_collection` and `Database.collection`."""

    def __init__(self, state: State, maintenance: Maintenance | None, wake: Callable[[], None]) -> None:
        self._state = state
        self._maintenance = maintenance
        self._wake = wake
        self._courtesy = Courtesy()
        self._closed = False

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, fields={list(self.schema)})"

    @property
    def name(self) -> str:
        return self._state.manifest.name

    @property
    def schema(self) -> dict[str, Field]:
        """The fields by name."""
        return dict(self._state.schema)

    @property
    def version(self) -> int:
        """How far the collection has come: it grows with every write of a point.

        Read before searching, it says as of when a cached answer was made (`depends_on` of `Cache.store`). Versions of
        different collections differ, also of those that had the same name one after the other.
        """
        state = self._open()
        return version_of(state.number, state.view.newest_pid)

    def upsert(
        self,
        ids: Ids | None = None,
        vectors: Vectors | None = None,
        payloads: Sequence[Payload | None] | None = None,
        expires_at: Expiry | Sequence[Expiry] = None,
    ) -> list[PointId]:
        """Write points, replacing those whose id exists. The whole batch is written, or nothing of it.

        `ids`: n strings or integers from 0 to 2**64 - 1; None gives each point a new UUID. `vectors`: field -> one for
        each point: of a dense field an [n, d] array; of a sparse one a SciPy CSR matrix [n, any], or a list of
        {term: weight} or (indices, values), weights above 0; of a text field a list of strings. In a list, None stands
        for a point that lacks the field. `payloads`: n JSON objects or None.
        `expires_at`: when the points end, Unix seconds or an aware datetime, one for all or one for each. Of an id
        that occurs twice the last row wins. Returns the ids.

        Raises InvalidArgument, DimensionMismatch, LimitExceeded; DurabilityError when the disk refuses.
        """
        return self._put(ids, vectors, payloads, expires_at, insert=False)

    def insert(
        self,
        ids: Ids | None = None,
        vectors: Vectors | None = None,
        payloads: Sequence[Payload | None] | None = None,
        expires_at: Expiry | Sequence[Expiry] = None,
    ) -> list[PointId]:
        """As `upsert`, but raises AlreadyExists, and writes nothing, when one of the ids exists."""
        return self._put(ids, vectors, payloads, expires_at, insert=True)

    def update(
        self,
        id: PointId,
        payload: Payload | None = None,
        vectors: Mapping[str, Any] | None = None,
        expires_at: Expiry = None,
    ) -> None:
        """Change a point: the payload's keys are merged in, the given vectors replaced, the rest is kept.

        Raises NotFound when there is no such point.
        """
        schema, given = self._open().schema, dict(vectors or {})
        one = {name: kind_of(schema[name]).single(v) if name in schema else [v] for name, v in given.items()}
        batch = points.prepare(schema, [id], one, [payload], expires_at)
        merge = None if payload is None else merging(payload)
        expires_ms = None if expires_at is None else int(batch.expires_ms[0])
        self._edit(Edit(Selection(batch.keys), merge, batch, expires_ms=expires_ms))

    def set_payload(
        self, payload: Payload, ids: Ids | None = None, filter: Filter = None, path: str | None = None
    ) -> int:
        """Merge keys into the payloads of points, by id or by filter; returns how many points that were.

        `path`: merge into the object that stands there ("author", "a.b"), which is made where it is missing.

        This and the edits below change all of their points or none, at most 100,000 at once. Raises InvalidArgument
        unless exactly one of ids and filter is given, NotFound when an id does not exist, LimitExceeded.
        """
        return self._edit(Edit(Selection.of(ids, filter), merging(payload, path)))

    def overwrite_payload(self, payload: Payload, ids: Ids | None = None, filter: Filter = None) -> int:
        """Replace the whole payloads of points; returns how many points that were."""
        return self._edit(Edit(Selection.of(ids, filter), replacing(payload)))

    def delete_payload(self, keys: Sequence[str], ids: Ids | None = None, filter: Filter = None) -> int:
        """Remove keys from the payloads of points; returns how many points were edited, with or without these keys.

        `keys`: paths, so that "author.name" removes a key of an object; '"a.b"' is one key with a dot in it.
        """
        return self._edit(Edit(Selection.of(ids, filter), removing(keys)))

    def clear_payload(self, ids: Ids | None = None, filter: Filter = None) -> int:
        """Leave points without a payload; returns how many points that were."""
        return self._edit(Edit(Selection.of(ids, filter), lambda stored: None))

    def update_vectors(self, ids: Ids, vectors: Vectors) -> int:
        """Replace vectors of points that exist; returns how many points that were.

        `vectors`: as in `upsert`. A point keeps its payload, the fields that are not named, and those where it has
        None. Of an id that occurs twice the last row wins.
        """
        if ids is None or not vectors:
            raise InvalidArgument("update_vectors takes ids and vectors", "Say update_vectors(ids, {field: vectors})")
        batch = points.prepare(self._open().schema, ids, vectors, None, None).distinct()
        return self._edit(Edit(Selection(batch.keys), vectors=batch))

    def delete_vectors(self, fields: Sequence[str], ids: Ids | None = None, filter: Filter = None) -> int:
        """Make points lack these fields; returns how many were edited, with or without a vector there."""
        dropped = checked_fields(self._open().schema, fields)
        return self._edit(Edit(Selection.of(ids, filter), dropped=dropped))

    def delete(self, ids: Ids | None = None, filter: Filter = None) -> int:
        """Delete points by id, or all that satisfy a filter; returns how many there were.

        Raises InvalidArgument unless exactly one of the two is given.
        """
        from vsearch.changes import Delete, DeleteMatching

        which = Selection.of(ids, filter)
        deleted: int = self._submit(Delete(which.id_keys) if which.node is None else DeleteMatching(which.node))
        return deleted

    def get(
        self, ids: Sequence[PointId] | PointId, with_payload: bool = True, with_vectors: bool = False
    ) -> list[Point]:
        """The points that exist, in the order of the ids."""
        state = self._open()
        if isinstance(ids, str | int):
            ids = [ids]
        return reading.get(state, points.checked_ids(ids)[1], with_payload, with_vectors)

    def count(self, filter: Filter = None) -> int:
        """How many points there are, or how many satisfy the filter. Exact."""
        return reading.count(self._open(), parse_filter(filter))

    def facet(self, path: str, filter: Filter = None, limit: int = 10) -> list[FacetValue]:
        """How many points have each value at a payload path, the most frequent first. Exact.

        Strings, integers and bools are counted, of a list each distinct element once. Equal counts are in the order
        of the values: bools, integers, strings. Raises InvalidArgument for a path that cannot be read, and for a limit
        below 1.
        """
        from vsearch import facets

        return facets.count(self._open(), path, parse_filter(filter), limit)

    def scroll(
        self,
        filter: Filter = None,
        limit: int = 100,
        cursor: PointId | None = None,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> Page:
        """A page of points in the order of their ids, integers first. Give `page.cursor` to get the next one.

        A point that lives throughout is met exactly once, whatever is written meanwhile.
        """
        state = self._open()
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InvalidArgument(f"limit is {limit!r}", "Use an integer of at least 1")
        if limit > MAX_LIMIT:
            raise LimitExceeded(f"limit is {limit:,}", f"At most {MAX_LIMIT:,}; go on with the cursor of the page")
        start = None if cursor is None else points.checked_ids([cursor])[1][0]
        return reading.scroll(state, parse_filter(filter), limit, start, with_payload, with_vectors)

    def search(
        self,
        query: Any,
        using: str | None = None,
        limit: int = 10,
        offset: int = 0,
        filter: Filter = None,
        params: SearchParams | None = None,
        score_threshold: float | None = None,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> Hits:
        """The best points for one query, best first.

        `query`: of a dense field a vector; of a sparse one {term: weight}, (indices, values) or a row of a SciPy CSR
        matrix; of a text field a string. Of sparse vectors and texts only points that share a term with the query are
        found; negative weights in a query make the search exact.

        `using`: the field, needed where there are several. `filter`: only points that satisfy it; there are never
        fewer hits than `limit` when that many do. `params`: how hard to try. `score_threshold`: drop lower scores.

        Raises InvalidArgument, DimensionMismatch, InvalidFilter, LimitExceeded.
        """
        return self._search(
            query, True, using, limit, offset, filter, params, score_threshold, with_payload, with_vectors
        )[0]

    def search_batch(
        self,
        queries: Any,
        using: str | None = None,
        limit: int = 10,
        offset: int = 0,
        filter: Filter = None,
        params: SearchParams | None = None,
        score_threshold: float | None = None,
        with_payload: bool = True,
        with_vectors: bool = False,
    ) -> list[Hits]:
        """As `search`, for many queries at once: one Hits for each, in order.

        `queries`: [nq, d], a SciPy CSR matrix, or a list of what `search` takes.
        """
        return self._search(
            queries, False, using, limit, offset, filter, params, score_threshold, with_payload, with_vectors
        )

    def _search(self, queries: Any, single: bool, *options: Any) -> list[Hits]:
        from vsearch import search

        state = self._open()
        request = parse_search(state.schema, queries, single, *options)
        with self._courtesy.searching():
            return search.run(state, request)

    def explain(
        self,
        query: Any,
        using: str | None = None,
        limit: int = 10,
        offset: int = 0,
        filter: Filter = None,
        params: SearchParams | None = None,
        analyze: bool = False,
    ) -> Plan:
        """What `search` would do, segment by segment; with `analyze` it is run and measured."""
        from vsearch import search

        state = self._open()
        request = parse_search(state.schema, query, True, using, limit, offset, filter, params, None, True, False)
        return search.explain(state, request, analyze)

    def create_payload_index(self, path: str, kind: str = "sorted") -> None:
        """Keep a payload path in sorted order, so that equality and ranges on it cost a binary search, not a scan.

        Filters work without; this makes them faster where segments are large. Declaring one twice is no error. `kind`:
        what the values are, in the caller's words; it is told by `stats` and has no effect.
        """
        from vsearch.filters.paths import format_path, parse_path

        declared = dict(self._writable().state.manifest.payload_indexes)
        declared[format_path(parse_path(path))] = kind
        self._writable().writer.index_payload(declared)

    def delete_payload_index(self, path: str) -> None:
        """Drop the index of a payload path. Raises NotFound when it has none."""
        declared = dict(self._writable().state.manifest.payload_indexes)
        if declared.pop(path, None) is None:
            raise NotFound(f"no payload index on {path!r}", f"There are: {', '.join(declared) or 'none'}")
        self._writable().writer.index_payload(declared)

    @property
    def payload_indexes(self) -> list[str]:
        """The payload paths that have an index."""
        return sorted(self._open().manifest.payload_indexes)

    def flush(self) -> None:
        """Make every acknowledged write durable; needed only with durability "os"."""
        self._writable()
        engine = self._state.engine
        engine.commit(engine.batch(), sync=True)

    def optimize(self, wait: bool = True, progress: Progress | None = None) -> None:
        """Seal, compact and index everything: now, or (`wait=False`) soon, in the background.

        `progress(done, total)` is called while an index is built.
        """
        maintenance = self._writable()
        if wait:
            maintenance.optimize(progress)
        else:
            maintenance.writer.freeze()
            self._wake()

    def stats(self) -> dict[str, Any]:
        """Counts and sizes: points, segments and their indexes, bytes on disk and in memory."""
        return reading.stats(self._open())

    def _close(self) -> None:
        self._closed = True

    def _put(
        self,
        ids: Ids | None,
        vectors: Vectors | None,
        payloads: Sequence[Payload | None] | None,
        expires_at: Expiry | Sequence[Expiry],
        insert: bool,
    ) -> list[PointId]:
        from vsearch.changes import Put

        schema = self._writable().state.schema
        began_s = self._courtesy.before_write()
        batch = points.prepare(schema, ids, vectors, payloads, expires_at)
        if not len(batch):
            return []
        distinct = batch.distinct()
        self._submit(Put(distinct, distinct.vector_records(schema), insert))
        self._courtesy.after_write(began_s)
        return batch.ids

    def _edit(self, edit: Edit) -> int:
        self._writable()
        began_s = self._courtesy.before_write()
        edited: int = self._submit(edit)
        self._courtesy.after_write(began_s)
        return edited

    def _submit(self, change: Any) -> Any:
        maintenance = self._writable()
        maintenance.hold_back()
        return maintenance.writer.submit(change)

    def _open(self) -> State:
        if self._closed:
            raise Closed(f"the database of collection {self.name!r} is closed", "Open it again with vsearch.open")
        if self._state.dropped:
            raise NotFound(f"the collection {self.name!r} was deleted", "Create it again")
        return self._state

    def _writable(self) -> Maintenance:
        self._open()
        if self._maintenance is None:
            raise ReadOnly("the database is open read-only", "Open it without read_only=True in one process")
        return self._maintenance
