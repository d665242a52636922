"""The `hexagone` command: run a cluster on this machine, run a gateway, rebuild an index, and the
admin verbs, which only talk to a running gateway's socket.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from aiohttp import web
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway import ca_cli, enrol_cli
from gateway.admin import access_cli, journal_cli, keys_cli, metering_cli, where_cli
from gateway.admin.access_api import access_routes
from gateway.admin.access_desk import AccessDesk
from gateway.admin.api import AdminServer
from gateway.admin.attest import Attester
from gateway.admin.attest_api import attest_routes
from gateway.admin.cli import add_commands
from gateway.admin.health import HealthServer
from gateway.admin.journal_api import journal_routes, recording
from gateway.admin.key_api import key_routes
from gateway.admin.key_desk import KeyDesk
from gateway.admin.metering_api import metering_routes
from gateway.admin.metering_desk import MeteringDesk
from gateway.admin.metrics import ClusterMetrics
from gateway.admin.named_keys import NamedKeyDesk
from gateway.admin.status import ClusterView
from gateway.compose import Gateway, open_gateway
from gateway.config import GatewayConfig
from gateway.config_check import check_config
from gateway.core import rebuild as rebuild_from_nodes
from gateway.data.buffers import tune_allocator
from gateway.data.erasure import backend_name, codec_for
from gateway.journal.events import CLUSTER
from gateway.journal.opening import command_event
from gateway.metrics import S3Metrics, exposition, new_registry
from gateway.objects.bootstrap import ensure_root
from gateway.s3.http import FrontendConfig, S3Frontend
from gateway.up import SITES, Laid, NodeProcesses, UpOptions, lay_out, write_aws_env
from storaged.base.config import effective_values, read_config, render_effective
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.log import configure_logs
from storaged.base.notify import READY, STOPPING, ignore_stop_signals, notify_systemd
from storaged.tls import s3_server_context

logger = logging.getLogger(__name__)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Hexagone: an S3-compatible object store that stays where you put it.",
)
config_app = typer.Typer(no_args_is_help=True, help="Look at a configuration.")
gateway_app = typer.Typer(no_args_is_help=True, help="Run one gateway of a cluster.")
app.add_typer(config_app, name="config")
app.add_typer(gateway_app, name="gateway")
add_commands(app)
where_cli.add_commands(app)
ca_cli.add_commands(app)
enrol_cli.add_commands(ca_cli.ca_app)
access_cli.add_commands(app)
metering_cli.add_commands(app)
keys_cli.add_commands(app)
journal_cli.add_commands(app)

DataOption = Annotated[
    Path,
    typer.Option("--data", envvar="HEXAGONE_DATA", help="folder of the cluster on this machine"),
]
ConfigOption = Annotated[Path, typer.Option("--config", help="gateway.toml")]
JsonOption = Annotated[bool, typer.Option("--json", help="for programs")]
TakeoverOption = Annotated[
    bool,
    typer.Option("--takeover", help="the gateway that served this cluster elsewhere is off"),
]
GC_THRESHOLDS = (50_000, 20, 50)  # young objects before a collection, and how often older ones go
SWITCH_INTERVAL_S = 0.0005  # after a sync, its thread waits so long for the interpreter's lock
DEFAULT_DATA = Path("hexagone-data")
MARGIN_NOTE = (
    "4+2 on three datacenters survives the loss of any one of them, with margin 0 until it is\n"
    "repaired. Production uses 5+4 on nine nodes, margin 1 (see `hexagone durability`)."
)


@app.command()
def up(
    data: DataOption = DEFAULT_DATA,
    port: Annotated[int, typer.Option(help="S3 port; metrics take the next one")] = 9000,
    processes: Annotated[
        bool, typer.Option("--processes", help="a storaged process per node, mutual TLS")
    ] = False,
    tls: Annotated[bool, typer.Option("--tls", help="S3 over TLS, internal CA")] = False,
    region: Annotated[str, typer.Option(help="what clients sign for")] = "fr",
    takeover: TakeoverOption = False,
    unsafe_test_profile: Annotated[
        Path | None,
        typer.Option(
            "--unsafe-test-profile",
            help="TOML of that section: known accounts, short days; for suites of tests only",
        ),
    ] = None,
) -> None:
    """Run a whole cluster on this machine, in the foreground: six nodes, three datacenters, 4+2."""
    data = data.absolute()
    options = UpOptions(
        folder=data,
        port=port,
        processes=processes,
        tls=tls,
        unsafe_test_profile=unsafe_test_profile,
        region=region,
    )

    async def main() -> None:
        env = RealEnv()
        config = lay_out(options, env)
        configure_logs(config.log.format, logging.WARNING)
        children = NodeProcesses(data, options.nodes_per_site) if processes else None
        if children is not None:
            await children.start()
        try:
            await _serve(config, env, takeover=takeover, folder=data)
        finally:
            if children is not None:
                await children.stop()

    _run(main)


@gateway_app.command("run")
def gateway_run(config: ConfigOption, takeover: TakeoverOption = False) -> None:
    """Serve S3 until SIGTERM, then finish what is under way and stop."""

    async def main() -> None:
        settings = _read(config)
        configure_logs(settings.log.format)
        await _serve(settings, RealEnv(), takeover=takeover, folder=None)

    _run(main)


@gateway_app.command("credentials")
def gateway_credentials(
    config: ConfigOption,
    to: Annotated[Path, typer.Option(help="file to write, mode 0600")],
    authority: Annotated[
        Path | None, typer.Option(help="CA certificate that clients check the endpoint's against")
    ] = None,
) -> None:
    """Write the root user's access key of a stopped gateway to a file that only its owner reads."""

    async def main() -> None:
        settings = _read(config)
        env = RealEnv()
        gateway = await open_gateway(settings, env)
        try:
            if gateway.journal is not None:
                await gateway.journal.record(CLUSTER, command_event("credentials", env))
            await _write_credentials(gateway, settings, to, settings.s3.port, authority)
        finally:
            await gateway.close()

    _run(main)


