"""House rules that a machine can hold: budgets, names, docstrings, errors, contracts, documents.

Not for formatting, types or layers: ruff, mypy and import-linter hold those.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from storaged.base.errors import Kind, StorageError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("storaged", "gateway")
FUNCTION_LINES_MAX = 60
MODULE_LINES_SOFT_MAX = 400
MODULE_LINES_MAX = 600

# Module → why it is one file although it is longer than the soft budget.
LONG_MODULES: dict[str, str] = {
    "tests/test_tidy.py": "one rule after the other",
    "bench/load.py": "one program, run by itself: what is sent, read and counted",
    "gateway/commit/log.py": "one story: how a change becomes a commit; its parts are modules",
    "gateway/s3/http.py": "one boundary: the order in which a request is checked",
    "gateway/meta/lmdb.py": "one environment: reads, commits, sums and counts share its gate",
    "tests/conformance/key_provider_suite.py": "one suite for one port",
    "tests/conformance/node_suite.py": "one suite for one port: its implementations subclass it",
    "tests/mutations/table.py": "one table, an entry for each guard",
}

# Module → which of the five places of the house style it is.
CATCHES_EVERYTHING: dict[str, str] = {
    "gateway/s3/http.py": "request boundary",
    "gateway/admin/api.py": "request boundary of the admin port",
    "gateway/cli/status_cli.py": "CLI",
    "gateway/keyd/pkcs11_thread.py": "executor bridge",
    "gateway/keyd/server.py": "request boundary of the key service",
    "storaged/base/jobs.py": "job scheduler",
    "storaged/base/env.py": "executor bridge",
    "storaged/lanes.py": "executor bridge",
    "storaged/server.py": "connection loop",
    "storaged/remote.py": "connection loop",
}

# Top-level modules that stand outside the layers, with the reason.
UNLAYERED: dict[str, str] = {
    "gateway.config": "read by the composition root, imports values of all layers",
    "gateway.config_admin": "as gateway.config",
    "gateway.config_tls": "as gateway.config",
    "gateway.config_erasure": "as gateway.config, of what it is about too",
    "gateway.config_check": "as gateway.config, whose values it judges",
    "gateway.config_keys": "as gateway.config, of the key service too",
    "gateway.metrics": "declarations only, imported where it is counted",
    "gateway.outbound": "handed to jobs as a port by the composition root",
    "storaged.config": "read by the composition root",
    "storaged.metrics": "declarations only, imported where it is counted",
}

# Packages that a contract leaves out on purpose.
HTTP_EDGE = {"HTTP stays at the edge": {"gateway.admin", "gateway.outside", "gateway.s3"}}

# Ports: files that hold protocols and their values, so every public function is a promise.
PORTS = (
    "storaged/node.py",
    "storaged/base/env.py",
    "storaged/files.py",
    "gateway/meta/kv.py",
)

# Words of S3 itself that hold a banned one: CommonPrefixes.
WORDS_OF_S3 = re.compile(r"common_?prefix(es)?", re.IGNORECASE)
BANNED_WORDS = frozenset({"utils", "helpers", "common", "manager", "handler"})

# Spelt in two halves, so that this file does not hold what it looks for.
FOREIGN_WORDS = tuple(
    first + second
    for first, second in (
        ("pypi", ".org"),
        ("pythonhosted", ".org"),
        ("registry.npmjs", ".org"),
        ("proxy.golang", ".org"),
        ("/work/", "shared"),
        ("/work/", ".library"),
        ("/work/", ".mirror"),
    )
)


def tracked_files() -> list[Path]:
    """Files git knows or would add; the whole tree where there is no git (a source archive)."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    else:
        paths = [ROOT / name for name in listed.decode().split("\0") if name]
    return sorted(path for path in paths if path.is_file())


FILES = tracked_files()
SOURCES = [
    path
    for path in FILES
    if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in (*PACKAGES, "tests", "bench")
]
PRODUCT = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES]
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in SOURCES}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def public_functions(
    body: list[ast.stmt],
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Functions at module level, and methods of public protocols."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_"):
                yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = {ast.unparse(base).partition("[")[0] for base in node.bases}
            if "Protocol" in bases:
                yield from public_functions(node.body)


def words(identifier: str) -> set[str]:
    """Lower-case words of a snake_case or CamelCase name."""
    ours = WORDS_OF_S3.sub("", identifier)
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", ours)}


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def contracts() -> dict[str, dict[str, Any]]:
    return {c["name"]: c for c in settings()["tool"]["importlinter"]["contracts"]}


