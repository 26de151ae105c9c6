"""How well the guards tell look-alikes from the same question asked again.

False hits: 20,000 questions of QQP and CLINC150, each with one detail changed so that the answer is another
(bench/adversarial_pairs.py). The question is stored, the changed one looked up. There is no model here to embed the
changed text, so it gets the vector of the question itself with a little noise: the worst case, in which similarity
says nothing and the guards stand alone. True hits: labelled pairs of QQP with the same answer, and pairs of CLINC150
with the same intent (of which many differ in a name, a date or an amount: a second figure, without a bound).
Nothing else is in the cache then, so that no third question answers.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import vsearch
from bench.adversarial_pairs import SHARES, TOTAL, Pair, Source, adversarial_pairs
from bench.cache_vectors import vectors_of
from bench.report import Report
from vsearch.cache.cache import Cache
from vsearch.cache.policy import CachePolicy
from vsearch.types import FloatArray, IntArray

THRESHOLD = 0.85
NOISE = 0.1  # length of what is added to a unit vector: a similarity of 0.995
CLINC_PAIRS = 5_000


@dataclass(frozen=True, slots=True)
class Questions:
    """Texts with their unit vectors float32 [n, 384]."""

    texts: list[str]
    vectors: FloatArray


def run_adversarial(folder: Path, report: Report, quick: bool) -> None:
    """Add the figures of false hits and of true hits lost."""
    qqp = Questions(_column(folder / "qqp" / "questions.parquet", "text"), vectors_of(folder / "qqp"))
    clinc = Questions(_column(folder / "clinc" / "queries.parquet", "text"), vectors_of(folder / "clinc"))
    intents = _column(folder / "clinc" / "queries.parquet", "intent")
    sources = [Source(text, row) for row, text in enumerate(qqp.texts)]
    sources += [Source(text, row, intents[row]) for row, text in enumerate(clinc.texts)]
    pairs = adversarial_pairs(sources, TOTAL // 20 if quick else TOTAL)
    with tempfile.TemporaryDirectory() as path, vsearch.open(path) as db:
        cache = db.create_cache("adversarial", qqp.vectors.shape[1], default=CachePolicy(THRESHOLD))
        _false_hits(cache, pairs, qqp, clinc, report)
        _true_hits(cache, folder, qqp, report, quick)
        _same_intents(cache, clinc, intents, report, quick)


def _false_hits(cache: Cache, pairs: list[Pair], qqp: Questions, clinc: Questions, report: Report) -> None:
    rng = np.random.default_rng(0)
    made, hits, guards = Counter(pair.kind for pair in pairs), Counter[str](), Counter[str]()
    for pair in pairs:
        vector = (clinc if pair.source.lower else qqp).vectors[pair.source.row]
        noise = rng.normal(size=len(vector))
        near = (vector + NOISE * noise / np.linalg.norm(noise)).astype(np.float32)
        reason = _missed(cache, pair.cached, pair.asked, vector, near)
        if reason is None:
            hits[pair.kind] += 1
        else:
            guards[reason.removeprefix("guard:")] += 1
    share = hits.total() / made.total()
    note = f"{hits.total():,} of {made.total():,}; refused by " + ", ".join(
        f"{n} {c:,}" for n, c in guards.most_common()
    )
    report.row("adversarial_false", "adversarial pairs: false hits", share, ("<=", 0.01), note)
    for kind in SHARES:
        key = f"adversarial_{kind.replace(' ', '_')}"
        share = hits[kind] / max(made[kind], 1)
        report.row(key, f"  of these, {kind}: false hits", share, None, f"{hits[kind]:,} of {made[kind]:,}")


def _true_hits(cache: Cache, folder: Path, qqp: Questions, report: Report, quick: bool) -> None:
    table = pq.read_table(folder / "qqp" / "pairs.parquet")
    a, b = table["a"].to_numpy(), table["b"].to_numpy()
    same = table["same"].to_numpy(zero_copy_only=False)
    near = _similar(qqp, a, b)
    for wanted, key, title, bound in (
        (True, "true_lost", "true pairs of qqp: hits lost", ("<=", 0.03)),
        (False, "different_refused", "different pairs of qqp above the threshold: refused", None),
    ):
        rows = np.flatnonzero(near & (same == wanted))[: 1_000 if quick else None]
        lost = _lost(cache, qqp, zip(a[rows], b[rows], strict=True))
        report.row(key, title, lost.total() / len(rows), bound, _note(lost, len(rows)))


def _same_intents(cache: Cache, clinc: Questions, intents: list[str], report: Report, quick: bool) -> None:
    """Of every question and its nearest of the same intent."""
    names = np.array(intents)
    a, b = [], []
    for intent in sorted(set(intents) - {"oos"}):
        rows = np.flatnonzero(names == intent)
        similarities = clinc.vectors[rows] @ clinc.vectors[rows].T
        np.fill_diagonal(similarities, -1.0)
        a += rows.tolist()
        b += rows[similarities.argmax(1)].tolist()
    pairs = np.unique(np.sort(np.stack([a, b], 1), axis=1), axis=0)
    pairs = pairs[_similar(clinc, pairs[:, 0], pairs[:, 1])]
    pairs = np.random.default_rng(0).permutation(pairs)[: 1_000 if quick else CLINC_PAIRS]
    lost = _lost(cache, clinc, map(tuple, pairs))
    title = "nearest pairs of one intent of clinc: refused"
    report.row("intent_refused", title, lost.total() / len(pairs), None, _note(lost, len(pairs)))


def _similar(questions: Questions, a: IntArray, b: IntArray) -> np.ndarray:
    return np.einsum("ij,ij->i", questions.vectors[a], questions.vectors[b]) >= THRESHOLD


def _lost(cache: Cache, questions: Questions, pairs: Iterable[tuple[int, int]]) -> Counter[str]:
    """Why the second of each pair is not answered by the first."""
    reasons = (
        _missed(cache, questions.texts[a], questions.texts[b], questions.vectors[a], questions.vectors[b])
        for a, b in pairs
    )
    return Counter(reason.removeprefix("guard:") for reason in reasons if reason is not None)


def _missed(cache: Cache, cached: str, asked: str, vector: FloatArray, near: FloatArray) -> str | None:
    """Why a question is not answered by another one; None if it is."""
    entry = cache.store(cached, 1, vector)
    reason = cache.lookup(asked, near).reason
    cache.invalidate(id=entry)
    return reason


def _note(lost: Counter[str], of: int) -> str:
    return f"{lost.total():,} of {of:,}: " + ", ".join(f"{name} {count:,}" for name, count in lost.most_common())


def _column(path: Path, name: str) -> list[str]:
    values: list[str] = pq.read_table(path, columns=[name])[name].to_pylist()
    return values
