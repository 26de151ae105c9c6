"""Embeddings by a sentence-transformers model in a folder of this computer; nothing is downloaded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from vsearch.embedders.base import checked_texts, rows
from vsearch.errors import InvalidArgument, MissingExtra, Unavailable
from vsearch.types import FloatArray

HEAD_BYTES: Final = 1 << 20  # of a file of weights: enough to tell two trainings apart
FINGERPRINT_BYTES: Final = 6


class SentenceTransformerEmbedder:
    """A model that SentenceTransformer.save has written.

    `device`: of PyTorch; None: the best there is. `batch`: texts that the model takes at once. The model's id is the
    name of its folder with a hash of its files, so that a model that was trained on is another.

    Raises MissingExtra without sentence-transformers, InvalidArgument for what is no model.
    """

    def __init__(self, path: str | PathLike[str], device: str | None = None, batch: int = 64) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise InvalidArgument(f"{str(path)!r} is no folder", "Name the folder of a model; none is downloaded")
        if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
            raise InvalidArgument(f"batch is {batch!r}", "Use a whole number of at least 1")
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            hint = 'Run: pip install "vsearch-db[sentence-transformers]"'
            raise MissingExtra("sentence-transformers is not installed", hint) from error
        self._model_id = f"{folder.resolve().name}@{_fingerprint(folder)}"
        self._batch = batch
        self._lock = threading.Lock()  # tokenizers take one caller at a time
        try:
            self._encoder: Any = SentenceTransformer(str(folder), device=device, local_files_only=True)
        except Exception as error:
            hint = "Name the folder that SentenceTransformer.save has written"
            raise InvalidArgument(f"the model in {str(path)!r} cannot be loaded: {error}", hint) from error
        self._dim = int(self._encode(["dimension"]).shape[1])

    def __repr__(self) -> str:
        return f"SentenceTransformerEmbedder(model={self._model_id!r}, dim={self._dim})"

    @property
    def model(self) -> str:
        return self._model_id

    @property
    def dim(self) -> int:
        return self._dim

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """float32 [n, dim]. Raises InvalidArgument, or Unavailable when the model fails."""
        texts = checked_texts(texts)
        return self._encode(texts, self._dim) if texts else np.empty((0, self._dim), np.float32)

    async def aembed(self, texts: Sequence[str]) -> FloatArray:
        """As `embed`, in a thread."""
        return await asyncio.to_thread(self.embed, texts)

    def _encode(self, texts: list[str], dim: int | None = None) -> FloatArray:
        try:
            with self._lock:
                given = self._encoder.encode(
                    texts, batch_size=self._batch, convert_to_numpy=True, show_progress_bar=False
                )
        except Exception as error:
            hint = "See the error that it was raised from"
            raise Unavailable(f"embedding failed: {type(error).__name__}: {error}", hint) from error
        return rows(given, len(texts), dim)


def _fingerprint(folder: Path) -> str:
    """Hash of the names of all files, of the configuration whole, and of the beginning and size of everything else."""
    digest = blake2b(digest_size=FINGERPRINT_BYTES)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder)
        if any(part.startswith(".") for part in name.parts):
            continue
        with path.open("rb") as file:
            head = file.read() if path.suffix == ".json" else file.read(HEAD_BYTES)
        digest.update(f"{name.as_posix()}\0{path.stat().st_size}\0{len(head)}\0".encode() + head)
    return digest.hexdigest()
