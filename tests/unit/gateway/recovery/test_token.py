"""A stand-in for an HSM comes back from its copy: in another process, with restored files only."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.data.keyring import RootKey
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.secret import KeydSecret
from gateway.recovery.backup import read_manifest
from tests.support.recovery_rig import ENV, T1, recovery_rig
from tests.support.softhsm import make_token

BUCKET, KEY = b"b" * 16, b"k" * 32
OPEN = """
import sys
from pathlib import Path
from gateway.data.keyring import RootKey
from gateway.keyd.pkcs11_keyring import Pkcs11Keyring
from gateway.keyd.secret import KeydSecret
from storaged.base.env import RealEnv
from tests.support.softhsm import SoftToken
data, label, pin, wrapped = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
env, cluster = RealEnv(threads_max=1), RootKey.load(data / "keys").cluster_id
held = SoftToken(label=label, directory=data, pin_file=pin, away=data)
secret = KeydSecret.load(data / "keyd", cluster, None)
ring = Pkcs11Keyring(data / "keyd", secret, held.token(data / "keyd", env), env)
ring.begin()
print(ring.unwrap_bucket_key(b"1" * 16, b"b" * 16, 1, bytes.fromhex(wrapped)).hex(), flush=True)
"""


@pytest.mark.proves("C8", "K-12")
def test_keys_of_a_token_come_back_with_its_copy(tmp_path: Path) -> None:
    rig, token = recovery_rig(tmp_path), make_token()
    service = rig.data / "keyd"
    secret = KeydSecret.create(service, RootKey.load(rig.keys).cluster_id, ENV, None)
    ring = Pkcs11Keyring(service, secret, token.token(service, ENV), ENV)
    ring.begin()
    ring.create_tenant_key(T1)
    wrapped = ring.wrap_bucket_key(T1, BUCKET, 1, KEY)
    rig.ask(
        *("init", "--shares", "3", "--threshold", "2", "--out", rig.shares, "--to", rig.copies),
        *("--also", f"token={token.directory}"),
    )
    (path,) = rig.copies.iterdir()
    assert read_manifest(path.read_bytes()).is_opaque
    token.take_out()
    tokens = tmp_path / "tokens"
    place = tokens / token.directory.name
    rig.restored(tmp_path / "new", "--also", f"token={place}", places=(1, 3))
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {tokens}\nobjectstore.backend = file\n")
    opened = subprocess.run(
        [sys.executable, "-c", OPEN, tmp_path / "new", token.label, token.pin_file, wrapped.hex()],
        env={**os.environ, "SOFTHSM2_CONF": str(config)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert opened.stdout.strip() == KEY.hex(), opened.stderr[-2000:]
