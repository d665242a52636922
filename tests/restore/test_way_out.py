"""The way out: a tenant with one of everything leaves a cluster, comes into another, and is equal;
what was written is read by a program that was made from the format's description alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from tests.restore.into_any_s3 import bring
from tests.restore.read_export import Wrong, read
from tests.support.moved_tenant import (
    BUCKETS,
    LOCKED,
    ODD_KEYS,
    PLAIN,
    SEALED,
    TENANT,
    VERSIONED,
    client_of_root,
    command,
    customer_headers,
    customer_key_file,
    fill,
    make_tenant,
    run,
    state_of,
)
from tests.support.processes import BIN, Cluster, end

PRICES = 'currency = "EUR"\nout_gb = 100\n[storage]\n"*" = 0\n'


@dataclass
class Moved:
    """Both sides, and the export between them."""

    here: Cluster
    there: Cluster
    s3: Any
    folder: Path
    export: Path
    exported: dict[str, Any]
    imported: dict[str, Any]


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Moved]:
    folder = tmp_path_factory.mktemp("way-out")
    here, there = Cluster(folder / "here"), Cluster(folder / "there")
    try:
        here.start("--tls")
        there.start("--tls")
        s3 = make_tenant(here)
        fill(s3)
        command(here, "plan", "set", "--tenant", TENANT, "--switching")
        export, keys = folder / "export", ("--customer-keys", customer_key_file(folder))
        exported = command(here, "export", "--tenant", TENANT, export, "--verify", *keys)
        plan = command(there, "import", export, "--dry-run")
        assert (plan["conflicts"], plan["makes_tenant"]) == ([], True)
        assert command(there, "tenant", "list")["tenants"][0]["name"] != TENANT
        imported = command(there, "import", export, "--read-back", *keys)
        yield Moved(here, there, s3, folder, export, exported, imported)
    finally:
        for cluster in (here, there):
            end(cluster.gateway)


@pytest.mark.proves("E-04", "E-05")
def test_all_that_a_client_sees_is_equal_on_both_sides(moved: Moved) -> None:
    assert (moved.imported["failed"], moved.imported["differences"]) == ([], [])
    before, after = state_of(moved.s3), state_of(client_of_root(moved.there))
    for bucket in BUCKETS:
        assert after[bucket] == before[bucket]
    ids = [one["VersionId"] for one, _ in before[VERSIONED]["versions"]]
    assert len(ids) == 12 and len(before[VERSIONED]["markers"]) == 3


@pytest.mark.proves("E-04")
def test_people_and_rights_come_along_and_secrets_do_not(moved: Moved) -> None:
    at = ("--tenant", TENANT)
    for noun in ("user", "group", "policy"):
        told = [command(side, noun, "list", *at) for side in (moved.here, moved.there)]
        for one in (row for listed in told for rows in listed.values() for row in rows):
            one.pop("access_keys", None)
        assert told[0] == told[1]
    owners = [
        next(one for one in command(side, "tenant", "list")["tenants"] if one["name"] == TENANT)
        for side in (moved.here, moved.there)
    ]
    assert owners[0]["owner_id"] == owners[1]["owner_id"]
    secret = client_secret(moved.s3)
    for path in moved.export.rglob("*"):
        assert path.is_dir() or secret not in path.read_bytes()


def client_secret(s3: Any) -> bytes:
    return str(s3._request_signer._credentials.secret_key).encode()


@pytest.mark.proves("E-05")
def test_a_reader_made_from_the_description_sees_the_same(moved: Moved) -> None:
    head, account, buckets = read(moved.export)
    assert (head["tenant"], account["users"][0]["name"]) == (TENANT, "marie")
    assert [bucket.name for bucket in buckets] == sorted(BUCKETS)
    for bucket in buckets:
        listed = moved.s3.list_object_versions(Bucket=bucket.name)
        known = {(one["Key"], one["VersionId"]): one for one in listed.get("Versions", [])}
        markers = {(one["Key"], one["VersionId"]) for one in listed.get("DeleteMarkers", [])}
        last: dict[str, int] = {}
        for record, content, told_of in bucket.versions():
            name = record["key"], record["version_id"]
            assert last.get(record["key"], 0) < record["sequence"]
            last[record["key"]] = record["sequence"]
            if record.get("delete_marker"):
                markers.remove(name)
                continue
            told = known.pop(name)
            sse = customer_headers() if name[0] == "customer" else {}
            got = moved.s3.get_object(Bucket=bucket.name, Key=name[0], VersionId=name[1], **sse)
            assert got["Body"].read() == content
            assert (told["ETag"], told["Size"]) == (f'"{record["etag"]}"', record["bytes"])
            assert dict(record.get("metadata", [])) == got["Metadata"]
            assert told_of.keys() == ({"note", "résumé"} if name[0] == "told" else set())
        assert (known, markers) == ({}, set())


@pytest.mark.proves("E-05")
def test_the_reader_stands_alone(moved: Moved) -> None:
    program = Path(__file__).with_name("read_export.py")
    assert len(program.read_text().splitlines()) <= 150
    done = subprocess.run(
        ["python3", "-I", str(program), str(moved.export)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 33


@pytest.mark.proves("E-04")
@pytest.mark.parametrize("path", ["bodies/000001.bin", "buckets/0002/versions.jsonl"])
def test_a_changed_byte_is_found_and_not_imported(moved: Moved, path: str) -> None:
    copy = moved.folder / "tampered"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(moved.export, copy)
    raw = bytearray((copy / path).read_bytes())
    at = raw.index(b"odd 0") if path.endswith(".bin") else raw.index(b'"bytes": 5')
    raw[at + 4 if path.endswith(".bin") else at + 9] ^= 1
    (copy / path).write_bytes(raw)
    done = subprocess.run(
        [str(BIN / "hexagone"), "export-verify", str(copy), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and f"{path} was changed" in json.loads(done.stdout)["problems"]
    with pytest.raises(Wrong):
        read(copy)
    rename = [word for one in BUCKETS for word in ("--rename-bucket", f"{one}={one}-changed")]
    refused = run(moved.there, "import", copy, *rename)
    assert refused.returncode != 0


@pytest.mark.proves("L-03", "L-07")
def test_the_tenant_is_told_before_the_first_byte_and_can_prove_it(moved: Moved) -> None:
    shown = subprocess.run(
        [
            *(str(BIN / "hexagone"), "journal", "show", "--tenant", TENANT, "--type", "export"),
            *("--data", str(moved.here.folder), "--json", "-n", "1000"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    events = [json.loads(line) for line in shown.stdout.splitlines()]
    kinds = [event["type"] for event in events]
    assert (
        kinds.index("admin.export.begin") < kinds.index("export.begun") < kinds.index("export.page")
    )
    assert kinds.count("export.page") >= len(BUCKETS) and "export.finished" in kinds
    keys = moved.folder / "journal.pub"
    with keys.open("w") as file:
        ask = [str(BIN / "hexagone"), "journal", "keys", "--data", str(moved.here.folder)]
        subprocess.run(ask, stdout=file, check=True, timeout=60)
    for words in (
        ("export-verify", moved.export, "--keys", keys),
        ("journal", "verify", moved.export / "finished.tlog-proof", "--keys", keys),
        ("journal", "verify", moved.export / "journal", "--keys", keys),
    ):
        subprocess.run([str(BIN / "hexagone"), *map(str, words)], check=True, timeout=60)


@pytest.mark.proves("E-06")
def test_what_left_is_metered_and_costs_nothing_while_the_tenant_switches(moved: Moved) -> None:
    prices = moved.folder / "prices.toml"
    prices.write_text(PRICES)
    at = ("--tenant", TENANT)
    used = command(moved.here, "usage", *at, "--from", _month(moved) + "-01")
    total = used["total"]
    assert total["out_bytes"] >= sum(one["bytes"] for one in moved.exported["buckets"])
    bill = command(moved.here, "statement", _month(moved), *at, "--prices", prices)
    out = [line for line in bill["lines"] if line["item"] == "sent, switching"]
    assert [line["amount"] for line in out] == ["0.00"] and out[0]["quantity"] > 0


def _month(moved: Moved) -> str:
    begun = json.loads((moved.export / "export.json").read_text())["begun_at_ms"]
    return datetime.fromtimestamp(begun / 1000, UTC).strftime("%Y-%m")


@pytest.mark.proves("E-04")
def test_what_is_in_the_way_is_told_and_nothing_is_made(moved: Moved) -> None:
    before = command(moved.there, "tenant", "list")
    refused = run(moved.there, "import", moved.export, "--tenant", "autre")
    plan = json.loads(refused.stdout)
    assert refused.returncode == 1 and len(plan["conflicts"]) == len(BUCKETS)
    assert command(moved.there, "tenant", "list") == before


@pytest.mark.proves("E-04")
def test_beside_the_original_with_other_names(moved: Moved) -> None:
    rename = [word for one in BUCKETS for word in ("--rename-bucket", f"{one}={one}-copie")]
    keys = ("--customer-keys", customer_key_file(moved.folder))
    done = command(moved.here, "import", moved.export, "--tenant", "copie", *rename, *keys)
    assert (done["failed"], done["differences"], done["installed"]) == ([], [], 33)
    s3 = client_of_root(moved.here, "copie")
    policy = json.loads(s3.get_bucket_policy(Bucket=f"{PLAIN}-copie")["Policy"])
    owner = s3.list_buckets()["Owner"]["ID"]
    assert done["owners"] == {moved.s3.list_buckets()["Owner"]["ID"]: owner}
    statement = policy["Statement"][0]
    assert statement["Resource"] == f"arn:aws:s3:::{PLAIN}-copie/*"
    assert owner in json.dumps(statement["Principal"])
    held = s3.get_object_retention(Bucket=f"{LOCKED}-copie", Key="compliance")["Retention"]
    assert held == moved.s3.get_object_retention(Bucket=LOCKED, Key="compliance")["Retention"]


@pytest.mark.proves("E-04")
def test_what_only_the_client_can_open_is_named(moved: Moved) -> None:
    folder = moved.folder / "without-key"
    done = run(moved.here, "export", "--tenant", TENANT, folder, "--bucket", SEALED)
    assert done.returncode == 1 and json.loads(done.stdout)["left_out"] == 1
    left = json.loads((folder / "left-out.jsonl").read_text())
    assert (left["bucket"], left["key"]) == (SEALED, "customer")
    found = {record["key"]: content for record, content, _ in read(folder)[2][0].versions()}
    assert found["customer"] is None and found["named"] == b"named"


@pytest.mark.proves("E-04")
def test_plain_files_go_into_a_store_of_somebody_else(moved: Moved) -> None:
    out = moved.folder / "plain"
    done = run(moved.here, "export", moved.export, "--resume", "--plain", out)
    left = {(one["bucket"], one["key"]) for one in json.loads(done.stdout)["not_plain"]}
    odd = {(PLAIN, key) for key in ODD_KEYS if key not in (ODD_KEYS[1], ODD_KEYS[6])}
    assert left == odd, done.stderr
    listed = moved.s3.list_objects_v2(Bucket=PLAIN)["Contents"]
    for one in listed:
        if (PLAIN, one["Key"]) in left:
            continue
        path = out / PLAIN / one["Key"]
        held = moved.s3.get_object(Bucket=PLAIN, Key=one["Key"])["Body"].read()
        assert sha256(path.read_bytes()).digest() == sha256(held).digest()
        assert int(path.stat().st_mtime) == int(one["LastModified"].timestamp())


@pytest.mark.proves("E-04", "E-05")
def test_a_store_of_somebody_else_has_the_same(moved: Moved) -> None:
    with mock_aws():
        there = boto3.client("s3", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        for bucket in read(moved.export)[2]:
            bring(there, bucket)
            held = list(bucket.versions())
            for record, content, _ in held:
                if record["current"] and content is not None:
                    _is_the_same(there, bucket.name, record, content)
            listed = there.list_object_versions(Bucket=bucket.name)
            markers = sorted(one["Key"] for one in listed.get("DeleteMarkers", []))
            versions = sorted((one["Key"], one["Size"]) for one in listed.get("Versions", []))
            assert markers == sorted(r["key"] for r, _, _ in held if r.get("delete_marker"))
            kept = [(r["key"], r["bytes"]) for r, content, _ in held if content is not None]
            assert versions == sorted(kept)


def _is_the_same(there: Any, bucket: str, record: dict[str, Any], content: bytes) -> None:
    at = {"Bucket": bucket, "Key": record["key"]}
    got = there.get_object(**at)
    assert got["Body"].read() == content
    assert got["Metadata"] == dict(record.get("metadata", []))
    headers = dict(record.get("headers", []))
    if "content-type" in headers:
        assert got["ContentType"] == headers["content-type"]
    tags = [(one["Key"], one["Value"]) for one in there.get_object_tagging(**at)["TagSet"]]
    assert tags == [tuple(pair) for pair in record.get("tags", [])]
    if "parts" not in record and "encryption" not in record:
        assert got["ETag"].strip('"') == record["etag"]
    if "retention_mode" in record:
        assert got["ObjectLockMode"] == record["retention_mode"]
        until_s = int(got["ObjectLockRetainUntilDate"].timestamp())
        assert until_s == record["retain_until_ms"] // 1000
    if record.get("legal_hold"):
        assert got["ObjectLockLegalHoldStatus"] == "ON"
