"""`hexagone keys` list, status, rotate, disable, enable, destroy over the admin port (K-10)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop
from typer.testing import CliRunner, Result

from gateway.admin.api import AdminServer
from gateway.admin.key_api import key_routes
from gateway.admin.key_desk import KeyDesk
from gateway.admin.named_keys import NamedKeyDesk
from gateway.cli import keys_app, keys_cli
from gateway.cli.client import AdminClient, AdminRefused
from gateway.cli.status_cli import app
from gateway.jobs.rotation import KeyRotation
from gateway.objects.buckets import create_bucket
from gateway.objects.named_keys import create_named_key
from gateway.objects.values import EncryptionAsked, PutOptions
from tests.support.admin_rig import admin_rig
from tests.support.gateway import ACCESS_KEY, BUCKET, TENANT

pytestmark = pytest.mark.proves("K-09", "K-10")

CLI = CliRunner()
NAMED, NAME = "named", "letters"
keys_app.add_commands(app)


class Serving:
    """An admin port and the job, which runs while `is_working`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_working = threading.Event()
        self.done = threading.Event()

    def __call__(self, *words: str, code: int = 0) -> Result:
        answer = CLI.invoke(app, ["keys", *words, "--socket", str(self.path)])
        assert answer.exit_code == code, answer.output
        return answer

    def json(self, *words: str) -> dict[str, object]:
        found = json.loads(self(*words, "--json").stdout)
        assert isinstance(found, dict)
        return found


@contextmanager
def serving(folder: Path) -> Iterator[Serving]:
    held = Serving(folder / "admin.sock")
    ready = threading.Event()

    async def main() -> None:
        async with admin_rig(folder=folder) as rig:
            services = rig.gateway.services
            await create_bucket(rig.gateway.ctx(), NAMED, None)
            for number in range(7):
                await rig.gateway.put(f"key-{number}", b"body")
            await create_named_key(services, TENANT, NAME)
            for number in range(2):
                options = PutOptions(encryption=EncryptionAsked(kind="aws:kms", key_id=NAME))
                await rig.gateway.put(f"named-{number}", b"body", options, bucket=NAMED)
            job = KeyRotation(services)
            server = AdminServer(
                view=rig.view,
                scheduler=rig.scheduler,
                run_job=rig.scheduler.run_round,
                path=held.path,
                env=rig.view.env,
                keys=NamedKeyDesk(services),
                more=key_routes(KeyDesk(services, job)),
            )
            await server.start()
            ready.set()
            while not held.done.is_set():
                if held.is_working.is_set():
                    await job.step()
                await asyncio.sleep(0.01)
            await server.close()

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


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    monkeypatch.setattr(keys_cli, "POLL_S", 0.01)
    with serving(tmp_path) as held:
        yield held


def _states(keys: Serving) -> list[tuple[int, str]]:
    found = keys.json("list", "--bucket", BUCKET, "--account", ACCESS_KEY)
    (bucket,) = found["buckets"]  # type: ignore[misc]
    return [(one["epoch"], one["state"]) for one in bucket["epochs"]]  # type: ignore[index]


def test_k10_a_bucket_key_from_its_rotation_to_its_end(keys: Serving) -> None:
    epoch = ("--bucket", BUCKET, "--epoch", "1")
    planned = keys.json("rotate", "--bucket", BUCKET, "--dry-run")
    assert planned["begun"] == [{"kind": "bucket", "name": BUCKET, "from": 1, "to": 2}]
    assert _states(keys) == [(1, "ACTIVE")]
    keys("disable", *epoch, "--yes", code=1)
    assert keys.json("rotate", "--bucket", BUCKET, "--yes")["begun"] == planned["begun"]
    again = keys("rotate", "--bucket", BUCKET, "--yes", code=1)
    assert "being rotated already" in again.output
    assert _states(keys) == [(1, "ACTIVE"), (2, "ACTIVE")]
    assert "retiring" in keys("list", "--account", ACCESS_KEY).output
    (under_way,) = keys.json("status")["rotations"]  # type: ignore[misc]
    assert under_way["name"] == BUCKET and under_way["is_counting"]  # type: ignore[index]
    # What would be lost is named, and kept without the right name.
    assert "7 current under " in keys("destroy", *epoch, "--dry-run").output
    keys("disable", *epoch, "--yes")
    assert "other name" not in keys("destroy", *epoch, "--yes", code=1).output
    assert "named exactly" in keys("destroy", *epoch, "--yes", "--lose", "x/1", code=1).output
    assert "ACTIVE" in keys("enable", *epoch).output
    keys.is_working.set()
    assert "complete" in keys("status", "--watch").output
    assert _states(keys) == [(1, "DECRYPT_ONLY"), (2, "ACTIVE")]
    (report,) = keys.json("status")["reports"]  # type: ignore[misc]
    assert report["rewrapped"] == {"current": 7} and report["ended_at_ms"]  # type: ignore[index]
    assert "only a disabled" in keys("destroy", *epoch, "--yes", code=1).output.lower()
    keys("disable", *epoch, "--yes")
    assert keys.json("destroy", *epoch, "--yes")["lost"] == {}
    assert _states(keys) == [(1, "DESTROYED"), (2, "ACTIVE")]
    keys("enable", *epoch, code=1)


