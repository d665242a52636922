"""The token over SoftHSM: attributes, PINs, threads, tokens that go and come, modules that hang."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism
from pkcs11.types import Session

from gateway.data.envelope import SealInvalid
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_module import Module, module_of
from gateway.keyd.pkcs11_pin import REFUSED_FILE, PinFile
from gateway.keyd.pkcs11_port import (
    HsmKeyMissing,
    HsmKeyUnfit,
    HsmPinRefused,
    HsmRefused,
    HsmUnavailable,
    HsmUnusable,
)
from gateway.keyd.pkcs11_thread import HsmThread
from gateway.keyd.pkcs11_token import Pkcs11Token
from storaged.base.env import RealEnv
from storaged.base.errors import Kind
from tests.support.softhsm import DEADLINE_S, PIN, SoftToken, keyring, make_token, module_path

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


@pytest.mark.proves("K-05", "K-03", "C3")
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


# -- PINs


@pytest.mark.proves("CRY-14")
def test_a_wrong_pin_is_tried_once_until_its_file_is_written_anew(
    soft: SoftToken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft.pin_file.write_text("wrong-4711\n")
    tries: list[str] = []
    read = PinFile.read
    monkeypatch.setattr(PinFile, "read", lambda pin: (tries.append(""), read(pin))[1])
    token = soft.token(tmp_path, ENV)
    with pytest.raises(HsmPinRefused, match="PinIncorrect"):
        token.ready()
    for again in (token, soft.token(tmp_path, ENV), soft.token(tmp_path, ENV)):  # restarts
        ENV.ahead_s += 60
        with pytest.raises(HsmPinRefused, match="refused before, not tried again") as refused:
            again.ready()
        assert "4711" not in str(refused.value) + repr(again._pin)
    assert refused.value.kind is Kind.UNAVAILABLE
    assert (tmp_path / REFUSED_FILE).read_text().count("4711") == 0
    soft.pin_file.write_text(PIN + "\n")
    token.ready()
    assert not (tmp_path / REFUSED_FILE).exists()


def test_a_pin_that_others_can_read_is_not_used(soft: SoftToken, tmp_path: Path) -> None:
    soft.pin_file.chmod(0o640)
    with pytest.raises(HsmUnusable):
        soft.token(tmp_path, ENV).ready()
    soft.pin_file.chmod(0o600)
    soft.pin_file.write_text("")
    with pytest.raises(HsmUnusable, match="empty"):
        soft.token(tmp_path, ENV).ready()
    soft.pin_file.unlink()
    with pytest.raises(HsmUnusable):
        soft.token(tmp_path, ENV).ready()


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        (pkcs11.TokenFlag.USER_PIN_LOCKED, "locked"),
        (pkcs11.TokenFlag.USER_PIN_FINAL_TRY, "would lock it"),
    ],
)
@pytest.mark.proves("CRY-14")
def test_the_last_try_before_a_lock_is_not_ours(flag: pkcs11.TokenFlag, reason: str) -> None:
    class Told:
        label = "told"
        flags = pkcs11.TokenFlag.TOKEN_INITIALIZED | flag

    with pytest.raises(HsmPinRefused, match=reason):
        Module._check_tries(Told())  # type: ignore[arg-type]


@pytest.mark.proves("CRY-17")
def test_the_pin_is_in_no_log_and_no_error(
    soft: SoftToken, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        token = soft.token(tmp_path, ENV)
        token.ready()
        soft.take_out()
        with pytest.raises(HsmUnavailable) as away:
            token.lost()
            token.ready()
        soft.put_in()
    shown = [caplog.text, str(away.value), repr(away.value), repr(token), repr(token._module)]
    assert not any(PIN in one for one in shown)
    assert PIN not in Path(f"/proc/{os.getpid()}/cmdline").read_text()


# -- what goes and comes


@pytest.mark.proves("CRY-14")
def test_a_token_that_is_taken_out_is_503_and_comes_back_by_itself(
    soft: SoftToken, tmp_path: Path
) -> None:
    provider = keyring(soft, tmp_path, ENV)
    provider.create_tenant_key(ALICE)
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    soft.take_out()
    for _ in range(3):
        for use in (
            lambda: provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped),
            lambda: provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY),
            lambda: provider.add_tenant_epoch(ALICE),
        ):
            with pytest.raises(HsmUnavailable) as refused:
                use()
            assert refused.value.kind is Kind.UNAVAILABLE
        ENV.ahead_s += 60
    assert provider.active_epoch(ALICE) == 1  # what needs no token goes on
    assert provider.is_whole(provider.export_sealed())
    soft.put_in()
    ENV.ahead_s += 60
    assert provider.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped) == KEY
    assert provider.add_tenant_epoch(ALICE) == 2


def test_a_token_that_is_away_is_looked_for_once_in_a_while(
    soft: SoftToken, token: Pkcs11Token
) -> None:
    token.ready()
    soft.take_out()
    token.lost()
    with pytest.raises(HsmUnavailable):
        token.ready()
    soft.put_in()
    generation = module().generation
    with pytest.raises(HsmUnavailable):
        token.ready()
    assert module().generation == generation
    ENV.ahead_s += 2
    token.ready()


@pytest.mark.proves("CRY-14")
def test_a_session_that_was_closed_is_nobodys_concern(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/one")
    sealed = token.encrypt(KEY_ID, b"aad", b"plain")
    on_token(token, lambda session: session.close())
    assert token.decrypt(KEY_ID, b"aad", sealed) == b"plain"
    on_token(token, lambda session: session.close())
    assert token.decrypt(KEY_ID, b"aad", token.encrypt(KEY_ID, b"aad", b"more")) == b"more"


def test_a_key_that_somebody_erased_is_missing(token: Pkcs11Token) -> None:
    token.ensure_key(KEY_ID, "hexagone/one")
    token.encrypt(KEY_ID, b"aad", b"plain")

    def erase(session: Session) -> None:
        for key in session.get_objects({Attribute.ID: KEY_ID}):
            key.destroy()

    on_token(token, erase)
    with pytest.raises(HsmKeyMissing):
        token.encrypt(KEY_ID, b"aad", b"plain")


def test_no_such_module_or_token(tmp_path: Path, soft: SoftToken) -> None:
    pin = PinFile(soft.pin_file, tmp_path / REFUSED_FILE)
    absent = Pkcs11Token(tmp_path / "no.so", "any", pin, ENV, deadline_s=DEADLINE_S)
    with pytest.raises(HsmUnusable, match=r"no\.so"):
        absent.ready()
    (tmp_path / "text.so").write_text("no library")
    with pytest.raises(HsmUnusable, match=r"text\.so"):
        Pkcs11Token(tmp_path / "text.so", "any", pin, ENV, deadline_s=DEADLINE_S).ready()
    with pytest.raises(HsmUnavailable, match="no token has this label"):
        Pkcs11Token(module_path(), "nobody's", pin, ENV, deadline_s=DEADLINE_S).ready()


def test_two_tokens_of_one_label_are_none(soft: SoftToken, token: Pkcs11Token) -> None:
    subprocess.run(
        [
            *("softhsm2-util", "--init-token", "--free", "--label", soft.label),
            *("--so-pin", "another-so", "--pin", PIN),
        ],
        check=True,
        capture_output=True,
    )
    token.lost()
    with pytest.raises(HsmUnusable, match="2 tokens"):
        token.ready()


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


# -- a whole restore without the token


@pytest.mark.proves("B-05", "CRY-15")
def test_a_backup_without_the_token_opens_nothing(soft: SoftToken, tmp_path: Path) -> None:
    provider = keyring(soft, tmp_path / "keys", ENV)
    provider.create_tenant_key(ALICE)
    provider.create_named_key(ALICE, "letters")
    bucket = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    named = provider.wrap_named(ALICE, "letters", b"place", KEY)
    thief: Pkcs11Keyring = keyring(make_token(), tmp_path / "keys", ENV)
    assert thief.named_keys(ALICE) == ["letters"]
    for use in (
        lambda: thief.unwrap_bucket_key(ALICE, PHOTOS, 1, bucket),
        lambda: thief.unwrap_named(ALICE, "letters", b"place", named),
        lambda: thief.wrap_bucket_key(ALICE, PHOTOS, 1, KEY),
    ):
        with pytest.raises(HsmKeyMissing):
            use()
