"""The application: every endpoint there is, over one open database."""

from __future__ import annotations

from typing import Final

from vsearch.database import Database

from . import service
from .endpoint import Table
from .front import Front
from .memory import MemoryBudget
from .qdrant import collections, points, search, snapshots
from .settings import Settings
from .v1 import caches as v1_caches
from .v1 import collections as v1_collections
from .v1 import points as v1_points
from .v1 import search as v1_search
from .v1 import transfer as v1_transfer
from .workers import Workers

MODULES: Final = (
    search,
    points,
    collections,
    snapshots,
    v1_search,
    v1_points,
    v1_collections,
    v1_transfer,
    v1_caches,
    service,
)


def create_app(db: Database, settings: Settings) -> Front:
    """An ASGI application. The caller closes the database, after the application's `workers`."""
    workers, memory = Workers(), MemoryBudget(settings.memory_bytes)
    endpoints = [endpoint for module in MODULES for endpoint in module.routes.endpoints]
    closing = []
    if settings.openai is not None:
        from .openai.service import OpenAIService

        openai = OpenAIService(db, settings.openai, workers, memory, own_key=settings.api_key is not None)
        endpoints += openai.endpoints()
        closing.append(openai.close)
    return Front(db, settings, Table(endpoints), workers, memory, closing)
