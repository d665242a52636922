"""No verb gives something and leaves no count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gateway.data.credential_sealing import SigningDayRefused
from gateway.data.envelope import DEK_LABEL
from gateway.data.keyring import FileKeyring
from gateway.data.window import Window
from gateway.keyd import releases as module
from gateway.keyd.budgets import Asker
from gateway.keyd.releases import OTHERS, TELLING, Releases
from gateway.keyd.service import KeyService
from gateway.keyd.wire import SHAPES, Verb, decode_fields, encode_fields
from gateway.model.key_states import KeyState
from tests.support.keyd_rig import CLUSTER, SECRET, keyd
from tests.support.turn_env import TurnEnv

pytestmark = pytest.mark.proves("B-08", "K-06")
TENANT, BUCKET, DEK = b"t" * 16, b"b" * 16, b"d" * 32
NEITHER_SECRET_NOR_SEALED = {Verb.STATUS, Verb.APPROVERS}  # bytes all the same: documents
Ask = Callable[..., list[Any]]


class Approving(FileKeyring):
    """A file, and a keeper of approvers that takes everything."""

    def approvers(self) -> bytes:
        return b""

    def set_approvers(self, document: bytes, warrant: bytes = b"") -> None:
        """Taken."""

    def spend_warrant(self, item: str, warrant: bytes, holder: str) -> None:
        """Taken."""


def served(folder: Path) -> tuple[KeyService, Ask]:
    """A key service that does all it can, and how one asks it."""
    env = TurnEnv(Random(1))
    service = KeyService(
        Approving(folder, SECRET, env),
        CLUSTER,
        env,
        cache_s=300.0,
        provider_name="file",
        keys_leave=True,
        allows_v2=True,
    )

    def ask(verb: Verb, *values: Any) -> list[Any]:
        payload = encode_fields(SHAPES[verb].request, values)
        return decode_fields(SHAPES[verb].answer, service.answer(verb, payload, "gw-1"))

    return service, ask


def every_request(ask: Ask) -> dict[Verb, list[Any]]:
    """One request of each verb that is answered; some need what others gave."""
    ask(Verb.CREATE_TENANT_KEY, TENANT)
    (wrapped,) = ask(Verb.NEW_BUCKET_KEY, TENANT, BUCKET, 1, 1)
    (key,) = ask(Verb.UNWRAP_BUCKET_KEY, TENANT, BUCKET, 1, wrapped, 1)
    ask(Verb.CREATE_NAMED_KEY, TENANT, "name")
    (named,) = ask(Verb.WRAP_NAMED, TENANT, "name", b"context", DEK)
    (credential,) = ask(Verb.SEAL_CREDENTIAL, TENANT, "HX1", "secret")
    (whole,) = ask(Verb.EXPORT_SEALED)
    ref = [TENANT, BUCKET, 1, 1, wrapped]
    record = record_of(ask, ref)
    day = "19700101"
    return {
        Verb.HELLO: [CLUSTER],
        Verb.STATUS: [],
        Verb.CREATE_TENANT_KEY: [TENANT],
        Verb.TENANT_EPOCHS: [TENANT],
        Verb.ACTIVE_EPOCH: [TENANT],
        Verb.ADD_TENANT_EPOCH: [TENANT],
        Verb.SET_TENANT_EPOCH: [TENANT, 2, KeyState.ACTIVE.value, b""],
        Verb.WRAP_BUCKET_KEY: [TENANT, BUCKET, 1, key, 1],
        Verb.UNWRAP_BUCKET_KEY: [TENANT, BUCKET, 1, wrapped, 1],
        Verb.NEW_BUCKET_KEY: [TENANT, BUCKET, 1, 1],
        Verb.REWRAP_BUCKET_KEY: [*ref, 2],
        Verb.OPEN_BUCKET_KEY: ref,
        Verb.OPEN_WINDOW: ref,
        Verb.OPEN_UNDER_BUCKET: [*ref, DEK_LABEL, b"where", record],
        Verb.RESEAL_UNDER_BUCKET: [*ref, *ref, DEK_LABEL, b"", b"", [b"where"], [record]],
        Verb.CREATE_NAMED_KEY: [TENANT, "other"],
        Verb.HAS_NAMED_KEY: [TENANT, "name"],
        Verb.NAMED_KEYS: [TENANT],
        Verb.WRAP_NAMED: [TENANT, "name", b"context", DEK],
        Verb.UNWRAP_NAMED: [TENANT, "name", b"context", named],
        Verb.NAMED_EPOCHS: [TENANT, "name"],
        Verb.ADD_NAMED_EPOCH: [TENANT, "name"],
        Verb.SET_NAMED_EPOCH: [TENANT, "name", 2, KeyState.ACTIVE.value, b""],
        Verb.EXPORT_SEALED: [],
        Verb.IS_WHOLE: [whole],
        Verb.IMPORT_SEALED: [whole],
        Verb.SEAL_CREDENTIAL: [TENANT, "HX1", "secret"],
        Verb.SIGNING_KEY: [TENANT, "HX1", credential, day, "region", "s3"],
        Verb.SIGN_V2: [TENANT, "HX1", credential, b"text"],
        Verb.RESEAL_CREDENTIAL: [TENANT, "HX1", credential],
        Verb.APPROVERS: [],
        Verb.SET_APPROVERS: [b"{}", b""],
        Verb.SPEND_WARRANT: ["item", b"", "holder"],
    }


def record_of(ask: Ask, ref: list[Any]) -> bytes:
    """A DEK, sealed in a window that the key service gave."""
    window = Window(*ask(Verb.OPEN_WINDOW, *ref))
    return window.seal(DEK_LABEL, b"where", DEK, b"n" * 24)


def test_no_verb_that_releases_something_leaves_no_count(tmp_path: Path) -> None:
    """All verbs of the table: each answer is counted, under its verb, its tenant and who asked."""
    service, ask = served(tmp_path)
    requests = every_request(ask)
    assert requests.keys() == set(Verb), "a verb was added: ask it here"
    for verb, values in requests.items():
        is_of_tenant = values[:1] == [TENANT]
        which = TENANT.hex() if is_of_tenant else "", "gw-1", verb.name.lower()
        before = {found[:3]: found[3] for found in service.releases.counted()}
        ask(verb, *values)
        after = {found[:3]: found[3] for found in service.releases.counted()}
        grown = {one: count - before.get(one, 0) for one, count in after.items()}
        assert {one: count for one, count in grown.items() if count} == (
            {} if verb in TELLING else {which: 1}
        ), verb.name


def test_what_only_tells_gives_no_key_and_nothing_sealed() -> None:
    for verb in TELLING - NEITHER_SECRET_NOR_SEALED:
        assert not set(SHAPES[verb].answer) & {"b", "L"}, verb.name


def test_what_is_refused_is_no_release_and_records_are_counted_one_by_one(tmp_path: Path) -> None:
    service, ask = served(tmp_path)
    requests = every_request(ask)
    with pytest.raises(SigningDayRefused):
        ask(Verb.SIGNING_KEY, *requests[Verb.SIGNING_KEY][:3], "20200101", "region", "s3")
    many = [*requests[Verb.RESEAL_UNDER_BUCKET]]
    many[-2:] = [many[-2] * 7, many[-1] * 7]
    ask(Verb.RESEAL_UNDER_BUCKET, *many)
    counts = {verb: count for _, _, verb, count in service.releases.counted()}
    assert "signing_key" not in counts and counts["reseal_under_bucket"] == 7


def test_the_log_has_each_count_once_however_many_metrics_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And no line for each request, where more tenants take turns than metrics name."""
    monkeypatch.setattr(module, "ASKERS_MAX", 2)
    caplog.set_level("INFO", "gateway.keyd")
    releases = Releases()

    def told() -> list[tuple[str, int]]:
        found = [one.fields for one in caplog.records]  # type: ignore[attr-defined]
        caplog.clear()
        return [(one["tenant"][:2], one["open_window"]) for one in found]

    for number in (1, 2, 3) * 10 + (2,):
        releases.add(Verb.OPEN_WINDOW, "open_window", Asker("gw-1", bytes([number]) * 16), 1)
    assert told() == []
    releases.tell()
    assert told() == [("01", 10), ("02", 11), ("03", 10)]
    releases.tell()
    assert told() == []
    counted = {tenant[:2]: count for tenant, _, _, count in releases.counted()}
    assert counted.keys() == {"02", "03", OTHERS[:2]} and sum(counted.values()) == 31


def test_the_log_is_written_where_no_request_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.keyd.server.SWEEP_S", 0.01)
    caplog.set_level("INFO", "gateway.keyd")
    with keyd(tmp_path) as (_, keys):
        keys.create_tenant_key(TENANT)
        for _ in range(100_000):
            keys.active_epoch(TENANT)
            if told := [one for one in caplog.records if one.getMessage() == "released"]:
                break
    assert str(told[0].threadName).startswith("offload")


def test_a_key_service_that_ends_tells_what_it_gave(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gateway.keyd")
    with keyd(tmp_path) as (rig, keys):
        keys.create_tenant_key(TENANT)
        rig.stop()
    (told,) = [one.fields for one in caplog.records if one.getMessage() == "released"]  # type: ignore[attr-defined]
    assert told["tenant"] == TENANT.hex() and told["create_tenant_key"] == 1
    assert told["gateway"].startswith("user ")
