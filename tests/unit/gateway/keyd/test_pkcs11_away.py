"""Tokens of SoftHSM whose PIN is wrong, that are taken out and put in again, or are others."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute
from pkcs11.types import Session

from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_module import Module, module_of
from gateway.keyd.pkcs11_pin import REFUSED_FILE, PinFile
from gateway.keyd.pkcs11_port import (
    HsmKeyMissing,
    HsmPinRefused,
    HsmUnavailable,
    HsmUnusable,
)
from gateway.keyd.pkcs11_record_file import RECORD_FILE
from gateway.keyd.pkcs11_token import Pkcs11Token
from storaged.base.env import RealEnv
from storaged.base.errors import Kind
from tests.support.key_states import destroy_epoch
from tests.support.softhsm import (
    DEADLINE_S,
    PIN,
    PIN_KEY,
    SoftToken,
    keyring,
    make_token,
    module_path,
)

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
        soft.pin_file.unlink()  # as a credential of systemd is another file at each start
        soft.pin_file.touch(mode=0o600)
        soft.pin_file.write_text("wrong-4711")
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
    pin = PinFile(soft.pin_file, tmp_path / REFUSED_FILE, PIN_KEY)
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


@pytest.mark.proves("CRY-15", "K-11")
def test_yesterdays_record_brings_no_destroyed_key_back(soft: SoftToken, tmp_path: Path) -> None:
    provider = keyring(soft, tmp_path / "keys", ENV)
    provider.create_tenant_key(ALICE)
    wrapped = provider.wrap_bucket_key(ALICE, PHOTOS, 1, KEY)
    yesterday = (tmp_path / "keys" / RECORD_FILE).read_bytes()
    copy = provider.export_sealed()
    destroy_epoch(provider, ALICE, 1)
    (tmp_path / "keys" / RECORD_FILE).write_bytes(yesterday)
    restored = keyring(soft, tmp_path / "keys", ENV)
    assert restored.active_epoch(ALICE) == 1  # so it says
    with pytest.raises(HsmKeyMissing):
        restored.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)
    elsewhere = keyring(soft, tmp_path / "elsewhere", ENV)
    elsewhere.import_sealed(copy)
    with pytest.raises(HsmKeyMissing):
        elsewhere.unwrap_bucket_key(ALICE, PHOTOS, 1, wrapped)
