"""What Hexagone is made of is written down, and is what requirements.lock pins."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from tests.supply.__main__ import DOCUMENT, SBOM, document, licence_told, sbom_text
from tests.supply.locked import (
    LOCK,
    ROOT,
    Locked,
    NotPinned,
    closure,
    declared,
    needed_by,
    read_lock,
)
from tests.supply.table import CONNECTS, RUNTIME
from tests.supply.wheelhouse import pins

# Calls that open a connection, by the last part of their name.
OPENS = {
    "open_connection",
    "open_unix_connection",
    "create_connection",
    "create_unix_connection",
    "create_datagram_endpoint",
    "connect",
    "connect_ex",
    "sock_connect",
    "ClientSession",
    "urlopen",
    "getaddrinfo",
    "gethostbyname",
}

# Modules with a call of such a name that goes to one of those of the table.
ASK_ANOTHER = {
    "storaged/link.py": "a name that it gives to a link of its own",
    "gateway/cli/client.py": "the connection that gateway/cli/places.py makes",
}


@pytest.fixture(scope="module")
def locked() -> dict[str, Locked]:
    return read_lock(LOCK.read_text(encoding="utf-8"))


@pytest.mark.proves("S-04")
def test_every_package_it_runs_with_has_its_origin(locked: dict[str, Locked]) -> None:
    """A package that comes, or goes, is a line of the table that somebody has to write."""
    assert set(closure(declared())) == set(RUNTIME) <= set(locked)


@pytest.mark.proves("S-04")
def test_licences_are_those_that_the_packages_tell() -> None:
    different = {
        name: told
        for name, one in RUNTIME.items()
        if (told := licence_told(name)) and not set(one.licence.split(" OR ")) & told
        if one.licence not in told
    }
    assert different == {}


@pytest.mark.proves("S-04", "A-13")
def test_document_and_bill_of_materials_are_what_would_be_written(
    locked: dict[str, Locked],
) -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(locked), "make sbom"
    assert SBOM.read_text(encoding="utf-8") == sbom_text(locked), "make sbom"


@pytest.mark.proves("S-06", "A-13")
def test_the_bill_of_materials_is_complete(locked: dict[str, Locked]) -> None:
    """Read as another program would, against the lock's own lines."""
    bill = json.loads(SBOM.read_text(encoding="utf-8"))
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    told = {one["purl"]: one for one in bill["components"]}
    lines = re.findall(r"^(\S+)==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert {f"pkg:pypi/{name}@{version}" for name, version in lines} == set(told)
    required = {one["name"] for one in told.values() if one["scope"] == "required"}
    assert required == set(RUNTIME)
    for one in told.values():
        (hashes,) = one["properties"]
        assert hashes["value"].split() == list(locked[one["name"]].hashes)
    for edge in bill["dependencies"]:
        assert set(edge["dependsOn"]) <= set(told)
        if edge["ref"] in told:
            needed = {name for name, _ in needed_by(told[edge["ref"]]["name"])}
            assert {told[other]["name"] for other in edge["dependsOn"]} == needed


@pytest.mark.proves("B-16")
@pytest.mark.parametrize(
    "line",
    [
        "aiohttp>=3",
        "aiohttp==3.14.5",
        "aiohttp @ https://example.org/aiohttp.whl",
        "--index-url https://example.org",
        "aiohttp==3.14.5 --hash=md5:00",
        f"aiohttp==3.14.5 --hash=sha256:{'0' * 64} --extra-index-url=https://example.org",
    ],
)
def test_a_lock_that_leaves_anything_open_is_refused(line: str) -> None:
    with pytest.raises(NotPinned):
        read_lock(f"{LOCK.read_text(encoding='utf-8')}\n{line}\n")


@pytest.mark.proves("B-16")
def test_what_it_is_built_from_are_lines_of_the_lock(locked: dict[str, Locked]) -> None:
    """Also the program that builds, and nothing that only tests."""
    wanted = read_lock(pins())
    assert wanted.items() <= locked.items()
    assert {"hatchling", *RUNTIME} <= set(wanted)
    assert not {"pytest", "moto", "awscli"} & set(wanted)


def _opening(path: Path) -> bool:
    source = path.read_text(encoding="utf-8")
    if not any(name in source for name in OPENS):
        return False
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = {one.attr for one in calls if isinstance(one, ast.Attribute)}
    return bool(OPENS & (names | {one.id for one in calls if isinstance(one, ast.Name)}))


@pytest.mark.proves("S-04")
def test_no_module_opens_connections_but_those_that_are_named() -> None:
    """What they open in fact: `test_network.py`."""
    files = [path for name in ("gateway", "storaged") for path in (ROOT / name).rglob("*.py")]
    assert len(files) > 300
    opening = {path.relative_to(ROOT).as_posix() for path in files if _opening(path)}
    assert opening - set(ASK_ANOTHER) == set(CONNECTS)
