"""Job `erasure`: carry out erasures, one small step at a time, until each is certified.

Not for beginning or cancelling one (`gateway.objects.erasing`). Every step ends by writing the
erasure's row, checked to be what was read, and everything a step does can be done again: a process
that dies anywhere goes on where it was. What destroys a key is in the tenant's journal before it
takes effect, and once more after it.

A step that cannot go on says why in `detail` and is tried again: the notice has not ended,
approvals are missing, a legal hold exists, a rotation is under way.

Source: docs/erasure.md. Requirements: E-01, E-02, E-03, C7, I4, I5.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from gateway.approvals.request import day
from gateway.approvals.warrant import WarrantRefused
from gateway.config_erasure import ErasureConfig
from gateway.data.envelope import TenantKeyDisabled
from gateway.journal.certificate import DESTROYED, DONE
from gateway.journal.events import Phase
from gateway.meta import erasure_rows, rotations
from gateway.meta.erasure_rows import Erasure, StoredErasure
from gateway.meta.kv import BatchConflict, Check
from gateway.model.erasure import STEPS, ErasureKind, ErasureStep, next_step
from gateway.model.errors import KmsKeyDisabled
from gateway.model.key_states import KeyState
from gateway.model.names import BucketId, TenantId
from gateway.objects import (
    approving,
    erasing,
    erasure_acts,
    erasure_bars,
    erasure_looks,
    key_epochs,
    key_rotation,
)
from gateway.objects.context import Services
from gateway.objects.erasure_certificate import certificate_of
from gateway.objects.key_rotation import commit_rows
from gateway.objects.tenancy import NoSuchIdentity, set_tenant_enabled
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

logger = logging.getLogger(__name__)

IDLE_S = 1.0
WAIT_S = 3.0  # until what waits is looked at again, where a clock does not say it
ROWS_PER_S = 2000  # of rotations that an erasure begins
SETTLE_ROUNDS_MAX = 3


class ErasureWaits(StorageError):
    """A step of an erasure cannot go on yet."""

    kind = Kind.UNAVAILABLE


Owner = TypeVar("Owner", BucketId, TenantId)
Act = Callable[[Erasure], Awaitable[Erasure]]
"""Does some of a step: an erasure at another step, or at the same with more done."""


class ErasureKeeper:
    """One piece of one erasure a step.

    Args:
        settle: frees what can be freed of the log; None: nothing does.
    """

    name = "erasure"

    def __init__(
        self,
        services: Services,
        config: ErasureConfig,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._services = services
        self._config = config
        self._settle = settle
        self._again_s: dict[str, float] = {}  # erasures that wait until then
        self._said = ""
        self._steps = (0, 0)
        self._rounds: Counter[str] = Counter()
        self._acts: dict[ErasureStep, Act] = {
            ErasureStep.NOTICE: self._notice,
            ErasureStep.DISABLE: self._disable,
            ErasureStep.DISABLED: self._disabled,
            ErasureStep.DELETE: self._delete,
            ErasureStep.ROTATE_BUCKET: self._rotate_bucket,
            ErasureStep.RETIRE_BUCKET: self._retire_bucket,
            ErasureStep.DESTROY: self._destroy,
            ErasureStep.ROTATE_TENANT: self._rotate_tenant,
            ErasureStep.RETIRE_TENANT: self._retire_tenant,
            ErasureStep.PURGE: self._purge,
            ErasureStep.FORGET: self._forget,
            ErasureStep.SETTLE: self._free_log,
            ErasureStep.CERTIFY: self._certify,
            ErasureStep.CANCEL: self._cancel,
        }

    def progress(self) -> Progress:
        """How far the erasure is that was moved last."""
        done, total = self._steps
        return Progress(done=done, total=total, unit="steps", detail=self._said)

    async def step(self) -> float:
        """Move one erasure on."""
        services = self._services
        now_s = services.env.monotonic_s()
        for stored in erasure_rows.scan_erasures(
            services.log, services.records, limit=erasing.ERASURES_MAX
        ):
            erasure = stored.erasure
            if self._again_s.get(erasure.erasure_id, 0.0) > now_s:
                continue
            await self._move(stored)
            return 0.0
        return IDLE_S

    async def run_until_waiting(self) -> None:
        """Do everything that can be done at once."""
        self._again_s.clear()
        while await self.step() != IDLE_S:
            pass

    async def _move(self, stored: StoredErasure) -> None:
        erasure = stored.erasure
        named = f"{erasure.kind} {erasure.erasure_id[:8]}"
        try:
            moved = await self._acts[erasure.at](erasure)
        except ErasureWaits as waits:
            moved = replace(erasure, detail=str(waits.fields["why"]))
        except WarrantRefused as refused:
            moved = await self._asked_again(erasure, refused)
        except BatchConflict:
            return
        except StorageError as error:
            if error.kind in (Kind.CORRUPT, Kind.INVALID):
                logger.error("erasure %s: %s", named, error)
            moved = replace(erasure, detail=error.message())
        if moved.step != erasure.step:
            since_ms = erasing.latest_now_ms(self._services)
            moved = replace(moved, step_since_ms=since_ms, detail="")
        elif moved == erasure or moved.detail:
            self._again_s[erasure.erasure_id] = self._services.env.monotonic_s() + WAIT_S
        steps = STEPS[moved.of]
        self._steps = (steps.index(moved.at) if moved.at in steps else 0, len(steps) - 1)
        self._said = f"{named}: {moved.step}" + (f", {moved.detail}" if moved.detail else "")
        if moved != erasure:
            await self._save(stored, moved)

    async def _save(self, stored: StoredErasure, moved: Erasure) -> None:
        services = self._services
        check = Check(erasure_rows.erasure_row(moved.erasure_id), stored.revision)
        writes = erasure_rows.set_erasure(services.records, services.nonces, moved)
        try:
            await commit_rows(services, (check,), writes)
        except BatchConflict:
            logger.info("erasure %s was changed meanwhile", moved.erasure_id)

    # Approvals

    async def _asked_again(self, erasure: Erasure, refused: WarrantRefused) -> Erasure:
        """What was approved does not hold any longer: ask for it as it is."""
        held = await erasing.ask_again(self._services, erasure)
        logger.warning("erasure %s: %s; asked again", erasure.erasure_id, refused)
        return replace(
            held, items=(), detail=f"{refused.message()}; request {held.request} takes its place"
        )

    async def _authorize(self, erasure: Erasure) -> Erasure:
        """The erasure with a warrant for all it does. Raises: ErasureWaits, WarrantRefused."""
        services = self._services
        needed = erasing.items_of(services, erasure)
        approvers = approving.approvers_of(services)
        if approvers is None:
            return replace(erasure, items=erasure.items or needed)
        if erasure.items and set(needed) <= set(erasure.items):
            return erasure
        if not erasure.request:
            raise WarrantRefused(reason="approvers were registered since it was asked for")
        pending = approving.find_open(services, erasure.request)
        if not set(needed) <= set(pending.request.permits):
            raise WarrantRefused(reason="there are other keys than when it was asked for")
        lacking = approving.missing(services, pending)
        if lacking:
            raise ErasureWaits(why=f"waits for {lacking} approval(s) of request {erasure.request}")
        warrant = approving.warrant_of(services, pending)
        approving.spend(services, erasing.act_item(erasure), warrant, erasure.erasure_id)
        held = {"approvers": approvers.document, "warrant": warrant.decode()}
        return replace(erasure, items=pending.request.permits, approvals=(*erasure.approvals, held))

    # Steps

    async def _notice(self, erasure: Erasure) -> Erasure:
        kept_ms = erasure_bars.kept_until_ms(self._services, erasure.of, _tenant(erasure))
        is_notice = erasure.of is ErasureKind.TENANT
        if is_notice and kept_ms > erasure.execute_at_ms:
            later = replace(erasure, execute_at_ms=kept_ms, items=())
            return await erasing.ask_again(self._services, later) if later.request else later
        self._wait_for_leaver(erasure)
        if is_notice and erasing.certain_now_ms(self._services) < erasure.execute_at_ms:
            raise ErasureWaits(why=f"notice until {day(erasure.execute_at_ms)}")
        if erasure.of is not ErasureKind.OBJECT:
            await self._refuse_locked(erasure)
        erasure = await self._authorize(erasure)
        dates = erasure_bars.dates_of(self._services, erasure.of, _tenant(erasure))
        was_off = erasure_looks.off_already(self._services, erasure)
        return _next(replace(erasure, was_off=was_off, departure=dates))

    def _wait_for_leaver(self, erasure: Erasure) -> None:
        """Raises: ErasureWaits, until the tenant has had his time to retrieve. (E-06)"""
        until_ms = erasure_bars.kept_until_ms(self._services, erasure.of, _tenant(erasure))
        if erasing.certain_now_ms(self._services) < until_ms:
            raise ErasureWaits(why=f"the tenant leaves and can retrieve until {day(until_ms)}")

    async def _refuse_locked(self, erasure: Erasure) -> None:
        """Raises: ErasureWaits; KmsKeyDisabled, TenantKeyDisabled: nobody can tell."""
        if locked := await erasure_looks.locked_of(self._services, erasure):
            what = "locked or under a legal hold" if erasure.bucket else "under a legal hold"
            raise ErasureWaits(why=f"{locked} version(s) are {what}")

    async def _disable(self, erasure: Erasure) -> Erasure:
        self._wait_for_leaver(erasure)
        erasure = await self._authorize(erasure)
        await self._refuse_locked_since(erasure)
        erasure = await self._record(erasure, erasing.DISABLE_EVENT, Phase.INTENT)
        await self._set_keys(erasure, KeyState.DISABLED)
        return _next(await self._record(erasure, erasing.DISABLE_EVENT, Phase.OUTCOME))

    async def _set_keys(self, erasure: Erasure, state: KeyState) -> None:
        services, is_on = self._services, state is not KeyState.DISABLED
        but = erasure.was_off if is_on else ()
        if erasure.of is ErasureKind.BUCKET:
            await key_epochs.set_all_bucket_epochs(services, _bucket(erasure), state, but)
            return
        if "tenant" not in but:
            with suppress(NoSuchIdentity):  # its row went in a later step
                await set_tenant_enabled(services, erasure.tenant, enabled=is_on)
        await key_epochs.set_all_tenant_epochs(services, _tenant(erasure), state, but)

    async def _disabled(self, erasure: Erasure) -> Erasure:
        until_ms = erasure.step_since_ms + self._config.disabled_hours * 3_600_000
        if erasing.certain_now_ms(self._services) < until_ms:
            raise ErasureWaits(why=f"keys are disabled; destroyed from {day(until_ms)}")
        self._wait_for_leaver(erasure)
        await self._refuse_locked_since(erasure)
        erasure = await self._authorize(erasure)
        bucket = _bucket(erasure) if erasure.bucket else None
        count, size_bytes = await erasing.lost_in(self._services, _tenant(erasure), bucket)
        return _next(replace(erasure, objects=count, size_bytes=size_bytes))

    async def _refuse_locked_since(self, erasure: Erasure) -> None:
        """Somebody may have locked what was not: while approvals were asked for anew, or because
        keys were enabled. Under keys that are disabled nobody has.
        """
        with suppress(KmsKeyDisabled, TenantKeyDisabled):
            await self._refuse_locked(erasure)

    async def _cancel(self, erasure: Erasure) -> Erasure:
        if erasure.of is not ErasureKind.OBJECT:
            await self._set_keys(erasure, KeyState.DECRYPT_ONLY)
        for held in erasure.approvals:
            approving.use_up(self._services, held["warrant"].encode(), erasure.erasure_id)
        erasure = await self._record(erasure, "erasure.cancel", Phase.OUTCOME)
        if erasure.request:
            await approving.drop(self._services, erasure.request)
        return replace(erasure, step=ErasureStep.CANCELLED.value, name="", key="", version="")

    async def _delete(self, erasure: Erasure) -> Erasure:
        services, bucket = self._services, _bucket(erasure)
        self._wait_for_leaver(erasure)
        await self._refuse_locked(erasure)
        erasure = await self._record(erasure, "erasure.delete", Phase.INTENT)
        for version, _ in erasure_looks.versions_of(services, bucket, erasure.key, erasure.version):
            await erasure_acts.delete_version(services, bucket, erasure.key, version)
        erasure = await self._record(erasure, "erasure.delete", Phase.OUTCOME)
        return _next(self._limited(erasure))

    async def _rotate_bucket(self, erasure: Erasure) -> Erasure:
        rotate, bucket = key_rotation.rotate_bucket_key, _bucket(erasure)
        return await self._rotated(erasure, rotations.BUCKET, bucket, rotate)

    async def _rotate_tenant(self, erasure: Erasure) -> Erasure:
        rotate, tenant = key_rotation.rotate_tenant_key, _tenant(erasure)
        return await self._rotated(erasure, rotations.TENANT, tenant, rotate)

    async def _rotated(
        self,
        erasure: Erasure,
        kind: str,
        owner: Owner,
        rotate: Callable[[Services, Owner, int], Awaitable[rotations.Rotation]],
    ) -> Erasure:
        """Have everything under an epoch that what is erased was never under; any rotation since
        then will do.
        """
        services = self._services
        newest = erasure_acts.newest_epoch(services, erasure, kind, in_use=True)
        if not newest:
            return _next(erasure)  # the bucket was deleted, and its keys went with it
        if not erasure_acts.rotation_ended(services, kind, owner):
            raise ErasureWaits(why=f"the key of the {kind} is being rotated")
        if newest >= erasure.limits[kind]:
            return _next(erasure)
        await rotate(services, owner, ROWS_PER_S)
        raise ErasureWaits(why=f"the key of the {kind} is being rotated")

    def _limited(self, erasure: Erasure) -> Erasure:
        """The erasure with the epochs that what is erased, which is gone, can have been under."""
        kinds = [rotations.TENANT]
        if erasure.of is ErasureKind.OBJECT:
            kinds.append(rotations.BUCKET)
        newest = {k: erasure_acts.newest_epoch(self._services, erasure, k) for k in kinds}
        return replace(erasure, limits={kind: epoch + 1 for kind, epoch in newest.items()})

    async def _retire_bucket(self, erasure: Erasure) -> Erasure:
        """Destroy what is older than the rotation of the bucket's key; nothing is left under it."""
        return await self._destroy_next(erasure, rotations.BUCKET, forced=False)

    async def _retire_tenant(self, erasure: Erasure) -> Erasure:
        """Destroy what is older than the rotation of the tenant's key."""
        return await self._destroy_next(erasure, rotations.TENANT, forced=False)

    async def _destroy(self, erasure: Erasure) -> Erasure:
        """Destroy all epochs of what is erased, also those that something is under."""
        await self._set_keys(erasure, KeyState.DISABLED)
        return await self._destroy_next(erasure, erasure.kind, forced=True)

    async def _destroy_next(self, erasure: Erasure, kind: str, *, forced: bool) -> Erasure:
        """Destroy one key, in the journal before and after. Idempotent."""
        services = self._services
        erasure = await self._authorize(erasure)
        for item in erasure_acts.doomed(services, erasure, kind):
            erasure = await self._record(erasure, DESTROYED, Phase.INTENT, item)
            await erasure_acts.destroy_key(services, item, erasure.warrant, forced=forced)
            erasure = await self._record(erasure, DESTROYED, Phase.OUTCOME, item)
            at_ms = int(erasure.events[-1]["at_ms"])
            return replace(
                erasure,
                destroyed={**erasure.destroyed, item: at_ms},
                log_sequence=await erasure_acts.log_sequence(services),
            )
        if erasure.at is ErasureStep.DESTROY:
            erasure = self._limited(erasure)
        return _next(erasure)

    async def _purge(self, erasure: Erasure) -> Erasure:
        taken = await erasure_acts.purge_some(self._services, erasure)
        return _purged(erasure, taken) if taken else _next(erasure)

    async def _forget(self, erasure: Erasure) -> Erasure:
        taken = await erasure_acts.forget_some(self._services, erasure)
        return _purged(erasure, taken) if taken else _next(erasure)

    async def _free_log(self, erasure: Erasure) -> Erasure:
        """Free what can be freed of the groups that may hold copies of the keys."""
        left = erasure_acts.log_groups_to(self._services, erasure.log_sequence)
        self._rounds[erasure.erasure_id] += 1
        is_last = self._rounds[erasure.erasure_id] > SETTLE_ROUNDS_MAX or self._settle is None
        if left and not is_last and self._settle is not None:
            await self._settle()
            return replace(erasure, log_groups_left=left)
        return _next(replace(erasure, log_groups_left=left))

    async def _certify(self, erasure: Erasure) -> Erasure:
        services = self._services
        erasure = await self._record(erasure, DONE, Phase.OUTCOME)
        text = await certificate_of(services, erasure, self._config)
        if erasure.request:
            await approving.drop(services, erasure.request)
        return _next(replace(erasure, certificate=text, name="", key="", version=""))

    async def _record(self, erasure: Erasure, kind: str, phase: Phase, item: str = "") -> Erasure:
        return await erasing.record_once(self._services, erasure, kind, phase, item)


def _next(erasure: Erasure) -> Erasure:
    return replace(erasure, step=next_step(erasure.of, erasure.at).value)


def _purged(erasure: Erasure, taken: Counter[str]) -> Erasure:
    return replace(erasure, purged=dict(Counter(erasure.purged) + taken))


def _tenant(erasure: Erasure) -> TenantId:
    return TenantId(bytes.fromhex(erasure.tenant))


def _bucket(erasure: Erasure) -> BucketId:
    return BucketId(bytes.fromhex(erasure.bucket))
