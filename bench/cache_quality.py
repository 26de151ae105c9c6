"""How many prompts a cache answers at a given share of wrong answers, by policy, over streams of real questions.

Every prompt is answered by the nearest stored one of its category, if the policy allows; otherwise it is computed, and
stored. A wrong answer is that of a prompt with another answer; its share is of all prompts, computed ones too. Policies
are swept, and the hit rate is read where the measured share of wrong answers is the wanted one.

- The best single threshold, chosen in hindsight on the stream itself, and without categories: the one to beat.
- A threshold a category, fitted on other prompts (`vsearch/cache/thresholds.py`), the category given, or guessed by the
  classifier, which is fitted on yet others. Where a set has no categories, clusters of vectors stand for them.
- Both with guards: a look-alike of the nearest is computed anew.
- Verified policies (`vsearch/cache/verified.py`), which start with nothing fitted; cache_verified.py streams them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.cache_data import NAMES, Near, Stream, near, streams
from bench.cache_verified import alone, shared
from bench.report import Report
from vsearch.cache import classifier, thresholds
from vsearch.cache.guards import refusal
from vsearch.cache.policy import GUARDS

PROMPTS: Final = 8_000
ORDERS: Final = 3
ERRORS: Final = (0.005, 0.01)
BETTER: Final = (1.2, 1.15)  # than the best single threshold, at these
DELTAS: Final = (0.005, 0.01, 0.02, 0.05)
SINGLE: Final = np.arange(0.60, 0.99, 0.0075)
FITTED: Final = np.geomspace(0.0005, 0.06, 32)  # max_error of the fits
CLUSTERS: Final = 12
Floats = NDArray[np.float64]
Curve = list[tuple[float, float]]  # share of wrong answers, share of hits


@dataclass(frozen=True)
class Swept:
    """Shares of all prompts [t], a policy each."""

    wrong: Floats
    hits: Floats

    def at(self, error: float) -> float:
        """The hit rate at a share of wrong answers, linear between the policies; the best of those with fewer."""
        order = np.lexsort((self.hits, self.wrong))
        wrong, hits = self.wrong[order], np.maximum.accumulate(self.hits[order])
        return float(np.interp(error, np.concatenate([[0.0], wrong]), np.concatenate([[0.0], hits])))


def run_quality(folder: Path, report: Report, quick: bool) -> list[tuple[str, Curve]]:
    """Adds rows for every set; returns the curves of clinc, the mean of the orders."""
    prompts, orders = (2_000, 1) if quick else (PROMPTS, ORDERS)
    curves: list[tuple[str, Curve]] = []
    for name in NAMES:
        found = [_measure(*streams(folder, name, prompts, seed), seed) for seed in range(orders)]
        policies = {policy: [one[policy] for one in found] for policy in found[0]}
        _rows(report, name, policies, quick)
        if name == "clinc":
            curves = [(policy, _mean_curve(swept)) for policy, swept in policies.items()]
    return curves


def _measure(fitting: Stream, stream: Stream, seed: int) -> dict[str, Swept]:
    """What each policy does with one stream."""
    half = len(fitting) // 2
    examples, pairs = fitting.rows(np.arange(half)), fitting.rows(np.arange(half, min(len(fitting), half + PROMPTS)))
    everything = near(stream)
    single = np.repeat(SINGLE[:, None], len(stream), axis=1)
    result = {"single threshold": sweep(stream, everything, single)}
    result["single threshold, guards"] = sweep(stream, everything, single, guards=True)
    ways = ("given", "guessed") if len(np.unique(stream.categories)) > 1 else ("clusters",)
    for way in ways:
        mine, theirs = pairs, stream
        if way != "given":
            labels = examples.categories if way == "guessed" else _clusters(examples, seed)
            guess = classifier.fit(examples.vectors, [None if c == "default" else str(c) for c in labels])
            mine, theirs = (
                replace(s, categories=np.array([guess.classify(v) or "default" for v in s.vectors]))
                for s in (mine, theirs)
            )
        neighbours = near(theirs, theirs.categories)
        by_category = fitted(mine, theirs)
        result[f"by category, {way}"] = sweep(theirs, neighbours, by_category)
        result[f"by category, {way}, guards"] = sweep(theirs, neighbours, by_category, guards=True)
    random = np.random.default_rng(seed)
    for title, rule in (("verified, entries alone", alone), ("verified", shared)):
        both = np.array([rule(stream, everything, delta, random) for delta in DELTAS])
        result[title] = Swept(both[:, 0], both[:, 1])
    return result


def fitted(pairs: Stream, stream: Stream) -> Floats:
    """The threshold of each prompt of the stream, float64 [len(FITTED), n], fitted on pairs of other prompts."""
    found = thresholds.from_stream(pairs.vectors, pairs.answers.tolist(), pairs.categories.tolist())
    result = np.empty((len(FITTED), len(stream)))
    for row, max_error in zip(result, FITTED.tolist(), strict=True):
        fit = thresholds.fit(*found, max_error=max_error)
        row[:] = [fit.thresholds.get(category, fit.single) for category in stream.categories.tolist()]
    return result


def sweep(stream: Stream, neighbours: Near, least: Floats, guards: bool = False) -> Swept:
    """Shares of hits and wrong answers with thresholds `least` [t, n], a policy a row; hits are not stored."""
    policies, n = least.shape
    every, stored = np.arange(policies), np.zeros((policies, n), np.bool_)
    hits, wrong = np.zeros(policies), np.zeros(policies)
    refused: dict[tuple[int, int], bool] = {}
    for i in range(n):
        rows, similarities = neighbours.rows[i], neighbours.similarities[i]
        kept = stored[:, rows] & (similarities >= 0.0)
        nearest = kept.argmax(axis=1)
        hit = kept[every, nearest] & (similarities[nearest] >= least[:, i])
        answer = rows[nearest]
        if guards:
            for j in np.unique(answer[hit]).tolist():
                if (i, j) not in refused:
                    refused[i, j] = refusal(stream.texts[i], stream.texts[j], GUARDS) is not None
                hit &= ~((answer == j) & refused[i, j])
        hits += hit
        wrong += hit & (stream.answers[answer] != stream.answers[i])
        stored[~hit, i] = True
    return Swept(wrong / n, hits / n)


def _clusters(examples: Stream, seed: int) -> list[str]:
    """The name of each example's cluster."""
    centroids = classifier.spherical_means(examples.vectors, CLUSTERS, np.random.default_rng(seed))
    return [f"cluster {i}" for i in (examples.vectors @ centroids.T).argmax(axis=1)]


