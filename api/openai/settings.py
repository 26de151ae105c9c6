"""What the OpenAI-compatible front is told when the server starts, checked. Every limit is here, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from vsearch.errors import InvalidArgument

UPSTREAM_TIMEOUT_S: Final = 600.0  # as long as OpenAI's own client waits
MAX_TIMEOUT_S: Final = 3_600.0  # of any lease in a cache
CONNECT_TIMEOUT_S: Final = 10.0  # a host that is down is told of before people give up
EMBED_TIMEOUT_S: Final = 2.0  # an embedding that takes longer is not worth the wait: it is a miss
MAX_ANSWER_BYTES: Final = 1 << 20  # a larger answer is passed on and not stored
MAX_EMBEDDINGS_BYTES: Final = 128 << 20  # an answer with 2,048 vectors, the most there may be, in decimal digits
MAX_LINE_BYTES: Final = 1 << 20  # of a stream; an answer with a longer one is passed on and not stored
MAX_INPUTS: Final = 2_048  # texts of one request for embeddings, as upstream has it


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """`url`: of the upstream, as OpenAI's clients take it: https://api.openai.com/v1. `key`: sent upstream in place of
    the clients' Authorization. `cache`: its name; embeddings are cached in `<cache>-embeddings`. `embedding_model`: of
    the upstream, `embedding_path`: a sentence-transformers model on disk; without either only the same prompt is a hit.
    `timeout_s`: for the next bytes of an answer. `capacity`: requests that the upstream takes at once: from half of it
    on policies relax. `shared`: clients with different keys may have each other's answers (other headers
    and the query still tell requests apart). `policies`: a JSON file
    {category: policy}.

    Raises InvalidArgument.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    cache: str = "openai"
    embedding_model: str | None = None
    embedding_path: Path | None = None
    timeout_s: float = UPSTREAM_TIMEOUT_S
    capacity: int | None = None
    shared: bool = False
    policies: Path | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InvalidArgument(f"the upstream is {self.url!r}", "Give a URL as https://api.openai.com/v1")
        if parts.username is not None or parts.password is not None:
            raise InvalidArgument("the upstream's URL holds a password", "Set VSEARCH_UPSTREAM_KEY instead")
        path = parts.path.rstrip("/") or "/v1"
        object.__setattr__(self, "url", f"{parts.scheme}://{parts.netloc}{path}")
        if self.key is not None and not _sendable(self.key):
            message = "the upstream's key is empty, has a space at an end, or is not printable ASCII"
            raise InvalidArgument(message, "Set VSEARCH_UPSTREAM_KEY to the key alone")
        if self.embedding_model is not None and self.embedding_path is not None:
            raise InvalidArgument("there are two embedding models", "Give --embedding-model or --embedding-path")
        if not 0.0 < self.timeout_s <= MAX_TIMEOUT_S:
            raise InvalidArgument(f"the upstream's timeout is {self.timeout_s:g} s", f"Use 0.1 to {MAX_TIMEOUT_S:g}")
        if self.capacity is not None and self.capacity < 1:
            raise InvalidArgument(f"the upstream's capacity is {self.capacity}", "Use 1 or more requests at once")
        if self.policies is not None and not self.policies.is_file():
            raise InvalidArgument(f"there is no file {self.policies}", "Give a JSON file of policies")


def _sendable(key: str) -> bool:
    """Whether a header can hold it."""
    return key != "" and key.isascii() and key.isprintable() and key == key.strip()
