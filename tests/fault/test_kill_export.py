"""kill -9 in the middle of an export and of an import, of the command and of the gateway: what
goes on copies nothing twice, and the end is as if nothing had happened.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.restore.read_export import read
from tests.support.moved_tenant import TENANT, client_of, client_of_root, command, run
from tests.support.processes import Cluster, end, wait_until

BUCKET, MIB = "beaucoup", 1 << 20
LARGE, SMALL = 8, 1500
SLOW = """
import sys, time
from gateway.cli import {module}
plain = {module}.{cls}.{method}
def slowly(*args):
    found = plain(*args)
    time.sleep({pause})
    return found
{module}.{cls}.{method} = slowly
from gateway.main import main
main()
"""


def contents() -> dict[str, bytes]:
    random = Random(7)
    found = {f"large/{at}": random.randbytes(4 * MIB) for at in range(LARGE)}
    found |= {f"small/{at:05d}": b"%d" % at for at in range(SMALL)}
    return found


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Cluster]]:
    folder = tmp_path_factory.mktemp("kill-export")
    here, there = Cluster(folder / "here"), Cluster(folder / "there")
    try:
        for cluster in (here, there):
            cluster.start("--tls")
        key = command(here, "tenant", "create", TENANT, "--show-secret")["access_key"]
        s3 = client_of(here, key)
        s3.create_bucket(Bucket=BUCKET)
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda one: _put(s3, *one), contents().items()):
                continue
        yield here, there
    finally:
        for cluster in (here, there):
            end(cluster.gateway)


def _put(s3: Any, name: str, content: bytes) -> None:
    s3.put_object(Bucket=BUCKET, Key=name, Body=content)


def begun(
    cluster: Cluster, module: str, method: str, pause: float, *words: str | Path
) -> subprocess.Popen[str]:
    """The command, with a pause at a place where it would be over too soon."""
    cls = {"export_run": "Exporter", "import_run": "Importer"}[module]
    program = SLOW.format(module=module, cls=cls, method=method, pause=pause)
    line = [sys.executable, "-c", program, *map(str, words), "--data", str(cluster.folder)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def marks(folder: Path) -> int:
    path = folder / "progress.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def packs(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in (folder / "bodies").glob("*.bin")}


@pytest.mark.timeout(400)
@pytest.mark.proves("E-04")
def test_export_and_import_go_on_after_kills(
    sides: tuple[Cluster, Cluster], tmp_path: Path
) -> None:
    here, there = sides
    folder = tmp_path / "export"
    # The command is killed after its first page.
    child = begun(here, "export_run", "_commit", 1.0, "export", "--tenant", TENANT, folder)
    wait_until(lambda: marks(folder) >= 1, 30, "a page is whole")
    end(child, signal.SIGKILL)
    held = packs(folder)
    assert sum(held.values()) >= MIB and not (folder / "summary.json").exists()
    refused = run(here, "export", "--tenant", TENANT, folder)
    assert refused.returncode == 1 and "--resume" in refused.stderr
    # Then the gateway, while the next page comes.
    child = begun(here, "export_run", "_page", 2.0, "export", "--resume", folder)
    wait_until(lambda: packs(folder) != held, 30, "it goes on")
    here.kill()
    assert child.wait(60) != 0
    here.start("--tls")
    summary = command(here, "export", "--resume", folder, "--verify")
    assert summary["verified"]["intact"]
    _, _, buckets = read(folder)
    found = {record["key"]: content for record, content, _ in buckets[0].versions()}
    assert found == contents()
    held_bytes = sum(map(len, contents().values()))
    assert sum(packs(folder).values()) < 1.6 * held_bytes  # a page may be written once more
    _import(there, folder)


def _import(there: Cluster, folder: Path) -> None:
    child = begun(there, "import_run", "_send_lot", 1.0, "import", folder)
    wait_until(lambda: _versions(there) > 2, 60, "versions come")
    end(child, signal.SIGKILL)
    child = begun(there, "import_run", "_send_lot", 1.0, "import", folder, "--resume")
    before = _versions(there)
    wait_until(lambda: _versions(there) > before, 60, "it goes on")
    there.kill()
    assert child.wait(60) != 0
    there.start("--tls")
    done = command(there, "import", folder, "--resume", "--read-back")
    assert (done["failed"], done["differences"]) == ([], [])
    assert done["held"] > 2 and done["installed"] + done["held"] == LARGE + SMALL
    s3: Any = client_of_root(there)
    for name, content in contents().items():
        if name.startswith("large/") or name.endswith("00"):
            assert s3.get_object(Bucket=BUCKET, Key=name)["Body"].read() == content
    again = run(there, "import", folder, "--resume")
    assert again.returncode == 1 and json.loads(again.stdout)["conflicts"]


def _versions(cluster: Cluster) -> int:
    used = command(cluster, "usage", "--tenant", TENANT, check=False)
    return int(used["total"]["objects"]) if used else 0
