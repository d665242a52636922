"""boto3 1.35, before checksums came by default: see `boto_task`."""

from __future__ import annotations

import boto3

from tests.clients.boto_task import run

__all__ = ["run", "version"]


def version() -> str:
    return str(boto3.__version__)
