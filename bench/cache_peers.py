"""The cache beside GPTCache 0.1.44 (its faiss and sqlite): the same entries, vectors and questions, in one thread.

GPTCache's quickest legitimate setting: one candidate a search, the distance of the search as the evaluation, no report
and no token count, filled by `import_data`, and never writing its faiss index (by default it writes all of it at every
20th answer). Its threshold is ours: a cosine of c is a squared distance of 2 - 2 c. What its settings do not offer is
measured as well, as "helped by hand": an index on its table of answers, which is scanned for each hit, and a database
that is not synced. Ours is at its default durability, "os"; storing at "sync" is compared with GPTCache's as it comes.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from bench.cache_vectors import THRESHOLD, Filling, Prompts
from bench.report import Report
from vsearch.cache.cache import Cache
from vsearch.cache.policy import CachePolicy
from vsearch.types import FloatArray

ASKED = 200  # questions of each sort
STORED = 100
ROUNDS = 3
IMPORTED = 1_000  # entries of one import
WANTED = 20.0


class GPTCache:
    """GPTCache with an embedder that knows the vectors already."""

    def __init__(self, folder: Path, dim: int) -> None:
        warnings.filterwarnings("ignore", message=".*declarative_base.*")
        from gptcache import Cache, Config
        from gptcache.manager import CacheBase, VectorBase, get_data_manager
        from gptcache.processor.post import first
        from gptcache.processor.pre import get_prompt
        from gptcache.similarity_evaluation import SearchDistanceEvaluation

        logging.getLogger("gptcache").setLevel(logging.CRITICAL)
        self.known: dict[str, FloatArray] = {}
        self.data = get_data_manager(
            CacheBase("sqlite", sql_url=f"sqlite:///{folder}/sqlite.db"),
            VectorBase("faiss", dimension=dim, index_path=f"{folder}/faiss.index", top_k=1),
            max_size=10_000_000,
        )
        self.cache = Cache()
        self.cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=lambda prompt, **_: self.known[prompt],
            data_manager=self.data,
            similarity_evaluation=SearchDistanceEvaluation(),  # 4 less the squared distance
            post_process_messages_func=first,
            config=Config(
                similarity_threshold=1.0 - (2.0 - 2.0 * THRESHOLD) / 4.0,
                auto_flush=1_000_000_000,
                disable_report=True,
                enable_token_counter=False,
            ),
        )

    def fill(self, stored: Prompts, answers: Sequence[str]) -> None:
        self.know(stored)
        for at in range(0, len(stored), IMPORTED):
            self.cache.import_data(stored.texts[at : at + IMPORTED], answers[at : at + IMPORTED])

    def know(self, prompts: Prompts) -> None:
        """The vectors that its embedder gives from now on."""
        self.known.update(zip(prompts.texts, prompts.vectors, strict=True))

    def check(self, text: str) -> Any:
        from gptcache.adapter.api import get

        return get(text, cache_obj=self.cache)

    def store(self, text: str, answer: str) -> None:
        from gptcache.adapter.api import put

        put(text, answer, cache_obj=self.cache)

    def help(self) -> None:
        """What its settings do not offer: an index on the answers, and no waiting for the disk."""
        import sqlalchemy

        engine = self.data.s._engine
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("create index answers on gptcache_answer (question_id)"))
        engine.dispose()
        sqlalchemy.event.listen(engine, "connect", lambda raw, _: raw.execute("pragma synchronous = off"))

    def close(self) -> None:
        """Let go of everything; it would write its index when the process ends."""
        self.data.close = lambda: None
        self.data.s._engine.dispose()
        self.known.clear()


def run_peers(cache: Cache, synced: Cache, filled: Filling, folder: Path, report: Report) -> None:
    """Add how many times as fast `cache` is, which holds what is `filled`; `synced` is another of durability "sync"."""
    faiss.omp_set_num_threads(1)
    peer = GPTCache(folder, cache.dim)
    start = time.perf_counter()
    peer.fill(filled.stored, filled.answers)
    report.row("gptcache_fill_s", "GPTCache: import_data of the same entries, s", time.perf_counter() - start)
    asked = Prompts(
        filled.hits.texts[:ASKED] + filled.misses.texts[:ASKED],
        np.concatenate([filled.hits.vectors[:ASKED], filled.misses.vectors[:ASKED]]),
    )
    for prompts in (asked, filled.fresh):
        peer.know(prompts)
    default = cache.policies["default"]
    guarded_s, guarded = _checks(cache, asked)
    cache.set_policy("default", CachePolicy(THRESHOLD, guards=False))  # GPTCache has none
    ours_s, found = _checks(cache, asked)
    cache.set_policy("default", default)
    ours_store_s = _stores(lambda text, row: cache.store(text, "answer", filled.fresh.vectors[row]), filled.fresh, 0)
    synced_s = _stores(lambda text, row: synced.store(text, "answer", filled.fresh.vectors[row]), filled.fresh, 0)
    for helped in (False, True):
        if helped:
            peer.help()
        theirs_s, theirs = _peer_checks(peer, asked)
        stored_s = _stores(lambda text, row: peer.store(text, "answer"), filled.fresh, ROUNDS * STORED * helped)
        suffix, name = ("_helped", ", helped by hand") if helped else ("", "")
        bound = None if helped else (">=", WANTED)
        note = f"{ours_s * 1e6:.0f} us ({found} hits), {theirs_s * 1e6:,.0f} us ({theirs}); "
        note += f"with guards {guarded_s * 1e6:.0f} us ({guarded})"
        report.row(f"gptcache_check{suffix}", f"check: times as fast as GPTCache{name}", theirs_s / ours_s, bound, note)
        note = f"{ours_store_s * 1e6:.0f} us, {stored_s * 1e6:,.0f} us"
        ratio = stored_s / ours_store_s
        report.row(f"gptcache_store{suffix}", f"store: times as fast as GPTCache{name}", ratio, bound, note)
        if not helped:
            title = 'store, durability "sync": times as fast as GPTCache'
            report.row("gptcache_store_sync", title, stored_s / synced_s, None, f"{synced_s * 1e6:,.0f} us")
        ratio = (theirs_s + stored_s) / (ours_s + ours_store_s)
        report.row(f"gptcache_both{suffix}", f"check and store: times as fast as GPTCache{name}", ratio, bound)
    peer.close()


def _checks(cache: Cache, asked: Prompts) -> tuple[float, int]:
    """Seconds of one, in the best round, and how many are answered."""
    questions = list(zip(asked.texts, asked.vectors, strict=True))
    return _rounds(lambda: [cache.check(text, vector) is not None for text, vector in questions])


def _peer_checks(peer: GPTCache, asked: Prompts) -> tuple[float, int]:
    return _rounds(lambda: [peer.check(text) is not None for text in asked.texts])


def _rounds(task: Callable[[], list[bool]]) -> tuple[float, int]:
    times, found = [], 0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        hits = task()
        times.append((time.perf_counter() - start) / len(hits))
        found = sum(hits)
    return min(times), found


def _stores(store: Callable[[str, int], Any], fresh: Prompts, first: int) -> float:
    """Seconds of one, in the best round, of entries that are new."""
    times = []
    for round_ in range(ROUNDS):
        at = first + round_ * STORED
        start = time.perf_counter()
        for row in range(at, at + STORED):
            store(fresh.texts[row], row)
        times.append((time.perf_counter() - start) / STORED)
    return min(times)
