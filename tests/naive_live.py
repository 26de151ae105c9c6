"""The obvious index of vectors that come and go: a dict of slots, all of them compared."""

from __future__ import annotations

import numpy as np


class NaiveLive:
    """Vectors by slot, as float16 keeps them."""

    def __init__(self):
        self.vectors = {}

    def add(self, slot, vector):
        assert slot not in self.vectors, "a slot is given away once at a time"
        self.vectors[slot] = vector.astype(np.float16).astype(np.float64)

    def remove(self, slot):
        del self.vectors[slot]

    def best(self, query):
        """The highest similarity there is, -inf of nothing."""
        return max((float(vector @ query) for vector in self.vectors.values()), default=-np.inf)

    def check(self, query, k, slots, similarities, exact=False):
        """Assert what every search keeps; with `exact`, also that it found the nearest."""
        assert (slots.dtype, similarities.dtype) == (np.int64, np.float32)
        assert slots.shape == similarities.shape
        assert len(slots) <= min(k, len(self.vectors))
        assert len(set(slots.tolist())) == len(slots), "none twice"
        assert set(slots.tolist()) <= set(self.vectors), "only live ones"
        assert (np.diff(similarities) <= 0).all(), "the nearest first"
        for slot, similarity in zip(slots.tolist(), similarities.tolist(), strict=True):
            assert abs(float(self.vectors[slot] @ query) - similarity) < 1e-5
        if exact:
            assert len(slots) == min(k, len(self.vectors))
            everything = sorted((float(vector @ query) for vector in self.vectors.values()), reverse=True)
            np.testing.assert_allclose(similarities, everything[: len(slots)], atol=1e-5)
