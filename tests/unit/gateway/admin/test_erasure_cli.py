"""`hexagone erase`, `purge`, `approver` and `approvals` over the admin port (E-01, E-03, B-10)."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import typer
import uvloop
from typer.testing import CliRunner, Result

from gateway.admin.api import AdminServer
from gateway.admin.approval_api import approval_routes
from gateway.admin.approval_desk import ApprovalDesk
from gateway.admin.erasure_api import erasure_routes
from gateway.admin.erasure_desk import ErasureDesk
from gateway.admin.key_api import key_routes
from gateway.admin.key_desk import KeyDesk
from gateway.admin.status import ClusterView
from gateway.cli import approvals_cli, erasure_cli, keys_app
from gateway.jobs.rotation import KeyRotation
from gateway.journal.chain import encode_keys
from gateway.objects.approving import ApprovalNeeded
from storaged.base.jobs import Scheduler
from tests.support.erasure_rig import CONFIG, ErasureRig, erasure_rig

CLI = CliRunner()
app = typer.Typer()
for one in (erasure_cli, approvals_cli, keys_app):
    one.add_commands(app)


class Serving:
    """An admin port whose erasures are moved on while `is_working`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "admin.sock"
        self.days = 0.0
        self.is_working = threading.Event()
        self.done = threading.Event()
        self.public = b""

    def __call__(self, *words: str, code: int = 0, said: str = "") -> Result:
        asks = words[:2] not in (("approver", "keygen"), ("approvals", "sign"), ("erase", "verify"))
        place = ("--socket", str(self.path)) if asks else ()
        if words[0] == "erase" and words[1].startswith("--"):
            words, place = (words[0], *place, *words[1:]), ()
        answer = CLI.invoke(app, [*words, *place], input=said or None)
        assert answer.exit_code == code, answer.output
        return answer

    def json(self, *words: str) -> dict[str, Any]:
        found = json.loads(self(*words, "--json").stdout)
        assert isinstance(found, dict)
        return found

    def wait(self, step: str) -> dict[str, Any]:
        """The latest erasure, once it has come to a step."""
        self.is_working.set()
        for _ in range(2000):
            latest: dict[str, Any] = self.json("erase", "status")["erasures"][0]
            if latest["step"] == step:
                self.is_working.clear()
                return latest
        raise AssertionError(latest)


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    held, ready = Serving(folder), threading.Event()

    async def main() -> None:
        async with erasure_rig(folder) as rig:
            await _serve(rig, held, ready)

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(10)
        yield held
    finally:
        held.done.set()
        thread.join(10)


async def _serve(rig: ErasureRig, held: Serving, ready: threading.Event) -> None:
    services = rig.gateway.services
    assert services.journal is not None
    held.public = encode_keys(services.journal.keys.verifiers())
    await rig.gateway.put("a", b"body")
    await rig.gateway.put("b", b"body")
    server = AdminServer(
        view=cast(ClusterView, None),
        scheduler=Scheduler(rig.clock),
        run_job=lambda name: asyncio.sleep(0),
        path=held.path,
        env=rig.clock,
        more=[
            *erasure_routes(ErasureDesk(services, CONFIG)),
            *approval_routes(ApprovalDesk(services)),
            *key_routes(KeyDesk(services, KeyRotation(services))),
        ],
    )
    await server.start()
    ready.set()
    while not held.done.is_set():
        rig.clock.days = held.days
        if held.is_working.is_set():
            await rig.work()
        await asyncio.sleep(0.005)
    await server.close()


