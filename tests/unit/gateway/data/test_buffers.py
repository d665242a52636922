"""The pool: a bound, a line, reuse, and no leak on cancellation."""

from __future__ import annotations

import asyncio

import pytest

from gateway.data.buffers import BufferPool, BufferTooLarge, tune_allocator
from tests.support.cluster import run_virtual


def test_the_allocator_is_tuned_on_glibc() -> None:
    assert tune_allocator()


def test_buffers_are_used_again() -> None:
    async def main() -> None:
        pool = BufferPool(2, 4096)
        lease = await pool.acquire(100)
        assert len(lease.view) == 100
        first = lease.view.obj
        lease.release()
        again = await pool.acquire(4096)
        assert again.view.obj is first and pool.leased_count == 1

    run_virtual(main())


def test_the_last_holder_gives_it_back() -> None:
    async def main() -> None:
        pool = BufferPool(1, 10)
        lease = await pool.acquire(10)
        lease.retain()
        lease.release()
        assert pool.try_acquire(1) is None
        lease.release()
        with pytest.raises(AssertionError):
            lease.release()
        assert pool.try_acquire(1) is not None

    run_virtual(main())


def test_too_large_is_refused_at_once() -> None:
    async def main() -> None:
        with pytest.raises(BufferTooLarge):
            await BufferPool(1, 10).acquire(11)

    run_virtual(main())


def test_first_come_first_served_and_nobody_jumps_the_line() -> None:
    async def main() -> None:
        pool = BufferPool(1, 10)
        held = await pool.acquire(1)
        order: list[int] = []

        async def wait(i: int) -> None:
            lease = await pool.acquire(1)
            order.append(i)
            await asyncio.sleep(1)
            lease.release()

        tasks = [asyncio.create_task(wait(i)) for i in range(3)]
        await asyncio.sleep(0)
        held.release()
        assert pool.try_acquire(1) is None, "the place belongs to the first in line"
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2] and pool.leased_count == 0

    run_virtual(main())


@pytest.mark.parametrize("released_first", [False, True])
def test_cancelled_waiters_leak_nothing(released_first: bool) -> None:
    async def main() -> None:
        pool = BufferPool(1, 10)
        held = await pool.acquire(1)
        waiting = asyncio.create_task(pool.acquire(1))
        behind = asyncio.create_task(pool.acquire(1))
        await asyncio.sleep(0)
        if released_first:
            held.release()  # the waiter has its turn, but does not know it
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not released_first:
            held.release()
        (await behind).release()
        assert pool.leased_count == 0 and pool.waiting_count == 0

    run_virtual(main())


def test_a_spoilt_buffer_is_never_used_again() -> None:
    async def main() -> None:
        pool = BufferPool(1, 10)
        lease = await pool.acquire(5)
        view = lease.view
        view[:] = b"apple"
        lease.spoil()
        lease.release()
        again = await pool.acquire(5)
        again.view[:] = b"other"
        assert view == b"apple", "who still reads the old one sees what was there"

    run_virtual(main())
