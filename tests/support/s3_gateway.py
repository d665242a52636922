"""The whole gateway behind its S3 endpoint on loopback, over nodes in memory: for real clients."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from botocore.config import Config

from gateway.metrics import S3Metrics
from gateway.s3.http import FrontendConfig, S3Frontend
from storaged.base.env import RealEnv
from tests.support.gateway import ACCESS_KEY, SECRET, Gateway, memory_gateway
from tests.support.raw_s3 import Credentials, RawClient
from tests.support.s3_endpoint import LoopThread

REGION = "fr"
CREDENTIALS = Credentials(ACCESS_KEY, SECRET, REGION)


@dataclass
class S3Gateway:
    """A running gateway; `thread` runs coroutines on its loop."""

    port: int
    gateway: Gateway
    metrics: S3Metrics
    thread: LoopThread

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def boto(self, *, region: str = REGION, **options: Any) -> Any:
        """A boto3 client with the defaults of its version, but for what is given."""
        config = Config(
            retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **options
        )
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET,
            region_name=region,
            config=config,
        )

    def raw(self) -> RawClient:
        return RawClient("127.0.0.1", self.port, CREDENTIALS)


@contextmanager
def running_gateway(**options: Any) -> Iterator[S3Gateway]:
    """A gateway with one tenant and an empty bucket named "bucket"."""
    env, metrics, thread = RealEnv(), S3Metrics(), LoopThread()
    manager = memory_gateway(env=env)
    gateway = thread.run(manager.__aenter__())
    try:
        config = FrontendConfig(regions=(REGION, "us-east-1"), base_domains=("s3.test",), **options)
        frontend = S3Frontend(gateway.services, config, metrics)
        port = thread.run(frontend.start("127.0.0.1", 0))
        yield S3Gateway(port, gateway, metrics, thread)
        thread.run(frontend.stop(1.0))
    finally:
        thread.run(manager.__aexit__(None, None, None))
        thread.close()
        env.close()


class _Names:
    """Bucket names that no other test uses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    def next(self) -> str:
        with self._lock:
            self._count += 1
            return f"bucket-{self._count:04d}"


NAMES = _Names()
