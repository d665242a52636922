"""B-14, I2: what a gateway gives to nodes, and what it asks them for, tells nothing of content,
names, or who they belong to; whoever listens on the way to a node, or runs it, learns no more.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from gateway.objects.values import GetOptions, Metadata, PutOptions
from tests.support.annotations import annotate
from tests.support.faulty_node import FaultyNode
from tests.support.gateway import BUCKET, TENANT, memory_gateway
from tests.support.object_rig import put_parts

CANARY = b"canary-on-the-wire-5a"
NAME = "canary-name-on-the-wire"
LARGE = CANARY + Random(2).randbytes(400_000) + CANARY
FIRST = CANARY.ljust(5 << 20, b".")


class Tapped:
    """Everything that a node was given, in every call."""

    def __init__(self, node: FaultyNode) -> None:
        self.heard = bytearray()
        for verb in ("put", "get", "stat", "delete", "list", "verify", "fence"):
            setattr(node, verb, self._tap(getattr(node, verb)))

    def _tap(self, call: Any) -> Any:
        async def tapped(*given: Any, **named: Any) -> Any:
            for value in (*given, *named.values()):
                is_bytes = isinstance(value, bytes | bytearray | memoryview)
                self.heard += bytes(value) if is_bytes else repr(value).encode()
            return await call(*given, **named)

        return tapped


@pytest.mark.proves("B-14", "B-01", "I2", "S-05")
def test_nodes_are_given_nothing_that_can_be_read() -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            taps = [Tapped(node) for node in gateway.cluster.nodes.values()]
            metadata = Metadata(user=(("note", CANARY.decode()),), tags=(("k", NAME),))
            options = PutOptions(metadata=metadata)
            await gateway.put(NAME, CANARY, options)
            await gateway.put(f"{NAME}-large", LARGE, options)
            await put_parts(gateway, f"{NAME}-parts", FIRST, CANARY)
            await gateway.put("k", b"x")
            await annotate(gateway, NAME, CANARY * 20)
            assert (
                await gateway.get(f"{NAME}-large", GetOptions(range_header="bytes=5-")) == LARGE[5:]
            )
            heard = b"".join(bytes(tap.heard) for tap in taps)
            assert len(heard) > len(LARGE) + len(FIRST)
            secrets = (CANARY, NAME.encode(), BUCKET.encode(), TENANT, TENANT.hex().encode())
            assert not [secret for secret in secrets if secret in heard]

    asyncio.run(main())