def test_functions_stay_within_their_budget() -> None:
    long = [
        f"{name_of(path)}:{node.lineno} {node.name}: {lines} lines"
        for path, tree in TREES.items()
        for node in functions(tree)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long, f"split these functions (at most {FUNCTION_LINES_MAX} lines): {long}"


def test_modules_stay_within_their_budget() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    too_long = {name: n for name, n in lengths.items() if n > MODULE_LINES_MAX}
    assert not too_long, f"split these modules (at most {MODULE_LINES_MAX} lines): {too_long}"
    above = {
        name: n
        for name, n in lengths.items()
        if n > MODULE_LINES_SOFT_MAX and name not in LONG_MODULES
    }
    assert not above, f"split these, or give the reason in LONG_MODULES: {above}"
    stale = [name for name in LONG_MODULES if lengths.get(name, 0) <= MODULE_LINES_SOFT_MAX]
    assert not stale, f"no longer long, take out of LONG_MODULES: {stale}"


def test_no_banned_names() -> None:
    bad = [name_of(path) for path in SOURCES if words(path.stem) & BANNED_WORDS]
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and (
                words(node.name) & BANNED_WORDS or node.name.lstrip("_").startswith("do_")
            ):
                bad.append(f"{name_of(path)}:{node.lineno} {node.name}")
    assert not bad, f"the glossary bans these names: {bad}"


def catches_everything(node: ast.ExceptHandler) -> bool:
    if node.type is None:
        return True
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(ast.unparse(c) in ("Exception", "BaseException") for c in caught)


def test_only_named_places_catch_everything() -> None:
    found = {
        name_of(path): node.lineno
        for path in PRODUCT
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    }
    bad = {name: line for name, line in found.items() if name not in CATCHES_EVERYTHING}
    assert not bad, f"catch the errors you mean: {bad}"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path, tree in TREES.items()
        if not ast.get_docstring(tree) and (path.name != "__init__.py" or tree.body)
    ]
    assert not silent, f"modules without a docstring: {silent}"


def test_ports_document_every_public_function() -> None:
    silent = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in (ROOT / port for port in PORTS)
        if path in TREES
        for node in public_functions(TREES[path].body)
        if not ast.get_docstring(node)
    ]
    assert not silent, f"a port is its docstrings: {silent}"


def error_classes() -> set[type[StorageError]]:
    """Every subclass of the root error that the two packages define."""
    for path in PRODUCT:
        if "class " in path.read_text(encoding="utf-8") and path.name != "__main__.py":
            importlib.import_module(dotted(path))
    found: set[type[StorageError]] = set()
    queue: list[type[StorageError]] = [StorageError]
    while queue:
        for subclass in queue.pop().__subclasses__():
            if subclass not in found and subclass.__module__.split(".")[0] in PACKAGES:
                found.add(subclass)
                queue.append(subclass)
    return found


def test_every_error_has_a_message_and_a_kind() -> None:
    classes = error_classes()
    assert classes, "no error class was found, so this test checks nothing"
    silent = [c.__qualname__ for c in classes if not (c.__dict__.get("__doc__") or "").strip()]
    assert not silent, f"the first docstring line is the message: {silent}"
    kindless = [
        c.__qualname__
        for c in classes
        if not any("kind" in base.__dict__ for base in c.__mro__ if base is not StorageError)
        or not isinstance(c.kind, Kind)
    ]
    assert not kindless, f"errors that do not say their kind: {kindless}"


def test_every_error_has_an_s3_code() -> None:
    if importlib.util.find_spec("gateway.s3.errors") is None:
        pytest.skip("gateway.s3.errors does not exist yet")
    table = importlib.import_module("gateway.s3.errors")
    missing = []
    # Errors that the table's own module defines carry their code with them.
    judged = [c for c in error_classes() if c.__module__ != table.__name__]
    for error_class in sorted(judged, key=lambda c: c.__qualname__):
        bare = error_class.__new__(error_class)
        Exception.__init__(bare)
        bare.fields = {}
        try:
            code = table.s3_code_for(bare)
        except LookupError:
            code = None
        if not code:
            missing.append(error_class.__qualname__)
    assert not missing, f"errors without an entry in gateway/s3/errors.py: {missing}"


def test_contracts_name_every_module_of_the_packages() -> None:
    layered = {
        name.strip(" ()")
        for contract in contracts().values()
        for layer in contract.get("layers", ())
        for name in layer.split("|")
    }
    top = {".".join(dotted(path).split(".")[:2]) for path in PRODUCT if "." in dotted(path)}
    outside = top - layered - set(UNLAYERED)
    assert not outside, f"put these in a layer (or in UNLAYERED with a reason): {sorted(outside)}"