@app.command()
def rebuild(
    data: DataOption = DEFAULT_DATA,
    config: Annotated[Path | None, typer.Option("--config", help="gateway.toml")] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="go on over missing links; lists what goes")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the index again from the nodes and the root key. The gateway must be stopped."""

    async def main() -> None:
        settings = _read(config or Laid(data.absolute()).config)
        configure_logs(settings.log.format, logging.WARNING)
        console = Console(stderr=True, quiet=as_json)
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as bars:
            tasks: dict[str, int] = {}

            def show(phase: str, done: int, total: int) -> None:
                if phase not in tasks:
                    tasks[phase] = bars.add_task(phase, total=total or None)
                bars.update(tasks[phase], completed=done, total=total or None)  # type: ignore[arg-type]

            lost = await rebuild_from_nodes(
                settings, RealEnv(), accept_loss=accept_loss, progress=show
            )
        if as_json:
            print(json.dumps({"rebuilt": True, "lost": lost}))
        else:
            print("rebuilt" + (f"; given up: {', '.join(lost)}" if lost else ", nothing lost"))

    _run(main)


@config_app.command("check")
def config_check(config: ConfigOption, as_json: JsonOption = False) -> None:
    """Read a gateway's configuration; print the values in effect."""

    async def main() -> None:
        settings = _read(config)
        if as_json:
            print(json.dumps(effective_values(settings), indent=2))
        else:
            print(render_effective(settings), end="")

    _run(main)


def main() -> None:
    """Entry point of the `hexagone` command."""
    app()


def _read(path: Path) -> GatewayConfig:
    settings = read_config(GatewayConfig, path)
    check_config(settings)
    return settings


def _run(start: object) -> None:
    """Run a coroutine function on uvloop; errors of ours become one line and exit code 1."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold keys
    _raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(start())  # type: ignore[operator]
    except (StorageError, OSError) as error:
        _exit(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(
    config: GatewayConfig, env: RealEnv, *, takeover: bool, folder: Path | None
) -> None:
    """Open everything, print `ready`, serve until SIGTERM or SIGINT, drain."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    tune_allocator()
    codec_for(config.cluster.geometry)  # checks that ISA-L and zfec agree
    gateway = await open_gateway(config, env, takeover=takeover)
    if config.unsafe_test_profile is not None:
        print("unsafe test profile: known secrets; keep nothing here", file=sys.stderr, flush=True)
    metrics = S3Metrics()
    view = _view(gateway, config, env)
    keys = KeyDesk(gateway.services, gateway.rotation)
    registry = new_registry(metrics, ClusterMetrics(view))
    admin = AdminServer(
        view=view,
        scheduler=gateway.scheduler,
        run_job=gateway.run_job,
        path=config.admin.socket,
        env=env,
        keys=NamedKeyDesk(gateway.services),
        more=_admin_routes(gateway, view, keys),
        journaled=recording(gateway.services),
    )
    health = HealthServer(metrics=lambda: exposition(registry), not_ready=view.not_ready)
    frontend = S3Frontend(gateway.services, _frontend_config(config), metrics)
    try:
        context = None
        if config.s3.certificate is not None and config.s3.key is not None:
            context = s3_server_context(config.s3.certificate, config.s3.key)
        port = await frontend.start(config.s3.host, config.s3.port, context)
        gateway.start()
        await admin.start()
        if config.metrics is not None:
            await health.start(config.metrics.host, config.metrics.port)
        _settle_memory()
        if folder is not None:
            laid = Laid(folder)
            await _write_credentials(gateway, config, laid.aws_env, port, laid.authority)
            _greet(config, port, laid.aws_env)
        print("ready", flush=True)
        notify_systemd(READY)
        await stopping.wait()
        notify_systemd(STOPPING)
        print("stopping", file=sys.stderr, flush=True)
    finally:
        view.closing = True
        await frontend.stop()
        await health.close()
        await admin.close()
        await gateway.close()
        ignore_stop_signals(loop)


