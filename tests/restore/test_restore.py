"""Objects come back by docs/data-layout.md alone: volumes of four nodes of six and the root key."""

from __future__ import annotations

import ast
import asyncio
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from gateway.compose import Gateway, open_gateway
from gateway.objects.bootstrap import read_root
from gateway.objects.buckets import create_bucket
from gateway.objects.context import Context, Principal
from gateway.objects.delete import delete_object
from gateway.objects.key_rotation import rotate_bucket_key, rotate_tenant_key
from gateway.objects.named_keys import create_named_key
from gateway.objects.named_rotation import rotate_named_key
from gateway.objects.put import put_object
from gateway.objects.values import PutOptions
from gateway.up import UpOptions, lay_out
from storaged.base.env import RealEnv
from tests.support.gateway import BytesBody

pytestmark = pytest.mark.proves("A-10", "E-05")

SCRIPT = Path(__file__).with_name("restore_object.py")
LINES_MAX = 160
SMALL = b"a few bytes in a commit stripe"
LARGE = Random(7).randbytes(9_000_000)  # two full data stripes of 4+2 and a rest
FORMER = Random(8).randbytes(300_000)


def context_of(gateway: Gateway) -> Context:
    root = read_root(gateway.log, gateway.core.records)
    assert root is not None
    principal = Principal(tenant=root.tenant, access_key_id=root.access_key_id, owner_id="owner")
    return Context(gateway.services, principal, bytes(16), 1e12)


async def fill(folder: Path) -> None:
    """A cluster with objects, one of them overwritten, one deleted; opened twice, so two epochs."""
    env = RealEnv()
    config = lay_out(UpOptions(folder=folder, port=9000, processes=False, tls=False), env)
    gateway = await open_gateway(config, env)
    ctx = context_of(gateway)
    await create_bucket(ctx, "papers", None)
    for key, content in (("large", FORMER), ("gone", SMALL), ("empty", b""), ("large", LARGE)):
        await put_object(ctx, "papers", key, BytesBody(content), PutOptions())
    await gateway.close()
    gateway = await open_gateway(config, env)
    ctx = context_of(gateway)
    assert ctx.principal is not None
    await create_named_key(gateway.services, ctx.principal.tenant, "key")
    await put_object(ctx, "papers", "dir/é", BytesBody(SMALL), PutOptions())
    await delete_object(ctx, "papers", "gone")
    while await gateway.freer.step() == 0:  # shards of the overwritten body are deleted
        pass
    await gateway.close()


async def compact(folder: Path) -> None:
    """Small bodies move to a pack stripe; the log stays, for nothing is freed."""
    env = RealEnv()
    config = lay_out(UpOptions(folder=folder, port=9000, processes=False, tls=False), env)
    gateway = await open_gateway(config, env)
    await gateway.checkpointer.take()
    await gateway.checkpointer.take()
    assert await gateway.compacter.step() > 0
    assert not gateway.compacter.progress().detail.startswith("0 ")
    await gateway.close()


def restore(folder: Path, key: str) -> tuple[int, bytes]:
    output = folder / "restored"
    output.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(folder), "papers", key, str(output)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, output.read_bytes() if done.returncode == 0 else done.stderr


def test_objects_come_back_by_the_document_alone(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "keys" / "tenants.sealed").unlink()
    for name in ("paris-1", "lyon-2"):
        shutil.rmtree(tmp_path / "nodes" / name)
    assert restore(tmp_path, "dir/é") == (0, SMALL)
    assert restore(tmp_path, "empty") == (0, b"")
    assert restore(tmp_path, "large") == (0, LARGE)
    code, error = restore(tmp_path, "gone")
    assert code == 1 and b"no row" in error


def test_bodies_in_pack_stripes_come_back(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))
    asyncio.run(compact(tmp_path))
    for name in ("marseille-1", "marseille-2"):
        shutil.rmtree(tmp_path / "nodes" / name)
    assert restore(tmp_path, "dir/é") == (0, SMALL)
    assert restore(tmp_path, "large") == (0, LARGE)


async def rotate(folder: Path) -> None:
    """All keys; what was under the older ones is under the newest, or some of it not yet."""
    env = RealEnv()
    config = lay_out(UpOptions(folder=folder, port=9000, processes=False, tls=False), env)
    gateway = await open_gateway(config, env)
    ctx = context_of(gateway)
    assert ctx.principal is not None
    opened = gateway.services.buckets.find("papers")
    assert opened is not None
    for number in (1, 2):
        await rotate_tenant_key(gateway.services, ctx.principal.tenant, 0)
        await rotate_named_key(gateway.services, ctx.principal.tenant, "key", 0)
        await rotate_bucket_key(gateway.services, opened.bucket.bucket_id, 0)
        while await gateway.rotation.step() == 0.0 and number == 1:
            pass
    await gateway.close()


def test_objects_come_back_after_keys_were_rotated_and_in_the_middle_of_it(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))
    asyncio.run(rotate(tmp_path))
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "keys" / "tenants.sealed").unlink()
    assert restore(tmp_path, "dir/é") == (0, SMALL)
    assert restore(tmp_path, "large") == (0, LARGE)


def test_a_flipped_bit_is_not_restored_as_content(tmp_path: Path) -> None:
    asyncio.run(fill(tmp_path))
    for name in ("paris-1", "lyon-2"):
        shutil.rmtree(tmp_path / "nodes" / name)
    for path in (tmp_path / "nodes" / "lyon-1").glob("*.vol"):
        raw = bytearray(path.read_bytes())
        for at in range(8_000, len(raw), 4_096):
            raw[at] ^= 1
        path.write_bytes(raw)
    code, _ = restore(tmp_path, "large")
    assert code == 1


def test_the_script_is_short_and_imports_nothing_of_ours() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= LINES_MAX
    modules = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None
            modules.add(node.module.partition(".")[0])
    assert modules - sys.stdlib_module_names == {"zfec", "cryptography"}
