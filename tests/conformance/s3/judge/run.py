"""Run the public ceph/s3-tests suite against an S3 endpoint and score it by feature area.

The suite is somebody else's and never part of this repository: --suite names a git repository of it
(a checkout or a bare one), which is cloned to a temporary directory. The interpreter needs the
suite's own requirements, and pytest-timeout, and pytest-xdist for -n; `python -m
tests.conformance.s3.judge` makes such an environment, starts a cluster and calls this.

Accounts (main, alt, tenant) are given as KEY:SECRET:USER_ID:NAME, as options or in the environment
(S3_MAIN, S3_ALT, S3_TENANT). IAM's (S3_IAM, S3_IAM_ROOT, S3_IAM_ALT_ROOT) only matter to the
extended tier; without them its IAM tests are skipped.
"""

from __future__ import annotations

import argparse
import collections
import configparser
import datetime
import importlib.metadata
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from typing import Any, NamedTuple

from tests.conformance.s3.judge import areas

ROOT = pathlib.Path(__file__).resolve().parents[4]
PLUGIN = "tests.conformance.s3.judge.plugin"
ACCOUNTS = {
    "main": "s3 main",
    "alt": "s3 alt",
    "tenant": "s3 tenant",
    "iam": "iam",
    "iam-root": "iam root",
    "iam-alt-root": "iam alt root",
}
OUTCOMES = ("passed", "failed", "error", "skipped", "not run")
PREFIX = "s3ct-{random}-"

Results = dict[str, dict[str, Any]]
Counts = dict[tuple[str, str], "collections.Counter[str]"]


class SuiteBatch(NamedTuple):
    """One pytest run: kinds of tests that may run beside each other, and with what."""

    kinds: tuple[str, ...]
    workers: int
    storage_classes: str


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--suite", required=True, help="git repository of ceph/s3-tests")
    add("--rev", default="HEAD", help="commit of the suite to run")
    add("--endpoint", default="http://127.0.0.1:9000")
    for name in ACCOUNTS:
        variable = "S3_" + name.upper().replace("-", "_")
        add(
            "--" + name,
            default=os.environ.get(variable),
            metavar="KEY:SECRET[:ID[:NAME[:EMAIL]]]",
            help=f"or ${variable}",
        )
    add("--tenant-name", default="", help="tenant of the tenant account, where there are any")
    add("--region", default="us-east-1", help="region the clients sign for")
    add("--location", help="LocationConstraint of new buckets (default: the region)")
    add("--day", type=int, default=10, help="seconds of one lifecycle 'day' on the server")
    add("--kms-key", action="append", default=[], help="KMS key id; twice for a second key")
    add("--storage-classes", default="", help="for the transition tests, e.g. STANDARD_IA,GLACIER")
    add("--extra-conf", help="more sections for the suite's configuration")
    add("--tier", action="append", choices=areas.TIERS, help="default: core; repeatable")
    add("--area", action="append", default=[], help="only this area; repeatable")
    add("--without", action="append", default=[], help="not this area; repeatable")
    add("-k", dest="keyword", help="pytest -k expression")
    add("-n", dest="workers", type=int, default=1, help="workers for what may run in parallel")
    add("--timeout", type=int, default=300, help="seconds one test may take")
    add("--list", action="store_true", help="only count the tests of each area")
    add("--json", type=pathlib.Path, help="write the outcome of every test here")
    add("--passing", type=pathlib.Path, help="exit 1 when a test of this list does not pass")
    add("--grow", action="store_true", help="add tests that pass to the list of --passing")
    add("--failures", action="store_true", help="print each failure and its first line")
    args = parser.parse_args()
    if not args.list and not (args.main and args.alt):
        parser.error("--main and --alt are required")
    args.tier = args.tier or (areas.TIERS if args.list else ["core"])
    return args


