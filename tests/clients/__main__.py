"""`python -m tests.clients [CLIENT …]`: real clients, each with a real task, against real servers.

Two `hexagone up` processes on loopback (HTTP and TLS); every client goes over each of them in path
style and in virtual-host style, as far as it can. The table of the last whole run is
docs/clients.md. A client that is not there is `absent`; with CI=true that is a failure, except
where the catalog says that it may be.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.clients.catalog import CLIENTS, WAYS, Client, Way, packages
from tests.clients.cluster import ROOT, Cluster
from tests.clients.hosts import enter_namespace, name_hosts
from tests.clients.install import NotInstalled, missing, modules_of, python_of
from tests.clients.report import Outcome, Result, Row, write_report
from tests.clients.server import Server, clean_environment
from tests.support.processes import free_port

REPORT = ROOT / "docs" / "clients.md"


def run_client(
    client: Client, server: Server, work: Path, python: Path, modules: Path | None
) -> Result:
    """One client over one way, in a process of its own with a fresh home."""
    home = work / f"{client.name}-{server.scheme}-{server.style}"
    home.mkdir(parents=True)
    environment = clean_environment() | server.environment() | {"HOME": str(home)}
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    if modules is not None:
        environment["CLIENT_MODULES"] = str(modules)
    started = time.monotonic()
    try:
        done = subprocess.run(
            [python, "-m", "tests.clients.one", client.name, home],
            cwd=ROOT,
            env=environment,
            input=server.to_json(),
            capture_output=True,
            text=True,
            timeout=client.timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result(Outcome.FAILED, f"no end within {client.timeout_s:.0f} s", client.timeout_s)
    took_s = time.monotonic() - started
    if done.returncode != 0:
        return Result(Outcome.FAILED, done.stderr.strip()[-3000:], took_s)
    said = json.loads(done.stdout.strip().splitlines()[-1])
    return Result(Outcome.PASSED, said["done"], took_s, said["version"])


def try_client(
    client: Client, clusters: dict[str, Cluster], ways: list[Way], work: Path, *, install: bool
) -> Row:
    """All ways of one client, one line on the terminal each."""
    row = Row(client, {})
    lack = missing(client)
    try:
        if lack:
            raise NotInstalled(lack)
        python, modules = (
            python_of(client, install=install),
            modules_of(client, install=install),
        )
    except NotInstalled as error:
        row.results = {way: Result(Outcome.ABSENT, str(error)) for way in ways}
        print(f"{client.name:14} absent: {error}", flush=True)
        return row
    refused = dict(client.without)
    for way in ways:
        if way in refused:
            row.results[way] = Result(Outcome.NOT_DONE, refused[way])
            continue
        server = clusters[way[0]].server(client.name, way[1])
        result = run_client(client, server, work, python, modules)
        row.results[way] = result
        shown = result.text if result.outcome is Outcome.FAILED else ""
        print(f"{client.name:14} {way[0]:5} {way[1]:7} {result.outcome.value:6} "
              f"{result.took_s:5.1f} s {shown}", flush=True)  # fmt: skip
    return row


def host_names() -> list[str]:
    """Every host name that a client may use."""
    base = [Server(client.name, "http", style, 0, "s3.localhost", "", "", "")
            for client in CLIENTS for style in ("path", "virtual")]  # fmt: skip
    buckets = {f"{server.bucket(suffix)}.{server.domain}" for server in base for suffix in "abc"}
    return ["s3.localhost", *sorted(buckets)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make clients", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="CLIENT")
    parser.add_argument("--way", action="append", help="scheme/style, e.g. https/virtual")
    parser.add_argument("--packages", action="store_true", help="print the Debian packages")
    options = parser.parse_args()
    if options.packages:
        print(*packages())
        return 0
    chosen = [client for client in CLIENTS if not options.names or client.name in options.names]
    unknown = set(options.names) - {client.name for client in CLIENTS}
    if unknown:
        parser.error(f"no such client: {sorted(unknown)}")
    enter_namespace()
    with tempfile.TemporaryDirectory(prefix="hexagone-clients-", ignore_cleanup_errors=True) as at:
        work = Path(at)
        work.chmod(0o755)  # PostgreSQL's user goes through it
        has_names = name_hosts(host_names(), work)
        ways = [way for way in WAYS if has_names or way[1] == "path"]
        if options.way:
            ways = [way for way in ways if "/".join(way) in options.way]
        rows = _run_all(chosen, ways, work)
    is_whole = not options.names and not options.way
    if is_whole:
        write_report(REPORT, rows, has_names=has_names)
        print(f"written: {REPORT.relative_to(ROOT)}")
    is_strict = os.environ.get("CI") == "true"
    bad = [row.client.name for row in rows if row.is_bad(is_strict=is_strict)]
    print("failed: " + ", ".join(bad) if bad else f"{len(rows)} clients, none failed")
    return 1 if bad else 0


def _run_all(chosen: list[Client], ways: list[Way], work: Path) -> list[Row]:
    clusters: dict[str, Cluster] = {}
    try:
        for scheme in sorted({scheme for scheme, _ in ways}):
            clusters[scheme] = Cluster(work / scheme, free_port(), scheme)
        rows = [try_client(client, clusters, ways, work, install=True) for client in chosen]
    finally:
        for cluster in clusters.values():
            cluster.stop()
    return rows


if __name__ == "__main__":
    sys.exit(main())
