"""S3 and the journal: acts are recorded before they take effect, or refused; accesses after."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway.journal import journal as journal_module
from gateway.journal import store as store_module
from gateway.journal.events import CLUSTER, Entry, read_line
from gateway.journal.journal import Accesses, Journal, JournalConfig
from gateway.journal.store import read_lines
from gateway.objects import refused_acts
from gateway.s3.actions import Operation
from gateway.s3.journaling import ACTS, WRITES
from storaged.base.env import RealEnv
from tests.conformance.s3.test_web_identity import ISSUER, put_provider, role_of, token_of
from tests.support.access import Operator
from tests.support.gateway import ACCESS_KEY, SECRET, TENANT
from tests.support.journal_rig import findings, keys_with
from tests.support.s3_gateway import REGION, S3Gateway, running_gateway

LOG = TENANT.hex()
BUCKET = "bucket"
CANARY = "canary-object-name"
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{BUCKET}/denied/*",
            }
        ],
    }
)


class FullDrive:
    """The `os` module on a drive that takes nothing while `full`."""

    full = False

    def __getattr__(self, name: str) -> Any:
        if self.full and name == "pwrite":
            raise OSError(errno.ENOSPC, "No space left on device")
        return getattr(os, name)


class Rig:
    """A gateway with a journal."""

    def __init__(self, s3: S3Gateway, journal: Journal, drive: FullDrive) -> None:
        self.s3 = s3
        self.client = s3.boto()
        self.journal = journal
        self.drive = drive

    def settle(self) -> None:
        async def settled() -> None:
            while self.journal.waiting:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)

        self.s3.thread.run(settled())

    def entries(self, log: str = LOG) -> list[Entry]:
        self.settle()
        found = read_lines(self.journal.folder / "logs" / log, 0, 100_000)
        return [read_line(line, seq) for seq, line in enumerate(found)]

    def raw(self) -> bytes:
        self.settle()
        return b"".join(p.read_bytes() for p in self.journal.folder.rglob("*.events"))


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    drive = FullDrive()
    monkeypatch.setattr(store_module, "os", drive)
    monkeypatch.setattr(journal_module, "RETRY_S", 0.02)
    monkeypatch.setattr(journal_module, "FLUSH_S", 0.02)
    env = RealEnv(threads_max=1)
    with running_gateway(website_domains=("web.test",)) as s3:

        async def started() -> Journal:
            config = JournalConfig(folder=tmp_path / "journal", accesses=Accesses.ALL)
            journal = Journal(config, keys_with(), env)
            journal.start()
            s3.gateway.services.journal = journal
            return journal

        journal = s3.thread.run(started())
        yield Rig(s3, journal, drive)
        drive.full = False
        s3.thread.run(journal.close())
    assert not findings(tmp_path / "journal").findings
    env.close()


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[str, int]:
    response = error.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_l_01_every_operation_is_an_act_a_write_or_a_read() -> None:
    """L-01: an operation that changes something and that nobody has classified fails here."""
    reads = ("GET_", "HEAD_", "LIST_", "OPTIONS_", "SELECT_")
    unknown = [
        operation.value
        for operation in Operation
        if not operation.name.startswith(reads)
        and operation.value not in ACTS
        and operation.value not in WRITES
    ]
    assert not unknown and not ACTS & WRITES
    assert not [name for name in ACTS | WRITES if name.startswith(("Get", "Head", "List"))]


def test_i5_an_act_is_recorded_before_and_after(rig: Rig) -> None:
    rig.client.put_bucket_policy(Bucket=BUCKET, Policy=POLICY)
    intent, outcome = rig.entries()
    assert (intent.type, intent.phase) == ("s3.PutBucketPolicy", "intent")
    assert (outcome.type, outcome.phase, outcome.body["status"]) == (intent.type, "outcome", 204)
    assert intent.body["request"] == outcome.body["request"]
    assert intent.body["who"] == ACCESS_KEY
    assert intent.body["bucket"] == rig.journal.names_of(LOG).bucket(BUCKET)


def test_a_refused_act_is_recorded_with_its_refusal(rig: Rig) -> None:
    with pytest.raises(ClientError):
        rig.client.put_bucket_policy(Bucket=BUCKET, Policy="no policy")
    with pytest.raises(ClientError):
        rig.client.delete_bucket(Bucket="no-such-bucket")
    codes = [entry.body.get("code") for entry in rig.entries() if entry.phase == "outcome"]
    assert codes == ["MalformedPolicy", "NoSuchBucket"]


def test_jrn_02_without_a_journal_acts_are_refused_and_objects_served(rig: Rig) -> None:
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"before")
    rig.drive.full = True
    for act in (
        lambda: rig.client.put_bucket_policy(Bucket=BUCKET, Policy=POLICY),
        lambda: rig.client.create_bucket(Bucket="another"),
        lambda: rig.client.put_bucket_versioning(
            Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
        ),
        lambda: rig.client.put_object_acl(Bucket=BUCKET, Key=CANARY, ACL="private"),
        lambda: rig.client.delete_object(Bucket=BUCKET, Key=CANARY, BypassGovernanceRetention=True),
    ):
        with pytest.raises(ClientError, match="journal") as refused:
            act()
        assert code_of(refused) == ("ServiceUnavailable", 503)
    body = rig.client.get_object(Bucket=BUCKET, Key=CANARY)["Body"].read()
    assert body == b"before"
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"after")
    rig.drive.full = False
    rig.settle()
    assert rig.client.get_bucket_versioning(Bucket=BUCKET).get("Status") is None
    with pytest.raises(ClientError):
        rig.client.head_bucket(Bucket="another")
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        rig.client.get_bucket_policy(Bucket=BUCKET)
    rig.client.put_bucket_policy(Bucket=BUCKET, Policy=POLICY)
    seen = [entry.type for entry in rig.entries()]
    assert seen.count("s3.PutObject") == 2 and "s3.GetObject" in seen, "nothing was lost"


def test_l_02_accesses_that_have_to_be_recorded_are_refused_on_every_way(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BUFFERED_S", 0.0)
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"before")

    def page() -> int:
        with rig.s3.raw() as raw:
            raw.send(f"GET /{CANARY} HTTP/1.1\r\nhost: {BUCKET}.web.test\r\n\r\n".encode())
            return int(raw.read_answer().status)

    assert page() == 404  # there is no website
    rig.drive.full = True
    with pytest.raises(ClientError, match="journal"):
        rig.client.put_bucket_policy(Bucket=BUCKET, Policy=POLICY)
    with pytest.raises(ClientError, match="journal"):
        rig.client.get_object(Bucket=BUCKET, Key=CANARY)
    assert page() == 503
    rig.drive.full = False


def test_jrn_04_no_secret_and_no_name_is_in_the_journal(rig: Rig) -> None:
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"x", Metadata={"m": "canary-value"})
    url = rig.client.generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": CANARY}, ExpiresIn=60
    )
    with urlopen(url) as answer:
        assert answer.read() == b"x"
    rig.client.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/{CANARY}")
    rig.client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": CANARY}]})
    held = rig.raw()
    for secret in (SECRET, CANARY, "canary-value", "X-Amz", "Signature", BUCKET + "/"):
        assert secret.encode() not in held, secret
    signature = url.split("X-Amz-Signature=")[1][:64]
    assert signature.encode() not in held


def test_l_03_whoever_knows_a_name_finds_its_events(rig: Rig) -> None:
    """L-03: puts, reads, copies from it and deletions of one object."""
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"x")
    rig.client.put_object(Bucket=BUCKET, Key="other", Body=b"x")
    rig.client.get_object(Bucket=BUCKET, Key=CANARY)["Body"].read()
    rig.client.copy_object(Bucket=BUCKET, Key="copy", CopySource=f"{BUCKET}/{CANARY}")
    rig.client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": CANARY}]})
    wanted = rig.journal.names_of(LOG).key(BUCKET, CANARY)
    found = [entry.type for entry in rig.entries() if entry.body.get("key") == wanted]
    assert found == ["s3.PutObject", "s3.GetObject", "s3.CopyObject.source", "s3.DeleteObjects.one"]


@pytest.mark.parametrize("accesses", list(Accesses))
def test_accesses_are_recorded_as_configured(rig: Rig, accesses: Accesses) -> None:
    rig.journal.accesses = accesses
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"x")
    rig.client.get_object(Bucket=BUCKET, Key=CANARY)["Body"].read()
    rig.client.put_bucket_policy(Bucket=BUCKET, Policy=POLICY)
    found = [entry.type for entry in rig.entries()]
    expected = {
        Accesses.OFF: [],
        Accesses.WRITES: ["s3.PutObject"],
        Accesses.ALL: ["s3.PutObject", "s3.GetObject"],
    }
    assert found == [*expected[accesses], "s3.PutBucketPolicy", "s3.PutBucketPolicy"]


def test_a_write_tells_which_rights_it_gives(rig: Rig) -> None:
    with pytest.raises(ClientError):  # the bucket has no ACLs, which is recorded, too
        rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"x", ACL="public-read")
    everybody = "uri=http://acs.amazonaws.com/groups/global/AllUsers"
    with pytest.raises(ClientError):
        rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"x", GrantRead=everybody)
    entry, granting = rig.entries()
    assert (entry.phase, entry.body["acl"]) == ("access", "public-read")
    assert entry.body["code"]
    assert granting.body["grant_read"] == everybody


def test_l_03_what_was_renamed_is_found_by_its_old_name(rig: Rig) -> None:
    rig.client.put_object(Bucket=BUCKET, Key="old", Body=b"x")
    rig.client.rename_object(Bucket=BUCKET, Key="new", RenameSource=f"{BUCKET}/old")
    put, renamed, source = rig.entries()
    assert (renamed.type, source.type) == ("s3.RenameObject", "s3.RenameObject.source")
    assert source.body["key"] == put.body["key"] != renamed.body["key"]


def test_jrn_05_every_answered_request_has_its_event(rig: Rig) -> None:
    """JRN-05: acts and accesses against events, over a mixed run."""
    expected: dict[str, int] = {}
    for at in range(12):
        rig.client.put_object(Bucket=BUCKET, Key=f"k-{at}", Body=b"x")
        rig.client.get_object(Bucket=BUCKET, Key=f"k-{at}")["Body"].read()
        expected["s3.PutObject"] = expected["s3.GetObject"] = at + 1
        if at % 3 == 0:
            rig.client.put_bucket_tagging(
                Bucket=BUCKET, Tagging={"TagSet": [{"Key": "k", "Value": str(at)}]}
            )
            expected["s3.PutBucketTagging"] = expected.get("s3.PutBucketTagging", 0) + 2
        if at % 4 == 0:
            with pytest.raises(ClientError):
                rig.client.get_object(Bucket=BUCKET, Key="nothing")
            expected["missing"] = expected.get("missing", 0) + 1
    missing = expected.pop("missing")
    found: dict[str, int] = {}
    requests: dict[object, list[str]] = {}
    for entry in rig.entries():
        found[entry.type] = found.get(entry.type, 0) + 1
        requests.setdefault(entry.body["request"], []).append(entry.phase)
    found["s3.GetObject"] -= missing
    assert found == expected
    assert {tuple(phases) for phases in requests.values()} == {("access",), ("intent", "outcome")}


def test_l_01_whose_a_session_is_can_be_told(rig: Rig) -> None:
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET}
    sts = boto3.client("sts", endpoint_url=rig.s3.url, region_name=REGION, **keys)
    made = sts.get_session_token()["Credentials"]["AccessKeyId"]
    entries = [one for one in rig.entries() if one.type == "s3.SecurityTokenService"]
    assert [one.phase for one in entries] == ["intent", "outcome"]
    for entry in entries:
        assert (entry.body["who"], entry.body["session"]) == (ACCESS_KEY, made)
        assert str(entry.body["as"]).endswith(":root")
    sts.get_caller_identity()
    assert rig.entries()[-1].phase == "outcome", "no session, so nothing had to be recorded before"
    operator = Operator(rig.s3)
    tenant = operator.tenant("mairie")
    put_provider(operator, tenant)
    role = role_of(operator, tenant, "reader", {"Federated": ISSUER})
    asked = {"RoleArn": role, "RoleSessionName": "web", "WebIdentityToken": token_of()}
    anybody = Config(signature_version=UNSIGNED)
    web = boto3.client("sts", endpoint_url=rig.s3.url, region_name=REGION, config=anybody)
    given = web.assume_role_with_web_identity(**asked)
    made = given["Credentials"]["AccessKeyId"]
    log = rig.s3.gateway.services.identities.of_owner(tenant.owner_id).tenant.hex()
    for entry, phase in zip(rig.entries(log), ("intent", "outcome"), strict=True):
        assert (entry.phase, entry.body["who"], entry.body["session"]) == (phase, made, made)
        assert entry.body["as"] == given["AssumedRoleUser"]["Arn"]


def test_i5_without_a_journal_no_session_is_given_out(rig: Rig) -> None:
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET}
    once = Config(retries={"total_max_attempts": 1})
    url = rig.s3.url
    sts = boto3.client("sts", endpoint_url=url, region_name=REGION, config=once, **keys)
    rig.drive.full = True
    with pytest.raises(ClientError, match="journal") as refused:
        sts.get_session_token()
    assert code_of(refused) == ("ServiceUnavailable", 503)
    assert sts.get_caller_identity()["Arn"].endswith(":root")
    rig.drive.full = False
    rig.settle()
    assert sts.get_session_token()["Credentials"]["SecretAccessKey"]


def test_jrn_03_nobody_who_is_not_known_writes_events(rig: Rig) -> None:
    for request in (
        b"GET /bucket/x HTTP/1.1\r\nhost: x\r\nuser-agent: \x1b[2J\r\n\r\n",
        b"PUT /bucket?policy HTTP/1.1\r\nhost: x\r\nauthorization: AWS4-HMAC-SHA256 C=x\r\n\r\n",
    ):
        with rig.s3.raw() as raw:
            raw.send(request)
            assert raw.read_answer().status in (400, 403)
    rig.settle()
    folder = rig.journal.folder / "logs"
    lines = [line for log in (LOG, CLUSTER) for line in read_lines(folder / log, 0, 100)]
    assert lines == []
    rig.client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"x")  # so that there is a log to verify
    rig.settle()


def test_jrn_04_refused_acts_are_slowed_down_before_they_fill_the_journal(rig: Rig) -> None:
    once = Config(retries={"total_max_attempts": 1})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET}
    client = boto3.client("s3", endpoint_url=rig.s3.url, region_name=REGION, config=once, **keys)
    codes = []
    for _ in range(3 * refused_acts.BURST):
        with pytest.raises(ClientError) as refused:
            client.delete_bucket(Bucket="no-such-bucket")
        codes.append(code_of(refused))
    assert codes[0] == ("NoSuchBucket", 404) and ("SlowDown", 503) in codes
    client.list_buckets()
    client.put_object(Bucket=BUCKET, Key=CANARY, Body=b"")
    intents = [entry for entry in rig.entries() if entry.phase == "intent"]
    assert len(intents) == codes.count(("NoSuchBucket", 404)), "what is slowed down is not in it"
