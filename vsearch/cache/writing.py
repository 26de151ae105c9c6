"""Everything that changes a cache: storing, removing, making room, forgetting what is over.

One lock keeps changes apart. Each is first committed to the engine and then made in memory, so that a failed disk
leaves memory as it was; between the two, a lookup finds an entry whose answer is gone, and passes it over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from vsearch.cache import records
from vsearch.cache.contents import Contents
from vsearch.cache.economics import Removal, Tally
from vsearch.cache.policy import CachePolicy
from vsearch.cache.questions import Question
from vsearch.cache.records import NEVER, OWN, POLICY, SOURCE, Entry, Records, Source
from vsearch.cache.room import Limits, Room
from vsearch.cache.sources import Dependents
from vsearch.errors import VSearchError
from vsearch.storage.rocks import Batch
from vsearch.types import FloatArray

SWEEP_MS: Final = 1_000  # what is over is looked for no more often: one pass over a column
MAX_BATCH: Final = 4_096  # entries of one commit

# Holds the collections of an answer's sources still: their keys and versions, None where one has changed, and when the
# first of them expires.
Held = AbstractContextManager[tuple[tuple[Source, ...] | None, int]]
Hold = Callable[[Sequence[Any]], Held]


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry to be stored. `answer`: its record. `ttl`: seconds, None for ever; `own_ttl`: given with it."""

    asked: Question
    category: str
    answer: bytes
    vector: FloatArray | None
    ttl: float | None
    own_ttl: bool
    tags: tuple[str, ...] = ()
    cost: float = 0.0
    compute_s: float = 0.0