@pytest.fixture
def hexagone(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as held:
        yield held


def approvers(hexagone: Serving) -> list[str]:
    """Three people's keys, of whom two have to approve."""
    files = []
    for name in ("alice", "bruno", "chloe"):
        key, public = hexagone.folder / f"{name}.key", hexagone.folder / f"{name}.pub"
        made = hexagone("approver", "keygen", "--name", name, "--out", str(key))
        public.write_text(made.stdout)
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        files.append(str(public))
    return files


def signed(hexagone: Serving, request: str, name: str, named: str, code: int = 0) -> str:
    """The file of somebody's approval."""
    text, out = hexagone.folder / "request.txt", hexagone.folder / f"{name}.approval"
    hexagone("approvals", "show", request, "--out", str(text))
    key = str(hexagone.folder / f"{name}.key")
    words = ("approvals", "sign", str(text), "--key", key, "--out", str(out))
    answer = hexagone(*words, code=code, said=f"{named}\n")
    assert code or f"approval is in {out}" in answer.stderr
    return str(out)


@pytest.mark.proves("E-01", "E-03", "B-10", "ADM-01")
def test_a_tenant_from_the_request_to_the_certificate(hexagone: Serving) -> None:
    files = approvers(hexagone)
    hexagone("approver", "set", "--threshold", "2", *files, "--yes")
    assert hexagone.json("approver", "list")["threshold"] == 2
    planned = hexagone.json("erase", "--tenant", "tests", "--dry-run")
    assert (planned["objects"], planned["notice_days"], planned["approvals"]) == (2, 21, 2)
    wrong = hexagone("erase", "--tenant", "tests", "--lose", "test", "--yes", code=1).stderr
    assert "name of the tenant" in wrong and "s3://BUCKET/KEY" in wrong and "epoch" not in wrong
    hexagone("erase", "--tenant", "tests", "--lose", "tests", code=2)  # nobody to ask
    assert not hexagone.json("erase", "status")["erasures"]
    hexagone("erase", "--tenant", "tests", "--lose", "tests", "--yes")
    hexagone("erase", "--tenant", "tests", "--lose", "tests", "--yes", code=1)  # under way
    begun = hexagone.json("erase", "status")["erasures"][0]
    signed(hexagone, begun["request"], "alice", "another name", code=1)
    alice = signed(hexagone, begun["request"], "alice", "tests")
    hexagone("approvals", "submit", alice)
    hexagone("approvals", "submit", alice)
    assert hexagone.json("approvals", "show", begun["request"])["lacking"] == 1
    hexagone("approvals", "submit", signed(hexagone, begun["request"], "bruno", "tests"))
    hexagone.days = 21.5
    hexagone.wait("disabled")
    hexagone.days = 23
    done = hexagone.wait("done")
    assert done["is_certified"]
    out, keys = hexagone.folder / "c.json", hexagone.folder / "journal.pub"
    keys.write_bytes(hexagone.public)
    hexagone("erase", "certificate", done["id"], "--out", str(out))
    verified = hexagone("erase", "verify", str(out), "--keys", str(keys))
    assert "the certificate holds" in verified.stdout and "alice, bruno" in verified.stdout
    out.write_text(out.read_text().replace('"objects": 2', '"objects": 0'))
    hexagone("erase", "verify", str(out), "--keys", str(keys), code=1)


@pytest.mark.proves("B-10")
def test_one_person_changes_no_approvers_and_destroys_no_key(hexagone: Serving) -> None:
    files = approvers(hexagone)
    hexagone("approver", "set", "--threshold", "2", *files, "--yes")
    hexagone("approver", "set", "--threshold", "2", *files[:2], "--yes", code=1)
    (asked,) = hexagone.json("approvals", "list")["requests"]
    hexagone("approvals", "submit", signed(hexagone, asked["id"], "alice", "approvers/2"))
    hexagone("approver", "set", "--threshold", "2", *files[:2], "--yes", code=1)
    assert hexagone.json("approver", "list")["version"] == 1
    hexagone("approvals", "submit", signed(hexagone, asked["id"], "chloe", "approvers/2"))
    hexagone("approver", "set", "--threshold", "2", *files[:2], "--yes")
    assert len(hexagone.json("approver", "list")["approvers"]) == 2
    hexagone("keys", "rotate", "--bucket", "bucket", "--yes")
    hexagone.is_working.set()
    while hexagone.json("keys", "status")["rotations"]:
        pass
    epoch = ("--bucket", "bucket", "--epoch", "1", "--yes")
    refused = hexagone("keys", "destroy", *epoch, code=1)
    assert "Only a disabled epoch" in refused.stderr
    assert not [
        one for one in hexagone.json("approvals", "list")["requests"] if one["act"] == "destroy-key"
    ], "nobody is asked for what would be refused"
    hexagone("keys", "disable", *epoch)
    hexagone("keys", "destroy", *epoch, code=1)
    request = next(
        one for one in hexagone.json("approvals", "list")["requests"] if one["act"] == "destroy-key"
    )["id"]
    for name in ("alice", "bruno"):
        hexagone("approvals", "submit", signed(hexagone, request, name, "bucket/1"))
    hexagone("keys", "destroy", *epoch)


def test_an_object_is_deleted_or_shredded_and_an_erasure_taken_back(hexagone: Serving) -> None:
    url = "s3://bucket/a"
    answer = hexagone.json("erase", "--object", url, "--lose", url, "--yes")
    assert answer["deleted"] == 1 and "no date" in answer["shredded"]
    url = "s3://bucket/b"
    hexagone("erase", "--object", url, "--lose", url, "--certify", "--yes")
    assert hexagone.wait("done")["is_certified"]
    hexagone("erase", "--bucket", "bucket", "--lose", "bucket", "--yes")
    waiting = hexagone.wait("disabled")
    hexagone("erase", "cancel", waiting["id"][:8], "--yes")
    hexagone.wait("cancelled")
    hexagone("erase", "cancel", "0" * 32, "--yes", code=1)
    hexagone("erase", "certificate", waiting["id"], code=1)


def test_what_is_not_said_well_is_refused(hexagone: Serving) -> None:
    hexagone("erase", "--bucket", "b", "--tenant", "t", code=2)
    hexagone("erase", "--object", "bucket/a", code=2)
    hexagone("erase", "--bucket", "nothing", "--dry-run", code=1)
    hexagone("purge", "--bucket", "nothing", code=1)
    assert hexagone.json("purge", "--bucket", "bucket", "--dry-run")["left"] == {}
    key = hexagone.folder / "alice.key"
    hexagone("approver", "keygen", "--name", "Alice!", "--out", str(key), code=1)
    hexagone("approver", "keygen", "--name", "alice", "--out", str(key))
    hexagone("approver", "keygen", "--name", "alice", "--out", str(key), code=1)  # never over one
    hexagone("approvals", "show", "0" * 32, code=1)


def test_a_sealed_key_opens_with_its_passphrase_only(hexagone: Serving) -> None:
    key = hexagone.folder / "alice.key"
    words = ("approver", "keygen", "--name", "alice", "--out", str(key), "--passphrase")
    hexagone(*words, said="short\nshort\n", code=1)
    public = hexagone(*words, said="correct horse\ncorrect horse\n").stdout
    (hexagone.folder / "alice.pub").write_text(public)
    bruno = hexagone.folder / "bruno.pub"
    bruno.write_text(
        hexagone(
            "approver", "keygen", "--name", "bruno", "--out", str(hexagone.folder / "bruno.key")
        ).stdout
    )
    hexagone(
        "approver", "set", "--threshold", "2", f"{key.with_suffix('.pub')}", str(bruno), "--yes"
    )
    hexagone("erase", "--bucket", "bucket", "--lose", "bucket", "--yes")
    request = hexagone.json("approvals", "list")["requests"][0]["id"]
    signed(hexagone, request, "alice", "bucket\nwrong horse", code=1)
    hexagone("approvals", "submit", signed(hexagone, request, "alice", "bucket\ncorrect horse"))
    key.chmod(0o644)
    signed(hexagone, request, "alice", "bucket\ncorrect horse", code=1)


def test_who_has_to_have_an_approval_is_told_each_step_to_it() -> None:
    for command in ("approvals show REQUEST --out", "approvals sign", "approvals submit"):
        assert command in ApprovalNeeded.hint
