"""A simulated day of a model behind a cache, with an overload in the middle: policies that stay as they are against
policies that relax with the load. And from which hit rate on a cache pays.

Real prompts (clinc) of ten domains and out-of-scope ones, asked by several tenants by Zipf's law: head domains have
most of the traffic, tail domains little, in the volatile one an answer lives for minutes. An answer from the cache is
right if the prompt that it was made for has the same intent. The model has so many workers and a queue, and refuses
what would wait too long there; the requests in flight are the load.

Thresholds are fitted on other prompts than those asked: the usual one so that at most USUAL_ERROR of a category's
prompts are answered wrongly, and `min_threshold` so that at most LOADED_ERROR are. That is the category's bound. Of the
wrong answers one in ten is reported; otherwise a popular prompt that is answered wrongly once would be so all day.
"""

from __future__ import annotations

import heapq
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

import vsearch
from bench.report import Report
from vsearch.cache.cache import Cache
from vsearch.cache.clock import Clock
from vsearch.cache.economics import break_even, wilson
from vsearch.cache.policy import CachePolicy

DAY_S = 86_400.0
OVERLOAD_S = (12 * 3600.0, 15 * 3600.0)  # in which SURGE times as much is asked
SURGE = 3.0
REQUESTS = 60_000  # a day
REQUESTS_A_WORKER = 15_000  # of the model: enough for the usual traffic, too few for the surge
PATIENCE_S = 30.0  # a request that would wait longer for a worker is refused
TENANTS = 20  # scopes of their own; shares by Zipf's law with exponent 1
ZIPF = 0.8  # of the prompts of a domain
USUAL_ERROR, LOADED_ERROR = 0.01, 0.03
FILLED = (0.1, 0.3, 1.0)  # shares of the prompts in the cache for which thresholds are fitted
REPORTED = 0.1  # of the wrong answers, by whoever got them; the cache evicts those entries
VOLATILE, LIFE_S, LONGEST_LIFE_S = "utility", 300.0, 1_800.0  # weather, time, timers
SEED = 1
# Share of the traffic, and mean seconds that the model takes for an answer.
DOMAINS = {
    "banking": (0.16, 6.0),
    "travel": (0.15, 8.0),
    "credit_cards": (0.14, 6.0),
    "utility": (0.14, 3.0),
    "work": (0.13, 8.0),
    "small_talk": (0.06, 2.0),
    "meta": (0.05, 2.0),
    "home": (0.05, 3.0),
    "auto_and_commute": (0.04, 6.0),
    "kitchen_and_dining": (0.04, 6.0),
    "oos": (0.04, 8.0),
}
NAMES = tuple(DOMAINS)
REMOTE_S = 0.030  # a search in a remote database, as arXiv 2510.26835 has it
QUICK_MODEL_S = 0.150  # the quickest model there: the hardest to save anything of

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Prompts:
    """Vectors float32 [n, dim] of unit length, texts, domains (positions in NAMES), and labels: prompts of one label
    have the same answer."""

    vectors: NDArray[np.float32]
    texts: NDArray[np.object_]
    domains: NDArray[np.int64]
    labels: NDArray[np.int64]

    def where(self, mask: NDArray[np.bool_]) -> Prompts:
        return Prompts(self.vectors[mask], self.texts[mask], self.domains[mask], self.labels[mask])


@dataclass(frozen=True)
class Day:
    """What is asked, [requests] each: when, which prompt, by whom, and how long the model would take."""

    at_s: Floats
    row: NDArray[np.int64]
    tenant: NDArray[np.int64]
    service_s: Floats
    reports: NDArray[np.bool_]  # whether a wrong answer would be reported


@dataclass
class Outcome:
    """What became of the requests of a day, [requests] each. `wait_s`: nan for hits and what was refused."""

    hit: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    refused: NDArray[np.bool_]
    age_s: Floats
    wait_s: Floats


