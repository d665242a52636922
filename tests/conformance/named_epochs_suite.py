"""What every implementation of the KeyProvider port must do with epochs of named keys; see
`tests.conformance.key_provider_suite`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from gateway.approvals.request import Act, Request, name_check, named_key_item
from gateway.approvals.warrant import WarrantRefused, approve, encode_warrant
from gateway.data.envelope import (
    KeyChangeRefused,
    KeyProvider,
    NamedKeyDisabled,
    NamedKeyMissing,
    SealInvalid,
    WarrantKeeper,
)
from gateway.data.named_form import parted, with_epoch
from gateway.model.encoding import enc
from gateway.model.key_states import KeyState
from storaged.base.env import RealEnv
from tests.support.erasure_rig import PRIVATE, two_of
from tests.support.key_states import destroy_epoch

ALICE, NOBODY = b"alice".ljust(16, b"."), b"nobody".ljust(16, b".")
KEY, OTHER_KEY = bytes(range(32)), bytes(range(32, 64))
PLACE = enc("place", b"here")
DAY_MS = 86_400_000

_ACTIVE, _DESTROYED = KeyState.ACTIVE, KeyState.DESTROYED


class NamedEpochsSuite:
    """See `KeyProviderSuite`."""

    step = 1
    cluster_id = b"cluster of tests"

    def opened(self, folder: Path) -> AbstractContextManager[KeyProvider]:
        raise NotImplementedError

    @pytest.mark.proves("K-10")
    def test_a_named_key_wraps_under_its_newest_epoch_and_opens_all(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            first = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            assert provider.add_named_epoch(ALICE, "letters") == 2
            assert provider.add_named_epoch(ALICE, "letters") == 2  # while it is pending
            pending = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            provider.set_named_epoch(ALICE, "letters", 2, KeyState.ACTIVE)
            second = provider.wrap_named(ALICE, "letters", PLACE, OTHER_KEY)
            assert [parted(one)[0] for one in (first, pending, second)] == [1, 1, 2]
            assert len(second) == len(first) + 5
            provider.create_named_key(ALICE, "letters")
            held = provider.named_epochs(ALICE, "letters")
            assert [(one.epoch, one.state) for one in held] == [(1, _ACTIVE), (2, _ACTIVE)]
            assert all(one.created_at_ms for one in held)
            assert provider.named_keys(ALICE) == ["letters"]
            assert provider.named_epochs(ALICE, "bills") == provider.named_epochs(ALICE, "") == []
            assert [one.epoch for one in provider.tenant_epochs(ALICE)] == [1]
        with self.opened(tmp_path / "a") as provider:
            assert provider.named_epochs(ALICE, "letters") == held
            for wrapped, key in ((first, KEY), (pending, KEY), (second, OTHER_KEY)):
                assert provider.unwrap_named(ALICE, "letters", PLACE, wrapped) == key

    def test_what_is_under_one_epoch_opens_under_no_other(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            for epoch in (2, 3):
                provider.add_named_epoch(ALICE, "letters")
                provider.set_named_epoch(ALICE, "letters", epoch, KeyState.ACTIVE)
            wrapped = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            bare = parted(wrapped)[1]
            for other in (bare, with_epoch(2, bare), b"\4\0\0\0\1" + bare, b"\4\0\0"):
                with pytest.raises(SealInvalid):
                    provider.unwrap_named(ALICE, "letters", PLACE, other)
            with pytest.raises(NamedKeyMissing):
                provider.unwrap_named(ALICE, "letters", PLACE, with_epoch(9, bare))
            for at in range(5, len(wrapped), self.step):
                one = wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :]
                with pytest.raises(SealInvalid):
                    provider.unwrap_named(ALICE, "letters", PLACE, one)

    @pytest.mark.proves("K-10", "K-11")
    def test_an_epoch_of_a_named_key_ends_as_one_of_a_tenants_does(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            for name in ("letters", "bills"):
                provider.create_named_key(ALICE, name)
            wrapped = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            bill = provider.wrap_named(ALICE, "bills", PLACE, KEY)
            provider.add_named_epoch(ALICE, "letters")
            provider.set_named_epoch(ALICE, "letters", 2, KeyState.ACTIVE)
            before = provider.export_sealed()
            provider.set_named_epoch(ALICE, "letters", 1, KeyState.DECRYPT_ONLY)
            assert not provider.is_whole(before)
            assert provider.unwrap_named(ALICE, "letters", PLACE, wrapped) == KEY
            with pytest.raises(KeyChangeRefused):
                provider.set_named_epoch(ALICE, "letters", 1, KeyState.DESTROYED)
            provider.set_named_epoch(ALICE, "letters", 1, KeyState.DISABLED)
            with pytest.raises(NamedKeyDisabled):
                provider.unwrap_named(ALICE, "letters", PLACE, wrapped)
            provider.set_named_epoch(ALICE, "letters", 1, KeyState.DECRYPT_ONLY)
            assert provider.unwrap_named(ALICE, "letters", PLACE, wrapped) == KEY
            for state in (KeyState.DISABLED, KeyState.DESTROYED):
                provider.set_named_epoch(ALICE, "letters", 1, state)
            provider.import_sealed(before)
            states = [one.state for one in provider.named_epochs(ALICE, "letters")]
            assert states == [KeyState.DESTROYED, KeyState.ACTIVE]
            with pytest.raises(NamedKeyDisabled):
                provider.unwrap_named(ALICE, "letters", PLACE, wrapped)
            for epoch, state in ((1, KeyState.DECRYPT_ONLY), (1, _DESTROYED), (3, _ACTIVE)):
                with pytest.raises(NamedKeyMissing):
                    provider.set_named_epoch(ALICE, "letters", epoch, state)
            provider.create_named_key(ALICE, "letters")
            assert len(provider.named_epochs(ALICE, "letters")) == 2
            assert provider.unwrap_named(ALICE, "bills", PLACE, bill) == KEY
            provider.add_tenant_epoch(ALICE)
            for epoch in (1, 2):  # the tenant's last one takes all along
                destroy_epoch(provider, ALICE, epoch)
            assert provider.named_keys(ALICE) == []

    def test_there_are_no_epochs_of_a_named_key_that_there_is_not(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            for tenant, name in ((ALICE, "letters"), (NOBODY, "letters"), (ALICE, "")):
                assert provider.named_epochs(tenant, name) == []
                with pytest.raises(NamedKeyMissing):
                    provider.add_named_epoch(tenant, name)
                with pytest.raises(NamedKeyMissing):
                    provider.set_named_epoch(tenant, name, 1, KeyState.DISABLED)
            assert [one.state for one in provider.tenant_epochs(ALICE)] == [_ACTIVE]

    @pytest.mark.proves("B-10")
    def test_no_epoch_of_a_named_key_is_destroyed_unapproved(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            assert isinstance(provider, WarrantKeeper)
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            provider.add_named_epoch(ALICE, "letters")
            provider.set_named_epoch(ALICE, "letters", 2, KeyState.ACTIVE)
            provider.set_approvers(two_of().document.encode())
            provider.set_named_epoch(ALICE, "letters", 1, KeyState.DISABLED)
            other = asked_to_destroy(self.cluster_id, named_key_item(ALICE, "bills", 1))
            for warrant in (b"", signed(other, "alice", "bruno")):
                with pytest.raises(WarrantRefused):
                    provider.set_named_epoch(ALICE, "letters", 1, KeyState.DESTROYED, warrant)
            wanted = asked_to_destroy(self.cluster_id, named_key_item(ALICE, "letters", 1))
            approved = signed(wanted, "alice", "bruno")
            provider.set_named_epoch(ALICE, "letters", 1, KeyState.DESTROYED, approved)
            assert provider.named_epochs(ALICE, "letters")[0].state is KeyState.DESTROYED

    def test_a_copy_brings_all_epochs_of_a_named_key(self, tmp_path: Path) -> None:
        with self.opened(tmp_path / "a") as provider:
            provider.create_tenant_key(ALICE)
            provider.create_named_key(ALICE, "letters")
            early = provider.export_sealed()
            first = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            provider.add_named_epoch(ALICE, "letters")
            assert not provider.is_whole(early)
            provider.set_named_epoch(ALICE, "letters", 2, KeyState.ACTIVE)
            second = provider.wrap_named(ALICE, "letters", PLACE, KEY)
            copy = provider.export_sealed()
        with self.opened(tmp_path / "b") as provider:
            for one in (early, copy, early):
                provider.import_sealed(one)
            held = provider.named_epochs(ALICE, "letters")
            assert [(one.epoch, one.state) for one in held] == [(1, _ACTIVE), (2, _ACTIVE)]
            for wrapped in (first, second):
                assert provider.unwrap_named(ALICE, "letters", PLACE, wrapped) == KEY
            assert parted(provider.wrap_named(ALICE, "letters", PLACE, KEY))[0] == 2


def asked_to_destroy(cluster_id: bytes, item: str) -> Request:
    """A request that may be approved now."""
    now_ms = RealEnv(threads_max=1).now_ms()
    return Request(
        act=Act.DESTROY_KEY,
        cluster=cluster_id.hex(),
        about="epoch 1",
        name_check=name_check("5" * 32, "alice/1"),
        objects=0,
        size_bytes=0,
        requester="operator",
        created_ms=now_ms - DAY_MS,
        not_before_ms=now_ms - DAY_MS,
        expires_ms=now_ms + DAY_MS,
        nonce="5" * 32,
        permits=(item,),
    )


def signed(request: Request, *names: str) -> bytes:
    """A request with approvals."""
    return encode_warrant(request.text, [approve(request.text, n, PRIVATE[n]) for n in names])