def write_conf(path: pathlib.Path, args: argparse.Namespace, storage_classes: str) -> None:
    """The suite's configuration file for this endpoint."""
    url = urllib.parse.urlsplit(args.endpoint)
    secure = url.scheme == "https"
    conf = configparser.RawConfigParser()
    conf["DEFAULT"] = {
        "host": url.hostname or "",
        "port": str(url.port or (443 if secure else 80)),
        "is_secure": str(secure),
        "ssl_verify": "False",
    }
    conf["fixtures"] = {
        "bucket prefix": PREFIX,
        "iam name prefix": "s3ct-",
        "iam path prefix": "/s3ct/",
    }
    for name, section in ACCOUNTS.items():
        # The suite wants every section. It cleans up as the tenant too, so that one falls back to
        # main; the others to keys no server knows.
        text = getattr(args, name.replace("-", "_")) or (name == "tenant" and args.main)
        fields = (text or f"absent-{name}:absent").split(":", 4)
        key, secret, user, display, email = (fields + [""] * 4)[:5]
        user = user or key
        conf[section] = {
            "access_key": key,
            "secret_key": secret,
            "user_id": user,
            "display_name": display or user,
            "email": email or f"{name}@example.com",
        }
    conf["s3 tenant"]["tenant"] = args.tenant_name
    keys = dict(zip(("kms_keyid", "kms_keyid2"), args.kms_key, strict=False))
    own = {
        "api_name": args.location or args.region,
        "lc_debug_interval": str(args.day),
        "storage_classes": storage_classes,
    }
    conf["s3 main"].update({**own, **keys})
    if args.extra_conf and not conf.read(args.extra_conf):
        sys.exit(f"cannot read {args.extra_conf}")
    with open(path, "w") as out:
        conf.write(out)


