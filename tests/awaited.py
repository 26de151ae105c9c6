"""The client for asyncio, as one that waits: so one test is for both clients."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import vsearch


class Awaited:
    """A client for asyncio, driven from tests that know nothing of it: every coroutine is run to its end."""

    def __init__(self, runner: asyncio.Runner, target: Any) -> None:
        self._runner = runner
        self._target = target

    def __repr__(self) -> str:
        return repr(self._target)

    def __getattr__(self, name: str) -> Any:
        return self._finished(getattr(self._target, name))

    def _finished(self, value: Any) -> Any:
        if inspect.iscoroutine(value):
            return self._finished(self._runner.run(value))
        if inspect.ismethod(value):
            return lambda *args, **kwargs: self._finished(value(*args, **kwargs))
        kinds = (vsearch.AsyncCollection, vsearch.AsyncCache)
        return Awaited(self._runner, value) if isinstance(value, kinds) else value
