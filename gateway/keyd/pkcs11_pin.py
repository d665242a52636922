"""The file with a token's PIN, and the rule that a refused PIN is tried once.

Tokens lock after a few wrong PINs, and then their keys may be gone for good. A refusal is therefore
kept in a file, so that a service that is restarted again and again makes no second try: only once
the PIN's file has been written anew is there another. The mark holds no part of the PIN.

Invariants: the PIN is read when it is needed and held by nobody; it is in no error, repr or log.
"""

from __future__ import annotations

import os
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
        mark: where a refusal is kept.
    """

    def __init__(self, path: Path, mark: Path) -> None:
        self._path = path
        self._mark = mark

    def __repr__(self) -> str:
        return f"PinFile({self._path})"

    def read(self) -> str:
        """The PIN.

        Raises: HsmPinRefused: the file is as it was when the token refused it; HsmUnusable: no
            file, readable by others, empty or too long.
        """
        identity = self._identity()
        if self._marked() == identity:
            raise HsmPinRefused(pin_file=self._path, reason="refused before, not tried again")
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

    def refused(self) -> None:
        """Keep in mind that the token refused it. Durable when it returns."""
        replace_file(self._mark, self._identity().encode())

    def accepted(self) -> None:
        """Forget a refusal."""
        self._mark.unlink(missing_ok=True)

    def _identity(self) -> str:
        try:
            status = os.stat(self._path)
        except OSError as error:
            raise HsmUnusable(pin_file=self._path, reason=error.strerror) from error
        return f"{status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_size}"

    def _marked(self) -> str:
        try:
            return self._mark.read_text()
        except OSError:
            return ""
