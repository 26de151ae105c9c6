"""Finding the answer: an exact match, or the best of the nearest entries that may be given.

The nearest few are looked at from the nearest on. The first that is alive and young enough, similar enough (or proven
enough), no look-alike by the guards and accepted by the verifier is the answer; of those before it the first reason is
told when none is. Whether an entry may live is decided before its answer is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from vsearch.cache import answers
from vsearch.cache.answers import CacheHit, Lookup
from vsearch.cache.contents import Contents
from vsearch.cache.guards import refusal
from vsearch.cache.learning import Learning
from vsearch.cache.policy import CachePolicy
from vsearch.cache.questions import Question, normalised
from vsearch.cache.records import NEVER, POLICY, SOURCE, Records
from vsearch.types import FloatArray

# A similarity is that of half-precision components, which is off by up to so much.
ROUNDING: Final = 3e-4

Verify = Callable[[str, CacheHit], bool]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a category at a stress (load.py). `threshold`, `ttl`: load considered. `extra_ms`: how much longer
    than its ttl an entry lives. `stale_ms`: for how long after that it may still be given."""

    category: str
    policy: CachePolicy
    stress: float
    threshold: float
    ttl: float | None
    extra_ms: int
    stale_ms: int


@dataclass(slots=True)
class Finder:
    """Looks things up in one cache; safe to use from many threads beside one that changes the contents."""

    contents: Contents
    records: Records
    learning: Learning
    verify: Verify | None = None

    def exact(
        self, asked: Question, terms_of: Callable[[str], Terms], now: int, max_age: float | None
    ) -> Lookup | None:
        """The hit of the same prompt in the same scope; None if there is none."""
        row = self.contents.exact.get(asked.digest)
        entry = None if row is None else self.contents.table.entries[row]
        if row is None or entry is None or entry.digest != asked.digest:
            return None
        if asked.category is not None and asked.category != entry.category:
            return None
        terms = terms_of(entry.category)
        if not terms.policy.enabled or self._problem(row, terms, now, max_age) is not None:
            return None
        answer = self.records.answer(entry.id)
        if answer is None or normalised(answer[0]) != asked.text:
            return None
        hit = self._hit(row, entry.id, answer, "exact", 1.0, terms, now)
        return Lookup(hit, None, entry.category, terms.threshold, 1.0, entry.id)

    def nearest(
        self, asked: Question, vector: FloatArray, terms: Terms, now: int, max_age: float | None
    ) -> Lookup:
        """The best entry for a vector, or why there is none; vector float32 [dim] of unit length."""
        partition = self.contents.partitions.get((asked.scope, terms.category))
        if partition is None:
            return Lookup(None, answers.EMPTY, terms.category, terms.threshold)
        reason: str | None = None
        similarity, nearest = None, None
        for similarity_now, entry_id in partition.search(vector):
            known = self.contents.entry_of(entry_id)
            if known is None:
                continue
            problem = self._problem(known[0], terms, now, max_age)
            if problem == answers.EMPTY:  # its life is over: as if it were not there
                continue
            if nearest is None:
                similarity, nearest = min(similarity_now, 1.0), entry_id
            problem = problem or self._doubt(entry_id, similarity_now, terms)
            if problem == answers.BELOW_THRESHOLD:  # as all that follow
                reason = reason or problem
                break
            if problem is None:
                answer = self.records.answer(entry_id)
                if answer is None:
                    continue
                hit = self._hit(known[0], entry_id, answer, "semantic", min(similarity_now, 1.0), terms, now)
                problem = self._objection(asked, hit, terms.policy)
                if problem is None:
                    return Lookup(hit, None, terms.category, terms.threshold, hit.similarity, entry_id)
            reason = reason or problem
            if terms.policy.max_error is not None:  # the bound holds for one answer a prompt, that of the nearest
                break
        return Lookup(None, reason or answers.EMPTY, terms.category, terms.threshold, similarity, nearest)

    def neighbour(self, asked: Question, vector: FloatArray, terms: Terms, now: int) -> tuple[int, float] | None:
        """The nearest entry that is alive, and its similarity, whatever the threshold."""
        partition = self.contents.partitions.get((asked.scope, terms.category))
        for similarity, entry_id in () if partition is None else partition.search(vector):
            known = self.contents.entry_of(entry_id)
            if known is not None and self._problem(known[0], terms, now, None) is None:
                return entry_id, min(similarity, 1.0)
        return None

    def _problem(self, row: int, terms: Terms, now: int, max_age: float | None) -> str | None:
        """Why the entry in a row may not be given because of its age, or None; EMPTY: its life is over."""
        table = self.contents.table
        expires_ms = int(table.expires_ms[row])
        if expires_ms != NEVER:
            life = table.life[row]
            last_ms = expires_ms + (terms.extra_ms if life == POLICY else 0) + (0 if life == SOURCE else terms.stale_ms)
            if now >= last_ms:
                return answers.EMPTY
        if max_age is not None and now - int(table.created_ms[row]) > max_age * 1000.0:
            return answers.TOO_OLD
        return None

    def _doubt(self, entry_id: int, similarity: float, terms: Terms) -> str | None:
        if terms.policy.max_error is None:
            return None if similarity >= terms.threshold - ROUNDING else answers.BELOW_THRESHOLD
        unproven = self.learning.unproven(terms.category, entry_id, similarity, terms.policy.max_error)
        return answers.UNPROVEN if unproven else None

    def _objection(self, asked: Question, hit: CacheHit, policy: CachePolicy) -> str | None:
        guard = refusal(asked.text, hit.prompt, policy.guards)  # type: ignore[arg-type]
        if guard is not None:
            return answers.GUARD + guard
        if self.verify is not None and not self.verify(asked.prompt, hit):
            return answers.REJECTED
        return None

    def _hit(
        self,
        row: int,
        entry_id: int,
        answer: tuple[str, Any, dict[str, Any]],
        kind: answers.HitKind,
        similarity: float,
        terms: Terms,
        now: int,
    ) -> CacheHit:
        table, entry = self.contents.table, self.contents.table.entries[row]
        prompt, response, metadata = answer
        expires_ms = int(table.expires_ms[row])
        lives_ms = expires_ms + (terms.extra_ms if table.life[row] == POLICY else 0)
        return CacheHit(
            id=entry_id,
            response=response,
            prompt=prompt,
            kind=kind,
            similarity=similarity,
            category=terms.category,
            age_s=max(0, now - int(table.created_ms[row])) / 1000.0,
            stale=expires_ms != NEVER and now >= lives_ms,
            threshold=terms.threshold,
            ttl=terms.ttl,
            tags=() if entry is None else entry.tags,
            metadata=metadata,
        )
