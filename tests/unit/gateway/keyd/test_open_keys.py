"""Bucket keys that a key service keeps open: dropped when their time is over, or their key's."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.data.envelope import TenantKeyDisabled
from gateway.data.keyring import FileKeyring
from gateway.keyd.refusals import KeydUnavailable
from gateway.keyd.server import KeydServer
from gateway.keyd.service import KeyService
from gateway.keyd.wire import Verb, encode_fields
from gateway.model.key_states import KeyState
from storaged.base.env import RealEnv
from tests.support.keyd_rig import CLUSTER, SECRET

TENANT, BUCKET = b"t" * 16, b"b" * 16


@pytest.mark.proves("K-10")
def test_no_bucket_key_stays_open_under_a_key_whose_end_has_begun(tmp_path: Path) -> None:
    """As where a token is away: it refuses the key from here on, and says that it is away."""

    class Away(FileKeyring):
        def set_tenant_epoch(self, *values: Any) -> None:
            super().set_tenant_epoch(*values)
            raise KeydUnavailable

    env = RealEnv(1)
    ring = Away(tmp_path, SECRET, env)
    ring.create_tenant_key(TENANT)
    service = KeyService(ring, CLUSTER, env, cache_s=300.0, provider_name="away")
    wrapped = ring.wrap_bucket_key(TENANT, BUCKET, 1, b"k" * 32)
    asked = encode_fields("bbiib", [TENANT, BUCKET, 1, 1, wrapped])
    service.answer(Verb.OPEN_BUCKET_KEY, asked)
    assert service.is_warm(Verb.OPEN_BUCKET_KEY, asked)
    FileKeyring.set_tenant_epoch(ring, TENANT, 1, KeyState.DISABLED)
    with pytest.raises(KeydUnavailable):
        service.answer(Verb.SET_TENANT_EPOCH, encode_fields("bisb", [TENANT, 1, "DESTROYED", b""]))
    assert not service.is_warm(Verb.OPEN_BUCKET_KEY, asked)
    with pytest.raises(TenantKeyDisabled):
        service.answer(Verb.OPEN_BUCKET_KEY, asked)


def test_keys_are_swept_while_no_provider_works(tmp_path: Path) -> None:
    env = RealEnv(1)

    async def main() -> None:
        service = KeyService(
            FileKeyring(tmp_path, SECRET, env), CLUSTER, env, cache_s=1.0, provider_name="slow"
        )
        server = KeydServer(service, env, users=(os.geteuid(),), is_slow=True)
        found: list[bool] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gateway.keyd.server.SWEEP_S", 0.001)
            patch.setattr(service, "drop_expired", lambda: found.append(server._lane.locked()))
            await server.listen_unix(tmp_path / "s")
            async with asyncio.timeout(5):
                while len(found) < 2:
                    await asyncio.sleep(0.002)
            await server.close()
        assert all(found)

    asyncio.run(main())
