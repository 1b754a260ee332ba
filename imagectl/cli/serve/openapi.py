"""The OpenAPI 3.1 document of the server, made of the tables and types that it answers by."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from imagectl.adapters.web.exchange import METHODS
from imagectl.cli.documents import schema
from imagectl.cli.output import Failure
from imagectl.cli.resolved import Resolved
from imagectl.cli.serve.asking import RESOLVE, VERSIONS, Parameter
from imagectl.cli.serve.documents import Health, Images, Versions

_DOCUMENTS: tuple[type, ...] = (Failure, Health, Images, Resolved, Versions)

_FAILURES = {
    "400": "the query is wrong",
    "403": "refused by policy: too old, revoked or quarantined",
    "404": "there is no such image, channel or version",
    "409": "it is to be had in several ways: say which",
    "500": "something failed: a file is not what was signed, or the server is at fault",
    "503": "cannot tell: the published tree cannot be read, or its signatures are over",
}


def document() -> dict[str, Any]:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "imagectl",
            "version": version("imagectl"),
            "summary": "What consumers get: images, channels and versions",
            "description": "Beside these, every file of the published tree is at its path, also "
            "in parts (Range, If-Range). "
            f"{METHODS} are answered; everything can be asked for with If-None-Match. "
            "Answers are not signed: `imagectl resolve --catalog URL` verifies the tree itself.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {
            "/v1/resolve": _get(
                "resolve",
                "What a consumer gets, as `imagectl resolve --json`.",
                Resolved,
                RESOLVE,
                "400",
                "403",
                "404",
                "409",
                "500",
                "503",
            ),
            "/v1/images": _get(
                "images",
                "All images, and what their channels point to.",
                Images,
                (),
                "400",
                "500",
                "503",
            ),
            "/v1/versions": _get(
                "versions",
                "All versions of an image.",
                Versions,
                VERSIONS,
                "400",
                "404",
                "500",
                "503",
            ),
            "/v1/openapi.json": _get("openapi", "This document.", None, (), "400"),
            "/healthz": _get(
                "healthz",
                "Whether the tree can be read and verified.",
                Health,
                (),
                "400",
                "500",
                "503",
            ),
            "/metrics": _metrics(),
            "/metadata/timestamp.json": _timestamp(),
        },
        "components": {"schemas": {each.__name__: schema(each) for each in _DOCUMENTS}},
    }


def _get(
    name: str, summary: str, answer: type | None, parameters: tuple[Parameter, ...], *failures: str
) -> dict[str, Any]:
    of = {"$ref": f"#/components/schemas/{answer.__name__}"} if answer else {"type": "object"}
    return {
        "get": {
            "operationId": name,
            "summary": summary,
            "parameters": [*map(_parameter, parameters), _IF_NONE_MATCH],
            "responses": {
                "200": {
                    "description": "the answer",
                    "headers": {"ETag": _ETAG},
                    "content": {"application/json": {"schema": of}},
                },
                "304": {"description": "it is what If-None-Match names"},
                **{code: _failure(code) for code in failures},
            },
        }
    }


def _metrics() -> dict[str, Any]:
    return {
        "get": {
            "operationId": "metrics",
            "summary": "Numbers for Prometheus.",
            "responses": {
                "200": {
                    "description": "the numbers",
                    "content": {"text/plain": {"schema": {"type": "string"}}},
                },
                "400": _failure("400"),
            },
        }
    }


def _timestamp() -> dict[str, Any]:
    described = {"application/json": {"schema": {"type": "object"}}}
    return {
        "get": {
            "operationId": "timestamp",
            "summary": "The one file of the tree that is ever replaced; the others never change.",
            "parameters": [_IF_NONE_MATCH],
            "responses": {
                "200": {
                    "description": "all of it",
                    "headers": {"ETag": _ETAG},
                    "content": described,
                },
                "206": {"description": "some bytes of it"},
                "304": {"description": "it is what If-None-Match names"},
                "404": _failure("404"),
                "416": {"description": "it has no such bytes"},
                "500": _failure("500"),
            },
        }
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.meaning,
        "schema": dict(parameter.schema),
    }


def _failure(code: str) -> dict[str, Any]:
    return {
        "description": _FAILURES[code],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}},
    }


_ETAG = {"description": "for If-None-Match", "schema": {"type": "string"}}

_IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of what is known already.",
    "schema": {"type": "string"},
}