def run_batch(
    tree: pathlib.Path,
    work: pathlib.Path,
    args: argparse.Namespace,
    batch: SuiteBatch,
    collect: bool = False,
) -> Results:
    """One pytest run; returns {test id: result}."""
    conf, out = work / "s3tests.conf", work / "results.json"
    write_conf(conf, args, batch.storage_classes)
    out.unlink(missing_ok=True)
    select = {
        "tiers": args.tier,
        "areas": args.area,
        "without": args.without,
        "batches": batch.kinds,
        "prefix": PREFIX,
    }
    env = os.environ | {
        "S3TEST_CONF": str(conf),
        "CONFORMANCE_OUT": str(out),
        "CONFORMANCE_SELECT": json.dumps(select),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(tree)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TZ": "UTC",
        "HOME": str(work),
        "AWS_DEFAULT_REGION": args.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider"]
    command += ["--tb=no", "-rN"]
    if collect:
        command += ["--collect-only", "-qq"]
    else:
        command += ["--timeout", str(args.timeout)]
        if batch.workers > 1:
            command += ["-n", str(batch.workers), "--dist", "worksteal"]
    if args.keyword:
        command += ["-k", args.keyword]
    done = subprocess.run(
        [*command, "s3tests"], cwd=tree, env=env, stdout=subprocess.DEVNULL if collect else None
    )
    if done.returncode not in (0, 1, 5) or not out.exists():
        sys.exit(f"pytest did not finish (exit status {done.returncode})")
    results: Results = json.loads(out.read_text())
    return results


def run_suite(tree: pathlib.Path, work: pathlib.Path, args: argparse.Namespace) -> Results:
    """All batches; a test that never gets to run still counts."""
    # First what needs accounts without buckets; transitions are asleep most of the time.
    batches = [SuiteBatch(("serial",), 1, ""), SuiteBatch(("parallel",), args.workers, "")]
    if args.workers == 1:
        batches = [SuiteBatch(("parallel", "serial"), 1, "")]
    if "extended" in args.tier:
        batches.append(SuiteBatch(("classes",), args.workers * 3, args.storage_classes))
    results: Results = {}
    wanted = []
    for batch in batches:
        collected = run_batch(tree, work, args, batch, collect=True)
        results |= collected
        if collected:
            wanted.append(batch)
    if not args.list:
        for batch in wanted:
            results |= run_batch(tree, work, args, batch)
    return results


def count(results: Results) -> Counts:
    """{(tier, area): {outcome: number}}, tiers and areas in the order of the rules."""
    order = list(dict.fromkeys(rule[:2] for rule in areas.RULES))
    order.sort(key=lambda key: areas.TIERS.index(key[0]))
    counts: Counts = {key: collections.Counter() for key in order}
    for result in results.values():
        key = (result["tier"], result["area"])
        counts.setdefault(key, collections.Counter())[result["outcome"]] += 1
    return {key: counter for key, counter in counts.items() if counter}


def print_table(counts: Counts) -> None:
    def row(name: str, counter: collections.Counter[str]) -> None:
        total = counter.total()
        cells = "".join(f"{counter[outcome]:>9}" for outcome in OUTCOMES)
        print(f"{name:<36}{total:>7}{cells}{100 * counter['passed'] / total:>8.1f}%")

    heads = "".join(f"{outcome:>9}" for outcome in OUTCOMES)
    print(f"{'area':<36}{'total':>7}{heads}{'passed':>9}")
    for tier in areas.TIERS:
        rows = {area: counter for (t, area), counter in counts.items() if t == tier}
        if rows:
            print()
            for area, counter in rows.items():
                row(area, counter)
            row(f"{tier}: all", sum(rows.values(), collections.Counter()))


def print_failures(results: Results) -> None:
    """A line for each test that ran and did not pass."""
    for test, result in sorted(results.items(), key=lambda item: (item[1]["area"], item[0])):
        if result["outcome"] in ("failed", "error"):
            name = test.partition("::")[2]
            reason = " ".join(result.get("message", "").split())[:200]
            print(f"[{result['area']}] {name}: {reason}")


def against_list(results: Results, path: pathlib.Path, grow: bool) -> bool:
    """Hold the outcomes against the list of tests that pass; True when none of it was lost."""
    listed = set(path.read_text().split("\n")) - {""} if path.exists() else set()
    passed = {test for test, result in results.items() if result["outcome"] == "passed"}
    lost = sorted((listed & results.keys()) - passed)
    for test in lost:
        print("no longer passes:", test)
    fresh = passed - listed
    if grow and fresh:
        path.write_text("".join(f"{test}\n" for test in sorted(listed | passed)))
    print(f"list of passing tests: {len(listed)}, lost {len(lost)}, not in it yet {len(fresh)}")
    return not lost


def main() -> None:
    args = parse_args()
    url = urllib.parse.urlsplit(args.endpoint)
    if not args.list:  # fail here rather than in every test
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname, port), 10).close()
    with tempfile.TemporaryDirectory(prefix="s3ct-") as directory:
        work = pathlib.Path(directory)
        tree = work / "suite"
        git = ["git", "-C", str(tree)]
        subprocess.run(["git", "clone", "-q", "--no-checkout", args.suite, str(tree)], check=True)
        subprocess.run([*git, "checkout", "-q", "--detach", args.rev], check=True)
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
        started = datetime.datetime.now(datetime.UTC)
        results = run_suite(tree, work, args)
    seconds = (datetime.datetime.now(datetime.UTC) - started).total_seconds()
    counts = count(results)
    if args.failures:
        print_failures(results)
    print_table(counts)
    print(f"\nsuite {commit[:12]}, {len(results)} tests in {seconds:.0f} s")
    if args.json:
        summary = [{"tier": tier, "area": area, **n} for (tier, area), n in counts.items()]
        document = {
            "suite": commit,
            "boto3": importlib.metadata.version("boto3"),
            "endpoint": args.endpoint,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(seconds),
            "areas": summary,
            "tests": results,
        }
        args.json.write_text(json.dumps(document, indent=1) + "\n")
    if args.passing and not against_list(results, args.passing, args.grow):
        sys.exit(1)


if __name__ == "__main__":
    main()
