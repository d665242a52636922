"""The judge, whole: `python -m tests.conformance.s3.judge --suite PATH [options of run.py]`.

Makes an environment for the suite outside the tree, starts a cluster with the unsafe test profile
on a free port, runs the suite against it, and takes everything down again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import end, free_port, start

ROOT = Path(__file__).resolve().parents[4]
SUITE_REVISION = "8f0ae7b404a3"
PINNED = ("boto3==1.44.5", "botocore==1.44.5", "pytest-timeout==2.4.0", "pytest-xdist==3.8.0")
DAY_S = 10
REGION = "default"  # the suite looks for it in partitioned keys of access logs
STORAGE_CLASSES = "STANDARD_IA,GLACIER_IR"  # the cluster's geometry, and one of its own
KMS_KEYS = ("testkey-1", "testkey-2")
# Known to everybody: the profile is for loopback only. Name → access key id, secret, owner id.
ACCOUNTS = {
    "main": ("HXMAIN00000000000001", "main-secret-known-to-everybody-000000001", "1" * 64),
    "alt": ("HXALT000000000000001", "alt-secret-known-to-everybody-0000000001", "2" * 64),
    "tenant": ("HXTENANT000000000001", "tenant-secret-known-to-everybody-0000001", "3" * 64),
    "iam_root": ("HXIAMROOT00000000001", "iam-secret-known-to-everybody-0000000001", "4" * 64),
}


def suite_python(folder: Path, suite: str, revision: str) -> Path:
    """The interpreter of an environment with the suite's requirements; made when there is none."""
    python = folder / "bin" / "python"
    stamp = folder / ".suite"
    wanted = " ".join((revision, *PINNED))
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shown = subprocess.check_output(
        ["git", "-C", suite, "show", f"{revision}:requirements.txt"], text=True
    )
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(shown)
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", requirements, *PINNED], check=True)
    stamp.write_text(wanted)
    return python


def write_profile(folder: Path) -> Path:
    """The profile and its accounts, for `hexagone up --unsafe-test-profile`."""
    lines = []
    for name, (access_key_id, secret, owner_id) in ACCOUNTS.items():
        lines += [
            "[[accounts]]",
            f'name = "{name}"',
            f'access_key_id = "{access_key_id}"',
            f'secret = "{secret}"',
            f'owner_id = "{owner_id}"',
            f'display_name = "{name}"',
        ]
    accounts = folder / "accounts.toml"
    accounts.touch(mode=0o600)
    accounts.write_text("\n".join(lines) + "\n")
    profile = folder / "profile.toml"
    keys = ", ".join(f'"{key}"' for key in KMS_KEYS)
    profile.write_text(
        f'lifecycle_day_s = {DAY_S}\nkms_keys = [{keys}]\naccounts = "{accounts.name}"\n'
    )
    return profile


@contextmanager
def cluster(port: int | None, keep: Path | None) -> Iterator[str]:
    """A cluster of this tree with the unsafe test profile; its endpoint.

    Args:
        keep: folder for data and log; None: a temporary one that goes with the cluster.
    """
    folder = keep or Path(tempfile.mkdtemp(prefix="hexagone-judge-"))
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    log = folder / "gateway.log"
    command: list[str | Path] = [sys.executable, "-m", "gateway.main", "up"]
    command += ["--data", folder / "data", "--region", REGION]
    command += ["--port", str(port), "--unsafe-test-profile", write_profile(folder)]
    process = start(command, log)
    try:
        yield f"http://127.0.0.1:{port}"
        if process.poll() is not None:
            print(f"the gateway ended by itself: {process.returncode}", file=sys.stderr)
            sys.exit(1)
    finally:
        end(process)
        errors = log.read_text(errors="replace")
        if errors.count("Traceback"):
            print(errors[-4000:], file=sys.stderr)
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def judge(python: Path, suite: str, revision: str, endpoint: str, more: list[str]) -> int:
    """Run the suite; the exit code of run.py."""
    given = {f"S3_{name.upper()}": ":".join((*fields, name)) for name, fields in ACCOUNTS.items()}
    env = os.environ | given | {"PYTHONPATH": str(ROOT)}
    command = [python, "-m", "tests.conformance.s3.judge.run", "--suite", suite, "--rev", revision]
    command += ["--endpoint", endpoint, "--day", str(DAY_S), "--location", REGION]
    command += ["--storage-classes", STORAGE_CLASSES]
    for key in KMS_KEYS:
        command += ["--kms-key", key]
    runner = subprocess.Popen([*command, *more], cwd=ROOT, env=env, start_new_session=True)
    try:
        return runner.wait()
    except BaseException:  # stopped: the runner's own processes go with it
        os.killpg(runner.pid, signal.SIGTERM)
        runner.wait()
        raise


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Other options go to run.py: --area, -k, -n, --tier, --json, --passing, --grow.",
    )
    parser.add_argument("--suite", required=True, help="git repository of ceph/s3-tests")
    parser.add_argument("--rev", default=SUITE_REVISION)
    parser.add_argument("--venv", type=Path, help="environment for the suite; made when absent")
    parser.add_argument("--endpoint", help="a server that runs already, with the same accounts")
    parser.add_argument("--port", type=int)
    parser.add_argument("--keep", type=Path, help="keep data and log of the cluster here")
    parser.add_argument("--serve", action="store_true", help="start the cluster and only wait")
    args, more = parser.parse_known_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # takes the cluster down too
    os.chdir(ROOT)  # the modules of this tree are those that run
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    venv = args.venv or cache / "hexagone-s3-suite"
    if args.serve:
        with cluster(args.port, args.keep) as endpoint:
            print(endpoint, flush=True)
            signal.pause()
        return
    python = suite_python(venv.absolute(), args.suite, args.rev)
    if args.endpoint:
        sys.exit(judge(python, args.suite, args.rev, args.endpoint, more))
    with cluster(args.port, args.keep) as endpoint:
        code = judge(python, args.suite, args.rev, endpoint, more)
    sys.exit(code)


if __name__ == "__main__":
    main()
