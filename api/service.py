"""What is not about data: who is there, is it alive, how is it doing, what can it do."""

from __future__ import annotations

import json
from typing import Any, Final

from pydantic import BaseModel

import vsearch
from vsearch import wire

from .endpoint import Call, Routes, Text
from .metrics import MEDIA_TYPE

routes: Final = Routes("service", envelope=False)
TEXT: Final = "text/plain; charset=utf-8"
SPOKEN_VERSION: Final = "1.20.0"  # of Qdrant's interface: its clients warn of a server that is much older or newer


class Root(BaseModel):
    title: str
    version: str
    vsearch: str


@routes.add("GET", "/", Root)
def root(call: Call[None, None]) -> Any:
    """Tell the name and version."""
    return {"title": "vsearch, speaking Qdrant's interface", "version": SPOKEN_VERSION, "vsearch": vsearch.__version__}


@routes.add("GET", "/healthz", str, access="open", media_type=TEXT)
def healthz(call: Call[None, None]) -> Any:
    """Tell that the server runs."""
    return Text(b"healthz check passed", TEXT)


@routes.add("GET", "/livez", str, access="open", media_type=TEXT)
def livez(call: Call[None, None]) -> Any:
    """Tell that the server runs."""
    return Text(b"livez check passed", TEXT)


@routes.add("GET", "/readyz", str, access="open", media_type=TEXT)
def readyz(call: Call[None, None]) -> Any:
    """Tell that the server answers. (Whether it still takes writes is in the metrics: reads go on without.)"""
    return Text(b"all shards are ready", TEXT)


@routes.add("GET", "/metrics", str, media_type=MEDIA_TYPE)
def metrics(call: Call[None, None]) -> Any:
    """Give metrics in Prometheus's format."""
    return Text(call.metrics.text(), MEDIA_TYPE)


@routes.add("GET", "/openapi.json", dict[str, Any])
def openapi(call: Call[None, None]) -> Any:
    """Give the OpenAPI document of this interface."""
    from .openapi import document

    return Text(json.dumps(document(call.table)).encode(), wire.JSON)
