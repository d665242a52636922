"""Sessions: temporary credentials that are whole in their token, so that none needs a row.

A token is sealed as a row of family `Y` would be that has the session's access key id for its name;
there are no such rows. So a token opens under the record key of the cluster only, and fits no other
access key id. Whose it is, is looked up again with every signing key: what is disabled or deleted
has no sessions left.

Source: docs/data-layout.md, "Accounts"; AWS STS API Reference.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

from gateway.meta import keyspace
from gateway.meta.kv import RowCorrupt
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.names import TenantId
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

# No random id has a digit 1 after its prefix: base32 has none.
SESSION_PREFIX = "HX1"
ACCESS_KEY_ID_BYTES = 10
SECRET_BYTES = 30
TOKEN_CHARACTERS_MAX = 8192


class SessionTokenInvalid(StorageError):
    """The token is none of ours, or not that of this access key."""

    kind = Kind.DENIED


class SessionExpired(StorageError):
    """The session is over."""

    kind = Kind.DENIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Temporary credentials.

    Args:
        user: who has asked for it and still is that; "" with a role.
        role: what the holder has become, `name` the session's; "" with a user.
        parent: lasting access key that it was got with; "" for a role: that may be another
            account's.
        policy: what narrows it, as it was given; "" = nothing does.
    """

    access_key_id: str
    secret: str = field(repr=False)
    tenant: TenantId
    user: str = ""
    role: str = ""
    role_id: str = ""
    name: str = ""
    parent: str = ""
    policy: str = ""
    issued_at_ms: int
    expires_at_ms: int


def new_credentials(env: Env) -> tuple[str, str]:
    """Access key id and secret of a session."""
    entropy = env.random_bytes(ACCESS_KEY_ID_BYTES + SECRET_BYTES)
    access_key_id = SESSION_PREFIX + base64.b32encode(entropy[:ACCESS_KEY_ID_BYTES]).decode()
    return access_key_id, base64.b64encode(entropy[ACCESS_KEY_ID_BYTES:]).decode()


def seal_session(records: RecordKeys, nonces: NonceSource, session: Session) -> str:
    """The token of a session, in the letters of base64 for URLs."""
    document = {
        "secret": session.secret,
        "tenant": session.tenant.hex(),
        "user": session.user,
        "role": session.role,
        "role_id": session.role_id,
        "name": session.name,
        "parent": session.parent,
        "policy": session.policy,
        "issued_at_ms": session.issued_at_ms,
        "expires_at_ms": session.expires_at_ms,
    }
    row_key = keyspace.session_row(session.access_key_id)
    sealed = seal_document(records, nonces, row_key, document)
    return base64.urlsafe_b64encode(sealed).decode()


def open_session(records: RecordKeys, access_key_id: str, token: str, now_ms: int) -> Session:
    """The session of a token. Raises: SessionTokenInvalid, SessionExpired."""
    if len(token) > TOKEN_CHARACTERS_MAX or not token.isascii():
        raise SessionTokenInvalid()
    row_key = keyspace.session_row(access_key_id)
    try:
        sealed = base64.b64decode(token, altchars=b"-_", validate=True)
        held = open_document(records, row_key, sealed)
        session = Session(
            access_key_id=access_key_id,
            secret=held["secret"],
            tenant=TenantId(bytes.fromhex(held["tenant"])),
            user=held["user"],
            role=held["role"],
            role_id=held["role_id"],
            name=held["name"],
            parent=held["parent"],
            policy=held["policy"],
            issued_at_ms=held["issued_at_ms"],
            expires_at_ms=held["expires_at_ms"],
        )
    except (RowCorrupt, binascii.Error, KeyError, ValueError, TypeError) as error:
        raise SessionTokenInvalid() from error
    if session.expires_at_ms <= now_ms:
        raise SessionExpired()
    return session
