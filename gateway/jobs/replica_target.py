"""The port to a bucket elsewhere that replicas go to, as the job `replication` needs it.

Not for how it is reached (`gateway.outside.remote_s3`).

Source: Amazon S3 API Reference, the operation of each verb.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import NamedTuple, Protocol

from storaged.base.errors import Kind, StorageError


class TargetRefused(StorageError):
    """The target does not take the replica."""

    kind = Kind.DENIED


class TargetUnavailable(StorageError):
    """The target cannot be reached, or not now."""

    kind = Kind.UNAVAILABLE


class RemoteHead(NamedTuple):
    """What the target has under a key; `headers` by lower-case name."""

    etag: str
    length: int
    headers: Mapping[str, str]

    @property
    def version_id(self) -> str:
        """ "" where the target has no versions."""
        return self.headers.get("x-amz-version-id", "")


class ReplicaTarget(Protocol):
    """A bucket elsewhere. Every verb raises TargetRefused or TargetUnavailable.

    Where a verb takes a version's id, "" is the current one.
    """

    async def head(self, key: str, version_id: str = "") -> RemoteHead | None:
        """An object; None: there is none."""
        ...

    async def tags(self, key: str, version_id: str = "") -> frozenset[tuple[str, str]]:
        """The tags of an object."""
        ...

    async def put(
        self, key: str, headers: Mapping[str, str], length: int, body: AsyncIterator[bytes]
    ) -> str:
        """Put an object; the id of its version, "" where there are none."""
        ...

    async def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """Begin an object of parts; the upload's id."""
        ...

    async def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        headers: Mapping[str, str],
        length: int,
        body: AsyncIterator[bytes],
    ) -> str:
        """Put a part; its ETag."""
        ...

    async def complete(self, key: str, upload_id: str, etags: list[str]) -> str:
        """End an object of parts, whose numbers are 1, 2, …; as `put`."""
        ...

    async def abort(self, key: str, upload_id: str) -> None:
        """Give an upload up."""
        ...

    async def delete(self, key: str) -> None:
        """Delete an object; succeeds when there is none."""
        ...

    async def put_tags(self, key: str, version_id: str, tags: frozenset[tuple[str, str]]) -> None:
        """Set the tags of an object in place of those it has."""
        ...

    async def put_retention(
        self, key: str, version_id: str, mode: str, until: str, *, bypass_governance: bool
    ) -> None:
        """Set the retention of an object; mode and until "": it gets none."""
        ...

    async def put_legal_hold(self, key: str, version_id: str, *, is_held: bool) -> None:
        """Set or lift the legal hold of an object."""
        ...

    async def put_annotation(self, key: str, etag: str, name: str, content: bytes) -> None:
        """Attach a text to the current object, if that has this ETag."""
        ...

    async def close(self) -> None:
        """Release connections. Idempotent."""
        ...
