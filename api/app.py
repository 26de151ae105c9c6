"""The application: every endpoint there is, over one open database."""

from __future__ import annotations

from typing import Final

from vsearch.database import Database

from . import service
from .endpoint import Table
from .front import Front
from .qdrant import collections, points, search, snapshots
from .settings import Settings
from .v1 import collections as v1_collections
from .v1 import points as v1_points
from .v1 import search as v1_search
from .v1 import transfer as v1_transfer

MODULES: Final = (
    search,
    points,
    collections,
    snapshots,
    v1_search,
    v1_points,
    v1_collections,
    v1_transfer,
    service,
)


def create_app(db: Database, settings: Settings) -> Front:
    """An ASGI application. The caller closes the database, after the application's `workers`."""
    table = Table([endpoint for module in MODULES for endpoint in module.routes.endpoints])
    return Front(db, settings, table)
