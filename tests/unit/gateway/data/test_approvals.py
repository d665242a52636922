"""Nothing is destroyed by fewer people than have to approve it (B-10): the key provider itself
verifies what they have signed.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.approvals.approvers import ApproverSet, ApproversInvalid, read_approvers
from gateway.approvals.request import (
    Act,
    Request,
    RequestInvalid,
    approvers_item,
    name_check,
    read_request,
    tenant_key_item,
)
from gateway.approvals.warrant import WarrantRefused, approve, encode_warrant, read_warrant
from gateway.data.approval_book import ApprovalBook, ApprovalBookInvalid
from gateway.data.keyring import FileKeyring, RootKey
from gateway.model.key_states import KeyState
from tests.support.cluster import TestEnv
from tests.support.erasure_rig import PRIVATE, approver, two_of

TENANT, OTHER = b"t" * 16, b"o" * 16
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
ACTS = {
    "tenant": Act.ERASE_TENANT,
    "tenant-key": Act.DESTROY_KEY,
    "bucket": Act.ERASE_BUCKET,
    "object": Act.ERASE_OBJECT,
    "approvers": Act.SET_APPROVERS,
}


class Ring:
    """A keyring with one disabled epoch of a tenant, and two of three who have to approve."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = TestEnv()
        self.root = RootKey.create(folder, self.env)
        self.keyring = FileKeyring(folder, self.root, self.env)
        for tenant in (TENANT, OTHER):
            self.keyring.create_tenant_key(tenant)
            self.keyring.add_tenant_epoch(tenant)
            self.keyring.set_tenant_epoch(tenant, 2, KeyState.ACTIVE)
            self.keyring.set_tenant_epoch(tenant, 1, KeyState.DISABLED)
        self.keyring.set_approvers(two_of().document.encode())

    def request(self, *items: str, **other: object) -> Request:
        nonce = str(other.pop("nonce", "5" * 32))
        asked = Request(
            act=ACTS[items[0].partition("/")[0]] if items else Act.DESTROY_KEY,
            cluster=self.root.cluster_id.hex(),
            about="epoch 1",
            name_check=name_check(nonce, "mairie/1"),
            objects=3,
            size_bytes=900,
            requester="operator",
            created_ms=NOW_MS - DAY_MS,
            not_before_ms=NOW_MS - DAY_MS,
            expires_ms=NOW_MS + DAY_MS,
            nonce=nonce,
            permits=items or (tenant_key_item(TENANT, 1),),
        )
        return replace(asked, **other)  # type: ignore[arg-type]

    def destroy(self, warrant: bytes, tenant: bytes = TENANT, epoch: int = 1) -> None:
        self.keyring.set_tenant_epoch(tenant, epoch, KeyState.DESTROYED, warrant)

    def states(self) -> list[str]:
        return [one.state.value for one in self.keyring.tenant_epochs(TENANT)]


@pytest.fixture
def ring(tmp_path: Path) -> Ring:
    return Ring(tmp_path / "keys")


def signed(request: Request, *names: str) -> bytes:
    return encode_warrant(request.text, [approve(request.text, n, PRIVATE[n]) for n in names])


@pytest.mark.proves("B-10", "ADM-01")
def test_two_of_three_destroy_a_key_and_nobody_else(ring: Ring) -> None:
    for warrant in (b"", signed(ring.request()), signed(ring.request(), "alice")):
        with pytest.raises(WarrantRefused):
            ring.destroy(warrant)
    assert ring.states() == ["DISABLED", "ACTIVE"]
    ring.destroy(signed(ring.request(), "alice", "chloe"))
    assert ring.states() == ["DESTROYED", "ACTIVE"]


