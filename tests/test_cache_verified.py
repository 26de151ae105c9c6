"""Verified policies: the rule of an entry alone against a naive twin, the shared one by its bound, and their bytes."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cache_verified import separable_variance
from vsearch.cache.verified import (
    EPS,
    LEAST_EXPERIENCE,
    MAX_OBSERVATIONS,
    SEPARABLE_COUNTS,
    SEPARABLE_VARIANCE,
    Experience,
    Observations,
    logistic,
)
from vsearch.errors import Corruption

similarities = st.floats(0.0, 1.0, width=32)
records = st.lists(st.tuples(similarities, st.booleans()), max_size=70)


def observed(some: list[tuple[float, bool]]) -> Observations:
    result = Observations()
    for similarity, correct in some:
        result.append(similarity, correct)
    return result


def naive_separable(some: list[tuple[float, bool]], similarity: float, max_error: float) -> float:
    """The rule for observations that a threshold separates, word for word."""
    wrong, right = max([0.0, *(s for s, y in some if not y)]), min([1.0, *(s for s, y in some if y)])
    variance = float(np.interp(len(some) + 2, SEPARABLE_COUNTS, SEPARABLE_VARIANCE))
    best = 1.0
    for eps in EPS.tolist():
        bound = (wrong + right) / 2 + NormalDist().inv_cdf(1 - eps) * math.sqrt(variance)
        sure = (1 - eps) * (similarity > min(max(bound, 0.0), 1.0))
        best = min(best, 1 - max_error / (1 - sure) if 1 - sure > max_error else 0.0)
    return best


@given(st.lists(similarities, min_size=4, max_size=30), similarities, st.sampled_from([0.005, 0.01, 0.05]))
def test_what_a_threshold_separates_word_for_word(some: list[float], similarity: float, max_error: float) -> None:
    labelled = [(s, s > 0.6) for s in some]
    explore = observed(labelled).explore_probability(similarity, max_error)
    # A step as steep as 1e6 is not quite one within 1e-4 of a bound.
    expected = {naive_separable(labelled, similarity + shift, max_error) for shift in (-1e-4, 0.0, 1e-4)}
    assert min(expected) - 1e-6 <= explore <= max(expected) + 1e-6


@given(records, similarities, st.sampled_from([0.005, 0.01, 0.05, 0.5]))
def test_probabilities_are_some_and_few_observations_explore(
    some: list[tuple[float, bool]], similarity: float, max_error: float
) -> None:
    entry = observed(some)
    explore = entry.explore_probability(similarity, max_error)
    assert 0.0 <= explore <= 1.0
    if len(some) < 4:
        assert explore == 1.0
    assert entry.explore_probability(similarity, max_error / 2) >= explore
    assert entry.explore_probability(min(similarity + 0.1, 1.0), max_error) <= explore + 1e-9


@given(records)
def test_bytes_keep_all(some: list[tuple[float, bool]]) -> None:
    entry = observed(some)
    again = Observations.from_bytes(entry.to_bytes())
    assert len(again) == len(entry) == min(len(some), MAX_OBSERVATIONS)
    assert again.to_bytes() == entry.to_bytes()
    assert again.explore_probability(0.9, 0.01) == pytest.approx(entry.explore_probability(0.9, 0.01), abs=1e-9)


def test_damaged_bytes() -> None:
    with pytest.raises(Corruption):
        Observations.from_bytes(b"1234567")
    stored = Experience().to_bytes()
    for damaged in (b"", stored[:-1], stored[:-8] + np.array([math.nan]).tobytes()):
        with pytest.raises(Corruption):
            Experience.from_bytes(damaged)
    assert Observations.from_bytes(np.array([math.nan], "<f4").tobytes() + b"\x01").explore_probability(0.5, 0.1) == 1.0


def test_the_likelihood_is_at_its_highest(seed: int) -> None:
    random = np.random.default_rng(seed)
    s = np.concatenate([[0.0, 1.0], random.random(60)])
    y = np.concatenate([[0.0, 1.0], (random.random(60) < 1 / (1 + np.exp(-12 * (s[2:] - 0.6)))).astype(float)])
    slope, threshold, variance = logistic(s, y)

    def loss(slope: float, threshold: float) -> float:
        odds = slope * (s - threshold)
        return float(np.logaddexp(0, odds).sum() - y @ odds)

    best = loss(slope, threshold)
    assert all(loss(slope * a, threshold + b) >= best for a in (0.98, 1.0, 1.02) for b in (-0.005, 0.0, 0.005))
    assert 1e-4 < variance < 0.01


@pytest.mark.parametrize("count", [6, 14, 30])
def test_the_variances_are_those_drawn(count: int) -> None:
    assert SEPARABLE_VARIANCE[SEPARABLE_COUNTS.index(count)] == pytest.approx(separable_variance(count, 3), rel=0.03)


def simulated(random: np.random.Generator, max_error: float, prompts: int) -> tuple[float, float]:
    """Shares of wrong answers and of hits where entries have thresholds of their own."""
    experience, entries = Experience(), [(Observations(), random.normal(0.75, 0.06)) for _ in range(300)]
    hits = wrong = 0
    for _ in range(prompts):
        observations, threshold = entries[int(300 * random.random() ** 2)]
        similarity = float(min(random.normal(0.8, 0.1), 1.0))
        right = bool(random.random() < 1 / (1 + math.exp(-40 * (similarity - threshold))))
        if experience.explore_probability(observations, similarity, max_error) == 1.0:
            experience.append(observations, similarity, right)
        else:
            hits, wrong = hits + 1, wrong + (not right)
    return wrong / prompts, hits / prompts


@pytest.mark.parametrize(("max_error", "least_hits"), [(0.01, 0.15), (0.05, 0.33)])
def test_wrong_answers_stay_within_the_bound(seed: int, max_error: float, least_hits: float) -> None:
    wrong, hits = simulated(np.random.default_rng(seed), max_error, 4_000)
    assert wrong <= max_error
    assert hits >= least_hits


def test_nothing_is_given_before_there_is_experience() -> None:
    experience, entry = Experience(), Observations()
    for count in range(LEAST_EXPERIENCE):
        assert experience.explore_probability(entry, 1.0, 0.5) == 1.0, count
        experience.append(entry, 0.95, True)
    assert len(entry) == MAX_OBSERVATIONS
    assert experience.explore_probability(entry, 1.0, 0.5) == 0.0
    assert experience.explore_probability(entry, 0.0, 0.5) == 1.0


def test_wrong_reports_are_learned() -> None:
    experience = Experience()
    good, bad = Observations(), Observations()
    for _ in range(200):
        experience.append(good, 0.9, True)
        experience.append(bad, 0.9, False)
    for _ in range(50):
        assert experience.explore_probability(good, 0.92, 0.05) == 0.0
        assert experience.explore_probability(bad, 0.88, 0.05) == 1.0


def test_bytes_of_experience() -> None:
    experience, entry = Experience(), Observations()
    for i in range(150):
        experience.append(entry, 0.8 + i / 1_000, i % 7 > 0)
        experience.explore_probability(entry, 0.9, 0.01)
    again = Experience.from_bytes(experience.to_bytes())
    assert again.to_bytes() == experience.to_bytes()
    again.append(entry, 0.9, True)
    assert again.to_bytes() != experience.to_bytes()
