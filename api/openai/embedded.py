"""Embeddings in their cache: found and kept one by one, by text, model, parameters and who asks."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from vsearch.cache.cache import Cache
from vsearch.types import FloatArray

from .controls import Controls
from .settings import MAX_INPUTS

FLOAT_BYTES: Final = 4  # of a component
Input = str | list[int]  # a text, or its tokens


@dataclass(frozen=True, slots=True)
class Wanted:
    """Embeddings that are asked for. `encoding`: how they are sent, float or base64. `scope`: what must be equal."""

    inputs: list[Input]
    encoding: str
    scope: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """`model`: as the upstream called it."""

    vector: FloatArray
    model: str


def wanted_of(body: Any, identity: Mapping[str, Any]) -> Wanted | None:
    """What a body asks for; None when it is not of the known shape, so that the upstream has to say what is wrong."""
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        return None
    encoding = body.get("encoding_format", "float")
    inputs = _inputs(body.get("input"))
    user = body.get("user")
    if inputs is None or encoding not in ("float", "base64") or not isinstance(user, str | None):
        return None
    rest = {name: value for name, value in body.items() if name not in ("input", "encoding_format", "user")}
    try:
        return Wanted(inputs, encoding, ("embeddings", dict(identity), user, json.dumps(rest, sort_keys=True)))
    except (ValueError, RecursionError):  # nested too deeply
        return None


def find(cache: Cache, wanted: Wanted, max_age: float | None) -> list[Found | None]:
    """What is cached of each input."""
    found: list[Found | None] = []
    for given in wanted.inputs:
        hit = cache.check(_prompt(given), scope=wanted.scope, max_age=max_age)
        raw = None if hit is None else hit.response
        if hit is None or not isinstance(raw, bytes) or not raw or len(raw) % FLOAT_BYTES:  # no vector: not of ours
            found.append(None)
        else:
            found.append(Found(np.frombuffer(raw, np.float32), str(hit.metadata.get("model", ""))))
    return found


def keep(
    cache: Cache,
    wanted: Wanted,
    places: Sequence[int],
    vectors: Sequence[FloatArray],
    model: str,
    controls: Controls,
    sources: Sequence[Any] = (),
) -> None:
    """Store the vectors of the inputs at these places. Raises what the cache raises."""
    for place, vector in zip(places, vectors, strict=True):
        cache.store(
            _prompt(wanted.inputs[place]), vector.tobytes(), scope=wanted.scope, ttl=controls.ttl,
            depends_on=sources, tags=controls.tags, metadata={"model": model},
        )  # fmt: skip


def vectors_of(body: bytes, n: int) -> tuple[list[FloatArray], dict[str, Any]] | None:
    """The `n` vectors of an upstream's answer, float32, and the answer; None when it is not as it should be."""
    try:
        answer = orjson.loads(body)
        data = sorted(answer["data"], key=lambda item: item["index"])
        vectors = [_vector(item["embedding"]) for item in data]
        good = [item["index"] for item in data] == list(range(n)) and isinstance(answer.get("model", ""), str)
    except (orjson.JSONDecodeError, binascii.Error, KeyError, TypeError, ValueError, AttributeError):
        return None
    if not good or len({len(vector) for vector in vectors}) != 1 or not all(np.isfinite(one).all() for one in vectors):
        return None
    return vectors, answer


def listing(vectors: Sequence[FloatArray], encoding: str, model: str, usage: Any) -> bytes:
    """The body of an answer."""
    data = [
        {
            "object": "embedding",
            "index": i,
            "embedding": base64.b64encode(vector.tobytes()).decode() if encoding == "base64" else vector,
        }
        for i, vector in enumerate(vectors)
    ]
    answer = {"object": "list", "data": data, "model": model, "usage": usage}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _inputs(given: Any) -> list[Input] | None:
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        return None
    if all(type(item) is int for item in given):
        return [given]
    if len(given) > MAX_INPUTS:
        return None
    if all(isinstance(item, str) for item in given):
        return list(given)
    good = all(isinstance(item, list) and item and all(type(token) is int for token in item) for item in given)
    return list(given) if good else None


def _prompt(given: Input) -> str:
    """As the cache takes it: JSON in ASCII, so that it normalises nothing that an embedding depends on."""
    return json.dumps(given, separators=(",", ":"))


def _vector(given: Any) -> FloatArray:
    if isinstance(given, str):
        raw = base64.b64decode(given, validate=True)
        vector = np.frombuffer(raw, "<f4").astype(np.float32)
    else:
        vector = np.array(given, np.float32)
    if vector.ndim != 1 or not len(vector):
        raise ValueError
    return vector
