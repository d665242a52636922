"""kill -9 of a process that makes, uses and erases keys of a token, at any instant: token and
record come to agree, and nothing that was told to be durable is gone.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.model.key_states import KeyState
from storaged.base.env import RealEnv
from tests.support.softhsm import keyring, make_token

RUNS = 8
BUCKET = b"photos".ljust(16, b".")

# The parent's environment names the tokens' folder; the arguments are no secrets.
STORY = """
import sys
from pathlib import Path
from gateway.model.key_states import KeyState
from storaged.base.env import RealEnv
from tests.support.softhsm import SoftToken, keyring

label, pin_file, folder, run = sys.argv[1:]
token = SoftToken(label=label, directory=Path(), pin_file=Path(pin_file), away=Path())
provider = keyring(token, Path(folder), RealEnv(threads_max=1))
provider.begin()
print("begun", flush=True)
for number in range(1000):
    tenant = f"{run}/{number}".encode().ljust(16, b".")
    provider.create_tenant_key(tenant)
    wrapped = provider.wrap_bucket_key(tenant, b"photos".ljust(16, b"."), 1, bytes(32))
    print("made", tenant.hex(), wrapped.hex(), flush=True)
    provider.create_named_key(tenant, "letters")
    provider.add_tenant_epoch(tenant)
    if number % 2 == 0:
        provider.set_tenant_epoch(tenant, 1, KeyState.DISABLED)
        provider.set_tenant_epoch(tenant, 1, KeyState.DESTROYED)
        print("gone", tenant.hex(), "", flush=True)
"""


@pytest.mark.slow
@pytest.mark.proves("CRY-14", "CRY-11")
def test_killed_anywhere_token_and_record_agree(tmp_path: Path) -> None:
    token, env = make_token(), RealEnv(threads_max=1)
    folder = tmp_path / "keys"
    dice = random.Random(4)
    made: dict[bytes, bytes] = {}
    gone: set[bytes] = set()
    for run in range(RUNS):
        words = [token.label, str(token.pin_file), str(folder), str(run)]
        child = subprocess.Popen(
            [sys.executable, "-c", STORY, *words], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        threading.Timer(dice.uniform(0.0, 1.2), child.kill).start()
        for line in child.stdout:
            if not line.endswith("\n"):
                break  # it died while it said so
            what, tenant, wrapped = line.rstrip("\n").split(" ")
            if what == "made":
                made[bytes.fromhex(tenant)] = bytes.fromhex(wrapped)
            else:
                gone.add(bytes.fromhex(tenant))
        child.stdout.close()
        assert child.wait(60) == -9

    provider = keyring(token, folder, env)
    provider.begin()
    assert made and gone
    for tenant, wrapped in made.items():
        first = provider.tenant_epochs(tenant)[0]
        if tenant in gone:
            assert first.state is KeyState.DESTROYED
        elif first.state is KeyState.ACTIVE:  # else it was killed before it could say so
            assert provider.unwrap_bucket_key(tenant, BUCKET, 1, wrapped) == bytes(32)
    assert provider.orphans_among(provider._token.keys(provider.label_prefix)) == []
    assert len(provider.unfinished()) <= RUNS
    for tenant in {key[0] for key in provider._file.record}:
        provider.create_tenant_key(tenant)
        if tenant in provider._file.active:
            provider.create_named_key(tenant, "letters")
        provider.add_tenant_epoch(tenant)
    assert provider.unfinished() == []
