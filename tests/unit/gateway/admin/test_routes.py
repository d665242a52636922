"""The table of admin routes: complete, and nobody may more than a role is for."""

from __future__ import annotations

import ast
import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.admin import routes
from gateway.admin.access_desk import AccessDesk
from gateway.admin.openapi import api_document, render
from gateway.admin.route_table import EXPANDED
from gateway.model.administrators import EXCLUSIVE, GIVEN_ROLES, Role

ROOT = Path(__file__).resolve().parents[4]
TABLE = routes.TABLE
METHODS = {"get": "GET", "post": "POST", "put": "PUT", "delete": "DELETE", "patch": "PATCH"}
FIX = "add a line to gateway/admin/routes.py"
WRITE = "python -m gateway.admin.openapi > docs/admin-api.json"


def registered() -> set[tuple[str, str]]:
    """Method and pattern of every `web.get("/v1/…", …)` that the gateway's code holds; what an
    f-string leaves open is an asterisk.
    """
    found = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner, name = node.func.value, node.func.attr
            if not (isinstance(owner, ast.Name) and owner.id == "web" and node.args):
                continue
            assert name not in ("route", "view", "static"), f"{path}: say web.get or web.post"
            if name in METHODS and (pattern := written(node.args[0])).startswith("/v1/"):
                found.add((METHODS[name], pattern))
    assert len(found) > 30
    return found


def written(pattern: ast.expr) -> str:
    if isinstance(pattern, ast.JoinedStr):
        parts = [one.value if isinstance(one, ast.Constant) else "*" for one in pattern.values]
        return "".join(map(str, parts))
    assert isinstance(pattern, ast.Constant), f"{ast.unparse(pattern)}: write the path out"
    return str(pattern.value)


def matches(known: tuple[str, str], found: tuple[str, str]) -> bool:
    return known[0] == found[0] and fnmatchcase(known[1], found[1].replace("[", "[[]"))


def commands() -> set[str]:
    return set(AccessDesk(None).commands)  # type: ignore[arg-type]


@pytest.mark.proves("A-01", "A-03")
def test_every_route_of_the_code_has_its_line_in_the_table() -> None:
    known = {(entry.method, entry.path) for entry in TABLE.entries}
    expanded = {("POST", pattern) for pattern in EXPANDED}
    missing = [
        one for one in sorted(registered() - expanded) if not any(matches(k, one) for k in known)
    ]
    assert not missing, f"{FIX}: {missing}"
    unlisted = [
        one for one in commands() if ("POST", f"/v1/access/{one.replace(' ', '/')}") not in known
    ]
    assert not unlisted, f"{FIX}: {unlisted}"


def test_every_line_of_the_table_is_a_route_of_the_code() -> None:
    paths = {f"/v1/access/{one.replace(' ', '/')}" for one in commands()}
    found = registered() | {("POST", path) for path in paths}
    stale = [
        entry.name
        for entry in TABLE.entries
        if not any(matches((entry.method, entry.path), one) for one in found)
    ]
    assert not stale, f"take these lines away: {stale}"


@pytest.mark.proves("A-03")
def test_every_line_says_who_may() -> None:
    for entry in TABLE.entries:
        assert entry.roles <= GIVEN_ROLES, entry.name
        assert entry.roles or entry.local_acts, f"nobody may {entry.name}"


@pytest.mark.proves("A-03")
def test_no_act_is_open_to_two_roles_that_exclude_each_other() -> None:
    for entry in TABLE.entries:
        if entry.acts:
            both = [sorted(pair) for pair in EXCLUSIVE if pair <= entry.roles]
            assert not both, f"{entry.name}: {both}"


@pytest.mark.proves("A-03", "L-04")
def test_auditors_only_look() -> None:
    assert not [one.name for one in TABLE.entries if one.acts and Role.AUDITOR in one.roles]


@pytest.mark.proves("A-03")
def test_administrators_are_made_by_no_role() -> None:
    changing = [entry for entry in TABLE.entries if entry.path.startswith("/v1/administrators/")]
    assert len(changing) == 8
    assert all(not entry.roles and entry.local_acts and entry.acts for entry in changing)


def test_gets_never_act_and_acts_are_never_gets() -> None:
    assert all(entry.acts is False for entry in TABLE.entries if entry.method == "GET")


@pytest.mark.proves("A-15")
def test_the_api_document_is_valid_and_whole() -> None:
    document = api_document()
    OpenAPIV31SpecValidator(document).validate()
    for entry in TABLE.entries:
        operation = document["paths"][entry.path][entry.method.lower()]
        assert operation["x-roles"] == sorted(entry.roles)
        named = {one["name"] for one in operation["parameters"]}
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body:
            named |= set(body["schema"].get("properties", ()))
        assert {field.removesuffix("?") for field in (*entry.query, *entry.body)} <= named
        assert {"200", "400", "403", "500"} <= set(operation["responses"])
        assert operation["responses"]["200"]["description"]


@pytest.mark.proves("A-15")
def test_the_api_document_that_is_checked_in_is_current() -> None:
    held = (ROOT / "docs" / "admin-api.json").read_text("utf-8")
    assert json.loads(held) == api_document(), f"write it again: {WRITE}"
    assert held == render(api_document())
