"""Thresholds fitted from labelled pairs: an exhaustive twin, other pairs than those fitted, and bad input."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from bench.cache_curves import draw
from bench.cache_data import near, streams
from bench.cache_quality import sweep
from vsearch.cache.thresholds import fit, from_stream
from vsearch.errors import InvalidArgument

CURVES = {"easy": (25.0, 0.55), "fair": (20.0, 0.75), "hard": (15.0, 0.95)}  # slope, and where half are right


def drawn(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    names = random.choice(list(CURVES), n).tolist()
    s = np.clip(random.normal(0.75, 0.12, n), 0, 1)
    chance = [1 / (1 + math.exp(-CURVES[name][0] * (x - CURVES[name][1]))) for name, x in zip(names, s, strict=True)]
    return s, random.random(n) < chance, names


def measured(s: Any, same: Any, names: list[str], thresholds: dict[str, float]) -> tuple[float, float]:
    hit = s >= np.array([thresholds[name] for name in names])
    return float(hit.mean()), float((hit & ~same).mean())


@pytest.mark.parametrize("max_error", [0.005, 0.02])
def test_holds_on_other_pairs_and_beats_one_threshold(seed: int, max_error: float) -> None:
    random = np.random.default_rng(seed)
    fitted, others = fit(*drawn(random, 20_000), max_error), drawn(random, 20_000)
    hits, wrong = measured(*others, fitted.thresholds)
    assert 0.6 * max_error < wrong < 1.4 * max_error
    assert fitted.whole.error <= max_error
    assert fitted.whole.hit_rate == pytest.approx(hits, abs=0.02)
    one, _ = measured(*others, dict.fromkeys(CURVES, fitted.single))
    assert hits > 1.1 * one
    assert fitted.thresholds["easy"] < fitted.thresholds["fair"] < fitted.thresholds["hard"]
    assert sum(share.pairs for share in fitted.categories.values()) == fitted.whole.pairs == 20_000


def test_nearly_as_good_as_any_three_thresholds(seed: int) -> None:
    s, same, names = drawn(np.random.default_rng(seed), 4_000)
    fitted = fit(s, same, names, 0.02)
    owner, grid = np.array(names), np.linspace(0.4, 1.0, 40)
    counts = {name: [((owner == name) & (s >= t), (owner == name) & (s >= t) & ~same) for t in grid] for name in CURVES}
    sums = {name: [(int(hit.sum()), int(wrong.sum())) for hit, wrong in counts[name]] for name in CURVES}
    best = max(
        a[0] + b[0] + c[0]
        for a in sums["easy"] for b in sums["fair"] for c in sums["hard"] if a[1] + b[1] + c[1] <= 80
    )  # fmt: skip
    hits, wrong = measured(s, same, names, fitted.thresholds)
    assert wrong <= 0.02
    assert hits >= 0.9 * best / 4_000


def test_few_pairs_follow_the_whole_and_none_right_gives_nothing(seed: int) -> None:
    s, same, names = drawn(np.random.default_rng(seed), 3_000)
    extra_s, extra = np.array([0.9, 0.8, *np.linspace(0.5, 0.95, 200)]), [True, True, *[False] * 200]
    fitted = fit(np.concatenate([s, extra_s]), np.concatenate([same, extra]),
                 [*names, "new", "new", *["hopeless"] * 200], 0.02)  # fmt: skip
    assert abs(fitted.thresholds["new"] - fitted.single) < 0.15
    assert fitted.thresholds["hopeless"] > 0.95
    assert fitted.categories["hopeless"].hit_rate == 0.0


def test_all_right_all_wrong_and_one_pair() -> None:
    assert fit([0.5, 0.9] * 50, [True] * 100, None, 0.01).thresholds["default"] <= 0.5
    assert fit([0.5, 0.9] * 50, [False] * 100, None, 0.01).whole.hit_rate == 0.0
    assert 0.0 <= fit([0.7], [True], ["a"], 0.01).thresholds["a"] <= 1.0
    assert 0.0 <= fit([0.7] * 9, [True, False, True] * 3, ["a"] * 9, 0.01).thresholds["a"] <= 1.0


@pytest.mark.parametrize("partitioned", [False, True])
def test_pairs_of_a_stream_word_for_word(seed: int, partitioned: bool) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(700, 8))
    labels: list[Any] = random.integers(0, 20, 700).tolist()
    labels[5::9] = [None] * len(labels[5::9])
    categories = random.choice(["a", "b", "c"], 700).tolist()
    found = from_stream(vectors, labels, categories, partitioned)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for i in range(700):
        earlier = [j for j in range(i) if not partitioned or categories[i] == categories[j]]
        best = max(earlier, key=lambda j: unit[i] @ unit[j], default=None)
        if best is None:
            assert found.similarities[i] == 0.0
            assert not found.same[i]
        else:
            assert found.similarities[i] == pytest.approx(max(unit[i] @ unit[best], 0.0), abs=1e-5)
            assert found.same[i] == (labels[i] is not None and labels[i] == labels[best] and unit[i] @ unit[best] > 0)
    assert found.categories == categories


def test_real_questions_by_category_beat_one_threshold(data_dir: Path) -> None:
    """Fitted on other prompts than those streamed; the single threshold is the best for the stream itself."""
    fitting, stream = streams(data_dir, "clinc", 3_000, 0)
    pairs = fitting.rows(np.arange(3_000))
    fits = [
        fit(*from_stream(pairs.vectors, pairs.answers.tolist(), pairs.categories.tolist()), max_error=e)
        for e in np.geomspace(0.001, 0.03, 12)
    ]
    least = np.array([[one.thresholds[c] for c in stream.categories.tolist()] for one in fits])
    by_category = sweep(stream, near(stream, stream.categories), least)
    single = sweep(stream, near(stream), np.repeat(np.arange(0.6, 0.99, 0.01)[:, None], 3_000, axis=1))
    assert by_category.at(0.01) > 1.1 * single.at(0.01)


@pytest.mark.parametrize(
    "bad",
    [
        {"similarities": []},
        {"similarities": [0.5, math.nan]},
        {"similarities": [0.5, 3.0]},
        {"similarities": ["x", "y"]},
        {"similarities": [[0.5], [0.6]]},
        {"same": [True]},
        {"same": [1, 2]},
        {"same": ["yes", "no"]},
        {"categories": ["a"]},
        {"categories": ["a", 3]},
        {"max_error": 0.0},
        {"max_error": 2.0},
        {"max_error": math.nan},
        {"max_error": True},
        {"max_error": "1%"},
    ],
)
def test_bad_input(bad: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "similarities": [0.5, 0.9],
        "same": [False, True],
        "categories": ["a", "b"],
        "max_error": 0.1,
    }
    fit(**good)
    with pytest.raises(InvalidArgument):
        fit(**{**good, **bad})


def test_bad_streams() -> None:
    for vectors, labels, categories in (
        ([[1.0, 0.0]], [1, 2], None),
        ([[1.0, 0.0]], [1], ["a", "b"]),
        ([[0.0, 0.0]], [1], None),
        ([1.0, 0.0], [1, 2], None),
    ):
        with pytest.raises(InvalidArgument):
            from_stream(vectors, labels, categories)


def test_curves_are_drawn_as_a_picture() -> None:
    picture = ElementTree.fromstring(draw([("a < b", [(0.0, 0.1), (0.01, 0.4), (0.2, 0.9)]), ("none", [])]))
    lines = [element.get("points") for element in picture if element.tag.endswith("polyline")]
    assert [len((line or "").split()) for line in lines] == [2, 0]  # what is beyond the edge is left out
    assert any(element.text == "a < b" for element in picture)
