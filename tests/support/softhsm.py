"""Tokens of SoftHSM for tests: one folder for the whole run, for a module reads its configuration
when it is initialised, and a process initialises it once.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_pin import REFUSED_FILE, PinFile
from gateway.keyd.pkcs11_token import Pkcs11Token
from storaged.base.env import Env

MODULES = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
)
PIN, SO_PIN = "canary-pin-8147", "canary-so-pin-2291"
DEADLINE_S = 20.0
PIN_KEY = bytes(32)

_numbers = itertools.count(1)


def module_path() -> Path:
    """The library. Fails, and skips nothing: `make deb` installs it."""
    chosen = os.environ.get("HEXAGONE_PKCS11_MODULE")
    for path in (Path(chosen),) if chosen else MODULES:
        if path.exists():
            return path
    raise AssertionError("SoftHSM is not installed: run `make deb` (Debian package softhsm2)")


@functools.cache
def _home() -> Path:
    """The folder of this process's tokens; children of it use them as well."""
    home = Path(tempfile.mkdtemp(prefix="hexagone-softhsm-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / "tokens").mkdir()
    config = home / "softhsm2.conf"
    config.write_text(
        f"directories.tokendir = {home / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(config)
    return home


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftToken:
    """A token that was initialised.

    Attributes:
        directory: where SoftHSM keeps it.
    """

    label: str
    directory: Path
    pin_file: Path
    away: Path

    def token(self, folder: Path, env: Env, *, deadline_s: float = DEADLINE_S) -> Pkcs11Token:
        """The token, opened through the module; `folder`: where a refused PIN is kept in mind."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pin = PinFile(self.pin_file, folder / REFUSED_FILE, PIN_KEY)
        return Pkcs11Token(module_path(), self.label, pin, env, deadline_s=deadline_s)

    def take_out(self) -> None:
        """As if it was unplugged."""
        os.rename(self.directory, self.away)

    def put_in(self) -> None:
        """Plug it in again."""
        os.rename(self.away, self.directory)


def suite_token() -> SoftToken:
    """The token that the suite of providers is run on: one of SoftHSM, or a real one where
    HEXAGONE_PKCS11_MODULE, _TOKEN and _PIN_FILE are set (docs/hsm.md).
    """
    found = [os.environ.get(f"HEXAGONE_PKCS11_{name}", "") for name in ("TOKEN", "PIN_FILE")]
    if not all(found):
        return make_token()
    nowhere = Path(os.devnull)
    return SoftToken(label=found[0], directory=nowhere, pin_file=Path(found[1]), away=nowhere)


def make_token() -> SoftToken:
    """An initialised token without keys, of a label of its own."""
    home = _home()
    label = f"token-{os.getpid()}-{next(_numbers)}"
    before = set((home / "tokens").iterdir())
    subprocess.run(
        [
            *("softhsm2-util", "--init-token", "--free", "--label", label),
            *("--so-pin", SO_PIN, "--pin", PIN),
        ],
        check=True,
        capture_output=True,
    )
    (directory,) = set((home / "tokens").iterdir()) - before
    pin_file = home / f"{label}.pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text(PIN + "\n")
    return SoftToken(
        label=label, directory=directory, pin_file=pin_file, away=home / f"{label}.away"
    )


class SealingSecret:
    """A `SealingRoot` for tests."""

    def __init__(self, seed: bytes = b"s") -> None:
        self._seed = seed

    @property
    def cluster_id(self) -> bytes:
        return b"cluster of tests"

    def derive(self, label: str) -> bytes:
        """Uniform enough."""
        return sha256(self._seed + label.encode()).digest()


def keyring(token: SoftToken, folder: Path, env: Env) -> Pkcs11Keyring:
    """A provider over a token."""
    return Pkcs11Keyring(folder, SealingSecret(), token.token(folder, env), env)
