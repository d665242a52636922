"""Where a gateway's admin port is: a Unix socket on this machine, or an address with TLS and a
client certificate. Standard library only.

Not for what is asked there (`gateway.cli.client`), nor for which place is meant
(`gateway.cli.profile`).
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.admin.socket_file import check_socket_path
from gateway.terminal.user_files import reason_of
from storaged.base.config import check_secret_file
from storaged.base.errors import Kind, StorageError

CONNECT_S = 10.0

_URL = re.compile(r"https://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]{1,253}):([0-9]{1,5})/?\Z")


class GatewayNotRunning(StorageError):
    """No gateway answers on the admin socket."""

    kind = Kind.UNAVAILABLE
    hint = "start one with `hexagone up`, or say where it is: --data DIR or --socket PATH"


class GatewayOutOfReach(GatewayNotRunning):
    """No gateway answers at the address of the admin listener."""

    hint = "is [admin] port set in gateway.toml, and does the network let you there?"


class AdminSocketDenied(StorageError):
    """The admin socket belongs to somebody else."""

    kind = Kind.DENIED
    hint = "run the command as the user that runs the gateway"


class AdminCertificateRefused(StorageError):
    """The gateway does not take this certificate, or shows one that is not to be trusted."""

    kind = Kind.DENIED
    hint = "is it of the admin CA, not expired, and --ca that CA's? docs/administrators.md"


class AdminHungUp(StorageError):
    """The gateway hung up without an answer."""

    kind = Kind.UNKNOWN_OUTCOME
    hint = (
        "so it does to a certificate that is expired or not of its admin CA; else look whether it "
        "was done before you do it again"
    )


class AdminAddressInvalid(StorageError):
    """The address or the certificate for the admin listener is not usable."""

    kind = Kind.INVALID
    hint = "https://HOST:PORT with --cert, --key and --ca; docs/administrators.md"


class Place(Protocol):
    """Where to ask."""

    def connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        """A connection that is not open yet. Raises: StorageError."""
        ...

    def meaning_of(self, error: Exception, *, was_open: bool) -> StorageError | None:
        """What an error before the answer means, while connecting or after; None: the connection
        broke.
        """
        ...


class SocketPlace:
    """A Unix socket on this machine. Raises: AdminSocketTooLong."""

    def __init__(self, path: Path) -> None:
        check_socket_path(path)
        self._path = path

    def connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        return _UnixConnection(self._path, timeout_s)

    def meaning_of(self, error: Exception, *, was_open: bool) -> StorageError | None:
        if was_open:
            return None
        if isinstance(error, FileNotFoundError | ConnectionRefusedError | NotADirectoryError):
            return GatewayNotRunning(socket=self._path)
        if isinstance(error, PermissionError):
            return AdminSocketDenied(socket=self._path)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePlace:
    """An admin listener: `url` is https://HOST:PORT, the files are PEM."""

    url: str
    certificate: Path
    key: Path
    authority: Path

    def connection(self, timeout_s: float | None) -> http.client.HTTPConnection:
        host, port = self._address()
        return _TlsConnection(host, port, self._context(), timeout_s)

    def meaning_of(self, error: Exception, *, was_open: bool) -> StorageError | None:
        # A certificate is refused after the client's side of a TLS 1.3 handshake has ended.
        if isinstance(error, ssl.SSLError):
            return AdminCertificateRefused(url=self.url, reason=error.reason or str(error))
        if not was_open:
            return GatewayOutOfReach(url=self.url, reason=str(error))
        if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
            return AdminHungUp(url=self.url)
        return None

    def _address(self) -> tuple[str, int]:
        match = _URL.match(self.url)
        if match is None or not 0 < int(match[2]) < 65536:
            raise AdminAddressInvalid(url=self.url[:100], reason="not https://HOST:PORT")
        return match[1].strip("[]"), int(match[2])

    def _context(self) -> ssl.SSLContext:
        check_secret_file(self.key, "key")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        try:
            context.load_verify_locations(cafile=self.authority)
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise AdminAddressInvalid(
                certificate=self.certificate, authority=self.authority, reason=reason_of(error)
            ) from error
        return context


class _UnixConnection(http.client.HTTPConnection):
    """HTTP/1.1 over a Unix socket."""

    def __init__(self, path: Path, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Open the socket instead of a TCP connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path))


class _TlsConnection(http.client.HTTPSConnection):
    """HTTP/1.1 over TLS; who does not answer is given up soon, an answer may take its time."""

    def __init__(
        self, host: str, port: int, context: ssl.SSLContext, timeout_s: float | None
    ) -> None:
        super().__init__(host, port, timeout=CONNECT_S, context=context)
        self._answer_s = timeout_s

    def connect(self) -> None:
        """Open the connection; from then on its deadline is that of the answer."""
        super().connect()
        self.sock.settimeout(self._answer_s)
