"""What a cache asks of an embedder, and the checks that all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from vsearch.errors import DimensionMismatch, InvalidArgument, Unavailable, VSearchError
from vsearch.types import MAX_DIM, FloatArray


class Embedder(Protocol):
    """Makes vectors of texts. Safe to use from many threads.

    `model`: what the vectors were made by; a cache keeps it, and takes no vectors of another. `dim`: components of a
    vector; None: not known before the first.
    """

    @property
    def model(self) -> str: ...

    @property
    def dim(self) -> int | None: ...

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """float32 [n, dim], of any length. Raises VSearchError: Unavailable when a vector cannot be had now."""
        ...

    async def aembed(self, texts: Sequence[str]) -> FloatArray:
        """As `embed`, without holding up the event loop."""
        ...


class CallableEmbedder:
    """An embedder of a function of one's own.

    `function`: given a list of texts, returns their vectors, one a row; called from any thread. What it raises becomes
    Unavailable. Raises InvalidArgument.
    """

    def __init__(self, function: Callable[[list[str]], Any], model: str, dim: int) -> None:
        if not callable(function):
            raise InvalidArgument(f"the function is a {type(function).__name__}", "Give one that takes a list of texts")
        self._function = function
        self._model = checked_model(model)
        self._dim = checked_dim(dim)

    def __repr__(self) -> str:
        return f"CallableEmbedder(model={self._model!r}, dim={self._dim})"

    @property
    def model(self) -> str:
        return self._model

    @property
    def dim(self) -> int:
        return self._dim

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """float32 [n, dim]. Raises InvalidArgument, DimensionMismatch or Unavailable."""
        texts = checked_texts(texts)
        if not texts:
            return np.empty((0, self._dim), np.float32)
        try:
            given = self._function(texts)
        except VSearchError:
            raise
        except Exception as error:
            hint = "See the error that it was raised from"
            raise Unavailable(f"embedding failed: {type(error).__name__}: {error}", hint) from error
        return rows(given, len(texts), self._dim)

    async def aembed(self, texts: Sequence[str]) -> FloatArray:
        """As `embed`, in a thread."""
        return await asyncio.to_thread(self.embed, texts)


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list. Raises InvalidArgument."""
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InvalidArgument(f"the texts are a {type(texts).__name__}", "Use a list of strings")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidArgument(f"text {i} is a {type(text).__name__}", "Use strings")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(f"text {i} is not valid Unicode", "Remove lone surrogates") from None
    return list(texts)


def rows(given: Any, n: int, dim: int | None) -> FloatArray:
    """What an embedder has made, as float32 [n, dim].

    Raises DimensionMismatch for vectors of another dimension, Unavailable for what are no vectors of n texts.
    """
    hint = "Look at the model: one vector of finite numbers is wanted for each text"
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            array = np.ascontiguousarray(given, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise Unavailable("the embeddings are no numbers, or of several lengths", hint) from None
    if array.ndim != 2 or len(array) != n:
        raise Unavailable(f"the embeddings of {n} texts have the shape {array.shape}", hint)
    if dim is not None and array.shape[1] != dim:
        raise DimensionMismatch(f"the embeddings have dimension {array.shape[1]}, not {dim}", "Look at the model")
    if not 1 <= array.shape[1] <= MAX_DIM:
        raise DimensionMismatch(f"the embeddings have dimension {array.shape[1]}", f"Use 1 to {MAX_DIM:,}")
    if not np.isfinite(array).all():
        raise Unavailable("the embeddings hold NaN or infinity", hint)
    return array


def checked_model(model: str) -> str:
    """Raises InvalidArgument."""
    if not isinstance(model, str) or not model:
        raise InvalidArgument(f"model is {model!r:.80}", "Name the model that makes the vectors")
    return model


def checked_dim(dim: int) -> int:
    """Raises InvalidArgument."""
    if not isinstance(dim, int) or isinstance(dim, bool) or not 1 <= dim <= MAX_DIM:
        raise InvalidArgument(f"dim is {dim!r:.80}", f"Use 1 to {MAX_DIM:,}")
    return dim
