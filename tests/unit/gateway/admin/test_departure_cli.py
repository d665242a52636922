"""`hexagone departure`, and `hexagone keys move` where nothing moves, over the admin port."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import typer
import uvloop
from typer.testing import CliRunner

from gateway.admin.api import AdminServer
from gateway.admin.departure_api import departure_routes
from gateway.admin.erasure_api import erasure_routes
from gateway.admin.erasure_desk import ErasureDesk
from gateway.admin.key_desk import KeyDesk
from gateway.admin.key_move_api import key_move_routes
from gateway.admin.key_move_desk import KeyMoveDesk
from gateway.admin.status import ClusterView
from gateway.cli import departure_cli, erasure_cli, keys_app
from gateway.jobs.key_move import NamedKeyMover
from gateway.jobs.rotation import KeyRotation
from gateway.model.departure import DAY_MS
from storaged.base.jobs import Scheduler
from tests.support.erasure_rig import CONFIG, ErasureRig, erasure_rig
from tests.support.gateway import BUCKET

CLI = CliRunner()
app = typer.Typer()
for one in (departure_cli, erasure_cli, keys_app):
    one.add_commands(app)


class Hexagone:
    """The command, and the admin port that it asks."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "admin.sock"
        self.done = threading.Event()
        self.ready = threading.Event()

    def __call__(self, *words: str, code: int = 0) -> str:
        place = ["--socket", str(self.path)]
        words = (words[0], *place, *words[1:]) if words[0] == "erase" else (*words, *place)
        answer = CLI.invoke(app, list(words))
        assert answer.exit_code == code, answer.output
        return answer.output

    def json(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self(*words, "--json"))
        return found

    async def serve(self, rig: ErasureRig) -> None:
        """Answer until the test is done."""
        services = rig.gateway.services
        keys = KeyDesk(services, KeyRotation(services))
        server = AdminServer(
            view=cast(ClusterView, None),
            scheduler=Scheduler(rig.clock),
            run_job=lambda name: asyncio.sleep(0),
            path=self.path,
            env=rig.clock,
            more=[
                *departure_routes(services),
                *erasure_routes(ErasureDesk(services, CONFIG)),
                *key_move_routes(KeyMoveDesk(services, keys, NamedKeyMover(services))),
            ],
        )
        await server.start()
        self.ready.set()
        while not self.done.is_set():
            await asyncio.sleep(0.005)
        await server.close()


@pytest.fixture
def hexagone(tmp_path: Path) -> Iterator[Hexagone]:
    held = Hexagone(tmp_path)

    async def main() -> None:
        async with erasure_rig(tmp_path) as rig:
            await held.serve(rig)

    def serve() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert held.ready.wait(10)
        yield held
    finally:
        held.done.set()
        thread.join(10)


@pytest.mark.proves("E-06")
def test_a_departure_from_notice_to_cancel_with_what_it_keeps_others_from(
    hexagone: Hexagone,
) -> None:
    tests = ("--tenant", "tests")
    assert hexagone.json("departure", "list") == {"departures": []}
    hexagone("departure", "begin", *tests, "--notice-days", "60", "--yes", code=1)
    hexagone("departure", "begin", *tests, "--retrieval-days", "29", "--yes", code=1)
    hexagone("departure", "begin", *tests, code=2)  # nobody can be asked
    (begun,) = hexagone.json("departure", "begin", *tests, "--notice-days", "10", "--yes")[
        "departures"
    ]
    assert (begun["tenant"], begun["phase"]) == ("tests", "notice")
    days = (begun["retrieval_until_ms"] - begun["given_at_ms"]) / DAY_MS
    assert days == 10 + 30 + 30
    assert "leaving" in hexagone("departure", "begin", *tests, "--yes", code=1)
    (longer,) = hexagone.json("departure", "extend", *tests, "--days", "7")["departures"]
    assert longer["retrieval_until_ms"] == begun["retrieval_until_ms"] + 7 * DAY_MS
    planned = hexagone("erase", *tests, "--dry-run")
    assert "can retrieve until" in planned
    refused = hexagone("erase", "--bucket", BUCKET, "--lose", BUCKET, "--yes", code=1)
    assert "only he can delete" in " ".join(refused.split())
    assert "tests" in hexagone("departure", "list")
    (ended,) = hexagone.json("departure", "cancel", *tests, "--yes")["departures"]
    assert ended["phase"] == "cancelled"
    assert ended["erasable_from_ms"] == longer["retrieval_until_ms"]
    hexagone("departure", "cancel", *tests, "--yes", code=1)


def test_where_nothing_moves_nothing_is_moved(hexagone: Hexagone) -> None:
    assert "moves no keys" in hexagone("keys", "move", "--dry-run")
    assert "from_file" in hexagone("keys", "move", "--yes", code=1)
    hexagone("keys", "move", "--disable", "--destroy", code=2)
