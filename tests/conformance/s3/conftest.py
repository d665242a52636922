"""One gateway per module, with three accounts; one bucket per test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.accounts import ALT, THIRD, add_account, boto_of
from tests.support.replica_pair import Pair, paired
from tests.support.s3_gateway import NAMES, S3Gateway, running_gateway


@pytest.fixture(scope="module")
def gateway() -> Iterator[S3Gateway]:
    with running_gateway() as running:
        for account in (ALT, THIRD):
            running.thread.run(add_account(running.gateway.services, account))
        yield running


@pytest.fixture(scope="module")
def s3(gateway: S3Gateway) -> Any:
    """The account that owns the buckets of these fixtures."""
    return gateway.boto()


@pytest.fixture(scope="module")
def alt(gateway: S3Gateway) -> Any:
    """Another account."""
    return boto_of(gateway, ALT)


@pytest.fixture(scope="module")
def nobody(gateway: S3Gateway) -> Any:
    """A client that signs nothing."""
    return boto_of(gateway, None)


@pytest.fixture
def bucket(s3: Any) -> str:
    """A bucket as AWS makes new ones."""
    name = NAMES.next()
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def opened(s3: Any) -> str:
    """A bucket with ACLs in force and nothing blocked."""
    name = NAMES.next()
    s3.create_bucket(Bucket=name, ObjectOwnership="ObjectWriter")
    s3.delete_public_access_block(Bucket=name)
    return name


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[S3Gateway]:
    """Another cluster."""
    with running_gateway() as running:
        yield running


@pytest.fixture
def pair(gateway: S3Gateway, s3: Any, elsewhere: S3Gateway) -> Iterator[Pair]:
    """A bucket and the one of another cluster that it replicates to."""
    with paired(gateway, s3, elsewhere) as made:
        yield made