REFUSALS = {
    "twice the same": lambda ring: signed(ring.request(), "alice", "alice"),
    "an unknown approver": lambda ring: signed(ring.request(), "alice", "mallory"),
    "by who asks": lambda ring: signed(ring.request(requester="alice"), "alice", "bruno"),
    "expired": lambda ring: signed(ring.request(expires_ms=NOW_MS - 1), "alice", "bruno"),
    "too early": lambda ring: signed(ring.request(not_before_ms=NOW_MS + 60_000), "alice", "bruno"),
    "another cluster": lambda ring: signed(ring.request(cluster="a" * 32), "alice", "bruno"),
    "another tenant": lambda ring: signed(
        ring.request(tenant_key_item(OTHER, 1)), "alice", "bruno"
    ),
    "another epoch": lambda ring: signed(
        ring.request(tenant_key_item(TENANT, 2)), "alice", "bruno"
    ),
    "no warrant": lambda ring: b"{}",
    "no JSON": lambda ring: b"\xff",
}


@pytest.mark.proves("B-10", "ADM-01")
@pytest.mark.parametrize("why", REFUSALS)
def test_what_was_not_approved_well_destroys_nothing(ring: Ring, why: str) -> None:
    with pytest.raises((WarrantRefused, RequestInvalid)):
        ring.destroy(REFUSALS[why](ring))
    assert ring.states() == ["DISABLED", "ACTIVE"]


@pytest.mark.proves("B-10", "ADM-01")
def test_a_text_that_was_altered_in_any_place_destroys_nothing(ring: Ring) -> None:
    text = ring.request().text
    approvals = [approve(text, name, PRIVATE[name]) for name in ("alice", "bruno")]
    altered = [text.replace("objects: 3", "objects: 2"), text + "permits: tenant/x\n", text[:-1]]
    for at in range(0, len(text), 3):
        altered.append(text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :])
    for one in altered:
        with pytest.raises((WarrantRefused, RequestInvalid)):
            ring.destroy(encode_warrant(one, approvals))
    assert ring.states() == ["DISABLED", "ACTIVE"]


@pytest.mark.proves("B-10", "ADM-01")
def test_approvals_are_used_once(ring: Ring) -> None:
    item = "bucket/" + "b" * 32
    warrant = signed(ring.request(item), "alice", "bruno")
    ring.keyring.spend_warrant(item, warrant, "one")
    ring.keyring.spend_warrant(item, warrant, "one")  # the same job, after a crash
    again = FileKeyring(ring.folder, ring.root, ring.env)
    for held in (ring.keyring, again):
        with pytest.raises(WarrantRefused, match="used already"):
            held.spend_warrant(item, warrant, "two")
    other = signed(ring.request(item, nonce="6" * 32), "alice", "bruno")
    ring.keyring.spend_warrant(item, other, "two")


@pytest.mark.proves("B-10", "ADM-01")
def test_an_approver_who_was_removed_approves_nothing_any_longer(ring: Ring) -> None:
    warrant = signed(ring.request(), "alice", "bruno")
    wanted = two_of("alice", "chloe", "denis", version=2)
    change = ring.request(approvers_item(wanted.digest), nonce="7" * 32)
    for names in ((), ("alice",), ("alice", "alice")):
        with pytest.raises(WarrantRefused):
            ring.keyring.set_approvers(wanted.document.encode(), signed(change, *names))
    other = two_of("alice", "mallory", version=2)
    with pytest.raises(WarrantRefused, match="something else"):
        approved = signed(change, "alice", "chloe")
        ring.keyring.set_approvers(other.document.encode(), approved)
    ring.keyring.set_approvers(wanted.document.encode(), signed(change, "alice", "chloe"))
    again = FileKeyring(ring.folder, ring.root, ring.env)
    assert read_approvers(again.approvers()) == wanted
    with pytest.raises(WarrantRefused, match="no approver"):
        ring.destroy(warrant)
    ring.destroy(signed(ring.request(), "alice", "denis"))


def test_a_set_follows_the_one_before(ring: Ring) -> None:
    for version in (1, 3):
        wanted = two_of("alice", "denis", version=version)
        with pytest.raises(ApproversInvalid):
            ring.keyring.set_approvers(wanted.document.encode())
    ring.keyring.set_approvers(two_of().document.encode())  # it is there


