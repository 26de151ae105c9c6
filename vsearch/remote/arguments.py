"""Arguments as they are sent. What can be wrong with one by itself is found here, by the functions that the embedded
database uses; what needs the schema or the points is found by the server, which raises the same errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from vsearch import points, wire
from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.fields.sparse_input import is_matrix, is_pair, sparse_queries, stored_sparse
from vsearch.filters import parse_filter, qdrant
from vsearch.points import Expiry
from vsearch.query import Filter
from vsearch.types import MAX_BATCH_POINTS, Payload, PointId, SearchParams
from vsearch.vectors import as_array

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
    """Field -> a vector for each point. Of which kind they are, their form tells: only the server has the schema."""
    return {name: _sent_column(name, values) for name, values in dict(vectors or {}).items()}


def sent_vector(vectors: Mapping[str, Any] | None) -> dict[str, Any]:
    """Field -> the vector of one point."""
    return {name: _sent_vector(name, value) for name, value in dict(vectors or {}).items()}


def sent_queries(using: str | None, queries: Any) -> Any:
    """A batch of queries."""
    if _are_sparse(queries):
        return wire.sparse(sparse_queries(_asked(using), queries))
    if isinstance(queries, np.ndarray) and queries.ndim == 1 and queries.dtype.kind in "OU":
        return queries.tolist()
    if isinstance(queries, list | tuple) and (not queries or isinstance(queries[0], str)):
        return list(queries)
    matrix = as_array("queries", queries)
    if matrix.ndim != 2:
        raise InvalidArgument(f"queries have {matrix.ndim} dimensions", "Give an array of shape [nq, d]")
    return wire.vectors(matrix)


def sent_query(using: str | None, query: Any) -> Any:
    """A batch of one query."""
    if isinstance(query, str):
        return [query]
    if _is_sparse(query):
        return wire.sparse(sparse_queries(_asked(using), [query]))
    vector = as_array("the query", query)
    if vector.ndim != 1:
        raise InvalidArgument(f"the query has {vector.ndim} dimensions", "Give one vector, or use search_batch")
    return wire.vectors(vector[None])


def sent_query_alone(using: str | None, query: Any) -> Any:
    """One query, where no batch is taken."""
    return wire.sparse_row(sparse_queries(_asked(using), [query])) if _is_sparse(query) else _plain(query)


def _sent_column(name: str, values: Any) -> Any:
    if not _are_sparse(values):
        rows = wire.vectors(values)
        _check_texts(f"texts of field {name!r}", rows)
        return rows
    count = np.size(values.indptr) - 1 if is_matrix(values) else len(values)
    return wire.sparse(*stored_sparse(f"vectors of field {name!r}", values, max(0, count), "float32"))


def _sent_vector(name: str, value: Any) -> Any:
    if not _is_sparse(value):
        return _plain(value)
    return wire.sparse_row(stored_sparse(f"vectors of field {name!r}", [value], 1, "float32")[0])


def _check_texts(what: str, rows: Any) -> None:
    """Raises InvalidArgument for a text that cannot be sent."""
    for row, text in enumerate(rows if isinstance(rows, list) else ()):
        if isinstance(text, str) and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InvalidArgument(f"{what}: row {row} is no valid Unicode", "Remove lone surrogates") from None


def _plain(value: Any) -> Any:
    """A dense vector or a text."""
    return value if value is None or isinstance(value, str) else wire.vectors(value)


def _is_sparse(value: Any) -> bool:
    """Whether it has a form of one sparse vector. Two rows of numbers may be one if they are as long, and the first has
    whole numbers only."""
    if is_pair(value):
        terms = value[0]
        whole = terms.dtype.kind in "iu" if isinstance(terms, np.ndarray) else all(isinstance(t, int) for t in terms)
        return whole and len(terms) == len(value[1])
    return isinstance(value, Mapping) or is_matrix(value)


def _are_sparse(values: Any) -> bool:
    """Whether it has a form of several sparse vectors, as the first that is there shows."""
    if not isinstance(values, list | tuple):
        return is_matrix(values) or isinstance(values, Mapping)  # which is refused
    return _is_sparse(next((value for value in values if value is not None), None))


def _asked(using: str | None) -> str:
    """What the queries are called in errors."""
    return "the query" if using is None else f"query for field {using!r}"


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
