"""The command `serve`: its options become the server's settings."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from vsearch.cli import show
from vsearch.errors import InvalidArgument, MissingExtra

UPSTREAM_KEY: Final = "VSEARCH_UPSTREAM_KEY"  # in the environment only: options are shown by lists of processes
UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _option(name: str, help: str, *flags: str, metavar: str | None = None) -> Any:
    """An option that can also be set in the environment, as VSEARCH_<name>."""
    return typer.Option(*flags, envvar=f"VSEARCH_{name}", help=help, metavar=metavar)


Directory = Annotated[Path, typer.Argument(metavar="DIR", envvar="VSEARCH_DIR", help="The database's directory.")]
Host = Annotated[str, _option("HOST", "The address to listen on.")]
Port = Annotated[int, _option("PORT", "The port; 0 takes any.")]
ApiKey = Annotated[str | None, _option("API_KEY", "Clients must send it. Needed for any address but loopback.")]
ReadOnlyApiKey = Annotated[str | None, _option("READ_ONLY_API_KEY", "Another key, with which one may only read.")]
TlsCert = Annotated[Path | None, _option("TLS_CERT", "Certificate (PEM).")]
TlsKey = Annotated[Path | None, _option("TLS_KEY", "Its key (PEM).")]
Durability = Annotated[str, _option("DURABILITY", "sync: on disk when answered; os: survives a killed process.")]
Memory = Annotated[str | None, _option("MEMORY", "Above so much (as 4G) writes wait: clients get 429.")]
MaxBody = Annotated[str, _option("MAX_BODY", "The largest body of a request; uploads have no limit.")]
LogFormat = Annotated[str, _option("LOG_FORMAT", "text or json.")]
AccessLog = Annotated[bool, _option("ACCESS_LOG", "A line for each request.")]
SlowMs = Annotated[float, _option("SLOW_MS", "Log requests that take longer, and what they asked.")]
Traces = Annotated[bool, _option("TRACES", "OpenTelemetry spans; needs the extra otel.")]
OpenAIUpstream = Annotated[
    str | None,
    _option("OPENAI_UPSTREAM", "Cache the answers of this server of OpenAI's interface, as its proxy.", metavar="URL"),
]
OpenAICache = Annotated[str, _option("OPENAI_CACHE", "The name of that cache; created if missing.", metavar="NAME")]
OpenAIShared = Annotated[
    bool, _option("OPENAI_SHARED", "Clients with different keys share the answers.", "--openai-shared")
]
EmbeddingModel = Annotated[
    str | None, _option("EMBEDDING_MODEL", "A model of the upstream, to find similar prompts.", metavar="NAME")
]
EmbeddingPath = Annotated[
    Path | None, _option("EMBEDDING_PATH", "Or one of sentence-transformers on this disk.", metavar="DIR")
]
CachePolicies = Annotated[
    Path | None, _option("CACHE_POLICIES", 'JSON, as {"default": {"threshold": 0.9, "ttl": 3600}}.', metavar="FILE")
]
UpstreamTimeout = Annotated[float, _option("UPSTREAM_TIMEOUT", "Seconds for the next bytes of an answer.", metavar="S")]
UpstreamCapacity = Annotated[
    int | None, _option("UPSTREAM_CAPACITY", "Requests at once; policies relax above half of it.", metavar="N")
]


def serve(
    directory: Directory,
    host: Host = "127.0.0.1",
    port: Port = 6333,
    api_key: ApiKey = None,
    read_only_api_key: ReadOnlyApiKey = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    durability: Durability = "sync",
    memory: Memory = None,
    max_body: MaxBody = "32M",
    log_format: LogFormat = "text",
    access_log: AccessLog = True,
    slow_ms: SlowMs = 500.0,
    traces: Traces = False,
    openai_upstream: OpenAIUpstream = None,
    openai_cache: OpenAICache = "openai",
    openai_shared: OpenAIShared = False,
    embedding_model: EmbeddingModel = None,
    embedding_path: EmbeddingPath = None,
    cache_policies: CachePolicies = None,
    upstream_timeout: UpstreamTimeout = 600.0,
    upstream_capacity: UpstreamCapacity = None,
) -> None:
    """Serve a database over HTTP: Qdrant's clients and vsearch.connect speak to it. Created if missing.

    With --openai-upstream OpenAI's clients do too. What the environment has as VSEARCH_UPSTREAM_KEY is sent upstream;
    if it has none, each client's own Authorization is.

    SIGTERM or Ctrl-C: requests in flight are finished, then it ends. Nothing is ever sent anywhere by itself.
    """
    upstream = None
    if openai_upstream is not None:
        upstream = {
            "url": openai_upstream,
            "key": os.environ.get(UPSTREAM_KEY) or None,
            "cache": openai_cache,
            "shared": openai_shared,
            "embedding_model": embedding_model,
            "embedding_path": embedding_path,
            "policies": cache_policies,
            "timeout_s": upstream_timeout,
            "capacity": upstream_capacity,
        }
    start(
        directory,
        upstream,
        memory_bytes=nbytes_of(memory),
        max_body_bytes=nbytes_of(max_body) or 0,
        host=host,
        port=port,
        api_key=api_key,
        read_only_api_key=read_only_api_key,
        tls_cert=tls_cert,
        tls_key=tls_key,
        durability=durability,
        log_format=log_format,
        access_log=access_log,
        slow_ms=slow_ms,
        traces=traces,
    )


def start(directory: Path, upstream: dict[str, Any] | None, **options: Any) -> None:
    """Serve until stopped. Raises MissingExtra without the extra `server`, and what Settings and `run` raise."""
    try:
        from vsearch.api.openai.settings import UpstreamSettings
        from vsearch.api.serve import run
        from vsearch.api.settings import Settings
    except ImportError as error:
        hint = 'pip install "vsearch-db[server]"'
        raise MissingExtra(f"the server is not installed ({error.name} is missing)", hint) from error
    settings = Settings(directory, openai=None if upstream is None else UpstreamSettings(**upstream), **options)

    def ready(url: str) -> None:
        show.line(f"vsearch serves {directory} at {url}")
        show.out.file.flush()

    run(settings, ready)


def nbytes_of(text: str | None) -> int | None:
    """Bytes of a size such as 512M or 4G. Raises InvalidArgument."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)\s*([KMGT]?)(i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InvalidArgument(f"{text!r} is not a size", "Write a number of bytes, or 512M, or 4G")
    return int(match[1]) * UNITS[match[2].upper()]
