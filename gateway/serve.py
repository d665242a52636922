"""One gateway as a process: opened, listening, `ready`, then drained on SIGTERM or SIGINT.

Not for what a gateway is made of (`gateway.compose`), nor for the command line (`gateway.main`).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import ssl
import sys
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from gateway.admin.access_api import access_routes
from gateway.admin.access_desk import AccessDesk
from gateway.admin.alarms import Alarms
from gateway.admin.api import AdminServer
from gateway.admin.approval_api import approval_routes
from gateway.admin.approval_desk import ApprovalDesk
from gateway.admin.attest import Attester
from gateway.admin.attest_api import attest_routes
from gateway.admin.clocks import clock_warnings, tell_of_clocks
from gateway.admin.departure_api import departure_routes
from gateway.admin.erasure_api import erasure_routes
from gateway.admin.erasure_desk import ErasureDesk
from gateway.admin.forget_api import forget_routes
from gateway.admin.health import HealthServer
from gateway.admin.import_api import transfer_routes
from gateway.admin.journal_api import journal_routes, recording
from gateway.admin.key_api import key_routes
from gateway.admin.key_desk import KeyDesk
from gateway.admin.key_move_api import key_move_routes
from gateway.admin.key_move_desk import KeyMoveDesk
from gateway.admin.key_service import key_service_document, key_service_warnings
from gateway.admin.metering_api import metering_routes
from gateway.admin.metering_desk import MeteringDesk
from gateway.admin.metrics import ClusterMetrics
from gateway.admin.named_keys import NamedKeyDesk
from gateway.admin.plane import admin_plane
from gateway.admin.produce import Producer
from gateway.admin.produce_api import produce_routes
from gateway.admin.recovery_api import recovery_routes
from gateway.admin.signing_api import SigningDesk, signing_routes
from gateway.admin.status import ClusterView
from gateway.admin.tickets import Tickets
from gateway.aws_env import is_aws_env, secret_in, write_aws_env
from gateway.compose import Gateway, open_gateway
from gateway.config import GatewayConfig
from gateway.data.buffers import tune_allocator
from gateway.data.erasure import backend_name, codec_for
from gateway.keyd.kept_in import kept_in
from gateway.keyd.told import tell_of_budgets
from gateway.metrics import S3Metrics, exposition, new_registry
from gateway.objects import approving, departing, key_rotation
from gateway.objects.bootstrap import renew_root
from gateway.s3.http import FrontendConfig, S3Frontend
from gateway.up import SITES, Laid
from storaged.base.env import RealEnv
from storaged.base.notify import READY, STOPPING, ignore_stop_signals, notify_systemd
from storaged.tls import s3_server_context

SWITCH_INTERVAL_S = 0.0005  # after a sync, its thread waits so long for the interpreter's lock
MARGIN_NOTE = (
    "4+2 on three datacenters survives the loss of any one of them, with margin 0 until it is\n"
    "repaired. Production uses 5+4 on nine nodes, margin 1 (see `hexagone durability`)."
)


async def serve(
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
    signing = SigningDesk(config.storage.keys, gateway.core.root, gateway.journal, env)
    view = _view(gateway, config, env, signing)
    keys = KeyDesk(gateway.services, gateway.rotation, lambda: kept_in(gateway.core.keyring))
    node_authorities = [] if config.node_tls is None else [config.node_tls.authority]
    plane = admin_plane(config.admin, gateway.services, node_authorities, config.cluster.name)
    registry = new_registry(metrics, ClusterMetrics(view), Alarms(gateway.services, plane.gate))
    tickets = Tickets(env)
    admin = AdminServer(
        view=view,
        scheduler=gateway.scheduler,
        run_job=gateway.run_job,
        path=config.admin.socket,
        env=env,
        keys=NamedKeyDesk(gateway.services),
        more=[*_admin_routes(gateway, view, keys, signing, tickets), *plane.routes],
        journaled=recording(gateway.services, tickets),
        gate=plane.gate,
        listener=plane.listener,
    )
    health = HealthServer(metrics=lambda: exposition(registry), not_ready=view.not_ready)
    frontend = S3Frontend(gateway.services, _frontend_config(config), metrics)
    try:
        port = await frontend.start(config.s3.host, config.s3.port, _s3_context(config))
        tell_of_clocks(gateway.core.health.clocks, gateway.core.topology, gateway.journal, env)
        tell_of_budgets(gateway.core.keyring, gateway.journal, env)
        gateway.start()
        await admin.start()
        if config.metrics is not None:
            await health.start(config.metrics.host, config.metrics.port)
        _settle_memory()
        if folder is not None:
            laid = Laid(folder)
            await write_credentials(gateway, config, laid.aws_env, port, laid.authority)
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


async def write_credentials(
    gateway: Gateway, config: GatewayConfig, to: Path, port: int, authority: Path | None
) -> None:
    """Write the root user's access key to a file only its owner reads; one with another secret, if
    the present one's is neither known nor in that file.
    """
    core = gateway.core
    assert core.nonces is not None
    key = gateway.root_key
    if not key.secret:
        if is_aws_env(config, to, port, key, authority):
            return
        secret = secret_in(to, key.access_key_id)
        if secret:
            key = replace(key, secret=secret, sealed=b"")
        else:
            # Only the key service could open it, and that shows none: whoever has lost the file
            # gets another key.
            key = await renew_root(gateway.log, core.records, core.nonces, core.keyring, core.env)
            gateway.root_key = key
    write_aws_env(config, to, port, key, authority)


def _admin_routes(
    gateway: Gateway, view: ClusterView, keys: KeyDesk, signing: SigningDesk, tickets: Tickets
) -> list[web.AbstractRouteDef]:
    """Of what operators ask about, beside the state of the cluster."""
    return [
        *attest_routes(_attester(gateway, view, signing)),
        *signing_routes(signing),
        *produce_routes(_producer(gateway)),
        *access_routes(AccessDesk(gateway.services)),
        *key_routes(keys),
        *key_move_routes(KeyMoveDesk(gateway.services, keys, gateway.key_mover)),
        *recovery_routes(gateway.recovery, gateway.core.config.storage.keys, gateway.core.env),
        *journal_routes(gateway.services),
        *forget_routes(gateway.services),
        *approval_routes(ApprovalDesk(gateway.services)),
        *erasure_routes(ErasureDesk(gateway.services, gateway.core.config.erasure)),
        *metering_routes(MeteringDesk(gateway.services)),
        *departure_routes(gateway.services),
        *transfer_routes(gateway.services, tickets),
    ]


def _producer(gateway: Gateway) -> Producer:
    keyring = gateway.core.keyring
    return Producer(gateway.services, gateway.core.config, lambda: kept_in(keyring))


def _view(
    gateway: Gateway, config: GatewayConfig, env: RealEnv, signing: SigningDesk
) -> ClusterView:
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
        more_warnings=lambda: [
            *gateway.recovery.warnings(),
            *gateway.certificates.warnings(),
            *clock_warnings(core.health.clocks, core.topology),
            *approving.warnings(gateway.services),
            *key_service_warnings(core.keyring),
            *key_rotation.warnings(gateway.services),
            *departing.warnings(gateway.services),
            *signing.warnings(),
        ],
        key_service=lambda: key_service_document(core.keyring),
        certificate_days=gateway.certificates.days_left,
    )


def _attester(gateway: Gateway, view: ClusterView, signing: SigningDesk) -> Attester:
    core = gateway.core
    return Attester(
        view.locator,
        core.nodes,
        core.topology,
        core.config.cluster,
        seed=signing.attestation_seed,
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


def _s3_context(config: GatewayConfig) -> ssl.SSLContext | None:
    """What clients are met with; None: plain HTTP. Raises: CertificateUnusable."""
    if config.s3.certificate is None or config.s3.key is None:
        return None
    return s3_server_context(config.s3.certificate, config.s3.key)


def _settle_memory() -> None:
    """What start-up has made lives as long as the process: no collection needs to look at it again,
    nor for it now, which would take a tenth of a second and find two thousand objects.
    """
    gc.freeze()
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _to_standard_output(lines: bytes) -> None:
    sys.stdout.buffer.write(lines)
    sys.stdout.flush()


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
