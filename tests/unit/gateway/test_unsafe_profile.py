"""The unsafe test profile: off unless asked for, on loopback only, with accounts made once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.compose import open_gateway
from gateway.config import GatewayConfig
from gateway.config_check import check_config
from gateway.meta.accounts import read_access_key, scan_tenants
from gateway.objects.context import Services
from gateway.up import UpOptions, lay_out
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError

ACCOUNTS = """
[[accounts]]
name = "main"
access_key_id = "MAINKEY"
secret = "known to everybody"
owner_id = "a1"
display_name = "M. Main"
"""


def _laid_out(folder: Path, env: RealEnv, mode: int = 0o600) -> GatewayConfig:
    (folder / "accounts.toml").write_text(ACCOUNTS)
    (folder / "accounts.toml").chmod(mode)
    profile = folder / "profile.toml"
    profile.write_text('lifecycle_day_s = 2\naccounts = "accounts.toml"\n')
    options = UpOptions(
        folder=folder / "cluster",
        port=9000,
        processes=False,
        tls=False,
        unsafe_test_profile=profile,
    )
    return lay_out(options, env)


def test_a_cluster_without_the_profile_has_the_values_of_aws(tmp_path: Path) -> None:
    env = RealEnv(threads_max=2)
    options = UpOptions(folder=tmp_path, port=9000, processes=False, tls=False)
    assert lay_out(options, env).unsafe_test_profile is None
    defaults = {
        name: field.default
        for name, field in Services.__dataclass_fields__.items()
        if name in ("new_buckets_open", "sse_over_http", "lifecycle_day_s", "sigv2", "log_roll_s")
    }
    assert defaults == {
        "new_buckets_open": False,
        "sse_over_http": False,
        "lifecycle_day_s": 86400.0,
        "sigv2": False,
        "log_roll_s": 3600.0,
    }
    env.close()


def test_the_profile_reaches_the_services_and_makes_its_accounts_once(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=2)
        config = _laid_out(tmp_path, env)
        for _ in range(2):  # the second start finds them
            gateway = await open_gateway(config, env)
            try:
                services = gateway.services
                assert services.lifecycle_day_s == 2.0
                assert services.new_buckets_open and services.sigv2 and services.sse_over_http
                assert services.test_kms_keys == ("testkey-1", "testkey-2")
                held = read_access_key(gateway.log, gateway.core.records, "MAINKEY")
                assert held is not None and held.access_key.secret == "known to everybody"
                tenants = scan_tenants(gateway.log, gateway.core.records, None, limit=10)
                named = {found.tenant.name: found.tenant.owner_id for found in tenants}
                assert len(tenants) == 2 and named["M. Main"] == "a1"
            finally:
                await gateway.close()
        env.close()

    asyncio.run(main())


def test_secrets_that_others_can_read_are_refused(tmp_path: Path) -> None:
    env = RealEnv(threads_max=2)
    with pytest.raises(ConfigError):
        _laid_out(tmp_path, env, mode=0o644)
    env.close()


def test_the_profile_is_for_loopback_only(tmp_path: Path) -> None:
    env = RealEnv(threads_max=2)
    config = _laid_out(tmp_path, env)
    beyond = replace(config, s3=replace(config.s3, host="0.0.0.0", unsafe_plain_http=True))
    with pytest.raises(ConfigError) as refused:
        check_config(beyond)
    assert refused.value.fields["key"] == "unsafe_test_profile"
    env.close()