def test_k10_all_keys_at_once_with_their_progress(keys: Serving) -> None:
    keys.is_working.set()
    ended = keys.json("rotate", "--all", "--yes", "--wait", "--rate", "0")
    reports = ended["reports"]
    assert {(one["kind"], one["done"]) for one in reports} == {  # type: ignore[attr-defined]
        ("tenant", 2),
        ("bucket", 7),
        ("bucket", 2),
    }
    tenants = keys.json("list", "--account", ACCESS_KEY)["tenants"]
    states = [one["state"] for one in tenants[0]["epochs"]]  # type: ignore[index]
    assert states == ["DECRYPT_ONLY", "ACTIVE"]
    keys("disable", "--tenant", "tests", "--epoch", "1", "--yes")
    assert keys.json("destroy", "--tenant", "tests", "--epoch", "1", "--yes")["lost"] == {}


def test_k10_a_named_key_from_its_rotation_to_its_end(keys: Serving) -> None:
    account = ("--account", ACCESS_KEY)
    first = ("--key", NAME, *account, "--epoch", "1")
    planned = keys.json("rotate", "--key", NAME, *account, "--dry-run")
    assert planned["begun"] == [{"kind": "named-key", "name": NAME, "from": 1, "to": 2}]
    keys("disable", *first, "--yes", code=1)
    assert keys.json("rotate", "--key", NAME, *account, "--yes")["begun"] == planned["begun"]
    assert (
        "being rotated already" in keys("rotate", "--key", NAME, *account, "--yes", code=1).output
    )
    assert _named_states(keys) == [(1, "ACTIVE"), (2, "ACTIVE")]
    shown = keys("list", *account).output
    assert f"{NAME}/1" in shown and "retiring" in shown
    (under_way,) = keys.json("status")["rotations"]  # type: ignore[misc]
    assert (under_way["kind"], under_way["name"]) == ("named-key", NAME)  # type: ignore[index]
    assert f"named-key {NAME}" in keys("status").output
    assert "2 under named keys under " in keys("destroy", *first, "--dry-run").output
    keys.is_working.set()
    assert "complete" in keys("status", "--watch").output
    assert _named_states(keys) == [(1, "DECRYPT_ONLY"), (2, "ACTIVE")]
    (report,) = keys.json("status")["reports"]  # type: ignore[misc]
    assert report["rewrapped"] == {"current": 2}  # type: ignore[index]
    assert "only a disabled" in keys("destroy", *first, "--yes", code=1).output.lower()
    keys("disable", *first, "--yes")
    assert "DECRYPT_ONLY" in keys("enable", *first).output
    keys("disable", *first, "--yes")
    assert "named exactly" in keys("destroy", *first, "--yes", "--lose", "x/1", code=1).output
    assert keys.json("destroy", *first, "--yes")["lost"] == {}
    assert _named_states(keys) == [(1, "DESTROYED"), (2, "ACTIVE")]
    keys("rotate", "--key", "other", *account, "--yes", code=1)
    keys("rotate", "--key", NAME, "--account", "nobody", "--yes", code=1)
    keys("rotate", "--key", f"alias/{NAME}", *account, "--yes", code=1)


def _named_states(keys: Serving) -> list[tuple[int, str]]:
    found = keys.json("list", "--account", ACCESS_KEY)["keys"]
    (named,) = [one for one in found if one["name"] == NAME]  # type: ignore[attr-defined]
    return [(one["epoch"], one["state"]) for one in named["epochs"]]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("rotate",), 2),
        (("rotate", "--key", NAME, "--all"), 2),
        (("rotate", "--all", "--account", ACCESS_KEY), 2),
        (("disable", "--key", NAME, "--bucket", BUCKET, "--epoch", "1"), 2),
        (("rotate", "--bucket", "b", "--all"), 2),
        (("rotate", "--bucket", "nothing", "--yes"), 1),
        (("rotate", "--tenant", "nobody", "--yes"), 1),
        (("rotate", "--bucket", BUCKET), 2),  # nobody to ask, and no --yes
        (("rotate", "--bucket", BUCKET, "--yes", "--rate", "99999999"), 1),
        (("disable", "--bucket", BUCKET, "--epoch", "0"), 2),
        (("destroy", "--epoch", "1"), 2),
        (("enable", "--bucket", BUCKET, "--epoch", "9"), 1),
    ],
)
def test_what_is_not_said_well_is_refused(keys: Serving, words: tuple[str, ...], code: int) -> None:
    keys(*words, code=code)
    assert _states(keys) == [(1, "ACTIVE")]


def test_one_key_is_never_meant_by_all(tmp_path: Path) -> None:
    with serving(tmp_path) as keys:
        client = AdminClient(keys.path)
        for method, verb in (("POST", "disable"), ("POST", "destroy"), ("GET", "left")):
            with pytest.raises(AdminRefused, match=r"name one|no such field"):
                client.key_epochs(method, verb, {"all": "1", "epoch": "0"})
