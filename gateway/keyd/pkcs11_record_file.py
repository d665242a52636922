"""The file that the PKCS#11 provider keeps its record in, and what is looked up in it all the time.

Not for the form of the record, nor for what may change in it: the caller holds a lock.
"""

from __future__ import annotations

from pathlib import Path

from gateway.data.cipher import SALT_BYTES
from gateway.data.envelope import SealInvalid
from gateway.data.keyring import KeyringInvalid
from gateway.data.keyring_form import KeyId, SealingRoot
from gateway.keyd.pkcs11_record import HeldInToken, Phase, Record, open_record, seal_record
from gateway.model.key_states import KeyEpoch, KeyState
from storaged.base.durable import replace_file
from storaged.base.env import Env

RECORD_FILE = "hsm.sealed"
KeyName = tuple[bytes, bytes]
"""Tenant id and name."""

KEYS_MAX = 100_000  # 10 MB of record without the names


class RecordFile:
    """`folder/hsm.sealed`.

    Attributes:
        record: never changed in place.
        epochs: of each key, by tenant and name, the oldest first.
        active: the epoch of each key that wraps.
        named: tenants and names of keys that are there.

    Raises (on construction): KeyringInvalid.
    """

    def __init__(self, folder: Path, root: SealingRoot, env: Env) -> None:
        self._path = folder / RECORD_FILE
        self._cluster_id = root.cluster_id
        self._sealing_key = root.derive("hsm-record")
        self._env = env
        self.record: Record = {}
        self.epochs: dict[KeyName, list[KeyEpoch]] = {}
        self.active: dict[KeyName, int] = {}
        self.named: set[KeyName] = set()
        try:
            self._hold(self.opened(self._path.read_bytes()))
        except FileNotFoundError:
            return
        except OSError as error:
            raise KeyringInvalid(path=self._path, reason=error.strerror) from error
        except SealInvalid as error:
            raise KeyringInvalid(path=self._path) from error

    def put(self, key: KeyId, held: HeldInToken) -> None:
        """Put one key. Durable when it returns. Raises: KeyringInvalid, OSError."""
        self.save({**self.record, key: held})

    def save(self, record: Record) -> None:
        """Put another record in place of this one. Durable when it returns. Raises: as put."""
        if len(record) > KEYS_MAX:
            raise KeyringInvalid(path=self._path, keys_max=KEYS_MAX)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(self._path, self.sealed(record))
        self._hold(record)

    def sealed(self, record: Record) -> bytes:
        """A record as it is stored."""
        salt = self._env.random_bytes(SALT_BYTES)
        return seal_record(self._sealing_key, self._cluster_id, record, salt)

    def opened(self, sealed: bytes) -> Record:
        """What `sealed` made. Raises: SealInvalid."""
        return open_record(self._sealing_key, self._cluster_id, sealed)

    def _hold(self, record: Record) -> None:
        epochs: dict[KeyName, list[KeyEpoch]] = {}
        for (tenant, name, _), held in sorted(record.items(), key=lambda one: one[0]):
            if held.phase is not Phase.MAKING:
                epochs.setdefault((tenant, name), []).append(held.shown)
        self.record = record
        self.epochs = epochs
        self.active = {
            key: about.epoch
            for key, held_by in epochs.items()
            for about in held_by
            if about.state is KeyState.ACTIVE
        }
        self.named = {
            key[:2] for key, held in record.items() if key[1] and held.phase is Phase.HELD
        }
