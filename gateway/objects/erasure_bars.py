"""What keeps an erasure from beginning, or going on: a tenant that leaves and can still retrieve.

Not for locks (`gateway.objects.erasure_looks`), nor for notice (`gateway.objects.departing`).
Requirement: E-06.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.approvals.request import day
from gateway.meta import departure_rows
from gateway.model.erasure import ErasureKind
from gateway.model.names import TenantId
from gateway.objects.context import Services
from storaged.base.errors import Kind, StorageError


class TenantLeaving(StorageError):
    """The tenant leaves: until his time to retrieve has ended, only he can delete."""

    kind = Kind.CONFLICT
    hint = "`hexagone departure list` shows until when"


def kept_until_ms(services: Services, kind: ErasureKind, tenant: TenantId) -> int:
    """Before when nothing of this kind is erased of a tenant, because he leaves; 0 = he does not.
    He as a whole is not either where he has changed his mind. Raises: RowCorrupt. (E-06)
    """
    stored = departure_rows.read_departure(services.log, services.records, tenant)
    if stored is None:
        return 0
    if kind is ErasureKind.TENANT:
        return stored.departure.erasable_from_ms
    return stored.departure.retrieval_until_ms if stored.departure.is_open else 0


def refuse_leaving(services: Services, tenant: TenantId) -> None:
    """Raises: TenantLeaving, RowCorrupt."""
    until_ms = kept_until_ms(services, ErasureKind.BUCKET, tenant)
    if until_ms:
        raise TenantLeaving(until=day(until_ms))


def dates_of(services: Services, kind: ErasureKind, tenant: TenantId) -> Mapping[str, int]:
    """Dates of the end of the contract of a tenant that is erased; none: there was no notice.

    Raises: RowCorrupt.
    """
    stored = departure_rows.read_departure(services.log, services.records, tenant)
    if kind is not ErasureKind.TENANT or stored is None or stored.departure.is_cancelled:
        return {}
    return stored.departure.dates
