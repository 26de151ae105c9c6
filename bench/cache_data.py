"""Streams of labelled prompts: three real data sets, in random order, with what counts as a right answer.

- clinc: 150 intents in 10 domains. The answer is the intent, the category the domain. Prompts out of scope have answers
  that they share with none, and the category "default". Thresholds are fitted on the training split, the others are
  streamed.
- banking: 77 close intents of one domain. The answer is the intent; there are no categories.
- qqp: questions with labelled pairs. Those that pairs call the same, directly or through others, share an answer. Half
  of a stream are questions that share theirs with another, whole classes of them, and half are not known to. Two
  questions that no pair compares count as different: some of them are the same, so that all wrong answers counted here
  are a little more than those made.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.data import unit_vectors
from vsearch.types import FloatArray, IntArray

NAMES: Final = ("clinc", "banking", "qqp")
NEAR: Final = 256  # earlier prompts that are looked through for a stored one
BLOCK: Final = 512
NOWHERE: Final = -2.0


@dataclass(frozen=True)
class Stream:
    """vectors float32 [n, d] of unit length, answers int64 [n], categories and texts a string each, in order."""

    vectors: FloatArray
    answers: IntArray
    categories: NDArray[np.str_]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.vectors)

    def rows(self, chosen: IntArray) -> Stream:
        texts = [self.texts[i] for i in chosen.tolist()]
        return Stream(self.vectors[chosen], self.answers[chosen], self.categories[chosen], texts)


@dataclass(frozen=True)
class Near:
    """For each prompt the earlier ones it may be answered by, the nearest first: rows int64 [n, k] and similarities
    float32 [n, k]; NOWHERE in place of those that are none."""

    rows: IntArray
    similarities: FloatArray


def streams(folder: Path, name: str, prompts: int, seed: int) -> tuple[Stream, Stream]:
    """Prompts to fit on, and `prompts` other ones to be streamed, both in random order."""
    random = np.random.default_rng(seed)
    whole, fitting = _qqp(folder / "qqp", random) if name == "qqp" else _intents(folder / name)
    first, second = random.permutation(np.flatnonzero(fitting)), random.permutation(np.flatnonzero(~fitting))
    if name == "qqp":
        first, second = _mixed(whole, first, prompts), _mixed(whole, second, prompts)
        first, second = random.permutation(first), random.permutation(second)
    elif name == "banking":  # the test split is small: prompts are divided anew
        both = random.permutation(len(whole))
        first, second = both[prompts:], both[:prompts]
    return whole.rows(first), whole.rows(second[:prompts])


def near(stream: Stream, groups: NDArray[np.str_] | None = None) -> Near:
    """The nearest NEAR earlier prompts of each; with `groups` only those of its own."""
    n, k = len(stream), min(NEAR, len(stream))
    rows, similarities = np.zeros((n, k), np.int64), np.full((n, k), NOWHERE, np.float32)
    for at in range(0, n, BLOCK):
        last = min(at + BLOCK, n)
        block = stream.vectors[at:last] @ stream.vectors[:last].T
        block[np.arange(last) >= np.arange(at, last)[:, None]] = NOWHERE
        if groups is not None:
            block[groups[at:last, None] != groups[None, :last]] = NOWHERE
        some = min(k, last)
        best = np.argpartition(-block, some - 1, axis=1)[:, :some]
        values = np.take_along_axis(block, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[at:last, :some] = np.take_along_axis(best, order, axis=1)
        similarities[at:last, :some] = np.take_along_axis(values, order, axis=1)
    return Near(rows, similarities)


def _intents(folder: Path) -> tuple[Stream, NDArray[np.bool_]]:
    """All prompts of clinc or banking, and which of them are to be fitted on."""
    table = pq.read_table(folder / "queries.parquet").to_pydict()
    intents, n = np.array(table["intent"]), len(table["intent"])
    answers = np.unique(intents, return_inverse=True)[1].astype(np.int64)
    alone = intents == "oos"
    answers[alone] = n + np.arange(alone.sum())
    domains = np.array(table.get("domain", ["default"] * n))
    domains = np.where(domains == "oos", "default", domains)
    return Stream(_vectors(folder), answers, domains, table["text"]), np.array(
        [split.endswith("train") for split in table["split"]]
    )


def _qqp(folder: Path, random: np.random.Generator) -> tuple[Stream, NDArray[np.bool_]]:
    """All questions, and a random half of the classes to fit on."""
    texts = pq.read_table(folder / "questions.parquet").to_pydict()["text"]
    pairs = pq.read_table(folder / "pairs.parquet").to_pydict()
    root = list(range(len(texts)))

    def find(a: int) -> int:
        while root[a] != a:
            root[a] = root[root[a]]
            a = root[a]
        return a

    for a, b, same in zip(pairs["a"], pairs["b"], pairs["same"], strict=True):
        if same:
            root[find(a)] = find(b)
    answers = np.array([find(a) for a in range(len(texts))])
    half = random.random(len(texts)) < 0.5
    return Stream(_vectors(folder), answers, np.full(len(texts), "default"), texts), half[answers]


def _mixed(whole: Stream, rows: IntArray, prompts: int) -> IntArray:
    """Half of the prompts from classes of several, all of a class, and half from classes of one."""
    size = np.bincount(whole.answers, minlength=len(whole))
    several = rows[size[whole.answers[rows]] > 1]
    first = {answer: i for i, answer in reversed(list(enumerate(whole.answers[several].tolist())))}
    by_class = several[np.argsort([first[answer] for answer in whole.answers[several].tolist()], kind="stable")]
    return np.concatenate([by_class[: prompts // 2], rows[size[whole.answers[rows]] == 1][: prompts - prompts // 2]])


def _vectors(folder: Path) -> FloatArray:
    return unit_vectors(np.load(folder / "dense_i8.npy"), json.loads((folder / "dense.json").read_text())["scale"])
