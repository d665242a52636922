"""`python -m tests.supply` writes docs/dependencies.md and docs/sbom.json from the lock, and
docs/cryptography.md and docs/cbom.json from the code.
"""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import metadata
from typing import Any

from tests.supply import algorithms
from tests.supply.cryptography import used
from tests.supply.locked import LOCK, ROOT, Locked, closure, declared, read_lock
from tests.supply.table import CONNECTS, LICENCE_TEXTS, RUNTIME

DOCUMENT, SBOM = ROOT / "docs" / "dependencies.md", ROOT / "docs" / "sbom.json"
HEAD = """# What it is made of, and where it connects to

For who has to judge on which law and on whose work Hexagone depends, and for the operator's
customers (S-04). This page and [`sbom.json`](sbom.json) are written by `make sbom`; a test
(`tests/supply/test_dependencies.py`) fails when they are not what would be written from
`requirements.lock`, or when a package, a licence or a connection is missing in their tables.

## Risks that remain

* **Packages are code in the processes of gateway and nodes.** None opens a connection by itself:
  the last table of this page is all there is, and `tests/supply/test_network.py` holds it against
  the system calls of a cluster at work. There is no telemetry; nobody is asked for an update or a
  licence.
* **A version that somebody has changed against us.** Versions are pinned by SHA-256 of their files,
  so a file that is exchanged at an index is not installed. A new version comes when somebody writes
  the lock anew (`make lock`). That anybody has read all code of all packages is not claimed.
* **A package that is withdrawn**, by its authors or by an order to the index (PyPI belongs to the
  Python Software Foundation, United States). Keep the files: `make wheelhouse` fetches and verifies
  them once, and from then on Hexagone is built and installed without a network
  (`tests/supply/test_offline.py`). All licences allow to go on with the sources.
* **What lies below**: the interpreter (Python Software Foundation, United States), Linux, the C
  library and OpenSSL are those of the machine's distribution. A PKCS#11 module and its HSM are the
  operator's choice.
* **What is no software**: who owns the operator, where his staff is, and which law binds them.
  [The contract](contract.md) has places for that.

Seats of organisations are as publicly known in 2026; nobody has asked them. Of persons, and of
communities without a seat, no country is told. zfec is under the GPL 2 or later, which the EUPL 1.2
of Hexagone names as compatible.
"""


def licence_told(name: str) -> set[str]:
    """What a package says of its licence itself, as SPDX where its words are known."""
    told = metadata(name)
    texts = [told.get("License-Expression"), told.get("License")]
    texts += [one for one in told.get_all("Classifier") or [] if one.startswith("License")]
    return {LICENCE_TEXTS.get(text, text) for text in texts if text}


def document(locked: dict[str, Locked]) -> str:
    """The whole page."""
    lines = [HEAD, "\n## Packages it runs with\n\n"]
    lines.append("| package | version | licence | whose | seat | what for | carries |\n")
    lines.append("|---|---|---|---|---|---|---|\n")
    for name in sorted(closure(declared())):
        one = RUNTIME[name]
        cells = (name, locked[name].version, one.licence, one.whose, one.seat, one.use)
        lines.append(f"| {' | '.join(cells)} | {one.carries or '–'} |\n")
    rest = len(locked) - len(RUNTIME)
    lines.append(f"\n{rest} more packages build and test Hexagone, and are not installed with it: ")
    lines.append("[`sbom.json`](sbom.json) has them as `excluded`.\n")
    lines.append("\n## Connections it opens\n\n| who | to | said by | code |\n|---|---|---|---|\n")
    for module, (who, where, said) in CONNECTS.items():
        lines.append(f"| {who} | {where} | {said} | `{module}` |\n")
    lines.append("\nNo other. Names are resolved as the machine does it; addresses are not.\n")
    return "".join(lines)


def _component(one: Locked, needed: set[str]) -> dict[str, Any]:
    purl = f"pkg:pypi/{one.name}@{one.version}"
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": one.name,
        "version": one.version,
        "purl": purl,
        "scope": "required" if one.name in needed else "excluded",
        # What the lock allows a file of it to be: CycloneDX's own `hashes` are of one file only.
        "properties": [{"name": "hexagone:sha256", "value": " ".join(one.hashes)}],
    }
    if one.name in RUNTIME:
        found["licenses"] = [{"expression": RUNTIME[one.name].licence}]
        found["supplier"] = {"name": RUNTIME[one.name].whose}
    return found


def sbom(locked: dict[str, Locked]) -> dict[str, Any]:
    """CycloneDX 1.6. No serial number and no time: the same lock gives the same bytes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = closure(declared())
    whole = f"pkg:pypi/{project['name']}@{project['version']}"

    def reference(name: str) -> str:
        return f"pkg:pypi/{name}@{locked[name].version}"

    direct = sorted(reference(name) for name in _direct())
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": whole,
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"expression": project["license"]}],
            }
        },
        "components": [_component(one, set(needs)) for one in locked.values()],
        "dependencies": [
            {"ref": whole, "dependsOn": direct},
            *(
                {"ref": reference(name), "dependsOn": sorted(map(reference, needs[name]))}
                for name in sorted(needs)
            ),
        ],
    }


def _direct() -> list[str]:
    return [text.partition("==")[0] for text in declared()]


def sbom_text(locked: dict[str, Locked]) -> str:
    """The file."""
    return json.dumps(sbom(locked), indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all four."""
    locked = read_lock(LOCK.read_text(encoding="utf-8"))
    DOCUMENT.write_text(document(locked), encoding="utf-8")
    SBOM.write_text(sbom_text(locked), encoding="utf-8")
    found = used()
    algorithms.DOCUMENT.write_text(algorithms.document(found), encoding="utf-8")
    algorithms.CBOM.write_text(algorithms.cbom_text(found), encoding="utf-8")


if __name__ == "__main__":
    main()
