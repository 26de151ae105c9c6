"""Whether to give an entry's answer, learned from observations, with a bound on the share of wrong answers.

An observation of an entry is the similarity of a prompt to it, and whether its answer was right for that prompt. Two
rules say how often a prompt is computed anew, which is how observations are made.

`Observations`, each entry for itself, is the rule of vCache (Schroeder et al., ICLR 2026, arXiv 2502.03771), written
from its mathematics:

1. The chance that an answer is right is taken as sigmoid(slope (s - t)), with the maximum likelihood of the
   observations. Two seeds, (0, wrong) and (1, right), make sure that there are both kinds.
2. How far t may be off: the delta method from the Fisher information; where a threshold separates right from wrong, so
   that no finite slope is the likeliest, t is the middle of the gap and its variance one of SEPARABLE_VARIANCE.
3. For each eps of EPS, t' = t + z(1 - eps) sd(t) exceeds the true t with confidence 1 - eps, so that the answer is
   right with a chance of at least a = (1 - eps) sigmoid(slope (s - t')). Answering with probability
   max_error / (1 - a) is wrong at most with probability max_error.
4. The best eps leaves the least to explore. With fewer than MIN_OBSERVATIONS, the seeds among them, everything is.

`Experience`, which the entries of a category share, is our own. An entry alone learns too slowly: most are asked for a
few times only.

1. The chance that an answer is right is logistic in features of the pair: the similarity, how far it is above 0.9, how
   many right and wrong observations the entry has, and how the similarity compares with the highest wrong and the
   lowest right of them. The coefficients have a normal prior, and each observation updates their normal approximation
   (Laplace; Spiegelhalter and Lauritzen 1990, Networks 20).
2. What counts is a lower bound: CONFIDENCE standard deviations below the expected log-odds. A prompt's cost is the
   chance of a wrong answer by that bound, times CAUTION.
3. Answers are given from the least cost up, as long as the costs of all prompts so far up to this one's are at most
   max_error of their number. So the share of wrong answers of all prompts of the category is bounded, not that of each
   entry, and what sure prompts leave of their allowance serves those that are less so.
4. A prompt that is computed anew is stored also when an entry would have answered it: near entries are sure ones.

The bound is as good as the model; CAUTION was chosen so that the share of wrong answers stayed within max_error on each
of twelve streams of 8,000 real questions of three kinds, at 0.5, 1, 2 and 5 %. The first rule's did not: a few close
observations make it surer of an entry than it should be (`python -m bench cache` prints both).

Bytes: of an entry five an observation, and 500 while a fit of it is kept; 1,300 of a category.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsearch.errors import Corruption

MIN_OBSERVATIONS: Final = 6  # the two seeds among them
MAX_OBSERVATIONS: Final = 64  # kept of an entry, the latest; more hardly change a fit
EPS: Final = np.geomspace(1e-5, 0.9, 48)
_Z: Final = np.array([NormalDist().inv_cdf(1.0 - eps) for eps in EPS])
NEWTON_STEPS: Final = 30
RIDGE: Final = 1e-6  # keeps the slope finite where right and wrong meet in one similarity
MIN_SLOPE: Final = 1e-6
# Variance of the middle of the gap between right and wrong by the number of observations, the seeds among them, where a
# threshold separates them: `separable_variance` of bench/cache_verified.py draws it.
SEPARABLE_COUNTS: Final = (6, 8, 10, 14, 20, 30, 45, 66)
SEPARABLE_VARIANCE: Final = (0.01393, 0.0088, 0.00627, 0.00376, 0.00218, 0.00117, 0.00061, 0.00033)
# Of what entries share. Similarities are counted in tenths from SIMILAR on.
SIMILAR: Final = 0.8
CLOSE: Final = 0.9
UNSEEN: Final = 2.0  # in place of a comparison with an observation that there is none of
PRIOR_MEAN: Final = (-2.0, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0)  # hardly trusts anything
PRIOR_VARIANCE: Final = 2.0
CONFIDENCE: Final = 2.0
CAUTION: Final = 1.5  # real chances are not quite logistic
LEAST_EXPERIENCE: Final = 100  # observations of the category
MEMORY: Final = 0.9998  # how much of its weight an observation keeps with each that follows: half after 3,500
MOST_COST: Final = 0.5  # an answer that is as likely wrong is never given
COSTS: Final = 96  # classes of costs, seven for a factor of e
PROMPTS: Final = 20_000  # after so many, half of their weight is dropped
_RECORD: Final = np.dtype([("similarity", "<f4"), ("correct", "u1")])

Floats = NDArray[np.float64]


class Observations:
    """Observations of one entry, and what follows of them. Not safe for writers from several threads."""

    __slots__ = ("_fit", "_records")

    def __init__(self) -> None:
        self._records: list[tuple[float, bool]] = []
        self._fit: tuple[float, Floats] | None = None

    def __len__(self) -> int:
        """Observations, without the seeds."""
        return len(self._records)

    def append(self, similarity: float, correct: bool) -> None:
        """A prompt of this similarity would have been answered rightly, or not. Of many the oldest are forgotten."""
        records = [*self._records[-(MAX_OBSERVATIONS - 1) :], (min(max(float(similarity), 0.0), 1.0), bool(correct))]
        self._records, self._fit = records, None

    def features(self, similarity: float) -> Floats:
        """What the chance of a right answer to a prompt of this similarity depends on, float64 [7]."""
        right = [s for s, correct in self._records if correct]
        wrong = [s for s, correct in self._records if not correct]
        return np.array([
            1.0,
            10.0 * (similarity - SIMILAR),
            10.0 * max(similarity - CLOSE, 0.0),
            math.log1p(len(right)),
            math.log1p(len(wrong)),
            max(10.0 * (similarity - max(wrong)), -1.0) if wrong else UNSEEN,
            min(10.0 * (min(right) - similarity), UNSEEN) if right else UNSEEN,
        ])  # fmt: skip

    def explore_probability(self, similarity: float, max_error: float) -> float:
        """How often a prompt of this similarity should be computed anew, so that at most a share `max_error` of such
        prompts is answered wrongly; 1.0: always."""
        if len(self._records) + 2 < MIN_OBSERVATIONS:
            return 1.0
        fit = self._fit
        if fit is None:
            fit = self._fit = fitted(self._records)
        slope, bounds = fit
        with np.errstate(over="ignore"):
            right = (1.0 - EPS) / (1.0 + np.exp(-slope * (similarity - bounds)))
        wrong = 1.0 - float(right.max())
        return 1.0 - max_error / wrong if wrong > max_error else 0.0

    def to_bytes(self) -> bytes:
        return np.array(self._records, _RECORD).tobytes()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Observations:
        """What `to_bytes` made. Raises Corruption."""
        result = cls()
        if len(stored) % _RECORD.itemsize:
            raise Corruption(f"observations of {len(stored)} bytes", "Clear the cache")
        records = np.frombuffer(stored, _RECORD)[-MAX_OBSERVATIONS:]
        similarity = np.nan_to_num(records["similarity"].astype(np.float64), nan=0.0, posinf=1.0, neginf=0.0)
        similarity = np.clip(similarity, 0.0, 1.0)
        result._records = list(zip(similarity.tolist(), (records["correct"] > 0).tolist(), strict=True))
        return result


class Experience:
    """What the entries of a category have in common. Not safe for writers from several threads."""

    __slots__ = ("_costs", "_covariance", "_mean", "_observed", "_prompts")

    def __init__(self) -> None:
        self._mean = np.array(PRIOR_MEAN)
        self._covariance = PRIOR_VARIANCE * np.eye(len(PRIOR_MEAN))
        self._costs = np.zeros(COSTS)  # sums of the costs of prompts, the highest first
        self._prompts = 0.0
        self._observed = 0.0

    def append(self, observations: Observations, similarity: float, correct: bool) -> None:
        """An entry has been observed. `observations` are those of the entry, and get this one too."""
        x = observations.features(similarity)
        if self._covariance.trace() < PRIOR_VARIANCE * len(PRIOR_MEAN):
            self._covariance /= MEMORY
        spread = self._covariance @ x
        chance = _sigmoid(float(x @ self._mean))
        weight = chance * (1.0 - chance)
        self._covariance -= np.outer(spread, spread) * (weight / (1.0 + weight * float(x @ spread)))
        self._mean = self._mean + self._covariance @ x * (float(correct) - chance)
        self._observed += 1.0
        observations.append(similarity, correct)

    def explore_probability(self, observations: Observations, similarity: float, max_error: float) -> float:
        """1.0 if the prompt should be computed anew, else 0.0; to be asked once a prompt, of the nearest entry."""
        x = observations.features(similarity)
        odds = float(x @ self._mean) - CONFIDENCE * math.sqrt(max(float(x @ self._covariance @ x), 0.0))
        cost = min(CAUTION * _sigmoid(-odds), 1.0)
        kind = min(int(-7.0 * math.log(max(cost, 1e-9))), COSTS - 1)
        self._costs[kind] += cost
        self._prompts += 1.0
        if self._prompts > PROMPTS:
            self._costs, self._prompts = self._costs / 2, self._prompts / 2
        if self._observed < LEAST_EXPERIENCE or cost > MOST_COST:
            return 1.0
        return 0.0 if float(self._costs[kind:].sum()) <= max_error * self._prompts else 1.0

    def to_bytes(self) -> bytes:
        parts = (self._mean, self._covariance.ravel(), self._costs, [self._prompts, self._observed])
        return np.concatenate(parts).astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, stored: bytes) -> Experience:
        """What `to_bytes` made. Raises Corruption."""
        n = len(PRIOR_MEAN)
        if len(stored) != 8 * (n + n * n + COSTS + 2) or not np.isfinite(np.frombuffer(stored, "<f8")).all():
            raise Corruption(f"what a category has learned, of {len(stored)} bytes, is damaged", "Clear the cache")
        result = cls()
        numbers = np.frombuffer(stored, "<f8").astype(np.float64)
        result._mean, square, result._costs, counts = np.split(numbers, np.cumsum([n, n * n, COSTS]))
        result._covariance = square.reshape(n, n)
        result._prompts, result._observed = counts.tolist()
        return result


def fitted(records: list[tuple[float, bool]]) -> tuple[float, Floats]:
    """The slope, and t' for each of EPS, of observations and the seeds."""
    wrong = max((similarity for similarity, correct in records if not correct), default=0.0)
    right = min((similarity for similarity, correct in records if correct), default=1.0)
    if wrong < right:
        variance = float(np.interp(len(records) + 2, SEPARABLE_COUNTS, SEPARABLE_VARIANCE))
        slope, threshold = math.inf, (wrong + right) / 2
    else:
        s = np.array([0.0, 1.0, *(similarity for similarity, _ in records)])
        y = np.array([0.0, 1.0, *(float(correct) for _, correct in records)])
        slope, threshold, variance = logistic(s, y)
    bounds = np.clip(threshold + _Z * math.sqrt(variance), 0.0, 1.0)
    # A finite slope in place of an infinite one: a step within the rounding of similarities.
    return min(slope, 1e6), bounds


