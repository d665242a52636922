"""What histories of the use cases have in common: a gateway on memory nodes, node faults, jobs.

One datacenter is faulty now and then, which is what 4+2 over three promises to survive. The limits
are small, so that few steps reach far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.commit.compact import Compacter
from gateway.commit.free import Freer
from gateway.data import writer
from gateway.objects import assembly, store
from gateway.objects.parting import collect_garbage
from tests.support.gateway import Gateway, memory_gateway
from tests.support.log_rig import keys_of

T = TypeVar("T")
SMALL_MAX = 64  # bodies above are striped
# Around the empty body, the bound of small bodies, and the frame.
LENGTHS = st.sampled_from([0, 1, 63, 64, 65, 4095, 65_535, 65_536, 65_537, 140_000])
SITES = st.sampled_from(["paris", "lyon", "marseille"])
FAULTS = st.sampled_from(["down", "corrupt_gets", "truncate_gets", "deny_shards"])


def content_of(length: int, seed: int) -> bytes:
    """So many bytes that tell the seed."""
    return (b"%03d." % seed * (length // 4 + 1))[:length]


class GatewayMachine(RuleBasedStateMachine):
    """A gateway, its faults and its jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.context: Any = None
        self.gateway: Gateway
        self.site = ""
        self.small_max = store.SMALL_BODY_BYTES_MAX
        self.part_min = assembly.PART_BYTES_MIN

    def run(self, call: Awaitable[T]) -> T:
        async def main() -> T:
            return await call

        return self.runner.run(main())

    @initialize(seed=st.integers(0, 1000), site=SITES)
    def start(self, seed: int, site: str) -> None:
        self.site = site
        store.SMALL_BODY_BYTES_MAX = writer.SMALL_BODY_BYTES_MAX = SMALL_MAX
        assembly.PART_BYTES_MIN = 10
        self.context = memory_gateway(seed=seed)
        self.gateway = self.run(self.context.__aenter__())

    def teardown(self) -> None:
        if self.context is not None:
            self.mend()
            self.run(self.context.__aexit__(None, None, None))
        self.runner.close()
        store.SMALL_BODY_BYTES_MAX = writer.SMALL_BODY_BYTES_MAX = self.small_max
        assembly.PART_BYTES_MIN = self.part_min

    # Faults, of one datacenter in each history: what was written while it was away is at the NODE
    # tier, so without repair no other one may go.

    @rule(fault=FAULTS)
    def break_site(self, fault: str) -> None:
        self.mend()
        for node in self.gateway.cluster.in_datacenter(self.site):
            setattr(node, fault, True)

    @rule()
    def mend(self) -> None:
        for node in self.gateway.cluster.nodes.values():
            node.mend()
        self.run(self.gateway.cluster.health.probe())

    # Jobs

    @rule()
    def tidy(self) -> None:
        while self.run(collect_garbage(self.gateway.services, rows_max=100)):
            pass

    @rule()
    def compact_and_free(self) -> None:
        """Bodies move to packs and emptied stripes go, commit stripes too, for nobody restarts."""
        self.mend()
        gateway, services = self.gateway, self.gateway.services
        compacter = Compacter(
            log=gateway.log,
            store=services.stripes,
            keys=keys_of(b"root"),
            records=services.records,
            nonces=services.nonces,
            env=services.env,
            floor_sequence=lambda: 1 << 40,
        )
        freer = Freer(
            log=gateway.log,
            store=services.stripes,
            records=services.records,
            oldest_read_s=services.reads.oldest_s,
            env=services.env,
            floor_sequence=lambda: floor,
        )
        while not self.run(compacter.step()):
            pass
        floor = gateway.log.position.sequence
        while not self.run(freer.step()):
            pass
        gateway.log.on_applied.clear()

    # What always holds

    @invariant()
    def live_bytes_are_what_rows_name(self) -> None:
        """Every stripe's count is what the version and part rows name in it, to the byte."""
        if self.context is None:
            return
        assert self.gateway.live_bytes() == self.gateway.named_bytes()
        assert self.gateway.log.reservations.open_count == 0
