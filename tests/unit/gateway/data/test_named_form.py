"""What named keys have wrapped, byte for byte: what is stored today is read for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.data.envelope import SealInvalid, open_secret, seal_secret
from gateway.data.keyring import TENANTS_FILE, FileKeyring, RootKey
from gateway.data.keyring_form import HeldKey, open_keys, seal_keys
from gateway.data.named_form import newest_active, parted, with_epoch
from gateway.model.key_states import KeyEpoch, KeyState
from tests.support.cluster import TestEnv

TENANT, DEK, PLACE = b"t" * 16, b"d" * 32, b"place"


def test_the_epoch_stands_before_what_is_wrapped_but_for_the_first() -> None:
    assert with_epoch(1, b"\1abc") == b"\1abc"
    assert with_epoch(2, b"\1abc") == b"\4\0\0\0\2\1abc"
    assert with_epoch(0x01020304, b"\1") == b"\4\1\2\3\4\1"
    for epoch in (1, 2, 300):
        assert parted(with_epoch(epoch, b"\1abc")) == (epoch, b"\1abc")
    assert parted(b"") == (1, b"")


@pytest.mark.parametrize("one", [b"\4", b"\4\0\0\0", b"\4\0\0\0\0\1abc", b"\4\0\0\0\1\1abc"])
def test_there_is_one_form_for_each(one: bytes) -> None:
    with pytest.raises(SealInvalid):
        parted(one)


def test_the_newest_that_is_active_wraps() -> None:
    states = (KeyState.DESTROYED, KeyState.ACTIVE, KeyState.ACTIVE, KeyState.PENDING)
    held = [KeyEpoch(epoch=at, state=state) for at, state in enumerate(states, 1)]
    assert newest_active(held) == 3
    assert newest_active(held[:1]) == newest_active([]) == 0


@pytest.mark.proves("K-10")
def test_a_keyring_of_before_named_keys_had_epochs_is_read_and_rotated(tmp_path: Path) -> None:
    """A file of form 2 as it was written then, and what was wrapped under it."""
    root, env = RootKey(b"r" * 32), TestEnv(1)
    sealing = root.derive("tenant-keyring")
    keys = {
        (TENANT, name, 1): HeldKey(bytes([at]) * 32, KeyEpoch(epoch=1))
        for at, name in enumerate((b"", b"letters"))
    }
    file = tmp_path / TENANTS_FILE
    file.write_bytes(seal_keys(sealing, root.cluster_id, keys, b"s" * 24))
    assert file.read_bytes()[:4] == b"HXK\2"
    before = seal_secret(b"\1" * 32, "wrap-named", PLACE, DEK, b"n" * 24)
    ring = FileKeyring(tmp_path, root, env)
    assert ring.unwrap_named(TENANT, "letters", PLACE, before) == DEK
    assert file.read_bytes()[:4] == b"HXK\2"
    today = ring.wrap_named(TENANT, "letters", PLACE, DEK)
    assert len(today) == len(before) == 105
    assert open_secret(b"\1" * 32, "wrap-named", PLACE, today) == DEK
    assert ring.add_named_epoch(TENANT, "letters") == 2
    ring.set_named_epoch(TENANT, "letters", 2, KeyState.ACTIVE)
    assert file.read_bytes()[:4] == b"HXK\3"
    held = open_keys(sealing, root.cluster_id, file.read_bytes())
    assert sorted(held) == [(TENANT, b"", 1), (TENANT, b"letters", 1), (TENANT, b"letters", 2)]
    after = ring.wrap_named(TENANT, "letters", PLACE, DEK)
    key = held[TENANT, b"letters", 2].key
    assert after[:5] == b"\4\0\0\0\2" and len(after) == 110
    assert open_secret(key, "wrap-named", PLACE, after[5:]) == DEK
    for one in (before, today, after):
        assert FileKeyring(tmp_path, root, env).unwrap_named(TENANT, "letters", PLACE, one) == DEK
