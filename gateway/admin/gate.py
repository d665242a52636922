"""Who asks the admin port, and whether they may: before anything else is done with a request.

Who asks is told by the connection alone: the kernel's word for who opened the socket, or the
client certificate that the handshake has verified. Headers say nothing of that; a session's token
only shows that the same person has a second factor, too. What an administrator may
is the roles that both the account and the certificate name, held against the table of routes.

What changes something is bounded to a rate for each administrator before it is recorded, and
refusals are recorded at a bounded rate, so that nobody can fill the journal.

Requirements: A-01, A-02, A-03, A-05, L-01.
"""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.admin.certificates import CertificateNotTaken, Shown, read_shown
from gateway.admin.local_root import LocalRoot
from gateway.admin.rates import Rates
from gateway.admin.route_table import RouteEntry, RouteTable
from gateway.admin.routes import TABLE
from gateway.admin.second_factors import SecondFactors, Who
from gateway.config_admin import Network
from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Journal
from gateway.model.administrators import (
    GIVEN_ROLES,
    Administrator,
    LocalRights,
    Role,
    is_same_person,
)
from gateway.model.second_factor_errors import CodeNotTaken, InvitationNotTaken
from gateway.objects.administrators import Administrators, NoSuchAdministrator
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

PEER = struct.Struct("3i")  # pid, uid, gid
ACTS_PER_S = 50.0
ACTS_AT_ONCE = 500
OWN_PER_S = 0.2  # of a certificate: whoever has nothing else reaches these, and all are recorded
OWN_AT_ONCE = 20
DENIALS_PER_S = 0.2  # that are recorded; the others are counted, and the next event says how many
DENIALS_AT_ONCE = 20
FROM_BROWSERS = ("Origin", "Sec-Fetch-Site")
SESSION, ENROLMENT = "/v1/session", ("/v1/second-factor/begin", "/v1/second-factor/confirm")
BEARER = "Bearer "
LOCAL_NAME = Role.LOCAL_ROOT.value


class NotPermitted(StorageError):
    """The administrator may not do this."""

    kind = Kind.DENIED
    hint = "`hexagone admin whoami` shows your roles, `hexagone admin list` who has others"


class LocalRootLimited(NotPermitted):
    """The local root may not do this."""

    hint = "connect as an administrator with a name: hexagone --admin URL --cert FILE --key FILE …"


class SourceNotTaken(CertificateNotTaken):
    """Administrators do not come from this address."""

    hint = "`sources` of [admin] in gateway.toml has the networks that they come from"


class RouteWithoutRoles(NotPermitted):
    """Nobody may do this."""

    hint = "the route has no line in gateway/admin/routes.py"


class BrowserRefused(NotPermitted):
    """Nothing is changed on a web page's request."""

    hint = "a page could act with the certificate that the browser has; use the hexagone command"


class FieldUnknown(StorageError):
    """The route knows no such field."""

    kind = Kind.INVALID


