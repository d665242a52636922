"""kill -9 of a gateway while acts are recorded: every act that was answered is in the journal."""

from __future__ import annotations

import threading
from pathlib import Path
from random import Random

import pytest

from gateway.data.keyring import RootKey
from gateway.journal.events import CLUSTER, read_line
from gateway.journal.opening import journal_keys
from gateway.journal.signing import KEYS_FILE, SigningKeys
from gateway.journal.store import read_lines
from gateway.journal.verify import Report, verify_folder
from storaged.base.env import RealEnv
from tests.support.processes import Cluster, running
from tests.support.raw_s3 import ClosedByServer

KILLS = 3
CALLERS = 4
BUCKET = "acts"
TAGGING = "<Tagging><TagSet><Tag><Key>k</Key><Value>{}</Value></Tag></TagSet></Tagging>"

pytestmark = pytest.mark.timeout(150)


def act_until_killed(cluster: Cluster, number: int, answered: list[str]) -> None:
    """Change the bucket's tags again and again; remember the ids of requests that were answered."""
    at = 0
    try:
        with cluster.client() as client:
            while True:
                body = TAGGING.format(f"{number}-{at}").encode()
                answer = client.request("PUT", f"/{BUCKET}?tagging", body)
                if answer.status in (200, 204):
                    answered.append(answer.headers["x-amz-request-id"])
                at += 1
    except (OSError, ClosedByServer):
        return  # the gateway is gone


def verified(cluster: Cluster) -> Report:
    root = RootKey.load(cluster.laid.keys)
    derived = journal_keys(root.cluster_id, root.derive)
    folder = cluster.folder / "journal"
    env = RealEnv(threads_max=1)
    signing = SigningKeys(cluster.laid.keys / KEYS_FILE, folder, derived, root.derive, env)
    keys = signing.load().verifiers()
    env.close()
    return verify_folder(folder, keys)


def recorded(cluster: Cluster) -> set[object]:
    """Ids of the requests that the journal has an intent of."""
    found = set()
    for log in (cluster.folder / "journal" / "logs").iterdir():
        for seq, line in enumerate(read_lines(log, 0, 1_000_000)):
            entry = read_line(line, seq)
            if entry.phase == "intent":
                found.add(entry.body["request"])
    return found


def test_l_04_a_killed_gateway_has_recorded_every_act_it_answered(tmp_path: Path) -> None:
    rng = Random(4)
    answered: list[str] = []
    with running(tmp_path / "data") as cluster:
        with cluster.client() as client:
            assert client.request("PUT", f"/{BUCKET}").status == 200
        for _ in range(KILLS):
            before = len(answered)
            callers = [
                threading.Thread(target=act_until_killed, args=(cluster, number, answered))
                for number in range(CALLERS)
            ]
            for caller in callers:
                caller.start()
            wanted = before + rng.randrange(20, 120)
            while len(answered) < wanted and any(caller.is_alive() for caller in callers):
                callers[0].join(0.01)
            cluster.kill()
            for caller in callers:
                caller.join()
            assert set(answered) <= recorded(cluster), "as the kill left it"
            # A log that is younger than the first checkpoint of its life has none yet.
            found = verified(cluster).findings
            assert not [text for text in found if not text.endswith("there is no checkpoint")]
            cluster.start()
        assert cluster.stop_gateway() == 0
        report = verified(cluster)
        assert not report.findings
        assert {log.signed == log.events for log in report.logs} == {True}
        assert {CLUSTER} < {log.name for log in report.logs}
        assert len(answered) > 20 * KILLS and set(answered) <= recorded(cluster)
