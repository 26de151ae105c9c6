"""Bodies and query parameters of requests, parsed and validated."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError

from vsearch import wire
from vsearch.errors import InvalidArgument

from .endpoint import Endpoint
from .errors import WrongMediaType, malformed

MAX_PARAMETERS: Final = 100


def parse_body(endpoint: Endpoint, raw: bytes, media_type: str) -> Any:
    """The body as the endpoint's model, or what it makes of an Arrow stream.

    Raises InvalidArgument, Malformed or WrongMediaType.
    """
    if endpoint.body is None:
        return None
    if not raw and endpoint.optional_body:
        return endpoint.body()
    if media_type == wire.ARROW and endpoint.arrow is not None:
        return endpoint.arrow(raw)
    try:
        if media_type == wire.MSGPACK and not endpoint.envelope:
            return endpoint.body.model_validate(wire.unpack(raw))
        if media_type in ("", wire.JSON):
            return endpoint.body.model_validate_json(raw)
    except ValidationError as error:
        raise malformed(error, "body") from None
    kinds = [wire.JSON] + ([] if endpoint.envelope else [wire.MSGPACK]) + ([wire.ARROW] if endpoint.arrow else [])
    raise WrongMediaType(f"the body is of type {media_type[:100]!r}", f"Send {' or '.join(kinds)}")


def parse_params(endpoint: Endpoint, query: bytes) -> BaseModel | None:
    """The query parameters as the endpoint's model. A tuple in it takes repeated ones. Raises InvalidArgument."""
    if endpoint.params is None and not query:
        return None
    try:
        text = query.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS, errors="strict") if text else []
    except ValueError as error:
        raise InvalidArgument(f"the query parameters cannot be read: {error}", "Send name=value&name=value") from None
    fields = {} if endpoint.params is None else endpoint.params.model_fields
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name not in fields:
            raise InvalidArgument(
                f"unknown query parameter {name[:100]!r}", f"Known here: {', '.join(fields) or 'none'}"
            )
        if fields[name].default == ():
            values[name] = (*values.get(name, ()), value)
        elif name in values:
            raise InvalidArgument(f"the query parameter {name!r} is given twice", "Give it once")
        else:
            values[name] = value
    try:
        return None if endpoint.params is None else endpoint.params.model_validate(values)
    except ValidationError as error:
        raise malformed(error, "query", InvalidArgument) from None
