"""Two gateways, and a bucket of one that replicates to a bucket of the other.

Not for a target that a test shapes by hand: `tests.support.replica_there`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gateway.jobs.replication import Replicator
from gateway.outside.remote_s3 import RemoteBucket, RemoteS3
from tests.support.gateway import ACCESS_KEY, SECRET
from tests.support.s3_gateway import NAMES, REGION, S3Gateway

ROLE = "arn:aws:iam::000000000000:role/any"


@dataclass
class Pair:
    """A bucket and the one it replicates to."""

    here: Any
    there: Any
    source: str
    gateway: S3Gateway
    other: S3Gateway
    target: RemoteS3

    def run(self, rounds: int = 3) -> None:
        """Replicate what waits."""
        job = Replicator(self.gateway.gateway.services, {"replica": self.target})
        for _ in range(rounds):
            self.gateway.thread.run(job.step())

    def status(self, key: str, **version: str) -> str:
        head = self.here.head_object(Bucket=self.source, Key=key, **version)
        return str(head.get("ReplicationStatus", ""))


@contextmanager
def paired(gateway: S3Gateway, s3: Any, other: S3Gateway) -> Iterator[Pair]:
    """A versioned bucket at each gateway; the one of `other` is the target `replica` here."""
    there = other.boto()
    name, source = NAMES.next(), NAMES.next()
    there.create_bucket(Bucket=name)
    for client, bucket in ((s3, source), (there, name)):
        if client is s3:
            client.create_bucket(Bucket=bucket)
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    services = gateway.gateway.services
    services.replication_targets = {"replica": frozenset()}
    remote = RemoteBucket(other.url, REGION, name, ACCESS_KEY, SECRET)
    target = RemoteS3(remote, services.env)
    yield Pair(s3, there, source, gateway, other, target)
    gateway.thread.run(target.close())


def replicate(pair: Pair, **rule: Any) -> None:
    made = {
        "ID": "all",
        "Priority": 1,
        "Filter": {"Prefix": ""},
        "Status": "Enabled",
        "DeleteMarkerReplication": {"Status": "Enabled"},
        "Destination": {"Bucket": "arn:aws:s3:::replica"},
        **rule,
    }
    pair.here.put_bucket_replication(
        Bucket=pair.source, ReplicationConfiguration={"Role": ROLE, "Rules": [made]}
    )


def replica(pair: Pair, key: str) -> Any:
    return pair.there.get_object(Bucket=pair.target._remote.bucket, Key=key)


def versions_there(pair: Pair) -> list[Any]:
    listed = pair.there.list_object_versions(Bucket=pair.target._remote.bucket)
    return list(listed.get("Versions", []))
