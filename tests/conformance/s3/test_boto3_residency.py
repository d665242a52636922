"""S-01: a bucket with a location constraint, as boto3 uses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway.data.topology import Region, Topology
from storaged.base.ids import DatacenterId, ShardId, StripeFamily, StripeId
from tests.support.refusals import refused
from tests.support.s3_gateway import S3Gateway, running_gateway

pytestmark = pytest.mark.proves("S-01")

PARIS = {"LocationConstraint": "paris"}


@pytest.fixture
def bounded() -> Iterator[S3Gateway]:
    """Two nodes in each of three datacenters; 4+2 needs two of these: "paris" has none too many."""
    with running_gateway() as running:
        bind(running, "paris", "lyon")
        yield running


def bind(running: S3Gateway, *datacenters: str) -> None:
    cluster = running.gateway.cluster
    names = frozenset(DatacenterId(name) for name in datacenters)
    region = Region(number=3, name="paris", datacenters=names)
    cluster.store.set_topology(Topology(1, cluster.topology.nodes, (region,)))
    running.gateway.services.regions = {"paris": 3}


def shards_in(running: S3Gateway, datacenter: str) -> set[StripeId]:
    """Data stripes that nodes of a datacenter have a shard of."""
    found: set[StripeId] = set()
    first = ShardId(StripeId(StripeFamily.DATA, 0, 0), 0)
    for node in running.gateway.cluster.in_datacenter(datacenter):
        page = running.thread.run(node.list(first, None, limit=1000))
        held = {one.shard.stripe for one in page.shards}
        found |= {stripe for stripe in held if stripe.family is StripeFamily.DATA}
    return found


def test_a_location_binds_what_is_put_there(bounded: S3Gateway) -> None:
    s3: Any = bounded.boto()
    s3.create_bucket(Bucket="here", CreateBucketConfiguration=PARIS)
    assert s3.get_bucket_location(Bucket="here")["LocationConstraint"] == "paris"
    assert s3.head_bucket(Bucket="here")["BucketRegion"] == "paris"
    for key, content in (("none", b""), ("small", b"x" * 900), ("large", b"y" * 900_000)):
        s3.put_object(Bucket="here", Key=key, Body=content)
        assert s3.get_object(Bucket="here", Key=key)["Body"].read() == content
    s3.copy_object(Bucket="here", Key="copy", CopySource="here/small")
    assert len(shards_in(bounded, "paris")) == 4
    assert not shards_in(bounded, "marseille")
    s3.put_object(Bucket="bucket", Key="large", Body=b"y" * 900_000)
    assert len(shards_in(bounded, "marseille")) == 1
    for node in bounded.gateway.cluster.in_datacenter("lyon"):
        node.down = True
    bounded.thread.run(bounded.gateway.cluster.health.probe())
    for content in (b"small", b"z" * 900_000):
        with pytest.raises(ClientError) as error:
            s3.put_object(Bucket="here", Key="refused", Body=content)
        assert refused(error) == (503, "ServiceUnavailable")
        s3.put_object(Bucket="bucket", Key="goes-on", Body=content)
    assert s3.get_object(Bucket="bucket", Key="large")["Body"].read() == b"y" * 900_000
    assert "refused" not in str(s3.list_objects_v2(Bucket="here"))


def test_a_location_that_could_take_nothing_is_refused(bounded: S3Gateway) -> None:
    s3: Any = bounded.boto()
    bind(bounded, "paris")
    with pytest.raises(ClientError) as error:
        s3.create_bucket(Bucket="never", CreateBucketConfiguration=PARIS)
    assert refused(error) == (400, "IllegalLocationConstraintException")
    with pytest.raises(ClientError) as error:
        s3.create_bucket(
            Bucket="never", CreateBucketConfiguration={"LocationConstraint": "atlantis"}
        )
    assert refused(error) == (400, "InvalidLocationConstraint")
