"""The file with a token's PIN, and the rule that a refused PIN is tried once.

Tokens lock after a few wrong PINs, and then their keys may be gone for good. A refusal is therefore
kept in a file, so that a service that is restarted again and again makes no second try: only
another PIN is tried. The mark is the PIN's HMAC under a key of the service, which tells nothing to
who has only the mark; the PIN's file may be a new one at each start, as credentials of systemd are.

Invariants: the PIN is read when it is needed and held by nobody; it is in no error, repr or log.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from gateway.keyd.pkcs11_port import HsmPinRefused, HsmUnusable
from storaged.base.config import check_secret_file
from storaged.base.durable import replace_file
from storaged.base.errors import ConfigError

PIN_BYTES_MAX = 255
REFUSED_FILE = "hsm.pin-refused"


class PinFile:
    """A token's PIN.

    Args:
        path: its file: one line; only its owner can read it.
        mark: where a refusal is kept; without it the PIN is tried again.
        key: 32 secret bytes that nothing else is done with.
    """

    def __init__(self, path: Path, mark: Path, key: bytes) -> None:
        self._path = path
        self._mark = mark
        self._key = key

    def __repr__(self) -> str:
        return f"PinFile({self._path})"

    def read(self) -> str:
        """The PIN.

        Raises: HsmPinRefused: the token has refused it before; HsmUnusable: no file, readable by
            others, empty or too long.
        """
        pin = self._read()
        if hmac.compare_digest(self._marked(), self._digest(pin)):
            raise HsmPinRefused(
                pin_file=self._path, mark=self._mark, reason="refused before, not tried again"
            )
        return pin

    def refused(self) -> None:
        """Keep in mind that the token refused it. Durable when it returns."""
        replace_file(self._mark, self._digest(self._read()))

    def accepted(self) -> None:
        """Forget a refusal."""
        self._mark.unlink(missing_ok=True)

    def _read(self) -> str:
        try:
            check_secret_file(self._path, "pin_file")
            pin = self._path.read_bytes()[: PIN_BYTES_MAX + 2].rstrip(b"\r\n").decode()
        except (OSError, UnicodeDecodeError) as error:
            raise HsmUnusable(pin_file=self._path, reason="not a readable text") from error
        except ConfigError as error:
            raise HsmUnusable(**error.fields) from error
        if not 1 <= len(pin.encode()) <= PIN_BYTES_MAX:
            raise HsmUnusable(pin_file=self._path, reason="empty, or too long")
        return pin

    def _digest(self, pin: str) -> bytes:
        return hmac.digest(self._key, pin.encode(), "sha256").hex().encode()

    def _marked(self) -> bytes:
        try:
            return self._mark.read_bytes()
        except OSError:
            return b""
