"""One gateway per module, one bucket per test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.s3_gateway import Counter, S3Gateway, running_gateway

NAMES = Counter()


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway() as running:
        yield running


@pytest.fixture(scope="module")
def s3(gateway: S3Gateway) -> Any:
    return gateway.boto()


@pytest.fixture
def bucket(s3: Any) -> str:
    name = NAMES.next()
    s3.create_bucket(Bucket=name)
    return name
