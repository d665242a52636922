"""A recovery backup: what a keys folder holds, encrypted to the recovery recipient, and a manifest.

Not for finding or writing files (`gateway.recovery.folder`). The manifest is readable without any
share: which cluster and which set of shares, which epochs of which keys, the journal's checkpoint
of that moment. It is bound to what is encrypted. Anybody can encrypt to a public key, so what is
inside carries a MAC under a key from the root key, and the root key must be that of the cluster
that the shares name: a backup that somebody else has made is refused.

    "hexagone-recovery-backup/1\\n" ‖ manifest as one line of JSON ‖ "\\n" ‖ sealed
    sealed: HPKE, info = SHA-256 of all before it, of: MAC 32 ‖ for each file u16 name length ‖ name
    ‖ u32 length ‖ content

Requirements: K-12, C8. Source: docs/recovery.md.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from struct import Struct
from struct import error as StructError
from typing import Any

from gateway.data.cipher import KEY_BYTES, SALT_BYTES, expand
from gateway.data.envelope import SealInvalid, open_secret
from gateway.data.keyring import ROOT_FILE, TENANTS_FILE, RootKey, RootKeyInvalid
from gateway.data.keyring_form import TENANT_KEY, HeldKey, KeyId, Keys, open_keys, seal_keys
from gateway.data.passphrase import passphrase_key
from gateway.model.encoding import enc
from gateway.model.key_states import FIRST_EPOCH, KeyState
from gateway.recovery.kept_epochs import KeptEpoch, KeyOf, owner_of
from gateway.recovery.recipient import SUITE_NAME, Recipient, RecipientInvalid, RecipientKey
from gateway.recovery.shares import ShareSet
from storaged.base.errors import Kind, StorageError

HEAD = b"hexagone-recovery-backup/1\n"
BACKUP_BYTES_MAX = 256 << 20
MANIFEST_BYTES_MAX = 64 << 20
FILES_MAX = 10_000
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError, StructError)
_NAME, _CONTENT = Struct(">H"), Struct(">I")

# In a backup: what lies outside of the keys folder. The key service's own folder has such a place.
ALSO, SERVICE = "also", "keyd"
SERVICE_PLACE = f"{ALSO}/{SERVICE}/"
SERVICE_FILE, HSM_FILE = "keyd.key", "hsm.sealed"
PASSPHRASE = f"{ALSO}/passphrase"
PLACES = ("", SERVICE_PLACE)
KEYRING = "tenant-keyring"


class BackupInvalid(StorageError):
    """This is no recovery backup of this cluster, or it was altered."""

    kind = Kind.CORRUPT
    hint = "take another copy of the backup"


class KeysInvalid(StorageError):
    """The keys folder cannot be backed up as it is."""

    kind = Kind.INVALID
    hint = "`hexagone keys show` looks at the root key; restore what is damaged first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What can be read of a backup without a share. `journal`: its last checkpoint, or ""."""

    record: ShareSet
    number: int
    made_at_ms: int
    epochs: tuple[KeptEpoch, ...]
    files: tuple[tuple[str, int], ...]
    journal: str = ""
    is_opaque: bool = False

    @property
    def living(self) -> set[KeyOf]:
        """Epochs whose keys are in the backup."""
        return {one.key for one in self.epochs if one.state is not KeyState.DESTROYED}

    @property
    def destroyed(self) -> set[KeyOf]:
        return {one.key for one in self.epochs if one.state is KeyState.DESTROYED}

    def may_hold(self, epochs: Iterable[KeptEpoch]) -> bool:
        """Whether the backup has a key that a newer one tells the end of. Of a named key that was
        not rotated yet it tells nothing: there the dates do.
        """
        told = self.living | self.destroyed
        return any(
            one.key in self.living
            or ("." in one.tenant and one.key not in told and self.made_at_ms >= one.created_at_ms)
            for one in epochs
            if one.state is KeyState.DESTROYED
        )


