"""The cluster of the sovereignty drill, with keys in a token and some days ahead of the clock; and
how its evidence is forged.

Not for the drill's steps: `tests.acceptance.sovereignty`.
"""

from __future__ import annotations

import calendar
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pkcs11

from tests.acceptance.steps import BIN, StepFailed


class Cluster:
    """One `hexagone up --processes --hsm`, some days ahead of the clock."""

    def __init__(self, folder: Path, port: int, hsm: Path, config: Path) -> None:
        self.folder = folder
        self.port = port
        self._hsm = hsm
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(config)}
        self.environment["PATH"] = f"{BIN}:{self.environment['PATH']}"
        self.process: subprocess.Popen[str] | None = None
        self.node: subprocess.Popen[str] | None = None
        self.days = 0

    def ahead(self) -> dict[str, str]:
        """The environment, with the cluster's clock."""
        if not self.days:
            return self.environment
        shown = subprocess.check_output(
            ["faketime", "-f", f"+{self.days}d", "env"], env=self.environment, text=True
        )
        held = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return {**held, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}

    def start(self, days: int = 0, *more: str) -> None:
        self.days = days
        command = [BIN / "hexagone", "up", "--processes", "--data", self.folder, *more]
        with (self.folder.parent / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port), "--hsm", self._hsm],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.ahead(),
            )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        raise StepFailed("hexagone up ended before it was ready, see up.log")

    def stop(self) -> None:
        for process in (self.process, self.node):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
        self.process = self.node = None

    def run(self, *words: str | Path, stdin: str = "", code: int = 0) -> str:
        """One command of `hexagone`; what it printed. Raises: StepFailed."""
        done = subprocess.run(
            [BIN / "hexagone", *words],
            env={**self.ahead(), "HEXAGONE_DATA": str(self.folder)},
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=600,
        )
        if done.returncode != code:
            shown = " ".join(map(str, words))
            raise StepFailed(f"hexagone {shown}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if not code else done.stdout + done.stderr

    def ask(self, *words: str | Path) -> Any:
        """What a command answers as JSON."""
        return json.loads(self.run(*words, "--json"))


def changed_letter(content: bytes) -> bytes:
    """The same with one hexadecimal digit in its middle changed."""
    at = len(content) // 2
    while content[at : at + 1] not in b"0123456789":
        at += 1
    return content[:at] + (b"1" if content[at : at + 1] == b"0" else b"0") + content[at + 1 :]


def dropped_line(content: bytes) -> bytes:
    """The same without the line before the last."""
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:-2] + lines[-1:])


def brief(report: dict[str, Any]) -> str:
    """What a rotation says of itself."""
    return f"{report['done']} of {report['total']} rows to epoch {report['epoch']}"


def next_month() -> time.struct_time:
    """The first instant of the next month, UTC."""
    now = time.gmtime()
    years, month = divmod(now.tm_mon, 12)
    return time.gmtime(calendar.timegm((now.tm_year + years, month + 1, 1, 0, 0, 0)))


def look_into_token(module: Path, pin: str) -> str:
    """What the token itself says of the keys in it. Raises: StepFailed."""
    token = pkcs11.lib(str(module)).get_token(token_label="drill")
    attribute, count = pkcs11.Attribute, 0
    with token.open(user_pin=pin) as session:
        for key in session.get_objects({attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY}):
            if not key[attribute.SENSITIVE] or key[attribute.EXTRACTABLE]:
                raise StepFailed("a key could leave the token")
            try:
                key[attribute.VALUE]
            except pkcs11.exceptions.AttributeSensitive:
                count += 1
            else:
                raise StepFailed("the token gave a key away")
    if count < 2:
        raise StepFailed(f"{count} keys in the token; the root's and the tenant's are wanted")
    return f"{count} AES keys, sensitive, not extractable; it gives none of them away"


def wait_until_closed(cluster: Cluster, tenant: str, wait_s: float) -> None:
    """Until the tenant's journal tells that the hours of this month are closed."""
    deadline, wanted = time.monotonic() + wait_s, calendar.timegm(next_month()) // 3600 - 1
    words = ("--tenant", tenant, "--type", "usage.closed", "-n", "1", "--json")
    while time.monotonic() < deadline:
        said = cluster.run("journal", "show", *words).strip()
        if said and json.loads(said)["hour"] >= wanted:
            return
        time.sleep(1)
    raise StepFailed(f"the month is not closed within {wait_s:.0f} s")
