"""`check` of a cache: entries, answers and sources agree, and every record can be read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from vsearch.cache import records
from vsearch.errors import Corruption
from vsearch.storage import caches, keys
from vsearch.storage.rocks import CACHE_ANSWERS, CACHE_ENTRIES, CACHE_SOURCES, Engine

MAX_PROBLEMS: Final = 100  # of one cache: more of them tell nothing new
KEY_END: Final = b"\xff" * 16


def check_caches(engine: Engine) -> list[str]:
    """Problems of all caches, each a line that names what is wrong. Nothing is changed.

    Caches may change between the scans of two families; what is seen twice is not because of that.
    """
    problems = _problems(engine)
    return problems and [problem for problem in _problems(engine) if problem in set(problems)]


def _problems(engine: Engine) -> list[str]:
    problems: list[str] = []
    sources: dict[int, set[bytes]] = {}
    for key, _ in engine.scan(CACHE_SOURCES, b"", KEY_END):
        sources.setdefault(keys.source_of(key)[1], set()).add(key)
    for name, manifest in caches.load(engine).items():
        found = _disagreements(engine, manifest.number, sources.pop(manifest.number, set()))
        problems += [f"cache {name}: {problem}" for problem in islice(found, MAX_PROBLEMS)]
    return problems + [f"sources of a cache of number {number}, which there is not" for number in sources]


def _disagreements(engine: Engine, number: int, sources: set[bytes]) -> Iterator[str]:
    start, end = keys.prefix(number), keys.prefix_end(number)
    entries = engine.scan(CACHE_ENTRIES, start, end)
    answers = engine.scan(CACHE_ANSWERS, start, end)
    answer_key, answer = next(answers, (end, b""))
    for key, record in entries:
        while answer_key < key:
            yield f"the answer of entry {keys.pid_of(answer_key)} has no entry"
            answer_key, answer = next(answers, (end, b""))
        mine = answer if answer_key == key else None
        if mine is not None:
            answer_key, answer = next(answers, (end, b""))
        try:
            entry = records.decode_entry(keys.pid_of(key), record)
            if mine is None:
                yield f"entry {entry.id} has no answer"
            else:
                records.decode_answer(mine)
        except Corruption as error:
            yield error.message
            continue
        named = {keys.source_key(point, number, entry.id) for point, _ in entry.sources}
        if not named <= sources:
            yield f"entry {entry.id} would outlive a source"
        sources -= named
    if answer_key != end:
        yield f"the answer of entry {keys.pid_of(answer_key)} has no entry"
    yield from (f"a source of entry {keys.source_of(key)[2]}, which there is not" for key in sources)
