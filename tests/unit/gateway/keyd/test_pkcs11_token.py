"""The token over SoftHSM: attributes of keys, AES-GCM, threads, forks, modules that hang."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism
from pkcs11.types import Session

from gateway.data.envelope import SealInvalid
from gateway.keyd.pkcs11_module import Module, module_of
from gateway.keyd.pkcs11_port import (
    HsmKeyMissing,
    HsmKeyUnfit,
    HsmRefused,
    HsmUnavailable,
)
from gateway.keyd.pkcs11_thread import HsmThread
from gateway.keyd.pkcs11_token import Pkcs11Token
from storaged.base.env import RealEnv
from storaged.base.errors import Kind
from tests.support.softhsm import SoftToken, keyring, make_token, module_path

ALICE, PHOTOS, KEY = b"alice".ljust(16, b"."), b"photos".ljust(16, b"."), bytes(range(32))
KEY_ID, OTHER_ID = b"key one".ljust(16, b"."), b"key two".ljust(16, b".")


class Clock(RealEnv):
    """Time goes on as a test says."""

    def __init__(self) -> None:
        super().__init__(threads_max=1)
        self.ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


ENV = Clock()


@pytest.fixture
def soft() -> SoftToken:
    return make_token()


@pytest.fixture
def token(soft: SoftToken, tmp_path: Path) -> Iterator[Pkcs11Token]:
    yield soft.token(tmp_path, ENV)
    ENV.ahead_s += 60  # no test waits for the tries of another


def on_token(token: Pkcs11Token, call: Callable[[Session], object]) -> object:
    """Something that the port has no verb for."""
    return token._run(call)


def module() -> Module:
    return module_of(module_path(), ENV)


# -- keys


@pytest.mark.proves("K-05", "K-03", "C3", "B-09")
def test_a_key_never_leaves_the_token_and_only_encrypts(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/test")

    def look(session: Session) -> None:
        (key,) = session.get_objects({Attribute.ID: KEY_ID})
        told = {
            Attribute.SENSITIVE: True,
            Attribute.ALWAYS_SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.NEVER_EXTRACTABLE: True,
            Attribute.PRIVATE: True,
            Attribute.TOKEN: True,
            Attribute.LOCAL: True,
            Attribute.ENCRYPT: True,
            Attribute.DECRYPT: True,
            Attribute.SIGN: False,
            Attribute.VERIFY: False,
            Attribute.WRAP: False,
            Attribute.UNWRAP: False,
            Attribute.DERIVE: False,
            Attribute.VALUE_LEN: 32,
        }
        assert {name: key[name] for name in told} == told
        assert key.key_type is KeyType.AES
        with pytest.raises(pkcs11.AttributeSensitive):
            key[Attribute.VALUE]
        wrapping = session.generate_key(KeyType.AES, 256)
        with pytest.raises(pkcs11.PKCS11Error):
            wrapping.wrap_key(key)
        for name, value in ((Attribute.EXTRACTABLE, True), (Attribute.SENSITIVE, False)):
            with pytest.raises(pkcs11.PKCS11Error):
                key[name] = value

    on_token(token, look)


def test_a_key_is_made_once_and_erased_for_good(token: Pkcs11Token) -> None:
    for _ in range(2):
        token.ensure_key(KEY_ID, "hexagone/one")
    token.ensure_key(OTHER_ID, "vendor")
    assert [(key.key_id, key.label) for key in token.keys("hexagone/")] == [
        (KEY_ID, "hexagone/one")
    ]
    sealed = token.encrypt(KEY_ID, b"aad", b"plain")
    for _ in range(2):
        token.destroy_key(KEY_ID)
    with pytest.raises(HsmKeyMissing):
        token.decrypt(KEY_ID, b"aad", sealed)
    assert token.keys("hexagone/") == []
    assert token.encrypt(OTHER_ID, b"aad", b"plain")


@pytest.mark.proves("CRY-11")
def test_an_id_that_two_keys_have_is_no_id(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/one")
    sealed = token.encrypt(KEY_ID, b"aad", b"plain")
    on_token(token, lambda session: session.generate_key(KeyType.AES, 256, id=KEY_ID, store=True))
    token.lost()
    for use in (
        lambda: token.encrypt(KEY_ID, b"aad", b"plain"),
        lambda: token.decrypt(KEY_ID, b"aad", sealed),
        lambda: token.ensure_key(KEY_ID, "hexagone/one"),
    ):
        with pytest.raises(HsmKeyUnfit, match="several"):
            use()


@pytest.mark.proves("K-05", "K-08")
def test_a_key_with_more_rights_than_ours_have_is_not_used(token: Pkcs11Token) -> None:
    template = {Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}
    on_token(
        token,
        lambda session: session.generate_key(
            KeyType.AES, 256, id=KEY_ID, store=True, template=template
        ),
    )
    with pytest.raises(HsmKeyUnfit, match="EXTRACTABLE"):
        token.encrypt(KEY_ID, b"aad", b"plain")
    brought = {
        Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.AES,
        Attribute.TOKEN: True,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
        Attribute.ENCRYPT: True,
        Attribute.DECRYPT: True,
        Attribute.ID: OTHER_ID,
        Attribute.VALUE: bytes(32),
    }
    on_token(token, lambda session: session.create_object(brought))
    with pytest.raises(HsmKeyUnfit, match="LOCAL"):  # somebody outside knows it
        token.encrypt(OTHER_ID, b"aad", b"plain")


# -- AES-GCM


@pytest.mark.proves("CRY-07", "CRY-08", "CRY-12")
def test_nonces_are_made_here_and_tags_are_whole(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/one")
    sealed = {token.encrypt(KEY_ID, b"aad", b"x" * 32) for _ in range(300)}
    assert {len(one) for one in sealed} == {12 + 32 + 16}
    assert len({one[:12] for one in sealed}) == 300
    with pytest.raises(AssertionError, match="CRY-07"):
        token.encrypt(KEY_ID, b"", b"x")
    one = next(iter(sealed))
    with pytest.raises(AssertionError, match="CRY-07"):
        token.decrypt(KEY_ID, b"", one)
    for cut in (b"", one[:12], one[:27], one[: 12 + 32 + 4], one[:-1]):
        with pytest.raises(HsmRefused):
            token.decrypt(KEY_ID, b"aad", cut)

    def short_tag(session: Session) -> bytes:  # what the wrapper keeps anybody from asking for
        (key,) = session.get_objects({Attribute.ID: KEY_ID})
        param = GCMParams(one[:12], b"aad", 32)
        found = key.decrypt(one[12 : 12 + 36], mechanism=Mechanism.AES_GCM, mechanism_param=param)
        return bytes(found)

    assert on_token(token, short_tag) == b"x" * 32


@pytest.mark.proves("CRY-09")
def test_what_does_not_open_is_refused_not_retried(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/one")
    token.ensure_key(OTHER_ID, "hexagone/two")
    sealed = token.encrypt(KEY_ID, b"aad", b"plain")
    generation = module().generation
    for key_id, associated, one in (
        (KEY_ID, b"other", sealed),
        (OTHER_ID, b"aad", sealed),
        (KEY_ID, b"aad", sealed[:-1] + bytes([sealed[-1] ^ 1])),
    ):
        with pytest.raises(HsmRefused):
            token.decrypt(key_id, associated, one)
    assert module().generation == generation
    assert token.decrypt(KEY_ID, b"aad", sealed) == b"plain"


# -- threads, forks, hangs


@pytest.mark.proves("CRY-10")
def test_one_thread_calls_the_module_whoever_asks(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/one")
    callers: set[str] = set()

    def story(number: int) -> None:
        for _ in range(40):
            plain = bytes([number]) * 32
            assert token.decrypt(KEY_ID, b"aad", token.encrypt(KEY_ID, b"aad", plain)) == plain
        on_token(token, lambda _: callers.add(threading.current_thread().name))

    async def all_at_once() -> None:
        await asyncio.gather(*(asyncio.to_thread(story, number) for number in range(12)))

    asyncio.run(all_at_once())
    assert callers == {"pkcs11"}


def test_two_providers_share_the_module(soft: SoftToken, tmp_path: Path) -> None:
    other = make_token()
    rings = [keyring(soft, tmp_path / "a", ENV), keyring(other, tmp_path / "b", ENV)]
    for _ in range(2):
        for ring in rings:
            ring.create_tenant_key(ALICE)
            wrapped = ring.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
            assert ring.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY
    with pytest.raises(SealInvalid):
        rings[0].unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)


@pytest.mark.proves("CRY-13")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_use_the_parents_module(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/one")
    sealed = token.encrypt(KEY_ID, b"aad", b"plain")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            token.decrypt(KEY_ID, b"aad", sealed)
        except HsmUnavailable as error:
            code = 42 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert token.decrypt(KEY_ID, b"aad", sealed) == b"plain"


@pytest.mark.proves("CRY-14")
def test_a_module_that_hangs_fails_calls_and_is_used_again_when_it_answers() -> None:
    env = Clock()
    thread = HsmThread(env)
    hangs, begun, late = threading.Event(), threading.Event(), []

    def hang() -> None:
        begun.set()
        hangs.wait(60)

    with pytest.raises(HsmUnavailable, match="in time"):
        thread.run(hang, 0.05)
    assert begun.wait(30)
    with pytest.raises(HsmUnavailable, match="in time"):
        thread.run(lambda: late.append(1), 0.3)
    env.ahead_s += 1
    with pytest.raises(HsmUnavailable, match="does not answer"):  # at once, it waits for nothing
        thread.run(lambda: late.append(2), 0.5)
    hangs.set()
    while True:
        try:
            assert thread.run(lambda: 7, 10) == 7
            break
        except HsmUnavailable:
            continue
    assert late == []  # whose callers were told that they failed


def test_what_a_call_raises_its_caller_gets() -> None:
    thread = HsmThread(ENV)
    with pytest.raises(ZeroDivisionError):
        thread.run(lambda: 1 / 0, 5)
    assert thread.run(lambda: 3, 5) == 3


@pytest.mark.proves("CRY-14")
def test_a_call_that_hangs_in_the_module_holds_nobody_up(soft: SoftToken, tmp_path: Path) -> None:
    quick = soft.token(tmp_path, ENV, deadline_s=0.5)
    quick.ensure_key(KEY_ID, "hexagone/one")
    sealed = quick.encrypt(KEY_ID, b"aad", b"plain")
    hangs = threading.Event()
    with pytest.raises(HsmUnavailable, match="in time") as refused:
        on_token(quick, lambda _: hangs.wait(60))
    assert refused.value.kind is Kind.UNAVAILABLE
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(HsmUnavailable):
            quick.decrypt(KEY_ID, b"aad", sealed)
    assert time.monotonic() - began < 5  # not twenty deadlines
    hangs.set()
    patient = soft.token(tmp_path, ENV)
    assert patient.decrypt(KEY_ID, b"aad", sealed) == b"plain"
    assert quick.decrypt(KEY_ID, b"aad", sealed) == b"plain"
