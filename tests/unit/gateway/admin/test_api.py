"""The admin port, its client, its CLI, and the health port, over real sockets on this machine."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import typer
import uvloop
from typer.testing import CliRunner

from gateway.admin.api import AdminServer
from gateway.admin.health import HealthServer
from gateway.admin.key_api import key_routes
from gateway.admin.key_desk import KeyDesk
from gateway.admin.named_keys import NamedKeyDesk
from gateway.admin.socket_file import AdminSocketTaken, AdminSocketTooLong, bind_socket
from gateway.cli import keys_app, where_cli
from gateway.cli.client import AdminClient, AdminRefused, GatewayNotRunning
from gateway.cli.status_cli import add_commands, app, parse_url
from gateway.jobs.rotation import KeyRotation
from tests.support.admin_rig import AdminRig, CountingJob, admin_rig
from tests.support.gateway import ACCESS_KEY, BUCKET, SECRET, TENANT

CLI = CliRunner()
keys_app.add_commands(app)
where_cli.add_commands(app)
ODD_KEY = "[red]\x1b[2Jkey"


@contextmanager
def serving(folder: Path, *, lost: str = "") -> Iterator[tuple[Path, AdminRig, list[str]]]:
    """An admin port in a thread of its own; yields its socket, the rig, and jobs that were run."""
    ready, done = threading.Event(), threading.Event()
    ran: list[str] = []
    held: list[Any] = []

    async def main() -> None:
        async with admin_rig(folder=folder) as rig:
            await rig.gateway.put("a/key", b"body")
            await rig.gateway.put(ODD_KEY, b"body")
            if lost:
                await rig.lose(lost)

            async def run_job(name: str) -> dict[str, object]:
                ran.append(name)
                await rig.scheduler.run_round(name)
                return {"rounds": 1}

            server = AdminServer(
                view=rig.view,
                scheduler=rig.scheduler,
                run_job=run_job,
                path=folder / "admin.sock",
                env=rig.view.env,
                keys=NamedKeyDesk(rig.gateway.services),
                more=key_routes(KeyDesk(rig.gateway.services, KeyRotation(rig.gateway.services))),
            )
            held.extend([await server.start(), rig])
            ready.set()
            while not done.is_set():
                await asyncio.sleep(0.01)
            await server.close()

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(10)
        yield held[0], held[1], ran
    finally:
        done.set()
        thread.join(10)
        assert not (folder / "admin.sock").exists()


def test_answers_and_refusals_through_the_client(tmp_path: Path) -> None:
    with serving(tmp_path) as (path, _, ran):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        client = AdminClient(path)
        assert client.status()["tier"]["name"] == "FULL"
        assert client.status()["margins"]["counted_by"] == "now"
        assert client.durability()["production"]["layout"] == "5+4"
        assert client.where(BUCKET, "a/key")["stripe_count"] == 1
        assert client.where(BUCKET, ODD_KEY)["key"] == ODD_KEY
        assert [job["name"] for job in client.jobs()["jobs"]] == ["repair", "count"]
        answers = list(client.run("count"))
        assert answers[0]["job"]["name"] == "count"
        assert answers[-1]["result"] == {"rounds": 1}
        assert answers[-1]["job"]["progress"]["done"] == 3 and ran == ["count"]
        for call, said in (
            (lambda: client.where(BUCKET, "nothing"), "key does not exist"),
            (lambda: client.where(BUCKET, "\udcff"), "not valid UTF-8"),
            (lambda: client.pause("nothing"), "no job of this name"),
            (lambda: list(client.run("nothing")), "no job of this name"),
            (lambda: client._ask("GET", "/v1/nothing"), "Not Found"),
            (lambda: client._ask("DELETE", "/v1/jobs"), "Method Not Allowed"),
            (lambda: client._ask("GET", "/v1/where?bucket=b"), "bucket and key are needed"),
        ):
            with pytest.raises(AdminRefused) as refused:
                call()
            assert said in refused.value.text


def test_named_keys_are_made_for_one_account(tmp_path: Path) -> None:
    with serving(tmp_path) as (path, rig, _):
        client = AdminClient(path)
        assert client.keys(ACCESS_KEY) == {"keys": []}
        client.create_key("zulu", ACCESS_KEY)
        for _ in range(2):
            made = client.create_key("aws/key-1", ACCESS_KEY)
            assert [one["name"] for one in made["keys"]] == ["aws/key-1", "zulu"]
            epochs = [one["epochs"][0] for one in made["keys"]]
            assert {(one["epoch"], one["state"]) for one in epochs} == {(1, "ACTIVE")}
        assert rig.gateway.services.bucket_keys.provider.has_named_key(TENANT, "zulu")
        for name, account, said in (
            ("alias/key", ACCESS_KEY, "No key can have this name"),
            ("", ACCESS_KEY, "No key can have this name"),
            ("a\nb", ACCESS_KEY, "No key can have this name"),
            ("n" * 256, ACCESS_KEY, "No key can have this name"),
            ("key", "HXNOBODY", "no such access key"),
        ):
            with pytest.raises(AdminRefused) as refused:
                client.create_key(name, account)
            assert said in refused.value.text
        shown = CLI.invoke(app, ["keys", "list", "--account", ACCESS_KEY, "--socket", str(path)])
        assert (shown.exit_code, "zulu" in shown.output) == (0, True)
        made = CLI.invoke(
            app, ["keys", "create", "x", "--account", ACCESS_KEY, "--socket", str(path), "--json"]
        )
        assert json.loads(made.output)["keys"][1]["name"] == "x"


def test_a_failing_round_is_refused_without_its_secrets(tmp_path: Path) -> None:
    with serving(tmp_path) as (path, rig, _):
        rig.counting.fails_at = 2
        with pytest.raises(AdminRefused) as refused:
            list(AdminClient(path).run("count"))
        assert "RuntimeError" in refused.value.text and "secret" not in refused.value.text
        rig.counting.fails_at = rig.counting.done + 1
        with pytest.raises(AdminRefused) as refused:
            AdminClient(path)._ask("POST", "/v1/jobs/count/run")
        assert "secret" not in refused.value.text


def test_pause_and_resume_reach_the_scheduler(tmp_path: Path) -> None:
    with serving(tmp_path) as (path, rig, _):
        assert AdminClient(path).pause("count")["job"]["state"] == "paused"
        assert rig.scheduler._slots["count"].paused
        assert AdminClient(path).resume("count")["job"]["state"] == "waiting"
        assert not rig.scheduler._slots["count"].paused


def test_the_commands_print_tables_json_and_exit_codes(tmp_path: Path) -> None:
    with serving(tmp_path, lost="lyon"):
        data = ["--data", str(tmp_path)]
        shown = CLI.invoke(app, ["status", *data])
        assert shown.exit_code == 0, shown.output
        for word in ("tier NODE", "lyon-1", "no answer", "margin", "repair", "takes no shards"):
            assert word in shown.output
        as_json = CLI.invoke(app, ["status", "--json", *data])
        assert json.loads(as_json.stdout)["margins"]["lowest"] == 0
        assert SECRET not in as_json.stdout
        place = CLI.invoke(app, ["where", f"s3://{BUCKET}/{ODD_KEY}", *data])
        assert place.exit_code == 0 and "\x1b" not in place.output
        assert r"[red]\x1b[2Jkey" in place.output and "marseille" in place.output
        assert "not proved" in place.output
        model = CLI.invoke(app, ["durability", "--socket", str(tmp_path / "admin.sock")])
        assert "5+4" in model.output and "5.1, model" in model.output
        listed = CLI.invoke(app, ["jobs", "list", *data], env={"HEXAGONE_DATA": "/elsewhere"})
        assert listed.exit_code == 0 and "repair" in listed.output
        ran = CLI.invoke(
            app, ["jobs", "run", "count", "--json"], env={"HEXAGONE_DATA": str(tmp_path)}
        )
        assert ran.exit_code == 0 and json.loads(ran.stdout)["result"] == {"rounds": 1}
        assert CLI.invoke(app, ["jobs", "pause", "count", *data]).exit_code == 0
        assert CLI.invoke(app, ["jobs", "resume", "count", *data]).exit_code == 0
        refused = CLI.invoke(app, ["where", f"s3://{BUCKET}/nothing", *data])
        assert refused.exit_code == 1 and "does not exist" in refused.stderr
        assert CLI.invoke(app, ["jobs", "run", "nothing", *data]).exit_code == 1


def test_no_gateway_and_wrong_words_exit_with_2(tmp_path: Path) -> None:
    nobody = CLI.invoke(app, ["status", "--data", str(tmp_path)])
    assert nobody.exit_code == 2 and "hexagone up" in nobody.stderr
    bind_socket(tmp_path / "admin.sock").close()
    assert CLI.invoke(app, ["status", "--data", str(tmp_path)]).exit_code == 2
    assert CLI.invoke(app, ["where", "bucket/key"]).exit_code == 2
    assert CLI.invoke(app, ["status", "--socket", "/" + "x" * 120]).exit_code == 2
    for url in ("s3://bucket", "s3://bucket/", "s3:///key", "http://bucket/key"):
        with pytest.raises(Exception, match="s3://BUCKET/KEY"):
            parse_url(url)
    assert parse_url("s3://bucket/a//b%20c/") == ("bucket", "a//b%20c/")


def test_commands_can_be_put_on_another_app() -> None:
    target = typer.Typer()
    add_commands(target)
    assert "durability" in CLI.invoke(target, ["--help"]).output
    assert "resume" in CLI.invoke(target, ["jobs", "--help"]).output


def test_only_a_stale_socket_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    bind_socket(path).close()
    with bind_socket(path) as held:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        held.listen()
        with pytest.raises(AdminSocketTaken, match="listens"):
            bind_socket(path)
    path.unlink()
    path.write_text("precious")
    with pytest.raises(AdminSocketTaken, match="no socket"):
        bind_socket(path)
    assert path.read_text() == "precious"
    with pytest.raises(AdminSocketTooLong):
        bind_socket(Path("/" + "x" * 107))


def test_the_client_names_a_gateway_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GatewayNotRunning):
        AdminClient(tmp_path / "admin.sock").status()


def test_the_health_port_answers_probes() -> None:
    words = [""]

    def fetched(address: tuple[str, int], path: str) -> tuple[int, str, str]:
        try:
            with urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode(), answer.headers["Server"]
        except HTTPError as refused:
            return refused.code, refused.read().decode(), refused.headers["Server"]

    async def main() -> None:
        server = HealthServer(metrics=lambda: b"hexagone_x 1.0\n", not_ready=lambda: words[0])
        address = await server.start("127.0.0.1", 0)

        async def ask(path: str) -> tuple[int, str, str]:
            return await asyncio.to_thread(fetched, address, path)

        assert await ask("/healthz") == (200, "ok\n", "hexagone")
        assert await ask("/readyz") == (200, "ready\n", "hexagone")
        assert await ask("/metrics") == (200, "hexagone_x 1.0\n", "hexagone")
        words[0] = "too-few-nodes"
        assert await ask("/readyz") == (503, "too-few-nodes\n", "hexagone")
        assert (await ask("/healthz"))[0] == 200
        assert (await ask("/v1/status"))[0] == 404
        await server.close()
        with pytest.raises(OSError), socket.create_connection(address, timeout=1):
            pass

    asyncio.run(main())


def test_a_round_goes_on_when_its_client_has_gone(tmp_path: Path) -> None:
    class Slow(CountingJob):
        """Waits for the test at its second step."""

        async def step(self) -> float:
            if self.done == 1:
                reached.set()
                while not released.is_set():
                    await asyncio.sleep(0.01)
            return await super().step()

    reached, released = threading.Event(), threading.Event()
    with serving(tmp_path) as (path, rig, _):
        slow = Slow()
        rig.scheduler._slots["count"].job = slow
        answers = AdminClient(path).run("count")
        assert "result" not in next(answers)
        assert reached.wait(5)
        answers.close()
        released.set()
        for _ in range(500):
            if slow.done == 3:
                break
            threading.Event().wait(0.01)
        assert slow.done == 3
