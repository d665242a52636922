"""The key service's process: one for a folder; and what it says to whom it turns away."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from gateway.config_keys import KeydConfig
from gateway.keyd import process
from gateway.keyd.line import Line
from gateway.keyd.process import KeydFolderTaken, own_folder, serve_keys
from gateway.keyd.refusals import KeydRefused, encode_refusal
from gateway.keyd.secret import KeydSecret
from gateway.keyd.wire import REFUSED, encode_message
from storaged.base.env import RealEnv
from tests.support.keyd_rig import CLUSTER


@pytest.mark.proves("K-05")
def test_two_key_services_never_have_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would write its own keys over those of the other."""
    env, folder = RealEnv(1), tmp_path / "keyd"
    KeydSecret.create(folder, CLUSTER, env, None)

    async def main() -> None:
        def config(name: str) -> KeydConfig:
            return KeydConfig(
                folder=folder, cluster_id=CLUSTER.hex(), socket=tmp_path / f"{name}.sock"
            )

        first = asyncio.create_task(serve_keys(config("first"), env))
        async with asyncio.timeout(10):
            while not (tmp_path / "first.sock").exists():
                await asyncio.sleep(0.01)
        monkeypatch.setattr(process, "OWN_S", 0.2)
        with pytest.raises(KeydFolderTaken):
            await asyncio.wait_for(serve_keys(config("second"), env), 5)
        # One that is just ending is waited for.
        monkeypatch.setattr(process, "OWN_S", 10.0)
        waiting = asyncio.create_task(own_folder(folder, env))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        first.cancel()
        await asyncio.wait([first])
        os.close(await waiting)

    asyncio.run(main())


def test_who_is_turned_away_before_he_speaks_is_told_why() -> None:
    env = RealEnv(1)
    ours, theirs = socket.socketpair()
    theirs.sendall(encode_message(REFUSED, 0, encode_refusal(KeydRefused(reason="not a user"))))
    theirs.close()
    with pytest.raises(KeydRefused):
        Line(ours, CLUSTER, env, 2.0)
    ours.close()
    silent, gone = socket.socketpair()
    gone.close()
    with pytest.raises(OSError):
        Line(silent, CLUSTER, env, 2.0)
    silent.close()
