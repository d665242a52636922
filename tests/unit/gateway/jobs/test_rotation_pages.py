"""Pages of a rotation that are made ahead: what changes before they are written, and what fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.commit.change import Change, LogUnavailable
from gateway.jobs import rotation as job_module
from gateway.jobs import rotation_pace
from gateway.jobs.rotation import IDLE_S, KeyRotation
from gateway.keyd.refusals import KeydUnavailable
from gateway.meta import rotations
from gateway.meta.rotations import Rotation
from gateway.objects.delete import delete_object
from gateway.objects.rewrapping import DekRun
from gateway.objects.tagging import put_object_tags
from tests.support.gateway import BUCKET, Gateway
from tests.support.object_rig import keys
from tests.support.rotations import epochs_of_rows, forget_all, rotate, run, to_the_end

pytestmark = pytest.mark.proves("K-10", "C6")

KEYS = 12


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_pace, "PAGE_ROWS", 4)
    monkeypatch.setattr(rotation_pace, "TURN_ROWS", 2)
    monkeypatch.setattr(rotation_pace, "CALL_ROWS", 3)


def over_keys(test: Callable[[Gateway, KeyRotation], Awaitable[None]]) -> None:
    """Run a test over a bucket of KEYS objects whose key was rotated, with a page made ahead."""

    async def main(gateway: Gateway) -> None:
        for at in range(KEYS):
            await gateway.put(f"k{at:02}", f"one {at}".encode())
        await rotate(gateway)
        job = KeyRotation(gateway.services)
        while job._ahead is None:
            assert await job.step() != IDLE_S
        await test(gateway, job)

    run(main)


def report(gateway: Gateway) -> Rotation:
    return rotations.scan_reports(gateway.log, gateway.services.records, limit=1)[0]


@pytest.mark.parametrize("is_remote", [False, True])
def test_rows_that_change_between_reading_and_writing_are_not_overwritten(is_remote: bool) -> None:
    async def test(gateway: Gateway, job: KeyRotation) -> None:
        gateway.services.bucket_keys.is_remote = is_remote
        assert job._ahead is not None
        ahead = [row.key[17:].decode() for row in job._ahead.old]
        assert ahead == ["k04", "k05", "k06", "k07"]
        await gateway.put("k04", b"another")
        await delete_object(gateway.ctx(), BUCKET, "k05")
        await put_object_tags(gateway.ctx(), BUCKET, "k06", None, (("a", "b"),))
        assert epochs_of_rows(gateway) == {1: 6, 2: 5}, "the tagged row keeps its epoch"
        await to_the_end(gateway, job)
        assert epochs_of_rows(gateway) == {2: KEYS - 1}
        forget_all(gateway)
        assert await gateway.get("k04") == b"another"
        assert "k05" not in await keys(gateway)
        for at in (0, 3, 6, 7, 11):
            assert await gateway.get(f"k{at:02}") == f"one {at}".encode()
        assert report(gateway).outcome == "complete" and report(gateway).conflicts == 2

    over_keys(test)


def test_a_page_that_the_log_refuses_is_written_later_and_counted_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(gateway: Gateway, job: KeyRotation) -> None:
        commit_change = gateway.log.commit_change

        async def refused(change: Change) -> object:
            raise LogUnavailable

        with monkeypatch.context() as patch:
            patch.setattr(gateway.log, "commit_change", refused)
            with pytest.raises(LogUnavailable):
                await job.step()
        assert job._ahead is None and job.current is None
        assert gateway.log.commit_change == commit_change
        assert epochs_of_rows(gateway) == {1: KEYS - 4, 2: 4}
        # As in another process.
        await to_the_end(gateway, KeyRotation(gateway.services))
        assert epochs_of_rows(gateway) == {2: KEYS}
        assert report(gateway).done == report(gateway).total == KEYS

    over_keys(test)


def test_a_key_service_that_goes_while_a_page_is_made_ahead_stops_only_that_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(gateway: Gateway, job: KeyRotation) -> None:
        def gone(run: DekRun) -> list[bytes | None]:
            raise KeydUnavailable(reason="gone")

        for is_remote in (False, True):
            gateway.services.bucket_keys.is_remote = is_remote
            with monkeypatch.context() as patch:
                patch.setattr(DekRun, "resealed", gone)
                if not is_remote:
                    await job.step()  # writes what was made before
                    assert epochs_of_rows(gateway) == {1: KEYS - 8, 2: 8}
                    assert job._ahead is None
                with pytest.raises(KeydUnavailable):
                    await job.step()
            assert epochs_of_rows(gateway) == {1: KEYS - 8, 2: 8}
        await to_the_end(gateway, job)
        assert epochs_of_rows(gateway) == {2: KEYS}
        assert report(gateway).done == KEYS

    over_keys(test)


def test_whoever_ends_the_job_ends_the_page_that_is_being_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test(gateway: Gateway, job: KeyRotation) -> None:
        never = asyncio.Event()
        made: list[asyncio.Task[object] | None] = []

        async def read_page(*_: object) -> object:
            made.append(asyncio.current_task())
            await never.wait()
            raise AssertionError

        with monkeypatch.context() as patch:
            patch.setattr(job_module, "read_page", read_page)
            step = asyncio.ensure_future(job.step())
            while epochs_of_rows(gateway)[2] < 8:
                await asyncio.sleep(0)
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await step
            await asyncio.sleep(0)
        assert made[0] is not None and made[0].cancelled()
        await to_the_end(gateway, KeyRotation(gateway.services))
        assert epochs_of_rows(gateway) == {2: KEYS}
        assert report(gateway).done == report(gateway).total == KEYS

    over_keys(test)


@pytest.mark.parametrize("is_remote", [False, True])
def test_one_dek_that_does_not_open_leaves_its_row_alone(
    is_remote: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(gateway: Gateway, job: KeyRotation) -> None:
        gateway.services.bucket_keys.is_remote = is_remote
        resealed = DekRun.resealed

        def damaged(run: DekRun) -> list[bytes | None]:
            found = resealed(run)
            bad = [tail.startswith(b"\x00\x00\x00\x03k09") for tail in run.tails]
            return [None if is_bad else one for is_bad, one in zip(bad, found, strict=True)]

        monkeypatch.setattr(DekRun, "resealed", damaged)
        await to_the_end(gateway, job)
        assert epochs_of_rows(gateway) == {1: 1, 2: KEYS - 1}
        assert (report(gateway).outcome, report(gateway).unreadable) == ("left", 1)
        assert "stays under an older key" in caplog.text
        assert await gateway.get("k09") == b"one 9"

    over_keys(test)


def test_a_pass_with_nothing_to_write_looks_at_more_rows_at_once_than_a_change_takes() -> None:
    async def test(gateway: Gateway, job: KeyRotation) -> None:
        places: list[tuple[int, str]] = []
        while await job.step() != IDLE_S:
            if job.current is not None and job.current.number == 2:
                places.append((job.current.family, job.current.at))
        assert report(gateway).outcome == "complete" and places
        assert not any(at for family, at in places if family == 0), "one look, and it was over"

    over_keys(test)
