"""Real processes for fault tests: a cluster under `hexagone`, its node processes, and a look inside
once it has stopped.

Not for what one process can show. Everything is ended by process id, and only what was started
here.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from gateway.compose import Gateway, open_gateway
from gateway.config import GatewayConfig
from gateway.config_keys import KeysFrom
from gateway.keyd.child import keyd_beside
from gateway.up import Laid, UpOptions, lay_out, node_identities
from storaged.base.config import read_config
from storaged.base.env import RealEnv
from storaged.base.ids import ShardId, StripeFamily, StripeId
from tests.support.raw_s3 import Credentials, RawClient

BIN = Path(sys.executable).parent
READY_S = 300.0
STALL_S, END_MAX_S = 60.0, 600.0
PORT_TAKEN_S = 90.0
FIRST_SHARD = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
PORT_LOCKS = Path(tempfile.gettempdir()) / f"hexagone-test-ports-{os.getuid()}"
PORT_BLOCKS = range(20_000, 32_000, 200)
PORT_BLOCKS_HELD = 20  # of 60: two workers and what they start find some
_port_locks: dict[int, IO[bytes]] = {}  # held longest first; let go when the process ends
PORTS_OF_A_CLUSTER = (0, 1, *range(101, 107))
SETTLE_ROUNDS_MAX = 8
STEPS_MAX = 100_000


# `storaged` whose wall clock is so many milliseconds ahead.
SHIFTED = """
from storaged.base.env import RealEnv
from storaged.main import app

true_ms = RealEnv.now_ms
RealEnv.now_ms = lambda env: true_ms(env) + {ahead_ms}
app()
"""


class DidNotStart(Exception):
    """A process ended, or said nothing, before it was ready; the text is what it logged."""


def free_port() -> int:
    """The first of the ports that a cluster takes, below the range of outgoing connections. No
    other run of tests gets it until this process ends: a cluster that is stopped comes back to it.
    A process that holds its share of them takes the one again that it has held longest.
    """
    unheld = [
        port for port in random.sample(PORT_BLOCKS, len(PORT_BLOCKS)) if port not in _port_locks
    ]
    held = list(_port_locks)
    for port in held + unheld if len(held) >= PORT_BLOCKS_HELD else unheld + held:
        if all(_is_free(port + offset) for offset in PORTS_OF_A_CLUSTER) and _is_ours(port):
            _port_locks[port] = _port_locks.pop(port)
            return port
    raise AssertionError("no free ports")


def _is_ours(port: int) -> bool:
    """Another run of tests, with a cluster that has not bound it yet, may have chosen it."""
    if port in _port_locks:
        return True
    PORT_LOCKS.mkdir(mode=0o700, exist_ok=True)
    lock = (PORT_LOCKS / str(port)).open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        return False
    _port_locks[port] = lock
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def launch(command: list[str | Path], log: Path) -> subprocess.Popen[str]:
    """Start a process of ours; `await_ready` waits for it."""
    with log.open("ab") as stderr:
        return subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=stderr, text=True
        )


def await_ready(process: subprocess.Popen[str], log: Path) -> subprocess.Popen[str]:
    """Wait for the line that says `ready`. Raises DidNotStart."""
    assert process.stdout is not None
    for line in process.stdout:
        if "ready" in line:
            return process
    process.wait()
    process.stdout.close()
    tail = log.read_text(errors="replace")[-2000:]
    raise DidNotStart(f"exit code {process.returncode}\n{tail}")


def start(command: list[str | Path], log: Path) -> subprocess.Popen[str]:
    """Start a process of ours and wait for its line; while it was down, somebody may have taken its
    port for a time. Raises DidNotStart.
    """
    until_s = time.monotonic() + PORT_TAKEN_S
    while True:
        try:
            return await_ready(launch(command, log), log)
        except DidNotStart as refused:
            if "address already in use" not in str(refused) or time.monotonic() > until_s:
                raise
        time.sleep(1)


def _ended(process: subprocess.Popen[str]) -> int:
    """The exit code of a process that is to end: it is waited for as long as it works. Raises:
    TimeoutExpired.
    """
    until_s = time.monotonic() + END_MAX_S
    worked = None
    while True:
        before, worked = worked, _work_of(process.pid)
        try:
            return process.wait(STALL_S)
        except subprocess.TimeoutExpired:
            if worked == before or time.monotonic() > until_s:
                raise


def _work_of(pid: int) -> tuple[str, ...]:
    """What a process has done so far: processor time, bytes read and written."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (fields[11], fields[12], Path(f"/proc/{pid}/io").read_text())
    except OSError:
        return ()


def end(process: subprocess.Popen[str] | None, how: int = signal.SIGTERM) -> int | None:
    """Send a signal, wait, and return the exit code; kill what does not end."""
    if process is None:
        return None
    if process.poll() is None:
        process.send_signal(how)
    try:
        code = _ended(process)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    return code


