"""kill -9 of the gateway while a webhook is away: what happened is told, and what was to be
replicated is, after the restart.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from tests.support.processes import BIN, Cluster, start

ARN = "arn:aws:sns:fr:000000000000:hook"
TOLD_S = 20.0

pytestmark = pytest.mark.timeout(120)


@contextmanager
def webhook(told: list[dict[str, Any]], port: int = 0) -> Iterator[int]:
    """An HTTP endpoint that takes what it is sent; its port."""

    def take(handler: BaseHTTPRequestHandler) -> None:
        told.append(json.loads(handler.rfile.read(int(handler.headers["content-length"]))))
        handler.send_response(204)
        handler.end_headers()

    quiet = {"do_POST": take, "log_message": lambda *_: None}
    hook = type("Hook", (BaseHTTPRequestHandler,), quiet)
    server = ThreadingHTTPServer(("127.0.0.1", port), hook)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def until(holds: Callable[[], bool]) -> bool:
    """Whether something comes true in time."""
    end_s = time.monotonic() + TOLD_S
    while not holds():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.1)
    return True


def run(cluster: Cluster) -> None:
    command = [BIN / "hexagone", "gateway", "run", "--config", cluster.laid.config]
    cluster.gateway = start(command, cluster.log)


def configure(cluster: Cluster, hook_port: int) -> None:
    """Name a webhook, and a bucket of the cluster's own endpoint, as targets."""
    credentials = cluster.credentials()
    secret = cluster.folder / "target.secret"
    secret.touch(mode=0o600)
    secret.write_text(credentials.secret)
    with cluster.laid.config.open("a") as config:
        config.write(
            f'\n[[event_targets]]\nname = "hook"\nurl = "http://127.0.0.1:{hook_port}/"\n'
            f'\n[[replication_targets]]\nname = "copies"\nregion = "fr"\nsecret = "{secret}"\n'
            f'endpoint = "http://127.0.0.1:{cluster.port}"\n'
            f'access_key_id = "{credentials.access_key_id}"\n'
        )


def client_of(cluster: Cluster) -> Any:
    credentials = cluster.credentials()
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{cluster.port}",
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret,
        region_name="fr",
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def watch(s3: Any) -> None:
    for bucket in ("source", "copies"):
        s3.create_bucket(Bucket=bucket)
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_notification_configuration(
        Bucket="source",
        NotificationConfiguration={
            "TopicConfigurations": [{"TopicArn": ARN, "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    rule = {
        "ID": "all",
        "Priority": 1,
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "DeleteMarkerReplication": {"Status": "Disabled"},
        "Destination": {"Bucket": "arn:aws:s3:::copies"},
    }
    s3.put_bucket_replication(
        Bucket="source", ReplicationConfiguration={"Role": "any", "Rules": [rule]}
    )


def is_replicated(s3: Any, key: str) -> bool:
    head = s3.head_object(Bucket="source", Key=key)
    return bool(head.get("ReplicationStatus") == "COMPLETED")


def test_events_and_replicas_outlive_the_gateway(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "data")
    told: list[dict[str, Any]] = []
    with webhook([]) as port:
        pass  # a port that was free a moment ago, and where nobody is
    cluster.start()
    cluster.stop_gateway()
    configure(cluster, port)
    run(cluster)
    try:
        s3 = client_of(cluster)
        watch(s3)
        for number in range(20):
            s3.put_object(Bucket="source", Key=f"k{number:02}", Body=b"x" * 300_000)
        cluster.kill()
        with webhook(told, port):
            run(cluster)
            keys = {f"k{number:02}" for number in range(20)}

            def seen() -> set[str]:
                records = [one for message in told for one in message.get("Records", [])]
                return {one["s3"]["object"]["key"] for one in records}

            assert until(lambda: seen() == keys)
            assert until(lambda: s3.list_objects_v2(Bucket="copies")["KeyCount"] == len(keys))
            for key in keys:
                assert until(lambda key=key: is_replicated(s3, key))
    finally:
        cluster.kill()
