"""What a gateway really answers, held against the document of the API: every field it has is in the
document, and every field of the document is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gateway.admin.openapi import api_document
from gateway.cli.client import AdminRefused
from tests.support.admin_plane import AdminPlaneServed, admin_plane_served
from tests.support.gateway import ACCESS_KEY, BUCKET

DOCUMENT = api_document()
NAMED = {"access_key_id": ACCESS_KEY}
OF_BUCKET = {"bucket": BUCKET}
JSON_BODY = "application/json"

# (path, query or None, body or None) of what the rig can answer.
ASKED: tuple[tuple[str, str, dict[str, str] | None, dict[str, str] | None], ...] = (
    ("get", "/v1/status", None, None),
    ("get", "/v1/durability", None, None),
    ("get", "/v1/where", {**OF_BUCKET, "key": "a/key"}, None),
    ("get", "/v1/jobs", None, None),
    ("post", "/v1/jobs/{name}/pause", None, None),
    ("post", "/v1/jobs/{name}/resume", None, None),
    ("post", "/v1/jobs/{name}/run", None, None),
    ("get", "/v1/keys", NAMED, None),
    ("post", "/v1/keys", {**NAMED, "name": "zulu"}, None),
    ("get", "/v1/key-epochs", OF_BUCKET, None),
    ("get", "/v1/key-epochs/status", None, None),
    ("get", "/v1/key-epochs/left", {**OF_BUCKET, "epoch": "1"}, None),
    ("get", "/v1/key-epochs/plan", OF_BUCKET, None),
    ("post", "/v1/key-epochs/rotate", OF_BUCKET, None),
    ("post", "/v1/access/tenant/create", None, {"name": "mairie"}),
    ("post", "/v1/access/tenant/list", None, {}),
    ("post", "/v1/access/tenant/show", None, {"name": "mairie"}),
    ("post", "/v1/access/user/create", None, {"tenant": "mairie", "name": "zoe"}),
    ("post", "/v1/access/user/list", None, {"tenant": "mairie"}),
    ("post", "/v1/access/user/show", None, {"tenant": "mairie", "name": "zoe"}),
    ("post", "/v1/access/group/create", None, {"tenant": "mairie", "name": "all"}),
    ("post", "/v1/access/group/list", None, {"tenant": "mairie"}),
    ("post", "/v1/access/group/add", None, {"tenant": "mairie", "name": "all", "user": "zoe"}),
    ("post", "/v1/access/access-key/create", None, {"tenant": "mairie", "user": "zoe"}),
    ("post", "/v1/access/access-key/list", None, {"tenant": "mairie"}),
    ("post", "/v1/access/policy/list", None, {"tenant": "mairie"}),
    ("post", "/v1/access/role/list", None, {"tenant": "mairie"}),
    ("post", "/v1/access/identity-provider/list", None, {"tenant": "mairie"}),
    ("post", "/v1/access/user/delete", None, {"tenant": "mairie", "name": "zoe"}),
    ("get", "/v1/metering/quotas", None, None),
    ("get", "/v1/metering/plan", {"tenant": "mairie"}, None),
    ("post", "/v1/metering/plan/set", {"tenant": "mairie", "reserved_bytes": "5"}, None),
    ("get", "/v1/journal", None, None),
    ("post", "/v1/journal/checkpoint", {"log": "cluster"}, None),
    ("get", "/v1/journal/lines", {"log": "cluster", "first": "0", "count": "1"}, None),
    ("get", "/v1/journal/proof", {"log": "cluster", "seq": "0"}, None),
    ("get", "/v1/journal/hashes", {"log": "cluster", "bucket": "b"}, None),
    ("get", "/v1/journal/names", None, None),
    ("get", "/v1/journal/request", None, None),
    ("get", "/v1/whoami", None, None),
    ("get", "/v1/openapi.json", None, None),
    ("get", "/v1/administrators", None, None),
    ("post", "/v1/administrators/add", None, {"name": "al", "person": "Al", "roles": "billing"}),
    ("post", "/v1/administrators/disable", None, {"name": "al"}),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminPlaneServed]:
    with admin_plane_served(tmp_path_factory.mktemp("answers"), listens=False) as found:
        found.run(found.rig.gateway.put("a/key", b"body"))
        yield found


def schema_of(reference: dict[str, Any]) -> dict[str, Any]:
    return {**reference, "components": DOCUMENT["components"]}


@pytest.mark.proves("A-15")
@pytest.mark.parametrize(("method", "path", "query", "body"), ASKED, ids=lambda one: str(one)[:40])
def test_answers_are_as_documented(
    served: AdminPlaneServed,
    method: str,
    path: str,
    query: dict[str, str] | None,
    body: dict[str, str] | None,
) -> None:
    operation = DOCUMENT["paths"][path][method]
    text = "&".join(f"{name}={value}" for name, value in (query or {}).items())
    target = path.replace("{name}", "count") + (f"?{text}" if text else "")
    answer = served.ask(served.local, method.upper(), target, body)
    reference = operation["responses"]["200"]["content"][JSON_BODY]["schema"]
    Draft202012Validator(schema_of(reference)).validate(answer)
    shape = DOCUMENT["components"]["schemas"][reference["$ref"].rpartition("/")[2]]
    assert set(answer) <= set(shape["properties"]), "fields that the document does not have"


def test_refusals_are_as_documented(served: AdminPlaneServed) -> None:
    connection = served.local._place.connection(10)
    for target in ("/v1/where?bucket=b", "/v1/where?x=1", "/v1/nothing", "/v1/metering/plan"):
        connection.request("GET", target)
        answered = connection.getresponse()
        raw = answered.read()
        assert answered.status in (400, 404), target
        failure = DOCUMENT["components"]["responses"]["400"]["content"][JSON_BODY]["schema"]
        Draft202012Validator(schema_of(failure)).validate(json.loads(raw))
    connection.close()
    with pytest.raises(AdminRefused):
        served.ask(served.local, "POST", "/v1/access/tenant/create", {"name": "x", "more": "y"})
