"""The `storaged` command: the only place that picks parts and puts them together.

`storaged run --config FILE` serves one node until SIGTERM or SIGINT, then drains. Who the node is
comes from its certificate, so no configuration can give a node another's name.
"""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop

from storaged.base.config import Bounds, SecretPath, effective_values, read_config, render_effective
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from storaged.base.jobs import BEGINS_AFTER_S, Scheduler
from storaged.base.log import Log, LogFormat, configure_logs
from storaged.base.notify import READY, STOPPING, ignore_stop_signals, notify_systemd
from storaged.identity import read_domain, read_node_identity
from storaged.local import LocalNode, open_local_node
from storaged.metrics import MetricsServer, NodeMetrics
from storaged.node import NodeIdentity
from storaged.renewal import Pair, RenewalConfig, Renewer, days_left, pair_in_use
from storaged.scrub import ScrubJob
from storaged.server import NodeServer
from storaged.tls import node_server_context

OFFLOAD_THREADS = 8
STATUS_EVERY_S = 10.0  # how old the space figures of /metrics may be

Port = Annotated[int, Bounds(0, 65535)]

_LOG = Log("storaged.main")
app = typer.Typer(no_args_is_help=True, add_completion=False, help="A storage node of Hexagone.")
config_app = typer.Typer(no_args_is_help=True, help="Look at a configuration.")
app.add_typer(config_app, name="config")
trash_app = typer.Typer(
    no_args_is_help=True, help="Deleted shards that the node keeps. The node has to be stopped."
)
app.add_typer(trash_app, name="trash")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConfig:
    """Where gateways reach the node. Port 0 takes a free one and prints it."""

    host: str = "127.0.0.1"
    port: Port = 7400


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """The node's certificate, its key (mode 0600), and the internal CA.

    Args:
        renewal: how the certificate is renewed by itself; None: by hand.
    """

    certificate: Path
    key: SecretPath
    authority: Path
    renewal: RenewalConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsConfig:
    """Where /metrics, /healthz and /readyz are answered."""

    host: str = "127.0.0.1"
    port: Port = 7401


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Form of the log on standard error."""

    format: LogFormat = LogFormat.AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class StoragedConfig:
    """Everything a node is told; its identity comes from the certificate.

    `scrub_mib_per_s` is what the node reads in the background to find rot. What gateways delete is
    kept for `trash_hours`; no gateway can see or shorten that.
    """

    data_directory: Path
    capacity_bytes: Annotated[int, Bounds(256 * 1024 * 1024, 1 << 60)]
    tls: TlsConfig
    listen: ListenConfig = field(default_factory=ListenConfig)
    metrics: MetricsConfig | None = None
    log: LogConfig = field(default_factory=LogConfig)
    scrub_mib_per_s: Annotated[int, Bounds(1, 1 << 20)] = 20
    trash_hours: Annotated[int, Bounds(0, 8760)] = 0

    @property
    def trash_ms(self) -> int:
        """How long what is deleted is kept."""
        return self.trash_hours * 3_600_000


ConfigOption = Annotated[Path, typer.Option("--config", help="TOML file")]


@app.command()
def run(config: ConfigOption) -> None:
    """Serve the node until SIGTERM, then finish what is under way and stop."""
    try:
        settings = read_config(StoragedConfig, config)
        configure_logs(settings.log.format)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold keys of TLS
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings))
    except (StorageError, OSError) as error:
        _exit(error)


@config_app.command("check")
def check(
    config: ConfigOption,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Read the configuration and the certificate; print the values in effect."""
    try:
        settings = read_config(StoragedConfig, config)
        pair = _pair(settings.tls)
        identity, domain = read_node_identity(pair.certificate), read_domain(pair.certificate)
        node_server_context(pair.certificate, pair.key, settings.tls.authority)
    except (StorageError, OSError) as error:
        _exit(error)
    who = {
        "node": identity.node,
        "datacenter": identity.datacenter,
        "country": identity.country,
        "operator": identity.operator,
        "domain": domain,
    }
    if as_json:
        print(json.dumps({"identity": who, "config": effective_values(settings)}, indent=2))
    else:
        print("# " + " ".join(f"{name}={value}" for name, value in who.items()))
        print(render_effective(settings), end="")


