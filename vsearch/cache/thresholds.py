"""One threshold a category, fitted from labelled pairs, so that all wrong answers together stay within a wanted share.

1. A pair is a prompt's similarity to the nearest entry that could have answered it, and whether that answer was right.
2. In each category the chance that an answer is right is a logistic function of the similarity, by penalised maximum
   likelihood, in two rounds: first its coefficients shrink towards those of all pairs together, then towards the mean
   of the first round, the slope by far more than the intercept. So a category of few pairs is treated as the others
   are, and one without right answers gets a threshold of 1.
3. A hit costs its chance of being wrong. The most hits for a given sum of costs are had when the last hit of each
   category costs the same (Everett 1963, Operations Research 11(3)): each threshold is where its category's curve is
   at one common chance, the lowest with which the expected share of wrong answers is within `max_error`.
4. What is expected is the larger of what the curves say and what was counted, so that a curve that is too hopeful at
   high similarities does no harm.

`from_stream` makes the pairs from labelled prompts, each compared with those before it.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vsearch.cache.classifier import unit_rows
from vsearch.errors import InvalidArgument
from vsearch.types import IntArray

# Weights of a prior for intercept and slope, at standardised similarities: slopes differ little between categories.
# Chosen on the training split of clinc.
LOOSELY: Final = (1.0, 1.0)
CLOSELY: Final = (1.0, 200.0)
STEPS: Final = 50  # of Newton's method
MIN_SLOPE: Final = 0.05  # a curve that rises less is taken as flat: all, or nothing, is good enough
HALVINGS: Final = 40
SURE: Final = 20.0  # log-odds at which nothing is left to gain
BLOCK: Final = 512  # prompts compared at a time
HIGHEST: Final = 1.0  # threshold: that of vectors which are the same
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Pairs(NamedTuple):
    """similarities float64 [n] in [0, 1], same bool [n], categories a name a pair."""

    similarities: Floats
    same: Bools
    categories: list[str]


@dataclass(frozen=True, slots=True)
class Share:
    """What is expected of a category: of `pairs` prompts, the share answered, and answered wrongly."""

    pairs: int
    hit_rate: float
    error: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """`thresholds`: by category; `single`: one for all together, with what is expected of it in `single_share`.
    `whole`: expected of the thresholds by category, all prompts together; `categories`: of each."""

    thresholds: dict[str, float]
    whole: Share
    categories: dict[str, Share]
    single: float
    single_share: Share
    max_error: float


def fit(similarities: ArrayLike, same: ArrayLike, categories: Sequence[str] | None, max_error: float) -> Fitted:
    """Thresholds with which at most a share `max_error` of all prompts is answered wrongly.

    similarities [n], same [n]: one pair a prompt. categories [n]: None is one for all, "default". Raises
    InvalidArgument.
    """
    s, right, names = _checked(similarities, same, categories, max_error)
    kinds = sorted(set(names))
    owner = _numbers(names, kinds)
    centre, spread = float(s.mean()), max(float(s.std()), 1e-3)
    z = (s - centre) / spread
    whole = logistic(z, right, np.zeros(2), (1e-3, 1e-3))
    members = [owner == i for i in range(len(kinds))]
    freely = np.array([logistic(z[some], right[some], whole, LOOSELY) for some in members])
    typical = np.average(freely, axis=0, weights=[some.sum() for some in members])
    curves = np.array([logistic(z[some], right[some], typical, CLOSELY) for some in members])
    most = (HIGHEST - centre) / spread
    cuts = _cuts(z, right, owner, curves, max_error, most)
    one = _cuts(z, right, np.zeros(len(z), np.int64), whole[None], max_error, most)
    thresholds = np.clip(centre + spread * cuts, 0.0, HIGHEST)
    single = float(np.clip(centre + spread * one[0], 0.0, HIGHEST))
    chance = _chance(curves[owner], z)
    shares = {
        name: _share(s[owner == i], right[owner == i], chance[owner == i], thresholds[i])
        for i, name in enumerate(kinds)
    }
    return Fitted(
        dict(zip(kinds, thresholds.tolist(), strict=True)),
        _share(s, right, chance, thresholds[owner]),
        shares,
        single,
        _share(s, right, _chance(np.broadcast_to(whole, (len(z), 2)), z), single),
        max_error,
    )


def from_stream(
    vectors: ArrayLike, labels: Sequence[Hashable], categories: Sequence[str] | None = None, partitioned: bool = True
) -> Pairs:
    """Pairs of prompts in the order given: each with the nearest before it (of its category, if `partitioned`).

    vectors float [n, d]; labels [n]: which prompts have the same answer, None for those that share it with no other.
    A prompt with none before it has similarity 0. Time is quadratic in n. Raises InvalidArgument.
    """
    unit = unit_rows(vectors)
    n = len(unit)
    names = ["default"] * n if categories is None else list(categories)
    if len(labels) != n or len(names) != n:
        raise InvalidArgument(
            f"{n} vectors, {len(labels)} labels, {len(names)} categories", "Give one label and one category a vector"
        )
    found, nearest = np.zeros(n), np.full(n, -1)
    number: dict[Hashable, int] = {}
    answer = np.array(
        [-1 - i if label is None else number.setdefault(label, len(number)) for i, label in enumerate(labels)]
    )
    owner = _numbers(names, sorted(set(names)))
    for rows in [np.flatnonzero(owner == i) for i in range(owner.max() + 1)] if partitioned else [np.arange(n)]:
        some = unit[rows]
        for at in range(0, len(rows), BLOCK):
            block = some[at : at + BLOCK] @ some[: at + BLOCK].T
            block[np.arange(block.shape[1]) >= at + np.arange(len(block))[:, None]] = -1.0
            best = block.argmax(axis=1)
            found[rows[at : at + BLOCK]] = np.clip(block[np.arange(len(block)), best], 0.0, 1.0)
            nearest[rows[at : at + BLOCK]] = rows[best]
    nearest[found == 0.0] = -1
    return Pairs(found, (nearest >= 0) & (answer[nearest] == answer), names)


def logistic(z: Floats, right: Bools, prior: Floats, weight: tuple[float, float]) -> Floats:
    """Intercept and slope [2] of the chance that an answer at z is right: the likeliest, if each has a normal prior of
    this mean and this weight (1 / variance). By Newton's method, with halved steps where it overshoots."""
    x = np.column_stack([np.ones(len(z)), z])
    y = right.astype(np.float64)
    coefficients, weights = prior.copy(), np.array(weight)

    def loss(at: Floats) -> float:
        odds = x @ at
        return float(np.logaddexp(0.0, odds).sum() - y @ odds + weights @ (at - prior) ** 2 / 2)

    now = loss(coefficients)
    for _ in range(STEPS):
        p = _chance(np.broadcast_to(coefficients, x.shape), z)
        gradient = x.T @ (y - p) - weights * (coefficients - prior)
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(weights), gradient)
        size = 1.0
        while loss(coefficients + size * step) > now and size > 1e-4:
            size /= 2
        coefficients = coefficients + size * step
        before, now = now, loss(coefficients)
        if before - now < 1e-9 * (1.0 + abs(now)):
            break
    return coefficients