@dataclass(frozen=True, slots=True)
class Holding:
    """The files of a keys folder, opened: everything a cluster's secrets begin with.

    Args:
        is_opaque: there are keys that this cannot look at: in an HSM, or under a passphrase.
    """

    files: Mapping[str, bytes] = field(repr=False)
    cluster: bytes
    epochs: tuple[KeptEpoch, ...]
    is_opaque: bool = False

    @property
    def living(self) -> set[KeyOf]:
        """Epochs whose keys are here."""
        return {one.key for one in self.epochs if one.state is not KeyState.DESTROYED}

    @property
    def destroyed(self) -> set[KeyOf]:
        return {one.key for one in self.epochs if one.state is KeyState.DESTROYED}

    @property
    def told(self) -> tuple[KeptEpoch, ...]:
        """What a manifest tells: of named keys those that were rotated."""
        rotated = {one.tenant for one in self.epochs if one.epoch > FIRST_EPOCH}
        return tuple(one for one in self.epochs if "." not in one.tenant or one.tenant in rotated)

    @property
    def mac_key(self) -> bytes:
        return _root_of(self.files).derive("recovery-backup")

    def sealing_keys(self, label: str) -> dict[str, bytes]:
        """By place, the key for a purpose, as far as the secret of that place opens."""
        return _sealing_keys(self.files, _root_of(self.files), label)

    def fingerprint(self) -> str:
        """Equal for equal files, and tells nothing of them."""
        return hmac.digest(self.mac_key, _packed(self.files), "sha256").hex()


def holding_of(files: Mapping[str, bytes]) -> Holding:
    """Open files of a keys folder, by their names in it. Raises: KeysInvalid."""
    root = _root_of(files)
    sealing = _sealing_keys(files, root, KEYRING)
    epochs = [
        KeptEpoch(
            tenant=owner_of(tenant.hex(), name),
            epoch=epoch,
            state=held.about.state,
            created_at_ms=held.about.created_at_ms,
            changed_at_ms=held.about.changed_at_ms,
        )
        for place, key in sealing.items()
        for (tenant, name, epoch), held in _told_of(_keys_of(files, place, key, root))
    ]
    closed = any(place + SERVICE_FILE in files for place in PLACES) and len(sealing) < len(PLACES)
    is_opaque = closed or any(place + HSM_FILE in files for place in PLACES)
    return Holding(files, root.cluster_id, tuple(epochs), is_opaque)


def _told_of(keys: Keys) -> list[tuple[KeyId, HeldKey]]:
    """Those of a keyring, in order, but for the named keys of whom has no key left: they went with
    it.
    """
    living = {tenant for (tenant, name, _), held in keys.items() if name == TENANT_KEY and held.key}
    return [
        (key_id, held)
        for key_id, held in sorted(keys.items(), key=lambda item: item[0])
        if key_id[1] == TENANT_KEY or key_id[0] in living
    ]


def without_keys(holding: Holding, destroyed: set[KeyOf], now_ms: int, salt: bytes) -> Holding:
    """The same, with some epochs of keys destroyed. Raises: KeysInvalid."""
    root = _root_of(holding.files)
    files = dict(holding.files)
    for place, key in _sealing_keys(holding.files, root, KEYRING).items():
        keys = dict(_keys_of(holding.files, place, key, root))
        chosen = [one for one in keys if (owner_of(one[0].hex(), one[1]), one[2]) in destroyed]
        for key_id in chosen:
            held = keys[key_id]
            gone = replace(
                held.about,
                state=KeyState.DESTROYED,
                before=held.about.state,
                changed_at_ms=now_ms,
            )
            keys[key_id] = HeldKey(b"", gone)
        if chosen:
            files[place + TENANTS_FILE] = seal_keys(key, root.cluster_id, keys, salt)
    return holding_of(files)


