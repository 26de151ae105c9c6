"""What is known of one request: how it came, and how it was answered. What logs, traces and metrics are told."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from .endpoint import Endpoint

Scope = MutableMapping[str, Any]


class Request:
    """`headers`: by name in small letters. `id`: the client's, or one of ours. `names`: the steps of the path that
    stand for names. `note`: what was asked, for the log of slow requests."""

    def __init__(self, scope: Scope) -> None:
        self.started_s = time.perf_counter()
        self.method: str = scope["method"]
        self.raw_path: str = scope["raw_path"].split(b"?")[0].decode("ascii", "replace")  # percent-encoded
        self.query: bytes = scope["query_string"]
        self.headers = _headers(scope["headers"])
        self.client: tuple[str, int] | None = scope.get("client")
        self.id = ""
        self.endpoint: Endpoint | None = None
        self.names: Mapping[str, str] = {}
        self.status = 0
        self.sent_bytes = 0
        self.note = ""

    @property
    def content_length(self) -> int:
        """Of the body as it was announced; 0 if it was not."""
        text = self.headers.get(b"content-length", b"0")
        return int(text) if text.isdigit() else 0

    @property
    def has_body(self) -> bool:
        """Whether a body was announced."""
        return b"content-length" in self.headers or b"transfer-encoding" in self.headers

    @property
    def content_type(self) -> str:
        """Of the body, with its options."""
        return self.headers.get(b"content-type", b"").decode("ascii", "replace")

    @property
    def accept(self) -> str:
        return self.headers.get(b"accept", b"").decode("ascii", "replace")

    @property
    def route(self) -> tuple[str, str]:
        """Method and path in words of ours, for metrics."""
        return ("other", "none") if self.endpoint is None else (self.endpoint.method, self.endpoint.path)

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started_s


def _headers(given: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Repeated headers joined to one list, which is what they mean (RFC 9110 section 5.3; cookies: RFC 9113, 8.2.3)."""
    pairs = list(given)
    headers = dict(pairs)
    if len(headers) < len(pairs):
        headers = {}
        for name, value in pairs:
            known = headers.get(name)
            headers[name] = value if known is None else known + (b"; " if name == b"cookie" else b", ") + value
    return headers