def run_load(report: Report, quick: bool, folder: Path = Path("../shared/data"), lookup_s: float = 0.0002) -> None:
    """Simulate and report. `lookup_s`: measured time of a lookup of ours, without the embedding."""
    asked, known = clinc(folder)
    requests = REQUESTS // 2 if quick else REQUESTS
    workers = requests // REQUESTS_A_WORKER
    adaptive = policies(known)
    fixed = {name: replace(policy, min_threshold=None, max_ttl=None) for name, policy in adaptive.items()}
    day = a_day(asked, requests)
    before, after = (simulate(asked, day, sides, workers) for sides in (fixed, adaptive))
    surge = (day.at_s >= OVERLOAD_S[0]) & (day.at_s < OVERLOAD_S[1])
    domain = asked.domains[day.row]

    def over_bound(of: Outcome) -> float:
        return max(float(of.wrong[surge & (domain == code)].mean()) for code in range(len(NAMES))) / LOADED_ERROR

    reduced = 1.0 - (~after.hit[surge]).sum() / (~before.hit[surge]).sum()
    report.row(
        "load_reduction", "fewer requests to the overloaded model than with fixed policies", reduced, (">=", 0.17)
    )
    report.row("load_hit_rate_fixed", "hit rate in the overload, fixed", before.hit[surge].mean())
    report.row("load_hit_rate", "hit rate in the overload, adaptive", after.hit[surge].mean())
    report.row("load_wrong_of_bound", "wrong answers of the worst category / bound", over_bound(after), ("<=", 1.0),
               f"bound {LOADED_ERROR:.0%} of its prompts")  # fmt: skip
    report.row("load_wrong_fixed", "wrong answers in the overload, fixed", before.wrong[surge].mean())
    report.row("load_wrong", "wrong answers in the overload, adaptive", after.wrong[surge].mean())
    report.row("load_wrong_usual", "wrong answers before the overload, adaptive", usual(after.wrong, day))
    oldest = after.age_s[domain == NAMES.index(VOLATILE)].max() / LONGEST_LIFE_S
    report.row("load_oldest_of_bound", "oldest volatile answer / max_ttl", oldest, ("<=", 1.0))
    report.row("load_refused_fixed", "refused in the overload, fixed", before.refused[surge].mean())
    report.row("load_refused", "refused in the overload, adaptive", after.refused[surge].mean())
    report.row("load_wait_fixed_s", "seconds for an answer of the model, fixed", np.nanmean(before.wait_s[surge]))
    report.row("load_wait_s", "seconds for an answer of the model, adaptive", np.nanmean(after.wait_s[surge]))
    break_evens(report, lookup_s)


def usual(flags: NDArray[np.bool_], day: Day) -> float:
    return float(flags[day.at_s < OVERLOAD_S[0]].mean())


def break_evens(report: Report, lookup_s: float) -> None:
    """The hit rate from which a cache pays, by a remote search and by ours, without the embedding that both need."""
    categories = {**{name: seconds for name, (_, seconds) in DOMAINS.items()}, "quick model": QUICK_MODEL_S}
    for key, search_s, wanted in (("remote", REMOTE_S, None), ("ours", lookup_s, ("<=", 0.03))):
        rates = {name: break_even(search_s, seconds) for name, seconds in categories.items()}
        range_ = ", ".join(f"{name} {rates[name]:.3%}" for name in ("travel", "small_talk"))
        title = f"break-even hit rate, {key} ({search_s * 1e3:g} ms), model of {QUICK_MODEL_S:g} s"
        report.row(f"break_even_{key}", title, max(rates.values()), wanted, range_)


def clinc(folder: Path) -> tuple[Prompts, Prompts]:
    """The prompts that are asked, and those to fit on. Out-of-scope prompts have no answer in common."""
    folder = folder / "clinc"
    table = pq.read_table(folder / "queries.parquet").to_pydict()
    codes = np.load(folder / "dense_i8.npy").astype(np.float32)
    vectors = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    intents = [intent if intent != "oos" else f"oos {row}" for row, intent in enumerate(table["intent"])]
    labels = np.unique(intents, return_inverse=True)[1]
    domains = np.array([NAMES.index(domain) for domain in table["domain"]])
    prompts = Prompts(vectors, np.array(table["text"], object), domains, labels)
    fitted_on = np.isin(table["split"], ["val", "test", "oos_val", "oos_train"])
    return prompts.where(~fitted_on), prompts.where(fitted_on)


def policies(known: Prompts) -> dict[str, CachePolicy]:
    """Of each domain, thresholds fitted on prompts that are known."""
    found = {}
    for code, name in enumerate(NAMES):
        mine = known.where(known.domains == code)
        least = fit(mine, LOADED_ERROR)
        policy = CachePolicy(threshold=max(fit(mine, USUAL_ERROR), least), min_threshold=least)
        found[name] = replace(policy, ttl=LIFE_S, max_ttl=LONGEST_LIFE_S) if name == VOLATILE else policy
    return found


def fit(prompts: Prompts, max_error: float) -> float:
    """The lowest threshold at which surely (97.5 %) at most such a share of the prompts gets a wrong answer, each
    from a cache of the others, however full it is: an emptier one has fewer right answers to find."""
    rng = np.random.default_rng(SEED)
    similarity = prompts.vectors @ prompts.vectors.T
    np.fill_diagonal(similarity, -1.0)
    return max(_fit(prompts.labels, similarity, rng.random(len(similarity)) < share, max_error) for share in FILLED)


