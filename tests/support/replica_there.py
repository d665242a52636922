"""A bucket elsewhere, in memory, and a gateway that replicates to it within a small backlog.

Not for what goes over the wire: two gateways do that in `tests.support.replica_pair`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from gateway.jobs.replica_target import RemoteHead, TargetUnavailable
from gateway.jobs.replication import Replicator
from gateway.meta import keyspace
from gateway.model.bucket import Versioning
from gateway.objects.get import head_object
from gateway.objects.replication import put_replication
from gateway.objects.values import GetOptions
from gateway.objects.versioning import set_versioning
from tests.support.gateway import BUCKET, Gateway

LIMIT = 4
RULE = {
    "ID": "all",
    "Priority": "1",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "DeleteMarkerReplication": {"Status": "Enabled"},
    "Destination": {"Bucket": "arn:aws:s3:::there"},
}


class There:
    """A bucket elsewhere, in memory; `history` is what each key got, None for a delete marker."""

    def __init__(self) -> None:
        self.is_away = False
        self.history: dict[str, list[bytes | None]] = {}
        self.tags_of: dict[str, frozenset[tuple[str, str]]] = {}
        self.annotations: list[str] = []
        self.on_put: asyncio.Event | None = None
        self.go_on = asyncio.Event()

    def _reach(self) -> None:
        if self.is_away:
            raise TargetUnavailable(reason="away")

    async def head(self, key: str, version_id: str = "") -> RemoteHead | None:
        self._reach()
        held = self.history.get(key, [])
        if version_id:
            return RemoteHead("", 0, {"x-amz-version-id": version_id})
        if not held or held[-1] is None:
            return None
        # An ETag of nothing: what is here is never taken for what is to come.
        return RemoteHead("", len(held[-1]), {"x-amz-version-id": f"{key}-{len(held)}"})

    async def tags(self, key: str, version_id: str = "") -> frozenset[tuple[str, str]]:
        return self.tags_of.get(version_id, frozenset())

    async def put(
        self, key: str, headers: Mapping[str, str], length: int, body: AsyncIterator[bytes]
    ) -> str:
        self._reach()
        if self.on_put is not None:
            self.on_put.set()
            await self.go_on.wait()
        content = b"".join([piece async for piece in body])
        self.history.setdefault(key, []).append(content)
        return f"{key}-{len(self.history[key])}"

    async def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        raise NotImplementedError

    async def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        headers: Mapping[str, str],
        length: int,
        body: AsyncIterator[bytes],
    ) -> str:
        raise NotImplementedError

    async def complete(self, key: str, upload_id: str, etags: list[str]) -> str:
        raise NotImplementedError

    async def abort(self, key: str, upload_id: str) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        self._reach()
        self.history.setdefault(key, []).append(None)

    async def put_tags(self, key: str, version_id: str, tags: frozenset[tuple[str, str]]) -> None:
        self._reach()
        self.tags_of[version_id] = tags

    async def put_retention(
        self, key: str, version_id: str, mode: str, until: str, *, bypass_governance: bool
    ) -> None:
        raise NotImplementedError

    async def put_legal_hold(self, key: str, version_id: str, *, is_held: bool) -> None:
        raise NotImplementedError

    async def put_annotation(self, key: str, etag: str, name: str, content: bytes) -> None:
        self._reach()
        self.annotations.append(name)

    async def close(self) -> None:
        """Nothing to do."""


def bound(gateway: Gateway, limit: int = LIMIT) -> None:
    gateway.services.replication_targets = {"there": frozenset()}
    backlog = gateway.services.replica_backlog
    backlog.rows_max = backlog.bucket_rows_max = limit
    backlog.bucket_rows_least = 0


async def replicate(gateway: Gateway, limit: int = LIMIT) -> None:
    bound(gateway, limit)
    await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
    document = {"role": "any", "rules": [RULE]}
    await put_replication(gateway.ctx(), BUCKET, document)


async def settle(
    gateway: Gateway, there: There, steps: int = 60, job: Replicator | None = None
) -> None:
    """Run the job until nothing is left, but not for ever; held targets are tried at once."""
    job = job or Replicator(gateway.services, {"there": there})
    for _ in range(steps):
        await job.step()
        job._held.clear()
        if not there.is_away and not gateway.rows_of(keyspace.REPLICA):
            return
    assert there.is_away, "the queue does not come to its end"


async def status(gateway: Gateway, key: str, version_id: str | None = None) -> str:
    read = await head_object(gateway.ctx(), BUCKET, key, GetOptions(version_id=version_id))
    return read.head.metadata.attributes.replication
