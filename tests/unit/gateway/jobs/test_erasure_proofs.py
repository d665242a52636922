"""What is left after an erasure opens nothing, names nobody, and is proven by its certificate."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.data.keyring import FileKeyring, RootKey
from gateway.journal.certificate import verify_certificate
from gateway.journal.notes import ED25519, MLDSA65, SignerKey, VerifierKey
from gateway.meta import keyspace
from gateway.meta.documents import open_document
from gateway.meta.memory import MemoryStore
from gateway.meta.records import open_version
from gateway.model.erasure import ErasureKind
from gateway.model.key_states import KeyState
from gateway.objects import tenancy, users
from gateway.objects.values import EncryptionAsked, PutOptions
from storaged.base.errors import StorageError
from tests.support.cluster import MemoryCluster, memory_cluster
from tests.support.erasure_rig import ErasureRig, erasure_rig, run, two_of
from tests.support.faulty_node import FaultyNode
from tests.support.gateway import TENANT
from tests.support.lifecycle_rig import Clock
from tests.support.log_rig import MemoryHistory
from tests.support.rotations import bucket_of

SMALL, LARGE = b"small " * 20, b"large " * 200_000


async def stored(rig: ErasureRig) -> None:
    await rig.gateway.put("small", SMALL)
    await rig.gateway.put("large", LARGE)


def public(rig: ErasureRig) -> list[VerifierKey]:
    journal = rig.gateway.services.journal
    assert journal is not None
    return journal.keys.verifiers()


@pytest.mark.proves("E-02")
def test_nothing_of_an_erased_tenant_is_found_but_stubs_and_the_certificate(
    tmp_path: Path,
) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        await stored(rig)
        await users.create_user(services, TENANT, "somebody")
        await tenancy.create_tenant(services, "neighbour")
        done = await rig.to_the_end(await rig.begin(ErasureKind.TENANT))
        assert done.step == "done", done.detail
        found = []
        for row in rig.gateway.log.scan(b"\x00", b"\xff", limit=10_000):
            if row.key[:1] in (keyspace.STRIPE, keyspace.GARBAGE):
                continue
            text = json.dumps(open_document(services.records, row.key, row.value))
            if TENANT in row.key or TENANT.hex() in text or "somebody" in text:
                found.append(row.key[keyspace.HEAD_BYTES :].decode())
        assert found == [f"erased/{done.erasure_id}"]
        assert [one.name for one in tenancy.tenants(services)] == ["neighbour"]

    run(tmp_path, scene)


@pytest.mark.proves("B-05", "CRY-15", "I4")
def test_a_restored_backup_opens_nothing_of_an_erased_tenant(tmp_path: Path) -> None:
    """The keys folder of after the erasure under rows of before it: what a thief of a metadata
    backup has, and what a restore of the index brings back. With the keys folder of before, a file
    keyring opens what it is kept beside: that is why the certificate's date counts backups.
    """

    async def main() -> None:
        clock = Clock()
        async with erasure_rig(tmp_path, clock=clock) as rig:
            await stored(rig)
            await rig.gateway.put(
                "kms", SMALL, PutOptions(encryption=EncryptionAsked(kind="aws:kms"))
            )
            services = rig.gateway.services
            rows = list(rig.gateway.log.scan(b"\x00", b"\xff", limit=10_000))
            shutil.copytree(rig.folder / "keys", tmp_path / "keys-of-before")
            erasure = await rig.begin(ErasureKind.TENANT)
            assert (await rig.to_the_end(erasure)).step == "done"
            keys = [row for row in rows if row.key[:1] == keyspace.BUCKET_KEY]
            after = FileKeyring(rig.folder / "keys", rig.root, clock)
            root = RootKey.load(rig.folder / "keys")
            before = FileKeyring(tmp_path / "keys-of-before", root, clock)
            assert keys
            for row in keys:
                held = open_document(services.records, row.key, row.value)
                bucket, epoch = keyspace.parse_bucket_key(row.key)
                wrapped = bytes.fromhex(held["wrapped"])
                with pytest.raises(StorageError):
                    after.unwrap_bucket_key(TENANT, bucket, epoch, wrapped)
                assert len(before.unwrap_bucket_key(TENANT, bucket, epoch, wrapped)) == 32
            assert not after.named_keys(TENANT)
            # The copy of the keyring that the log keeps destroys again what an old folder brings.
            row_key = keyspace.keyring_row()
            value = rig.gateway.log.read((row_key,))[0]
            assert value is not None
            copy = open_document(services.records, row_key, value)["sealed"]
            before.import_sealed(base64.b64decode(copy))
            states = [one.state for one in before.tenant_epochs(TENANT)]
            assert states == [KeyState.DESTROYED]

    asyncio.run(asyncio.wait_for(main(), 60))


class Snapshot:
    """Nodes and index as they are at one moment, to be put back."""

    def __init__(self, cluster: MemoryCluster, index: MemoryStore, history: MemoryHistory) -> None:
        self._nodes = {number: _inside(node) for number, node in cluster.nodes.items()}
        self._kept = copy.deepcopy((self._nodes, index, history))

    def restored(self, cluster: MemoryCluster) -> tuple[MemoryStore, MemoryHistory]:
        """The index and the history; the nodes have what they had."""
        nodes, index, history = copy.deepcopy(self._kept)
        for number, node in cluster.nodes.items():
            vars(node.node).update(nodes[number])
        return index, history


def _inside(node: FaultyNode) -> dict[str, object]:
    names = ("_held", "_order", "_stored_bytes", "_promises")
    return {name: vars(node.node)[name] for name in names}


@pytest.mark.proves("B-05", "E-01", "CRY-15", "I4")
def test_a_whole_cluster_of_before_opens_nothing_under_the_keys_of_today(tmp_path: Path) -> None:
    """Nodes and index restored as they were before the erasure: with the keys folder of today no
    body and no manifest opens; with that of before both do, which is what the date is for.
    """
    clock, bodies = Clock(), {"small": SMALL, "large": LARGE}
    cluster, index, history = memory_cluster(), MemoryStore(bytes(32)), MemoryHistory()

    async def erase() -> Snapshot:
        async with erasure_rig(
            tmp_path, cluster=cluster, index=index, history=history, clock=clock
        ) as rig:
            await stored(rig)
            snapshot = Snapshot(cluster, index, history)
            shutil.copytree(tmp_path / "keys", tmp_path / "before" / "keys")
            done = await rig.to_the_end(await rig.begin(ErasureKind.TENANT))
            assert done.step == "done"
            return snapshot

    async def restore(folder: Path, snapshot: Snapshot) -> list[bytes]:
        old, past = snapshot.restored(cluster)
        opened = []
        async with erasure_rig(
            folder, cluster=cluster, index=old, history=past, clock=clock, with_bucket=False
        ) as rig:
            services = rig.gateway.services
            assert bucket_of(rig.gateway).tenant == TENANT
            for key in bodies:
                with suppress(StorageError):
                    opened.append(await rig.gateway.get(key))
            for row in rig.gateway.log.scan(b"N", b"P", limit=100):
                with suppress(StorageError):
                    opened.append(open_version(services.records, row.key, row.value).revision)
        return opened

    async def main() -> None:
        snapshot = await erase()
        assert await restore(tmp_path, snapshot) == []
        opened = await restore(tmp_path / "before", snapshot)
        assert opened[:2] == [SMALL, LARGE] and len(opened) == 4

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.proves("E-03")
def test_an_altered_certificate_is_refused(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        rig.keyring.set_approvers(two_of().document.encode())
        await stored(rig)
        erasure = await rig.begin(ErasureKind.TENANT)
        rig.clock.days = 21.5
        await rig.sign(erasure.request, "alice", "bruno")
        text = (await rig.to_the_end(erasure)).certificate
        keys = public(rig)
        assert verify_certificate(text.encode(), keys).body["objects"] == 2
        held = json.loads(text)
        for name, value in held["certificate"].items():
            for other in (None, [], "x", 7, [*value[1:]] if isinstance(value, list) else value):
                if other == value:
                    continue
                forged = {**held, "certificate": {**held["certificate"], name: other}}
                with pytest.raises(StorageError):
                    verify_certificate(json.dumps(forged).encode(), keys)
        for at in range(0, len(text), 997):
            changed = text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :]
            if json.dumps(_loaded(changed)) != json.dumps(held):
                with pytest.raises(StorageError):
                    verify_certificate(changed.encode(), keys)
        with pytest.raises(StorageError):
            others = [replace(key, public=bytes(len(key.public))) for key in keys]
            verify_certificate(text.encode(), others)
        with pytest.raises(StorageError):
            verify_certificate(json.dumps({**held, "chain": ""}).encode(), keys)
        with pytest.raises(StorageError):
            verify_certificate(text.encode().replace(b'"format"', b'"format":1,"format"', 1), keys)

    run(tmp_path, scene)


@pytest.mark.proves("E-03", "C6")
def test_who_has_earlier_keys_of_the_journal_verifies_a_certificate(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await stored(rig)
        earlier = public(rig)
        journal = rig.gateway.services.journal
        assert journal is not None
        erasure = await rig.begin(ErasureKind.TENANT)
        fresh = [SignerKey(ED25519, b"3" * 32), SignerKey(MLDSA65, b"4" * 32)]
        journal.keys = journal._shelf.hand_over(fresh, lambda chain: None)
        text = (await rig.to_the_end(erasure)).certificate.encode()
        later = public(rig)
        assert earlier != later
        for keys in (earlier, later):
            assert verify_certificate(text, keys).body["objects"] == 2
        strangers = [SignerKey(ED25519, b"5" * 32).verifier(later[0].name)]
        with pytest.raises(StorageError, match="never signed"):
            verify_certificate(text, strangers)

    run(tmp_path, scene)


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return None
