"""Which gateway a command means when it is not that of a folder or a socket: options before the
command, the environment, a file in the home folder, in this order.

Not for reaching it: `gateway.cli.places`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.places import AdminAddressInvalid, RemotePlace
from gateway.terminal.remote import GivenPlace
from storaged.base.config import SecretPath, read_config

URL_VARIABLE = "HEXAGONE_ADMIN_URL"
VARIABLES = {
    "certificate": "HEXAGONE_ADMIN_CERT",
    "key": "HEXAGONE_ADMIN_KEY",
    "authority": "HEXAGONE_ADMIN_CA",
}
DATA_VARIABLE = "HEXAGONE_DATA"
FILE = Path("hexagone") / "config.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminProfile:
    """Section [admin] of the file."""

    url: str
    certificate: Path
    key: SecretPath
    authority: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileFile:
    """The file."""

    admin: AdminProfile | None = None


def profile_path(environment: Mapping[str, str]) -> Path:
    """Where the file is, if there is one."""
    home = environment.get("XDG_CONFIG_HOME", "")
    return (Path(home) if home else Path.home() / ".config") / FILE


def remote_place(given: GivenPlace, environment: Mapping[str, str]) -> RemotePlace | None:
    """The admin listener that is meant; None: a socket on this machine is.

    Raises: AdminAddressInvalid, ConfigError.
    """
    url = given.url or environment.get(URL_VARIABLE, "")
    path = profile_path(environment)
    held = None
    if (url or not environment.get(DATA_VARIABLE)) and path.is_file():
        held = read_config(ProfileFile, path).admin
    if not url:
        if any(given):
            raise AdminAddressInvalid(reason="--cert, --key and --ca need --admin URL")
        return None if held is None else _of_profile(held)
    files: dict[str, Path] = {}
    for name, variable in VARIABLES.items():
        text = getattr(given, name) or environment.get(variable, "")
        if not text and held is None:
            raise AdminAddressInvalid(reason=f"{name} is missing (${variable})")
        files[name] = Path(text) if text else getattr(held, name)
    return RemotePlace(url=url, **files)


def _of_profile(held: AdminProfile) -> RemotePlace:
    return RemotePlace(
        url=held.url, certificate=held.certificate, key=held.key, authority=held.authority
    )


def usual_remote(given: GivenPlace) -> RemotePlace | None:
    """As `remote_place`, of this process's environment."""
    return remote_place(given, os.environ)
