"""The OpenAPI 3.1 document, made of the endpoints: nothing in it is written twice."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

import vsearch
from vsearch import wire

from .endpoint import Endpoint, Table

REF: Final = "#/components/schemas/{model}"
DESCRIPTION: Final = """The routes under /collections, /aliases and /snapshots are those of Qdrant's REST interface, so
that its clients work unchanged. Those under /v1 are vsearch's own. Errors are JSON with a stable code and a hint."""
# What an endpoint may answer besides success, and when.
PROBLEMS: Final = {
    "400": "The request is wrong: a value, a filter, a dimension, a limit.",
    "401": "No API key, or a wrong one.",
    "403": "The API key may only read.",
    "404": "No such collection, cache, point, alias or snapshot.",
    "409": "The name or the id is taken.",
    "413": "The body is too large.",
    "415": "The body is of a type that is not read here.",
    "422": "The body is JSON of the wrong shape.",
    "429": "The server is at its limits: try again later.",
    "500": "Stored bytes are damaged, or the server has a bug.",
    "501": "Understood, and not supported by this release.",
    "503": "The server is stopping.",
    "507": "The disk refuses writes; reads go on.",
}


def document(table: Table) -> dict[str, Any]:
    """The document as an object."""
    schemas = _Schemas(table.endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table.endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "vsearch", "version": vsearch.__version__, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {
                "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


class _Schemas:
    """The JSON schemas of every body, parameter set and answer, with what they share in one place."""

    def __init__(self, endpoints: list[Endpoint]) -> None:
        wanted: dict[tuple[Any, JsonSchemaMode], TypeAdapter[Any]] = {}
        for endpoint in endpoints:
            for model in (endpoint.body, endpoint.params):
                if model is not None:
                    wanted[model, "validation"] = TypeAdapter(model)
            for model in (endpoint.answer, endpoint.errors.model):
                wanted[model, "serialization"] = TypeAdapter(model)
        inputs = [(key, key[1], adapter.core_schema) for key, adapter in wanted.items()]
        self._of, definitions = GenerateJsonSchema(ref_template=REF).generate_definitions(inputs)
        self.components: dict[str, Any] = {str(name): schema for name, schema in definitions.items()}

    def of(self, model: Any, mode: JsonSchemaMode) -> Any:
        return self._of[(model, mode), mode]

    def whole(self, model: type[BaseModel]) -> dict[str, Any]:
        """The schema of a model itself, not a reference to it."""
        schema: dict[str, Any] = self.of(model, "validation")
        name = schema.get("$ref", "").rpartition("/")[2]
        return self.components[name] if name else schema


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    problems = {status: text for status, text in PROBLEMS.items() if _may(endpoint, status)}
    error = schemas.of(endpoint.errors.model, "serialization")
    answers = {
        status: {"description": text, "content": {wire.JSON: {"schema": error}}} for status, text in problems.items()
    }
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint, schemas)],
        "responses": {"200": _success(endpoint, schemas), **answers},
    }
    if endpoint.access != "open":
        operation["security"] = [{"api-key": []}, {"bearer": []}, {}]
    if endpoint.upload:
        binary = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(endpoint.upload_types, binary)}
    elif endpoint.body is not None:
        schema = {"schema": schemas.of(endpoint.body, "validation")}
        operation["requestBody"] = {"required": not endpoint.optional_body, "content": {wire.JSON: schema}}
    return operation


def _may(endpoint: Endpoint, status: str) -> bool:
    if endpoint.access == "open":
        return status in ("400", "500", "503")
    takes_body = endpoint.body is not None or endpoint.upload
    return status not in ("413", "415", "422") or takes_body


def _success(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    if endpoint.media_type != wire.JSON:
        return {"description": endpoint.summary, "content": {endpoint.media_type: {"schema": {"type": "string"}}}}
    schema = schemas.of(endpoint.answer, "serialization")
    if endpoint.envelope:
        schema = {
            "type": "object",
            "properties": {"result": schema, "status": {"const": "ok"}, "time": {"type": "number"}},
            "required": ["result", "status", "time"],
        }
    return {"description": endpoint.summary, "content": {wire.JSON: {"schema": schema}}}


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    names = [step[1:-1] for step in endpoint.path.split("/") if step.startswith("{")]
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _query_parameters(endpoint: Endpoint, schemas: _Schemas) -> list[dict[str, Any]]:
    if endpoint.params is None:
        return []
    whole = schemas.whole(endpoint.params)
    required = whole.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in whole["properties"].items()
    ]
