"""Job `key-move`: while keys move from the key service's file into an HSM, DEKs under named keys
are wrapped anew, tenant by tenant, until a pass finds none.

Not for tenants' own keys, which the job `rotation` does, nor for beginning (`hexagone keys move`).
Nothing is written down: a gateway that dies begins its pass again, and finds less.
"""

from __future__ import annotations

from gateway.model.names import TenantId
from gateway.objects import named_moving
from gateway.objects.context import Services
from gateway.objects.key_move import InFile, move_of
from storaged.base.errors import Kind, StorageError
from storaged.base.jobs import Progress

IDLE_S = 30.0
CLEAN_PASSES = 2  # what passes from row to row is not missed by both


class NamedKeyMover:
    """One pass over one tenant a step.

    Attributes:
        passes: by tenant, how many in a row have found nothing.
    """

    name = "key-move"

    def __init__(self, services: Services) -> None:
        self._services = services
        self._wrapped = 0
        self._said = ""
        self.passes: dict[TenantId, int] = {}

    def progress(self) -> Progress:
        """How many rows were wrapped anew."""
        return Progress(done=self._wrapped, total=0, unit="rows", detail=self._said)

    async def step(self) -> float:
        """Look over the rows of one tenant. Raises: as the provider and the log."""
        move = await move_of(self._services)
        if move is None:
            self.passes.clear()
            return IDLE_S
        for held in move.left:
            if self._is_wanted(held):
                try:
                    looked = await named_moving.look(self._services, held.tenant, rewrap=True)
                except StorageError as error:
                    if error.kind is not Kind.DENIED:
                        raise
                    self._said = f"{held.tenant.hex()[:8]} waits: {error.message()}"
                    continue  # until an epoch is enabled again; other tenants need not
                self._wrapped += looked.wrapped
                is_clean = looked.found == 0
                self.passes[held.tenant] = self.passes.get(held.tenant, 0) + 1 if is_clean else 0
                self._said = f"{held.tenant.hex()[:8]}: {looked.found} found"
                return 0.0
        return IDLE_S

    def _is_wanted(self, held: InFile) -> bool:
        """Whether there are named keys, and all have their counterparts, which `hexagone keys move`
        makes: before that, what is wrapped anew would be under the same key.
        """
        is_begun = bool(held.names) and not held.waiting
        return is_begun and not self.is_done(held)

    def is_done(self, held: InFile) -> bool:
        """Whether nothing is under named keys of the file, as far as passes have seen."""
        return not held.names or self.passes.get(held.tenant, 0) >= CLEAN_PASSES
