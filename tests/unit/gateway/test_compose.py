"""The parts of a gateway together, on nodes of this process."""

from __future__ import annotations

import asyncio
import shutil
import socket
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.admin.socket_file import AdminSocketTaken, bind_socket
from gateway.commit.manifest import read_segment
from gateway.compose import Gateway, open_gateway
from gateway.data.root_key import ROOT_FILE, RootKeyLost
from gateway.meta.keyspace import STRIPE
from gateway.objects.bootstrap import read_root
from gateway.objects.buckets import create_bucket
from gateway.objects.context import Context, Principal
from gateway.objects.get import get_object
from gateway.objects.put import put_object
from gateway.objects.values import EncryptionAsked, GetOptions, PutOptions
from gateway.up import (
    CAPACITY_BYTES_MIN,
    NODE_PORT_OFFSET,
    NodeDidNotStart,
    NodeProcesses,
    UpOptions,
    lay_out,
)
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError
from tests.support.gateway import BytesBody, content_of

OBJECTS = 80


async def _stripes_in_checkpoints(gateway: Gateway) -> set[bytes]:
    """Row keys of stripes that the segments of both checkpoints hold."""
    keys: set[bytes] = set()
    for manifest in (gateway.checkpointer.newest, gateway.checkpointer.previous):
        assert manifest is not None
        for segment in manifest.segments:
            for batch in await read_segment(gateway.core.store, gateway.core.keys, segment):
                keys.update(write.key for write in batch.writes if write.key[:1] == STRIPE)
    return keys


def test_one_run_of_compact_leaves_neither_emptied_stripes_nor_their_rows(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=2)
        config = lay_out(UpOptions(folder=tmp_path, port=9000, processes=False, tls=False), env)
        gateway = await open_gateway(config, env)
        try:
            key = read_root(gateway.log, gateway.core.records)
            assert key is not None
            root = Principal(tenant=key.tenant, access_key_id=key.access_key_id, owner_id="root")

            def ctx() -> Context:
                return Context(gateway.services, root, bytes(16), env.monotonic_s() + 60)

            await create_bucket(ctx(), "bucket", None)
            for number in range(OBJECTS):  # one by one: each has a commit stripe of its own
                body = BytesBody(bytes(4096))
                await put_object(ctx(), "bucket", f"{number:03d}", body, PutOptions())
            await gateway.run_job("compact")
            rows = gateway.log.scan(STRIPE, b"T", limit=1000)
            assert len(rows) < OBJECTS // 2, "emptied stripes are still there"
            held = await _stripes_in_checkpoints(gateway)
            assert len(held) < OBJECTS // 2, "checkpoints keep rows of stripes that are gone"
        finally:
            await gateway.close()
            env.close()

    asyncio.run(main())


def test_named_keys_come_back_without_the_keyrings_file(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=2)
        config = lay_out(UpOptions(folder=tmp_path, port=9000, processes=False, tls=False), env)
        kms = PutOptions(encryption=EncryptionAsked(kind="aws:kms"))
        for number in range(3):
            gateway = await open_gateway(config, env)
            try:
                key = read_root(gateway.log, gateway.core.records)
                assert key is not None
                root = Principal(tenant=key.tenant, access_key_id=key.access_key_id, owner_id="o")
                ctx = Context(gateway.services, root, bytes(16), env.monotonic_s() + 60)
                if number == 0:
                    await create_bucket(ctx, "bucket", None)
                    head = await put_object(ctx, "bucket", "key", BytesBody(b"content"), kms)
                    assert head.encryption is not None and head.encryption.key_id == "aws/s3"
                read = await get_object(ctx, "bucket", "key", GetOptions())
                assert await content_of(read) == b"content"
            finally:
                await gateway.close()
            for file in (tmp_path / "keys").glob("tenants.sealed"):
                file.unlink()
        env.close()

    asyncio.run(main())


@pytest.mark.proves("K-05")
def test_a_root_key_that_is_gone_is_never_made_again(tmp_path: Path) -> None:
    options, env = UpOptions(folder=tmp_path, port=9000, processes=False, tls=False), RealEnv(1)
    lay_out(options, env)
    (tmp_path / "keys").rename(tmp_path / "lost")
    with pytest.raises(RootKeyLost):
        lay_out(options, env)
    assert not (tmp_path / "keys" / ROOT_FILE).exists()
    (tmp_path / "lost").rename(tmp_path / "keys")
    lay_out(options, env)


def test_a_folder_too_deep_for_sockets_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100)
    with pytest.raises(ConfigError, match="sockets"):
        lay_out(UpOptions(folder=folder, port=9000, processes=False, tls=False), RealEnv())
    assert not folder.exists()


def test_a_folder_whose_cluster_runs_is_left_as_it_is(tmp_path: Path) -> None:
    env = RealEnv()
    first = UpOptions(folder=tmp_path, port=9000, processes=False, tls=False)
    lay_out(first, env)
    before = (tmp_path / "gateway.toml").read_bytes()
    with bind_socket(tmp_path / "admin.sock") as running:
        running.listen()
        with pytest.raises(AdminSocketTaken):
            lay_out(replace(first, port=9300), env)
        assert (tmp_path / "gateway.toml").read_bytes() == before
    lay_out(replace(first, port=9300), env)
    assert (tmp_path / "gateway.toml").read_bytes() != before
    env.close()


def test_where_one_node_does_not_start_none_is_left_running(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1] - NODE_PORT_OFFSET - 1  # that of the first node
            lay_out(UpOptions(folder=tmp_path, port=port, processes=True, tls=False), env)
            with pytest.raises(NodeDidNotStart):
                await NodeProcesses(tmp_path).start()
        for number in range(2, 7):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port + NODE_PORT_OFFSET + number)
        env.close()

    asyncio.run(main())


def test_nodes_that_share_a_drive_do_not_claim_more_than_it_has(tmp_path: Path) -> None:
    env = RealEnv(threads_max=1)
    lay_out(UpOptions(folder=tmp_path, port=9000, processes=True, tls=False), env)
    claimed = [
        tomllib.loads(path.read_text())["capacity_bytes"]
        for path in tmp_path.glob("*.toml")
        if path.name.partition("-")[0] in ("paris", "lyon", "marseille")
    ]
    assert len(claimed) == 6
    least = 6 * CAPACITY_BYTES_MIN
    assert least <= sum(claimed) <= max(least, shutil.disk_usage(tmp_path).total)
