"""Who may do what: API keys, compared in constant time."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from vsearch.errors import PermissionDenied

from .endpoint import Access
from .errors import NoKey
from .settings import Settings

BEARER: Final = b"bearer "


class Keys:
    """The keys of one server. Without any, everything is allowed: settings let only loopback be served so."""

    def __init__(self, settings: Settings) -> None:
        self._full = None if settings.api_key is None else settings.api_key.encode()
        self._reading = None if settings.read_only_api_key is None else settings.read_only_api_key.encode()

    def check(self, headers: Mapping[bytes, bytes], access: Access) -> None:
        """Raises NoKey for a missing or wrong key, PermissionDenied for one that may not write."""
        if self._full is None or access == "open":
            return
        given = headers.get(b"api-key")
        if given is None:
            bearer = headers.get(b"authorization", b"")
            given = bearer[len(BEARER) :].strip() if bearer[: len(BEARER)].lower() == BEARER else b""
        full = hmac.compare_digest(given, self._full)
        reading = self._reading is not None and hmac.compare_digest(given, self._reading)
        if full or (reading and access == "read"):
            return
        if reading:
            raise PermissionDenied("this API key may only read", "Use the key that may write")
        what = "the API key is wrong" if given else "this server wants an API key"
        raise NoKey(what, "Send it as the header api-key, or as Authorization: Bearer KEY")
