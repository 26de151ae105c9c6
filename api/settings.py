"""What a server is told when it starts, checked. Every limit is here, with its reason."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from vsearch.errors import InvalidArgument
from vsearch.types import Durability

from .openai.settings import UpstreamSettings

LogFormat = Literal["text", "json"]

MAX_BODY_BYTES: Final = 32 << 20  # one JSON body: parsing it holds Python's global lock for some tenths of a second
MAX_BODIES_BYTES: Final = 256 << 20  # bodies of all requests at once: bounds memory under many clients
MAX_CONNECTIONS: Final = 1_000  # below the usual limit of 1,024 open files, of which the database needs some
BODY_PAUSE_S: Final = 30.0  # a client that sends nothing for so long in the middle of a body is cut off
STOP_S: Final = 8.0  # requests in flight may take so long after SIGTERM
MAX_OPERATIONS: Final = 1_000  # searches or changes of one batch request
MIN_KEY_LENGTH: Final = 8  # a key that can be guessed protects nothing


@dataclass(frozen=True, slots=True)
class Settings:
    """`directory`: the database. `port`: 0 takes a free one. `api_key` may read and write, `read_only_api_key` only
    read; an address other than loopback demands a key. `tls_cert`, `tls_key`: PEM files. `slow_ms`: requests that take
    longer are logged as slow. `memory_bytes`: above it writes are refused until memory is free again. `openai`: the
    upstream of the OpenAI-compatible front; without it there is none.

    Raises InvalidArgument.
    """

    directory: Path
    host: str = "127.0.0.1"
    port: int = 6333
    api_key: str | None = field(default=None, repr=False)
    read_only_api_key: str | None = field(default=None, repr=False)
    tls_cert: Path | None = None
    tls_key: Path | None = None
    durability: Durability = "sync"
    memory_bytes: int | None = None
    log_format: LogFormat = "text"
    access_log: bool = True
    slow_ms: float = 500.0
    traces: bool = False
    max_body_bytes: int = MAX_BODY_BYTES
    max_upload_bytes: int | None = None
    openai: UpstreamSettings | None = None

    def __post_init__(self) -> None:
        keys = [key for key in (self.api_key, self.read_only_api_key) if key is not None]
        if any(len(key) < MIN_KEY_LENGTH or not key.isascii() for key in keys):
            raise InvalidArgument("an API key is too short", f"Use at least {MIN_KEY_LENGTH} ASCII characters")
        if len(set(keys)) < len(keys):
            raise InvalidArgument("both API keys are the same", "Use different keys for reading and for writing")
        if self.read_only_api_key is not None and self.api_key is None:
            raise InvalidArgument("there is a read-only key and no other", "Give an API key as well, to protect writes")
        if not keys and not is_loopback(self.host):
            hint = "Set VSEARCH_API_KEY, or listen on 127.0.0.1"
            raise InvalidArgument(f"the address {self.host} is reachable from outside and there is no API key", hint)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InvalidArgument("TLS needs a certificate and its key", "Give both --tls-cert and --tls-key")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise InvalidArgument(f"there is no file {path}", "Give PEM files")
        if not 0 <= self.port <= 65_535:
            raise InvalidArgument(f"the port is {self.port}", "Use 1 to 65535, or 0 for any that is free")
        if self.log_format not in ("text", "json"):
            raise InvalidArgument(f"unknown log format {self.log_format!r}", "Use text or json")


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