def _fit(labels: NDArray[np.int64], similarity: Any, held: NDArray[np.bool_], max_error: float) -> float:
    best, nearest = similarity[:, held].max(axis=1), similarity[:, held].argmax(axis=1)
    falling = np.argsort(-best)
    wrong = np.cumsum((labels != labels[held][nearest])[falling])
    too_many = [wilson(int(count), len(best))[1] > max_error for count in wrong]
    last = too_many.index(True) if True in too_many else len(too_many) - 1
    return float(np.clip(best[falling[last]] + 1e-4, 0.0, 1.0))


def a_day(prompts: Prompts, requests: int) -> Day:
    """Requests from midnight to midnight: few at night, more by day, SURGE times as many in the overload."""
    rng = np.random.default_rng(SEED)
    minutes = np.arange(0.0, DAY_S, 60.0)
    rate = 1.0 - 0.4 * np.cos(minutes / DAY_S * 2.0 * math.pi)
    rate[(minutes >= OVERLOAD_S[0]) & (minutes < OVERLOAD_S[1])] *= SURGE
    at_s = np.sort(rng.choice(minutes, requests, p=rate / rate.sum()) + rng.random(requests) * 60.0)
    shares = np.array([share for share, _ in DOMAINS.values()])
    domain = rng.choice(len(NAMES), requests, p=shares / shares.sum())
    row = np.zeros(requests, np.int64)
    for code in range(len(NAMES)):
        mine = rng.permutation(np.flatnonzero(prompts.domains == code))
        row[domain == code] = mine[zipf(rng, len(mine), ZIPF, int((domain == code).sum()))]
    service_s = rng.exponential(1.0, requests) * np.array([seconds for _, seconds in DOMAINS.values()])[domain]
    tenant = zipf(rng, TENANTS, 1.0, requests)
    return Day(at_s, row, tenant, service_s, rng.random(requests) < REPORTED)


def zipf(rng: np.random.Generator, n: int, exponent: float, draws: int) -> NDArray[np.int64]:
    """Numbers below n, the first the most frequent."""
    p = np.arange(1.0, n + 1.0) ** -exponent
    return rng.choice(n, draws, p=p / p.sum())


def simulate(prompts: Prompts, day: Day, sides: Mapping[str, CachePolicy], workers: int) -> Outcome:
    """One day of a cache with such policies."""
    now = SimpleNamespace(s=0.0)
    clock = Clock(lambda: now.s, lambda: now.s)
    dim = prompts.vectors.shape[1]
    with tempfile.TemporaryDirectory() as folder:
        with vsearch.open(folder) as db:
            db.create_cache("day", dim, sides, load=(float(workers), 3.0 * workers))
        with vsearch.open(folder) as db:
            return live(prompts, day, db.cache("day", clock=clock), now, workers)


def live(prompts: Prompts, day: Day, cache: Cache, now: SimpleNamespace, workers: int) -> Outcome:
    """Ask everything at its time. What the model answers is stored when it has answered."""
    n = len(day.at_s)
    out = Outcome(*(np.zeros(n, bool) for _ in range(3)), np.zeros(n), np.full(n, math.nan))
    free_s = [0.0] * workers
    answers: list[tuple[float, int]] = []  # when, to which request

    def about(i: int) -> dict[str, Any]:
        row = day.row[i]
        place = {"category": NAMES[prompts.domains[row]], "scope": int(day.tenant[i])}
        return {"prompt": prompts.texts[row], "vector": prompts.vectors[row], **place}

    for i, at_s in enumerate(day.at_s.tolist()):
        while answers and answers[0][0] <= at_s:
            now.s, answered = heapq.heappop(answers)
            cache.push_load(len(answers))
            label, took_s = int(prompts.labels[day.row[answered]]), float(day.service_s[answered])
            cache.store(response=label, compute_s=took_s, **about(answered))
        now.s = at_s
        hit = cache.check(**about(i))
        if hit is not None:
            out.hit[i], out.age_s[i] = True, hit.age_s
            out.wrong[i] = hit.response != prompts.labels[day.row[i]]
            if out.wrong[i] and day.reports[i]:
                cache.report(hit, correct=False)
        elif free_s[0] - at_s > PATIENCE_S:
            out.refused[i] = True
        else:
            end_s = max(at_s, free_s[0]) + day.service_s[i]
            heapq.heapreplace(free_s, end_s)
            heapq.heappush(answers, (end_s, i))
            out.wait_s[i] = end_s - at_s
            cache.push_load(len(answers))
    return out
