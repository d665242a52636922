"""The key service over its socket: what it gives, what it never gives, and bad callers."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.data.bucket_sealing import HeldBucketKeys, Reseal
from gateway.data.credential_sealing import (
    CREDENTIALS_ID,
    Scope,
    SigningDayRefused,
    derived_signing_key,
    epoch_of,
)
from gateway.data.envelope import DEK_LABEL, SealInvalid, TenantKeyDisabled
from gateway.data.keyring import FileKeyring
from gateway.data.window import window_of
from gateway.keyd.client import KeydClient
from gateway.keyd.keys import KeydKeys, KeydSealer
from gateway.keyd.line import Line, unix_connect
from gateway.keyd.refusals import KeydOtherCluster, KeydRefused, KeydRequestInvalid, KeydUnavailable
from gateway.keyd.service import DAY_MS
from gateway.keyd.wire import HEAD, VERSION, Verb, encode_fields, encode_message
from gateway.model.key_states import KeyState
from storaged.base.env import RealEnv
from tests.support.keyd_rig import CLUSTER, SECRET, keyd

TENANT, OTHER = b"t" * 16, b"o" * 16
BUCKET = b"b" * 16
CONTEXT, SALT, DEK = b"hexagone/v1/where", b"n" * 24, b"d" * 32


def opened(keys: KeydKeys, epoch: int = 1) -> KeydSealer:
    keys.create_tenant_key(TENANT)
    wrapped = keys.new_bucket_key(TENANT, BUCKET, epoch, 1)
    return keys.bucket_sealer(TENANT, BUCKET, epoch, wrapped, 1)


@pytest.mark.proves("K-06", "C3")
def test_a_window_seals_many_and_the_service_opens_them(tmp_path: Path) -> None:
    with keyd(tmp_path) as (rig, keys):
        keys.create_tenant_key(TENANT)
        wrapped = keys.new_bucket_key(TENANT, BUCKET, 1, 1)
        sealer = keys.bucket_sealer(TENANT, BUCKET, 1, wrapped, 1)
        records = [sealer.seal(DEK_LABEL, CONTEXT, DEK, os.urandom(24)) for _ in range(50)]
        assert {record[0] for record in records} == {3} and len({r[1:17] for r in records}) == 1
        assert len(records[0]) == 121
        assert rig.service.calls["open_window"] == 1
        assert sealer.open(DEK_LABEL, CONTEXT, records[0]) == DEK
        assert rig.service.calls["open_under_bucket"] == 0
        again = keys.bucket_sealer(TENANT, BUCKET, 1, wrapped, 1)
        assert [again.open(DEK_LABEL, CONTEXT, one) for one in records] == [DEK] * 50
        # Who has the bucket's key opens both kinds, and the key of rows is the same everywhere.
        held = HeldBucketKeys(rig.service.provider, RealEnv(1))
        local = held.bucket_sealer(TENANT, BUCKET, 1, wrapped, 1)
        assert local.open(DEK_LABEL, CONTEXT, records[7]) == DEK
        assert local.record_key == sealer.record_key
        assert again.open(DEK_LABEL, CONTEXT, local.seal(DEK_LABEL, CONTEXT, DEK, SALT)) == DEK


def test_a_window_ends_after_so_many_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.keyd.keys.WINDOW_RECORDS_MAX", 3)
    with keyd(tmp_path) as (_, keys):
        sealer = opened(keys)
        records = [sealer.seal(DEK_LABEL, CONTEXT, DEK, os.urandom(24)) for _ in range(7)]
        assert len({window_of(record) for record in records}) == 3
        assert [sealer.open(DEK_LABEL, CONTEXT, one) for one in records] == [DEK] * 7


@pytest.mark.proves("CRY-05", "CRY-06")
def test_what_was_sealed_in_a_window_opens_only_there(tmp_path: Path) -> None:
    with keyd(tmp_path) as (_, keys):
        sealer = opened(keys)
        record = sealer.seal(DEK_LABEL, CONTEXT, DEK, SALT)
        other = keys.bucket_sealer(TENANT, BUCKET, 1, keys.new_bucket_key(TENANT, BUCKET, 1, 1), 1)
        for at in range(0, len(record), 5):
            changed = bytearray(record)
            changed[at] ^= 1
            with pytest.raises(SealInvalid):
                other.open(DEK_LABEL, CONTEXT, bytes(changed))
        for short in (record[:1], record[:17], record[:-1], b""):
            with pytest.raises(SealInvalid):
                other.open(DEK_LABEL, CONTEXT, short)
        with pytest.raises(SealInvalid):
            other.open(DEK_LABEL, CONTEXT, record)
        with pytest.raises(SealInvalid):
            sealer.open(DEK_LABEL, CONTEXT + b"!", record)


def test_a_rotation_reseals_without_showing_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with keyd(tmp_path) as (_, keys):
        old, new = opened(keys), opened(keys, 2)
        record = old.seal(DEK_LABEL, CONTEXT, DEK, SALT)
        damaged = record[:-1] + b"!"
        wanted = Reseal(old, new, DEK_LABEL, (b"", b"2"), [CONTEXT] * 2, [record, damaged])
        moved, bad = keys.reseal(wanted)
        assert moved is not None and new.open(DEK_LABEL, b"2" + CONTEXT, moved) == DEK
        assert bad is None
        with pytest.raises(SealInvalid):
            old.open(DEK_LABEL, CONTEXT, moved)
        back = Reseal(new, old, DEK_LABEL, (b"2", b""), [CONTEXT], [moved])
        (other,) = keys.reseal(back)
        assert other is not None and old.open(DEK_LABEL, CONTEXT, other) == DEK
        monkeypatch.setattr("gateway.keyd.keys.RESEALED_AT_ONCE", 3)
        many = keys.reseal(wanted._replace(tails=[CONTEXT] * 8, records=[record] * 7 + [damaged]))
        assert [one is not None for one in many] == [True] * 7 + [False]
        assert len({window_of(one) for one in many if one is not None}) == 3, "one for each call"


@pytest.mark.proves("K-06", "C12")
def test_no_verb_gives_a_bucket_key_or_the_key_of_a_credential(tmp_path: Path) -> None:
    with keyd(tmp_path) as (_, keys):
        keys.create_tenant_key(TENANT)
        wrapped = keys.new_bucket_key(TENANT, BUCKET, 1, 1)
        with pytest.raises(KeydRefused):
            keys.unwrap_bucket_key(TENANT, BUCKET, 1, wrapped)
        with pytest.raises(KeydRefused):
            keys.wrap_bucket_key(TENANT, BUCKET, 1, b"k" * 32)
        sealed = keys.seal_credential(TENANT, "HXA", "a long-term secret")
        length = int.from_bytes(sealed[5:7], "big")
        inner, record = sealed[7 : 7 + length], sealed[7 + length :]
        with pytest.raises(KeydRequestInvalid):
            keys.bucket_sealer(TENANT, CREDENTIALS_ID, 1, inner, 1)
        with pytest.raises(SealInvalid):
            keys.bucket_sealer(TENANT, BUCKET, 1, inner, 1)
        sealer = keys.bucket_sealer(TENANT, BUCKET, 1, wrapped, 1)
        with pytest.raises(KeydRefused):
            sealer.open("credential", CONTEXT, record)


@pytest.mark.proves("C12", "K-14")
def test_signing_keys_are_of_a_day_and_no_other(tmp_path: Path) -> None:
    with keyd(tmp_path) as (rig, keys):
        keys.create_tenant_key(TENANT)
        sealed = keys.seal_credential(TENANT, "HXA", "secret/text")
        assert b"secret/text" not in sealed and epoch_of(sealed) == 1
        now = RealEnv(1).now_ms()

        def day(offset: int) -> str:
            return time.strftime("%Y%m%d", time.gmtime((now + offset * DAY_MS) / 1000))

        for offset in (0, -7, 1):
            scope = Scope(day(offset), "fr", "s3")
            wanted = derived_signing_key("secret/text", scope)
            assert keys.signing_key(TENANT, "HXA", sealed, scope) == wanted
        for date in (day(-9), day(2), "", "20200101", "2026112"):
            with pytest.raises(SigningDayRefused):
                keys.signing_key(TENANT, "HXA", sealed, Scope(date, "fr", "s3"))
        for tenant, name in ((TENANT, "HXB"), (OTHER, "HXA")):
            keys.create_tenant_key(tenant)
            with pytest.raises(SealInvalid):
                keys.signing_key(tenant, name, sealed, Scope(day(0), "fr", "s3"))
        with pytest.raises(KeydRefused):
            keys.sign_v2(TENANT, "HXA", sealed, b"text")
        keys.set_tenant_epoch(TENANT, keys.add_tenant_epoch(TENANT), KeyState.ACTIVE)
        moved = keys.reseal_credential(TENANT, "HXA", sealed)
        assert epoch_of(moved) == 2 and keys.reseal_credential(TENANT, "HXA", moved) == moved
        keys.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
        with pytest.raises(TenantKeyDisabled):
            keys.signing_key(TENANT, "HXA", sealed, Scope(day(0), "fr", "s3"))
        assert len(keys.signing_key(TENANT, "HXA", moved, Scope(day(0), "fr", "s3"))) == 32
        assert rig.service.refused["SigningDayRefused"] == 5


def test_a_disabled_tenant_key_closes_what_was_open(tmp_path: Path) -> None:
    with keyd(tmp_path) as (_, keys):
        sealer = opened(keys)
        record = sealer.seal(DEK_LABEL, CONTEXT, DEK, SALT)
        keys.set_tenant_epoch(TENANT, keys.add_tenant_epoch(TENANT), KeyState.ACTIVE)
        keys.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
        fresh = KeydSealer(keys.client, sealer.ref, sealer.record_key)
        with pytest.raises(TenantKeyDisabled):
            fresh.open(DEK_LABEL, CONTEXT, record)


def test_bucket_keys_are_open_for_a_while_only(tmp_path: Path) -> None:
    with keyd(tmp_path, cache_s=0.05) as (rig, keys):
        opened(keys)
        assert "1 open" in repr(rig.service)
        time.sleep(0.06)
        rig.service.drop_expired()
        assert "0 open" in repr(rig.service)


def test_another_cluster_is_refused(tmp_path: Path) -> None:
    with keyd(tmp_path) as (rig, _):
        env = RealEnv(1)
        other = KeydClient(unix_connect(rig.path), b"x" * 16, env, deadline_s=2.0)
        with pytest.raises(KeydOtherCluster):
            other.call(Verb.STATUS)
        other.close()


def test_the_socket_is_its_owners_and_others_are_turned_away(tmp_path: Path) -> None:
    with keyd(tmp_path / "a") as (rig, _):
        assert stat.S_IMODE(rig.path.stat().st_mode) == 0o600
    with keyd(tmp_path / "b", users=(12345,)) as (rig, keys), pytest.raises(KeydRefused):
        keys.create_tenant_key(TENANT)


HELLO = encode_message(Verb.HELLO, 1, encode_fields("b", [CLUSTER]))


@pytest.mark.proves("NOD-03")
@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        encode_message(Verb.STATUS, 1, b""),
        HELLO + HEAD.pack(1 << 30, VERSION, Verb.STATUS, 2),
        HELLO + HEAD.pack(0, 9, Verb.STATUS, 2),
        bytes(64),
        os.urandom(64),
    ],
    ids=["http", "no hello", "too long", "other version", "zeros", "noise"],
)
def test_what_is_no_message_closes_the_connection_and_no_other(tmp_path: Path, sent: bytes) -> None:
    with keyd(tmp_path) as (rig, keys):
        keys.create_tenant_key(TENANT)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.settimeout(5)
            raw.connect(os.fspath(rig.path))
            raw.sendall(sent)
            while raw.recv(4096):
                pass
        assert keys.active_epoch(TENANT) == 1


@pytest.mark.parametrize(
    "asked",
    [
        (Verb.CREATE_TENANT_KEY, b"short"),
        (Verb.CREATE_NAMED_KEY, TENANT, ""),
        (Verb.CREATE_NAMED_KEY, TENANT, "x" * 256),
        (Verb.SET_TENANT_EPOCH, TENANT, 1, "BROKEN", b""),
        (Verb.NEW_BUCKET_KEY, TENANT, b"b", 1, 1),
        (Verb.SEAL_CREDENTIAL, TENANT, "HXA", "s" * 2000),
        (Verb.NAMED_KEYS, b""),
    ],
)
def test_fields_that_no_gateway_sends_are_refused(tmp_path: Path, asked: tuple[Any, ...]) -> None:
    with keyd(tmp_path) as (rig, keys):
        keys.create_tenant_key(TENANT)
        line = Line(unix_connect(rig.path)(2.0), CLUSTER, RealEnv(1), 2.0)
        with pytest.raises(KeydRequestInvalid):
            keys.client.call(*asked)
        with pytest.raises(KeydRequestInvalid):
            line.call(200, b"", 2.0)  # type: ignore[arg-type]
        line.close()
        assert keys.active_epoch(TENANT) == 1


def test_many_callers_at_once(tmp_path: Path) -> None:
    with keyd(tmp_path) as (rig, keys):
        sealer = opened(keys)
        record = sealer.seal(DEK_LABEL, CONTEXT, DEK, SALT)
        wrong: list[object] = []

        def work() -> None:
            mine = KeydSealer(keys.client, sealer.ref, sealer.record_key)
            for _ in range(40):
                if mine.open(DEK_LABEL, CONTEXT, record) != DEK:
                    wrong.append(mine)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong and rig.service.calls["open_under_bucket"] == 320


@pytest.mark.proves("CRY-14")
def test_away_calls_fail_at_once_what_is_warm_goes_on_and_it_comes_back_by_itself(
    tmp_path: Path,
) -> None:
    with keyd(tmp_path) as (rig, keys):
        sealer = opened(keys)
        record = sealer.seal(DEK_LABEL, CONTEXT, DEK, SALT)
        rig.stop()
        for _ in range(3):
            with pytest.raises(KeydUnavailable):
                keys.new_bucket_key(TENANT, BUCKET, 1, 1)
        assert keys.client.is_down
        assert sealer.open(DEK_LABEL, CONTEXT, record) == DEK
        assert sealer.seal(DEK_LABEL, CONTEXT, DEK, os.urandom(24))[0] == 3
        rig.start()
        until = time.monotonic() + 10
        while keys.client.is_down and time.monotonic() < until:
            time.sleep(0.02)
        assert keys.active_epoch(TENANT) == 1
        assert keys.client.calls.errors["KeydUnavailable"] == 3


def test_a_restart_between_two_calls_is_not_seen(tmp_path: Path) -> None:
    with keyd(tmp_path) as (rig, keys):
        keys.create_tenant_key(TENANT)
        rig.stop()
        rig.start()
        assert keys.active_epoch(TENANT) == 1 and not keys.client.is_down


def test_one_that_hangs_is_waited_for_once(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(os.fspath(path))
        deaf.listen()
        env = RealEnv(1)
        client = KeydClient(unix_connect(path), CLUSTER, env, deadline_s=0.2)
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(KeydUnavailable):
                client.call(Verb.STATUS)
        assert 0.15 < time.monotonic() - began < 1.5
        client.close()


@pytest.mark.proves("CRY-17")
def test_nothing_shows_a_key(tmp_path: Path) -> None:
    with keyd(tmp_path) as (rig, keys):
        sealer = opened(keys)
        sealer.seal(DEK_LABEL, CONTEXT, DEK, SALT)
        shown = " ".join(map(repr, (rig.service, keys, sealer, keys.client, SECRET)))
        for secret in (sealer.record_key, b"s" * 32, DEK):
            assert secret.hex() not in shown and repr(secret) not in shown
        status = keys.status()
        assert status["provider"] == "file" and status["calls"]["open_window"] == 1


def test_a_copy_that_was_sealed_before_is_imported_and_is_no_whole_one(tmp_path: Path) -> None:
    env = RealEnv(1)
    former = FileKeyring(tmp_path / "former", SECRET, env)
    former.create_tenant_key(TENANT)

    class Later:
        cluster_id = CLUSTER

        def derive(self, label: str) -> bytes:
            return SECRET.derive("later/" + label)

    ring = FileKeyring(tmp_path / "later", Later(), env, SECRET.derive("tenant-keyring"))
    assert not ring.is_whole(former.export_sealed())
    ring.import_sealed(former.export_sealed())
    assert ring.active_epoch(TENANT) == 1
    assert not ring.is_whole(former.export_sealed()) and ring.is_whole(ring.export_sealed())
