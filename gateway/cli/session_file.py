"""Where a command keeps the token of an administrator's session for the next one, and asks for the
code of a new one.

A file for each certificate and gateway, of its owner only, in the user's runtime folder, which is
in memory and is over with his login; where the machine has none, in his cache folder. A token that
is stolen from there is no use without the certificate's private key.

Not for what a session is (`gateway.admin.second_factors`). Requirement: A-02.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import typer

from gateway.cli.places import RemotePlace
from gateway.model.second_factor import is_code
from gateway.terminal.language import say
from storaged.base.config import check_secret_file
from storaged.base.durable import replace_file
from storaged.base.errors import ConfigError, Kind, StorageError

FOLDER = "hexagone"
TOKEN_CHARACTERS_MAX = 256
LINE_CHARACTERS_MAX = 256
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}")


class SessionNotKept(StorageError):
    """The session cannot be kept for the next command."""

    kind = Kind.UNAVAILABLE
    hint = "XDG_RUNTIME_DIR or XDG_CACHE_HOME has to be a folder that you can write to"


class SessionFile:
    """The file of a gateway and a certificate."""

    def __init__(self, place: RemotePlace, environment: Mapping[str, str] = os.environ) -> None:
        self._place = place
        self._environment = environment

    def path(self) -> Path:
        """Where it is, or would be."""
        try:
            certificate = self._place.certificate.read_bytes()
        except OSError:
            certificate = b""  # asking will say so
        name = sha256(self._place.url.encode() + b"\0" + certificate).hexdigest()[:32]
        return session_folder(self._environment) / f"session-{name}"

    def read(self) -> str:
        """See `KeptToken`. A file that others can read or write counts for none."""
        path = self.path()
        try:
            check_secret_file(path, "session")
            with path.open("rb") as file:
                token = file.read(TOKEN_CHARACTERS_MAX + 1).decode("ascii", "replace").strip()
        except (ConfigError, OSError):
            return ""
        return token if _TOKEN.fullmatch(token) else ""

    def keep(self, token: str) -> None:
        """See `KeptToken`. Raises: SessionNotKept."""
        path = self.path()
        try:
            if not token:
                path.unlink(missing_ok=True)
                return
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, token.encode("ascii"), mode=0o600)
        except OSError as error:
            raise SessionNotKept(path=path, reason=error.strerror) from error

    def code(self) -> str:
        """See `KeptToken`."""
        said = typed_secret(say("Code of your second factor"))
        return said if is_code(said) else ""  # a line of something else's is shown to nobody


def session_folder(environment: Mapping[str, str]) -> Path:
    """Folder of the tokens of this user's sessions."""
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    if runtime:
        return Path(runtime) / FOLDER
    cache = environment.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache else Path.home() / ".cache") / FOLDER


def typed_secret(asks: str) -> str:
    """What is typed and not shown; without a terminal, the next line of standard input."""
    if sys.stdin.isatty():
        return "".join(str(typer.prompt(asks, hide_input=True, err=True)).split())
    return "".join(sys.stdin.readline(LINE_CHARACTERS_MAX).split())
