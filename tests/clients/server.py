"""What a client file gets and may use: the server's address, bytes, commands, checks.

Only the standard library: a client file runs under the Python of its own environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

COMMAND_S = 300.0
MIB = 1024 * 1024
TREE_AGE_S = 60.0


class ClientFailed(Exception):
    """A client did not do, or did not get, what it must."""


@dataclass(frozen=True)
class Server:
    """One endpoint as one client uses it.

    Args:
        client: name of the client, part of its buckets' names.
        scheme: "http" or "https".
        style: "path" or "virtual" (the bucket is in the host name).
        authority: PEM file that the endpoint's certificate is checked against; None for HTTP.
        server_key: base64 of the SHA-256 of the server's public key; "" for HTTP.
    """

    client: str
    scheme: str
    style: str
    port: int
    domain: str
    region: str
    access_key: str
    secret_key: str
    authority: str | None = None
    server_key: str = ""

    @property
    def host(self) -> str:
        """Path style takes the address, virtual-host style the base domain."""
        return self.domain if self.is_virtual else "127.0.0.1"

    @property
    def netloc(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"

    @property
    def is_virtual(self) -> bool:
        return self.style == "virtual"

    def bucket(self, suffix: str = "a") -> str:
        """A bucket name of this client alone; its host names are known for a, b and c."""
        return f"{self.client}-{self.style[0]}-{suffix}".replace("_", "-")

    def environment(self) -> dict[str, str]:
        """What the AWS SDKs and TLS libraries read."""
        chosen = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if self.authority is not None:
            names = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
            chosen |= dict.fromkeys((*names, "NODE_EXTRA_CA_CERTS"), self.authority)
        return chosen

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Server:
        return cls(**json.loads(text))


def clean_environment() -> dict[str, str]:
    """This process's environment without what steers clients elsewhere."""
    ends = ("_CA_BUNDLE", "_PROXY", "_CA_CERTS", "_CA_CERTS_FILE")
    exact = ("SSL_CERT_FILE", "SSL_CERT_DIR", "PYTHONPATH", "PYTHONHOME")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.upper().endswith(ends) and name not in exact
    }


def payload(size: int, seed: int = 0) -> bytes:
    """`size` bytes that no compression shortens, the same for the same seed."""
    return hashlib.shake_128(f"{seed}/{size}".encode()).digest(size)


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def check(condition: object, what: str) -> None:
    """Raises ClientFailed with what was not so."""
    if not condition:
        raise ClientFailed(what)


def same(found: object, wanted: object, what: str) -> None:
    """Raises ClientFailed unless both are equal; long values are cut in its text."""
    if found != wanted:
        raise ClientFailed(f"{what}: {_short(found)}, expected {_short(wanted)}")


def _short(value: object) -> str:
    text = f"{len(value)} bytes {value[:20]!r}" if isinstance(value, bytes) else repr(value)
    return text if len(text) < 300 else text[:300] + "…"


def command(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    code: int = 0,
    timeout_s: float = COMMAND_S,
) -> str:
    """Run a program and return its standard output. Raises ClientFailed for another exit code."""
    words = [str(argument) for argument in arguments]
    done = subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        cwd=cwd,
        input=stdin if stdin is not None else b"",
        capture_output=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != code:
        said = (done.stderr + b"\n" + done.stdout).decode(errors="replace").strip()
        raise ClientFailed(f"{' '.join(words[:4])} … ended with {done.returncode}: {said[-1500:]}")
    return done.stdout.decode(errors="replace")


def make_tree(folder: Path, files: int = 40) -> dict[str, bytes]:
    """A small tree with odd names, an empty file and one of 12 MiB; returns name → bytes.

    It is a minute old: S3 tells times in whole seconds, so a file that is written and stored within
    one second looks newer than its copy, and clients that go by times would send it again.
    """
    wanted = {f"d{number % 5}/file {number}é.bin": payload(700 * number, number)
              for number in range(files)}  # fmt: skip
    wanted["large.bin"] = payload(12 * MIB + 1, 1)
    wanted["a+b=c&d'(1)~.txt"] = b"odd name\n"
    for name, body in wanted.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        written_s = path.stat().st_mtime
        os.utime(path, (written_s - TREE_AGE_S, written_s - TREE_AGE_S))
    return wanted


def read_tree(folder: Path) -> dict[str, bytes]:
    """Name → bytes of every file below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
