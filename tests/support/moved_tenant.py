"""A tenant with one of everything, made by boto3, and what a client sees of it: to be equal on both
sides of an export and an import.
"""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.processes import BIN, Cluster

TENANT = "mairie"
PLAIN, VERSIONED, LOCKED, SEALED = "papiers", "registres", "archives", "secrets-mairie"
BUCKETS = (PLAIN, VERSIONED, LOCKED, SEALED)
CUSTOMER_KEY = b"a key of 32 bytes, of the client"
NAMED_KEY = "etat-civil"
MIB = 1 << 20
ODD_KEYS = ("a//b", "é/ü ñ", "../up", "x/./y", "line\nfeed", "k" * 1000, "deep/" * 30 + "end")
_UNTOLD = ("ResponseMetadata", "Body", "AcceptRanges", "ServerSideEncryption", "Owner")


def command(cluster: Cluster, *words: str | Path, check: bool = True) -> Any:
    """What `hexagone … --json` answers."""
    done = run(cluster, *words)
    assert not check or done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout) if done.stdout.strip() else {}


def run(cluster: Cluster, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """`hexagone … --json`, whatever its exit code."""
    line = [str(BIN / "hexagone"), *map(str, words), "--data", str(cluster.folder), "--json"]
    return subprocess.run(line, capture_output=True, text=True, timeout=120)


def client_of(cluster: Cluster, key: dict[str, str]) -> Any:
    """boto3 for an access key."""
    return boto3.client(
        "s3",
        endpoint_url=f"https://127.0.0.1:{cluster.port}",
        aws_access_key_id=key["access_key_id"],
        aws_secret_access_key=key["secret"],
        region_name="fr",
        verify=str(cluster.laid.authority),
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
    )


def client_of_root(cluster: Cluster, tenant: str = TENANT) -> Any:
    """boto3 for a fresh access key of a tenant's root."""
    words = ("--tenant", tenant, "--show-secret")
    return client_of(
        cluster, command(cluster, "access-key", "create", "--user", "root", *words)["access_key"]
    )


def make_tenant(cluster: Cluster) -> Any:
    """The tenant with people and rights; boto3 for its root."""
    key = command(cluster, "tenant", "create", TENANT, "--show-secret")["access_key"]
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{PLAIN}/*"}
    policy = cluster.folder / "policy.json"
    policy.write_text(json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    at = ("--tenant", TENANT)
    command(cluster, "user", "create", "marie", *at, "--tag", "service=etat-civil")
    command(cluster, "group", "create", "lecteurs", *at)
    command(cluster, "group", "add", "lecteurs", "--user", "marie", *at)
    command(cluster, "policy", "put", "lire", policy, *at)
    command(cluster, "policy", "attach", "lire", "--group", "lecteurs", *at)
    command(cluster, "quota", "set", *at, "--bytes", "5T")
    command(cluster, "keys", "create", NAMED_KEY, "--account", key["access_key_id"])
    return client_of(cluster, key)


def fill(s3: Any) -> None:
    """One of everything."""
    _fill_plain(s3)
    _fill_versioned(s3)
    _fill_locked(s3)
    _fill_sealed(s3)


def _fill_plain(s3: Any) -> None:
    s3.create_bucket(Bucket=PLAIN, ObjectOwnership="ObjectWriter")
    for at, key in enumerate(ODD_KEYS):
        s3.put_object(Bucket=PLAIN, Key=key, Body=f"odd {at}".encode())
    s3.put_object(Bucket=PLAIN, Key="empty", Body=b"")
    s3.put_object(
        Bucket=PLAIN,
        Key="told",
        Body=b"told" * 1000,
        ContentType="text/plain; charset=utf-8",
        CacheControl="no-store",
        ContentDisposition='attachment; filename="x"',
        ContentLanguage="fr",
        Expires=datetime(2030, 1, 1, tzinfo=UTC),
        Metadata={"author": "Marie", "lieu": "Lyon"},
        Tagging="dossier=12&statut=clos",
        StorageClass="STANDARD_IA",
        ChecksumAlgorithm="SHA256",
        WebsiteRedirectLocation="/elsewhere",
    )
    s3.put_object(Bucket=PLAIN, Key="large", Body=bytes(3 * MIB), ChecksumAlgorithm="CRC32C")
    s3.put_object_acl(Bucket=PLAIN, Key="large", ACL="public-read") if _public(s3) else None
    _multipart(s3, PLAIN, "parts", [5 * MIB, 6 * MIB, 1000], ChecksumAlgorithm="CRC32")
    for name in ("note", "résumé"):
        s3.put_object_annotation(
            Bucket=PLAIN, Key="told", AnnotationName=name, AnnotationPayload=name.encode() * 9
        )
    s3.put_bucket_tagging(Bucket=PLAIN, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    rule = {"AllowedMethods": ["GET"], "AllowedOrigins": ["https://mairie.example"]}
    s3.put_bucket_cors(Bucket=PLAIN, CORSConfiguration={"CORSRules": [rule]})
    s3.put_bucket_website(
        Bucket=PLAIN, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}}
    )
    expires = {
        "ID": "old",
        "Status": "Enabled",
        "Filter": {"Prefix": "tmp/"},
        "Expiration": {"Days": 3000},
    }
    s3.put_bucket_lifecycle_configuration(Bucket=PLAIN, LifecycleConfiguration={"Rules": [expires]})
    allow = {
        "Effect": "Allow",
        "Principal": {"AWS": _owner(s3)},
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{PLAIN}/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [allow]}
    s3.put_bucket_policy(Bucket=PLAIN, Policy=json.dumps(policy))


def _public(s3: Any) -> bool:
    s3.delete_public_access_block(Bucket=PLAIN)
    return True


def _owner(s3: Any) -> str:
    return str(s3.list_buckets()["Owner"]["ID"])


def _multipart(s3: Any, bucket: str, key: str, sizes: list[int], **more: Any) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, Metadata={"m": "p"}, **more)
    held = []
    for number, size in enumerate(sizes, 1):
        content = bytes([number]) * size
        part = s3.upload_part(
            Bucket=bucket,
            Key=key,
            UploadId=upload["UploadId"],
            PartNumber=number,
            Body=content,
            **more,
        )
        told = {name: value for name, value in part.items() if name.startswith("Checksum")}
        told.pop("ChecksumType", None)
        held.append({"PartNumber": number, "ETag": part["ETag"], **told})
    s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload["UploadId"], MultipartUpload={"Parts": held}
    )


def _fill_versioned(s3: Any) -> None:
    s3.create_bucket(Bucket=VERSIONED)
    s3.put_object(Bucket=VERSIONED, Key="acte", Body=b"null, before there were versions")
    s3.put_object(Bucket=VERSIONED, Key="seul", Body=b"null and current")
    _set_versioning(s3, "Enabled")
    for at in range(5):
        s3.put_object(Bucket=VERSIONED, Key="acte", Body=f"version {at}".encode())
    s3.delete_object(Bucket=VERSIONED, Key="acte")
    s3.put_object(Bucket=VERSIONED, Key="acte", Body=b"again")
    s3.put_object(Bucket=VERSIONED, Key="parti", Body=b"gone", Tagging="x=y")
    s3.delete_object(Bucket=VERSIONED, Key="parti")
    s3.put_object(Bucket=VERSIONED, Key="gros", Body=b"7" * (2 * MIB))
    s3.put_object(Bucket=VERSIONED, Key="gros", Body=b"8" * (2 * MIB))
    _set_versioning(s3, "Suspended")
    s3.put_object(Bucket=VERSIONED, Key="parti", Body=b"null after")
    s3.delete_object(Bucket=VERSIONED, Key="gros")


def _set_versioning(s3: Any, status: str) -> None:
    s3.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": status})


def _fill_locked(s3: Any) -> None:
    s3.create_bucket(Bucket=LOCKED, ObjectLockEnabledForBucket=True)
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(days=400)
    for mode in ("GOVERNANCE", "COMPLIANCE"):
        s3.put_object(
            Bucket=LOCKED,
            Key=mode.lower(),
            Body=mode.encode(),
            ObjectLockMode=mode,
            ObjectLockRetainUntilDate=later,
        )
    s3.put_object(Bucket=LOCKED, Key="held", Body=b"held", ObjectLockLegalHoldStatus="ON")
    retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
    s3.put_object_lock_configuration(
        Bucket=LOCKED,
        ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention},
    )
    s3.put_object(Bucket=LOCKED, Key="by-default", Body=b"default")
    s3.put_bucket_logging(
        Bucket=PLAIN,
        BucketLoggingStatus={},
    )


def _fill_sealed(s3: Any) -> None:
    s3.create_bucket(Bucket=SEALED)
    s3.put_object(Bucket=SEALED, Key="customer", Body=b"mine" * 500, **customer_headers())
    s3.put_object(
        Bucket=SEALED,
        Key="named",
        Body=b"named",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=NAMED_KEY,
        BucketKeyEnabled=True,
    )
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": NAMED_KEY}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    s3.put_bucket_encryption(Bucket=SEALED, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=SEALED, Key="by-default", Body=b"d" * (2 * MIB))


def customer_headers() -> dict[str, Any]:
    """Of a request that brings the client's own key."""
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": CUSTOMER_KEY.decode()}


def customer_key_file(folder: Path) -> Path:
    """The client's own key as the commands take it."""
    path = folder / "customer.keys"
    path.write_bytes(b64encode(CUSTOMER_KEY) + b"\n")
    path.chmod(0o600)
    return path


def customer_key_md5() -> str:
    return b64encode(md5(CUSTOMER_KEY).digest()).decode()


def state_of(s3: Any, buckets: tuple[str, ...] = BUCKETS) -> dict[str, Any]:
    """All that a client sees of buckets."""
    return {bucket: _bucket_state(s3, bucket) for bucket in buckets}


def _bucket_state(s3: Any, bucket: str) -> dict[str, Any]:
    asked = (
        "versioning",
        "policy",
        "acl",
        "cors",
        "tagging",
        "website",
        "encryption",
        "ownership_controls",
        "logging",
        "location",
    )
    state: dict[str, Any] = {
        name: _answer(getattr(s3, f"get_bucket_{name}"), Bucket=bucket) for name in asked
    }
    for name in ("get_bucket_lifecycle_configuration", "get_public_access_block"):
        state[name] = _answer(getattr(s3, name), Bucket=bucket)
    state["lock"] = _answer(s3.get_object_lock_configuration, Bucket=bucket)
    state["versions"] = []
    listed = s3.list_object_versions(Bucket=bucket)
    assert not listed["IsTruncated"]
    for one in listed.get("Versions", []):
        one.pop("Owner", None)
        state["versions"].append((one, _version_state(s3, bucket, one)))
    state["markers"] = [
        {name: one[name] for name in ("Key", "VersionId", "IsLatest", "LastModified")}
        for one in listed.get("DeleteMarkers", [])
    ]
    return state


def _version_state(s3: Any, bucket: str, listed: dict[str, Any]) -> dict[str, Any]:
    at: dict[str, Any] = {"Bucket": bucket, "Key": listed["Key"], "VersionId": listed["VersionId"]}
    sse = customer_headers() if (bucket, listed["Key"]) == (SEALED, "customer") else {}
    got = s3.get_object(**at, **sse, ChecksumMode="ENABLED")
    body = got["Body"].read()
    state = {name: value for name, value in got.items() if name not in _UNTOLD}
    state["sha256"] = sha256(body).hexdigest()
    for name in ("tagging", "acl", "retention", "legal_hold"):
        state[name] = _answer(getattr(s3, f"get_object_{name}"), **at)
    if not sse:  # boto3 sends no MD5 of the key with these
        state["attributes"] = _answer(
            s3.get_object_attributes,
            **at,
            ObjectAttributes=["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"],
        )
        held = s3.list_object_annotations(**at).get("Annotations", [])
        state["annotations"] = {
            one["AnnotationName"]: s3.get_object_annotation(
                **at, AnnotationName=one["AnnotationName"]
            )["AnnotationPayload"].read()
            for one in held
        }
    return state


def _answer(ask: Any, **fields: Any) -> Any:
    try:
        found = ask(**fields)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return {name: value for name, value in found.items() if name != "ResponseMetadata"}