def _cuts(z: Floats, right: Bools, owner: IntArray, curves: Floats, max_error: float, most: float) -> Floats:
    """The standardised similarity at which each category's curve is at the lowest common chance that is good enough;
    none is below all pairs, or above `most`."""
    wrong = 1.0 - _chance(curves[owner], z)

    def cuts(odds: float) -> Floats:
        rising = curves[:, 1] > MIN_SLOPE
        at = (odds - curves[:, 0]) / np.where(rising, curves[:, 1], 1.0)
        flat = np.where(curves[:, 0] >= odds, -math.inf, math.inf)
        result: Floats = np.clip(np.where(rising, at, flat), z.min(), most)
        return result

    low, high = -SURE, SURE
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        hit = z >= cuts(middle)[owner]
        expected = max(float(wrong[hit].sum()), float((hit & ~right).sum()))
        low, high = (low, middle) if expected <= max_error * len(z) else (middle, high)
    return cuts(high)


def _chance(curves: Floats, z: Floats) -> Floats:
    result: Floats = 1.0 / (1.0 + np.exp(np.clip(-(curves[:, 0] + curves[:, 1] * z), -500.0, 500.0)))
    return result


def _share(s: Floats, right: Bools, chance: Floats, threshold: float | Floats) -> Share:
    hit = s >= threshold
    wrong = max(float((1.0 - chance)[hit].sum()), float((hit & ~right).sum()))
    return Share(len(s), float(hit.mean()), wrong / len(s))


def _numbers(names: Sequence[str], kinds: list[str]) -> IntArray:
    number = {name: i for i, name in enumerate(kinds)}
    return np.array([number[name] for name in names], np.int64)


def _checked(
    similarities: ArrayLike, same: ArrayLike, categories: Sequence[str] | None, max_error: float
) -> tuple[Floats, Bools, list[str]]:
    try:
        s = np.asarray(similarities, np.float64)
        right = np.asarray(same)
    except (TypeError, ValueError):
        raise InvalidArgument("the similarities are not numbers", "Give one cosine similarity a pair") from None
    names = ["default"] * s.size if categories is None else list(categories)
    if s.ndim != 1 or not len(s) or right.shape != s.shape or len(names) != len(s):
        raise InvalidArgument(
            f"{s.shape} similarities, {right.shape} labels, {len(names)} categories", "Give one of each a pair"
        )
    if right.dtype.kind not in "biu" or not np.isin(right, (0, 1)).all():
        raise InvalidArgument("`same` is not true or false for each pair", "Use booleans")
    if not np.isfinite(s).all() or (s < -1.001).any() or (s > 1.001).any():
        raise InvalidArgument("a similarity is not a cosine", "Use numbers from 0 to 1")
    if not all(isinstance(name, str) for name in names):
        raise InvalidArgument("a category is not a string", "Use names of categories")
    if isinstance(max_error, bool) or not isinstance(max_error, int | float) or not 0.0 < max_error <= 1.0:
        raise InvalidArgument(f"max_error is {max_error!r}", "Use a share above 0, at most 1")
    return np.clip(s, 0.0, 1.0), right.astype(np.bool_), names
