"""A whole cluster whose keys are in a token of SoftHSM: a key service in a process of its own, and
a gateway in another.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config_keys import KeysFrom
from gateway.data.keyring import RootKey
from gateway.up import UpOptions, lay_out
from storaged.base.env import RealEnv
from tests.support.processes import BIN, READY_S, Cluster, end, start
from tests.support.softhsm import SoftToken, module_path


@dataclass
class HsmCluster:
    """A `Cluster` without node processes, and the key service that it uses."""

    cluster: Cluster
    token: SoftToken
    keyd: subprocess.Popen[str] | None = None
    in_file: bool = False

    @property
    def keyd_config(self) -> Path:
        return self.cluster.laid.keyd.config

    def lay_out(self) -> None:
        """Everything but processes, and `keyd.toml` for the token, unless keys begin in a file."""
        env = RealEnv(threads_max=1)
        folder = self.cluster.folder
        folder.mkdir(parents=True)
        profile = folder / "profile.toml"  # named keys are taken over plain HTTP
        profile.write_text('sse_over_http = true\nkms_keys = ["letters"]\n')
        options = UpOptions(
            folder=folder,
            port=self.cluster.port,
            processes=False,
            tls=False,
            keys=KeysFrom.KEYD,
            unsafe_test_profile=profile,
        )
        lay_out(options, env)
        env.close()
        if not self.in_file:
            self.write_config(self.token)

    def write_config(self, token: SoftToken, *, from_file: bool = False) -> None:
        """Name a token in `keyd.toml`."""
        laid = self.cluster.laid
        cluster_id = RootKey.load(laid.keys).cluster_id.hex()
        self.keyd_config.write_text(
            f'folder = "{laid.keyd.folder}"\ncluster_id = "{cluster_id}"\n'
            f'socket = "{laid.keyd.socket}"\nprovider = "pkcs11"\ncache_s = 1\n'
            f"from_file = {str(from_file).lower()}\n\n[pkcs11]\n"
            f'module = "{module_path()}"\ntoken = "{token.label}"\npin_file = "{token.pin_file}"\n'
        )

    def start_keyd(self) -> None:
        """Start the key service. Raises DidNotStart."""
        command: list[str | Path] = [BIN / "hexagone", "keyd", "--config", self.keyd_config]
        self.keyd = start(command, self.cluster.folder / "keyd.log")

    def stop_keyd(self) -> None:
        """SIGTERM to the key service."""
        keyd, self.keyd = self.keyd, None
        assert end(keyd) == 0

    def start(self) -> None:
        """Start what does not run."""
        if self.keyd is None:
            self.start_keyd()
        laid = self.cluster.laid
        config = ["--config", str(laid.config)]
        if not laid.aws_env.exists():
            self.command("gateway", "credentials", *config, "--to", str(laid.aws_env))
        command: list[str | Path] = [BIN / "hexagone", "gateway", "run", *config]
        self.cluster.gateway = start(command, self.cluster.log)

    def restart_gateway(self) -> None:
        """So that it has no key in use."""
        assert self.cluster.stop_gateway() == 0
        self.start()

    def run_job(self, name: str) -> None:
        """One round of a job."""
        self.command("jobs", "run", name, "--data", str(self.cluster.folder))

    def command(self, *words: str, code: int = 0) -> str:
        """What `hexagone …` printed; its exit code is 0."""
        done = subprocess.run(
            [str(BIN / "hexagone"), *words], capture_output=True, text=True, timeout=READY_S
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def keys(self, *words: str, code: int = 0) -> Any:
        """The document of `hexagone keys …`."""
        data = ["--data", str(self.cluster.folder), "--json"]
        return json.loads(self.command("keys", *words, *data, code=code))

    def token_check(self) -> dict[str, Any]:
        """The document of `hexagone keyd token-check`."""
        words = ("keyd", "token-check", "--config", str(self.keyd_config), "--json")
        found: dict[str, Any] = json.loads(self.command(*words))
        return found

    def end(self) -> None:
        """Kill what runs."""
        for process in (self.cluster.gateway, self.keyd):
            if process is not None and process.poll() is None:
                end(process, signal.SIGKILL)


@contextmanager
def hsm_cluster(folder: Path, token: SoftToken, *, in_file: bool = False) -> Iterator[HsmCluster]:
    """A cluster that runs; its folder is removed at the end. `in_file`: its keys begin there."""
    held = HsmCluster(Cluster(folder, keys=KeysFrom.KEYD), token, in_file=in_file)
    try:
        held.lay_out()
        held.start()
        yield held
    finally:
        held.end()
        shutil.rmtree(folder, ignore_errors=True)
