"""The admin port over TLS: 1.3 only, with a client certificate of the admin CA at the handshake, so
that nobody else sends or gets a byte of HTTP.

Not for who an administrator is (`gateway.admin.gate`). It serves the same application as the
Unix socket, on an address of its own.

Requirements: A-01, A-02, A-08.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from aiohttp import web

from storaged.base.errors import Kind, StorageError

HANDSHAKE_S = 5.0
BACKLOG = 64


class AdminListenerUnusable(StorageError):
    """The admin listener cannot be opened as it is configured."""

    kind = Kind.INVALID
    hint = "`hexagone ca admin` makes a CA and certificates; docs/administrators.md"


def admin_server_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """TLS of the listener. Raises: AdminListenerUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.num_tickets = 0  # every connection shows its certificate
    try:
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(cafile=authority)
    except OSError as error:
        raise AdminListenerUnusable(
            certificate=certificate, key=key, authority=authority, reason=type(error).__name__
        ) from error
    return context


def check_own_authority(authority: Path, others: list[Path]) -> None:
    """Refuse an admin CA that nodes or S3 clients are verified against too.

    Raises: AdminListenerUnusable.
    """
    own = _certificates(authority)
    if not own:
        raise AdminListenerUnusable(authority=authority, reason="no certificate in it")
    for other in others:
        if own & _certificates(other):
            raise AdminListenerUnusable(
                authority=authority, reason=f"the admin CA is its own: {other} has it too"
            )


def _certificates(path: Path) -> set[bytes]:
    """All CA certificates of a file, as DER. Raises: AdminListenerUnusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:
        raise AdminListenerUnusable(authority=path, reason=type(error).__name__) from error
    return set(context.get_ca_certs(binary_form=True))


class AdminListener:
    """`start`, then `close`."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self._host = host
        self._port = port
        self._context = context
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens, or is to."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"https://{host}:{self.port}"

    @property
    def port(self) -> int:
        """The port, that of the kernel's choice once it listens."""
        if self._server is not None and self._server.sockets:
            return int(self._server.sockets[0].getsockname()[1])
        return self._port

    async def start(self, runner: web.AppRunner) -> None:
        """Serve what the runner serves. Raises: OSError."""
        server = runner.server
        assert server is not None, "the runner is set up"
        self._server = await asyncio.get_running_loop().create_server(
            server,
            self._host,
            self._port,
            ssl=self._context,
            ssl_handshake_timeout=HANDSHAKE_S,
            backlog=BACKLOG,
        )

    async def close(self) -> None:
        """Listen no longer; the runner ends the connections. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
