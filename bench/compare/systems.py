"""The port of a system under comparison, what all of them share, and which are there.

A system is one store in one tier: a peer that can be told to sync more is two systems.
"""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import os
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.cluster import written_bytes
from bench.compare.processes import Daemons, SystemFailed, memory_mib, ports
from bench.exchange import exchange
from bench.heads import Endpoint
from bench.processor import cpu_s

START_S = 120.0
ACCESS_KEY = "GKbe7c40be7c40be7c40be7c40"  # of the form that the strictest peer asks for
SECRET = sha256(b"a secret for loopback").hexdigest()
PROBE_BUCKET = "probe"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a reader has to know of a system to judge its figures.

    Attributes:
        store: name of the software.
        tier: what is on disk when a PUT is answered.
        redundancy: what may be lost.
        notes: anything else that is not alike.
    """

    store: str
    tier: str
    redundancy: str
    notes: str = ""


class System(ABC):
    """One store in one tier, with a folder of its own.

    Attributes:
        name: what columns are called, such as `garage-synced`.
        setting: what the reader has to know of it.
    """

    name: str
    setting: Setting

    def __init__(self, folder: Path, *, tls: bool = False, apart: bool = False) -> None:
        """
        Args:
            folder: made here; all the system's files go there.
            tls: clients speak TLS to it.
            apart: its nodes are processes of their own, where they can be.
        """
        self.folder = folder
        self.tls = tls
        self.apart = apart
        folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def launch(self) -> None:
        """Start the processes, and on the first start do what an administrator has to do once."""

    @abstractmethod
    def stop(self) -> None:
        """End the processes; data stay."""

    @abstractmethod
    def endpoint(self) -> Endpoint:
        """Where S3 is, once launched."""

    @abstractmethod
    def roots(self) -> list[int]:
        """Processes that were started; their descendants are found."""

    def start(self) -> float:
        """Launch, and wait until a PUT is answered with 200.

        Returns:
            Seconds from the launch to the first 200.

        Raises:
            SystemFailed: it did not come that far in time.
        """
        began = time.perf_counter()
        self.launch()
        answer = ""
        while time.perf_counter() - began < START_S:
            try:
                if self._made_bucket(PROBE_BUCKET):
                    status, body = exchange(
                        self.endpoint(), "PUT", f"/{PROBE_BUCKET}/probe", body=b"1", tls=self.tls
                    )
                    if status == 200:
                        return time.perf_counter() - began
                    answer = f"{status} {body[:200]!r}"
            except (OSError, http.client.HTTPException) as failure:
                answer = str(failure)
            time.sleep(0.02)
        raise SystemFailed(f"{self.name} takes no PUT after {START_S} s: {answer}")

    def _made_bucket(self, bucket: str) -> bool:
        status, _ = exchange(self.endpoint(), "HEAD", f"/{bucket}", tls=self.tls)
        if status != 200:
            status, _ = exchange(self.endpoint(), "PUT", f"/{bucket}", tls=self.tls)
        return status == 200

    def make_bucket(self, bucket: str) -> None:
        """
        Raises:
            SystemFailed: it was refused, again and again for ten seconds.
        """
        deadline = time.monotonic() + 10.0
        while not self._made_bucket(bucket):
            if time.monotonic() > deadline:
                raise SystemFailed(f"{self.name} makes no bucket")
            time.sleep(0.2)

    def cpu_s(self) -> float:
        """Processor seconds of all its processes since they began."""
        return cpu_s(self.roots())

    def memory_mib(self) -> tuple[float, float]:
        """(resident memory, of it anonymous) of all its processes, shared pages once."""
        return memory_mib(self.roots())

    def node_to_freeze(self) -> int:
        """The process of one node, not the one that clients speak to, while it runs apart.

        Raises:
            NotImplementedError: there is no such process.
        """
        raise NotImplementedError(f"{self.name} is one process: no node can stand still alone")

    def written_bytes(self) -> int:
        """What its folder takes of the disk: data of files in whole blocks, and directories.

        Space that is only allocated ahead is not counted, logs of the processes neither.
        """
        os.sync()
        return taken(self.folder)


class Daemonic(System):
    """A system of processes that are started here."""

    def __init__(self, folder: Path, *, tls: bool = False, apart: bool = False) -> None:
        super().__init__(folder, tls=tls, apart=apart)
        self.port = ports()  # S3; the following ones are the system's as well
        self.daemons = Daemons(folder)

    def stop(self) -> None:
        self.daemons.stop()

    def roots(self) -> list[int]:
        return self.daemons.pids()

    region = "us-east-1"

    def endpoint(self) -> Endpoint:
        return Endpoint(
            host="127.0.0.1",
            port=self.port,
            authority=f"127.0.0.1:{self.port}",
            access_key_id=ACCESS_KEY,
            secret=SECRET,
            region=self.region,
        )


def write_self_signed(certificate: Path, key: Path) -> None:
    """A certificate for 127.0.0.1 that signs itself, and its key (P-256), both as PEM."""
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(made.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=7))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(made, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key.chmod(0o600)


def taken(folder: Path) -> int:
    """Bytes of the disk below a folder, without holes, what is allocated ahead, and `*.log`."""
    directories = sum(
        os.stat(path).st_blocks * 512 for path, _, _ in os.walk(folder) if os.path.isdir(path)
    )
    logs = sum(log.stat().st_size for log in folder.glob("*.log"))
    return written_bytes(folder) + directories - logs