def _root_of(files: Mapping[str, bytes]) -> RootKey:
    content = files.get(ROOT_FILE, b"")
    if len(content) != KEY_BYTES:
        raise KeysInvalid(file=ROOT_FILE, reason="it is no root key, or has a passphrase")
    try:
        return RootKey(content)
    except RootKeyInvalid as error:
        raise KeysInvalid(file=ROOT_FILE) from error


def _sealing_keys(files: Mapping[str, bytes], root: RootKey, label: str) -> dict[str, bytes]:
    """By place, what is derived there for a purpose, as far as its secret can be opened."""
    found = {"": root.derive(label)}
    secret = _service_secret(files)
    if secret is not None:
        purpose = enc("keyd/" + label, root.cluster_id)
        found[SERVICE_PLACE] = expand(secret, purpose)[:KEY_BYTES]
    return found


def _service_secret(files: Mapping[str, bytes]) -> bytes | None:
    """The key service's secret; None: there is none, or it has a passphrase that is not here."""
    content = files.get(SERVICE_PLACE + SERVICE_FILE, b"")
    if len(content) == KEY_BYTES:
        return content
    passphrase = files.get(PASSPHRASE, b"").rstrip(b"\r\n")
    if not content or not passphrase:
        return None
    salt, sealed = content[4 : 4 + SALT_BYTES], content[4 + SALT_BYTES :]
    try:
        return open_secret(passphrase_key(passphrase, salt), "keyd-secret", b"", sealed)
    except SealInvalid as error:
        reason = "the passphrase is of another"
        raise KeysInvalid(file=SERVICE_PLACE + SERVICE_FILE, reason=reason) from error


def _keys_of(files: Mapping[str, bytes], place: str, key: bytes, root: RootKey) -> Keys:
    sealed = files.get(place + TENANTS_FILE)
    if sealed is None:
        return {}
    try:
        return open_keys(key, root.cluster_id, sealed)
    except SealInvalid as error:
        raise KeysInvalid(file=place + TENANTS_FILE, reason="it does not open") from error


def seal_backup(
    holding: Holding, record: ShareSet, *, number: int, now_ms: int, journal: str = ""
) -> bytes:
    """The backup of a keys folder. Raises: KeysInvalid."""
    manifest = Manifest(
        record=record,
        number=number,
        made_at_ms=now_ms,
        epochs=holding.told,
        files=tuple(sorted((name, len(content)) for name, content in holding.files.items())),
        journal=journal,
        is_opaque=holding.is_opaque,
    )
    head = HEAD + encode_document(_manifest_document(manifest)) + b"\n"
    packed = _packed(holding.files)
    mac = hmac.digest(holding.mac_key, head + packed, "sha256")
    content = head + record.recipient.seal(mac + packed, sha256(head).digest())
    if len(content) > BACKUP_BYTES_MAX or len(holding.files) > FILES_MAX:
        raise KeysInvalid(files=len(holding.files), backup_bytes=len(content))
    return content


def read_manifest(content: bytes) -> Manifest:
    """The manifest of a backup; nothing is verified yet. Raises: BackupInvalid."""
    return _split(content)[0]


def open_backup(content: bytes, key: RecipientKey) -> tuple[Manifest, Holding]:
    """What is in a backup. Raises: BackupInvalid, RecipientInvalid."""
    manifest, head = _split(content)
    opened = key.open(content[len(head) :], sha256(head).digest())
    mac, packed = opened[:32], opened[32:]
    try:
        holding = holding_of(_unpacked(packed))
    except KeysInvalid as error:
        raise BackupInvalid(reason=error.message()) from error
    if not hmac.compare_digest(mac, hmac.digest(holding.mac_key, head + packed, "sha256")):
        raise BackupInvalid(reason="somebody without the root key has made or altered it")
    if holding.cluster != manifest.record.cluster:
        raise BackupInvalid(reason="it holds the root key of another cluster than its shares name")
    return manifest, holding


