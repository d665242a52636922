"""The clients: where each comes from, and over which of the four ways it is tried.

A client's file is `each/<name>.py` with `run(server, work) -> str` and `version() -> str`.
"""

from __future__ import annotations

from dataclasses import dataclass

Way = tuple[str, str]  # (scheme, style)

HTTP_PATH: Way = ("http", "path")
HTTP_VIRTUAL: Way = ("http", "virtual")
TLS_PATH: Way = ("https", "path")
TLS_VIRTUAL: Way = ("https", "virtual")
WAYS = (HTTP_PATH, HTTP_VIRTUAL, TLS_PATH, TLS_VIRTUAL)


@dataclass(frozen=True)
class Client:
    """One client.

    Args:
        pins: name of the file in `pins/` with the exact versions of its Python environment;
            "" when the project's own Python runs its file.
        packages: Debian packages it needs.
        programs: programs that must be on PATH; for those not of a package they are all there is.
        npm: its file in `pins/` with a lock of npm packages.
        may_be_absent: also with CI=true.
        without: ways it cannot go, with the reason.
        fast: `make test` runs it where it is installed.
        timeout_s: of one run.
        note: how it was set up, where that is not what its manual says first.
    """

    name: str
    title: str
    pins: str = ""
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    npm: str = ""
    devices: tuple[str, ...] = ()
    may_be_absent: bool = False
    without: tuple[tuple[Way, str], ...] = ()
    fast: bool = False
    timeout_s: float = 240.0
    note: str = ""


CLIENTS = (
    Client("boto3_newest", "boto3, newest", pins="boto3_newest", fast=True),
    Client("boto3_1_35", "boto3 1.35", pins="boto3_1_35", fast=True),
    Client("awscli", "AWS CLI", pins="awscli", fast=True),
    Client(
        "s3cmd",
        "s3cmd",
        packages=("s3cmd",),
        programs=("s3cmd",),
        fast=True,
        note="cp and mv with --acl-private: else they put an ACL, refused where ACLs are off",
    ),
    Client(
        "rclone",
        "rclone",
        packages=("rclone",),
        programs=("rclone",),
        fast=True,
        note="the CA by --ca-cert: this version fails by itself when AWS_CA_BUNDLE is set",
    ),
    Client("restic", "restic", packages=("restic",), programs=("restic",), fast=True),
    Client("minio_sdk", "minio, Python SDK", pins="minio_sdk"),
    Client("aiobotocore", "aiobotocore", pins="aiobotocore"),
    Client("fsspec", "fsspec: s3fs", pins="fsspec"),
    Client("pyarrow", "pyarrow: S3FileSystem", pins="pyarrow"),
    Client("obstore", "obstore (Rust object_store)", pins="obstore"),
    Client("django", "Django: django-storages", pins="django"),
    Client(
        "aws_sdk_js",
        "AWS SDK for JavaScript v3",
        packages=("nodejs",),
        programs=("node", "npm"),
        npm="aws_sdk_js",
    ),
    Client(
        "terraform",
        "Terraform or OpenTofu: S3 backend",
        programs=("terraform|tofu",),
        may_be_absent=True,
    ),
    Client(
        "chromium",
        "Chromium, headless",
        pins="boto3_newest",
        packages=("chromium",),
        programs=("chromium",),
        note="over TLS the server's key is pinned by an option; no CA is put into its store",
    ),
    Client(
        "s3fs_fuse",
        "s3fs-fuse",
        packages=("s3fs", "fuse3"),
        programs=("s3fs", "fusermount3"),
        devices=("/dev/fuse",),
        note="over TLS it looks at CURL_CA_BUNDLE at its second try only, so retries=2",
    ),
    Client(
        "pgbackrest",
        "pgBackRest",
        packages=("pgbackrest", "postgresql"),
        programs=("pgbackrest", "runuser"),
        without=tuple((way, "the client speaks TLS only") for way in (HTTP_PATH, HTTP_VIRTUAL)),
        timeout_s=400.0,
        note="path style by the name localhost: its check of certificates knows no addresses",
    ),
    Client(
        "barman",
        "Barman: barman-cloud",
        packages=("barman-cli-cloud", "python3-boto3", "postgresql"),
        programs=("barman-cloud-backup", "runuser"),
        timeout_s=400.0,
        note="Debian's, not an environment of its own: PostgreSQL's user must be able to run it",
    ),
)


def packages() -> list[str]:
    """Debian packages of all clients, sorted, each once."""
    return sorted({package for client in CLIENTS for package in client.packages})
