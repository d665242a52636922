"""`hexagone where --attest`: asks the nodes for bytes that nobody could foretell, and signs what
came.

Built from verified reads: the gateway draws one tag unit of each shard by a fresh challenge, gets
it through the Node port and checks its keyed tag, which no node can make. At most STRIPES_MAX
stripes of an object, drawn by the challenge too. Nothing is repaired or written here.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping
from heapq import nsmallest

from gateway.admin.attestation import (
    CHALLENGE_BYTES,
    FIBRE_KM_PER_MS,
    FORMAT,
    NO_CERTIFICATE,
    SENTENCE,
    answer_digest,
    signed,
    unit_of,
)
from gateway.admin.outlook import Document
from gateway.admin.where import Locator
from gateway.config import ClusterConfig
from gateway.data.placement import operator_shards_max
from gateway.data.shard_header import ShardHeader, check_range, parse_header, tag_key
from gateway.data.topology import OWN_REGION, Topology
from gateway.model.layout import StripeRow
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError
from storaged.base.ids import ShardId
from storaged.node import Node, NodeUnavailable, ShardMissing

STRIPES_MAX = 64
AT_ONCE = 4  # answers that are under way: they wait for each other, and time bounds the distance
ANSWER_S = 10.0


class ChallengeInvalid(StorageError):
    """The challenge is no 32 bytes."""

    kind = Kind.INVALID
    hint = "64 hexadecimal digits, drawn by whoever wants the statement to be fresh"


class ShardOfAnother(StorageError):
    """A node answered with attributes that are not those of the stripe."""

    kind = Kind.CORRUPT


class Attester:
    """Makes signed statements about where shards are.

    Args:
        seed: gives the 32 bytes of the cluster's signing key for statements.
        certificate_of: SHA-256 of a node's certificate as hex; None for a folder of ours.
    """

    def __init__(
        self,
        locator: Callable[[], Locator],
        nodes: Mapping[int, Node],
        topology: Topology,
        cluster: ClusterConfig,
        *,
        seed: Callable[[], bytes],
        integrity_key: bytes,
        cluster_id: bytes,
        certificate_of: Callable[[int], str | None],
        env: Env,
    ) -> None:
        self._locator = locator
        self._nodes = nodes
        self._topology = topology
        self._cluster = cluster
        self._seed = seed
        self._integrity_key = integrity_key
        self._cluster_id = cluster_id
        self._certificate_of = certificate_of
        self._env = env
        self._free = asyncio.Semaphore(AT_ONCE)

    async def attest(self, bucket: str, key: str, challenge: str) -> Document:
        """A signed statement about an object.

        Args:
            challenge: 64 hexadecimal digits; "" = drawn here.

        Raises: ChallengeInvalid, and as `Locator.where` and `seed`.
        """
        nonce = self._challenge(challenge)
        content_bytes, rows = await self._locator().stripe_rows(bucket, key)
        chosen = nsmallest(
            STRIPES_MAX, rows, key=lambda row: hmac.digest(nonce, row.stripe.encode(), "sha256")
        )
        chosen.sort(key=lambda row: row.stripe.encode())
        statement = {
            "format": FORMAT,
            "says": f"{SENTENCE} {NO_CERTIFICATE}",
            "cluster": self._cluster.name,
            "cluster_id": self._cluster_id.hex(),
            "bucket": bucket,
            "key": key,
            "content_bytes": content_bytes,
            "challenge": nonce.hex(),
            "challenge_was_given": bool(challenge),
            "began_at_ms": self._env.now_ms(),
            "stripe_count": len(rows),
            "stripes_asked": len(chosen),
            "regions": self._regions({row.region for row in chosen}),
            "stripes": [await self._stripe(nonce, row) for row in chosen],
            "ended_at_ms": self._env.now_ms(),
        }
        return signed(statement, self._seed())

    def _challenge(self, text: str) -> bytes:
        if not text:
            return self._env.random_bytes(CHALLENGE_BYTES)
        try:
            nonce = bytes.fromhex(text)
        except ValueError as error:
            raise ChallengeInvalid() from error
        if len(nonce) != CHALLENGE_BYTES:
            raise ChallengeInvalid(bytes=len(nonce))
        return nonce

    def _regions(self, numbers: set[int]) -> Document:
        """What the regions of stripes allow, by their names. A number that is not configured allows
        no country there is.
        """
        known = {region.number: region for region in self._topology.regions}
        report: Document = {}
        for number in sorted(numbers):
            region = known.get(number)
            unknown = region is None and number != OWN_REGION
            report[self._name_of(number)] = {
                "number": number,
                "datacenters": [] if region is None else sorted(region.datacenters),
                "countries": ["?"] if unknown else sorted(region.countries if region else ()),
            }
        return report

    def _name_of(self, number: int) -> str:
        if number == OWN_REGION:
            return self._cluster.region
        names = {region.number: region.name for region in self._topology.regions}
        return names.get(number, f"region {number}")

    async def _stripe(self, nonce: bytes, row: StripeRow) -> Document:
        shards = await asyncio.gather(
            *(self._shard(nonce, row, index) for index, number in enumerate(row.nodes) if number)
        )
        return {
            "stripe": str(row.stripe),
            "id": row.stripe.encode().hex(),
            "region": self._name_of(row.region),
            "k": row.geometry.k,
            "m": row.geometry.m,
            "operator_shards_max": operator_shards_max(row.geometry, self._topology, row.region),
            "cell_bytes": row.cell_bytes,
            "shards": shards,
        }

    async def _shard(self, nonce: bytes, row: StripeRow, index: int) -> Document:
        number, shard = row.nodes[index], ShardId(row.stripe, index)
        offset, length = unit_of(nonce, shard, row.cell_bytes)
        known = self._topology.by_number.get(number)
        report: Document = {
            "index": index,
            "node": str(known.node) if known else f"number {number}",
            "datacenter": str(known.datacenter) if known else "?",
            "country": known.country if known else "?",
            "operator": known.operator if known else "?",
            "certificate_sha256": None,
            "offset": offset,
            "length": length,
            "failed": "",
        }
        async with self._free:
            try:
                async with asyncio.timeout(ANSWER_S):
                    content, took_ms = await self._answer(row, shard, number, offset, length)
            except TimeoutError:
                return report | {"failed": "no answer in time"}
            except StorageError as error:
                return report | {"failed": error.message()}
        return report | {
            "certificate_sha256": self._certificate_of(number),
            "answer_sha256": answer_digest(nonce, shard, offset, content),
            "answered_at_ms": self._env.now_ms(),
            "answer_ms": round(took_ms, 3),
            "within_km": round(took_ms * FIBRE_KM_PER_MS),
        }

    async def _answer(
        self, row: StripeRow, shard: ShardId, number: int, offset: int, length: int
    ) -> tuple[memoryview, float]:
        """The bytes a node was asked for, once their keyed tag holds, and the milliseconds until
        they were here. Raises StorageError.
        """
        node = self._nodes.get(number)
        if node is None:
            raise NodeUnavailable(node=number)
        began_s = self._env.monotonic_s()
        found = await node.get(shard, offset=offset, length=length)
        took_ms = (self._env.monotonic_s() - began_s) * 1000
        header = parse_header(found.attributes)
        if not _fits(header, row, shard.index):
            raise ShardOfAnother(shard=shard)
        if len(found.content) != length:
            raise ShardMissing(shard=shard)
        key = tag_key(
            self._integrity_key,
            self._cluster_id,
            row.stripe,
            header.geometry,
            cell_bytes=header.cell_bytes,
            payload_bytes=header.payload_bytes,
            common=header.common,
        )
        check_range(key, header, offset, found.content)
        return found.content, took_ms


def _fits(header: ShardHeader, row: StripeRow, index: int) -> bool:
    said = header.index, header.geometry, header.cell_bytes, header.payload_bytes
    return said == (index, row.geometry, row.cell_bytes, row.payload_bytes)
