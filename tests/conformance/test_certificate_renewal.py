"""A renewed certificate is shown to new connections; those that are there go on; one that has ended
is refused on both sides.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.jobs.certificates import CertificateWatch
from storaged.base.env import RealEnv
from storaged.identity import issue_gateway, issue_node, write_issued
from storaged.memory import MemoryNode
from storaged.node import NodeUnavailable
from storaged.renewal import CURRENT, Pair, RenewalConfig, Renewer
from storaged.renewal_ca import renew_spool
from storaged.server import NodeServer
from tests.support.node_link import (
    DOMAIN,
    PARIS_1,
    Certificates,
    make_certificates,
    remote,
    shard,
)

DAY_MS = 86_400_000


class Clock(RealEnv):
    """The machine's, some days off."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path)


@pytest.mark.proves("K-10", "C6", "C13")
def test_connections_go_on_and_new_ones_see_the_new_certificate(certificates: Certificates) -> None:
    async def main() -> None:
        env, folder = Clock(threads_max=1), certificates.folder
        # Made some days ago, so that it is due and the new one is good already.
        env.ahead_ms = -4 * DAY_MS
        issued = issue_node(certificates.authority, PARIS_1, env)
        write_issued(issued, folder / "node.crt", folder / "node.key")
        env.ahead_ms = 0
        context = certificates.server()
        node = MemoryNode(PARIS_1)
        server = NodeServer(node, ssl_context=context, domain=DOMAIN, env=env)
        address = await server.start("127.0.0.1", 0)
        client, later = remote(address, certificates.client()), None
        config = RenewalConfig(folder=folder / "own", spool=folder / "spool")
        authority = folder / "ca.crt"
        given = Pair(certificate=folder / "node.crt", key=folder / "node.key")
        renewer = Renewer(given, authority, config, [context], env)
        watch = CertificateWatch({"node": client.certificate_life}, env)
        try:
            await client.put(shard(1), b"a", b"b", fence=None, retain_until_ms=0)
            before = client.certificate_sha256
            await watch.step()
            assert 2.9 < watch.days_left()["node"] < 3.1 and not watch.warnings()
            env.ahead_ms = DAY_MS
            (warning,) = watch.warnings()
            assert "node ends in 2.0 days and was not renewed" in warning
            env.ahead_ms = 0
            await renewer.step()
            ((name, _),) = renew_spool(folder, certificates.authority, config.spool, env)
            assert name.startswith(f"{PARIS_1.node}-")
            await renewer.step()
            assert (config.folder / CURRENT).exists()
            # The running connection goes on, and nothing was restarted.
            await client.put(shard(2), b"a", b"b", fence=None, retain_until_ms=0)
            assert client.certificate_sha256 == before and server.connection_count == 1
            later = remote(address, certificates.client())
            await later.put(shard(3), b"a", b"b", fence=None, retain_until_ms=0)
            assert later.certificate_sha256 not in (None, before)
            await watch.step()
            assert watch.days_left()["node"] > 6.9 and not watch.warnings()
            assert (await node.status()).shard_count == 3
        finally:
            await client.close()
            if later is not None:
                await later.close()
            await server.close()

    asyncio.run(main())


@pytest.mark.proves("C13", "S-01")
@pytest.mark.parametrize("whose", ["node", "gateway"])
def test_a_certificate_that_has_ended_is_refused(certificates: Certificates, whose: str) -> None:
    async def main() -> None:
        env, folder = Clock(threads_max=1), certificates.folder
        env.ahead_ms = -8 * DAY_MS
        client_context = certificates.client()
        if whose == "node":
            issued = issue_node(certificates.authority, PARIS_1, env)
            write_issued(issued, folder / "node.crt", folder / "node.key")
        else:
            issued = issue_gateway(certificates.authority, "gateway-1", env)
            write_issued(issued, folder / "old.crt", folder / "old.key")
            client_context = certificates.client("old")
        node = MemoryNode(PARIS_1)
        server = NodeServer(node, ssl_context=certificates.server(), domain=DOMAIN, env=RealEnv())
        client = remote(await server.start("127.0.0.1", 0), client_context)
        try:
            with pytest.raises(NodeUnavailable):
                await client.put(shard(1), b"a", b"b", fence=None, retain_until_ms=0)
            assert (await node.status()).shard_count == 0
        finally:
            await client.close()
            await server.close()

    asyncio.run(main())
