"""Thresholds and categories fitted from examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vsearch.cache.classifier import ClassifierReport
from vsearch.cache.classifier import fit as fit_centroids
from vsearch.cache.core import CLASSIFIER, Core
from vsearch.cache.guards import refusal
from vsearch.cache.policy import DEFAULT
from vsearch.cache.questions import unit
from vsearch.cache.thresholds import Fitted
from vsearch.cache.thresholds import fit as fit_thresholds
from vsearch.errors import InvalidArgument
from vsearch.types import FloatArray


class Fitting:
    """The part of `Cache` that learns from labelled examples."""

    _core: Core

    def fit(self, pairs: Sequence[Any] | None = None, max_error: float = 0.01, apply: bool = True) -> Fitted:
        """Thresholds of the categories with which at most a share `max_error` of all prompts is answered wrongly.

        `pairs`: (asked, cached, same) or (asked, cached, same, category): a prompt, the nearest one that could have
        answered it, and whether that answer is right. Prompts are strings, which are embedded and pass the guards, or
        vectors. None: what was reported of hits. `apply`: give the policies these thresholds, from now on and stored.
        Returns the thresholds with what is expected of them (vsearch/cache/thresholds.py).

        Raises InvalidArgument, DimensionMismatch, and what the embedder raises.
        """
        if pairs is None:
            reports = list(self._core.learning.reports)
            similarities, same = [similarity for _, similarity, _ in reports], [correct for _, _, correct in reports]
            categories = [category for category, _, _ in reports]
        else:
            rows = [_parsed(pair) for pair in pairs]
            asked, cached = self._vectors([row[0] for row in rows]), self._vectors([row[1] for row in rows])
            similarities = np.clip((asked * cached).sum(axis=1), 0.0, 1.0).tolist()
            same, categories = [row[2] for row in rows], [row[3] for row in rows]
            for i, (one, other, _, category) in enumerate(rows):
                guards = self._core.policy(category).guards
                if isinstance(one, str) and isinstance(other, str) and refusal(one, other, guards):  # type: ignore[arg-type]
                    similarities[i], same[i] = 0.0, False  # a miss, whatever the threshold
        if not similarities:
            raise InvalidArgument("there is nothing to fit thresholds to", "Give labelled pairs, or report hits")
        fitted = fit_thresholds(similarities, same, categories, max_error)
        if apply:
            policies = {}
            for category, threshold in fitted.thresholds.items():
                policy = self._core.policy(category)
                least = None if policy.min_threshold is None else min(policy.min_threshold, threshold)
                policies[category] = replace(policy, threshold=threshold, min_threshold=least)
            self._core.set_policies(policies)
        return fitted

    def fit_categories(self, examples: Any, labels: Sequence[str | None]) -> ClassifierReport:
        """Let prompts that come without a category be classified as these examples are labelled, from now on and
        stored.

        `examples`: vectors [n, dim], or prompts to be embedded; `labels`: the category of each, None of those that
        belong to none. What is unclear goes to "default". Returns how good it is on examples held out.

        Raises InvalidArgument for a category without a policy, DimensionMismatch, and what the embedder raises.
        """
        for label in set(labels):
            if label is not None:
                self._core.policy(label)
        centroids = fit_centroids(self._vectors(examples), labels)
        self._core.set_policies({}, {CLASSIFIER: centroids.to_dict()})
        return centroids.report

    def _vectors(self, given: Any) -> FloatArray:
        """Prompts or vectors as float32 [n, dim] of unit length."""
        prompts = [prompt for prompt in given if isinstance(prompt, str)]
        if prompts and self._core.embedder is None:
            raise InvalidArgument("prompts without an embedder", "Open the cache with one, or give vectors")
        embedder = self._core.embedder
        embedded = iter(embedder.embed(prompts) if embedder is not None and prompts else ())
        dim = self._core.settings.dim
        rows = [unit(next(embedded) if isinstance(one, str) else one, dim) for one in given]
        return np.stack(rows) if rows else np.empty((0, dim), np.float32)


def _parsed(pair: Any) -> tuple[Any, Any, bool, str]:
    if not isinstance(pair, list | tuple) or len(pair) not in (3, 4) or not isinstance(pair[2], bool | np.bool_):
        hint = "Use (asked, cached, same) or (asked, cached, same, category)"
        raise InvalidArgument(f"a pair is {pair!r:.100}", hint)
    category = DEFAULT if len(pair) == 3 or pair[3] is None else pair[3]
    return pair[0], pair[1], bool(pair[2]), category
