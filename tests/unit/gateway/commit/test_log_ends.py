"""How the log ends, and how callers leave it: cancelled, late, closed, broken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.commit import callers
from gateway.commit import log as log_module
from gateway.commit.change import Committed, LogUnavailable
from gateway.commit.forming import Group, Sealed
from gateway.commit.header import GroupKind
from gateway.meta.kv import OutcomeUnknown
from gateway.model.layout import Tier
from tests.support.log_rig import LogRig

Scenario = Callable[[LogRig], Awaitable[None]]


def run(scenario: Scenario, **rig: object) -> None:
    async def main() -> None:
        await scenario(LogRig(**rig))  # type: ignore[arg-type]

    asyncio.run(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("delay_s", [0.002, 0.006, 0.012, 0.02])
@pytest.mark.parametrize("what", ["record", "tier"])
def test_who_is_cancelled_while_alone_with_the_log_leaves_no_id_to_be_sealed_twice(
    delay_s: float, what: str
) -> None:
    """A job that is stopped in the middle: its group is stored under its number all the same."""

    async def scenario(rig: LogRig) -> None:
        log = await rig.open()
        await rig.put("before", b"1")
        sealed: list[tuple[int, int]] = []
        seal = log._seal

        def noting(group: Group, kind: GroupKind, extra: bytes = b"") -> Sealed:
            result = seal(group, kind, extra)
            sealed.append((result.header.epoch, result.header.sequence))
            return result

        log._seal = noting  # type: ignore[method-assign]
        for node in rig.nodes.values():
            node.delay_s = 0.005
        work = (
            log.commit_record(GroupKind.CHECKPOINT, b"extra", rig.change("alone", b"2"))
            if what == "record"
            else log.change_tier(Tier.NODE)
        )
        alone = asyncio.create_task(work)  # type: ignore[arg-type]
        putting = asyncio.create_task(rig.put("beside", b"3"))
        await asyncio.sleep(delay_s)
        alone.cancel()
        await asyncio.gather(alone, return_exceptions=True)
        await putting
        await rig.put("after", b"4")
        assert len(set(sealed)) == len(sealed)
        await log.close()
        await rig.rebuild()
        assert rig.get("before") == b"1" and rig.get("beside") == b"3" and rig.get("after") == b"4"

    run(scenario)


def test_who_asks_again_after_the_deadline_waits_for_the_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callers, "COMMIT_S", 0.1)
    monkeypatch.setattr(log_module, "DEADLINE_TICK_S", 0.02)

    async def scenario(rig: LogRig) -> None:
        await rig.open()
        for node in rig.nodes.values():
            node.freeze()
        change = rig.change("a", b"1", expected=None)
        asked = 0

        async def ask_until_known() -> Committed:
            nonlocal asked
            while True:
                asked += 1
                if asked > 100:
                    raise AssertionError("asking again does not wait")
                try:
                    return await rig.log.commit_change(change)
                except OutcomeUnknown:
                    continue

        asking = asyncio.create_task(ask_until_known())
        await asyncio.sleep(0.5)
        assert not asking.done() and 2 <= asked < 10
        for node in rig.nodes.values():
            node.unfreeze()
        done = await asking
        assert rig.get("a") == b"1" and rig.log.status().changes == 1
        assert done.position.sequence == rig.log.position.sequence
        await rig.log.close()

    run(scenario)


def test_a_change_that_was_on_its_way_is_not_called_untaken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its group may have enough shards to be adopted by the next run: nobody may clean up yet."""
    monkeypatch.setattr(callers, "COMMIT_S", 0.3)
    monkeypatch.setattr(log_module, "DEADLINE_TICK_S", 0.02)

    async def scenario(rig: LogRig) -> None:
        await rig.open()
        await rig.put("a", b"1")
        for node in rig.nodes.values():
            node.down = True
        with pytest.raises(OutcomeUnknown):
            await rig.put("b", b"2")
        for node in rig.nodes.values():
            node.down = False
        await rig.log.close()

    run(scenario)


def test_a_log_that_can_open_no_epoch_still_closes() -> None:
    async def scenario(rig: LogRig) -> None:
        log = await rig.open()
        for node in rig.nodes.values():
            node.down = True
        putting = asyncio.create_task(rig.put("a", b"1"))
        await asyncio.sleep(0.3)
        await asyncio.wait_for(log.close(), 5)
        with pytest.raises(OutcomeUnknown):
            await putting

    run(scenario)


def test_an_index_that_breaks_in_an_unforeseen_way_stops_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No group after it may be applied: the index would pass over what it has not seen."""

    async def scenario(rig: LogRig) -> None:
        log = await rig.open()
        await rig.put("a", b"1")
        mark = rig.index.applied()
        apply = rig.index.apply

        async def broken(*_: object) -> None:
            raise RuntimeError("unforeseen")

        monkeypatch.setattr(rig.index, "apply", broken)
        with pytest.raises(OutcomeUnknown):
            await asyncio.wait_for(rig.put("b", b"2"), 5)
        monkeypatch.setattr(rig.index, "apply", apply)
        with pytest.raises(LogUnavailable):
            await asyncio.wait_for(rig.put("c", b"3"), 5)
        assert not log.serving and rig.index.applied() == mark
        await log.close()
        await rig.open()
        assert rig.get("b") == b"2" and rig.get("c") is None
        await rig.log.close()

    run(scenario)
