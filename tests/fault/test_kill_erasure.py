"""An erasure that dies before or after any commit, any event and any change of a key goes on to a
certificate that verifies (E-01, E-03), and takes nothing of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs.erasure import ErasureKeeper
from gateway.journal.certificate import verify_certificate
from gateway.model.erasure import ErasureKind
from gateway.objects import erasing
from gateway.objects.buckets import create_bucket
from tests.support.erasure_rig import CONFIG, ErasureRig, erasure_rig, two_of
from tests.support.rotations import forget_all

BODY = b"body " * 50
POINTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15)  # of a step: before or after something that lasts


class Killed(BaseException):
    """The process has died."""


class Reaper:
    """Kills at one point of every step, once; the step's next attempt is let through."""

    def __init__(self, at: int, state: Callable[[], object]) -> None:
        self.deaths = 0
        self._at = at
        self._state = state
        self._seen = 0
        self._died_in: object = None

    def point(self) -> None:
        state = self._state()
        if state is None or state == self._died_in:
            return
        if self._died_in is not None:
            self._died_in, self._seen = None, 0
        self._seen += 1
        if self._seen == self._at:
            self.deaths += 1
            self._died_in = state
            raise Killed

    def around(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def called(*args: object, **named: object) -> Any:
            self.point()
            result = await call(*args, **named)
            self.point()
            return result

        return called

    def around_plain(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: object, **named: object) -> Any:
            self.point()
            result = call(*args, **named)
            self.point()
            return result

        return called


async def _work(rig: ErasureRig) -> None:
    """Work, and begin anew after each death."""
    while True:
        rig.keeper = ErasureKeeper(rig.gateway.services, CONFIG)
        try:
            await rig.work()
            return
        except Killed:
            forget_all(rig.gateway)


@pytest.mark.proves("E-01", "E-03", "C7")
@pytest.mark.parametrize("at", POINTS)
@pytest.mark.parametrize("kind", list(ErasureKind))
def test_an_erasure_that_dies_anywhere_goes_on(tmp_path: Path, kind: ErasureKind, at: int) -> None:
    approved = at % 2 == 0

    async def main() -> None:
        async with erasure_rig(tmp_path) as rig:
            services, begun = rig.gateway.services, list[str]()

            def state() -> object:
                return erasing.find(services, begun[0]).erasure if begun else None

            reaper = Reaper(at, state)
            assert services.journal is not None
            for key in ("a", "b"):
                await rig.gateway.put(key, BODY)
            await create_bucket(rig.gateway.ctx(), "other", None)
            await rig.gateway.put("kept", BODY, bucket="other")
            if approved:
                rig.keyring.set_approvers(two_of().document.encode())
            rig.gateway.log.commit_change = reaper.around(rig.gateway.log.commit_change)
            services.journal.record = reaper.around(services.journal.record)
            held = rig.keyring.set_tenant_epoch
            rig.keyring.set_tenant_epoch = reaper.around_plain(held)
            erasure = await rig.begin(kind, "a" if kind is ErasureKind.OBJECT else "")
            if approved:
                await rig.sign(erasure.request, "alice", "bruno")
            begun.append(erasure.erasure_id)
            for days in (21.5, 1.1, 0):
                await _work(rig)
                rig.clock.days += days
            done = rig.held(erasure)
            assert done.step == "done", (done.step, done.detail)
            assert reaper.deaths > (4 if at < 6 else 0)
            keys = services.journal.keys.verifiers()
            verified = verify_certificate(done.certificate.encode(), keys)
            assert bool(verified.body["approvals"]) is approved
            assert rig.gateway.named_bytes() == rig.gateway.live_bytes()
            forget_all(rig.gateway)
            if kind is not ErasureKind.TENANT:
                assert await rig.gateway.get("kept", bucket="other") == BODY
            if kind is ErasureKind.OBJECT:
                assert await rig.gateway.get("b") == BODY

    asyncio.run(asyncio.wait_for(main(), 60))
