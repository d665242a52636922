"""What a PKCS#11 module and its token say of themselves, and what they lack for keeping keys.

Not for using them. Each step says what it found and stops nobody: an operator who sets up an HSM
wants to know all that is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, PKCS11Error
from pkcs11.types import Session, Slot

from gateway.config_keys import KeydConfig
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.pkcs11_module import Module, module_of
from gateway.keyd.pkcs11_port import TokenKey
from gateway.keyd.pkcs11_token import Pkcs11Token
from gateway.keyd.providers import open_secret_of, open_token
from gateway.keyd.secret import KeydSecret
from storaged.base.env import Env
from storaged.base.errors import StorageError

DEADLINE_S = 30.0

_NEEDED = {
    Mechanism.AES_KEY_GEN: MechanismFlag.GENERATE,
    Mechanism.AES_GCM: MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
}


@dataclass(slots=True, kw_only=True)
class TokenReport:
    """What was found.

    Args:
        lacking: what has to be put right; none: keys can be kept here.
        tokens: labels of all tokens of the module.
        mechanisms: of the token, by name; numbers for those that are the vendor's own.
        keys: of this cluster in the token.
        orphans: keys of this cluster in the token that the record does not name.
        unfinished: ids of keys in the making or being erased.
    """

    module: str
    token: str
    library: str = ""
    tokens: list[str] = field(default_factory=list)
    model: str = ""
    serial: str = ""
    mechanisms: list[str] = field(default_factory=list)
    is_logged_in: bool = False
    keys: list[TokenKey] = field(default_factory=list)
    orphans: list[TokenKey] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


def look_at_token(config: KeydConfig, env: Env) -> TokenReport:
    """Open the module and the token of a configuration.

    Raises: ConfigError: it names none, or the key service has no secret yet.
    """
    secret = open_secret_of(config)
    token = open_token(config, secret, env)
    assert config.pkcs11 is not None
    report = TokenReport(module=str(config.pkcs11.module), token=config.pkcs11.token)
    module = module_of(config.pkcs11.module, env)
    try:
        module.thread.run(lambda: _describe(module, report), DEADLINE_S)
        token.ready()
        report.is_logged_in = True
        token.try_out(lambda session: _try_out(session, report))
        _look_at_keys(config, secret, token, report, env)
    except StorageError as error:
        report.lacking.append(str(error))
    return report


def _describe(module: Module, report: TokenReport) -> None:
    """On the module's thread. Raises: HsmUnusable, HsmUnavailable."""
    library = module.library()
    version = ".".join(map(str, library.library_version))
    report.library = f"{library.manufacturer_id}, {library.library_description} {version}"
    slot = module.slot_of(report.token)
    if slot is None:
        module.forget_sessions()  # modules look for tokens when they are initialised
        slot = module.slot_of(report.token)
    report.tokens = module.labels()
    if slot is None:
        return  # logging in says so
    token = slot.get_token()
    report.model = f"{token.manufacturer_id}, {token.model}"
    report.serial = token.serial.decode("ascii", "replace").strip()
    offered = slot.get_mechanisms()
    report.mechanisms = sorted(getattr(one, "name", hex(one)) for one in offered)
    for mechanism, flags in _NEEDED.items():
        if mechanism not in offered:
            report.lacking.append(f"the token has no CKM_{mechanism.name}")
        elif not _can(slot, mechanism, flags):
            report.lacking.append(f"CKM_{mechanism.name} cannot do what is needed: {flags!s}")


def _can(slot: Slot, mechanism: Mechanism, flags: MechanismFlag) -> bool:
    try:
        return slot.get_mechanism_info(mechanism).flags & flags == flags
    except PKCS11Error:
        return False


def _try_out(session: Session, report: TokenReport) -> None:
    """Seal and open with a key that goes with the session. On the module's thread."""
    key = session.generate_key(
        KeyType.AES,
        256,
        store=False,
        capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )
    plain, nonce = bytes(32), bytes(range(12))

    def param(associated: bytes) -> dict[str, object]:
        given = pkcs11.GCMParams(nonce, associated, 128)
        return {"mechanism": Mechanism.AES_GCM, "mechanism_param": given}

    sealed = [bytes(key.encrypt(plain, **param(b"trial"))) for _ in range(2)]  # type: ignore[attr-defined]
    if sealed[0] != sealed[1] or len(sealed[0]) != len(plain) + 16:
        report.lacking.append("CKM_AES_GCM does not take the nonce that it is given")
        return
    if bytes(key.decrypt(sealed[0], **param(b"trial"))) != plain:  # type: ignore[attr-defined]
        report.lacking.append("CKM_AES_GCM does not open what it seals")
    try:
        key.decrypt(sealed[0], **param(b"other"))  # type: ignore[attr-defined]
        report.lacking.append("CKM_AES_GCM opens with other associated data")
    except PKCS11Error:
        return


def _look_at_keys(
    config: KeydConfig, secret: KeydSecret, token: Pkcs11Token, report: TokenReport, env: Env
) -> None:
    prefix = Pkcs11Keyring(config.folder, secret, token, env).label_prefix
    report.keys = token.keys(prefix)
    # A record that is read after the token has every key that was found there.
    keyring = Pkcs11Keyring(config.folder, secret, token, env)
    report.orphans = keyring.orphans_among(report.keys)
    report.unfinished = [key_id.hex() for key_id in keyring.unfinished()]


def erase_orphan(config: KeydConfig, key_id: bytes, env: Env) -> None:
    """Erase a key from the token that the record does not name.

    Raises: KeyInUse, ConfigError, and as the token.
    """
    secret = open_secret_of(config)
    token = open_token(config, secret, env)
    Pkcs11Keyring(config.folder, secret, token, env).erase_orphan(key_id)
