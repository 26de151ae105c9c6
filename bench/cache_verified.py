"""Streams answered by verified policies (vsearch/cache/verified.py), and the variances that they use."""

from __future__ import annotations

from typing import Final

import numpy as np

from bench.cache_data import Near, Stream
from vsearch.cache.verified import Experience, Observations

SLOPES: Final = (10.0, 200.0)  # of real entries, from vague to nearly a step
DRAWS: Final = 400_000


def alone(stream: Stream, neighbours: Near, max_error: float, random: np.random.Generator) -> tuple[float, float]:
    """Shares of wrong answers and of hits by vCache's rule. As there, a computed prompt is stored only if the nearest
    entry would have answered it wrongly."""
    stored, hits, wrong = np.zeros(len(stream), np.bool_), 0, 0
    entries: dict[int, Observations] = {}
    for i in range(len(stream)):
        found = _nearest(i, neighbours, stored)
        if found is not None:
            entry, similarity = found
            right = bool(stream.answers[entry] == stream.answers[i])
            if random.random() > entries[entry].explore_probability(similarity, max_error):
                hits, wrong = hits + 1, wrong + (not right)
                continue
            entries[entry].append(similarity, right)
            if right:
                continue
        stored[i], entries[i] = True, Observations()
    return wrong / len(stream), hits / len(stream)


def shared(stream: Stream, neighbours: Near, max_error: float, random: np.random.Generator) -> tuple[float, float]:
    """The same where entries share what they learn; every computed prompt is stored."""
    stored, hits, wrong = np.zeros(len(stream), np.bool_), 0, 0
    entries: dict[int, Observations] = {}
    experience = Experience()
    for i in range(len(stream)):
        found = _nearest(i, neighbours, stored)
        if found is not None:
            entry, similarity = found
            right = bool(stream.answers[entry] == stream.answers[i])
            if random.random() > experience.explore_probability(entries[entry], similarity, max_error):
                hits, wrong = hits + 1, wrong + (not right)
                continue
            experience.append(entries[entry], similarity, right)
        stored[i], entries[i] = True, Observations()
    return wrong / len(stream), hits / len(stream)


def separable_variance(observations: int, seed: int = 0) -> float:
    """The mean square of how far the middle of the gap is from the threshold, where one separates right from wrong.

    Thresholds and similarities are uniform in [0, 1], slopes log-uniform in SLOPES; two of the observations are seeds.
    """
    random = np.random.default_rng(seed)
    threshold = random.uniform(0.0, 1.0, DRAWS)
    slope = np.exp(random.uniform(*np.log(SLOPES), DRAWS))
    s = random.uniform(0.0, 1.0, (DRAWS, observations - 2))
    right = random.random(s.shape) < 1.0 / (1.0 + np.exp(-slope[:, None] * (s - threshold[:, None])))
    last_wrong, first_right = np.where(right, 0.0, s).max(axis=1), np.where(right, s, 1.0).min(axis=1)
    separable = last_wrong < first_right
    return float(np.mean(((last_wrong + first_right) / 2 - threshold)[separable] ** 2))


def _nearest(i: int, neighbours: Near, stored: np.ndarray) -> tuple[int, float] | None:
    kept = stored[neighbours.rows[i]] & (neighbours.similarities[i] >= 0.0)
    at = int(kept.argmax())
    return (int(neighbours.rows[i, at]), float(neighbours.similarities[i, at])) if kept[at] else None
