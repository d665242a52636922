"""Commands about tenants, users, access keys, policies and roles, over the admin port."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
import uvloop
from typer.testing import CliRunner

from gateway.admin.access_api import access_routes
from gateway.admin.access_desk import AccessDesk
from gateway.admin.api import AdminServer
from gateway.cli import access_cli
from gateway.cli.client import AdminClient, AdminRefused
from gateway.meta import accounts, keyspace
from gateway.objects.credentials import SIGNING_KEY_TTL_S, Credentials
from tests.support.access import allowed, document, trust
from tests.support.admin_rig import AdminRig, admin_rig
from tests.support.gateway import BUCKET

CLI = CliRunner()
# RFC 7517, appendix A.1.
JWKS = (
    '{"keys":[{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",'
    '"y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","use":"sig","kid":"1"}]}'
)
APP = typer.Typer()
access_cli.add_commands(APP)


@contextmanager
def serving(folder: Path) -> Iterator[AdminRig]:
    """An admin port in a thread of its own."""
    ready, done = threading.Event(), threading.Event()
    held: list[AdminRig] = []

    async def main() -> None:
        async with admin_rig(folder=folder) as rig:

            async def run_job(name: str) -> object:
                return name

            server = AdminServer(
                view=rig.view,
                scheduler=rig.scheduler,
                run_job=run_job,
                path=folder / "admin.sock",
                env=rig.view.env,
                more=access_routes(AccessDesk(rig.gateway.services)),
            )
            await server.start()
            held.append(rig)
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
        yield held[0]
    finally:
        done.set()
        thread.join(10)


def run(folder: Path, *words: str, code: int = 0) -> Any:
    """What a command says, as JSON; None when it is refused."""
    made = CLI.invoke(APP, [*words, "--json", "--data", str(folder)])
    assert made.exit_code == code, made.output + made.stderr
    return json.loads(made.stdout) if code == 0 else made.stderr


def test_a_tenant_its_users_and_their_rights_from_nothing(tmp_path: Path) -> None:
    (tmp_path / "readers.json").write_text(document(allowed("s3:GetObject")))
    (tmp_path / "trust.json").write_text(trust("arn:aws:iam::*:root".replace("*", "a" * 64)))
    with serving(tmp_path):
        made = run(tmp_path, "tenant", "create", "mairie", "--secret-file", str(tmp_path / "r"))
        assert made["tenant"]["enabled"] and "secret" not in made["access_key"]
        assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o600
        secret = (tmp_path / "r").read_text().split("AWS_SECRET_ACCESS_KEY=")[1].strip()
        assert len(secret) == 40
        of = ["--tenant", "mairie"]
        run(tmp_path, "user", "create", "alice", *of, "--tag", "team=blue")
        run(tmp_path, "group", "create", "readers", *of)
        run(tmp_path, "group", "add", "readers", "--user", "alice", *of)
        run(tmp_path, "policy", "put", "readers", str(tmp_path / "readers.json"), *of)
        run(tmp_path, "policy", "attach", "readers", "--group", "readers", *of)
        role = run(tmp_path, "role", "put", "backup", "--trust", str(tmp_path / "trust.json"), *of)
        assert role["role"]["arn"].endswith(":role/backup")
        run(tmp_path, "policy", "attach", "readers", "--role", "backup", *of)
        (tmp_path / "jwks.json").write_text(JWKS)
        keys = ["--jwks", str(tmp_path / "jwks.json"), "--audience", "s3", "--audience", "x"]
        issuer = ["--issuer", "https://id.example.fr"]
        put = run(tmp_path, "identity-provider", "put", "id", *issuer, *keys, *of)
        assert put["identity_provider"]["audiences"] == ["s3", "x"]
        listed = CLI.invoke(APP, ["identity-provider", "list", *of, "--data", str(tmp_path)])
        assert "https://id.example.fr" in listed.output
        run(tmp_path, "identity-provider", "delete", "id", "--yes", *of)
        key = run(tmp_path, "access-key", "create", "--user", "alice", "--show-secret", *of)
        assert len(key["access_key"]["secret"]) == 40
        shown = run(tmp_path, "user", "show", "alice", *of)["user"]
        assert shown["groups"] == ["readers"] and shown["tags"] == {"team": "blue"}
        assert shown["access_keys"] == [key["access_key"]["access_key_id"]]
        held = run(tmp_path, "policy", "show", "readers", *of)["policy"]
        assert held["attached"] == {"user": [], "group": ["readers"], "role": ["backup"]}
        may = run(tmp_path, "who-may", f"s3://{BUCKET}/k", "--action", "s3:GetObject")
        assert may["asked"] == ["s3:GetObject"]
        assert [(one["kind"], one["tenant"]) for one in may["who"]] == [("root", "tests")]
        assert "is no action, as s3:" in run(
            tmp_path, "who-may", f"s3://{BUCKET}", "--action", "s3:Eat", code=1
        )
        run(tmp_path, "who-may", BUCKET, code=2)
        listed = run(tmp_path, "access-key", "list", *of)["access_keys"]
        assert [one["user"] for one in listed] == ["root", "alice"]
        for words in (["tenant", "list"], ["user", "list", *of], ["access-key", "list", *of]):
            table = CLI.invoke(APP, [*words, "--data", str(tmp_path)])
            assert table.exit_code == 0
            for hidden in (secret, key["access_key"]["secret"]):
                assert hidden not in table.output
        for words in (["policy", "show", "readers"], ["role", "show", "backup"]):
            assert "Statement" in CLI.invoke(APP, [*words, *of, "--data", str(tmp_path)]).output


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('{"Statement":[{"Effect":"Allow"}]}')
    (tmp_path / "good.json").write_text(document(allowed("s3:GetObject")))
    (tmp_path / "there").write_text("precious")
    with serving(tmp_path):
        run(tmp_path, "tenant", "create", "mairie", "--show-secret")
        of = ["--tenant", "mairie"]
        assert "name is taken" in run(
            tmp_path, "tenant", "create", "mairie", "--show-secret", code=1
        )
        run(tmp_path, "user", "create", "alice", *of)
        run(tmp_path, "group", "create", "g", *of)
        run(tmp_path, "group", "add", "g", "--user", "alice", *of)
        run(tmp_path, "policy", "put", "p", str(tmp_path / "good.json"), *of)
        run(tmp_path, "policy", "attach", "p", "--user", "alice", *of)
        for _ in range(2):
            run(tmp_path, "access-key", "create", "--user", "alice", "--show-secret", *of)
        for words, said in (
            (["user", "create", "root", *of], "can have this name"),
            (["user", "create", "a/b", *of], "can have this name"),
            (["user", "create", "alice", *of], "name is taken"),
            (["user", "create", "bob", "--tenant", "nobody"], "There is no"),
            (["access-key", "create", "--user", "alice", "--show-secret", *of], "as many"),
            (["group", "delete", "g", "--yes", *of], "depends"),
            (["policy", "delete", "p", "--yes", *of], "depends"),
            (["policy", "put", "q", str(tmp_path / "bad.json"), *of], "Action"),
            (["policy", "attach", "p", *of], "name one user"),
            (["access-key", "delete", "HXNONE", "--yes"], "There is no"),
        ):
            assert said in run(tmp_path, *words, code=1), words
        for words in (
            ["user", "delete", "alice", *of],  # nobody is asked, and nobody has said yes
            ["tenant", "create", "other"],  # where would its secret go?
            ["tenant", "create", "other", "--secret-file", str(tmp_path / "there")],
            ["user", "create", "bob", "--tag", "x", *of],
        ):
            run(tmp_path, *words, code=2)
        assert (tmp_path / "there").read_text() == "precious"
        names = [one["name"] for one in run(tmp_path, "tenant", "list")["tenants"]]
        assert "mairie" in names and "other" not in names
        missing = tmp_path / "not-made"
        run(
            tmp_path,
            "tenant",
            "create",
            "mairie",
            "--secret-file",
            str(missing),
            code=1,
        )
        assert not missing.exists()
        client = AdminClient(tmp_path / "admin.sock")
        for noun, verb, fields in (("tenant", "eat", {}), ("tenant", "show", {})):
            with pytest.raises(AdminRefused):
                client.access(noun, verb, fields)
        with pytest.raises(AdminRefused, match="no object"):
            client._ask("POST", "/v1/access/tenant/list", b"[1]")


@pytest.mark.proves("K-14")
def test_a_change_counts_within_five_seconds_and_rows_keep_no_clear_secret(tmp_path: Path) -> None:
    with serving(tmp_path) as rig:
        services = rig.gateway.services
        now_s = [1000.0]

        class Clock:
            def monotonic_s(self) -> float:
                return now_s[0]

            def now_ms(self) -> int:
                return int(now_s[0] * 1000)

        held = Credentials(services.log, services.records, Clock())  # type: ignore[arg-type]
        run(tmp_path, "tenant", "create", "mairie", "--show-secret")
        of = ["--tenant", "mairie"]
        run(tmp_path, "user", "create", "alice", *of)
        made = run(tmp_path, "access-key", "create", "--user", "alice", "--show-secret", *of)
        key = made["access_key"]["access_key_id"]
        value = services.log.read((keyspace.access_key_row(key),))[0]
        assert value is not None and made["access_key"]["secret"].encode() not in value
        for off, on in (
            (["user", "disable", "alice", *of], ["user", "enable", "alice", *of]),
            (["access-key", "disable", key], ["access-key", "enable", key]),
            (["tenant", "disable", "mairie", "--yes"], ["tenant", "enable", "mairie"]),
        ):
            assert held.signing_key(key, "20260101", "fr") is not None
            run(tmp_path, *off)
            now_s[0] += SIGNING_KEY_TTL_S + 0.001
            assert held.signing_key(key, "20260101", "fr") is None, off
            run(tmp_path, *on)
        run(tmp_path, "user", "delete", "alice", "--yes", *of)
        now_s[0] += SIGNING_KEY_TTL_S + 0.001
        assert held.signing_key(key, "20260101", "fr") is None
        assert accounts.read_access_key(services.log, services.records, key) is None
