"""The points that an answer is made from, as the collections of the database have them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from vsearch.cache.records import NEVER, Source
from vsearch.collection import Collection
from vsearch.errors import InvalidArgument, LimitExceeded
from vsearch.points import decode_point
from vsearch.storage import keys
from vsearch.storage.rocks import IDS, POINTS, Engine
from vsearch.types import PointId

MAX_SOURCES: Final = 256  # points of one answer; more do not fit into a prompt
ABSENT: Final = 0  # version of a point that is not there
_HINT: Final = 'Use [("docs", id), ...] or [("docs", id, version), ...]'


class Origins:
    """`collection_of`: a collection by its name or alias, `open_now`: likewise, if it is open, without waiting for
    anything. `name_of_number`: the name of the collection of a number."""

    def __init__(
        self,
        engine: Engine,
        collection_of: Callable[[str], Collection],
        open_now: Callable[[str], Collection | None],
        name_of_number: Callable[[int], str],
    ) -> None:
        self._engine = engine
        self._collection_of = collection_of
        self._open_now = open_now
        self._name_of_number = name_of_number

    @contextmanager
    def held(self, depends_on: Sequence[Any]) -> Iterator[tuple[tuple[Source, ...] | None, int]]:
        """Inside, nobody writes to the collections of these points: their keys and versions, and when the first of them
        expires (Unix ms, NEVER for none). The keys are None if one is gone, or newer than the version that is named.

        Raises InvalidArgument, LimitExceeded, NotFound for a collection that there is not.
        """
        if not depends_on:
            yield (), NEVER
            return
        wanted = [self._parsed(source) for source in _listed(depends_on)]
        with ExitStack() as turns:
            states = {docs._state.number: docs._state for docs, _, _ in wanted}
            for number in sorted(states):  # always in this order, so that no two wait for each other
                turns.enter_context(states[number].turn())
            points = [keys.id_key(docs._state.number, point_id) for docs, point_id, _ in wanted]
            found = self._engine.get_many(IDS, points)
            pids = [ABSENT if value is None else keys.pid_from_value(value) for value in found]
            now = [self._open_now(source[0]) for source in depends_on]  # a name may stand for another collection by now
            moved = any(docs is not other for (docs, _, _), other in zip(wanted, now, strict=True))
            if moved or any(_changed(docs, pid, as_of) for (docs, _, as_of), pid in zip(wanted, pids, strict=True)):
                yield None, NEVER
                return
            versions = [(docs._state.number, pid) for (docs, _, _), pid in zip(wanted, pids, strict=True) if pid]
            yield tuple(dict(zip(points, pids, strict=True)).items()), self._first_end(versions)

    def key(self, source: Any) -> bytes:
        """The key of a point in the family `ids`, given by collection and id. Raises InvalidArgument, NotFound."""
        docs, point_id, _ = self._parsed(source)
        return keys.id_key(docs._state.number, point_id)

    def name_of(self, point: bytes) -> str:
        """The name of the collection of a point, given by its key."""
        return self._name_of_number(keys.number_of(point))

    def number(self, collection: str) -> int:
        """The number of a collection. Raises NotFound."""
        return self._collection_of(collection)._state.number

    def _first_end(self, versions: list[tuple[int, int]]) -> int:
        records = self._engine.get_many(POINTS, [keys.pid_key(number, pid) for number, pid in versions])
        ends = [decode_point(record)[2] for record in records if record is not None]
        return min((end for end in ends if end != NEVER), default=NEVER)

    def _parsed(self, source: Any) -> tuple[Collection, PointId, int | None]:
        if not isinstance(source, tuple | list) or len(source) not in (2, 3) or not isinstance(source[0], str):
            raise InvalidArgument(f"a source is {source!r:.80}", _HINT)
        version = source[2] if len(source) == 3 else None
        if version is not None and (type(version) is not int or version < 0):
            raise InvalidArgument(f"a source's version is {version!r:.80}", "Use an earlier `Collection.version`")
        if isinstance(source[1], bool) or not isinstance(source[1], int | str):
            raise InvalidArgument(f"a source's id is {source[1]!r:.80}", "Use the id of a point")
        return self._collection_of(source[0]), source[1], version


def _changed(docs: Collection, pid: int, as_of: int | None) -> bool:
    return as_of is not None and not keys.written_by(as_of, docs._state.number, pid)


def _listed(depends_on: Any) -> list[Any]:
    if not isinstance(depends_on, list | tuple) or (depends_on and isinstance(depends_on[0], str)):
        raise InvalidArgument(f"depends_on is {depends_on!r:.80}", _HINT)
    if len(depends_on) > MAX_SOURCES:
        raise LimitExceeded(f"an answer of {len(depends_on)} sources", f"At most {MAX_SOURCES}")
    return list(depends_on)
