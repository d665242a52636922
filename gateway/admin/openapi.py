"""The admin API as an OpenAPI 3.1 document, made from the table of routes and the types of answers.

    python -m gateway.admin.openapi > docs/admin-api.json

Not for what a route does. Who may is in the description and in `x-roles` of each operation.

Source: OpenAPI Specification 3.1.1.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterable
from typing import Any, NotRequired, Union, get_args, get_origin, get_type_hints, is_typeddict

from gateway.admin.answer_shapes import Failure
from gateway.admin.outlook import Document
from gateway.admin.route_fields import FIELDS
from gateway.admin.route_table import RouteEntry, RouteTable
from gateway.admin.routes import TABLE

API_VERSION = "1"
_OF_PYTHON: dict[object, Document] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    types.NoneType: {"type": "null"},
    Any: {},
}
_ALWAYS = {
    "400": "the request is not usable",
    "403": "the administrator may not, or the certificate is not taken",
    "404": "what it is about is not there",
    "500": "what is stored fails a check, or the gateway has made a mistake",
    "503": "not now: nodes, keys or the journal cannot be reached",
    "504": "it took too long; an act may have been done",
}
_OF_ACTS = {
    "409": "it is not in a state for that",
    "412": "what is to be lost was not named",
    "429": "too many acts at once",
    "507": "a limit is reached",
}


def api_document(table: RouteTable = TABLE) -> Document:
    """The whole document."""
    shapes: dict[str, Document] = {}
    paths: dict[str, Document] = {}
    for entry in table.entries:
        operations = paths.setdefault(entry.path, {})
        operations[entry.method.lower()] = _operation(entry, shapes)
    failures = _failures(shapes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hexagone admin API",
            "version": API_VERSION,
            "summary": "What administrators ask of a gateway, over its Unix socket or mutual TLS.",
            "description": "TLS 1.3 with a client certificate of the admin CA, or the Unix socket "
            "of the gateway's own user. x-roles names who may, beside the local root. Over TLS an "
            "administrator with a second factor needs a session as well (`POST /v1/session`).",
            "license": {"name": "EUPL-1.2", "identifier": "EUPL-1.2"},
        },
        "servers": [{"url": "https://localhost:9443", "description": "[admin] of gateway.toml"}],
        "security": [{"certificate": [], "session": []}, {"certificate": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": dict(sorted(shapes.items())),
            "responses": failures,
            "securitySchemes": {
                "certificate": {
                    "type": "mutualTLS",
                    "description": "a certificate of `hexagone ca admin issue`",
                },
                "session": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "token of a session, good with the certificate it was begun "
                    "with; needed where a second factor is enrolled",
                },
            },
        },
    }


def schema_of(hint: Any, shapes: dict[str, Document]) -> Document:
    """The JSON schema of a type; TypedDicts are put into `shapes` and referred to."""
    if hint in _OF_PYTHON:
        return dict(_OF_PYTHON[hint])
    if is_typeddict(hint):
        if hint.__name__ not in shapes:
            shapes[hint.__name__] = {}  # a shape may hold itself
            shapes[hint.__name__] = _object(hint, shapes)
        return {"$ref": f"#/components/schemas/{hint.__name__}"}
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(one, shapes) for one in inside]}
    if origin is list:
        return {"type": "array", "items": schema_of(inside[0], shapes)}
    assert origin is dict and inside[0] is str, f"{hint} is no type of an answer"
    return {"type": "object", "additionalProperties": schema_of(inside[1], shapes)}


def _object(shape: Any, shapes: dict[str, Document]) -> Document:
    properties: dict[str, Document] = {}
    needed = []
    for name, hint in get_type_hints(shape, include_extras=True).items():
        if get_origin(hint) is NotRequired:
            hint = get_args(hint)[0]
        else:
            needed.append(name)
        properties[name] = schema_of(hint, shapes)
    return {
        "type": "object",
        "description": " ".join((shape.__doc__ or "").split()),
        "properties": properties,
        "required": needed,
    }


def _operation(entry: RouteEntry, shapes: dict[str, Document]) -> Document:
    roles = sorted(entry.roles)
    who = ", ".join(roles) or "the local root alone"
    operation: Document = {
        "operationId": _operation_id(entry),
        "summary": entry.summary,
        "description": f"For: {who}."
        + (" Recorded in the journal before it takes effect." if entry.is_recorded else ""),
        "tags": [entry.path.split("/")[2].removesuffix(".json")],
        "x-roles": roles,
        "x-acts": entry.acts,
        "parameters": [*_path_parameters(entry), *map(_query_parameter, entry.query)],
        "responses": _responses(entry, shapes),
    }
    if entry.body:
        fields = {field.removesuffix("?"): _field(field) for field in entry.body}
        needed = [field for field in entry.body if not field.endswith("?")]
        schema = {"type": "object", "properties": fields, "additionalProperties": False}
        if needed:
            schema["required"] = needed
        content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": bool(needed), "content": content}
    elif entry.raw_body:
        kind = "object" if entry.raw_body == "application/json" else "string"
        content = {entry.raw_body: {"schema": {"type": kind}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(entry: RouteEntry, shapes: dict[str, Document]) -> Document:
    answer = {"schema": schema_of(entry.answer, shapes)}
    content: Document = {entry.media: answer if entry.media == "application/json" else {}}
    if entry.lines:
        content["application/x-ndjson"] = {}
    found: Document = {"200": {"description": _first_line(entry.answer), "content": content}}
    for status in sorted({**_ALWAYS, **(_OF_ACTS if entry.is_recorded or entry.acts else {})}):
        found[status] = {"$ref": f"#/components/responses/{status}"}
    return found


def _failures(shapes: dict[str, Document]) -> Document:
    content = {"application/json": {"schema": schema_of(Failure, shapes)}}
    meant = sorted({**_ALWAYS, **_OF_ACTS}.items())
    return {status: {"description": meaning, "content": content} for status, meaning in meant}


def _path_parameters(entry: RouteEntry) -> Iterable[Document]:
    for part in entry.path.split("/"):
        if part.startswith("{"):
            name = part[1:-1].partition(":")[0]
            yield {"name": name, "in": "path", "required": True, "schema": _field(name)}


def _query_parameter(field: str) -> Document:
    name = field.removesuffix("?")
    schema = _field(name)
    described = {"name": name, "in": "query", "description": schema.pop("description")}
    return {**described, "required": name == field, "schema": schema}


def _field(field: str) -> Document:
    return {"type": "string", "description": FIELDS[field.removesuffix("?")]}


def _operation_id(entry: RouteEntry) -> str:
    path = entry.path.removeprefix("/v1/").replace("/", "-").replace(".", "-")
    return f"{entry.method.lower()}-{path}".replace("{", "").replace("}", "")


def _first_line(shape: type) -> str:
    return (shape.__doc__ or "").strip().splitlines()[0]


def render(document: Document) -> str:
    """As it is checked in."""
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(api_document()))