def _admin_routes(gateway: Gateway, view: ClusterView, keys: KeyDesk) -> list[web.AbstractRouteDef]:
    """Of what operators ask about, beside the state of the cluster."""
    return [
        *attest_routes(_attester(gateway, view)),
        *access_routes(AccessDesk(gateway.services)),
        *key_routes(keys),
        *journal_routes(gateway.services),
        *metering_routes(MeteringDesk(gateway.services)),
    ]


def _view(gateway: Gateway, config: GatewayConfig, env: RealEnv) -> ClusterView:
    core = gateway.core
    return ClusterView(
        config=config,
        topology=core.topology,
        health=core.health,
        log=gateway.log,
        scheduler=gateway.scheduler,
        repairs=gateway.repairs,
        repairer=gateway.repairer,
        checkpointer=gateway.checkpointer,
        records=core.records,
        damage=core.damage,
        pool=gateway.services.pool,
        env=env,
        started_at_ms=env.now_ms(),
        certificate_of=core.certificate_of,
        journal=gateway.journal,
    )


def _attester(gateway: Gateway, view: ClusterView) -> Attester:
    core = gateway.core
    return Attester(
        view.locator,
        core.nodes,
        core.topology,
        core.config.cluster,
        seed=core.root.derive("attestation"),
        integrity_key=core.root.integrity_key,
        cluster_id=core.root.cluster_id,
        certificate_of=core.certificate_of,
        env=core.env,
    )


def _frontend_config(config: GatewayConfig) -> FrontendConfig:
    cluster = config.cluster
    regions = (cluster.region, *cluster.locations, *cluster.region_numbers, "us-east-1")
    return FrontendConfig(
        regions=tuple(dict.fromkeys(regions)),
        base_domains=config.s3.base_domains,
        website_domains=config.s3.website_domains,
        access_log=_to_standard_output if config.s3.access_log else None,
    )


def _settle_memory() -> None:
    """What start-up has made lives as long as the process: no collection needs to look at it again.

    A request makes a few hundred objects and no cycles; with Python's own thresholds, collections
    cost a sixth of a small GET.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _to_standard_output(lines: bytes) -> None:
    sys.stdout.buffer.write(lines)
    sys.stdout.flush()


async def _write_credentials(
    gateway: Gateway, config: GatewayConfig, to: Path, port: int, authority: Path | None
) -> None:
    core = gateway.core
    assert core.nonces is not None
    key = await ensure_root(gateway.log, core.records, core.nonces, core.keyring, core.env)
    write_aws_env(config, to, port, key, authority)


def _greet(config: GatewayConfig, port: int, aws_env: Path) -> None:
    scheme = "https" if config.s3.certificate is not None else "http"
    geometry = config.cluster.geometry
    print(f"endpoint  {scheme}://{config.s3.host}:{port}")
    print(f"clients   source {aws_env}; aws s3 mb s3://test")
    print(
        f"layout    {geometry.k}+{geometry.m} on {len(config.cluster.nodes)} nodes in "
        f"{', '.join(SITES)}; code computed by {backend_name()}"
    )
    print(MARGIN_NOTE)


def _exit(error: Exception) -> NoReturn:
    print(f"error: {error}", file=sys.stderr)
    hint = getattr(error, "hint", None)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    raise typer.Exit(1) from error


if __name__ == "__main__":
    main()
