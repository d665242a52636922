"""The CA's register of certificates in the cluster's journal (S-01, L-01): each line once, with its
digest and the register's head; a copy that was changed is told as that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.jobs import enrolments
from gateway.jobs.enrolments import CHANGED, ENROLMENT, Enrolments, RegisterLine
from gateway.journal.events import CLUSTER, Entry, Event, Phase, read_line
from gateway.journal.store import JournalUnavailable, read_lines
from storaged.base.env import RealEnv
from storaged.base.ids import DatacenterId, NodeId
from storaged.enrolment import (
    REGISTER_FILE,
    invite,
    register_head,
    register_lines,
    show_register,
    take_back,
)
from storaged.identity import create_authority, write_authority
from storaged.node import NodeIdentity
from storaged.renewal_ca import renew_spool, retire, succeed
from tests.support.erasure_rig import ErasureRig, run

pytestmark = pytest.mark.proves("S-01", "L-01")


class Died(Exception):
    """The process is gone."""


class Ca:
    """A CA's folder with lines in its register, and the spool that goes to the gateway."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.spool = folder / "ca", folder / "spool"
        self.folder.mkdir()
        self.spool.mkdir()
        self.env = RealEnv(threads_max=1)

    def invite(self, name: str) -> None:
        where = {"datacenter": DatacenterId("paris"), "country": "fr", "operator": "alpha"}
        invite(self.folder, NodeIdentity(node=NodeId(name), **where), self.env)  # type: ignore[arg-type]

    def bring(self) -> None:
        show_register(self.folder, self.spool)

    def job(self, rig: ErasureRig) -> Enrolments:
        return Enrolments(
            rig.gateway.services, lambda: [RegisterLine(*one) for one in register_lines(self.spool)]
        )

    @property
    def lines(self) -> list[bytes]:
        return (self.folder / REGISTER_FILE).read_bytes().splitlines()


async def told(rig: ErasureRig, kind: str = ENROLMENT) -> list[Entry]:
    journal = rig.gateway.services.journal
    assert journal is not None
    await journal.checkpoint(None)
    found = read_lines(journal.folder / "logs" / "cluster", 0, 10_000)
    entries = [read_line(line, seq) for seq, line in enumerate(found)]
    return [one for one in entries if one.type == kind]


