"""Limits: how many entries and bytes a category and the whole cache may hold, and who leaves when there is no room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vsearch.cache.contents import Contents
from vsearch.cache.eviction import NO_ROW, Victims
from vsearch.cache.policy import CachePolicy
from vsearch.cache.table import Ranking


@dataclass(frozen=True, slots=True)
class Limits:
    """Most entries and bytes of a whole cache."""

    entries: int
    nbytes: int

    def of(self, policy: CachePolicy) -> tuple[int, int]:
        """Most entries and bytes of a category."""
        share = 1.0 if policy.quota_share is None else policy.quota_share
        entries = min(int(self.entries * share), self.entries if policy.quota is None else policy.quota)
        nbytes = min(int(self.nbytes * share), self.nbytes if policy.quota_bytes is None else policy.quota_bytes)
        return entries, nbytes


class Room:
    """Makes room, in a category first and then in the whole cache, for one thread at a time.

    Rows that it chooses are marked as leaving; the caller removes them, or lets them stay (`keep`).
    """

    def __init__(self, contents: Contents, limits: Limits, policies: Mapping[str, CachePolicy]) -> None:
        self._contents, self._limits = contents, limits
        self._ranking = Ranking(contents.table, policies)
        self._victims = Victims(self._ranking)

    def policies_changed(self, policies: Mapping[str, CachePolicy]) -> None:
        self._ranking.policies = policies
        self._victims.forget()

    def make(self, category: str, entries: int, nbytes: int, leaving: list[int], now_ms: int) -> list[int] | None:
        """Rows to remove so that so many new entries and bytes of a category fit; None if they never will.

        `leaving`: rows that are removed anyway.
        """
        contents, table = self._contents, self._contents.table
        policy = self._ranking.policies[category]
        most_entries, most_bytes = self._limits.of(policy)
        if entries > most_entries or nbytes > most_bytes:
            return None
        self._ranking.now_ms = now_ms
        code = table.code(category)
        table.leaving[leaving] = True
        mine = [row for row in leaving if table.category[row] == code]
        count = contents.count[category] + entries - len(mine)
        size = contents.nbytes[category] + nbytes - sum(int(table.nbytes[row]) for row in mine)
        total_count = len(contents) + entries - len(leaving)
        total_size = contents.total_bytes + nbytes - sum(int(table.nbytes[row]) for row in leaving)
        chosen: list[int] = []
        while True:
            if count > most_entries or size > most_bytes:
                row = self._victims.next(code)
            elif total_count > self._limits.entries or total_size > self._limits.nbytes:
                row = self._victims.next(None)
            else:
                return chosen
            if row == NO_ROW:
                self.keep(leaving + chosen)
                raise AssertionError("bug: nothing is left to evict, and there is no room")
            table.leaving[row] = True
            chosen.append(row)
            total_count, total_size = total_count - 1, total_size - int(table.nbytes[row])
            if table.category[row] == code:
                count, size = count - 1, size - int(table.nbytes[row])

    def keep(self, rows: list[int]) -> None:
        """These rows stay after all."""
        self._contents.table.leaving[rows] = False
