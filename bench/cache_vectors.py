"""What a cache is filled with to be timed: real questions and sentences with their vectors.

Up to 195,000 entries are the questions of QQP and the definitions of WordNet themselves. For a million each comes up to
six times: the vector with some noise (length 0.4: a similarity of 0.93 to the first), the text with a few words more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench.data import unit_vectors
from vsearch.types import FloatArray

THRESHOLD = 0.9
ANSWER_BYTES = 500
NOISE = 0.4
ENDINGS = ("", " Please answer.", " Thanks.", " In short.", " Tell me.", " Please help.")


@dataclass(frozen=True, slots=True)
class Prompts:
    """Texts with their vectors, float32 [n, 384] of unit length."""

    texts: list[str]
    vectors: FloatArray

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, rows: slice) -> Prompts:
        return Prompts(self.texts[rows], self.vectors[rows])


@dataclass(frozen=True, slots=True)
class Filling:
    """`stored` and their `answers`. `hits`: other questions with the same answer as a stored one, and similar enough;
    `misses`: example sentences of WordNet; `fresh`: what is stored while it is timed."""

    stored: Prompts
    answers: list[str]
    hits: Prompts
    misses: Prompts
    fresh: Prompts


def vectors_of(folder: Path, name: str = "dense_i8.npy", scale: str = "scale") -> FloatArray:
    """The vectors of a data set, float32 [n, 384] of unit length."""
    return unit_vectors(np.load(folder / name), json.loads((folder / "dense.json").read_text())[scale])


def filling(folder: Path, entries: int) -> Filling:
    """What a cache of so many entries is filled with and asked for."""
    rng = np.random.default_rng(0)
    texts: list[str] = pq.read_table(folder / "qqp" / "questions.parquet")["text"].to_pylist()
    vectors = vectors_of(folder / "qqp")
    pairs = pq.read_table(folder / "qqp" / "pairs.parquet")
    a, b = pairs["a"].to_numpy(), pairs["b"].to_numpy()
    near = np.einsum("ij,ij->i", vectors[a], vectors[b]) >= THRESHOLD + 0.01  # codes are coarse
    known = np.flatnonzero(near & pairs["same"].to_numpy(zero_copy_only=False))
    known = rng.permutation(known)[: min(4_000, entries // 5)]
    known = known[~np.isin(b[known], a[known])]
    first = np.unique(a[known])  # stored; its twin is asked
    rest = rng.permutation(np.setdiff1d(np.arange(len(texts)), b[known]))
    rest = rest[~np.isin(rest, first)]
    words = folder / "wordnet"
    definitions = Prompts(pq.read_table(words / "docs.parquet")["text"].to_pylist(), vectors_of(words))
    sentences = pq.read_table(words / "queries.parquet")["text"].to_pylist()
    misses = Prompts(sentences, vectors_of(words, "queries_dense_i8.npy", "queries_scale"))
    questions = np.concatenate([first, rest])
    real = Prompts(
        [texts[row] for row in questions] + definitions.texts, np.concatenate([vectors[questions], definitions.vectors])
    )
    fresh = Prompts(
        [f"{text} Say more." for text in definitions.texts[:4_000]], _noisy(definitions.vectors[:4_000], rng)
    )
    stored = _multiplied(real, entries, len(first), rng)
    answers = [(text * (ANSWER_BYTES // len(text) + 1))[:ANSWER_BYTES] for text in stored.texts]
    hits = Prompts([texts[row] for row in b[known]], vectors[b[known]])
    return Filling(stored, answers, hits, misses, fresh)


def _multiplied(real: Prompts, entries: int, first: int, rng: np.random.Generator) -> Prompts:
    """So many of them, the first ones among them, and copies where there are too few."""
    kept = np.concatenate([np.arange(first), first + rng.permutation(len(real) - first)])[:entries]
    texts, blocks = [real.texts[row] for row in kept], [real.vectors[kept]]
    for ending in ENDINGS[1:]:
        some = kept[: entries - len(texts)]
        texts += [real.texts[row] + ending for row in some]
        blocks.append(_noisy(real.vectors[some], rng))
    return Prompts(texts, np.concatenate(blocks))


def _noisy(vectors: FloatArray, rng: np.random.Generator) -> FloatArray:
    noise = rng.normal(size=vectors.shape).astype(np.float32)
    noise *= NOISE / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-9)
    noise += vectors
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-9)
    return noise
