"""Access keys: who an access key id is, and the signing keys of its days.

Secrets stay sealed in the access-key rows, those of sessions in their tokens; what is cached are
signing keys good for one day, region and service: who has them for as long as a change of the row
may take to be seen, those that the key service has derived for longer.

Source: AWS, "Signature Version 4 signing process", "Derive a signing key".
"""

from __future__ import annotations

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from gateway.data.bucket_sealing import AskedApart
from gateway.data.credential_sealing import CredentialKeeper, Scope, derived_signing_key
from gateway.meta import accounts
from gateway.meta.accounts import AccessKey, Tenant
from gateway.meta.identities import Role, User
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import RecordKeys
from gateway.model.errors import MalformedPolicy
from gateway.model.identity_names import ROOT_USER
from gateway.model.names import TenantId
from gateway.model.policy_identity import Rights
from gateway.objects.context import Principal
from gateway.objects.rights import RightsSource, session_policy
from gateway.objects.sessions import Session, SessionTokenInvalid, open_session
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

SIGNING_KEYS_MAX = 4096
SESSIONS_MAX = 1024  # their tokens may be of 8 KiB each
DAY_KEY_TTL_S = 300.0  # a day's key of the key service is used for so long
DAY_KEY_RENEWED_S = 200.0  # and asked for again after so long, where it is in use
DAY_KEY_AGAIN_S = 10.0  # a renewal that failed is tried again after so long
SIGNING_KEY_TTL_S = 5.0  # a disabled access key is refused after that
ACCESS_KEY_TEXT_MAX = 128

T = TypeVar("T")

_Found = tuple[Principal, bytes]
_Scope = tuple[str, str, str, str]
_Day = tuple[bytes, _Scope]


class SigningKeyWanted(StorageError):
    """A signing key has to be fetched, which may take long: `Credentials.fetch`, then ask again."""

    kind = Kind.UNAVAILABLE

    def __init__(self, key: AccessKey, scope: _Scope) -> None:
        super().__init__(access_key_id=key.access_key_id)
        self.key = key
        self.scope = scope


