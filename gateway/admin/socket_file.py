"""The Unix socket of the admin port: bound for its owner alone, a stale one removed, none other.

Not for what is spoken on it.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from storaged.base.errors import Kind, StorageError

SOCKET_PATH_BYTES_MAX = 107  # sun_path has 108, one of them for the NUL
CONNECT_S = 1.0


class AdminSocketTooLong(StorageError):
    """The path of the admin socket is too long for a Unix socket."""

    kind = Kind.INVALID
    hint = "use a shorter data folder, or set admin.socket to a short path"


class AdminSocketTaken(StorageError):
    """The path of the admin socket is in use."""

    kind = Kind.CONFLICT
    hint = "is another gateway running on this folder?"


def check_socket_path(path: Path) -> None:
    """Raises AdminSocketTooLong."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_BYTES_MAX:
        raise AdminSocketTooLong(path_bytes=length, max=SOCKET_PATH_BYTES_MAX)


def bind_socket(path: Path) -> socket.socket:
    """A bound socket of mode 0600, not listening yet: until then nobody can connect, whatever the
    umask made of its mode.

    Raises: AdminSocketTooLong, AdminSocketTaken, OSError.
    """
    check_socket_path(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_stale(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(os.fspath(path))
        os.chmod(path, 0o600)
    except OSError:
        bound.close()
        raise
    return bound


def remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on. Raises AdminSocketTaken for everything else there."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AdminSocketTaken(path=path, reason="there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(CONNECT_S)
        try:
            trial.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            raise AdminSocketTaken(path=path, reason=str(error)) from error
    raise AdminSocketTaken(path=path, reason="somebody listens on it")
