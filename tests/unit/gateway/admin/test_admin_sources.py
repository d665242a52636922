"""S-03: administrators come from named networks; from elsewhere their certificate opens nothing."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.config_admin import AdminConfig, check_admin
from storaged.base.config import build_config
from storaged.base.errors import ConfigError
from tests.support.admin_plane import AdminPlaneServed, admin_plane_served

pytestmark = pytest.mark.proves("S-03")

REQUEST = b"GET /v1/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
INSIDE, OUTSIDE = "127.0.0.7", "127.0.0.9"


def asked(served: AdminPlaneServed, source: str, name: str = "carole") -> bytes:
    """What somebody with a certificate is answered at an address."""
    context = ssl.create_default_context(cafile=served.folder / "authority.pem")
    context.load_cert_chain(served.folder / f"{name}.pem", served.folder / f"{name}.key")
    got = b""
    address = ("127.0.0.1", served.port)
    with (
        socket.create_connection(address, timeout=10, source_address=(source, 0)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(REQUEST)
        while piece := tls.recv(4096):
            got += piece
    return got


def test_a_connection_from_outside_is_refused_and_recorded(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path, sources=("127.0.0.0/29", "2001:db8::/32")) as served:
        served.add("carole")
        assert asked(served, INSIDE).startswith(b"HTTP/1.1 200 ")
        refused = asked(served, OUTSIDE)
        assert refused.startswith(b"HTTP/1.1 403 ") and b"do not come from 127.0.0.9" in refused
        assert asked(served, OUTSIDE) != b""
        assert served.local.whoami()["name"] == "local-root", "the socket has no address"
        events = [entry for entry in served.entries() if entry.type == "admin.denied"]
        assert [one.body["error"] for one in events] == ["SourceNotTaken"] * 2
        assert {one.body["from"] for one in events} == {f"tls:{OUTSIDE}"}


def test_without_networks_the_certificate_alone_decides(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        served.add("carole")
        assert asked(served, OUTSIDE).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("source", ["10.0.0.1/8", "paris", "", "10.0.0.0/33"])
def test_what_is_no_network_is_refused_at_the_start(tmp_path: Path, source: str) -> None:
    for name in ("admin.pem", "admin.key", "authority.pem"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    whole: dict[str, Any] = {
        "socket": "a.sock",
        "port": 9443,
        "certificate": "admin.pem",
        "key": "admin.key",
        "authority": "authority.pem",
        "sources": ["10.0.0.0/8"],
    }
    check_admin(build_config(AdminConfig, whole, folder=tmp_path), {}, {})
    with pytest.raises(ConfigError, match="a network is"):
        held = build_config(AdminConfig, {**whole, "sources": [source]}, folder=tmp_path)
        check_admin(held, {}, {})
    with pytest.raises(ConfigError, match="for a listener"):
        alone = {"socket": "a.sock", "sources": ["10.0.0.0/8"]}
        check_admin(build_config(AdminConfig, alone, folder=tmp_path), {}, {})