class Credentials:
    """Looks up principals and their signing keys."""

    def __init__(
        self,
        store: MetaStore,
        records: RecordKeys,
        env: Env,
        keeper: CredentialKeeper | None = None,
    ) -> None:
        self._store = store
        self._records = records
        self._env = env
        self._keeper = keeper
        self._apart = keeper if isinstance(keeper, AskedApart) else None
        self._days: OrderedDict[_Day, tuple[float, float, bytes]] = OrderedDict()
        self._fetching: dict[_Day, asyncio.Task[None]] = {}
        self._held: OrderedDict[_Scope, tuple[float, _Found]] = OrderedDict()
        self._sessions: OrderedDict[tuple[_Scope, str], tuple[float, _Found]] = OrderedDict()
        self.rights = RightsSource(store, records)
        self.uses: dict[str, int] = {}  # when each lasting access key last proved itself, UTC ms

    def signing_key(
        self, access_key_id: str, date: str, region: str, service: str = "s3"
    ) -> tuple[Principal, bytes] | None:
        """The caller and the 32-byte key of one day (YYYYMMDD), region and service; None for an
        unknown or disabled id.

        A cached answer costs one dictionary look-up, else two index reads and five HMACs, and those
        of a user's policies.

        Raises: SigningKeyWanted: see `having_key`; SigningDayRefused, and as the key service.
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

    async def having_key(self, call: Callable[[], T]) -> T:
        """What a function returns that looks up a signing key; one that is missing is fetched
        first, and the function called again. Raises: as the function, and as the key service.
        """
        try:
            return call()
        except SigningKeyWanted as wanted:
            await self.fetch(wanted)
        return call()

    async def fetch(self, wanted: SigningKeyWanted) -> None:
        """Have a signing key, however many want the same. Raises: as the key service."""
        await asyncio.shield(self._begin_fetching(wanted.key, wanted.scope))

    def _begin_fetching(self, key: AccessKey, scope: _Scope) -> asyncio.Task[None]:
        day = (key.sealed, scope)
        task = self._fetching.get(day)
        if task is None:
            task = asyncio.create_task(self._fetch(key, scope))
            self._fetching[day] = task
            task.add_done_callback(lambda _: self._fetching.pop(day, None))
            task.add_done_callback(_seen)  # also where nobody waits for it any more
        return task

    async def _fetch(self, key: AccessKey, scope: _Scope) -> None:
        keeper, apart = self._needed(), self._apart
        assert apart is not None
        derived = await apart.apart(
            lambda: keeper.signing_key(key.tenant, key.access_key_id, key.sealed, Scope(*scope[1:]))
        )
        self._keep_day(key, scope, derived)

    def _keep_day(self, key: AccessKey, scope: _Scope, derived: bytes) -> None:
        now_s = self._env.monotonic_s()
        self._days[key.sealed, scope] = (now_s + DAY_KEY_TTL_S, now_s + DAY_KEY_RENEWED_S, derived)
        self._days.move_to_end((key.sealed, scope))
        if len(self._days) > SIGNING_KEYS_MAX:
            self._days.popitem(last=False)

    def _renew(self, key: AccessKey, scope: _Scope) -> None:
        """Ask again for a day's key, while the one that is there goes on."""
        until_s, _, derived = self._days[key.sealed, scope]
        again_s = self._env.monotonic_s() + DAY_KEY_AGAIN_S
        self._days[key.sealed, scope] = (until_s, again_s, derived)
        if self._apart is not None:
            self._begin_fetching(key, scope)  # who fetches it when its time is over is told why not

    def note_use(self, principal: Principal) -> None:
        """Remember that a caller's signature was right."""
        if principal.issued_at_ms is None:
            self.uses[principal.access_key_id] = self._env.now_ms()

    def session_key(
        self, access_key_id: str, token: str, date: str, region: str, service: str = "s3"
    ) -> tuple[Principal, bytes] | None:
        """As `signing_key`, of a session; None when whose it is has gone or is disabled.

        Raises: SessionTokenInvalid, SessionExpired.
        """
        scope = (access_key_id, date, region, service)
        now_s = self._env.monotonic_s()
        held = self._sessions.get((scope, token))
        if held is not None and held[0] > now_s:
            return held[1]
        self._sessions.pop((scope, token), None)
        now_ms = self._env.now_ms()
        session = open_session(self._records, access_key_id, token, now_ms)
        principal = self._holder(session)
        if principal is None:
            return None
        found = (principal, _derived(session.secret, scope))
        left_s = (session.expires_at_ms - now_ms) / 1000
        self._sessions[scope, token] = (now_s + min(SIGNING_KEY_TTL_S, left_s), found)
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return found

    def sign_v2(self, access_key_id: str, text: bytes) -> tuple[Principal, bytes] | None:
        """The caller and the 20-byte HMAC-SHA1 of a text under the caller's secret, as Signature
        Version 2 has it; None for an unknown or disabled id.
        """
        known = self._caller(access_key_id)
        if known is None:
            return None
        principal, key = known
        if key.sealed:
            return principal, self._needed().sign_v2(key.tenant, access_key_id, key.sealed, text)
        return principal, hmac.digest(key.secret.encode(), text, "sha1")

    def _look_up(self, scope: _Scope) -> _Found | None:
        known = self._caller(scope[0])
        return None if known is None else (known[0], self._day_key(known[1], scope))

    def _caller(self, access_key_id: str) -> tuple[Principal, AccessKey] | None:
        """Who an access key is; None for an unknown or disabled id."""
        if not 1 <= len(access_key_id) <= ACCESS_KEY_TEXT_MAX or not access_key_id.isascii():
            return None
        stored = accounts.read_access_key(self._store, self._records, access_key_id)
        if stored is None or not stored.access_key.enabled:
            return None
        access_key = stored.access_key
        tenant = self._tenant(access_key.tenant)
        if tenant is None:
            return None
        principal = self._principal(tenant, access_key_id, access_key.user, None)
        return None if principal is None else (principal, access_key)

    def _day_key(self, key: AccessKey, scope: _Scope) -> bytes:
        """The signing key of a day. Raises: as signing_key."""
        if not key.sealed:
            return _derived(key.secret, scope)
        now_s = self._env.monotonic_s()
        held = self._days.get((key.sealed, scope))
        if held is not None and held[0] > now_s:
            if held[1] <= now_s:
                self._renew(key, scope)
            return held[2]
        if self._apart is not None:
            raise SigningKeyWanted(key, scope)
        derived = self._needed().signing_key(
            key.tenant, key.access_key_id, key.sealed, Scope(*scope[1:])
        )
        self._keep_day(key, scope, derived)
        return derived

    def _needed(self) -> CredentialKeeper:
        assert self._keeper is not None, "rows are sealed where somebody can open them"
        return self._keeper

    def _tenant(self, tenant: TenantId) -> Tenant | None:
        """A tenant that is there and enabled."""
        stored = accounts.read_tenant(self._store, self._records, tenant)
        return stored.tenant if stored is not None and stored.tenant.enabled else None

    def _holder(self, session: Session) -> Principal | None:
        """Who a session is; None when that has gone or is disabled."""
        tenant = self._tenant(session.tenant)
        if tenant is None:
            return None
        if not session.role:
            parent = accounts.read_access_key(self._store, self._records, session.parent)
            if parent is None or not parent.access_key.enabled:
                return None
            key = parent.access_key
            if (key.tenant, key.user) != (session.tenant, session.user):
                return None
            return self._principal(tenant, session.access_key_id, session.user, session)
        found = self.rights.of_role(session.tenant, session.role)
        if found is None or found[0].role_id != session.role_id:
            return None
        return principal_of_role(
            tenant,
            found[0],
            _narrowed(found[1], session.policy),
            session.name,
            access_key_id=session.access_key_id,
            issued_at_ms=session.issued_at_ms,
        )

    def _principal(
        self, tenant: Tenant, access_key_id: str, user: str, session: Session | None
    ) -> Principal | None:
        issued_at_ms = None if session is None else session.issued_at_ms
        if user == ROOT_USER:
            return Principal(
                tenant=tenant.tenant_id,
                access_key_id=access_key_id,
                owner_id=tenant.owner_id,
                user=ROOT_USER,
                display_name=tenant.name,
                issued_at_ms=issued_at_ms,
            )
        found = self.rights.of_user(tenant.tenant_id, user)
        if found is None:
            return None
        held, rights = found
        if session is not None:
            rights = _narrowed(rights, session.policy)
        return principal_of_user(
            tenant, held, rights, access_key_id=access_key_id, issued_at_ms=issued_at_ms
        )

    def __repr__(self) -> str:
        return f"Credentials({len(self._held)} held)"


