"""The key service over TCP: mutual TLS 1.3, whom it lets in and whom a gateway takes it for."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.data.keyring import FileKeyring
from gateway.keyd.client import KeydClient
from gateway.keyd.line import is_named, tls_connect
from gateway.keyd.refusals import KeydUnavailable
from gateway.keyd.server import KeydServer
from gateway.keyd.service import KeyService
from gateway.keyd.wire import Verb
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.ids import datacenter_id, node_id
from storaged.identity import (
    Authority,
    CertificateRefused,
    create_authority,
    issue_gateway,
    issue_node,
    node_uri,
    write_authority,
    write_issued,
)
from storaged.node import NodeIdentity
from storaged.tls import node_client_context, node_server_context
from tests.support.keyd_rig import CLUSTER, SECRET

DOMAIN = "hexagone.internal"
KEYD = NodeIdentity(node=node_id("keyd"), datacenter=datacenter_id("paris"), country="fr")
DISK = NodeIdentity(node=node_id("paris-1"), datacenter=datacenter_id("paris"), country="fr")
NAME = node_uri(DOMAIN, KEYD)


class Certificates:
    """What the CA has issued, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.env, self.folder = RealEnv(1), folder
        self.authority = create_authority(DOMAIN, self.env)
        write_authority(self.authority, folder)
        self.ca = folder / "ca.crt"
        self._write("keyd", self.authority, node=KEYD)
        self._write("disk", self.authority, node=DISK)
        self._write("gateway-1", self.authority)
        self._write("gateway-2", self.authority)
        self._write("stranger", create_authority(DOMAIN, self.env))

    def _write(self, name: str, authority: Authority, node: NodeIdentity | None = None) -> None:
        issued = (
            issue_gateway(authority, name, self.env)
            if node is None
            else issue_node(authority, node, self.env)
        )
        write_issued(issued, self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def pair(self, name: str) -> tuple[Path, Path, Path]:
        return self.folder / f"{name}.pem", self.folder / f"{name}.key", self.ca


@contextmanager
def served(made: Certificates, certificate: str) -> Iterator[int]:
    env = RealEnv(2)
    ring = FileKeyring(made.folder / "ring", SECRET, env)
    service = KeyService(ring, CLUSTER, env, cache_s=300.0, provider_name="file")
    ready, ports = threading.Event(), []
    loop, stopping = asyncio.new_event_loop(), asyncio.Event()

    async def main() -> None:
        server = KeydServer(service, env, users=())
        context = node_server_context(*made.pair(certificate))
        ports.append(
            await server.listen_tls("127.0.0.1", 0, context, domain=DOMAIN, gateways=["gateway-1"])
        )
        ready.set()
        await stopping.wait()
        await server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(10)
        loop.close()
        env.close()


@pytest.mark.proves("B-08")
def test_what_is_given_is_counted_under_the_name_in_the_certificate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.keyd")
    made = Certificates(tmp_path)
    context = node_client_context(*made.pair("gateway-1"))
    with served(made, "keyd") as port:
        connect = tls_connect("127.0.0.1", port, context, is_named(NAME))
        client = KeydClient(connect, CLUSTER, made.env, deadline_s=3.0)
        client.call(Verb.CREATE_TENANT_KEY, b"t" * 16)
        client.close()
    (told,) = [one.fields for one in caplog.records if one.getMessage() == "released"]  # type: ignore[attr-defined]
    assert told["gateway"] == "gateway-1" and told["create_tenant_key"] == 1


def call(
    made: Certificates, port: int, gateway: str, context: ssl.SSLContext | None = None
) -> None:
    """One call as a gateway. Raises: StorageError."""
    context = context or node_client_context(*made.pair(gateway))
    connect = tls_connect("127.0.0.1", port, context, is_named(NAME))
    client = KeydClient(connect, CLUSTER, made.env, deadline_s=3.0)
    try:
        client.call(Verb.STATUS)
    finally:
        client.close()


@pytest.mark.proves("K-15", "NOD-04")
def test_only_named_gateways_come_in(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    with served(made, "keyd") as port:
        call(made, port, "gateway-1")
        for other in ("gateway-2", "stranger", "disk"):
            with pytest.raises(StorageError):
                call(made, port, other)
        old = node_client_context(*made.pair("gateway-1"))
        old.minimum_version = ssl.TLSVersion.TLSv1_2
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(KeydUnavailable):
            call(made, port, "gateway-1", old)
        call(made, port, "gateway-1")


@pytest.mark.proves("NOD-04")
def test_a_node_is_not_taken_for_the_key_service(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    with served(made, "disk") as port, pytest.raises(CertificateRefused):
        call(made, port, "gateway-1")


@pytest.mark.parametrize("der", [None, b"", b"no certificate"])
def test_what_is_no_certificate_is_refused(der: bytes | None) -> None:
    with pytest.raises(CertificateRefused):
        is_named(NAME)(der)
