"""Names of buckets as hosts on loopback, without touching the machine.

Virtual-host style needs `<bucket>.<domain>` to be found by every resolver. The run moves into a
mount namespace of its own, where `/etc/hosts` is a copy with those names; the machine keeps
its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

MARK = "HEXAGONE_CLIENTS_NAMESPACE"
HOSTS = Path("/etc/hosts")


def _unshare() -> list[str] | None:
    """The command prefix that gives a mount namespace; None where there is none to be had."""
    program = shutil.which("unshare")
    if program is None:
        return None
    prefix = [program, "--mount"]
    if os.geteuid() != 0:
        prefix = [program, "--user", "--map-current-user", "--keep-caps", "--mount"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return prefix if tried.returncode == 0 else None


def enter_namespace() -> bool:
    """Start this command again in a namespace of its own; False where that cannot be."""
    if os.environ.get(MARK):
        return True
    prefix = _unshare()
    if prefix is None:
        return False
    os.environ[MARK] = "1"
    words = [*prefix, sys.executable, "-m", "tests.clients", *sys.argv[1:]]
    os.execv(words[0], words)


def name_hosts(names: Iterable[str], work: Path) -> bool:
    """Make the names mean 127.0.0.1 in this namespace; False where it is refused."""
    copy = work / "hosts"
    lines = "".join(f"127.0.0.1 {name}\n" for name in names)
    copy.write_text(HOSTS.read_text() + lines)
    mounted = subprocess.run(
        ["mount", "--bind", str(copy), str(HOSTS)], capture_output=True, check=False
    )
    return mounted.returncode == 0
