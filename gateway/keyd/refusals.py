"""Errors of the key service on their way to a gateway: class by name, fields as text. Pure.

Only classes of this list are ever made from received bytes.
"""

from __future__ import annotations

from gateway.approvals.approvers import ApproversInvalid
from gateway.approvals.request import RequestInvalid
from gateway.approvals.warrant import WarrantRefused
from gateway.data.credential_sealing import SigningDayRefused
from gateway.data.envelope import (
    KeyBudgetSpent,
    KeyChangeRefused,
    KeyringConflict,
    NamedKeyDisabled,
    NamedKeyMissing,
    SealInvalid,
    TenantKeyDisabled,
    TenantKeyMissing,
)
from gateway.data.keyring import KeyringInvalid
from gateway.keyd.pkcs11_port import (
    HsmFull,
    HsmKeyMissing,
    HsmKeyUnfit,
    HsmPinRefused,
    HsmUnavailable,
    HsmUnusable,
    WrapLimitReached,
)
from gateway.keyd.pkcs11_record import KeysNotInToken
from gateway.keyd.wire import Value, decode_fields, encode_fields
from storaged.base.errors import Kind, ProtocolError, StorageError

_SHAPE = "sSS"
FIELDS_MAX = 8
TEXT_CHARACTERS_MAX = 200


class KeydUnavailable(StorageError):
    """The key service does not answer."""

    kind = Kind.UNAVAILABLE
    hint = "is `hexagone keyd` running? `hexagone status` shows it; it is tried again by itself"


class KeydFailed(StorageError):
    """The key service could not do it."""

    kind = Kind.UNAVAILABLE
    hint = "its own log says why"


class KeydRefused(StorageError):
    """The key service does not do this for gateways."""

    kind = Kind.DENIED


class KeydRequestInvalid(StorageError):
    """The key service does not know such a request."""

    kind = Kind.INVALID
    hint = "gateway and key service are of different versions: update the older one"


class KeydOtherCluster(StorageError):
    """The key service keeps the keys of another cluster."""

    kind = Kind.CONFLICT
    hint = "compare `cluster_id` in keyd.toml with `hexagone keyd cluster-id`"


_CLASSES: dict[str, type[StorageError]] = {
    one.__name__: one
    for one in (
        ApproversInvalid,
        HsmFull,
        HsmKeyMissing,
        HsmKeyUnfit,
        HsmPinRefused,
        HsmUnavailable,
        HsmUnusable,
        KeyBudgetSpent,
        KeyChangeRefused,
        KeyringConflict,
        KeyringInvalid,
        KeysNotInToken,
        KeydFailed,
        KeydOtherCluster,
        KeydRefused,
        KeydRequestInvalid,
        KeydUnavailable,
        NamedKeyDisabled,
        NamedKeyMissing,
        ProtocolError,
        RequestInvalid,
        SealInvalid,
        SigningDayRefused,
        TenantKeyDisabled,
        TenantKeyMissing,
        WarrantRefused,
        WrapLimitReached,
    )
}


def add_refusal(error: type[StorageError]) -> None:
    """Have a provider's own error arrive at gateways as what it is."""
    _CLASSES[error.__name__] = error


def encode_refusal(error: StorageError) -> bytes:
    """The payload of an answer that refuses; classes that gateways do not know arrive as
    KeydFailed.
    """
    name = type(error).__name__
    fields = list(error.fields.items())[:FIELDS_MAX]
    if name not in _CLASSES:
        fields = [("error", error.title()), *fields][:FIELDS_MAX]
        name = KeydFailed.__name__
    values: list[Value] = [
        name,
        [field for field, _ in fields],
        [str(value)[:TEXT_CHARACTERS_MAX] for _, value in fields],
    ]
    return encode_fields(_SHAPE, values)


def decode_refusal(payload: bytes) -> StorageError:
    """The error of an answer that refuses. Raises: ProtocolError."""
    name, fields, texts = decode_fields(_SHAPE, payload)
    assert isinstance(name, str) and isinstance(fields, list) and isinstance(texts, list)
    if len(fields) != len(texts) or len(fields) > FIELDS_MAX:
        raise ProtocolError(reason="fields of a refusal", count=len(fields))
    made = _CLASSES.get(name, KeydFailed)
    return made(**{str(field): text for field, text in zip(fields, texts, strict=True)})
