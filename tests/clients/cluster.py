"""A `hexagone up` process for the clients."""

from __future__ import annotations

import base64
import hashlib
import signal
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.up import BASE_DOMAIN, Laid
from tests.clients.server import ClientFailed, Server

ROOT = Path(__file__).resolve().parents[2]
STOP_S = 60.0


class Cluster:
    """Six nodes and a gateway in one process, over HTTP or TLS."""

    def __init__(self, folder: Path, port: int, scheme: str) -> None:
        self.folder = folder
        self.port = port
        self.scheme = scheme
        self.log = folder.parent / f"{folder.name}.log"
        words = [sys.executable, "-m", "gateway.main", "up", "--data", str(folder)]
        words += ["--port", str(port), *(["--tls"] if scheme == "https" else [])]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self.process.stdout is not None
        if not any(line.strip() == "ready" for line in self.process.stdout):
            raise ClientFailed(f"hexagone up ended: {self.log.read_text()[-2000:]}")

    def server(self, client: str, style: str) -> Server:
        """What `client` needs to know."""
        laid = Laid(self.folder)
        lines = laid.aws_env.read_text().splitlines()
        exports = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        is_tls = self.scheme == "https"
        return Server(
            client=client,
            scheme=self.scheme,
            style=style,
            port=self.port,
            domain=BASE_DOMAIN,
            region=exports["AWS_REGION"],
            access_key=exports["AWS_ACCESS_KEY_ID"],
            secret_key=exports["AWS_SECRET_ACCESS_KEY"],
            authority=str(self._authority()) if is_tls else None,
            server_key=_key_digest(laid.certificates / "s3.pem") if is_tls else "",
        )

    def _authority(self) -> Path:
        """A copy beside the cluster's folder, which only its owner may enter."""
        copy = self.folder.parent / "authority.pem"
        if not copy.exists():
            copy.write_bytes(Laid(self.folder).authority.read_bytes())
            copy.chmod(0o644)
        return copy

    def stop(self) -> None:
        """Ask it to end; raises ClientFailed when it did not end well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        if code != 0:
            raise ClientFailed(f"hexagone up ended with {code}: {self.log.read_text()[-2000:]}")


def _key_digest(path: Path) -> str:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    info = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(info).digest()).decode()
