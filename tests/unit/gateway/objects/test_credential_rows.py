"""Secrets of access keys that only a key service opens: sealed, signed with, resealed, replaced."""

from __future__ import annotations

import hmac
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.admin.alarms import Alarms
from gateway.data.credential_sealing import Scope, derived_signing_key, epoch_of
from gateway.meta import accounts, rotations
from gateway.model.key_states import KeyState
from gateway.objects import bootstrap, credential_rows, key_epochs, key_rotation, users
from gateway.objects.context import Principal
from gateway.objects.credentials import Credentials, SigningKeyWanted
from gateway.objects.key_rotation import rotate_tenant_key
from tests.support.cluster import run_virtual
from tests.support.gateway import ACCESS_KEY, SECRET, TENANT, Gateway, memory_gateway
from tests.support.keyd_rig import keyd
from tests.support.rotations import to_the_end


async def fetched(credentials: Credentials) -> tuple[Principal, bytes] | None:
    """Who the access key is, and its key of today, which is not there yet."""
    with pytest.raises(SigningKeyWanted) as wanted:
        credentials.signing_key(ACCESS_KEY, today(), "fr")
    assert SECRET not in str(wanted.value)
    return await credentials.having_key(lambda: credentials.signing_key(ACCESS_KEY, today(), "fr"))


def today() -> str:
    return time.strftime("%Y%m%d", time.gmtime())


async def put_row(gateway: Gateway, key: accounts.AccessKey) -> None:
    services = gateway.services
    write = accounts.set_access_key(services.records, services.nonces, key)
    await key_rotation.commit_rows(services, (), (write,))


def row_of(gateway: Gateway, access_key_id: str) -> accounts.AccessKey:
    found = accounts.read_access_key(gateway.log, gateway.services.records, access_key_id)
    assert found is not None
    return found.access_key


@pytest.mark.proves("C12", "K-14", "K-10")
def test_secrets_are_sealed_signed_with_and_resealed(tmp_path: Path) -> None:
    async def main() -> None:
        with keyd(tmp_path, keys_leave=True, allows_v2=True) as (rig, keys):
            keys.create_tenant_key(TENANT)
            async with memory_gateway(keyring=keys) as gateway:
                services = gateway.services
                parts = (gateway.log, services.records, services.nonces, keys, services.env)
                credentials = Credentials(
                    gateway.log,
                    services.records,
                    services.env,
                    credential_rows.keeper_of(keys, services.env),
                )
                clear = credentials.signing_key(ACCESS_KEY, today(), "fr")
                assert row_of(gateway, ACCESS_KEY).secret == SECRET
                assert await credential_rows.seal_stored(*parts) == 1
                assert await credential_rows.seal_stored(*parts) == 0
                sealed = row_of(gateway, ACCESS_KEY)
                assert not sealed.secret and SECRET.encode() not in sealed.sealed
                assert SECRET not in repr(sealed) and repr(sealed.sealed) not in repr(sealed)
                fresh = Credentials(
                    gateway.log, services.records, services.env, credentials._keeper
                )
                found = await fetched(fresh)
                assert found == clear and found is not None
                assert found[1] == derived_signing_key(SECRET, Scope(today(), "fr", "s3"))
                asked = rig.service.calls["signing_key"]
                fresh._held.clear()
                assert fresh.signing_key(ACCESS_KEY, today(), "fr") == found
                assert rig.service.calls["signing_key"] == asked == 1
                signed = fresh.sign_v2(ACCESS_KEY, b"text")
                assert signed is not None
                assert signed[1] == hmac.digest(SECRET.encode(), b"text", "sha1")
                assert fresh.sign_v2("HXNOBODY", b"text") is None
                await users.set_access_key_enabled(services, ACCESS_KEY, enabled=False)
                fresh._held.clear()
                assert fresh.signing_key(ACCESS_KEY, today(), "fr") is None
                assert fresh.sign_v2(ACCESS_KEY, b"text") is None
                await users.set_access_key_enabled(services, ACCESS_KEY, enabled=True)

                made = await users.create_access_key(services, TENANT, "root")
                assert made.secret and row_of(gateway, made.access_key_id).sealed
                keys.set_tenant_epoch(TENANT, keys.add_tenant_epoch(TENANT), KeyState.ACTIVE)
                store, records = gateway.log, services.records
                assert credential_rows.under_epoch(store, records, keys, TENANT, 1) == 2
                assert await credential_rows.reseal_of_tenant(*parts, TENANT) == (2, 0)
                assert await credential_rows.reseal_of_tenant(*parts, TENANT) == (0, 0)
                assert credential_rows.under_epoch(store, records, keys, TENANT, 1) == 0
                assert epoch_of(row_of(gateway, ACCESS_KEY).sealed) == 2
                keys.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
                again = Credentials(
                    gateway.log, services.records, services.env, credentials._keeper
                )
                assert await fetched(again) == found

    run_virtual(main())