@trash_app.command("list")
def list_trash(
    config: ConfigOption,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """How much is in the trash, and when the first and the last of it go.

    Example: storaged trash list --config /etc/hexagone/node.toml
    """

    async def look(node: LocalNode, settings: StoragedConfig) -> dict[str, object]:
        held = node.trash.held()
        return {
            "shards": held.shards,
            "record_bytes": held.record_bytes,
            "first_goes": _shown(held.first_ends_ms),
            "last_goes": _shown(held.last_ends_ms),
            "trash_hours": settings.trash_hours,
        }

    _tell(_inside(config, look), as_json=as_json)


@trash_app.command("restore")
def restore_trash(
    config: ConfigOption,
    since: Annotated[
        str, typer.Option("--since", help="deleted since then: 2026-11-23T10:00:00Z; else all")
    ] = "",
    replace: Annotated[
        bool, typer.Option("--replace", help="also where a shard of the same id is there again")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Bring deleted shards back, each as it was last. It takes their space once more.

    Example: storaged trash restore --config /etc/hexagone/node.toml --since 2026-11-23T10:00:00Z
    """

    async def restore(node: LocalNode, settings: StoragedConfig) -> dict[str, object]:
        from_ms = _time_ms(since) + settings.trash_ms if since else 0
        done = await node.trash.restore(from_ms, replaces=replace)
        return {"restored": done.restored, "held": done.held, "damaged": done.damaged}

    _tell(_inside(config, restore), as_json=as_json)


def _inside(
    config: Path, act: Callable[[LocalNode, StoragedConfig], Awaitable[dict[str, object]]]
) -> dict[str, object]:
    """Open the node of a configuration, which nobody serves meanwhile, and do something."""

    async def opened(settings: StoragedConfig) -> dict[str, object]:
        env = RealEnv(OFFLOAD_THREADS)
        node = await _open(settings, read_node_identity(_pair(settings.tls).certificate), env)
        try:
            return await act(node, settings)
        finally:
            await node.close()
            env.close()

    try:
        return asyncio.run(opened(read_config(StoragedConfig, config)))
    except (StorageError, OSError) as error:
        _exit(error)


def _time_ms(text: str) -> int:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("a time such as 2026-11-23T10:00:00Z") from error
    if when.tzinfo is None:
        raise typer.BadParameter("the time zone is missing: 2026-11-23T10:00:00Z")
    return int(when.timestamp() * 1000)


def _shown(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat() if at_ms else ""


def _tell(answer: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(answer))
        return
    for name, value in answer.items():
        print(f"{name.replace('_', ' '):<13} {value}")


def main() -> None:
    """Entry point of the `storaged` command."""
    app()


def _pair(tls: TlsConfig) -> Pair:
    """The certificate as configured, or as renewed since."""
    given = Pair(certificate=tls.certificate, key=tls.key)
    return pair_in_use(given, None if tls.renewal is None else tls.renewal.folder)


async def _serve(settings: StoragedConfig) -> None:
    """Open the node, serve it, and on a signal drain and close. Raises StorageError, OSError."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    env = RealEnv(OFFLOAD_THREADS)
    tls = settings.tls
    given, pair = Pair(certificate=tls.certificate, key=tls.key), _pair(tls)
    identity = read_node_identity(pair.certificate)
    context = node_server_context(pair.certificate, pair.key, tls.authority)
    renewer = Renewer(given, tls.authority, tls.renewal, [context], env)
    metrics = NodeMetrics(lambda: days_left(renewer.life()[1], env.now_ms()))
    node = await _open(settings, identity, env)
    server = NodeServer(
        node,
        ssl_context=context,
        domain=read_domain(pair.certificate),
        env=env,
        metrics=metrics,
    )
    endpoint = MetricsServer(metrics.render, lambda: server.ready)
    scheduler = Scheduler(env)
    scheduler.add(renewer)
    scrub = ScrubJob(node.store, env, bytes_per_s=settings.scrub_mib_per_s << 20)
    scheduler.add(scrub, begins_after_s=BEGINS_AFTER_S)
    observer: asyncio.Task[None] | None = None
    try:
        if settings.metrics is not None:
            await endpoint.start(settings.metrics.host, settings.metrics.port)
            observer = asyncio.create_task(_observe(node, metrics, env))
        host, port = await server.start(settings.listen.host, settings.listen.port)
        scheduler.start()
        _LOG.info("serving", node=identity.node, datacenter=identity.datacenter, port=port)
        print(f"ready node={identity.node} address={host}:{port}", flush=True)
        notify_systemd(READY)
        await stop.wait()
        notify_systemd(STOPPING)
        _LOG.info("draining", node=identity.node)
        await server.drain()
    finally:
        if observer is not None:
            observer.cancel()
        await scheduler.close()
        await server.close()
        await endpoint.close()
        await node.close()
        env.close()
        ignore_stop_signals(loop)
    _LOG.info("stopped", node=identity.node)


async def _open(settings: StoragedConfig, identity: NodeIdentity, env: RealEnv) -> LocalNode:
    return await open_local_node(
        settings.data_directory,
        identity,
        env,
        capacity_bytes=settings.capacity_bytes,
        trash_ms=settings.trash_ms,
    )


async def _observe(node: LocalNode, metrics: NodeMetrics, env: RealEnv) -> None:
    """Copy the node's status into its metrics, every few seconds."""
    while True:
        try:
            status = await node.status()
        except StorageError as error:
            _LOG.warning("no status", error=error)
        else:
            metrics.observe_space(
                in_service=status.in_service,
                stored_bytes=status.stored_bytes,
                capacity_bytes=status.capacity_bytes,
                free_bytes=status.free_bytes,
                shard_count=status.shard_count,
                corrupt_count=len(status.corrupt_shards),
                trash_bytes=node.trash.record_bytes,
            )
        await env.sleep(STATUS_EVERY_S)


def _exit(error: Exception) -> NoReturn:
    """One line for people, status 1."""
    hint = getattr(error, "hint", None)
    print(f"storaged: {error}" + (f"\n  {hint}" if hint else ""), file=sys.stderr)
    raise typer.Exit(1) from error


if __name__ == "__main__":
    main()
