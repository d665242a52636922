"""One certificate in two hands: they are one to the gateway, and it shows."""

from __future__ import annotations

import http.client
import ssl
import time
from pathlib import Path

import pytest

from gateway.admin.rates import Rates
from storaged.base.env import RealEnv
from tests.support.admin_plane import PEOPLE, AdminPlaneServed, admin_plane_served

pytestmark = pytest.mark.proves("ADM-02", "L-01")

HERE, THERE = "127.0.0.1", "127.0.0.2"


def connection(served: AdminPlaneServed, name: str, source: str) -> http.client.HTTPSConnection:
    """From an address, with the files of an administrator."""
    context = ssl.create_default_context(cafile=str(served.folder / "authority.pem"))
    context.load_cert_chain(served.folder / f"{name}.pem", served.folder / f"{name}.key")
    return http.client.HTTPSConnection(
        HERE, served.port, timeout=20, source_address=(source, 0), context=context
    )


def act(held: http.client.HTTPSConnection, verb: str) -> tuple[int, str]:
    """Pause or resume a job; status and text."""
    held.request("POST", f"/v1/jobs/count/{verb}")
    response = held.getresponse()
    return response.status, response.read().decode()


def test_the_journal_tells_from_where_each_of_them_acted(tmp_path: Path) -> None:
    with admin_plane_served(tmp_path) as served:
        served.add("bob")
        one, other = (connection(served, "bob", source) for source in (HERE, THERE))
        assert act(one, "pause")[0] == 200
        assert act(other, "resume")[0] == 200
        found = [one for one in served.entries() if one.type.startswith("admin.jobs.count")]
        intents = [one.body for one in found if one.phase == "intent"]
    assert [body["who"] for body in intents] == ["admin:bob"] * 2
    places = [str(body["from"]) for body in intents]
    assert [place.split(",")[0] for place in places] == [f"tls:{HERE}", f"tls:{THERE}"]
    assert len({place.split("serial=")[1] for place in places}) == 1


def test_both_are_out_at_once_and_the_right_one_comes_back_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = RealEnv(threads_max=1).now_ms
    with admin_plane_served(tmp_path) as served:
        monkeypatch.setattr(served.plane.gate._env, "now_ms", now_ms)  # certificates have dates
        served.add("bob")
        issued_s = now_ms() // 1000
        one, other = (connection(served, "bob", source) for source in (HERE, THERE))
        assert act(one, "pause")[0] == act(other, "resume")[0] == 200
        while now_ms() // 1000 == issued_s:  # of which they tell seconds only
            time.sleep(0.02)
        served.local.change_administrator("distrust", {"name": "bob"})
        for held in (one, other):  # over the connections that were open
            status, text = act(held, "pause")
            assert status == 403, text
        served.certify("bob", *PEOPLE["bob"], file="fresh")
        fresh = connection(served, "fresh", HERE)
        assert act(fresh, "pause")[0] == 200
        assert act(connection(served, "bob", THERE), "pause")[0] == 403


def test_they_have_one_bound_between_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with admin_plane_served(tmp_path) as served:
        served.add("bob")
        few = Rates(served.plane.gate._env, per_s=0.0, at_once=3)
        monkeypatch.setattr(served.plane.gate, "_acts", few)
        one, other = (connection(served, "bob", source) for source in (HERE, THERE))
        done = [act(held, verb)[0] for held in (one, other) for verb in ("pause", "resume")]
    assert done == [200, 200, 200, 429]
