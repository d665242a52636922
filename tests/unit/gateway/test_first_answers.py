"""What a gateway does first when it starts: it answers. What looks at all rows comes later."""

from __future__ import annotations

import asyncio
import gc
import subprocess
from pathlib import Path

from gateway.compose import open_gateway
from gateway.running import GC_THRESHOLDS, run_here
from gateway.up import UpOptions, lay_out
from storaged.base.env import RealEnv

ROOT = Path(__file__).parents[3]
LATER = {"repair", "free", "checkpoint", "compact", "sweep"}


def test_what_looks_at_all_rows_waits_until_it_is_asked_or_its_time_comes(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=2)
        config = lay_out(UpOptions(folder=tmp_path, port=9000, processes=False, tls=False), env)
        gateway = await open_gateway(config, env)
        verified: list[str] = []
        begin = gateway.core.index.begin_verification
        gateway.core.index.begin_verification = lambda: (  # type: ignore[method-assign]
            verified.append("index") or begin()  # type: ignore[func-returns-value]
        )
        try:
            gateway.start()
            for _ in range(100):
                await asyncio.sleep(0)
            rounds = {job.name: job.rounds for job in gateway.scheduler.status()}
            later = LATER | {name for name in rounds if name.startswith("scrub-")}
            assert len(later) == len(LATER) + 6
            assert {name: rounds[name] for name in later} == dict.fromkeys(later, 0)
            assert rounds["tier"] > 0 and not verified
            await gateway.run_job("sweep")
            rounds = {job.name: job.rounds for job in gateway.scheduler.status()}
            assert rounds["sweep"] == 1 and verified == ["index"]
        finally:
            await gateway.close()
            env.close()

    asyncio.run(main())


def test_collections_do_not_slow_a_start_down() -> None:
    before, seen = gc.get_threshold(), []

    async def main() -> None:
        seen.append(gc.get_threshold())

    try:
        run_here(main)
    finally:
        gc.set_threshold(*before)
    assert seen == [GC_THRESHOLDS]


def test_make_up_starts_compiled_modules() -> None:
    done = subprocess.run(
        ["make", "-n", "up"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    words = done.stdout
    assert 0 < words.index("compileall -q gateway storaged") < words.index("hexagone up")