@dataclass
class Cluster:
    """Six nodes and a gateway: nodes inside the gateway's process, or with `processes` each in a
    process of its own that this object starts, kills and starts again.
    """

    folder: Path
    processes: bool = False
    keys: KeysFrom = KeysFrom.FILE
    port: int = field(default_factory=free_port)
    gateway: subprocess.Popen[str] | None = None
    nodes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @property
    def laid(self) -> Laid:
        return Laid(self.folder.absolute())

    @property
    def log(self) -> Path:
        return self.folder / "test.log"

    @property
    def pid(self) -> int:
        assert self.gateway is not None
        return self.gateway.pid

    def node_names(self) -> list[str]:
        return [identity.node for identity in node_identities()]

    def lay_out(self) -> None:
        """Keys, certificates and configuration, before anything runs."""
        env = RealEnv(threads_max=1)
        options = UpOptions(
            folder=self.folder, port=self.port, processes=True, tls=False, keys=self.keys
        )
        lay_out(options, env)
        env.close()

    def start(self, *more: str) -> None:
        """Start what does not run, and wait until it is ready. Raises DidNotStart."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.processes:
            up: list[str | Path] = [
                BIN / "hexagone",
                "up",
                "--data",
                self.folder,
                "--port",
                str(self.port),
                "--keys",
                self.keys.value,
                *more,
            ]
            self.gateway = start(up, self.log)
            return
        if not self.laid.config.exists():
            self.lay_out()
        self.start_nodes(*(name for name in self.node_names() if name not in self.nodes))
        config = ["--config", str(self.laid.config)]
        if not self.laid.aws_env.exists():
            ask = [BIN / "hexagone", "gateway", "credentials", *config, "--to", self.laid.aws_env]
            subprocess.run(list(map(str, ask)), check=True, timeout=READY_S, capture_output=True)
        self.gateway = start([BIN / "hexagone", "gateway", "run", *config, *more], self.log)

    def start_nodes(self, *names: str) -> None:
        """Start node processes, side by side. Raises DidNotStart."""
        for name in names:
            config = self.folder / f"{name}.toml"
            command: list[str | Path] = [BIN / "storaged", "run", "--config", config]
            self.nodes[name] = launch(command, self.folder / f"{name}.log")
        for name in names:
            await_ready(self.nodes[name], self.folder / f"{name}.log")

    def start_shifted_node(self, name: str, ahead_s: float) -> None:
        """Start a node process whose wall clock is so far ahead of ours. Raises DidNotStart."""
        code = SHIFTED.format(ahead_ms=round(ahead_s * 1000))
        command: list[str | Path] = [sys.executable, "-c", code, "run", "--config"]
        log = self.folder / f"{name}.log"
        self.nodes[name] = start([*command, self.folder / f"{name}.toml"], log)

    def kill_node(self, name: str) -> None:
        end(self.nodes.pop(name), signal.SIGKILL)

    def wipe_node(self, name: str) -> None:
        """What a stopped node has stored is gone."""
        shutil.rmtree(self.laid.node(name))

    def kill(self) -> None:
        """kill -9 of the gateway."""
        end(self.gateway, signal.SIGKILL)
        self.gateway = None

    def stop_gateway(self) -> int | None:
        """SIGTERM to the gateway; returns its exit code. Node processes stay."""
        gateway, self.gateway = self.gateway, None
        return end(gateway)

    def client(self, timeout_s: float = 30.0) -> RawClient:
        return RawClient("127.0.0.1", self.port, self.credentials(), timeout_s)

    def credentials(self) -> Credentials:
        lines = self.laid.aws_env.read_text().splitlines()
        values = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        return Credentials(
            values["AWS_ACCESS_KEY_ID"], values["AWS_SECRET_ACCESS_KEY"], values["AWS_REGION"]
        )

    def config(self) -> GatewayConfig:
        return read_config(GatewayConfig, self.laid.config)

    def inside(self, look: Callable[[Gateway], Awaitable[None]], *, takeover: bool = False) -> None:
        """Open the stopped gateway in this process, without sockets and with no job but those that
        `look` runs, and look at it.
        """

        async def main() -> None:
            env = RealEnv()
            async with keyd_beside(self.config().keys, env):
                gateway = await open_gateway(self.config(), env, takeover=takeover)
                probing = asyncio.create_task(gateway.core.health.run())
                try:
                    await look(gateway)
                finally:
                    probing.cancel()
                    await gateway.close()
            env.close()

        asyncio.run(main())

    def rebuild(self, *more: str) -> subprocess.CompletedProcess[str]:
        """`hexagone rebuild`, whatever its exit code."""
        command = [BIN / "hexagone", "rebuild", "--config", self.laid.config, "--json", *more]
        return subprocess.run(
            list(map(str, command)), capture_output=True, text=True, timeout=READY_S
        )


@contextmanager
def running(
    folder: Path, *, processes: bool = False, keys: KeysFrom = KeysFrom.FILE
) -> Iterator[Cluster]:
    """A cluster that runs, with a bucket named "bucket"; what still runs at the end is killed."""
    cluster = Cluster(folder, processes=processes, keys=keys)
    try:
        cluster.start()
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
        yield cluster
    finally:
        for process in (cluster.gateway, *cluster.nodes.values()):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                end(process, signal.SIGKILL)


async def settle(gateway: Gateway) -> str:
    """Free, sweep and repair until a whole sweep finds nothing missing and nothing unnamed."""
    detail = ""
    for _ in range(SETTLE_ROUNDS_MAX):
        for name in ("free", "sweep", "repair"):
            await gateway.scheduler.run_round(name)
        detail = gateway.audit.progress().detail
        if detail.startswith("0 missing, 0 unnamed") and "not reached" not in detail:
            break
    return detail


async def shards_on(gateway: Gateway) -> dict[int, set[ShardId]]:
    """Node number → shards it lists."""
    found: dict[int, set[ShardId]] = {}
    for number, node in gateway.core.nodes.items():
        at: ShardId | None = FIRST_SHARD
        found[number] = set()
        while at is not None:
            page = await node.list(at, None, limit=1000)
            found[number] |= {info.shard for info in page.shards}
            at = page.next
    return found


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Ask until it holds; returns how long that took. Raises AssertionError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


def tasks_of(pid: int) -> list[int]:
    """Thread ids in the order the threads were made."""
    return sorted(int(name) for name in os.listdir(f"/proc/{pid}/task"))