class TooManyActs(StorageError):
    """The administrator does too much at once."""

    kind = Kind.EXHAUSTED
    status = 429
    hint = "wait a second and go on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who asks.

    Args:
        name: of the account; "local-root" on the socket.
        roles: in force for this connection.
        origin: where from, as the journal keeps it.
        fingerprint: of the certificate; "" on the socket.
        may_all: no route of the table is denied.
    """

    name: str
    roles: frozenset[Role]
    origin: str
    person: str = ""
    fingerprint: str = ""
    is_local: bool = False
    may_all: bool = False

    def may(self, entry: RouteEntry) -> bool:
        """Whether a route is open to them."""
        if self.may_all:
            return True
        if self.is_local:  # looks at what auditors look at
            may_act = entry.local_acts and Role.LOCAL_ROOT in self.roles
            return may_act if entry.acts else Role.AUDITOR in entry.roles
        return bool(self.roles & entry.roles)

    def acting_as(self, entry: RouteEntry) -> str:
        """The roles that opened a route to them, as the journal keeps it."""
        return ",".join(sorted(self.roles & entry.roles)) or ",".join(sorted(self.roles))


ACTOR = web.RequestKey("actor", Actor)
ENTRY = web.RequestKey("entry", RouteEntry)


class Gate:
    """The first thing that every request of the admin port meets.

    Args:
        administrators: None: there are no accounts.
        local_root: what the socket is good for; None: everything, until there are accounts.
        listening: whether named administrators can come in at all.
        sources: networks that they come from; none: from anywhere.
        second_factors: what administrators with a name need beside their certificate.
    """

    def __init__(
        self,
        env: Env,
        *,
        administrators: Administrators | None = None,
        local_root: LocalRoot | None = None,
        listening: str = "",
        journal: Journal | None = None,
        sources: tuple[Network, ...] = (),
        second_factors: SecondFactors | None = None,
        table: RouteTable = TABLE,
    ) -> None:
        self._env = env
        self._administrators = administrators
        bootstrap = LocalRoot(env, administrators, LocalRights.BOOTSTRAP)
        self.local_root = local_root or bootstrap
        self.listening = listening
        self._journal = journal
        self._sources = sources
        self._second_factors = second_factors
        self.table = table
        self._acts = Rates(env, per_s=ACTS_PER_S, at_once=ACTS_AT_ONCE)
        self._own = Rates(env, per_s=OWN_PER_S, at_once=OWN_AT_ONCE)
        self._denials = Rates(env, per_s=DENIALS_PER_S, at_once=DENIALS_AT_ONCE)
        self.denials = 0  # since the start, recorded or not
        self._unrecorded = 0

    @web.middleware
    async def admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a request through, with who asks and its entry of the table.

        Raises: CertificateNotTaken, SecondFactorNeeded, SecondFactorMissing, SecondFactorLocked,
            NotPermitted, FieldUnknown, TooManyActs, RowCorrupt.
        """
        entry = self._entry(request)
        try:
            actor = self.actor_of(request)
        except CertificateNotTaken as error:
            stranger = Actor(name=error.shown_name, roles=frozenset(), origin=_origin(request))
            self._note_denial(stranger, entry, type(error).__name__)
            raise
        self._check_second_factor(request, actor, entry)
        if request.match_info.http_exception is not None:
            raise request.match_info.http_exception  # there is no such route
        if entry is None or not actor.may(entry):
            refusal = self._refusal(actor, entry)
            self._note_denial(actor, entry, type(refusal).__name__)
            raise refusal
        _check_fields(request, entry)
        if (entry.acts or entry.own) and any(name in request.headers for name in FROM_BROWSERS):
            self._note_denial(actor, entry, BrowserRefused.__name__)
            raise BrowserRefused()
        if entry.is_recorded and not self._may_record(actor, entry):
            self._note_denial(actor, entry, TooManyActs.__name__)
            raise TooManyActs(per_s=OWN_PER_S if entry.own else int(ACTS_PER_S))
        request[ACTOR], request[ENTRY] = actor, entry
        try:
            return await handler(request)
        except (CodeNotTaken, InvitationNotTaken):  # these are recorded as what they are
            self.denials += 1
            raise

    def _may_record(self, actor: Actor, entry: RouteEntry) -> bool:
        if entry.own:
            return self._own.take(f"{actor.name}/{actor.fingerprint}")
        return self._acts.take(actor.name)

    def actor_of(self, request: web.Request) -> Actor:
        """Who asks, by the connection. Raises: CertificateNotTaken, SourceNotTaken, RowCorrupt."""
        transport = request.transport
        if transport is None:
            raise ConnectionError("the client has gone")
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            shown = read_shown(tls.getpeercert(binary_form=True))
            self._check_source(transport.get_extra_info("peername"), shown)
            return self._named(shown, _origin(request))
        held = transport.get_extra_info("socket")
        if held is None or held.family != socket.AF_UNIX:
            raise CertificateNotTaken(reason="no certificate", shown_name="")
        pid, uid, _ = PEER.unpack(held.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        if uid not in (os.geteuid(), 0):
            reason = "the socket is for the user that runs the gateway"
            raise CertificateNotTaken(reason=reason, shown_name=f"uid-{uid}")
        return self._local_root(f"socket:uid={uid},pid={pid}")

    def _check_source(self, peer: tuple[str, ...] | None, shown: Shown) -> None:
        """Raises: SourceNotTaken."""
        if not self._sources:
            return
        address = ip_address(peer[0].partition("%")[0]) if peer else None
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address is None or not any(address in network for network in self._sources):
            reason = f"administrators do not come from {address or 'there'}"
            raise SourceNotTaken(reason=reason, shown_name=shown.name)

    def local_means(self) -> str:
        """What the local root may, in a sentence."""
        return self.local_root.means(self.listening)

    def warnings(self) -> list[str]:
        """What an operator should know of who comes in."""
        found = self.local_root.warnings(self.listening)
        if self.listening and self._second_factors is not None:
            found += self._second_factors.warnings()
        return found

    def opened(self, listening: str) -> None:
        """Requests come from here on. `listening`: where administrators with a name come in."""
        self.listening = listening
        self.local_root.tell(listening, self._journal)

    def _check_second_factor(
        self, request: web.Request, actor: Actor, entry: RouteEntry | None
    ) -> None:
        """Before anything is said of the route, so that a certificate alone learns nothing.

        Raises: SecondFactorNeeded, SecondFactorMissing, SecondFactorLocked, RowCorrupt.
        """
        if actor.is_local or self._second_factors is None:
            return
        path = "" if entry is None else entry.path
        try:
            self._second_factors.check(
                who_of(actor),
                token_of(request),
                is_enrolment=path in ENROLMENT,
                is_session=path == SESSION,
            )
        except StorageError as error:
            self._note_denial(actor, entry, type(error).__name__)
            raise

    def _local_root(self, origin: str) -> Actor:
        is_looking = self.local_root.rights is LocalRights.READ_ONLY
        roles = frozenset(() if is_looking else {Role.LOCAL_ROOT})
        return Actor(
            name=LOCAL_NAME,
            roles=roles,
            origin=origin,
            is_local=True,
            may_all=self.local_root.may_all(self.listening),
        )

    def _named(self, shown: Shown, origin: str) -> Actor:
        """The account that a certificate names, if it is taken. Raises: CertificateNotTaken."""
        if self._administrators is None:
            raise CertificateNotTaken(reason="there are no accounts", shown_name=shown.name)
        try:
            held = self._administrators.find(shown.name)
        except NoSuchAdministrator as error:
            raise CertificateNotTaken(
                reason="there is no such account", shown_name=shown.name
            ) from error
        reason = _why_not(held, shown)
        if reason:
            raise CertificateNotTaken(reason=reason, shown_name=shown.name)
        return Actor(
            name=held.name,
            roles=held.roles & shown.roles & GIVEN_ROLES,
            origin=f"{origin},serial={shown.serial:x}",
            person=held.person,
            fingerprint=shown.fingerprint,
        )

    def _entry(self, request: web.Request) -> RouteEntry | None:
        resource = request.match_info.route.resource
        if resource is None:
            return None
        return self.table.find(request.method, resource.canonical, request.match_info)

    def _refusal(self, actor: Actor, entry: RouteEntry | None) -> NotPermitted:
        if entry is None:
            return RouteWithoutRoles()
        if actor.is_local:
            return LocalRootLimited(route=entry.name, reason=self.local_means())
        needed = " or ".join(sorted(entry.roles)) or "the local root, on the gateway's machine"
        return NotPermitted(who=actor.name, route=entry.name, needs=needed)

    def _note_denial(self, actor: Actor, entry: RouteEntry | None, error: str) -> None:
        """Count a refusal and have it recorded, at a bounded rate for each who."""
        self.denials += 1
        if self._journal is None:
            return
        if not self._denials.take(actor.name or actor.origin):
            self._unrecorded += 1
            return
        body: dict[str, Value] = {
            "who": f"admin:{actor.name or 'unknown'}",
            "acting_as": ",".join(sorted(actor.roles)),
            "from": actor.origin,
            "route": "none" if entry is None else entry.name,
            "error": error,
        }
        if self._unrecorded:
            body["more_denials"], self._unrecorded = self._unrecorded, 0
        event = Event(self._env.now_ms(), "admin.denied", Phase.NOTE, body)
        self._journal.note(CLUSTER, event)


def who_of(actor: Actor) -> Who:
    """An administrator with a name, as second factors know him."""
    return Who(actor.name, actor.fingerprint)


def token_of(request: web.Request) -> str:
    """The token of a session that a request shows; "" for none."""
    shown = request.headers.get("Authorization", "")
    return shown.removeprefix(BEARER) if shown.startswith(BEARER) else ""


def _origin(request: web.Request) -> str:
    return f"tls:{request.remote or 'unknown'}"


def _why_not(held: Administrator, shown: Shown) -> str:
    if not held.enabled:
        return "the account is disabled"
    if not is_same_person(held.person, shown.person):
        return "the certificate is another person's"
    if shown.issued_at_ms < held.certificates_from_ms:
        return "certificates made before a later moment are not taken for this account"
    return ""


def _check_fields(request: web.Request, entry: RouteEntry) -> None:
    """Refuse fields of the query that the table does not know. Raises: FieldUnknown."""
    for name in request.rel_url.query:
        if name not in entry.query and f"{name}?" not in entry.query:
            raise FieldUnknown(field=name[:64], route=entry.name)
