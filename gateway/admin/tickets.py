"""Tickets of operators who take a tenant's data along, or bring it: given once the journal has it.

Not for S3, nor for rights of anybody else. A ticket is for one tenant, lives in this process only,
and ends by itself when it is not used.

Source: docs/export.md, "What the tenant is told".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from gateway.model.names import TenantId
from storaged.base.env import Env
from storaged.base.errors import Kind, StorageError

TICKETS_MAX = 64
UNUSED_S = 3600.0
TICKET_BYTES = 16
ID_CHARACTERS = 12


class TicketUnknown(StorageError):
    """There is no such ticket, or it has ended."""

    kind = Kind.DENIED
    hint = "begin again: the command with --resume"


class TicketsExhausted(StorageError):
    """Too many exports and imports at once."""

    kind = Kind.EXHAUSTED
    hint = "wait until one of them has ended"


@dataclass(slots=True)
class Ticket:
    """What somebody may take out or bring in.

    Args:
        text: what shows it; a secret.
        buckets: names; none: all.
        keys: clients' own keys.
        who: to whom it was given; to nobody else it is one.
    """

    text: str = field(repr=False)
    tenant: TenantId
    tenant_name: str
    is_import: bool
    buckets: frozenset[str]
    keys: Sequence[bytes] = field(default=(), repr=False)
    used_s: float = 0.0
    who: str = ""

    @property
    def shown_id(self) -> str:
        """What the journal calls it."""
        return sha256(self.text.encode()).hexdigest()[:ID_CHARACTERS]


class Tickets:
    """Tickets of this process."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._held: dict[str, Ticket] = {}

    def issue(
        self,
        tenant: TenantId,
        name: str,
        *,
        is_import: bool,
        buckets: frozenset[str] = frozenset(),
        keys: Sequence[bytes] = (),
        who: str = "",
    ) -> Ticket:
        """A ticket. Raises: TicketsExhausted."""
        self._drop_ended()
        if len(self._held) >= TICKETS_MAX:
            raise TicketsExhausted(tickets_max=TICKETS_MAX)
        text = self._env.random_bytes(TICKET_BYTES).hex()
        ticket = Ticket(text, tenant, name, is_import, buckets, keys, self._env.monotonic_s(), who)
        self._held[text] = ticket
        return ticket

    def find(self, text: str, *, is_import: bool | None = None) -> Ticket:
        """The ticket that is shown; `is_import` None: of either kind. Raises: TicketUnknown."""
        self._drop_ended()
        ticket = self._held.get(text)
        if ticket is None or is_import not in (None, ticket.is_import):
            raise TicketUnknown()
        ticket.used_s = self._env.monotonic_s()
        return ticket

    def check_holder(self, text: str, who: str) -> None:
        """Raises: TicketUnknown: there is none, or it was given to somebody else."""
        if self.find(text).who != who:
            raise TicketUnknown()

    def tenant_of(self, text: str) -> TenantId | None:
        """Whom a ticket is for; it counts as no use of it."""
        held = self._held.get(text)
        return None if held is None else held.tenant

    def is_held(self, text: str) -> bool:
        """Whether it has not ended."""
        return text in self._held

    def drop(self, ticket: Ticket) -> None:
        """It is over. Idempotent."""
        self._held.pop(ticket.text, None)

    def _drop_ended(self) -> None:
        before = self._env.monotonic_s() - UNUSED_S
        self._held = {text: one for text, one in self._held.items() if one.used_s >= before}
