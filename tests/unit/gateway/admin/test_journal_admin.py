"""The journal behind the admin port: what is recorded of admins, and every verb of the CLI."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.admin.api import AdminServer
from gateway.admin.journal_api import journal_routes, recording
from gateway.admin.named_keys import NamedKeyDesk
from gateway.cli.client import AdminClient, AdminRefused
from gateway.cli.journal_cli import app
from gateway.journal.events import Entry, Event, Phase, read_line
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.shelf import LogDamaged
from gateway.journal.store import JournalUnavailable, read_lines
from storaged.base.env import RealEnv
from tests.support.admin_rig import admin_rig
from tests.support.gateway import ACCESS_KEY, BUCKET, TENANT
from tests.support.journal_rig import keys_with

CLI = CliRunner()
LOG = TENANT.hex()


class Served:
    """A gateway's admin port with a journal, in a thread of its own."""

    def __init__(self, path: Path, journal: Journal, loop: asyncio.AbstractEventLoop) -> None:
        self.path = path
        self.journal = journal
        self.client = AdminClient(path)
        self._loop = loop

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(20)

    def entries(self, log: str) -> list[Entry]:
        self.run(self.journal.checkpoint([log]))
        found = read_lines(self.journal.folder / "logs" / log, 0, 10_000)
        return [read_line(line, seq) for seq, line in enumerate(found)]

    def cli(self, *arguments: str, told: bytes | None = None, code: int = 0) -> Result:
        more = ["--socket", str(self.path)] if arguments[0] != "witness" else []
        result = CLI.invoke(app, [*arguments, *more], input=told)
        assert result.exit_code == code, result.output
        return result


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    ready, done = threading.Event(), threading.Event()
    held: list[Served] = []

    async def main() -> None:
        env = RealEnv(threads_max=2)
        async with admin_rig(folder=folder) as rig:
            journal = Journal(JournalConfig(folder=folder / "journal"), keys_with(), env)
            journal.start()
            services = rig.gateway.services
            services.journal = journal

            async def run_job(name: str) -> dict[str, object]:
                return {}

            server = AdminServer(
                view=rig.view,
                scheduler=rig.scheduler,
                run_job=run_job,
                path=folder / "a.sock",
                env=env,
                keys=NamedKeyDesk(services),
                more=journal_routes(services),
                journaled=recording(services),
            )
            await server.start()
            held.append(Served(folder / "a.sock", journal, asyncio.get_running_loop()))
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)
            await server.close()
            await journal.close()
        env.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    try:
        assert ready.wait(20)
        yield held[0]
    finally:
        done.set()
        thread.join()


def accessed(served: Served, key: str) -> None:
    event = Event(1_790_000_000_000, "s3.GetObject", Phase.ACCESS, {"who": ACCESS_KEY}, BUCKET, key)
    served.run(served.journal.record(LOG, event))


