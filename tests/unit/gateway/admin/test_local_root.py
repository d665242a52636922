"""What the local root may: everything until there are accounts, or a while by a broken glass."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.admin.local_root import LocalRoot, break_glass_ms
from gateway.admin.routes import TABLE
from gateway.cli.client import AdminClient, AdminRefused
from gateway.model.administrators import LocalRights, Role
from storaged.base.env import RealEnv
from storaged.base.errors import ConfigError
from tests.support.admin_plane import admin_plane_served


def socket_warnings(client: AdminClient) -> list[str]:
    return [one for one in client.status()["warnings"] if "the socket" in one]


@pytest.mark.proves("A-05")
def test_the_local_root_does_everything_until_somebody_with_a_name_could(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        local = served.local
        assert "may do everything" in local.status()["admin"]["local"]
        assert local.pause("count")["job"]["state"] == "paused"
        served.add("bob")
        assert local.status()["admin"]["listening"] == served.url
        with pytest.raises(AdminRefused, match="The local root may not do this") as refused:
            local.resume("count")
        assert "--admin URL" in refused.value.advice
        # He looks at what an auditor may look at, so at no tenant's data; and makes accounts.
        assert local.whoami()["may"] == [
            one.name for one in TABLE.entries if one.local_acts or Role.AUDITOR in one.roles
        ]
        assert "GET /v1/export/body" not in local.whoami()["may"]
        fields = {"name": "alice", "person": "Alice Martin", "roles": "custodian"}
        assert local.change_administrator("add", fields)
        bob = AdminClient(served.place("bob"))
        assert bob.resume("count")["job"]["state"] == "waiting"
        with pytest.raises(AdminRefused, match="may not do this"):
            bob.change_administrator("grant", {"name": "bob", "roles": "tenant-admin"})
        for name in ("alice", "bob"):
            local.change_administrator("disable", {"name": name})
        with pytest.raises(AdminRefused, match="The local root may not do this"):
            local.pause("count")
        assert not socket_warnings(local)
        local.change_administrator("enable", {"name": "bob"})  # so nobody is locked out for ever
        assert bob.pause("count")["job"]["state"] == "paused"


def _until(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


@pytest.mark.proves("A-05", "ADM-02")
def test_a_broken_glass_is_in_the_journal_and_closes_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with admin_plane_served(tmp_path, glass_s=3600) as served:
        served.add("bob")
        served.plane.gate.opened(served.url)  # as a start with accounts would
        assert served.local.pause("count")["job"]["state"] == "paused"
        assert "for a while" in served.local.administrators()["local"]
        (warning,) = socket_warnings(served.local)
        assert "break_glass_until" in warning
        (told,) = [one for one in served.entries() if one.type == "admin.break-glass"]
        assert told.body["why"] == "admin.break_glass_until" and told.body["until_ms"] > 0
        env = served.plane.gate._env
        later_s = served.plane.gate.local_root._open_until_s + 1
        monkeypatch.setattr(env, "monotonic_s", lambda: later_s)
        with pytest.raises(AdminRefused, match="The local root may not do this"):
            served.local.resume("count")
        assert not socket_warnings(served.local)


@pytest.mark.proves("ADM-02")
def test_glass_is_broken_for_a_day_at_most_and_not_by_a_date_that_has_passed() -> None:
    env = RealEnv(threads_max=1)
    for text in ("tomorrow", "2026-11-23T12:00:00", "12"):
        with pytest.raises(ConfigError, match="break_glass_until"):
            break_glass_ms(text)
    with pytest.raises(ConfigError, match="24 hours"):
        LocalRoot(env, None, LocalRights.BOOTSTRAP, break_glass_ms(_until(25)))
    over = LocalRoot(env, None, LocalRights.BOOTSTRAP, break_glass_ms(_until(-1)))
    assert "for a while" not in over.means("https://somewhere")


@pytest.mark.proves("A-05")
def test_the_local_root_is_what_the_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with admin_plane_served(tmp_path / "a", local=LocalRights.READ_ONLY) as served:
        assert served.local.status()["admin"]["local"] == "may only look (admin.local)"
        for act in (
            lambda: served.local.pause("count"),
            lambda: served.local.change_administrator("disable", {"name": "alice"}),
        ):
            with pytest.raises(AdminRefused, match="The local root may not do this"):
                act()
    with admin_plane_served(tmp_path / "b", local=LocalRights.ALL) as served:
        served.add("bob")
        assert served.local.pause("count")["job"]["state"] == "paused"
        (warning,) = socket_warnings(served.local)
        assert "admin.local = all" in warning


def test_accounts_without_a_listener_lock_nobody_out(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path, listens=False) as served:
        served.change("add", name="bob", person="Bob Petit", roles="storage-admin")
        assert served.local.pause("count")["job"]["state"] == "paused"