def test_each_line_is_told_once_with_its_digest_and_the_head(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        ca = Ca(tmp_path)
        ca.invite("paris-1")
        ca.bring()
        await ca.job(rig).step()
        take_back(ca.folder, "paris-1", ca.env)
        retire(ca.folder, "paris-2", ca.env)
        await ca.job(rig).step()
        assert len(await told(rig)) == 1, "the copy was not brought yet"
        ca.bring()
        job = ca.job(rig)
        for _ in range(3):
            await job.step()
        await ca.job(rig).step()  # another start
        found = [one.body for one in await told(rig)]
        assert [body["what"] for body in found] == ["invited", "taken back", "retired"]
        assert [body["node"] for body in found] == ["paris-1", "paris-1", "paris-2"]
        assert [body["line"] for body in found] == [1, 2, 3]
        assert [body["line_sha256"] for body in found] == [
            sha256(line).hexdigest() for line in ca.lines
        ]
        assert found[-1]["head"] == register_head(ca.folder) and found[-1]["head_line"] == 3
        assert (found[0]["datacenter"], found[0]["operator"]) == ("paris", "alpha")
        assert not await told(rig, CHANGED)

    run(tmp_path, scene)


def test_whoever_renews_brings_the_register(tmp_path: Path) -> None:
    ca = Ca(tmp_path)
    ca.invite("paris-1")
    authority = create_authority("hexagone.internal", ca.env)
    assert renew_spool(ca.folder, authority, ca.spool, ca.env) == []
    assert (ca.spool / REGISTER_FILE).read_bytes().splitlines() == ca.lines


@pytest.mark.parametrize("change", ["cut", "changed", "torn", "emptied"])
def test_a_copy_that_is_not_what_was_told_is_told_as_that_once(tmp_path: Path, change: str) -> None:
    async def scene(rig: ErasureRig) -> None:
        ca = Ca(tmp_path)
        for name in ("paris-1", "paris-2"):
            ca.invite(name)
        ca.bring()
        job = ca.job(rig)
        await job.step()
        whole, copy = (ca.spool / REGISTER_FILE).read_bytes(), ca.spool / REGISTER_FILE
        others = {
            "cut": whole.split(b"\n")[0] + b"\n",
            "changed": whole.replace(b"paris-2", b"paris-9"),
            "torn": whole[:-5],
            "emptied": b"",
        }
        copy.write_bytes(others[change])
        for _ in range(3):
            await job.step()
        assert "compare it" in job.progress().detail
        (changed,) = await told(rig, CHANGED)
        assert changed.body["told_head"] == register_head(ca.folder)
        ca.invite("paris-3")
        ca.bring()
        await job.step()
        assert len(await told(rig)) == 3 and not job.progress().detail, "the right one goes on"

    run(tmp_path, scene)


def test_the_register_of_the_next_ca_goes_on(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        ca = Ca(tmp_path)
        write_authority(create_authority("hexagone.internal", ca.env), ca.folder)
        ca.invite("paris-1")
        ca.bring()
        await ca.job(rig).step()
        succeed(ca.folder, tmp_path / "next", ca.env)
        show_register(tmp_path / "next", ca.spool)
        for _ in range(2):
            await ca.job(rig).step()
        found = [one.body for one in await told(rig)]
        assert [body["what"] for body in found] == ["invited", "succeeds"]
        assert found[1]["former_head"] == register_head(ca.folder)
        assert not await told(rig, CHANGED)

    run(tmp_path, scene)


@pytest.mark.parametrize("change", ["cut", "changed", "former"])
def test_a_copy_of_the_next_ca_that_is_not_what_was_told_is_told_as_that(
    tmp_path: Path, change: str
) -> None:
    async def scene(rig: ErasureRig) -> None:
        ca = Ca(tmp_path)
        write_authority(create_authority("hexagone.internal", ca.env), ca.folder)
        ca.invite("paris-1")
        ca.bring()
        former = (ca.spool / REGISTER_FILE).read_bytes()
        await ca.job(rig).step()
        succeed(ca.folder, tmp_path / "next", ca.env)
        ca.folder = tmp_path / "next"
        for name in ("paris-2", "paris-3"):
            ca.invite(name)
        ca.bring()
        await ca.job(rig).step()
        whole, copy = (ca.spool / REGISTER_FILE).read_bytes(), ca.spool / REGISTER_FILE
        others = {
            "cut": whole.split(b"\n")[0] + b"\n",
            "changed": whole.replace(b"paris-3", b"paris-9"),
            "former": former,
        }
        copy.write_bytes(others[change])
        job = ca.job(rig)
        for _ in range(3):
            await job.step()
        (changed,) = await told(rig, CHANGED)
        assert changed.body["told_head"] == register_head(ca.folder)
        ca.invite("paris-4")
        ca.bring()
        await job.step()
        nodes = [one.body["node"] for one in await told(rig)]
        assert nodes == ["paris-1", "ca", "paris-2", "paris-3", "paris-4"], "each line once"

    run(tmp_path, scene)


def test_a_search_of_the_journal_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(rig: ErasureRig) -> None:
        ca, journal = Ca(tmp_path), rig.gateway.services.journal
        assert journal is not None
        monkeypatch.setattr(enrolments, "SEARCHED_EVENTS", 5)
        for name in ("", "paris-1"):
            if name:
                ca.invite(name)
                ca.bring()
            for _ in range(10):
                await journal.record(CLUSTER, Event(1, "other", Phase.NOTE, {}))
            for _ in range(2):
                await ca.job(rig).step()
            held = await ca.job(rig)._held(journal)
            assert held.journal_size > await journal.size(CLUSTER) - 5
        ca.invite("paris-2")
        ca.bring()
        await ca.job(rig).step()
        assert [one.body["line"] for one in await told(rig)] == [1, 2]

    run(tmp_path, scene)


def test_a_time_that_is_none_keeps_no_line_from_being_told(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        times: list[object] = ["x", None, [], float("inf"), 7]
        made = [
            RegisterLine({"number": at, "what": "invited", "at_ms": at_ms}, f"{at:064}")
            for at, at_ms in enumerate(times, 1)
        ]
        await Enrolments(rig.gateway.services, lambda: made).step()
        assert [one.body["registered_at_ms"] for one in await told(rig)] == [0, 0, 0, 0, 7]

    run(tmp_path, scene)


@pytest.mark.parametrize("is_after", [False, True])
def test_a_crash_anywhere_loses_no_line_and_tells_none_twice(
    tmp_path: Path, is_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(rig: ErasureRig) -> None:
        ca, journal, log = Ca(tmp_path), rig.gateway.services.journal, rig.gateway.log
        assert journal is not None
        for at in range(1, 7):
            left = at

            def dying(do: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
                async def called(*args: object, **named: object) -> Any:
                    nonlocal left
                    left -= 1
                    if left == 0 and not is_after:
                        raise Died
                    done = await do(*args, **named)
                    if left == 0:
                        raise Died
                    return done

                return called

            for name in ("a", "b", "c"):
                ca.invite(f"paris-{at}{name}")
            ca.bring()
            with monkeypatch.context() as patch:
                patch.setattr(journal, "record", dying(journal.record))
                patch.setattr(log, "commit_change", dying(log.commit_change))
                with suppress(Died):
                    await ca.job(rig).step()
            await ca.job(rig).step()
            numbers = [one.body["line"] for one in await told(rig)]
            assert numbers == list(range(1, 3 * at + 1))

    run(tmp_path, scene)


def test_jrn_02_while_the_journal_takes_nothing_lines_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(log: str, event: Event) -> None:
        raise JournalUnavailable(reason="No space left on device")

    async def scene(rig: ErasureRig) -> None:
        ca = Ca(tmp_path)
        ca.invite("paris-1")
        ca.bring()
        job = ca.job(rig)
        with monkeypatch.context() as patch:
            patch.setattr(rig.gateway.services.journal, "record", full)
            await job.step()
            assert "takes no events" in job.progress().detail
        await job.step()
        assert len(await told(rig)) == 1

    run(tmp_path, scene)