def test_l_01_admin_acts_are_recorded_before_and_after(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        served.client.create_key("zulu", ACCESS_KEY)
        served.client.pause("count")
        with pytest.raises(AdminRefused):
            served.client.pause("nothing")
        served.client.status()
        tenants = served.entries(LOG)
        assert [(one.type, one.phase) for one in tenants] == [
            ("admin.keys", "intent"),
            ("admin.keys", "outcome"),
        ]
        assert tenants[0].body["name"] == "zulu"
        assert tenants[0].body["who"] == tenants[1].body["who"] == "admin:local-root"
        assert tenants[0].body["acting_as"] == "local-root"
        assert str(tenants[0].body["from"]).startswith(f"socket:uid={os.geteuid()},pid=")
        found = [one for one in served.entries("cluster") if one.type.startswith("admin.")]
        assert [(one.type, one.body.get("error")) for one in found] == [
            ("admin.jobs.count.pause", None),
            ("admin.jobs.count.pause", None),
            ("admin.jobs.nothing.pause", None),
            ("admin.jobs.nothing.pause", "NoSuchJob"),
        ]


def test_jrn_04_fields_of_admins_that_may_be_secret_are_not_recorded(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        with pytest.raises(AdminRefused):
            served.client._ask("POST", "/v1/keys", b'{"passphrase": "canary-1", "pin": "canary-2"}')
        with pytest.raises(AdminRefused, match="no such field"):
            served.client._ask("POST", "/v1/keys?passphrase=canary-3")
        kept = b"".join(path.read_bytes() for path in (tmp_path / "journal").rglob("*.events"))
        assert b"canary" not in kept and b"passphrase,pin" in kept


@pytest.mark.parametrize(
    ("query", "body"),
    [
        (f"name=evil&name=good&access_key_id={ACCESS_KEY}", None),
        (f"name=evil&name=&access_key_id={ACCESS_KEY}", None),
        (f"name=evil&access_key_id={ACCESS_KEY}", b'{"name": "good"}'),
        (f"name=evil&access_key_id={ACCESS_KEY}" + "".join(f"&a{n}=x" for n in range(20)), None),
    ],
)
def test_l_01_what_is_recorded_of_admins_is_what_is_done(
    tmp_path: Path, query: str, body: bytes | None
) -> None:
    with serving(tmp_path) as served:
        with pytest.raises(AdminRefused):
            served.client._ask("POST", f"/v1/keys?{query}", body)
        assert "evil" not in str(served.client.keys(ACCESS_KEY))


def test_jrn_02_without_a_journal_admins_can_look_and_not_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(log: str, event: Event) -> None:
        raise JournalUnavailable(reason="No space left on device")

    with serving(tmp_path) as served:
        monkeypatch.setattr(served.journal, "record", full)
        with pytest.raises(AdminRefused, match="journal") as refused:
            served.client.pause("count")
        assert "acts that must be recorded" in refused.value.advice
        job = next(job for job in served.client.jobs()["jobs"] if job["name"] == "count")
        assert job["state"] != "paused"
        monkeypatch.undo()
        served.client.pause("count")


def test_show_finds_what_is_asked_for(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        for at in range(5):
            accessed(served, f"k-{at}")
        served.client.create_key("zulu", ACCESS_KEY)
        served.entries(LOG)  # so that the outcome is written
        shown = served.cli("show").output
        assert "s3.GetObject" in shown and BUCKET in shown and "admin.keys" in shown
        assert "journal.anchor" not in shown and "k-1" not in shown
        lines = served.cli("show", "--json", "--about", f"s3://{BUCKET}/k-3").output.splitlines()
        assert [json.loads(line)["seq"] for line in lines] == [3]
        lines = served.cli("show", "--json", "--type", "getobject", "-n", "2").output.splitlines()
        assert [json.loads(line)["seq"] for line in lines] == [3, 4]
        for filters in (["--since", "2030-01-01"], ["--who", "nobody"], ["--failed"]):
            assert served.cli("show", "--json", *filters).output == ""
        assert served.cli("show", "--json", "--tenant", ACCESS_KEY).output.count("\n") == 7
        assert "no such log" in served.cli("show", "--tenant", "nobody", code=1).output
        assert LOG in served.cli("list").output


def test_l_08_an_export_verifies_offline_and_a_change_is_found(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        for at in range(5):
            accessed(served, f"k-{at}")
        keys = tmp_path / "journal.pub"
        keys.write_text(served.cli("keys").output)
        served.cli("export", str(tmp_path / "all"), "--json")
        served.cli("export", str(tmp_path / "one"), "--tenant", LOG)
        served.cli("export", str(tmp_path / "one"), code=2)
        proofs = [tmp_path / name for name in ("event.proof", "event.tlog-proof", "event.short")]
        for path, flags in zip(proofs, ([], ["--text"], ["--short"]), strict=True):
            path.write_bytes(served.cli("proof", "2", "--tenant", LOG, *flags).stdout_bytes)
        live = served.cli("verify", "--live", "--json")
        assert json.loads(live.output)["intact"]
    verify = ["verify", "--keys", str(keys)]
    for folder in ("all", "one"):
        assert CLI.invoke(app, [*verify, str(tmp_path / folder)]).exit_code == 0
    for path, code in zip(proofs, (0, 0, 1), strict=True):  # one of two signatures is not enough
        assert CLI.invoke(app, [*verify, str(path)]).exit_code == code
    assert proofs[0].stat().st_size < 5 * 1024 < proofs[1].stat().st_size
    own = CLI.invoke(app, ["verify", str(tmp_path / "all")])
    assert own.exit_code == 0 and "could have made them" in own.output
    path = next((tmp_path / "one" / "logs" / LOG / "events").iterdir())
    path.write_bytes(path.read_bytes().replace(b"s3.GetObject", b"s3.PutObject", 1))
    changed = CLI.invoke(app, [*verify, str(tmp_path / "one")])
    assert changed.exit_code == 1 and "event 0" not in changed.output.split("NOT intact")[1]
    assert "the header was changed" in changed.output


def test_l_03_an_export_of_a_tenant_holds_nothing_of_another(tmp_path: Path) -> None:
    other = "b" * 32
    with serving(tmp_path) as served:
        accessed(served, "k")
        served.run(served.journal.record(other, Event(1, "s3.X", Phase.NOTE, {"who": "canary"})))
        served.cli("export", str(tmp_path / "one"), "--tenant", LOG)
    held = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert held and all(b"canary" not in path.read_bytes() for path in held)
    assert not any(other in str(path) for path in held)


def test_l_06_a_witness_in_a_pipe(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        keys = tmp_path / "journal.pub"
        keys.write_text(served.cli("keys").output)
        witness = ["witness", "--state", str(tmp_path / "w"), "--name", "example.org/w1"]
        known = served.cli(*witness).output.strip()
        for _ in range(2):
            request = served.cli("request").stdout_bytes
            note = CLI.invoke(app, [*witness, "--keys", str(keys)], input=request)
            assert note.exit_code == 0
            assert "cosigned up to" in served.cli("cosign", told=note.stdout_bytes).output
        request = served.cli("request", "--old", "0").stdout_bytes
        again = CLI.invoke(app, [*witness, "--keys", str(keys)], input=request)
        assert again.exit_code == 1 and not again.stdout_bytes
        served.cli("verify", "--live", "--witness", known)
        served.cli("verify", "--live", "--witness", known.replace("w1", "w2"), code=1)
        kept = tmp_path / "kept"
        kept.write_text(served.cli("checkpoint").output)
        served.cli("verify", "--live", "--against", str(kept))
        for none in (b"no note", b"", served.cli("checkpoint").stdout_bytes[:-9], b"\xff" * 99):
            with pytest.raises(AdminRefused, match="no checkpoint") as refused:
                served.client.journal("POST", "/cosign", {}, none)
            assert refused.value.fields["status"] == 400


def test_record_fails_for_whoever_waits_when_the_journal_ends(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        journal = served.journal
        served.run(journal.close())
        with pytest.raises(JournalUnavailable):
            accessed(served, "k")


def test_jrn_02_status_warns_while_acts_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=1)
        async with admin_rig(folder=tmp_path) as rig:
            journal = Journal(JournalConfig(folder=tmp_path / "journal"), keys_with(), env)
            rig.view.journal = journal
            assert not [text for text in rig.view.warnings() if "acts are refused" in text]
            journal.failure = "No space left on device"
            assert "acts are refused: No space left on device" in rig.view.warnings()
            journal._shelf.damaged["cluster"] = LogDamaged(log="cluster")
            assert [text for text in rig.view.warnings() if text.endswith("no events: cluster")]
            journal.unsigned = "Permission denied"
            assert "events of the journal cannot be signed: Permission denied" in (
                rig.view.warnings()
            )
        env.close()

    asyncio.run(main())
