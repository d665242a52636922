"""One connection to the key service, used by one thread at a time, with a deadline for every call.

Not for when to connect or to give up (`gateway.keyd.client`).
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography import x509

from gateway.keyd.refusals import KeydUnavailable, decode_refusal
from gateway.keyd.wire import (
    DONE,
    REQUEST_ID_MAX,
    Message,
    Messages,
    Verb,
    encode_fields,
    encode_message,
)
from storaged.base.env import Env
from storaged.base.errors import ProtocolError, StorageError
from storaged.identity import CertificateRefused

RECEIVE_BYTES = 64 * 1024
MOMENT_S = 0.0001  # zero would mean not to wait at all, and to fail otherwise


class Line:
    """A connection over which the key service has been greeted.

    Raises (on construction): as call; KeydOtherCluster.
    """

    def __init__(
        self, connected: socket.socket, cluster_id: bytes, env: Env, deadline_s: float
    ) -> None:
        self._socket = connected
        self._env = env
        self._messages = Messages(requests=False)
        self._last_id = 0
        self.call(Verb.HELLO, encode_fields("b", [cluster_id]), deadline_s)

    def __repr__(self) -> str:
        return "Line(…)"

    def call(self, verb: Verb, payload: bytes, deadline_s: float) -> bytes:
        """The payload of the answer.

        Raises: OSError, ProtocolError: the connection is of no more use; and what the key service
            refuses with.
        """
        until_s = self._env.monotonic_s() + deadline_s
        self.ask(verb, payload, deadline_s)
        return self.answered(until_s)

    def ask(self, verb: Verb, payload: bytes, deadline_s: float) -> None:
        """Send a request; `answered` has to follow. Raises: OSError."""
        self._last_id = self._last_id % REQUEST_ID_MAX + 1
        self._socket.settimeout(deadline_s)
        with suppress(BrokenPipeError):  # why it was closed is in the answer, if there is one
            self._socket.sendall(encode_message(verb, self._last_id, payload))

    def answered(self, until_s: float) -> bytes:
        """The payload of the answer to the request that was sent last.

        Args:
            until_s: on the monotonic clock. After a TimeoutError one may wait for it again.

        Raises: as call.
        """
        self._socket.settimeout(max(MOMENT_S, until_s - self._env.monotonic_s()))
        answer = self._answer(until_s)
        if answer.request_id not in (self._last_id, 0):
            raise ProtocolError(reason="answer to another request")
        if answer.code == DONE:
            return answer.payload
        raise decode_refusal(answer.payload)

    def _answer(self, until_s: float) -> Message:
        while True:
            data = self._socket.recv(RECEIVE_BYTES)
            if not data:
                raise ConnectionResetError("closed by the key service")
            found = self._messages.receive(data)
            if len(found) > 1:
                raise ProtocolError(reason="more answers than requests", answers=len(found))
            if found:
                return found[0]
            left_s = until_s - self._env.monotonic_s()
            if left_s <= 0:
                raise TimeoutError("no whole answer")
            self._socket.settimeout(left_s)

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


Connect = Callable[[float], socket.socket]
"""A connected socket within so many seconds. Raises: OSError, StorageError."""


def unix_connect(path: Path) -> Connect:
    """Connects to a Unix socket."""

    def connect(deadline_s: float) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(deadline_s)
            made.connect(os.fspath(path))
        except OSError:
            made.close()
            raise
        return made

    return connect


def tls_connect(
    host: str, port: int, context: ssl.SSLContext, check: Callable[[bytes | None], None]
) -> Connect:
    """Connects over TLS. `check` raises CertificateRefused for whom we do not mean."""

    def connect(deadline_s: float) -> socket.socket:
        made: socket.socket = socket.create_connection((host, port), deadline_s)
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made = wrapped = context.wrap_socket(made)
            check(wrapped.getpeercert(binary_form=True))
        except (OSError, StorageError):
            made.close()
            raise
        return made

    return connect


def is_named(uri: str) -> Callable[[bytes | None], None]:
    """A check that a certificate, whose chain is verified, has this URI for its only one."""

    def check(der: bytes | None) -> None:
        try:
            shown = x509.load_der_x509_certificate(der or b"")
            names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (x509.ExtensionNotFound, ValueError) as error:
            raise CertificateRefused(reason="no name", expected=uri) from error
        found = names.get_values_for_type(x509.UniformResourceIdentifier)
        if found != [uri]:
            raise CertificateRefused(reason="not the key service", expected=uri)

    return check


def unavailable(error: Exception) -> KeydUnavailable:
    """What a failed connection means for who has called."""
    return KeydUnavailable(reason=type(error).__name__)
