"""Whose journal an act of the admin port belongs into: the tenant's whom its request is about.

Not for recording it (`gateway.admin.act_recording`). Every route that is recorded is classified
here: what of its request names a tenant, or something of one. A test takes each line of the table
of routes, and names one that is missing.

Source: docs/journal.md, "Format". Requirement: L-03.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import Enum, auto

from gateway.admin.tickets import Tickets
from gateway.journal.events import CLUSTER
from gateway.meta import accounts, erasure_rows
from gateway.meta import buckets as bucket_rows
from gateway.model.names import BucketId, BucketName, TenantId
from gateway.model.quota import Subject
from gateway.objects import approving, erasing, tenancy
from gateway.objects.bootstrap import read_root
from gateway.objects.context import Services
from storaged.base.errors import StorageError

Said = Mapping[str, object]
ID_CHARACTERS_MIN = 8  # of the beginning of an erasure's id, which stands for it
ACCESS_KEY_CHARACTERS_MAX = 128


class Names(Enum):
    """What of a request names a tenant."""

    NOTHING = auto()
    ACCOUNT = auto()  # `tenant`, or an access key; without either the root account is meant
    TENANT = auto()  # `tenant`
    NAME = auto()  # `name` is the tenant's
    ACCESS_KEY = auto()  # `access_key_id`
    KEY = auto()  # `bucket` or `tenant`; without either all are meant
    LIMITS = auto()  # `subject` and `name`
    ERASURE = auto()  # `id`, or its beginning
    REQUEST = auto()  # `id` of a request for approval
    LOG = auto()  # `log`
    TICKET = auto()  # `ticket`


# Paths of routes that are recorded; one that ends with a slash stands for all below it.
CLASSIFIED: dict[Names, tuple[str, ...]] = {
    Names.NOTHING: (
        "/v1/administrators/",
        "/v1/approvers/set",
        "/v1/jobs/",
        "/v1/journal-keys/rotate",
        "/v1/key-move/",
        "/v1/recovery/",
        "/v1/session",
        "/v1/session/",
        "/v1/second-factor/",
        "/v1/signing-keys/",
    ),
    Names.ACCOUNT: (
        "/v1/access/access-key/create",
        "/v1/access/access-key/rotate",
        "/v1/access/group/",
        "/v1/access/identity-provider/",
        "/v1/access/policy/",
        "/v1/access/role/",
        "/v1/access/user/",
        "/v1/keys",
    ),
    Names.TENANT: (
        "/v1/departure/",
        "/v1/export/begin",
        "/v1/import/begin",
        "/v1/metering/plan/set",
    ),
    Names.NAME: ("/v1/access/tenant/",),
    Names.ACCESS_KEY: (
        "/v1/access/access-key/delete",
        "/v1/access/access-key/disable",
        "/v1/access/access-key/enable",
    ),
    Names.KEY: (
        "/v1/erasure/begin",
        "/v1/key-epochs/",
        "/v1/purge",
    ),
    Names.LIMITS: ("/v1/metering/quotas/",),
    Names.ERASURE: ("/v1/erasure/cancel",),
    Names.REQUEST: ("/v1/approvals/submit",),
    Names.LOG: ("/v1/journal-bodies/erase",),
    Names.TICKET: ("/v1/export/finish", "/v1/import/finish"),
}
_BY_PATH = {path: names for names, paths in CLASSIFIED.items() for path in paths}


def names_of(path: str) -> Names | None:
    """What of a request to a route names a tenant; None: the route is not classified."""
    if path in _BY_PATH:
        return _BY_PATH[path]
    return next((_BY_PATH[known] for known in _BY_PATH if _is_below(path, known)), None)


def _is_below(path: str, known: str) -> bool:
    return known.endswith("/") and path.startswith(known)


class Concerned:
    """Whom requests are about.

    Args:
        tickets: of exports and imports under way.
    """

    def __init__(self, services: Services, tickets: Tickets | None = None) -> None:
        self._services = services
        self._tickets = tickets

    def log_of(self, path: str, said: Said) -> str:
        """The log that a request goes into: the cluster's where it names nothing of a tenant, or
        nothing that is there. What cannot be read keeps nobody from acting on it.
        """
        with suppress(StorageError):
            return self._found(path, said) or CLUSTER
        return CLUSTER

    def _found(self, path: str, said: Said) -> str | None:
        names, name = names_of(path), _text(said, "name")
        match names:
            case Names.ACCOUNT:
                named = _text(said, "tenant") or _text(said, "access_key_id")
                return self._tenant(named) if named else self._root()
            case Names.TENANT:
                return self._tenant(_text(said, "tenant"))
            case Names.NAME:
                return self._tenant(name)
            case Names.ACCESS_KEY:
                return self._access_key(_text(said, "access_key_id"))
            case Names.KEY:
                if _text(said, "named_key"):
                    return self._of_named(said)
                return self._of_key(_text(said, "bucket"), _text(said, "tenant"))
            case Names.LIMITS:
                return self._limited(_text(said, "subject"), name)
            case Names.ERASURE:
                return self._erasure(_text(said, "id"))
            case Names.REQUEST:
                return self._request(_text(said, "id"))
            case Names.LOG:
                named = _text(said, "log")
                return self._log(named) or self._tenant(named)
            case Names.TICKET:
                held = self._tickets and self._tickets.tenant_of(_text(said, "ticket"))
                return held.hex() if held else None
            case _:
                return None

    def _root(self) -> str | None:
        root = read_root(self._services.log, self._services.records)
        return None if root is None else root.tenant.hex()

    def _tenant(self, named: str) -> str | None:
        """The tenant of a name, of an id, or of an access key."""
        for tenant in tenancy.tenants(self._services) if named else ():
            if named in (tenant.name, tenant.owner_id, tenant.tenant_id.hex()):
                return tenant.tenant_id.hex()
        return self._access_key(named)

    def _access_key(self, named: str) -> str | None:
        if not (named.isascii() and 0 < len(named) <= ACCESS_KEY_CHARACTERS_MAX):
            return None
        services = self._services
        held = accounts.read_access_key(services.log, services.records, named)
        return None if held is None else held.access_key.tenant.hex()

    def _bucket(self, named: str) -> str | None:
        services = self._services
        if not named.isascii():
            return None
        name = BucketName(named)
        held = bucket_rows.find_bucket(services.log, services.records, name)
        held = held or bucket_rows.find_closed_bucket(services.log, services.records, name)
        return None if held is None else held.bucket.tenant.hex()

    def _of_key(self, bucket: str, tenant: str) -> str | None:
        if not bucket:
            return self._tenant(tenant)
        found = self._bucket(bucket)
        # Who names both is refused: the event must not name one tenant in the log of another.
        return found if not tenant or self._tenant(tenant) == found else None

    def _of_named(self, said: Said) -> str | None:
        """The account of a named key. Who names another key beside it is refused, as there."""
        if _text(said, "bucket") or _text(said, "tenant"):
            return None
        account = _text(said, "access_key_id")
        return self._access_key(account) if account else self._root()

    def _limited(self, subject: str, name: str) -> str | None:
        found = {
            Subject.TENANT.value: self._tenant,
            Subject.BUCKET.value: self._bucket,
            Subject.ACCESS_KEY.value: self._access_key,
        }.get(subject)
        return None if found is None else found(name)

    def _erasure(self, named: str) -> str | None:
        """Its tenant, whose log outlives him."""
        if len(named) < ID_CHARACTERS_MIN:
            return None
        held = erasing.erasures(self._services)
        return _only({one.tenant for one in held if one.erasure_id.startswith(named)})

    def _request(self, named: str) -> str | None:
        """The tenant whom everything is of that a request for approval permits."""
        services = self._services
        under_way = erasure_rows.scan_erasures(
            services.log, services.records, limit=erasing.ERASURES_MAX
        )
        asked = {one.erasure.tenant for one in under_way if one.erasure.request == named}
        if named and asked:
            return _only(asked)
        found = set[str | None]()
        for item in approving.find(services, named).request.permits:
            kind, _, rest = item.partition("/")
            owner = rest.partition("/")[0]
            if kind in ("tenant", "tenant-key", "named-key"):
                found.add(TenantId(bytes.fromhex(owner)).hex())
            elif kind in ("bucket", "bucket-key", "object"):
                found.add(self._bucket_of(BucketId(bytes.fromhex(owner))))
            else:
                found.add(self._log(owner) if kind == "journal" else None)
        return _only(found)

    def _log(self, named: str) -> str | None:
        """A log that is there: who names another one does not make it."""
        journal = self._services.journal
        return named if journal is not None and named in journal.logs() else None

    def _bucket_of(self, bucket: BucketId) -> str | None:
        services = self._services
        held = bucket_rows.read_bucket(services.log, services.records, bucket)
        return None if held is None else held.bucket.tenant.hex()


def _only(found: set[str] | set[str | None]) -> str | None:
    """The one that is found; of several tenants nothing goes into the log of one."""
    return next(iter(found)) if len(found) == 1 else None


def _text(said: Said, name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""
