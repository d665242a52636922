"""A small PostgreSQL of Debian's for the backup clients; it never runs as root."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

from tests.clients.server import ClientFailed, command

USER = "postgres"


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Postgres:
    """A server in `folder`, run and asked as Debian's `postgres` user when this is root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = _free_port()
        self.binaries = max(
            Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name)
        )
        folder.mkdir()
        self.own(folder)

    def own(self, path: Path) -> None:
        if os.geteuid() == 0:
            shutil.chown(path, USER, USER)

    def as_user(self, *words: str | Path, **options: object) -> str:
        """Run a program as the server's user."""
        prefix = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        return command([*prefix, *words], cwd=self.folder, **options)  # type: ignore[arg-type]

    def create(self, settings: dict[str, str]) -> None:
        """A new cluster with these settings, started."""
        self.as_user(self.binaries / "initdb", "-D", self.data, "--auth=trust", "--no-sync")
        given = {
            "port": str(self.port),
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": f"'{self.folder}'",
            "wal_level": "replica",
            "archive_mode": "on",
            **settings,
        }
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in given.items())
        self.start()

    def start(self) -> None:
        log = self.folder / "postgres.log"
        self.as_user(
            self.binaries / "pg_ctl", "-D", self.data, "-l", log, "-w", "-t", "90", "start"
        )

    def stop(self, mode: str = "fast") -> None:
        self.as_user(self.binaries / "pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def await_promotion(self) -> None:
        """Wait until recovery is over. Raises ClientFailed."""
        for _ in range(600):
            if self.sql("select pg_is_in_recovery()") == "f":
                return
            time.sleep(0.1)
        raise ClientFailed("recovery goes on and on")

    def sql(self, text: str) -> str:
        """The answer to a statement, bare."""
        psql = (self.binaries / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
        where = ("-h", self.folder, "-p", str(self.port), "-U", USER, "-d", "postgres")
        return self.as_user(*psql, *where, "-c", text).strip()
