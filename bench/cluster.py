"""A Hexagone cluster of the bench's own: start, stop, kill, look at its memory and its disk.

Everything the bench expects of the command line is in this file: `hexagone up`, the file
`aws.env`, the line `ready`, and the administration verbs at the end.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.heads import Endpoint

ROOT = Path(__file__).resolve().parents[1]
READY = re.compile(rb"(?mi)^\W*ready\b")
START_S = 120.0
STOP_S = 60.0
PROXY_SHIFT = 100  # a proxy listens so much above its node
COMMAND_S = 3600.0


class ClusterFailed(Exception):
    """The cluster did not do what the bench needs."""


def free_port() -> int:
    """An S3 port whose metrics port, node ports and proxy ports are free as well.

    Below the range that the kernel gives to outgoing connections, which would take them.

    Raises:
        ClusterFailed: there is none.
    """
    for port in range(20_000 + os.getpid() % 40 * 300, 32_000, 300):
        try:
            for taken in (port, port + 1, *range(port + 100, port + 120 + PROXY_SHIFT)):
                socket.create_server(("127.0.0.1", taken)).close()
        except OSError:
            continue
        return port
    raise ClusterFailed("no free ports")


def command() -> list[str]:
    """How the `hexagone` command of this environment is started."""
    script = Path(sys.executable).with_name("hexagone")
    if script.exists():
        return [sys.executable, str(script)]
    return [sys.executable, "-c", "import sys; from gateway.main import main; sys.exit(main())"]


def written_bytes(folder: Path) -> int:
    """Bytes of the files below a folder that were written and not punched out again.

    Not `st_blocks`: nodes allocate their volumes 4 MiB ahead and keep a ballast file, so blocks do
    not grow with the first megabytes that are put. What is allocated and unwritten reads as a hole.
    """
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            try:
                fd = os.open(os.path.join(path, name), os.O_RDONLY)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENXIO):  # gone, or a socket
                    continue
                raise
            try:
                total += _extents(fd)
            finally:
                os.close(fd)
    return total


def _extents(fd: int) -> int:
    """Sum of a file's data extents."""
    total = end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data behind this offset
                return total
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        total += end - start


def read_env(file: Path) -> tuple[Endpoint, str]:
    """Address and credentials out of a file of `export AWS_…=…` lines, and the URL's scheme.

    Raises:
        ClusterFailed: the file lacks one, or its URL has no port.
    """
    values: dict[str, str] = {}
    for line in file.read_text("utf-8").splitlines():
        words = shlex.split(line, comments=True)
        if len(words) == 2 and words[0] == "export":
            name, _, value = words[1].partition("=")
            values[name] = value
    try:
        url = urlsplit(values["AWS_ENDPOINT_URL"])
        if url.hostname is None or url.port is None:
            raise ClusterFailed(f"{file}: a URL with a port is needed, not {url.geturl()}")
        endpoint = Endpoint(
            host=url.hostname,
            port=url.port,
            authority=url.netloc,
            access_key_id=values["AWS_ACCESS_KEY_ID"],
            secret=values["AWS_SECRET_ACCESS_KEY"],
            region=values["AWS_REGION"],
        )
    except KeyError as missing:
        raise ClusterFailed(f"{file} has no {missing}") from None
    return endpoint, url.scheme


class Cluster:
    """One data folder and, while it runs, the process that serves it."""

    def __init__(
        self,
        data: Path,
        *,
        flags: tuple[str, ...] = (),
        settings: dict[str, str] | None = None,
    ) -> None:
        """
        Args:
            flags: more words for `hexagone up`.
            settings: more environment variables for it.
        """
        self._settings = settings or {}
        self.data = data
        self.log = data.with_name(data.name + ".log")
        self.port = free_port()
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ClusterFailed("the cluster is not running")
        return self._process.pid

    def start(self) -> float:
        """Start and wait for `ready`.

        Returns:
            Seconds from the start of the process to `ready`.

        Raises:
            ClusterFailed: it ended, or was not ready in time; the message ends with its output.
        """
        words = [*command(), "up", "--data", str(self.data), "--port", str(self.port), *self._flags]
        began = time.perf_counter()
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                words,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self._settings},
            )
        while not READY.search(self.log.read_bytes()):
            if self._process.poll() is not None:
                raise ClusterFailed(f"hexagone up ended: {self._tail()}")
            if time.perf_counter() - began > START_S:
                self.kill()
                raise ClusterFailed(f"not ready after {START_S} s: {self._tail()}")
            time.sleep(0.005)
        return time.perf_counter() - began

    def _tail(self) -> str:
        return self.log.read_text("utf-8", "replace")[-2000:]

    def stop(self) -> None:
        """Ask it to end and wait; a no-op when it is not running."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
                raise ClusterFailed(f"still there {STOP_S} s after {how.name}") from None
            finally:
                self._process = None
        self._process = None

    def endpoint(self) -> Endpoint:
        """Address and credentials out of `aws.env`.

        Raises:
            ClusterFailed: the file lacks one, or the endpoint is not plain HTTP.
        """
        endpoint, scheme = read_env(self.data / "aws.env")
        if scheme != "http":
            raise ClusterFailed(f"the bench speaks plain HTTP, not {scheme}")
        return endpoint

    def peak_mib(self) -> float:
        """Highest resident memory since the start of the process (VmHWM)."""
        return self._memory("VmHWM")

    def resident_mib(self) -> float:
        """Resident memory at this moment (VmRSS)."""
        return self._memory("VmRSS")

    def _memory(self, field: str) -> float:
        text = Path(f"/proc/{self.pid}/status").read_text("ascii")
        found = re.search(rf"{field}:\s+(\d+) kB", text)
        if found is None:
            raise ClusterFailed(f"/proc has no {field}")
        return int(found[1]) / 1024

    def node_bytes(self) -> int:
        """What the nodes hold: volumes and indexes, without what is only allocated ahead."""
        os.sync()
        return written_bytes(self.data / "nodes")

    # The administration verbs the bench needs.

    def run(self, *words: str) -> str:
        """`hexagone WORDS --data DIR`; its output.

        Raises:
            ClusterFailed: it ended with an error.
        """
        done = subprocess.run(
            [*command(), *words, "--data", str(self.data)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode:
            raise ClusterFailed(
                f"hexagone {' '.join(words)}: {(done.stderr or done.stdout)[-600:]}"
            )
        return done.stdout

    def tier(self) -> str:
        """The durability tier writes get, by `hexagone status --json`; "unknown" if not said."""
        try:
            name: str = json.loads(self.run("status", "--json"))["tier"]["name"]
        except (ClusterFailed, ValueError, KeyError, TypeError):
            return "unknown"
        return name

    def compact(self) -> None:
        """Run compaction to its end; it also frees what it left."""
        self.run("jobs", "run", "compact")

    def rebuild(self) -> float:
        """Delete the index of a stopped cluster and rebuild it from the nodes; seconds it took."""
        shutil.rmtree(self.data / "index")
        began = time.perf_counter()
        self.run("rebuild")
        return time.perf_counter() - began


def scratch(parent: Path | None) -> Path:
    """A fresh folder for clusters, on the disk that `parent` is on (default: the system's)."""
    return Path(tempfile.mkdtemp(prefix="hexagone-bench-", dir=parent))