def _split(content: bytes) -> tuple[Manifest, bytes]:
    """(manifest, everything before what is encrypted)."""
    end = content.find(b"\n", len(HEAD), len(HEAD) + MANIFEST_BYTES_MAX)
    if not content.startswith(HEAD) or end < 0 or len(content) > BACKUP_BYTES_MAX:
        raise BackupInvalid(reason="another form, or cut short")
    try:
        manifest = _read_document(json.loads(content[len(HEAD) : end]))
    except (*_MALFORMED, RecipientInvalid) as error:
        raise BackupInvalid(reason="the manifest is not of the form") from error
    return manifest, content[: end + 1]


def encode_document(document: Mapping[str, object]) -> bytes:
    """One line of JSON, the same for the same values."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def record_document(record: ShareSet) -> dict[str, object]:
    """The public record of a set of shares, for files."""
    return {
        "cluster": record.cluster.hex(),
        "set": record.set_id.hex(),
        "suite": SUITE_NAME,
        "recipient": base64.b64encode(record.recipient.public).decode(),
        "threshold": record.threshold,
        "digests": list(record.digests),
        "custodians": list(record.custodians),
        "made_at_ms": record.made_at_ms,
    }


def read_record(document: Mapping[str, Any]) -> ShareSet:
    """What `record_document` wrote. Raises: RecipientInvalid, and as malformed values do."""
    record = ShareSet(
        cluster=bytes.fromhex(document["cluster"]),
        recipient=Recipient(base64.b64decode(document["recipient"], validate=True)),
        threshold=int(document["threshold"]),
        digests=tuple(str(one) for one in document["digests"]),
        custodians=tuple(str(one) for one in document["custodians"]),
        made_at_ms=int(document["made_at_ms"]),
    )
    if record.set_id.hex() != document["set"] or document["suite"] != SUITE_NAME:
        raise ValueError("the set is another one than its key and cluster make")
    return record


def _manifest_document(manifest: Manifest) -> dict[str, object]:
    return {
        "shares": record_document(manifest.record),
        "number": manifest.number,
        "made_at_ms": manifest.made_at_ms,
        "keys": [
            [one.tenant, one.epoch, one.state.value, one.created_at_ms, one.changed_at_ms]
            for one in manifest.epochs
        ],
        "files": [list(one) for one in manifest.files],
        "journal": manifest.journal,
        "opaque": manifest.is_opaque,
    }


def _read_document(document: Mapping[str, Any]) -> Manifest:
    return Manifest(
        record=read_record(document["shares"]),
        number=int(document["number"]),
        made_at_ms=int(document["made_at_ms"]),
        epochs=tuple(
            KeptEpoch(
                tenant=str(tenant),
                epoch=int(epoch),
                state=KeyState(state),
                created_at_ms=int(created),
                changed_at_ms=int(changed),
            )
            for tenant, epoch, state, created, changed in document["keys"]
        ),
        files=tuple((str(name), int(size)) for name, size in document["files"]),
        journal=str(document["journal"]),
        is_opaque=bool(document["opaque"]),
    )


def _packed(files: Mapping[str, bytes]) -> bytes:
    parts = []
    for name, content in sorted(files.items()):
        encoded = name.encode()
        parts += [_NAME.pack(len(encoded)), encoded, _CONTENT.pack(len(content)), content]
    return b"".join(parts)


def _unpacked(packed: bytes) -> dict[str, bytes]:
    files, at = {}, 0
    try:
        while at < len(packed):
            (length,), at = _NAME.unpack_from(packed, at), at + _NAME.size
            name, at = packed[at : at + length].decode(), at + length
            (length,), at = _CONTENT.unpack_from(packed, at), at + _CONTENT.size
            content, at = packed[at : at + length], at + length
            files[name] = content
    except (StructError, UnicodeDecodeError) as error:
        raise BackupInvalid(reason="cut short") from error
    if at != len(packed):
        raise BackupInvalid(reason="cut short")
    return files
