"""What no lock and no metadata say of a package: whose it is, where an organisation behind it has
its seat, what it is for, what else its files carry; and where Hexagone connects to.

Not for packages that only build or test.
"""

from __future__ import annotations

from dataclasses import dataclass

PERSONS = "persons"
AIO_LIBS = "aio-libs, a community"
US = "United States"
NONE = "–"


@dataclass(frozen=True, slots=True)
class Origin:
    """Of one package. `licence` is SPDX; `seat` is that of an organisation; `carries` is what its
    files hold that others have written.
    """

    licence: str
    whose: str
    seat: str
    use: str
    carries: str = ""


RUNTIME: dict[str, Origin] = {
    "aiohappyeyeballs": Origin("PSF-2.0", AIO_LIBS, NONE, "of aiohttp"),
    "aiohttp": Origin("Apache-2.0 AND MIT", AIO_LIBS, NONE, "HTTP", "llhttp"),
    "aiosignal": Origin("Apache-2.0", AIO_LIBS, NONE, "of aiohttp"),
    "annotated-doc": Origin("MIT", "FastAPI, a community", NONE, "of typer"),
    "annotated-types": Origin("MIT", PERSONS, NONE, "of pydantic"),
    "asn1crypto": Origin("MIT", PERSONS, NONE, "of python-pkcs11"),
    "attrs": Origin("MIT", PERSONS, NONE, "of aiohttp"),
    "awscrt": Origin(
        "Apache-2.0", "Amazon Web Services, Inc.", US, "CRC-32C and CRC-64; nothing else of it"
    ),
    "cffi": Origin("MIT-0", PERSONS, NONE, "of cryptography", "libffi"),
    "cryptography": Origin(
        "Apache-2.0 OR BSD-3-Clause", "PyCA, a community", NONE, "all cryptography", "OpenSSL"
    ),
    "frozenlist": Origin("Apache-2.0", AIO_LIBS, NONE, "of aiohttp"),
    "idna": Origin("BSD-3-Clause", PERSONS, NONE, "of yarl"),
    "lmdb": Origin("OLDAP-2.8", PERSONS, NONE, "the index", "LMDB, of Symas Corp. (United States)"),
    "markdown-it-py": Origin("MIT", "Executable Books, a community", NONE, "of rich"),
    "mdurl": Origin("MIT", PERSONS, NONE, "of rich"),
    "multidict": Origin("Apache-2.0", AIO_LIBS, NONE, "of aiohttp"),
    "nats-py": Origin(
        "Apache-2.0", "Synadia, under the Linux Foundation", US, "events to a NATS stream"
    ),
    "prometheus-client": Origin("Apache-2.0 AND BSD-2-Clause", "Linux Foundation", US, "metrics"),
    "propcache": Origin("Apache-2.0", AIO_LIBS, NONE, "of aiohttp"),
    "pycparser": Origin("BSD-3-Clause", PERSONS, NONE, "of cffi"),
    "pydantic": Origin("MIT", "Pydantic Services, Inc.", US, "of typer"),
    "pydantic-core": Origin("MIT", "Pydantic Services, Inc.", US, "of pydantic"),
    "pyeclib": Origin(
        "BSD-2-Clause",
        "OpenStack, under the Linux Foundation",
        US,
        "the erasure code, fast",
        "liberasurecode; ISA-L, of Intel Corp. (United States)",
    ),
    "pygments": Origin("BSD-2-Clause", PERSONS, NONE, "of rich"),
    "pyjwt": Origin("MIT", PERSONS, NONE, "tokens of identity providers"),
    "python-pkcs11": Origin("MIT", PERSONS, NONE, "tokens of an HSM"),
    "rich": Origin("MIT", PERSONS, NONE, "what the command prints"),
    "shellingham": Origin("ISC", PERSONS, NONE, "of typer"),
    "tomli-w": Origin("MIT", PERSONS, NONE, "configuration that `hexagone up` writes"),
    "typer": Origin("MIT", "FastAPI, a community", NONE, "the command's arguments"),
    "typing-extensions": Origin("PSF-2.0", "Python Software Foundation", US, "of several"),
    "typing-inspection": Origin("MIT", "Pydantic Services, Inc.", US, "of pydantic"),
    "uvloop": Origin("MIT OR Apache-2.0", "MagicStack, Inc.", "Canada", "the event loop", "libuv"),
    "xxhash": Origin("BSD-2-Clause", PERSONS, NONE, "two of S3's checksums", "xxHash"),
    "yarl": Origin("Apache-2.0", AIO_LIBS, NONE, "URLs"),
    "zfec": Origin(
        "GPL-2.0-or-later", "Tahoe-LAFS, a community", NONE, "the erasure code, by definition"
    ),
}

# How metadata of packages without a licence expression name theirs.
LICENCE_TEXTS: dict[str, str] = {
    "Apache 2.0": "Apache-2.0",
    "ISC License": "ISC",
    "MIT License": "MIT",
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "GPL-2+": "GPL-2.0-or-later",
    "License :: OSI Approved :: MIT License": "MIT",
}

# Module that opens connections → who, to where, and who has said so.
CONNECTS: dict[str, tuple[str, str, str]] = {
    "storaged/remote.py": ("gateway", "its nodes", "`[[nodes]]` of `gateway.toml`"),
    "gateway/keyd/line.py": ("gateway", "its key service", "`[keys]` of `gateway.toml`"),
    "gateway/outside/webhook.py": ("gateway", "webhooks", "`[[event_targets]]`, none by default"),
    "gateway/outside/nats_stream.py": (
        "gateway",
        "NATS streams",
        "`[[event_targets]]`, none by default",
    ),
    "gateway/outside/remote_s3.py": (
        "gateway",
        "S3 endpoints that replicas go to",
        "`[[replication_targets]]`, none by default",
    ),
    "gateway/admin/socket_file.py": (
        "gateway",
        "its own admin socket, at the start, to see whether another gateway has it",
        "`[admin] socket`",
    ),
    "gateway/cli/places.py": (
        "`hexagone`, the command",
        "the admin port of a gateway",
        "`--socket`, `--data`, `--admin`",
    ),
}
