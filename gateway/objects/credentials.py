"""Access keys: who an access key id is, and the signing keys of its days.

Secrets stay sealed in the access-key rows; what is cached are signing keys good for one day, region
and service, for as long as a change of the row may take to be seen.

Source: AWS, "Signature Version 4 signing process", "Derive a signing key".
"""

from __future__ import annotations

import hmac
from collections import OrderedDict

from gateway.meta import accounts
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import RecordKeys
from gateway.objects.context import Principal
from storaged.base.env import Env

SIGNING_KEYS_MAX = 4096
SIGNING_KEY_TTL_S = 5.0  # a disabled access key is refused after that
ACCESS_KEY_TEXT_MAX = 128

_Found = tuple[Principal, bytes]


class Credentials:
    """Looks up principals and their signing keys."""

    def __init__(self, store: MetaStore, records: RecordKeys, env: Env) -> None:
        self._store = store
        self._records = records
        self._env = env
        self._held: OrderedDict[tuple[str, str, str, str], tuple[float, _Found]] = OrderedDict()

    def signing_key(
        self, access_key_id: str, date: str, region: str, service: str = "s3"
    ) -> tuple[Principal, bytes] | None:
        """The caller and the 32-byte key of one day (YYYYMMDD), region and service; None for an
        unknown or disabled id.

        A cached answer costs one dictionary look-up, else two index reads and five HMACs.
        """
        scope = (access_key_id, date, region, service)
        now_s = self._env.monotonic_s()
        held = self._held.get(scope)
        if held is not None and held[0] > now_s:
            return held[1]
        found = self._look_up(scope)
        if found is None:
            self._held.pop(scope, None)
            return None
        self._held[scope] = (now_s + SIGNING_KEY_TTL_S, found)
        self._held.move_to_end(scope)
        if len(self._held) > SIGNING_KEYS_MAX:
            self._held.popitem(last=False)
        return found

    def sign_v2(self, access_key_id: str, text: bytes) -> tuple[Principal, bytes] | None:
        """The caller and the 20-byte HMAC-SHA1 of a text under the caller's secret, as Signature
        Version 2 has it; None for an unknown or disabled id.
        """
        known = self.signing_key(access_key_id, "", "")
        if known is None:
            return None
        stored = accounts.read_access_key(self._store, self._records, access_key_id)
        if stored is None or not stored.access_key.enabled:
            return None
        return known[0], hmac.digest(stored.access_key.secret.encode(), text, "sha1")

    def _look_up(self, scope: tuple[str, str, str, str]) -> _Found | None:
        access_key_id, date, region, service = scope
        if not 1 <= len(access_key_id) <= ACCESS_KEY_TEXT_MAX or not access_key_id.isascii():
            return None
        stored = accounts.read_access_key(self._store, self._records, access_key_id)
        if stored is None or not stored.access_key.enabled:
            return None
        access_key = stored.access_key
        tenant = accounts.read_tenant(self._store, self._records, access_key.tenant)
        if tenant is None:
            return None
        key = b"AWS4" + access_key.secret.encode()
        for step in (date, region, service, "aws4_request"):
            key = hmac.digest(key, step.encode(), "sha256")
        principal = Principal(
            tenant=access_key.tenant,
            access_key_id=access_key_id,
            owner_id=tenant.tenant.owner_id,
            user=access_key.user,
            display_name=tenant.tenant.name,
        )
        return principal, key

    def __repr__(self) -> str:
        return f"Credentials({len(self._held)} held)"
