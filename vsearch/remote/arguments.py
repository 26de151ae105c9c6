"""Arguments as they are sent. What can be wrong with one by itself is found here, by the functions that the embedded
database uses; what needs the schema or the points is found by the server, which raises the same errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch import points, wire
from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.filters import parse_filter, qdrant
from vsearch.points import Expiry
from vsearch.query import Filter
from vsearch.types import MAX_BATCH_POINTS, Payload, PointId, SearchParams

if TYPE_CHECKING:
    from vsearch.collection import Ids, Vectors


def sent_ids(ids: Ids | None) -> list[PointId] | None:
    """Ids as Python values."""
    if ids is None:
        return None
    plain = points.checked_ids(ids)[0]
    if len(plain) > MAX_BATCH_POINTS:
        raise LimitExceeded(f"{len(plain):,} ids in one call", f"Send at most {MAX_BATCH_POINTS:,} at once")
    return plain


def sent_id(point_id: PointId) -> PointId:
    return points.checked_ids([point_id])[0][0]


def sent_vectors(vectors: Vectors | None) -> dict[str, Any]:
    """Field -> rows, or one vector."""
    return {name: wire.vectors(rows) for name, rows in dict(vectors or {}).items()}


def sent_payloads(payloads: Sequence[Payload | None] | None) -> list[Payload | None] | None:
    """Payloads of JSON values."""
    return None if payloads is None else [points.checked_payload(payload, row) for row, payload in enumerate(payloads)]


def sent_expiry(expires_at: Expiry) -> float | None:
    """Unix time in seconds."""
    return None if expires_at is None else points.expiry_ms(expires_at) / 1000


def sent_expiries(expires_at: Expiry | Sequence[Expiry]) -> float | list[float | None] | None:
    """One time for all points, or one for each."""
    if expires_at is None or isinstance(expires_at, datetime | int | float | np.number):
        return sent_expiry(expires_at)
    return [sent_expiry(one) for one in expires_at]


def sent_filter(filter: Filter) -> dict[str, Any] | None:
    """A filter of any spelling in Qdrant's JSON. One that every point satisfies stays a filter: `delete` refuses it."""
    node = parse_filter(filter)
    if node is None:
        return None if filter is None else {"must": []}
    return qdrant.to_dict(node)


def sent_number(what: str, number: int) -> int:
    """An integer; what range it must be in the server says."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise InvalidArgument(f"{what} is {number!r}", "Use an integer")
    return number


def sent_params(params: SearchParams | None) -> dict[str, Any] | None:
    """How hard to try."""
    if params is None:
        return None
    if not isinstance(params, SearchParams):
        raise InvalidArgument(f"params is a {type(params).__name__}", "Use vsearch.SearchParams(...)")
    return {
        "exact": bool(params.exact),
        "recall": float(params.recall),
        "ef": None if params.ef is None else int(params.ef),
        "oversampling": None if params.oversampling is None else float(params.oversampling),
        "rescore": bool(params.rescore),
        "score": params.score,
    }