def logistic(s: Floats, y: Floats) -> tuple[float, float, float]:
    """Slope, threshold and its variance, by maximum likelihood (Newton's method), of y in {0, 1} at s."""
    intercept, slope = 0.0, 0.0
    a = c = d = 0.0
    for _ in range(NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(np.clip(-(intercept + slope * s), -500.0, 500.0)))
        weight, left = p * (1.0 - p), y - p
        a, c = float(weight.sum()) + RIDGE, float(weight @ s)
        d = float(weight @ (s * s)) + RIDGE
        gradient0, gradient1 = float(left.sum()) - RIDGE * intercept, float(left @ s) - RIDGE * slope
        determinant = a * d - c * c
        if determinant <= 0.0:
            break
        step0 = (d * gradient0 - c * gradient1) / determinant
        step1 = (a * gradient1 - c * gradient0) / determinant
        intercept, slope = intercept + step0, slope + step1
        if abs(step0) + abs(step1) < 1e-6 * (1.0 + abs(slope)):
            break
    slope = max(slope, MIN_SLOPE)
    threshold = min(max(-intercept / slope, 0.0), 1.0)
    determinant = max(a * d - c * c, 1e-12)
    # The gradient of -intercept / slope is -(1, threshold) / slope; the covariance is the inverse of [[a, c], [c, d]].
    variance = (d - 2.0 * c * threshold + a * threshold * threshold) / (determinant * slope * slope)
    return slope, threshold, max(variance, 0.0)


def _sigmoid(odds: float) -> float:
    return 1.0 / (1.0 + math.exp(min(-odds, 500.0)))
