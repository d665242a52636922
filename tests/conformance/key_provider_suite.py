"""What every implementation of the KeyProvider port must do; one test or more per sentence of the
port.

An implementation subclasses `KeyProviderSuite` and gives `opened`, a context manager that opens the
provider whose state is in a folder: an empty folder is an empty provider, the same folder again is
a restart. All folders of one test belong to one cluster and seal their copies in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gateway.approvals.request import (
    tenant_key_item,
)
from gateway.approvals.warrant import WarrantRefused
from gateway.data.envelope import (
    NAME_BYTES_MAX,
    KeyChangeRefused,
    KeyProvider,
    KeyringConflict,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
    WarrantKeeper,
)
from gateway.model.encoding import enc
from gateway.model.key_states import KeyState
from tests.conformance.named_epochs_suite import NamedEpochsSuite, asked_to_destroy, signed
from tests.support.erasure_rig import two_of
from tests.support.key_states import destroy_epoch

ALICE, BOB, NOBODY = b"alice".ljust(16, b"."), b"bob".ljust(16, b"."), b"nobody".ljust(16, b".")
PHOTOS, FILES = b"photos".ljust(16, b"."), b"files".ljust(16, b".")
KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))
PLACE, ELSEWHERE = enc("place", b"here"), enc("place", b"there")
THREADS = 8
DAY_MS = 86_400_000

Reopen = Callable[[], AbstractContextManager[KeyProvider]]


_PENDING, _ACTIVE, _ONLY = KeyState.PENDING, KeyState.ACTIVE, KeyState.DECRYPT_ONLY
_DISABLED, _DESTROYED = KeyState.DISABLED, KeyState.DESTROYED

# The ways that an epoch has gone since it was made, and what it may become then.
LEGAL: dict[tuple[KeyState, ...], tuple[KeyState, ...]] = {
    (): (_ACTIVE, _ONLY, _DISABLED),
    (_ACTIVE,): (_ONLY, _DISABLED),
    (_ACTIVE, _ONLY): (_DISABLED,),
    (_DISABLED,): (_PENDING, _DESTROYED),
    (_ACTIVE, _DISABLED): (_ACTIVE, _DESTROYED),
    (_ACTIVE, _ONLY, _DISABLED): (_ONLY, _DESTROYED),
    (_ACTIVE, _DISABLED, _ACTIVE): (_ONLY, _DISABLED),
    (_ACTIVE, _DISABLED, _DESTROYED): (),
}
WAYS = tuple(LEGAL)


class KeyProviderSuite(NamedEpochsSuite):
    """Subclass it and give `opened`.

    Attributes:
        step: every how many bytes of what was wrapped one is changed; 1 changes each.
        cluster_id: of the providers.
        copies_stay_whole: a copy that made a provider is whole for that; it is not where another
            one is due at once.
    """

    step = 1
    copies_stay_whole = True
    cluster_id = b"cluster of tests"

    def opened(self, folder: Path) -> AbstractContextManager[KeyProvider]:
        raise NotImplementedError

    # -- keys of tenants

    def test_a_tenant_has_no_key_until_one_is_made(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            assert provider.tenant_epochs(ALICE) == []
            for use in (
                lambda: provider.active_epoch(ALICE),
                lambda: provider.add_tenant_epoch(ALICE),
                lambda: provider.set_tenant_epoch(ALICE, 1, KeyState.DISABLED),
                lambda: provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY),
                lambda: provider.unwrap_bucket_key(ALICE, PHOTOS, 1, bytes(200)),
                lambda: provider.create_named_key(ALICE, "letters"),
            ):
                with pytest.raises(TenantKeyMissing):
                    use()

    def test_a_tenants_key_is_made_once(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            provider.create_tenant_key(ALICE)
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY
            (about,) = provider.tenant_epochs(ALICE)
            assert (about.epoch, about.state) == (1, KeyState.ACTIVE)
            assert provider.active_epoch(ALICE) == 1
            assert provider.tenant_epochs(BOB) == []

    def test_what_was_wrapped_unwraps_and_each_answer_differs(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = {provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY) for _ in range(5)}
            assert len(wrapped) == 5
            for one in wrapped:
                assert KEY not in one
                assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, one) == KEY

    @pytest.mark.proves("CRY-06")
    def test_what_was_wrapped_for_another_place_does_not_unwrap(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_tenant_key(BOB)
            provider.add_tenant_epoch(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            for tenant, bucket, epoch, tenant_epoch in (
                (BOB, PHOTOS, 1, 1),
                (ALICE, FILES, 1, 1),
                (ALICE, PHOTOS, 2, 1),
                (ALICE, PHOTOS, 1, 2),
            ):
                with pytest.raises(SealInvalid):
                    provider.unwrap_bucket_key(tenant, bucket, epoch, wrapped, tenant_epoch)
            with pytest.raises(TenantKeyMissing):
                provider.unwrap_bucket_key(NOBODY, PHOTOS, 1, wrapped)
            with pytest.raises(TenantKeyMissing):
                provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped, 3)
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY

    def test_changed_bytes_do_not_unwrap(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            changed = [
                wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
                for at in range(0, len(wrapped), self.step)
            ]
            cut = [b"", wrapped[:1], wrapped[: len(wrapped) // 2], wrapped[:-1], wrapped + b"\0"]
            for one in (*changed, *cut):
                with pytest.raises(SealInvalid):
                    provider.unwrap_bucket_key(ALICE, PHOTOS, 1, one)

    # -- epochs

    def test_another_epoch_is_pending_until_it_is_active(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            first = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            assert provider.add_tenant_epoch(ALICE) == 2
            assert provider.add_tenant_epoch(ALICE) == 2  # while it is pending
            assert provider.active_epoch(ALICE) == 1
            states = [about.state for about in provider.tenant_epochs(ALICE)]
            assert states == [KeyState.ACTIVE, KeyState.PENDING]
            provider.set_tenant_epoch(ALICE, 2, KeyState.ACTIVE)
            assert provider.active_epoch(ALICE) == 2
            assert provider.add_tenant_epoch(ALICE) == 3
            second = provider.wrap_bucket_key(ALICE, PHOTOS, 1, OTHER_KEY, 2)
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, first, 1) == KEY
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, second, 2) == OTHER_KEY
            with pytest.raises(SealInvalid):
                provider.unwrap_bucket_key(ALICE, PHOTOS, 1, second, 1)

    @pytest.mark.proves("K-08")
    def test_a_disabled_epoch_refuses_until_it_is_enabled(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            provider.set_tenant_epoch(ALICE, 1, KeyState.DISABLED)
            (disabled,) = provider.tenant_epochs(ALICE)
            assert (disabled.state, disabled.before) == (KeyState.DISABLED, KeyState.ACTIVE)
            with pytest.raises(TenantKeyDisabled):
                provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)
            with pytest.raises(TenantKeyDisabled):
                provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            provider.set_tenant_epoch(ALICE, 1, KeyState.DISABLED)
            assert provider.tenant_epochs(ALICE) == [disabled]
            provider.set_tenant_epoch(ALICE, 1, disabled.before)
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY

    def test_states_that_only_say_something_refuse_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            provider.set_tenant_epoch(ALICE, 1, KeyState.DECRYPT_ONLY)
            assert provider.tenant_epochs(ALICE)[0].state is KeyState.DECRYPT_ONLY
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY
            with pytest.raises(TenantKeyMissing):
                provider.active_epoch(ALICE)

    @pytest.mark.proves("K-08", "B-08")
    @pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way) or "made")
    def test_an_epoch_goes_its_way_and_no_other(
        self, tmp_path: Path, way: tuple[KeyState, ...]
    ) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.add_tenant_epoch(ALICE)
            for state in way:
                provider.set_tenant_epoch(ALICE, 2, state)
            held = provider.tenant_epochs(ALICE)
            legal = LEGAL[way]
            for state in KeyState:
                if state not in legal and state is not held[1].state:
                    with pytest.raises((KeyChangeRefused, TenantKeyMissing)):
                        provider.set_tenant_epoch(ALICE, 2, state)
                    assert provider.tenant_epochs(ALICE) == held
        for number, state in enumerate(legal):
            with self.opened(tmp_path / f"b{number}") as provider:
                provider.create_tenant_key(ALICE)
                provider.add_tenant_epoch(ALICE)
                for one in (*way, state):
                    provider.set_tenant_epoch(ALICE, 2, one)
                assert provider.tenant_epochs(ALICE)[1].state is state

    @pytest.mark.proves("K-11")
    def test_a_destroyed_epoch_is_gone_and_its_number_taken(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            provider.add_tenant_epoch(ALICE)
            provider.set_tenant_epoch(ALICE, 2, KeyState.ACTIVE)
            provider.set_tenant_epoch(ALICE, 1, KeyState.DISABLED)
            provider.set_tenant_epoch(ALICE, 1, KeyState.DESTROYED)
            states = [about.state for about in provider.tenant_epochs(ALICE)]
            assert states == [KeyState.DESTROYED, KeyState.ACTIVE]
            with pytest.raises(TenantKeyDisabled):
                provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)
            for state in (KeyState.ACTIVE, KeyState.DESTROYED):
                with pytest.raises(TenantKeyMissing):
                    provider.set_tenant_epoch(ALICE, 1, state)
            with pytest.raises(TenantKeyMissing):
                provider.set_tenant_epoch(ALICE, 3, KeyState.ACTIVE)
            provider.create_tenant_key(ALICE)
            assert [about.state for about in provider.tenant_epochs(ALICE)] == states

    def test_the_last_epoch_takes_the_named_keys_along(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            for tenant in (ALICE, BOB):
                provider.create_tenant_key(tenant)
                provider.create_named_key(tenant, "letters")
            wrapped = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            provider.add_tenant_epoch(ALICE)
            destroy_epoch(provider, ALICE, 1)
            assert provider.unwrap_named(ALICE, "letters", PLACE, wrapped) == KEY
            destroy_epoch(provider, ALICE, 2)
            assert not provider.has_named_key(ALICE, "letters")
            assert provider.named_keys(ALICE) == []
            with pytest.raises(NamedKeyMissing):
                provider.unwrap_named(ALICE, "letters", PLACE, wrapped)
            assert provider.named_keys(BOB) == ["letters"]

    @pytest.mark.proves("B-10")
    def test_nothing_is_destroyed_that_its_approvers_have_not_approved(
        self, tmp_path: Path
    ) -> None:
        with self.opened(tmp_path / "a") as provider:
            assert isinstance(provider, WarrantKeeper)
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            provider.set_approvers(two_of().document.encode())
            request = asked_to_destroy(self.cluster_id, tenant_key_item(ALICE, 1))
            other = asked_to_destroy(self.cluster_id, tenant_key_item(BOB, 1))
            refused = [b"", signed(request, "alice"), signed(other, "alice", "bruno")]
            provider.set_tenant_epoch(ALICE, 1, KeyState.DISABLED)
            for warrant in refused:
                with pytest.raises(WarrantRefused):
                    provider.set_tenant_epoch(ALICE, 1, KeyState.DESTROYED, warrant)
            provider.set_tenant_epoch(ALICE, 1, KeyState.ACTIVE)
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY
            approved = signed(request, "alice", "bruno")
            with pytest.raises(KeyChangeRefused):
                provider.set_tenant_epoch(ALICE, 1, KeyState.DESTROYED, approved)
            destroy_epoch(provider, ALICE, 1, approved)
            assert provider.tenant_epochs(ALICE)[0].state is KeyState.DESTROYED
        with self.opened(tmp_path / "a") as provider:
            assert isinstance(provider, WarrantKeeper)
            assert provider.approvers() == two_of().document.encode()

    # -- named keys

    def test_named_keys_are_a_tenants_own(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_tenant_key(BOB)
            longest = "é" * (NAME_BYTES_MAX // 2)
            for name in ("letters", "bills", "letters", longest):
                provider.create_named_key(ALICE, name)
            assert provider.named_keys(ALICE) == ["bills", "letters", longest]
            assert provider.named_keys(BOB) == []
            assert provider.has_named_key(ALICE, "letters")
            assert not provider.has_named_key(BOB, "letters")
            assert not provider.has_named_key(ALICE, "letter")
            assert not provider.has_named_key(ALICE, "")
            assert [about.epoch for about in provider.tenant_epochs(ALICE)] == [1]

    def test_what_a_named_key_sealed_opens_in_its_place_only(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            for tenant in (ALICE, BOB):
                provider.create_tenant_key(tenant)
                for name in ("letters", "bills"):
                    provider.create_named_key(tenant, name)
            wrapped = {provider.wrap_named(ALICE, "letters", PLACE, KEY) for _ in range(5)}
            assert len(wrapped) == 5
            for one in wrapped:
                assert KEY not in one
                assert provider.unwrap_named(ALICE, "letters", PLACE, one) == KEY
            for tenant, name, context in (
                (BOB, "letters", PLACE),
                (ALICE, "bills", PLACE),
                (ALICE, "letters", ELSEWHERE),
            ):
                with pytest.raises(SealInvalid):
                    provider.unwrap_named(tenant, name, context, one)
            for tenant, name in ((ALICE, "other"), (NOBODY, "letters"), (ALICE, "")):
                with pytest.raises(NamedKeyMissing):
                    provider.unwrap_named(tenant, name, PLACE, one)
                with pytest.raises(NamedKeyMissing):
                    provider.wrap_named(tenant, name, PLACE, KEY)

    def test_what_a_named_key_sealed_may_be_of_any_length(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            for length in (0, 1, 32, 105, 4096):
                wrapped = provider.wrap_named(ALICE, "letters", PLACE, b"x" * length)
                assert provider.unwrap_named(ALICE, "letters", PLACE, wrapped) == b"x" * length

    def test_changed_bytes_of_a_named_key_do_not_open(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            wrapped = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            assert provider.unwrap_named(ALICE, "letters", PLACE, wrapped) == KEY
            for at in range(0, len(wrapped), self.step):
                one = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
                with pytest.raises(SealInvalid):
                    provider.unwrap_named(ALICE, "letters", PLACE, one)

    def test_a_bucket_key_is_not_a_named_one(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            with pytest.raises(SealInvalid):
                provider.unwrap_named(ALICE, "letters", PLACE, wrapped)
            named = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            with pytest.raises(SealInvalid):
                provider.unwrap_bucket_key(ALICE, PHOTOS, 1, named)

    # -- restart

    def test_all_is_there_after_a_restart(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            bucket = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            named = provider.wrap_named(ALICE, "letters", PLACE, OTHER_KEY)
            provider.add_tenant_epoch(ALICE)
            provider.set_tenant_epoch(ALICE, 2, KeyState.ACTIVE)
            provider.set_tenant_epoch(ALICE, 1, KeyState.DECRYPT_ONLY)
            provider.create_tenant_key(BOB)
            provider.add_tenant_epoch(BOB)
            destroy_epoch(provider, BOB, 1)
            held = provider.tenant_epochs(ALICE), provider.tenant_epochs(BOB)
        with self.opened(tmp_path / "a") as provider:
            assert (provider.tenant_epochs(ALICE), provider.tenant_epochs(BOB)) == held
            assert provider.active_epoch(ALICE) == 2
            assert provider.named_keys(ALICE) == ["letters"]
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, bucket) == KEY
            assert provider.unwrap_named(ALICE, "letters", PLACE, named) == OTHER_KEY
            assert provider.add_tenant_epoch(BOB) == 2  # it was pending

    # -- the copy that is kept with the data

    def test_a_copy_brings_all_keys(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            bucket = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            named = provider.wrap_named(ALICE, "letters", PLACE, OTHER_KEY)
            provider.add_tenant_epoch(ALICE)
            provider.set_tenant_epoch(ALICE, 2, KeyState.ACTIVE)
            provider.set_tenant_epoch(ALICE, 1, KeyState.DISABLED)
            copy, held = provider.export_sealed(), provider.tenant_epochs(ALICE)
            assert provider.is_whole(copy)
        with self.opened(tmp_path / "b") as provider:
            assert provider.is_whole(copy)  # there is nothing here that it lacks
            for _ in range(2):
                provider.import_sealed(copy)
                assert provider.tenant_epochs(ALICE) == held
            provider.set_tenant_epoch(ALICE, 1, KeyState.ACTIVE)
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, bucket) == KEY
            assert provider.unwrap_named(ALICE, "letters", PLACE, named) == OTHER_KEY
        with self.opened(tmp_path / "b") as provider:
            assert provider.active_epoch(ALICE) == 2

    def test_a_copy_is_whole_until_a_key_is_made_or_changes(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            changes: list[Callable[[], object]] = [
                lambda: provider.create_tenant_key(BOB),
                lambda: provider.create_named_key(ALICE, "letters"),
                lambda: provider.add_tenant_epoch(ALICE),
                lambda: provider.set_tenant_epoch(ALICE, 2, KeyState.ACTIVE),
                lambda: provider.set_tenant_epoch(ALICE, 1, KeyState.DISABLED),
                lambda: provider.set_tenant_epoch(ALICE, 1, KeyState.DESTROYED),
            ]
            for change in changes:
                copy = provider.export_sealed()
                provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY, provider.active_epoch(ALICE))
                assert provider.is_whole(copy)
                change()
                assert not provider.is_whole(copy)
            assert provider.is_whole(provider.export_sealed())

    def test_of_two_states_of_one_key_the_later_holds(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            provider.add_tenant_epoch(ALICE)
            provider.set_tenant_epoch(ALICE, 2, KeyState.ACTIVE)
            early = provider.export_sealed()
            destroy_epoch(provider, ALICE, 1)
            late = provider.export_sealed()
        with self.opened(tmp_path / "b") as provider:
            for copy in (early, late, early):
                provider.import_sealed(copy)
            states = [about.state for about in provider.tenant_epochs(ALICE)]
            assert states == [KeyState.DESTROYED, KeyState.ACTIVE]
            with pytest.raises(TenantKeyDisabled):
                provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)
            assert provider.is_whole(late) is self.copies_stay_whole
            assert provider.is_whole(provider.export_sealed())
            assert not provider.is_whole(early)

    def test_bytes_that_are_no_copy_change_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            copy = provider.export_sealed()
            held = provider.tenant_epochs(ALICE)
            for at in (0, 3, 4, 30, 60, len(copy) - 1):
                changed = copy[:at] + bytes([copy[at] ^ 1]) + copy[at + 1 :]
                with pytest.raises(SealInvalid):
                    provider.import_sealed(changed)
                with pytest.raises(SealInvalid):
                    provider.is_whole(changed)
            for cut in (b"", copy[:10], copy[:-1], copy + b"\0"):
                with pytest.raises(SealInvalid):
                    provider.import_sealed(cut)
            assert provider.tenant_epochs(ALICE) == held

    def test_a_copy_with_another_key_of_a_tenant_is_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            copy = provider.export_sealed()
        with self.opened(tmp_path / "b") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            assert not provider.is_whole(copy)
            with pytest.raises(KeyringConflict):
                provider.import_sealed(copy)
            assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY

    # -- many at once

    @pytest.mark.proves("CRY-10")
    def test_threads_wrap_and_unwrap_at_once(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")

            def story(number: int) -> None:
                bucket = bytes([number]) * 16
                for turn in range(10):
                    key = bytes([number, turn]) * 16
                    wrapped = provider.wrap_bucket_key(ALICE, bucket, turn, key)
                    assert provider.unwrap_bucket_key(ALICE, bucket, turn, wrapped) == key
                    named = provider.wrap_named(ALICE, "letters", bucket, key)
                    assert provider.unwrap_named(ALICE, "letters", bucket, named) == key

            _at_once(story)

    def test_threads_that_make_one_key_agree(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            wrapped: list[bytes] = []

            def story(number: int) -> None:
                provider.create_tenant_key(ALICE)
                wrapped.append(provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY))
                provider.create_named_key(ALICE, "letters")
                assert provider.add_tenant_epoch(ALICE) == 2

            _at_once(story)
            for one in wrapped:
                assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, one) == KEY
            assert [about.epoch for about in provider.tenant_epochs(ALICE)] == [1, 2]
            assert provider.named_keys(ALICE) == ["letters"]

    # -- nothing to see

    @pytest.mark.proves("CRY-17")
    def test_no_representation_tells_a_key(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            with pytest.raises(SealInvalid) as refused:
                provider.unwrap_bucket_key(ALICE, FILES, 1, wrapped)
            for text in (repr(provider), repr(refused.value), str(refused.value)):
                assert KEY.hex() not in text and repr(KEY) not in text
                assert len(text) < 300


def _at_once(story: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(story, number) for number in range(THREADS)]:
            done.result(60)
