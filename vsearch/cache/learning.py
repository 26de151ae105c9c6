"""What a cache has learned: observations of entries of categories with a `max_error`, and what was reported of hits."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

from vsearch.cache.records import Records
from vsearch.cache.verified import Experience, Observations

MAX_REPORTS: Final = 10_000  # of all categories, the last ones: thresholds can be fitted from them
MAX_KEPT: Final = 200_000  # entries whose observations are kept in memory

Report = tuple[str, float, bool]  # category, similarity, correct


class Learning:
    """Safe to use from many threads."""

    def __init__(self, stored: Records) -> None:
        self._records = stored
        self._lock = threading.Lock()
        self._observed: dict[int, Observations] = {}
        self._experience: dict[str, Experience] = {}
        self.reports: deque[Report] = deque(maxlen=MAX_REPORTS)

    def unproven(self, category: str, entry_id: int, similarity: float, max_error: float) -> bool:
        """Whether a prompt should be computed anew, rather than get the answer of its nearest entry. Asked once a
        prompt, since what is answered of a category's prompts has to stay within its `max_error`."""
        with self._lock:
            return self._of(category).explore_probability(self._observations(entry_id), similarity, max_error) > 0.5

    def observe(self, category: str, entry_id: int, similarity: float, correct: bool) -> None:
        """An entry's answer was, or would have been, right for a prompt of that similarity. It is stored."""
        with self._lock:
            experience, observations = self._of(category), self._observations(entry_id)
            experience.append(observations, similarity, correct)
            batch = self._records.batch()
            self._records.learn(batch, entry_id, observations.to_bytes())
            self._records.learn_category(batch, category, experience.to_bytes())
            self._records.commit(batch)

    def _of(self, category: str) -> Experience:
        found = self._experience.get(category)
        if found is None:
            stored = self._records.learned_category(category)
            found = Experience() if stored is None else Experience.from_bytes(stored)
            self._experience[category] = found
        return found

    def _observations(self, entry_id: int) -> Observations:
        found = self._observed.get(entry_id)
        if found is None:
            stored = self._records.learned(entry_id)
            found = Observations() if stored is None else Observations.from_bytes(stored)
            if len(self._observed) >= MAX_KEPT:
                self._observed.clear()
            self._observed[entry_id] = found
        return found
