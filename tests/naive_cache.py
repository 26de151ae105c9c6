"""A semantic cache that is obviously right: a list of entries, looked through for every question."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vsearch import CachePolicy

ROUNDING = 1e-3  # of similarities: within this of a threshold, or of each other, either outcome is right


@dataclass
class Entry:
    id: int
    prompt: str
    response: object
    category: str
    scope: object
    vector: NDArray[np.float32] | None
    created_ms: int
    expires_ms: int | None
    tags: tuple[str, ...] = ()
    sources: tuple[tuple[str, object], ...] = ()


@dataclass
class NaiveCache:
    policies: dict[str, CachePolicy]
    now_ms: int = 0
    entries: dict[int, Entry] = field(default_factory=dict)

    def store(self, entry: Entry) -> None:
        same = [e.id for e in self.entries.values() if (e.prompt, e.scope) == (entry.prompt, entry.scope)]
        for old in same:
            del self.entries[old]
        self.entries[entry.id] = entry

    def life(self, entry: Entry) -> str:
        """fresh, stale or over."""
        if entry.expires_ms is None or self.now_ms < entry.expires_ms:
            return "fresh"
        stale_ms = self.policies[entry.category].stale * 1000
        return "stale" if self.now_ms < entry.expires_ms + stale_ms else "over"

    def allowed(
        self, prompt: str, vector: NDArray[np.float32] | None, category: str, scope: object
    ) -> tuple[set[int | None], bool]:
        """Which entries may answer (None: a miss may be right), and whether it must be the exact match."""
        if not self.policies[category].enabled:
            return {None}, False
        alive = [e for e in self.entries.values() if e.scope == scope and e.category == category]
        alive = [e for e in alive if self.life(e) != "over"]
        exact = [e.id for e in alive if e.prompt == prompt]
        if exact:
            return set(exact), True
        if vector is None:
            return {None}, False
        scored = [(float(np.dot(e.vector, vector)), e.id) for e in alive if e.vector is not None]
        best = max((similarity for similarity, _ in scored), default=-1.0)
        threshold = self.policies[category].threshold
        result: set[int | None] = {i for s, i in scored if s >= best - ROUNDING and s >= threshold - ROUNDING}
        if not result or best < threshold + ROUNDING:
            result.add(None)
        return result, False
