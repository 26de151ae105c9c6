"""The parts of one open cache, and how they work together."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from vsearch.cache import answers
from vsearch.cache.answers import CacheEntry, Lookup
from vsearch.cache.clock import Clock
from vsearch.cache.contents import NO_VECTOR, Contents
from vsearch.cache.economics import Tally, advise, total
from vsearch.cache.flights import Flights
from vsearch.cache.learning import Learning
from vsearch.cache.load import LoadSignal, effective
from vsearch.cache.lookup import Finder, Terms, Verify
from vsearch.cache.origins import Origins
from vsearch.cache.policy import DEFAULT, CachePolicy
from vsearch.cache.questions import Question, digest_of_scope, unit
from vsearch.cache.records import COUNTERS, NEVER, Entry, Records, decode_counters, encode_counters
from vsearch.cache.settings import Settings, check_policy
from vsearch.cache.sources import Dependents
from vsearch.cache.writing import Draft, Writing
from vsearch.errors import DimensionMismatch, InvalidArgument, VSearchError
from vsearch.storage import keys
from vsearch.types import FloatArray, PointId, Progress

if TYPE_CHECKING:
    from vsearch.cache.classifier import Centroids
    from vsearch.embedders import Embedder

CLASSIFIER: Final = "classifier"  # in the settings' `extra`

Equivalent = Callable[[Any, Any], bool]

log = logging.getLogger("vsearch.cache")


class Core:
    """Everything that a `Cache` needs of its insides. Every method may be called from any thread."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        stored: Records,
        dependents: Dependents,
        origins: Origins,
        save: Callable[[Settings], None],
        clock: Clock | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.records = stored
        self.origins = origins
        self.embedder: Embedder | None = None
        self.equivalent: Equivalent = lambda one, other: bool(one == other)
        self.contents = Contents(settings.dim)
        self.learning = Learning(stored)
        self.finder = Finder(self.contents, stored, self.learning)
        self.writing = Writing(
            self.contents, stored, dependents, settings.limits, dict(settings.policies), self.tally
        )
        self.flights = Flights()
        self._dependents = dependents
        self._save = save
        self._clock = clock or Clock()
        self._tallies: dict[str, Tally] = {}
        self._terms: dict[str, Terms] = {}  # the last ones of each category
        self._signal = None if settings.load is None else LoadSignal(*settings.load)
        self._classifier = _classifier(settings)

    def load_entries(self, vectors: bool) -> None:
        """Read what is stored; with `vectors`, entries are found by similarity again, without embedding anything."""
        with self.writing.lock:  # whoever changes a source meanwhile waits, and then removes what was read
            for category, counts in decode_counters(self.records.learned(COUNTERS)).items():
                self.tally(category).add(counts)
            self.contents.add_many(self._stored_entries(vectors), fresh=True)
            if vectors:
                self.writing.policies_changed(dict(self.settings.policies), self.now_ms())

    def warm(self, progress: Progress) -> None:
        """Build what makes lookups quick after a start; until then entries are compared one by one."""
        self.contents.warm(self.writing.lock, os.cpu_count() or 1, progress)

    def _stored_entries(self, vectors: bool) -> Iterator[Entry]:
        for entry in self.records.entries():
            self._clock.at_least(entry.created_ms)
            if not vectors:
                entry.vector = NO_VECTOR
            if self._known(entry):
                yield entry

    def attach(self, embedder: Embedder | None, verify: Verify | None, equivalent: Equivalent | None) -> None:
        """What is given when the cache is opened; None leaves what there is. Raises InvalidArgument or
        DimensionMismatch for the embedder of another model."""
        if all(given is None for given in (embedder, verify, equivalent)):
            return
        with self.writing.lock:
            self.writing.open()
            self._attach(embedder, verify, equivalent)

    def _attach(self, embedder: Embedder | None, verify: Verify | None, equivalent: Equivalent | None) -> None:
        if embedder is not None:
            model, dim = self.settings.model, self.settings.dim
            if model is not None and embedder.model != model:
                hint = "Open it with that model's embedder, or make another cache"
                raise InvalidArgument(f"cache {self.name!r} has vectors of {model!r}, not of {embedder.model!r}", hint)
            if embedder.dim is not None and embedder.dim != dim:
                raise DimensionMismatch(f"an embedder of dimension {embedder.dim}", f"The cache has dimension {dim}")
            self.embedder = embedder
            if model is None:
                self._change(model=embedder.model)
        if verify is not None:
            self.finder.verify = verify
        if equivalent is not None:
            self.equivalent = equivalent

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def find(self, asked: Question, vector: Any, max_age: float | None) -> tuple[Lookup, FloatArray | None]:
        """What answers a question, and its vector as it was compared, if it was."""
        self.writing.open()
        category = asked.category
        if category is not None:
            self.policy(category)
        given = None if vector is None else unit(vector, self.settings.dim)
        now = self.now_ms()
        exact = self.finder.exact(asked, self.terms, now, max_age)
        if exact is not None:
            return exact, given
        if category is not None and not self.settings.policies[category].enabled:
            return self._miss(category, answers.DISABLED), given
        found, problem = (given, None) if given is not None else self._embedded(asked.prompt)
        if found is None:
            return self._miss(category or DEFAULT, problem), None
        terms = self.terms(category or self._classified(found))
        if not terms.policy.enabled:
            return self._miss(terms.category, answers.DISABLED), found
        return self.finder.nearest(asked, found, terms, now, max_age), found

    def placed(self, asked: Question, vector: Any) -> tuple[str, FloatArray | None]:
        """The category and the vector of a prompt that is to be stored; without a vector it is found by its text."""
        self.writing.open()
        if asked.category is not None:
            self.policy(asked.category)
        given = None if vector is None else unit(vector, self.settings.dim)
        if given is None and self.settings.dim:
            given, _ = self._embedded(asked.prompt)
        if asked.category is not None:
            return asked.category, given
        return DEFAULT if given is None else self._classified(given), given

    def terms(self, category: str) -> Terms:
        """What holds for a category now."""
        policy = self.policy(category)
        stress = 0.0 if self._signal is None else self._signal.stress(self.now_ms() / 1000.0)
        last = self._terms.get(category)
        if last is not None and last.policy is policy and last.stress == stress:
            return last
        threshold, ttl = effective(policy, stress)
        extra_ms = int((ttl - policy.ttl) * 1000) if ttl is not None and policy.ttl is not None else 0
        terms = Terms(category, policy, stress, threshold, ttl, extra_ms, int(policy.stale * 1000))
        self._terms[category] = terms
        return terms

    def tally(self, category: str) -> Tally:
        """The counters of a category."""
        found = self._tallies.get(category)
        return self._tallies.setdefault(category, Tally()) if found is None else found

    def counted(self, found: Lookup, lookup_s: float) -> None:
        """Count what a lookup has found, after so many seconds."""
        tally, hit = self.tally(found.category), found.hit
        if hit is None:
            tally.miss(found.reason or answers.EMPTY, lookup_s)
            return
        known = self.contents.entry_of(hit.id)
        saved_s = saved_cost = 0.0
        if known is not None:
            row, table = known[0], self.contents.table
            saved_s, saved_cost = float(table.compute_s[row]), float(table.cost[row])
            table.hit(row, self.now_ms())
        tally.hit(hit.kind, hit.stale, lookup_s, saved_s, saved_cost)

    def teach(self, draft: Draft, response: Any) -> None:
        """With a `max_error`: the nearest entry, and its category, learn whether its answer would have been right."""
        terms = self.terms(draft.category)
        if terms.policy.max_error is None or draft.vector is None or draft.asked.digest in self.contents.exact:
            return
        near = self.finder.neighbour(draft.asked, draft.vector, terms, self.now_ms())
        answer = None if near is None else self.records.answer(near[0])
        if near is not None and answer is not None:
            self._observe(draft.category, *near, self.equivalent(answer[1], response))

    def reported(self, number: int, correct: bool, similarity: float | None) -> None:
        """Somebody says whether a hit was right; `similarity`: None for an exact match."""
        known = self.contents.entry_of(number)
        if known is None:
            return
        category = known[1].category
        self.tally(category).reported(correct)
        if similarity is not None:
            self.learning.reports.append((category, similarity, correct))
            if self.policy(category).max_error is not None:
                self._observe(category, number, similarity, correct)
                return
        if not correct:
            self.writing.remove([number])

    def _observe(self, category: str, number: int, similarity: float, correct: bool) -> None:
        with self.writing.lock:  # while it is there: what is known of an entry goes with it
            self.writing.open()
            if number in self.contents.rows:
                self.learning.observe(category, number, similarity, correct)

    def selected(
        self,
        number: int | None,
        tag: str | None,
        scope: Any,
        category: str | None,
        source: str | tuple[str, PointId] | None,
        where: Callable[[CacheEntry], bool] | None,
    ) -> list[int]:
        """Numbers of the entries for which all that is given holds."""
        numbers = [] if number is None else [{number}]
        if tag is not None:
            numbers.append(set(self.contents.tagged(tag)))
        if isinstance(source, str):
            numbers.append(self._made_from(self._dependents.of_collections({self.origins.number(source)})))
        elif source is not None:
            numbers.append(self._made_from(self._dependents.of([self.origins.key(source)])))
        digest = None if scope is None else digest_of_scope(scope)
        if category is not None:
            self.policy(category)
        found = []
        for candidate in sorted(set.intersection(*numbers)) if numbers else sorted(self.contents.rows):
            known = self.contents.entry_of(candidate)
            if known is None or (digest is not None and known[1].scope != digest):
                continue
            if category in (None, known[1].category) and (where is None or where(self._description(*known))):
                found.append(candidate)
        return found

    def described(self, after: int, limit: int | None) -> Iterator[CacheEntry]:
        """What is known of the entries above a number."""
        numbers = sorted(number for number in list(self.contents.rows) if number > after)
        found = (self.contents.entry_of(number) for number in numbers)
        return islice((self._description(*each) for each in found if each is not None), limit)

    def set_policies(self, policies: dict[str, CachePolicy], extra: dict[str, Any] | None = None) -> None:
        """These policies too, or instead of those of the same categories."""
        with self.writing.lock:
            self.writing.open()
            for category, policy in policies.items():
                check_policy(category, policy)
            settings = self.settings
            self._change(policies={**settings.policies, **policies}, extra={**settings.extra, **(extra or {})})
            self._classifier = _classifier(self.settings)
            self.writing.policies_changed(dict(self.settings.policies), self.now_ms())

    def set_load(self, low: float, high: float) -> None:
        with self.writing.lock:
            self.writing.open()
            signal = LoadSignal(low, high)
            self._change(load=(float(low), float(high)))
            self._signal = signal

    def push_load(self, value: float, now_s: float | None) -> None:
        if self._signal is None:
            raise InvalidArgument(f"cache {self.name!r} does not say what load is", "Say so with set_load(low, high)")
        self._signal.push(value, self.now_ms() / 1000.0 if now_s is None else now_s)

    def stats(self) -> dict[str, Any]:
        stress = 0.0 if self._signal is None else self._signal.stress(self.now_ms() / 1000.0)
        categories = {}
        for category, policy in self.settings.policies.items():
            terms, seen = self.terms(category), self.tally(category).snapshot()
            advice = advise(seen, policy)
            categories[category] = {
                **seen,
                "entries": self.contents.count[category],
                "bytes": self.contents.nbytes[category],
                "threshold": terms.threshold,
                "ttl": terms.ttl,
                "advice": advice.action,
                "advice_reason": advice.reason,
            }
        return {
            "name": self.name,
            "dim": self.settings.dim,
            "model": self.settings.model,
            "entries": len(self.contents),
            "bytes": self.contents.total_bytes,
            "max_entries": self.settings.max_entries,
            "max_bytes": self.settings.max_bytes,
            "memory_bytes": self.contents.memory_bytes(),
            "stress": stress,
            "computing": len(self.flights),
            "total": total(list(self._tallies.values())).snapshot(),
            "categories": categories,
        }

    def sweep(self, at_most_every_ms: int) -> None:
        """Remove what is over, and keep the counters."""
        self.flights.end_late()
        with self.writing.lock:
            if not self.writing.ended and self.writing.sweep(self.now_ms(), at_most_every_ms):
                self._keep_counters()

    def end(self, error: VSearchError) -> None:
        """From now on every lookup and store raises this. Raises DurabilityError when the counters cannot be kept."""
        with self.writing.lock:
            first = not self.writing.ended
            self.writing.end(error)
            if first and not self.records.engine.read_only and self.records.engine.failed is None:
                self._keep_counters()

    def _keep_counters(self) -> None:
        batch = self.records.batch()
        counters = {name: tally.to_dict() for name, tally in list(self._tallies.items())}
        self.records.learn(batch, COUNTERS, encode_counters(counters))
        self.records.commit(batch)

    def policy(self, category: str) -> CachePolicy:
        """That of a category. Raises InvalidArgument for one that there is not."""
        policy = self.settings.policies.get(category) if isinstance(category, str) else None
        if policy is None:
            known = ", ".join(sorted(self.settings.policies))
            raise InvalidArgument(f"unknown category {category!r:.80}", f"There are: {known}; set_policy makes more")
        return policy

    def _miss(self, category: str, reason: str | None) -> Lookup:
        return Lookup(None, reason, category, self.terms(category).threshold)

    def _embedded(self, prompt: str) -> tuple[FloatArray | None, str | None]:
        if self.embedder is None:
            return None, answers.NO_VECTOR
        try:
            return unit(self.embedder.embed([prompt])[0], self.settings.dim), None
        except Exception as error:  # whatever it is: a request must not fail because of it
            log.warning("cache %r: no embedding: %s: %s", self.name, type(error).__name__, error)
            return None, answers.NO_EMBEDDING

    def _classified(self, vector: FloatArray) -> str:
        category = None if self._classifier is None else self._classifier.classify(vector)
        return DEFAULT if category is None or category not in self.settings.policies else category

    def _known(self, entry: Entry) -> bool:
        """Whether an entry that is read back still has a place."""
        return entry.category in self.settings.policies and len(entry.vector) in (0, self.settings.dim)

    def _made_from(self, dependents: list[tuple[int, int]]) -> set[int]:
        return {entry for cache, entry in dependents if cache == self.records.number}

    def _description(self, row: int, entry: Entry) -> CacheEntry:
        sources = tuple((self.origins.name_of(point), keys.id_of(point)) for point, _ in entry.sources)
        expires_at = None if entry.expires_ms == NEVER else entry.expires_ms / 1000.0
        return CacheEntry(
            entry.id, entry.category, entry.scope.hex(), entry.tags, sources, entry.created_ms / 1000.0, expires_at,
            entry.nbytes, int(self.contents.table.hits[row]),
        )  # fmt: skip

    def _change(self, **changes: Any) -> None:
        changed = replace(self.settings, **changes)
        self._save(changed)
        self.settings = changed


def _classifier(settings: Settings) -> Centroids | None:
    """What `Cache.fit_categories` has fitted."""
    if CLASSIFIER not in settings.extra:
        return None
    from vsearch.cache.classifier import Centroids

    return Centroids.from_dict(settings.extra[CLASSIFIER])
