"""At what pace the job `rotation` goes: in full pages where nobody else asks anything of the
gateway, in small changes with rests between them where somebody does.

While it shares the gateway it holds the event loop for a third of a millisecond at once, pauses
behind each such piece of work, so that what came meanwhile is answered, and writes so many changes
a second and no more. Those who read beside it feel a change, for some milliseconds: the drives, the
key service and the interpreter's lock are busy with it. How many requests meet one goes by how many
changes there are and hardly by their size, so few larger ones disturb fewer requests than many
small ones. A page that took longer has waited for drives or for the processor; it is followed by a
short rest all the same. It never stands still.
A limit of rows makes the rest longer, never shorter.

Not for what is in a page (`gateway.jobs.rotation_page`). Time comes through `env` alone.
"""

from __future__ import annotations

from gateway.objects.context import Services

PAGE_ROWS = 1024  # the cost of a change is shared by as many
PAGE_S = 0.05  # from one page to the next, under a limit of rows
PAGE_ROWS_MIN = 32
SHARED_ROWS = 512  # a page where the gateway is shared
SHARED_PAGE_S = 1.0  # from one page that is written there to the next, at least
TURN_ROWS = 32  # rows between turns of the event loop: 0.2 ms
CALL_ROWS = 256  # rows in one call to a key service: those who wait behind it do for some 2 ms
PAUSE_S = 0.001  # between turns where the gateway is shared
REST_MIN_S = 0.02  # after a page there, however long it took


def is_shared(services: Services) -> bool:
    """Others ask something of this gateway."""
    return services.demand.is_there(services.env.monotonic_s())


def page_rows(services: Services, rows_per_s: int) -> int:
    """How many rows are written in one change, at most. `rows_per_s`: 0 = no limit."""
    rows, page_s = PAGE_ROWS, PAGE_S
    if is_shared(services):
        rows, page_s = SHARED_ROWS, SHARED_PAGE_S
    return min(rows, max(PAGE_ROWS_MIN, int(rows_per_s * page_s))) if rows_per_s else rows


def call_rows(services: Services) -> int:
    """How many rows are in one call to a key service."""
    return TURN_ROWS if is_shared(services) else CALL_ROWS


async def turn(services: Services) -> None:
    """Let others go on, between two pieces of work."""
    await services.env.sleep(PAUSE_S if is_shared(services) else 0)


async def rest(services: Services, began_s: float, written: int, rows_per_s: int) -> None:
    """Rest after a page that was begun at `began_s` on the monotonic clock. `written`: 0 = its rows
    were only looked at.
    """
    spent_s = services.env.monotonic_s() - began_s
    rest_s = written / rows_per_s - spent_s if rows_per_s else 0.0
    if is_shared(services):
        rest_s = max(rest_s, SHARED_PAGE_S - spent_s if written else 0.0, REST_MIN_S)
    if rest_s > 0:
        await services.env.sleep(rest_s)