@pytest.mark.proves("C6", "K-10")
@pytest.mark.parametrize("at", [0, 2, -1])
def test_a_damaged_secret_holds_no_rotation_and_keeps_its_older_key(
    tmp_path: Path, at: int
) -> None:
    async def main() -> None:
        with keyd(tmp_path, keys_leave=True) as (_, keys):
            keys.create_tenant_key(TENANT)
            async with memory_gateway(keyring=keys) as gateway:
                services = gateway.services
                parts = (gateway.log, services.records, services.nonces, keys, services.env)
                await credential_rows.seal_stored(*parts)
                made = await users.create_access_key(services, TENANT, "root")
                sound = row_of(gateway, ACCESS_KEY)
                damaged = bytearray(sound.sealed)
                damaged[at] ^= 0x40
                await put_row(gateway, replace(sound, sealed=bytes(damaged)))
                await rotate_tenant_key(services, TENANT, 0)
                await to_the_end(gateway)
                records = services.records
                report = rotations.scan_reports(gateway.log, records, limit=9)[0]
                assert (report.outcome, report.unreadable) == ("left", 1)
                assert epoch_of(row_of(gateway, made.access_key_id).sealed) == 2
                (warning,) = key_rotation.warnings(services)
                assert "1 sealed keys" in warning
                families = {one.name: one for one in Alarms(services).collect()}
                assert families["hexagone_damaged_sealed_keys"].samples[0].value == 1
                states = {one.epoch: one.state for one in keys.tenant_epochs(TENANT)}
                assert states == {1: KeyState.ACTIVE, 2: KeyState.ACTIVE}
                await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.DISABLED)
                with pytest.raises(key_epochs.EpochNotEmpty):
                    await key_epochs.destroy_tenant_epoch(services, TENANT, 1, forced=False)
                await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.ACTIVE)
                # The row comes back, as a rebuild of the index brings it.
                await put_row(gateway, sound)
                await rotate_tenant_key(services, TENANT, 0)
                await to_the_end(gateway)
                assert epoch_of(row_of(gateway, ACCESS_KEY).sealed) == 3
                assert key_rotation.warnings(services) == []
                await key_epochs.set_tenant_epoch(services, TENANT, 1, KeyState.DISABLED)
                assert (
                    await key_epochs.destroy_tenant_epoch(services, TENANT, 1, forced=False) == {}
                )

    run_virtual(main())


def test_a_root_whose_secret_is_nowhere_gets_another_key(tmp_path: Path) -> None:
    async def main() -> None:
        with keyd(tmp_path) as (_, keys):
            async with memory_gateway(keyring=keys, with_bucket=False) as gateway:
                services = gateway.services
                parts = (gateway.log, services.records, services.nonces, keys, services.env)
                first = await bootstrap.ensure_root(*parts)
                assert first.secret and not (await bootstrap.ensure_root(*parts)).secret
                second = await bootstrap.renew_root(*parts)
                assert second.secret and second.access_key_id != first.access_key_id
                store, records = gateway.log, services.records
                held = bootstrap.read_root(store, records)
                assert held is not None and held.access_key_id == second.access_key_id
                third = await bootstrap.renew_root(*parts)
                left = {
                    one.access_key_id for one in bootstrap.root_keys(store, records, third.tenant)
                }
                assert left == {first.access_key_id, third.access_key_id}

    run_virtual(main())


def test_a_tenant_whose_key_is_disabled_keeps_no_gateway_from_starting(tmp_path: Path) -> None:
    async def main() -> None:
        with keyd(tmp_path) as (_, keys):
            keys.create_tenant_key(TENANT)
            async with memory_gateway(keyring=keys) as gateway:
                services = gateway.services
                parts = (gateway.log, services.records, services.nonces, keys, services.env)
                keys.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
                assert await credential_rows.seal_stored(*parts) == 0
                assert row_of(gateway, ACCESS_KEY).secret == SECRET
                keys.set_tenant_epoch(TENANT, 1, KeyState.ACTIVE)
                assert await credential_rows.seal_stored(*parts) == 1

    run_virtual(main())
