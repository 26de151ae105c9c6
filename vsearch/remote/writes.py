"""Calls that write points: a function for each method of Collection, with its arguments after the collection's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from vsearch.points import Expiry, checked_payload
from vsearch.query import Filter
from vsearch.remote.arguments import (
    sent_expiries,
    sent_expiry,
    sent_filter,
    sent_id,
    sent_ids,
    sent_payloads,
    sent_vector,
    sent_vectors,
)
from vsearch.remote.call import Call, nothing, write
from vsearch.types import Payload, PointId

if TYPE_CHECKING:
    from vsearch.collection import Ids, Vectors


def upsert(
    collection: str,
    ids: Ids | None = None,
    vectors: Vectors | None = None,
    payloads: Sequence[Payload | None] | None = None,
    expires_at: Expiry | Sequence[Expiry] = None,
) -> Call[list[PointId]]:
    """Write points, replacing those whose id exists. The whole batch is written, or nothing of it.

    `ids`: n strings or integers from 0 to 2**64 - 1; None gives each point a new UUID. `vectors`: field -> one for
    each point: of a dense field an [n, d] array; of a sparse one a SciPy CSR matrix [n, any], or a list of
    {term: weight} or (indices, values), weights above 0; of a text field a list of strings. In a list, None stands
    for a point that lacks the field. `payloads`: n JSON objects or None.
    `expires_at`: when the points end, Unix seconds or an aware datetime, one for all or one for each. Of an id
    that occurs twice the last row wins. Returns the ids.

    Raises InvalidArgument, DimensionMismatch, LimitExceeded; DurabilityError when the disk refuses.
    """
    return _put(collection, ids, vectors, payloads, expires_at, insert=False)


def insert(
    collection: str,
    ids: Ids | None = None,
    vectors: Vectors | None = None,
    payloads: Sequence[Payload | None] | None = None,
    expires_at: Expiry | Sequence[Expiry] = None,
) -> Call[list[PointId]]:
    """As `upsert`, but raises AlreadyExists, and writes nothing, when one of the ids exists."""
    return _put(collection, ids, vectors, payloads, expires_at, insert=True)


def update(
    collection: str,
    id: PointId,
    payload: Payload | None = None,
    vectors: Mapping[str, Any] | None = None,
    expires_at: Expiry = None,
) -> Call[None]:
    """Change a point: the payload's keys are merged in, the given vectors replaced, the rest is kept.

    Raises NotFound when there is no such point.
    """
    return write(
        collection,
        "update",
        nothing,
        id=sent_id(id),
        payload=checked_payload(payload),
        vectors=sent_vector(vectors),
        expires_at=sent_expiry(expires_at),
    )


def set_payload(
    collection: str, payload: Payload, ids: Ids | None = None, filter: Filter = None, path: str | None = None
) -> Call[int]:
    """Merge keys into the payloads of points, by id or by filter; returns how many points that were.

    `path`: merge into the object that stands there ("author", "a.b"), which is made where it is missing.

    This and the edits below change all of their points or none, at most 100,000 at once. Raises InvalidArgument
    unless exactly one of ids and filter is given, NotFound when an id does not exist, LimitExceeded.
    """
    return _edit(collection, "set_payload", ids, filter, payload=checked_payload(payload), path=path)


def overwrite_payload(collection: str, payload: Payload, ids: Ids | None = None, filter: Filter = None) -> Call[int]:
    """Replace the whole payloads of points; returns how many points that were."""
    return _edit(collection, "overwrite_payload", ids, filter, payload=checked_payload(payload))


def delete_payload(collection: str, keys: Sequence[str], ids: Ids | None = None, filter: Filter = None) -> Call[int]:
    """Remove keys from the payloads of points; returns how many points were edited, with or without these keys.

    `keys`: paths, so that "author.name" removes a key of an object; '"a.b"' is one key with a dot in it.
    """
    return _edit(collection, "delete_payload", ids, filter, keys=keys)


def clear_payload(collection: str, ids: Ids | None = None, filter: Filter = None) -> Call[int]:
    """Leave points without a payload; returns how many points that were."""
    return _edit(collection, "clear_payload", ids, filter)


def update_vectors(collection: str, ids: Ids, vectors: Vectors) -> Call[int]:
    """Replace vectors of points that exist; returns how many points that were.

    `vectors`: as in `upsert`. A point keeps its payload, the fields that are not named, and those where it has
    None. Of an id that occurs twice the last row wins.
    """
    changed = itemgetter("changed")
    return write(collection, "update_vectors", changed, ids=sent_ids(ids), vectors=sent_vectors(vectors))


def delete_vectors(collection: str, fields: Sequence[str], ids: Ids | None = None, filter: Filter = None) -> Call[int]:
    """Make points lack these fields; returns how many were edited, with or without a vector there."""
    return _edit(collection, "delete_vectors", ids, filter, fields=fields)


def delete(collection: str, ids: Ids | None = None, filter: Filter = None) -> Call[int]:
    """Delete points by id, or all that satisfy a filter; returns how many there were.

    Raises InvalidArgument unless exactly one of the two is given.
    """
    return write(collection, "delete", itemgetter("deleted"), ids=sent_ids(ids), filter=sent_filter(filter))


def _put(
    collection: str,
    ids: Ids | None,
    vectors: Vectors | None,
    payloads: Sequence[Payload | None] | None,
    expires_at: Expiry | Sequence[Expiry],
    insert: bool,
) -> Call[list[PointId]]:
    return write(
        collection,
        "upsert",
        itemgetter("ids"),
        ids=sent_ids(ids),
        vectors=sent_vectors(vectors),
        payloads=sent_payloads(payloads),
        expires_at=sent_expiries(expires_at),
        insert=insert,
    )


def _edit(collection: str, operation: str, ids: Ids | None, filter: Filter, **body: Any) -> Call[int]:
    """An edit of the points that are selected by their ids or by a filter."""
    return write(collection, operation, itemgetter("changed"), ids=sent_ids(ids), filter=sent_filter(filter), **body)
