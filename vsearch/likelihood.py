"""The score "probability": how likely it is that a random vector of the corpus is farther from the query than a hit.

It lies in [0, 1] and means the same whatever the corpus, the metric and the model: one threshold serves them all. Its
self-information, -log2(1 - score) bits, is how surprising it is to be so near by chance.

1. A sample of up to SAMPLE rows is taken, evenly spaced over all live rows that have the field (whatever the filter),
   and their exact distances to the query are computed; under l2 the Euclidean distance itself.
2. p(d) is the probability that a random row is nearer than d; the score of a hit at distance d is 1 - p(d).
   - d >= u, where u is the distance that a share TAIL of the sample is nearer than: the share of the sample that is
     nearer than d, linear between neighbours; a half of 1 / m beside the sample's last.
   - d < u, nearer than nearly all of the sample: p(d) = p(u) exp(-(u - d) / beta), with beta the mean of u - d_i over
     that nearest share TAIL, those equal to u among them. Whatever the distribution, what exceeds a high threshold is
     about a generalised Pareto distribution (Pickands 1975, Ann. Stat. 3(1); Balkema and de Haan 1974, Ann. Prob.
     2(5)); its shape is taken as 0, since a shape fitted to fifty values does more harm than good.
   p never decreases with d, and is continuous at u unless beta is 0: where that share is all at u, or holds no row, as
   with fewer than 1 / TAIL rows. Then p is 0 below u.

On 117,659 sentence embeddings and 3,800 real queries, none of them among those that SAMPLE and TAIL were chosen by, p
at the distance of the true neighbour number 10, 100, 1,000 and 10,000 was 1.22, 1.08, 0.99 and 1.02 times what it
should be in the median (1.19 to 1.28 at number 10 by eight other samples), and at number 100 within a factor of 2.5 for
83 % of the queries; at number 10 eight of ten lay between 0.17 and 4.5. A shape fitted by probability-weighted moments
(Hosking and Wallis 1987, Technometrics 29(3)) made p 0 at number 10 for 23 %, and a normal distribution in place of all
this made it about 80 times too small at number 100.

Scores are float32: above 1 - 6e-8 they are 1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vsearch.types import Dense, FloatArray, IntArray
from vsearch.view import View

SAMPLE: Final = 1_024  # rows; p is then known to a few hundredths in the middle, and to a factor of 2 far out
TAIL: Final = 0.05  # share of the sample that the tail is fitted to


def probabilities(
    view: View, field: str, spec: Dense, queries: FloatArray, distances: FloatArray, now_ms: int
) -> FloatArray:
    """float32 [nq, k]: the score of each distance [nq, k] of a query [nq, d]; 0 where there is nothing to compare with.

    Distances are those of an index: minus the inner product, or the squared Euclidean distance.
    """
    sample = sample_distances(view, field, spec, queries, now_ms)
    if spec.distance == "l2":
        distances = np.sqrt(np.maximum(distances, 0))
    scores = np.empty(distances.shape, np.float32)
    for q in range(len(queries)):
        scores[q] = 1.0 - share_nearer(sample[q], distances[q])
    return scores


def share_nearer(sample: FloatArray, distances: FloatArray) -> NDArray[np.float64]:
    """float64 [k]: p of each distance [k], by the sorted distances [m] of a sample."""
    m = len(sample)
    if m == 0:
        return np.ones(len(distances))
    wanted = distances.astype(np.float64)
    ordered = sample.astype(np.float64)
    count = int(TAIL * m)
    # Sample i of m stands for the share (i + 1/2) / m; equal ones for the middle of their shares.
    values, first, repeats = np.unique(ordered, return_index=True, return_counts=True)
    shares = (first + repeats / 2) / m
    p = np.interp(wanted, values, shares, left=0.0, right=1.0)
    threshold = ordered[count]
    at_threshold = float(np.interp(threshold, values, shares))
    excess = threshold - ordered[:count]
    beta = float(excess.mean()) if count else 0.0
    nearer = wanted < threshold
    if beta > 0.0:
        p[nearer] = at_threshold * np.exp(-(threshold - wanted[nearer]) / beta)
    else:
        p[nearer] = 0.0
    return p


def sample_distances(view: View, field: str, spec: Dense, queries: FloatArray, now_ms: int) -> FloatArray:
    """float32 [nq, m], each row sorted: the distances of the queries to the sample."""
    from vsearch.index.flat import distances_to

    found: list[FloatArray] = []
    for source, rows in zip(view.sources, _sample_rows(view, field, now_ms), strict=True):
        if len(rows):
            vectors = np.ascontiguousarray(source.segment.vectors(field)[rows])
            every = np.ascontiguousarray(np.broadcast_to(np.arange(len(rows)), (len(queries), len(rows))))
            found.append(distances_to(vectors, queries, every, spec.distance))
    sample = np.concatenate([np.empty((len(queries), 0), np.float32), *found], axis=1)
    if spec.distance == "l2":
        sample = np.sqrt(np.maximum(sample, 0))
    return np.sort(sample, axis=1)


def _sample_rows(view: View, field: str, now_ms: int) -> list[IntArray]:
    """For each source the ordinals of its sampled rows: every source in proportion to the rows that it shows."""
    shown: list[IntArray] = []
    for source in view.sources:
        alive, present = source.alive(now_ms), source.segment.present(field, source.rows)
        masks = [mask for mask in (alive, present) if mask is not None]
        shown.append(np.flatnonzero(np.logical_and.reduce(masks)) if masks else np.arange(source.rows))
    ends = np.cumsum([len(rows) for rows in shown])
    total = int(ends[-1]) if len(ends) else 0
    size = min(SAMPLE, total)
    chosen = (2 * np.arange(size) + 1) * total // (2 * max(size, 1))
    return [rows[chosen[(chosen >= end - len(rows)) & (chosen < end)] - (end - len(rows))]
            for rows, end in zip(shown, ends, strict=True)]  # fmt: skip
