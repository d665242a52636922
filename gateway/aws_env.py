"""The file that S3 clients of a cluster are set up from: lines of `export AWS_…`, owner only.

Not for making access keys.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from gateway.config import GatewayConfig
from gateway.meta.accounts import AccessKey
from storaged.base.durable import replace_file

SECRET_CHARACTERS = 40  # of the secrets that are made here


def write_aws_env(
    config: GatewayConfig, path: Path, port: int, key: AccessKey, authority: Path | None
) -> None:
    """`export` lines for S3 clients, readable by the owner only.

    Args:
        authority: certificate that clients check the endpoint's against; None: they have it.
    """
    replace_file(path, _aws_env(config, port, key, authority))


def is_aws_env(
    config: GatewayConfig, path: Path, port: int, key: AccessKey, authority: Path | None
) -> bool:
    """Whether a file is what `write_aws_env` would write, whatever secret it has: that is not read,
    so it does not come into this process.
    """
    wanted = _aws_env(config, port, replace(key, secret="*" * SECRET_CHARACTERS), authority)
    start = wanted.index(b"*" * SECRET_CHARACTERS)
    end = start + SECRET_CHARACTERS
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        rest = len(wanted) - end
        return (
            os.pread(file, start, 0) == wanted[:start]
            and os.pread(file, rest + 1, end) == wanted[end:]
        )
    finally:
        os.close(file)


def _aws_env(config: GatewayConfig, port: int, key: AccessKey, authority: Path | None) -> bytes:
    scheme = "https" if config.s3.certificate is not None else "http"
    lines = {
        "AWS_ACCESS_KEY_ID": key.access_key_id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_ENDPOINT_URL": f"{scheme}://{config.s3.host}:{port}",
        "AWS_REGION": config.cluster.region,
        "AWS_DEFAULT_REGION": config.cluster.region,
    }
    if config.s3.certificate is not None and authority is not None:
        lines["AWS_CA_BUNDLE"] = str(authority)
    return "".join(f"export {name}={value}\n" for name, value in lines.items()).encode()


def secret_in(path: Path, access_key_id: str) -> str:
    """The secret in a file of `write_aws_env`; "" where it has none of this access key."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    held = dict(line.removeprefix("export ").split("=", 1) for line in lines if "=" in line)
    if held.get("AWS_ACCESS_KEY_ID") != access_key_id:
        return ""
    return held.get("AWS_SECRET_ACCESS_KEY", "")
