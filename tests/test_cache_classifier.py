"""The category of a prompt: a naive twin, what the report says against prompts not seen, bytes and bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from bench.cache_data import streams
from vsearch.cache.classifier import Centroids, fit
from vsearch.errors import Corruption, DimensionMismatch, InvalidArgument


def examples(random: np.random.Generator, n: int, spread: float = 0.5) -> tuple[np.ndarray, list[str | None]]:
    """Three categories of two lumps each, and examples of none."""
    centres = np.random.default_rng(7).normal(size=(6, 16))
    lump = random.integers(0, 7, n)
    vectors = np.concatenate([centres, np.zeros((1, 16))])[lump] + random.normal(0, spread, (n, 16))
    vectors[lump == 6] = random.normal(size=((lump == 6).sum(), 16))
    return vectors, [None if i == 6 else "abc"[i % 3] for i in lump.tolist()]


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("margin", [None, 0.0, 0.2])
def test_word_for_word(seed: int, margin: float | None) -> None:
    random = np.random.default_rng(seed)
    found = fit(*examples(random, 1_000), per_category=3, margin=margin)
    stored = found.to_dict()
    centroids = np.frombuffer(stored["centroids"], "<f4").reshape(-1, 16)
    owner = np.repeat(found.names, np.diff(stored["starts"]))
    for vector in unit(examples(random, 300)[0]):
        scores = sorted(((max((centroids @ vector)[owner == name]), name) for name in found.names), reverse=True)
        close = abs(scores[0][0] - scores[1][0] - found.margin) < 1e-6 or abs(scores[0][0] - found.floor) < 1e-6
        clear = scores[0][0] >= found.floor and scores[0][0] - scores[1][0] >= found.margin
        assert close or found.classify(vector) == (scores[0][1] if clear else None)


def test_the_report_is_what_new_examples_show(seed: int) -> None:
    random = np.random.default_rng(seed)
    found = fit(*examples(random, 5_000), per_category=4)
    vectors, labels = examples(random, 3_000)
    said = [found.classify(vector) for vector in unit(vectors)]
    known = [(a, b) for a, b in zip(said, labels, strict=True) if b is not None]
    given = [(a, b) for a, b in known if a is not None]
    assert found.report.accuracy == pytest.approx(sum(a == b for a, b in given) / len(given), abs=0.03)
    assert found.report.abstained == pytest.approx(1 - len(given) / len(known), abs=0.05)
    none = [a is None for a, b in zip(said, labels, strict=True) if b is None]
    assert found.report.refused == pytest.approx(sum(none) / len(none), abs=0.08)
    assert found.report.accuracy > 0.95


def test_real_questions(data_dir: Path) -> None:
    fitting, stream = streams(data_dir, "clinc", 2_000, 0)
    some = fitting.rows(np.arange(4_000))
    found = fit(some.vectors, [None if name == "default" else name for name in some.categories.tolist()])
    pairs = [(found.classify(v), c) for v, c in zip(stream.vectors, stream.categories, strict=True) if c != "default"]
    given = [(a, b) for a, b in pairs if a is not None]
    assert sum(a == b for a, b in given) / len(given) > 0.93
    assert len(given) / len(pairs) > 0.8


def test_few_examples_and_none_of_no_category() -> None:
    found = fit([[1.0, 0.0], [0.0, 1.0]], ["x", "y"])
    assert found.classify(np.array([1.0, 0.1], np.float32)) == "x"
    assert found.report.refused is None
    assert fit([[1.0, 0.0], [0.0, 1.0]], ["x", "y"], margin=0.5).classify(np.array([0.7, 0.7], np.float32)) is None


def test_stored_and_read_back(seed: int) -> None:
    random = np.random.default_rng(seed)
    found = fit(*examples(random, 500))
    again = Centroids.from_dict(msgpack.unpackb(msgpack.packb(found.to_dict())))
    vectors = unit(examples(random, 200)[0])
    assert [again.classify(v) for v in vectors] == [found.classify(v) for v in vectors]
    assert again.report == found.report
    assert again.dim == found.dim == 16


@pytest.mark.parametrize(
    "damage",
    [
        {"centroids": b"1234"},
        {"starts": [0]},
        {"starts": [1, 2, 3]},
        {"names": ["a"]},
        {"report": {}},
        {"margin": None},
    ],
)
def test_damaged(damage: dict[str, Any]) -> None:
    stored = fit(np.eye(4), ["a", "b", "a", "b"]).to_dict()
    with pytest.raises(Corruption):
        Centroids.from_dict({**stored, **damage})
    with pytest.raises(Corruption):
        Centroids.from_dict({})


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"vectors": [1.0, 0.0]}, DimensionMismatch),
        ({"vectors": np.empty((0, 4))}, DimensionMismatch),
        ({"vectors": [[0.0, 0.0], [1.0, 0.0]]}, InvalidArgument),
        ({"vectors": [[math.nan, 0.0], [1.0, 0.0]]}, InvalidArgument),
        ({"vectors": [["x", "y"], ["z", "w"]]}, InvalidArgument),
        ({"labels": ["a"]}, InvalidArgument),
        ({"labels": ["a", "a"]}, InvalidArgument),
        ({"labels": [None, "a"]}, InvalidArgument),
        ({"labels": ["a", 3]}, InvalidArgument),
        ({"per_category": 0}, InvalidArgument),
        ({"per_category": 2.5}, InvalidArgument),
        ({"margin": -0.1}, InvalidArgument),
        ({"margin": math.nan}, InvalidArgument),
    ],
)
def test_bad_input(bad: dict[str, Any], error: type[Exception]) -> None:
    good: dict[str, Any] = {"vectors": [[1.0, 0.0], [0.0, 1.0]], "labels": ["a", "b"]}
    fit(**good)
    with pytest.raises(error):
        fit(**{**good, **bad})