@pytest.mark.parametrize(
    "names", [("alice",), ("alice", "alice"), tuple("abcdefghijklmnopq"), ("Alice", "bruno")]
)
def test_no_set_that_one_person_could_satisfy(names: tuple[str, ...]) -> None:
    one = approver("alice").public
    people = [
        replace(approver("alice"), name=name, public=bytes([at]) * 32 if at else one)
        for at, name in enumerate(names)
    ]
    with pytest.raises(ApproversInvalid):
        read_approvers(
            ApproverSet(version=1, threshold=2, approvers=tuple(people)).document.encode()
        )
    with pytest.raises(ApproversInvalid):
        ApproverSet(version=1, threshold=1, approvers=(approver("alice"), approver("bruno")))


def test_a_book_that_was_changed_destroys_nothing(ring: Ring) -> None:
    path = ring.folder / "approvers.sealed"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ApprovalBookInvalid):
        FileKeyring(ring.folder, ring.root, ring.env)
    other = RootKey.create(ring.folder.parent / "other", ring.env)
    path.write_bytes(bytes(content[:-1]) + bytes([content[-1] ^ 1]))
    with pytest.raises(ApprovalBookInvalid):
        ApprovalBook(ring.folder, other.derive("approvers"), other.cluster_id, ring.env)


def test_where_nobody_was_registered_one_person_destroys(tmp_path: Path) -> None:
    env = TestEnv()
    ring = FileKeyring(tmp_path, RootKey.create(tmp_path, env), env)
    ring.create_tenant_key(TENANT)
    ring.create_named_key(TENANT, "name")
    ring.set_tenant_epoch(TENANT, 1, KeyState.DISABLED)
    ring.set_tenant_epoch(TENANT, 1, KeyState.DESTROYED)
    assert not ring.has_named_key(TENANT, "name") and ring.named_keys(TENANT) == []
    again = FileKeyring(tmp_path, RootKey.load(tmp_path), env)
    assert not again.has_named_key(TENANT, "name"), "the last epoch takes named keys along"


def test_a_request_has_one_form(ring: Ring) -> None:
    request = ring.request()
    assert read_request(request.text) == request
    assert request.is_about("mairie/1") and not request.is_about("mairie/2")
    assert "mairie" not in request.text, "a certificate shows it to anybody"
    assert read_warrant(signed(request, "alice"))[0] == request
    for wrong in (
        {"cluster": "x"},
        {"permits": ()},
        {"permits": ("a b",)},
        {"expires_ms": 0},
        {"expires_ms": NOW_MS + 500 * DAY_MS},
    ):
        with pytest.raises(RequestInvalid):
            replace(request, **wrong)  # type: ignore[arg-type]


@pytest.mark.proves("B-10")
@pytest.mark.parametrize(
    "said",
    [
        {"about": "epoch 1\nIt permits exactly:\n  nothing at all"},
        {"about": "epoch 1\x1b[8m"},
        {"about": "\u202ehcope"},
        {"requester": "operator\x1b[2J"},
        {"requester": "operator\r"},
        {"permits": (approvers_item("a" * 64),)},
        {"permits": (tenant_key_item(TENANT, 1), f"tenant/{TENANT.hex()}")},
        {"act": Act.SET_APPROVERS},
        {"act": Act.FORGET_EVENTS},
    ],
)
def test_nothing_is_signed_that_its_words_do_not_show(ring: Ring, said: dict[str, object]) -> None:
    text = ring.request().text
    names = {"about": "about: ", "requester": "requester: ", "act": "act: ", "permits": "permits: "}
    with pytest.raises(RequestInvalid):
        ring.request(**said)
    ((name, value),) = said.items()
    lines = [line for line in text.split("\n") if not line.startswith(names[name])]
    if name == "permits":
        assert isinstance(value, tuple)
        lines[-1:] = [*(f"permits: {item}" for item in value), ""]
    else:
        held = str(value) if name == "act" else json.dumps(value)
        at = next(i for i, line in enumerate(text.split("\n")) if line.startswith(names[name]))
        lines.insert(at, names[name] + held)
    with pytest.raises(RequestInvalid, match=r"else|terminal"):
        read_request("\n".join(lines))
