"""The quick clients, where they are installed: what `make test` runs of `make clients`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.__main__ import run_client
from tests.clients.catalog import CLIENTS, Client
from tests.clients.cluster import Cluster
from tests.clients.install import NotInstalled, missing, modules_of, python_of
from tests.clients.report import Outcome
from tests.support.processes import free_port

FAST = [client for client in CLIENTS if client.fast]


@pytest.fixture(scope="module", params=["http", "https"])
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("c") / "up", free_port(), request.param)
    yield started
    started.stop()


@pytest.mark.parametrize("client", FAST, ids=lambda client: client.name)
def test_a_client_does_its_task(client: Client, cluster: Cluster, tmp_path: Path) -> None:
    try:
        lack = missing(client)
        if lack:
            raise NotInstalled(lack)
        python, modules = python_of(client, install=False), modules_of(client, install=False)
    except NotInstalled as error:
        pytest.skip(str(error))
    result = run_client(client, cluster.server(client.name, "path"), tmp_path, python, modules)
    assert result.outcome is Outcome.PASSED, result.text
