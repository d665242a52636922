"""How commands that run something run it, and the options that they share.

On uvloop, without core files, with as many open files as the machine lets them have.
"""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from gateway.terminal.refusals import stop
from storaged.base.errors import StorageError

DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="HEXAGONE_DATA", help="folder of the cluster on this machine"),
]
TakeoverOption = Annotated[
    bool,
    typer.Option("--takeover", help="the gateway that served this cluster elsewhere is off"),
]
DEFAULT_DATA = Path("hexagone-data")
# Young objects before a collection, and how often older ones go. Modules make no rubbish, a request
# a few hundred objects and no cycles; with Python's own thresholds, collections are a tenth of a
# start and a sixth of a small GET.
GC_THRESHOLDS = (50_000, 20, 50)


def run_here(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function to its end; errors of ours become one line and exit code 1."""
    gc.set_threshold(*GC_THRESHOLDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold keys
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except (StorageError, OSError) as error:
        stop(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
