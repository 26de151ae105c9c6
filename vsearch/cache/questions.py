"""What is asked: a prompt, normalised, in a scope, with a vector.

A scope says who asks and under which conditions: tenant, user, model, system prompt, tools, parameters. It is a key:
two different scopes have different digests, and no similarity leads from one to the other. The digests are of BLAKE2b,
since whoever chooses prompts must not be able to make two that collide.
"""

from __future__ import annotations

import json
import math
import unicodedata
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np

from vsearch.cache.policy import check_number
from vsearch.errors import DimensionMismatch, InvalidArgument, LimitExceeded
from vsearch.types import FloatArray

MAX_PROMPT_BYTES: Final = 1 << 20  # prompts are hashed, and compared by guards
MAX_SCOPE_BYTES: Final = 4 << 20  # a whole conversation may be part of a scope
MAX_SCOPE_DEPTH: Final = 64
MAX_INT_BITS: Final = 1_024  # of a number in a scope: more digits take long to write
DIGEST_BYTES: Final = 16  # 128 bits: a collision by chance is out of reach
UNIT: Final = 1e-4  # a squared length so near to 1 moves similarities by less than half precision does
TINY: Final = 1e-30  # a sum of squares below this may have lost digits to underflow


@dataclass(frozen=True, slots=True)
class Question:
    """`text`: the prompt, normalised. `scope`: digest of the scope. `digest`: of scope and text. `category`: as
    given."""

    prompt: str
    text: str
    scope: bytes
    digest: bytes
    category: str | None


def question(prompt: str, scope: Any, category: str | None) -> Question:
    """Raises InvalidArgument or LimitExceeded for a prompt or a scope that cannot be one."""
    text = normalised(prompt)
    scope_digest = digest_of_scope(scope)
    digest = blake2b(scope_digest + text.encode(), digest_size=DIGEST_BYTES).digest()
    return Question(prompt, text, scope_digest, digest, category)


def normalised(prompt: str) -> str:
    """The prompt without what no answer depends on: the form of its accents, line ends, space around it.

    Upper and lower case and inner space stay: in code both have a meaning. Raises InvalidArgument, LimitExceeded.
    """
    if not isinstance(prompt, str):
        raise InvalidArgument(f"the prompt is a {type(prompt).__name__}", "Use a string")
    if len(prompt) > MAX_PROMPT_BYTES or (not prompt.isascii() and len(_encoded(prompt)) > MAX_PROMPT_BYTES):
        raise LimitExceeded("the prompt is too long", f"At most {MAX_PROMPT_BYTES:,} bytes")
    if not prompt.isascii():
        prompt = unicodedata.normalize("NFC", prompt)
    if "\r" in prompt:
        prompt = prompt.replace("\r\n", "\n").replace("\r", "\n")
    return prompt.strip()


def digest_of_scope(scope: Any) -> bytes:
    """The digest of a string, number, boolean, None, or a list, tuple or dict of these; 16 bytes.

    Values that differ in value or type have different digests; lists and tuples are alike, and so are dicts in any
    order. Raises InvalidArgument or LimitExceeded.
    """
    if isinstance(scope, tuple) and not scope:
        return _NO_SCOPE
    _check_scope(scope, MAX_SCOPE_DEPTH)
    canonical = json.dumps(scope, sort_keys=True, separators=(",", ":")).encode()
    if len(canonical) > MAX_SCOPE_BYTES:
        raise LimitExceeded(f"the scope has {len(canonical):,} bytes", f"At most {MAX_SCOPE_BYTES:,}")
    return blake2b(canonical, digest_size=DIGEST_BYTES, person=b"vsearch scope").digest()


def unit(vector: Any, dim: int) -> FloatArray:
    """The vector as float32 [dim] of length 1; perhaps the same array. Raises DimensionMismatch, or InvalidArgument
    where it has no direction."""
    array = vector if type(vector) is np.ndarray and vector.dtype == np.float32 else _as_float32(vector)
    if array.shape != (dim,):
        have = array.shape[0] if array.ndim == 1 else array.shape
        hint = f"The cache has dimension {dim}" if dim else "The cache has dimension 0: exact matches only"
        raise DimensionMismatch(f"a vector of dimension {have}", hint)
    square = float(np.dot(array, array))
    if abs(square - 1.0) < UNIT:
        return array
    if not TINY < square < math.inf:  # also NaN
        square = float(np.dot(array.astype(np.float64), array.astype(np.float64)))
        if not math.isfinite(square):
            raise InvalidArgument("the vector holds NaN or infinity", "Remove or replace it")
        if square == 0.0:
            raise InvalidArgument("the vector is zero, which has no direction", "Use another embedding")
        return (array.astype(np.float64) / math.sqrt(square)).astype(np.float32)
    result: FloatArray = array * np.float32(1.0 / math.sqrt(square))
    return result


def number(name: str, value: float | None, most: float) -> float | None:
    """A number from 0 to `most`, or None. Raises InvalidArgument for anything else."""
    check_number(name, value, 0.0, most, optional=True)
    return value


def _as_float32(vector: Any) -> FloatArray:
    try:
        array = np.asarray(vector)
        if array.dtype.kind not in "fiu":
            raise ValueError
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, np.float32)
    except ValueError:
        raise InvalidArgument("the vector is not an array of numbers", "Use a list of floats or an array") from None


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument("the prompt is not valid Unicode", "Remove lone surrogates") from None


def _check_scope(value: Any, depth: int) -> None:
    if value is None or isinstance(value, str | bool):
        return
    if isinstance(value, int):
        if value.bit_length() > MAX_INT_BITS:
            raise InvalidArgument(f"the scope holds a number of {value.bit_length():,} bits", "Use a shorter one")
        return
    if depth == 0:
        raise InvalidArgument(f"the scope is nested more than {MAX_SCOPE_DEPTH} deep", "Make it flatter")
    if isinstance(value, float) and math.isfinite(value):
        return
    if isinstance(value, tuple | list):
        for item in value:
            _check_scope(item, depth - 1)
        return
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for item in value.values():
            _check_scope(item, depth - 1)
        return
    hint = "Use strings, numbers, booleans, None, and lists, tuples or dicts of these"
    raise InvalidArgument(f"the scope holds {value!r:.60} ({type(value).__name__})", hint)


_NO_SCOPE: Final = blake2b(b"[]", digest_size=DIGEST_BYTES, person=b"vsearch scope").digest()