def principal_of_user(
    tenant: Tenant,
    user: User,
    rights: Rights,
    *,
    access_key_id: str = "",
    issued_at_ms: int | None = None,
) -> Principal:
    """A user as a caller."""
    return Principal(
        tenant=tenant.tenant_id,
        access_key_id=access_key_id,
        owner_id=tenant.owner_id,
        user=user.name,
        display_name=tenant.name,
        user_id=user.user_id,
        tags=user.tags,
        issued_at_ms=issued_at_ms,
        rights=rights,
    )


def principal_of_role(
    tenant: Tenant,
    role: Role,
    rights: Rights,
    session_name: str,
    *,
    access_key_id: str = "",
    issued_at_ms: int | None = None,
) -> Principal:
    """Who has become a role, as a caller."""
    return Principal(
        tenant=tenant.tenant_id,
        access_key_id=access_key_id,
        owner_id=tenant.owner_id,
        user=f"{role.name}/{session_name}",
        display_name=tenant.name,
        user_id=f"{role.role_id}:{session_name}",
        role=role.name,
        issued_at_ms=issued_at_ms,
        rights=rights,
    )


def _narrowed(rights: Rights, policy: str) -> Rights:
    """Raises: SessionTokenInvalid."""
    if not policy:
        return rights
    try:
        return Rights(rights.identity, session_policy(policy))
    except MalformedPolicy as error:
        raise SessionTokenInvalid() from error


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()


def _derived(secret: str, scope: _Scope) -> bytes:
    return derived_signing_key(secret, Scope(*scope[1:]))