class Writing:
    """The changes of one cache; every method may be called from any thread."""

    def __init__(
        self,
        contents: Contents,
        stored: Records,
        dependents: Dependents,
        limits: Limits,
        policies: dict[str, CachePolicy],
        tally: Callable[[str], Tally],
    ) -> None:
        self.lock = threading.RLock()
        self._contents = contents
        self._records = stored
        self._dependents = dependents
        self._room = Room(contents, limits, policies)
        self._policies = policies
        self._tally = tally
        self._next_id = stored.next_id()
        self._swept_ms = 0
        self._ended: VSearchError | None = None
        dependents.attach(stored.number, self.forget)

    def put(self, drafts: Sequence[Draft], sources: tuple[Source, ...], expires_ms: int, now: int) -> list[int | None]:
        """Store entries of one category, all in one commit; the number of each, None where there is no room for it.

        `expires_ms`: when their sources end. Of two with the same question the last wins.
        """
        with self.lock:
            self.open()
            self.sweep(now, at_most_every_ms=SWEEP_MS)
            last = {draft.asked.digest: at for at, draft in enumerate(drafts)}
            kept = [drafts[at] for at in sorted(last.values())]
            entries = [self._entry(self._next_id + i, draft, sources, expires_ms, now) for i, draft in enumerate(kept)]
            batch = self._records.batch()
            for entry, draft in zip(entries, kept, strict=True):
                self._records.put(batch, entry, draft.answer)
            replaced = [row for entry in entries if (row := self._contents.exact.get(entry.digest)) is not None]
            nbytes = sum(entry.nbytes for entry in entries)
            evicted = self._room.make(entries[0].category, len(entries), nbytes, replaced, now)
            if evicted is None and len(kept) > 1:  # by halves; what does not fit beside the others gives way to them
                middle = len(drafts) // 2
                first = self.put(drafts[:middle], sources, expires_ms, now)
                rest = self.put(drafts[middle:], sources, expires_ms, now)
                return [entry if entry in self._contents.rows else None for entry in first + rest]
            if evicted is None:
                return [None] * len(drafts)
            self._next_id += len(entries)
            try:
                self._stage_removal(batch, replaced + evicted)
                self._records.commit(batch)
            except BaseException:
                self._room.keep(replaced + evicted)
                raise
            self._drop(replaced)
            self._drop(evicted, "evicted")
            self._add(entries, [draft.vector for draft in kept])
            numbers = {entry.digest: entry.id for entry in entries}
            return [numbers[draft.asked.digest] for draft in drafts]

    def remove(self, entries: Iterable[int], why: Removal | None = None) -> int:
        """Remove the entries of these numbers that are there; returns how many that were."""
        with self.lock:
            self.open()
            return self._remove([row for entry in entries if (row := self._contents.rows.get(entry)) is not None], why)

    @property
    def ended(self) -> bool:
        return self._ended is not None

    def end(self, error: VSearchError) -> None:
        """From now on every change raises this."""
        with self.lock:
            self._ended = error

    def open(self) -> None:
        """Raises what `end` was told."""
        if self._ended is not None:
            raise type(self._ended)(self._ended.message, self._ended.hint)

    def _remove(self, rows: list[int], why: Removal | None) -> int:
        """Remove the entries in these rows, in commits of MAX_BATCH."""
        for start in range(0, len(rows), MAX_BATCH):
            some = rows[start : start + MAX_BATCH]
            batch = self._records.batch()
            self._stage_removal(batch, some)
            self._records.commit(batch)
            self._drop(some, why)
        return len(rows)

    def forget(self, entries: list[int]) -> None:
        """Entries whose removal has been committed with a change of their sources."""
        with self.lock:
            rows = [found[0] for entry in entries if (found := self._contents.entry_of(entry)) is not None]
            self._drop(rows, "invalidated")

    def sweep(self, now: int, at_most_every_ms: int = 0) -> int:
        """Remove what is over for good; returns how many entries that were."""
        with self.lock:
            if now - self._swept_ms < at_most_every_ms:
                return 0
            self._swept_ms = now
            policies = [self._policies[name] for name in self._contents.table.categories]
            if not policies:
                return 0
            grace = np.array([int(policy.stale * 1000) for policy in policies], np.int64)
            extra = np.array([most_extra_ms(policy) for policy in policies], np.int64)
            rows = self._contents.table.ended(now, grace, extra)
            return self._remove(rows.tolist(), "expired")

    def policies_changed(self, policies: dict[str, CachePolicy], now: int) -> None:
        """These are the policies from now on; whoever is over a smaller quota leaves."""
        with self.lock:
            self._policies = policies
            self._room.policies_changed(policies)
            for category in policies:
                chosen = self._room.make(category, 0, 0, [], now) or []
                try:
                    self._remove(chosen, "evicted")
                except BaseException:
                    self._room.keep(chosen)
                    raise

    def _entry(self, number: int, draft: Draft, sources: tuple[Source, ...], source_ends_ms: int, now: int) -> Entry:
        expires_ms = NEVER if draft.ttl is None else now + max(1, int(draft.ttl * 1000))
        life = OWN if draft.own_ttl else POLICY
        if source_ends_ms != NEVER and (expires_ms == NEVER or source_ends_ms < expires_ms):
            expires_ms, life = source_ends_ms, SOURCE
        vector = np.empty(0, np.float16) if draft.vector is None else draft.vector.astype(np.float16)
        return Entry(
            number, draft.category, draft.asked.scope, draft.asked.digest, now, expires_ms, life,
            draft.cost, draft.compute_s, len(draft.answer), draft.tags, sources, vector,
        )  # fmt: skip

    def _add(self, entries: list[Entry], vectors: list[FloatArray | None]) -> None:
        for entry in entries:
            if entry.sources:
                points = tuple(dict.fromkeys(point for point, _ in entry.sources))
                self._dependents.add((self._records.number, entry.id), points)
        if len(entries) == 1:
            self._contents.add(entries[0], vectors[0])
        else:
            self._contents.add_many(entries)

    def _stage_removal(self, batch: Batch, rows: list[int]) -> None:
        for row in rows:
            entry = self._contents.table.entries[row]
            assert entry is not None, "bug: a free row is to be removed"
            points = tuple(point for point, _ in entry.sources)
            records.remove(batch, self._records.number, entry.id, points)

    def _drop(self, rows: Iterable[int], why: Removal | None = None) -> None:
        """Of memory."""
        for row in rows:
            entry = self._contents.remove(row)
            if entry.sources:
                self._dependents.discard((self._records.number, entry.id))
            if why is not None:
                self._tally(entry.category).removed(why)


def most_extra_ms(policy: CachePolicy) -> int:
    """How much longer than its ttl an entry may live at most, under load."""
    if policy.ttl is None or policy.max_ttl is None:
        return 0
    return int((policy.max_ttl - policy.ttl) * 1000)