def _rows(report: Report, name: str, policies: dict[str, list[Swept]], quick: bool) -> None:
    best = policies["single threshold"]
    for policy, swept in policies.items():
        if policy.startswith("verified"):
            continue
        for error, better in zip(ERRORS, BETTER, strict=True):
            hits = float(np.mean([one.at(error) for one in swept]))
            ratio = hits / float(np.mean([one.at(error) for one in best]))
            key, title = f"{name} {policy} {error}", f"{name}: {policy}, hits at {error:.1%} wrong"
            wanted = name == "clinc" and policy == "by category, given" and not quick
            report.row(key, title, hits, note=f"{ratio:.2f} x single")
            if wanted:
                report.row(
                    f"{key} ratio", f"{name}: {policy}, over the best single at {error:.1%}", ratio, (">=", better)
                )
    for policy in [policy for policy in policies if policy.startswith("by category") and "guards" not in policy]:
        for error in ERRORS:
            wrong = float(np.mean([np.interp(error, FITTED, one.wrong) for one in policies[policy]]))
            report.row(
                f"{name} {policy} fitted {error}", f"{name}: {policy}, wrong where fitted for {error:.1%}", wrong
            )
    for policy in ("verified, entries alone", "verified"):
        for i, delta in enumerate(DELTAS):
            wrong = float(np.mean([one.wrong[i] for one in policies[policy]]))
            hits = float(np.mean([one.hits[i] for one in policies[policy]]))
            beside = float(np.mean([one.at(two.wrong[i]) for one, two in zip(best, policies[policy], strict=True)]))
            bound = None if policy != "verified" else ("<=", delta)
            note = f"hits {hits:.3f}; single at as many wrong {beside:.3f}"
            report.row(f"{name} {policy} {delta}", f"{name}: {policy}, wrong at delta {delta:.1%}", wrong, bound, note)
            report.figures[f"{name} {policy} {delta} hits"] = round(hits, 4)


def _mean_curve(swept: list[Swept]) -> Curve:
    wrong, hits = (np.mean([getattr(one, part) for one in swept], axis=0) for part in ("wrong", "hits"))
    return sorted(zip(wrong.tolist(), hits.tolist(), strict=True))
