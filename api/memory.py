"""The memory budget: above it writes are refused, reads go on, until sealing and compaction have freed enough."""

from __future__ import annotations

import os
import time
from typing import Final

from vsearch.errors import ResourceExhausted

LOOK_S: Final = 0.5  # between two looks at the process
STATM: Final = "/proc/self/statm"  # pages: size, resident, of which shared (mapped files, which can be dropped) ...


def private_bytes() -> int | None:
    """Memory of this process that is not mapped files; None where the system does not tell."""
    try:
        with open(STATM, "rb") as file:
            _, resident, shared = map(int, file.read().split()[:3])
    except OSError:
        return None
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


class MemoryBudget:
    """`limit_bytes`: None for no limit."""

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes
        self._looked_s = -LOOK_S
        self._used_bytes = 0

    def check(self) -> None:
        """Raises ResourceExhausted above the budget."""
        if self._limit_bytes is None:
            return
        now = time.monotonic()
        if now - self._looked_s >= LOOK_S:
            self._looked_s, self._used_bytes = now, private_bytes() or 0
        if self._used_bytes > self._limit_bytes:
            used, limit = self._used_bytes >> 20, self._limit_bytes >> 20
            raise ResourceExhausted(f"the server uses {used:,} MiB of its budget of {limit:,} MiB", "Write again later")
