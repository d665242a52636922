"""Four doors, and every credential at each of them: only its own opens; before a certificate was
verified, no byte of HTTP.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

from gateway.admin.listener import (
    AdminListenerUnusable,
    admin_server_context,
    check_own_authority,
)
from gateway.cli.client import AdminClient, AdminRefused
from gateway.cli.places import AdminCertificateRefused, AdminHungUp, RemotePlace
from gateway.model.administrators import Role
from gateway.objects import users
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.endpoint_certificate import issue_server
from storaged.identity import write_issued
from storaged.remote import RemoteNode
from storaged.tls import s3_server_context
from tests.support import raw_s3
from tests.support.admin_plane import AdminPlaneServed, admin_plane_served
from tests.support.gateway import TENANT
from tests.support.node_link import PARIS_1, Certificates, linked, make_certificates, remote
from tests.support.s3_endpoint import CREDENTIALS, running_endpoint

REQUEST = b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    with admin_plane_served(tmp_path_factory.mktemp("plane")) as found:
        found.add("carole")
        yield found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The cluster's CA, with the certificates of a node, a gateway and the S3 endpoint."""
    found = make_certificates(tmp_path_factory.mktemp("cluster"))
    issued = issue_server(found.authority, ("localhost", "127.0.0.1"), RealEnv())
    write_issued(issued, found.folder / "s3.crt", found.folder / "s3.key")
    return found


def answered(port: int, context: ssl.SSLContext, request: bytes = REQUEST) -> bytes:
    """All bytes that come back before the connection ends; also where TLS ends it."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
                tls.sendall(request)
                while piece := tls.recv(65536):
                    got += piece
                    if b"\r\n\r\n" in got:
                        break
        except (ssl.SSLError, ConnectionError):
            return got
    return got


def context_of(pair: tuple[Path, Path] | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(*pair)
    return context


@pytest.mark.proves("A-02")
def test_no_byte_of_http_without_a_certificate_of_the_admin_ca(
    served: AdminPlaneServed, cluster: Certificates
) -> None:
    folder = cluster.folder
    strangers = [
        None,
        *((folder / f"{n}.crt", folder / f"{n}.key") for n in ("gateway", "node", "s3")),
    ]
    for pair in strangers:
        assert answered(served.port, context_of(pair)) == b"", pair
    carole = (served.folder / "carole.pem", served.folder / "carole.key")
    assert answered(served.port, context_of(carole)).startswith(b"HTTP/1.1 200")


@pytest.mark.proves("A-02")
def test_the_admin_listener_speaks_nothing_older_than_tls_1_3(served: AdminPlaneServed) -> None:
    context = context_of((served.folder / "carole.pem", served.folder / "carole.key"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert answered(served.port, context) == b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as plain:
        plain.sendall(REQUEST)
        assert not plain.recv(65536).startswith(b"HTTP")


@pytest.mark.proves("A-01")
def test_the_listeners_own_certificate_is_no_administrators(served: AdminPlaneServed) -> None:
    pair = (served.folder / "admin.pem", served.folder / "admin.key")
    assert answered(served.port, context_of(pair)) == b""


@pytest.mark.proves("A-01")
def test_an_access_key_opens_no_admin_door(served: AdminPlaneServed) -> None:
    host = f"127.0.0.1:{served.port}"
    headers = raw_s3.sign(CREDENTIALS, "GET", "/v1/status", {"host": host}).headers
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    signed = f"GET /v1/status HTTP/1.1\r\n{lines}\r\n".encode()
    assert answered(served.port, context_of(None), signed) == b""
    client = served.certify("nobody", "No Body", Role.AUDITOR)
    pair = (served.folder / "nobody.pem", served.folder / "nobody.key")
    assert answered(served.port, context_of(pair), signed).startswith(b"HTTP/1.1 403")
    with pytest.raises(AdminRefused, match="no such account"):
        client.status()


@pytest.mark.proves("A-01", "A-08")
def test_an_administrators_certificate_opens_no_node(
    served: AdminPlaneServed, cluster: Certificates
) -> None:
    async def main() -> None:
        async with linked(certificates=cluster) as (own, server):
            await own.status()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.load_cert_chain(served.folder / "carole.pem", served.folder / "carole.key")
            stranger: RemoteNode = remote(server.address, context, call_deadline_s=2)
            with pytest.raises(StorageError):
                await stranger.status()
            await stranger.close()

    asyncio.run(main())
    assert PARIS_1.node == "p1"


@pytest.mark.proves("A-01")
def test_an_administrators_certificate_opens_no_bucket(
    served: AdminPlaneServed, cluster: Certificates
) -> None:
    context = s3_server_context(cluster.folder / "s3.crt", cluster.folder / "s3.key")
    with running_endpoint(ssl_context=context) as endpoint:
        shown = context_of((served.folder / "carole.pem", served.folder / "carole.key"))
        for target in ("/", "/v1/status", "/bucket/key"):
            request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            answer = answered(endpoint.port, shown, request).partition(b"\r\n")[0]
            unknown = answered(endpoint.port, context_of(None), request).partition(b"\r\n")[0]
            assert answer == unknown and answer[9:12] in (b"403", b"404"), answer


@pytest.mark.proves("A-01")
def test_users_and_administrators_are_kept_apart(served: AdminPlaneServed) -> None:
    services = served.rig.gateway.services
    made = [served.run(users.create_user(services, TENANT, name)) for name in ("carole", "zoe")]
    assert [one.name for one in made] == ["carole", "zoe"]
    held = served.local.administrators()["administrators"]
    assert [(one["name"], one["person"]) for one in held] == [("carole", "Carole Roux")]
    served.certify("zoe", "Zoe", Role.AUDITOR)
    with pytest.raises(AdminRefused, match="no such account"):
        AdminClient(served.place("zoe")).status()
    served.run(users.delete_user(services, TENANT, "carole"))
    assert AdminClient(served.place("carole")).whoami()["name"] == "carole"


@pytest.mark.proves("A-01")
def test_the_client_trusts_only_the_admin_ca(
    served: AdminPlaneServed, cluster: Certificates
) -> None:
    place = served.place("carole")
    fooled = RemotePlace(
        url=place.url,
        certificate=place.certificate,
        key=place.key,
        authority=cluster.folder / "ca.crt",
    )
    with pytest.raises(AdminCertificateRefused):
        AdminClient(fooled).status()
    stranger = RemotePlace(
        url=place.url,
        certificate=cluster.folder / "gateway.crt",
        key=cluster.folder / "gateway.key",
        authority=place.authority,
    )
    with pytest.raises(AdminHungUp) as refused:
        AdminClient(stranger).status()
    assert "admin CA" in (refused.value.hint or "")


@pytest.mark.proves("A-01", "A-08")
def test_a_ca_of_another_plane_is_refused_as_admin_ca(
    served: AdminPlaneServed, cluster: Certificates, tmp_path: Path
) -> None:
    other = cluster.folder / "ca.crt"
    copied = tmp_path / "copied.pem"
    both = (served.folder / "authority.pem").read_bytes() + other.read_bytes()
    copied.write_bytes(both)
    with pytest.raises(AdminListenerUnusable, match="its own"):
        check_own_authority(copied, [other])
    check_own_authority(served.folder / "authority.pem", [other])
    with pytest.raises(AdminListenerUnusable):
        admin_server_context(other, cluster.folder / "node.key", other)