def test_contracts_hold_the_lists_they_should() -> None:
    exists = {dotted(path) for path in PRODUCT}
    listed = contracts()
    inside = set(listed["only the composition root sees a node's inside"]["forbidden_modules"])
    within = {".".join(name.split(".")[:2]) for name in exists if name.startswith("gateway.")}
    within -= {
        "gateway.main",
        "gateway.run_cli",
        "gateway.up_cli",
        "gateway.running",
        "gateway.serve",
        "gateway.up",
        "gateway.ca_cli",
        "gateway.enrol_cli",
        "gateway.renewal_cli",
        "gateway.compose",
        "gateway.core",
        "gateway.keyd",  # a process of its own, with its own composition root in it
        "gateway.limits",
        *UNLAYERED,
    }
    for name in ("only the composition root sees a node's inside", "HTTP stays at the edge"):
        sources = {".".join(m.split(".")[:2]) for m in listed[name]["source_modules"]}
        assert not within - sources - HTTP_EDGE.get(name, set()), f"add to: {name}"
    node_layers = listed["storaged layers"]["layers"][:-2]
    hidden = {name.strip(" ()") for layer in node_layers for name in layer.split("|")}
    # The pure half of the wire and the scrub job hold nothing of a drive.
    hidden -= {"storaged.session", "storaged.wire", "storaged.verbs", "storaged.scrub"}
    assert not (hidden & exists) - inside, "add to the composition root's contract"
    for contract in listed.values():
        named = {*contract.get("source_modules", ()), *contract.get("forbidden_modules", ())}
        ours = {name for name in named if name.split(".")[0] in PACKAGES}
        assert not ours - exists, f"{contract['name']}: no such module"


def test_only_declared_packages_are_imported() -> None:
    project = settings()["project"]
    runtime = {normal(spec) for spec in project["dependencies"]}
    everything = runtime | {normal(s) for s in project["optional-dependencies"]["dev"]}
    everything |= {normal(s) for s in settings()["dependency-groups"]["bench"]}
    # Come with a declared package: botocore with boto3, packaging with pytest, PyYAML with awscli.
    everything |= {"botocore", "click", "jsonschema", "packaging", "pyyaml"}
    owners = packages_distributions()
    own = {*sys.stdlib_module_names, *PACKAGES, "tests", "bench"}
    bad = []
    for path, tree in TREES.items():
        allowed = runtime if path in PRODUCT else everything
        if path.parent == ROOT / "tests" / "clients" / "each":
            continue  # each runs in an environment of its own, pinned in tests/clients/pins
        for module in imported(tree) - own:
            # What is not installed here, as the group `bench`, is judged by its own name.
            if not {normal(owner) for owner in owners.get(module, (module,))} & allowed:
                bad.append(f"{name_of(path)}: {module}")
    assert not bad, f"declare and pin in pyproject.toml, or don't import: {bad}"


def normal(requirement: str) -> str:
    """Distribution name of a requirement, in its normal form."""
    return re.split(r"[=<>\[ ;]", requirement)[0].lower().replace("_", "-")


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of the absolute imports of a module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_lock_pins_what_the_project_declares() -> None:
    project = settings()["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    locked = pinned("requirements.lock", declared)
    of_bench = pinned("requirements-bench.lock", settings()["dependency-groups"]["bench"])
    apart = {name for name in locked.keys() & of_bench if locked[name] != of_bench[name]}
    assert not apart, f"two locks of one environment, two versions: {apart}"


def pinned(name: str, declared: list[str]) -> dict[str, str]:
    """Versions in a lock, which holds what is declared, with hashes and without an address."""
    lock = (ROOT / name).read_text(encoding="utf-8")
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE))
    for spec in declared:
        version = spec.partition("==")[2]
        assert locked.get(normal(spec)) == version, f"{spec}: run `make lock`"
    assert "--hash=sha256:" in lock
    assert "://" not in lock, f"{name} must hold no address"
    return locked


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def test_links_of_documents_resolve() -> None:
    broken = []
    for path in (p for p in FILES if p.suffix == ".md"):
        for target in LINK.findall(path.read_text(encoding="utf-8")):
            if "://" in target or target.startswith(("#", "mailto:")):
                continue
            if not (path.parent / target.partition("#")[0]).exists():
                broken.append(f"{name_of(path)}: {target}")
    assert not broken, f"links to nothing: {broken}"


@pytest.mark.parametrize("name", ["architecture.md", "operations.md"])
def test_pages_that_list_the_jobs_name_every_one(name: str) -> None:
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    jobs = set()
    for folder in ("jobs", "commit"):
        for path in (ROOT / "gateway" / folder).glob("*.py"):
            jobs |= set(
                re.findall(r'^    name = "([^"]+)"$', path.read_text("utf-8"), re.MULTILINE)
            )
    assert {"tier", "compact", "lock-clock"} <= jobs
    assert not {job for job in jobs if f"`{job}`" not in page}


def test_no_foreign_paths_hosts_or_promises() -> None:
    promises = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    bad = []
    for path in FILES:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        bad += [f"{name_of(path)}: {word}" for word in FOREIGN_WORDS if word in text]
        if found := promises.search(text):
            bad.append(f"{name_of(path)}: {found.group()}")
    assert not bad, f"take these out: {bad}"


def test_change_log_has_unreleased_on_top() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings and headings[0] == "Unreleased"
