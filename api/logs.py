"""Three logs on standard error, in lines of text or of JSON: access, slow requests, failures.

The last two go through the standard `logging`, as the rest of the package does. Access lines are many, so they are
gathered and written together a moment later. Paths are logged as they came, percent-encoded, so that no client can
forge a line; headers and bodies, which may hold secrets, are not logged. A slow request is logged with what it asked
for, shortened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from functools import lru_cache
from typing import Any, Final

from .request import Request
from .settings import LogFormat, Settings

slow = logging.getLogger("vsearch.slow")
failures = logging.getLogger("vsearch.server")

LATE_S: Final = 0.1  # access lines are written at most so much later
MAX_NOTE: Final = 500  # characters of a slow request's body
LONG_LIST: Final = re.compile(r"\[[^\[\]]{60,}\]")  # a vector, most likely


class Logs:
    """Told of each request once it is over. For the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        self._access = settings.access_log
        self._json = settings.log_format == "json"
        self._slow_s = settings.slow_ms / 1000
        self._lines: list[str] = []

    def request(self, request: Request) -> None:
        """One line in the access log, and one in the slow log if it is due."""
        elapsed_s = request.elapsed_s
        if self._access:
            if not self._lines:
                asyncio.get_running_loop().call_later(LATE_S, self.flush)
            self._lines.append(self._line(request, elapsed_s))
        if elapsed_s > self._slow_s and (request.endpoint is None or request.endpoint.lane not in ("long", "loop")):
            fields = {
                "method": request.method,
                "path": request.raw_path,
                "ms": round(elapsed_s * 1000, 3),
                "request_id": request.id,
                "asked": LONG_LIST.sub("[...]", request.note)[:MAX_NOTE],
            }
            slow.warning("%(method)s %(path)s took %(ms).0f ms (%(request_id)s): %(asked)s", fields)

    def flush(self) -> None:
        """Write the access lines that are waiting."""
        lines, self._lines = self._lines, []
        if lines:
            sys.stderr.write("".join(lines))
            sys.stderr.flush()

    def failure(self, request: Request, error: Exception) -> None:
        """A request that the server could not serve, with the traceback."""
        what = f"{request.method} {request.raw_path} failed ({request.id}): {error}"
        failures.error("%s", what, exc_info=error)

    def _line(self, request: Request, elapsed_s: float) -> str:
        client = request.client
        host = client[0] if client else "-"
        when, ms = _utc(time.time()), elapsed_s * 1000
        if not self._json:
            what = f"{request.method} {request.raw_path} {request.status} {request.sent_bytes} B {ms:.3f} ms"
            return f"{when} info vsearch.access {host} {what} {request.id}\n"
        line = {
            "time": when,
            "level": "info",
            "log": "vsearch.access",
            "client": host,
            "method": request.method,
            "path": request.raw_path,
            "status": request.status,
            "bytes": request.sent_bytes,
            "ms": round(ms, 3),
            "request_id": request.id,
        }
        return json.dumps(line) + "\n"


class JsonLines(logging.Formatter):
    """A JSON object a line; what was logged with named fields keeps their names."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _utc(record.created),
            "level": record.levelname.lower(),
            "log": record.name,
        }
        if isinstance(record.args, dict):
            line |= record.args
        else:
            line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Time, level, log, message."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{_utc(record.created)} {record.levelname.lower()} {record.name} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def to_stderr(log_format: LogFormat) -> None:
    """Send every log of ours, and of the HTTP server beneath, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    for name, level in (("vsearch", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


def _utc(seconds: float) -> str:
    return f"{_second(int(seconds))}.{int(seconds * 1000) % 1000:03d}Z"


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
