"""deploy/prometheus/hexagone.rules.yml: it names what a cluster prints, and fires when it should.

Expressions are parsed and fired by promtool, of Debian's package `prometheus`: `make promtool`
unpacks it below .cache, which `make test` does as well.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from gateway.admin.alarms import Alarms
from gateway.cli.client import AdminClient
from gateway.data.keyring import FileKeyring
from gateway.data.node_clocks import CLOCK_SKEW_LIMIT_S
from gateway.keyd.metrics import KeydMetrics
from gateway.keyd.service import KeyService
from gateway.metrics import exposition, new_registry
from gateway.s3.errors import STATUS
from storaged.base.env import RealEnv
from tests.support.keyd_rig import CLUSTER, SECRET
from tests.support.processes import Cluster, end
from tests.support.raw_s3 import Credentials, RawClient
from tests.support.s3_gateway import REGION, S3Gateway, running_gateway

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "prometheus"
RULES, CONFIG = FOLDER / "hexagone.rules.yml", FOLDER / "prometheus.yml"
PAGES = (ROOT / "docs" / "operations.md", ROOT / "docs" / "fr" / "guide-exploitant.md")
UNPACKED = ROOT / ".cache" / "promtool" / "usr" / "bin" / "promtool"
PROMTOOL = shutil.which("promtool") or str(UNPACKED)

SELECTOR = re.compile(r"\b((?:hexagone|storaged)_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
OF_A_SCRAPE = {"instance", "job"}  # labels that Prometheus itself gives
NODE_METRICS_OFFSET = 50  # from the cluster's port
Labels = dict[str, set[str]]

# Alert → series that have to fire it, in promtool's notation; then values that must not.
AT = '{node="paris-1",datacenter="paris"}'
FIRING: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "HexagoneNotAnswering": ({'up{job="hexagone-node"}': "0x80"}, {'up{job="other"}': "0x80"}),
    "HexagoneWritesRefused": (
        {"hexagone_writes_accepted": "0x80"},
        {"hexagone_writes_accepted": "1x80"},
    ),
    "HexagoneLogStopped": ({"hexagone_log_serving": "0x80"}, {"hexagone_log_serving": "1x80"}),
    "HexagoneTierReduced": (
        {"hexagone_reachable_tier": "1x80", "hexagone_log_tier": "2x80"},
        {"hexagone_reachable_tier": "2x80", "hexagone_log_tier": "2x80"},
    ),
    "HexagoneJobFails": (
        {'hexagone_job_failures_total{exported_job="scrub"}': "0+1x80"},
        {'hexagone_job_failures_total{exported_job="scrub"}': "7x80"},
    ),
    "HexagoneStripesUnreadable": (
        {'hexagone_stripes{margin="-1"}': "3x80"},
        {'hexagone_stripes{margin="-1"}': "0x80", 'hexagone_stripes{margin="2"}': "9x80"},
    ),
    "HexagoneStripesAtMarginZero": (
        {'hexagone_stripes{margin="0"}': "3x80"},
        {'hexagone_stripes{margin="1"}': "9x80"},
    ),
    "HexagoneUnrecoverable": (
        {"hexagone_repair_unrecoverable": "1x80"},
        {"hexagone_repair_unrecoverable": "0x80"},
    ),
    "HexagoneRepairStuck": (
        {"hexagone_repair_waiting": "9x80"},
        {"hexagone_repair_waiting": "900-9x80"},
    ),
    "HexagoneNodeAway": (
        {"hexagone_node_reachable" + AT: "0x80"},
        {"hexagone_node_reachable" + AT: "1x80"},
    ),
    "HexagoneNodeTakesNoShards": (
        {"hexagone_node_usable" + AT: "0x80", "hexagone_node_reachable" + AT: "1x80"},
        {"hexagone_node_usable" + AT: "0x80", "hexagone_node_reachable" + AT: "0x80"},
    ),
    "HexagoneNodeClockOff": (
        {"hexagone_node_clock_skew_seconds" + AT: "-5.1x80"},
        {"hexagone_node_clock_skew_seconds" + AT: "4.9x80"},
    ),
    "HexagoneDriveOutOfService": (
        {"hexagone_node_in_service" + AT: "0x80"},
        {"hexagone_node_in_service" + AT: "1x80", "storaged_in_service": "1x80"},
    ),
    "HexagoneDriveFilling": (
        {"hexagone_node_free_bytes" + AT: "14x80", "hexagone_node_capacity_bytes" + AT: "100x80"},
        {"hexagone_node_free_bytes" + AT: "16x80", "hexagone_node_capacity_bytes" + AT: "100x80"},
    ),
    "HexagoneDriveFull": (
        {"hexagone_node_free_bytes" + AT: "2x80", "hexagone_node_capacity_bytes" + AT: "100x80"},
        {"hexagone_node_free_bytes" + AT: "4x80", "hexagone_node_capacity_bytes" + AT: "100x80"},
    ),
    "HexagoneDriveCorrupts": (
        {"hexagone_node_corrupt_shards" + AT: "0x40 3x40"},
        {"hexagone_node_corrupt_shards" + AT: "3x80"},
    ),
    "HexagoneJournalNotWritable": (
        {"hexagone_journal_writable": "0x80"},
        {"hexagone_journal_writable": "1x80"},
    ),
    "HexagoneJournalLosesEvents": (
        {"hexagone_journal_lost_events_total": "0x70 5x10"},
        {"hexagone_journal_lost_events_total": "5x80"},
    ),
    "HexagoneKeysDoNotAnswer": ({"hexagone_keys_answer": "0x80"}, {"hexagone_keys_answer": "1x80"}),
    "HexagoneKeyErrors": (
        {"hexagone_keys_errors_total": "0+60x80"},
        {"hexagone_keys_errors_total": "0+10x80"},
    ),
    "HexagoneKeyBudgetSpent": (
        {'hexagone_keyd_budget_refused_total{budget="opens",of="tenant"}': "0x70 5x10"},
        {
            'hexagone_keyd_budget_refused_total{budget="opens",of="tenant"}': "5x80",
            "hexagone_keys_budget_refusals_total": "5x80",
        },
    ),
    "HexagoneKeysOpenedMany": (
        {'hexagone_keyd_budget_warned{budget="opens",of="tenant"}': "1x80"},
        {'hexagone_keyd_budget_warned{budget="opens",of="tenant"}': "0x80"},
    ),
    "HexagoneSealedKeysDamaged": (
        {"hexagone_damaged_sealed_keys": "1x80"},
        {"hexagone_damaged_sealed_keys": "0x80"},
    ),
    "HexagoneCertificateEnds": (
        {'hexagone_certificate_days_left{holder="gateway"}': "1.9x80"},
        {
            'hexagone_certificate_days_left{holder="gateway"}': "2.1x80",
            "storaged_certificate_days_left": "6x80",
        },
    ),
    "HexagoneCertificateEnded": (
        {"storaged_certificate_days_left": "-1x80"},
        {"storaged_certificate_days_left": "1x80"},
    ),
    "HexagoneLockClockHeldBack": (
        {"hexagone_lock_clock_lag_seconds": "3600x80"},
        {"hexagone_lock_clock_lag_seconds": "0x80"},
    ),
    "HexagoneFailedLogins": (
        {'hexagone_s3_errors_total{operation="GetObject",code="InvalidAccessKeyId"}': "0+90x80"},
        {'hexagone_s3_errors_total{operation="GetObject",code="NoSuchKey"}': "0+9000x80"},
    ),
    "HexagoneRefusedRequests": (
        {'hexagone_s3_errors_total{operation="GetObject",code="AccessDenied"}': "0+400x80"},
        {'hexagone_s3_errors_total{operation="GetObject",code="AccessDenied"}': "0+200x80"},
    ),
    "HexagoneAdminRefused": (
        {"hexagone_admin_denials_total": "0+1x80"},
        {"hexagone_admin_denials_total": "40x80"},
    ),
    "HexagoneNodeRefusesConnections": (
        {"storaged_connections_refused_total": "0+1x80"},
        {"storaged_connections_refused_total": "40x80"},
    ),
    "HexagoneMassDelete": (
        {"hexagone_deletes_total": "0+7000x80"},
        {"hexagone_deletes_total": "0+3000x80"},
    ),
    "HexagoneTrashLeaps": (
        {'storaged_bytes{kind="trash"}': "0+1x80", 'storaged_bytes{kind="capacity"}': "900x80"},
        {'storaged_bytes{kind="trash"}': "70x80", 'storaged_bytes{kind="capacity"}': "900x80"},
    ),
    "HexagoneCustomerKeyWrites": (
        {"hexagone_customer_key_writes_total": "0+90x80"},
        {"hexagone_customer_key_writes_total": "0+30x80"},
    ),
}


def rules() -> list[dict[str, Any]]:
    """All alerts."""
    held = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in held["groups"] for rule in group["rules"]]


def printed(page: str, found: Labels) -> None:
    """Add the samples of a page: names with the labels that they have."""
    for line in page.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.rpartition(" ")[0].partition("{")
            found.setdefault(name, set()).update(label for label, _ in MATCHER.findall(rest))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labels]:
    """What a gateway and a node print, both processes, once each kind of thing has happened."""
    cluster = Cluster(tmp_path_factory.mktemp("alerts") / "cluster", processes=True)
    cluster.folder.mkdir(parents=True)
    cluster.lay_out()
    node_port = cluster.port + NODE_METRICS_OFFSET
    node = cluster.folder / "paris-1.toml"
    node.write_text(f"{node.read_text()}\n[metrics]\nport = {node_port}\n")
    try:
        cluster.start()
        with cluster.client() as client:
            assert client.request("PUT", "/bucket").status == 200
            assert client.request("PUT", "/bucket/key", b"x" * 100_000).status == 200
            assert client.request("GET", "/bucket/missing").status == 404
        for job in ("repair", "certificates"):
            list(AdminClient(cluster.laid.socket).run(job))
        found: Labels = {}
        for port in (cluster.port + 1, node_port):
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
                printed(answer.read().decode(), found)
        printed(key_service_page(cluster.folder / "keyd"), found)
        yield found
    finally:
        for process in (cluster.gateway, *cluster.nodes.values()):
            end(process)
        shutil.rmtree(cluster.folder)


def key_service_page(folder: Path) -> str:
    """What a key service prints."""
    folder.mkdir()
    env = RealEnv(threads_max=1)
    keyring = FileKeyring(folder, SECRET, env)
    service = KeyService(keyring, CLUSTER, env, cache_s=300.0, provider_name="file")
    page = KeydMetrics(service, env).render().decode()
    env.close()
    return page


@pytest.mark.proves("L-09")
def test_each_rule_names_what_a_cluster_prints(real: Labels) -> None:
    """A metric or label that is renamed would leave a rule that never fires."""
    for rule in rules():
        selectors = SELECTOR.findall(rule["expr"])
        assert selectors, rule["alert"]
        known = set(OF_A_SCRAPE)
        for name, matchers in selectors:
            if name == "up":
                continue
            assert name in real, f"{rule['alert']}: no process prints {name}"
            labels = {f"exported_{one}" if one in OF_A_SCRAPE else one for one in real[name]}
            asked = {label for label, _ in MATCHER.findall(matchers)}
            assert asked <= labels | OF_A_SCRAPE, f"{rule['alert']}: labels of {name}"
            known |= labels
        told = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
        assert told <= known, f"{rule['alert']}: its summary names labels that nothing has"


def test_values_of_labels_are_those_of_the_code() -> None:
    codes = {
        code
        for rule in rules()
        for label, value in MATCHER.findall(rule["expr"])
        if label == "code"
        for code in value.split("|")
    }
    assert codes and codes <= STATUS.keys()
    jobs = {one["job_name"] for one in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    (asked,) = [
        value
        for rule in rules()
        for label, value in MATCHER.findall(rule["expr"])
        if label == "job"
    ]
    assert set(asked.split("|")) == jobs


def test_each_alert_is_explained_and_tried() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names) and set(names) == FIRING.keys()
    for page in PAGES:
        told = set(re.findall(r"`(Hexagone[A-Z]\w+)`", page.read_text(encoding="utf-8")))
        assert told == set(names), f"{page.name} does not have just the alerts that there are"
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.proves("L-05")
def test_the_limit_of_clocks_is_that_of_the_code() -> None:
    (rule,) = [one for one in rules() if "clock_skew" in one["expr"]]
    assert rule["expr"].endswith(f" > {CLOCK_SKEW_LIMIT_S:g}")


def promtool(*arguments: str | Path) -> str:
    """What promtool says; it has to be content."""
    assert Path(PROMTOOL).exists(), "make promtool"
    done = subprocess.run(
        [PROMTOOL, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fires(
    folder: Path,
    cases: list[tuple[str, dict[str, str], bool]],
    eval_time: str = "75m",
    interval: str = "1m",
) -> None:
    """Evaluate series, a value in each interval: each alert fires at that time, or does not."""
    wanted = []
    for alert, series, is_firing in cases:
        expression = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'
        samples = [{"labels": "{}", "value": 1}] if is_firing else []
        wanted.append(
            {
                "interval": interval,
                "name": f"{alert} fires" if is_firing else f"{alert} is silent",
                "input_series": [{"series": s, "values": v} for s, v in series.items()],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": eval_time, "exp_samples": samples}
                ],
            }
        )
    path = folder / "alerts.test.yml"
    tests = {"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": wanted}
    path.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", path)


def test_prometheus_takes_the_files() -> None:
    promtool("check", "rules", RULES)
    promtool("check", "config", "--syntax-only", CONFIG)


@pytest.mark.proves("L-09")
def test_each_rule_fires_on_its_series_and_not_on_a_healthy_one(tmp_path: Path) -> None:
    cases = []
    for alert, (sick, healthy) in FIRING.items():
        cases += [(alert, sick, True), (alert, healthy, False)]
    fires(tmp_path, cases)


@pytest.mark.proves("B-15", "L-09")
def test_a_thousand_overwrites_in_a_moment_are_an_alarm_within_a_minute(tmp_path: Path) -> None:
    """As our prometheus.yml asks and evaluates: each 15 s. They come after the second scrape."""
    series = {"hexagone_customer_key_writes_total": "0 0 1000x20"}
    for eval_time, is_firing in (("15s", False), ("60s", True)):
        case = ("HexagoneCustomerKeyWrites", series, is_firing)
        fires(tmp_path, [case], eval_time=eval_time, interval="15s")


def samples(running: S3Gateway) -> dict[str, float]:
    """What a gateway prints, by series."""
    registry = new_registry(running.metrics, Alarms(running.gateway.services))
    lines = exposition(registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {series: float(value) for series, value in pairs}


def steal(running: S3Gateway) -> None:
    """A minute of somebody with a stolen access key, and of somebody without one."""
    thief, boto = running.raw(), running.boto()
    with RawClient("127.0.0.1", running.port, Credentials("HXNOBODY", "x", REGION)) as stranger:
        for _ in range(70):
            assert stranger.request("GET", "/bucket").code == "InvalidAccessKeyId"
    with thief:
        for number in range(70):
            boto.put_object(
                Bucket="bucket",
                Key=f"file-{number}",
                Body=b"ransom",
                SSECustomerAlgorithm="AES256",
                SSECustomerKey=b"k" * 32,
            )
    for part in range(7):
        keys = [{"Key": f"file-{part}-{number}"} for number in range(1000)]
        boto.delete_objects(Bucket="bucket", Delete={"Objects": keys, "Quiet": True})


@pytest.mark.proves("L-09")
def test_a_scripted_attack_fires_its_alerts(tmp_path: Path) -> None:
    """What a real gateway counts in a minute of the attack, each minute, fires them."""
    with running_gateway() as running:
        running.gateway.services.sse_over_http = True
        running.boto().put_object(Bucket="bucket", Key="file-0", Body=b"mine")
        before = samples(running)
        steal(running)
        after = samples(running)
    grown = {
        name: after[name] - before.get(name, 0.0)
        for name in after
        if after[name] != before.get(name, 0.0) and "_bucket" not in name
    }
    assert grown["hexagone_deletes_total"] == 7000
    assert grown["hexagone_customer_key_writes_total"] == 70
    series = {name: f"{before.get(name, 0.0)}+{step}x80" for name, step in grown.items()}
    attacked = ("HexagoneFailedLogins", "HexagoneMassDelete", "HexagoneCustomerKeyWrites")
    fires(tmp_path, [(alert, series, alert in attacked) for alert in FIRING])
