"""A keyring that moves from a sealed file to a token of SoftHSM, and the file of before."""

from __future__ import annotations

from pathlib import Path

from gateway.data.keyring import FileKeyring
from gateway.keyd.moving import MovingKeyring
from storaged.base.env import Env
from tests.support.softhsm import SealingSecret, SoftToken, keyring


def of_before(folder: Path, env: Env) -> FileKeyring:
    """The keyring of a key service without a token."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileKeyring(folder, SealingSecret(), env)


def moving(token: SoftToken, folder: Path, env: Env) -> MovingKeyring:
    """Both, as a key service with `from_file = true` opens them."""
    found = MovingKeyring(
        folder,
        of_before(folder, env),
        keyring(token, folder, env),
        also=("former.sealed",),
        read_again=lambda: keyring(token, folder, env),
    )
    found.begin()
    return found
