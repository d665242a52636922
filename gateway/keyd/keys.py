"""The key service as gateways see it: a `KeyProvider` and its companions over a socket.

What a gateway has in use (a `KeydSealer`) goes on without the key service for as long as its owner
keeps it: it seals in its window, and opens what it sealed there.

Invariants: no tenant's key, no bucket's key and no secret of an access key is in this process.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gateway.data.bucket_sealing import Reseal
from gateway.data.credential_sealing import Scope
from gateway.data.envelope import KeyBudgetSpent
from gateway.data.window import WINDOW_RECORDS_MAX, Window, window_of
from gateway.keyd.client import KeydClient
from gateway.keyd.refusals import KeydUnavailable
from gateway.keyd.wire import SHAPES, Value, Verb, decode_fields, encode_fields
from gateway.model.key_states import FIRST_EPOCH, KeyEpoch, KeyState
from storaged.base.env import Env
from storaged.base.errors import ProtocolError

RESEALED_AT_ONCE = 256  # records in one request: some 2 ms
NAMES_MAX = 4096  # named keys known to be there

T = TypeVar("T")


class KeydSealer:
    """A bucket's key in use by a gateway that does not have it; a `BucketSealer`."""

    __slots__ = ("_client", "_left", "_window", "record_key", "ref")

    def __init__(self, client: KeydClient, ref: bytes, record_key: bytes) -> None:
        self._client = client
        self.ref = ref
        self.record_key = record_key
        self._window: Window | None = None
        self._left = 0

    def __repr__(self) -> str:
        return "KeydSealer(…)"

    def seal(self, label: str, context: bytes, secret: bytes, salt: bytes) -> bytes:
        """See the port. One call for WINDOW_RECORDS_MAX records."""
        window = self._window
        if window is None or self._left <= 0:
            window = self._opened_window()
        self._left -= 1
        return window.seal(label, context, secret, salt)

    def prepare(self) -> None:
        """See the port: another window, for WINDOW_RECORDS_MAX records."""
        self._opened_window()

    def open(self, label: str, context: bytes, record: bytes) -> bytes:
        """See the port. One call, but for what was sealed in the present window."""
        window = self._window
        if window is not None and window_of(record) == window.id:
            return window.open(label, context, record)
        fields = encode_fields("sbb", [label, context, bytes(record)])
        payload = self._client.call_raw(Verb.OPEN_UNDER_BUCKET, self.ref + fields)
        return _one_bytes(Verb.OPEN_UNDER_BUCKET, payload)

    def _opened_window(self) -> Window:
        payload = self._client.call_raw(Verb.OPEN_WINDOW, self.ref)
        window = Window(*_both(Verb.OPEN_WINDOW, payload))
        self._window, self._left = window, WINDOW_RECORDS_MAX
        return window


class KeydKeys:
    """`KeyProvider`, `BucketKeysOf`, `CredentialKeeper`, `WarrantKeeper` and `AskedApart` over a
    `KeydClient`.

    Args:
        cache_s: how long a named key is known to be there.
    """

    def __init__(self, client: KeydClient, env: Env, *, cache_s: float) -> None:
        self.client = client
        self._env = env
        self._cache_s = cache_s
        self._named: OrderedDict[tuple[bytes, str], float] = OrderedDict()

    def __repr__(self) -> str:
        return f"KeydKeys({self.client!r})"

    async def apart(self, call: Callable[[], T], *, is_long: bool = False) -> T:
        """See `AskedApart`."""
        return await self.client.apart(call, is_long=is_long)

    def create_tenant_key(self, tenant_id: bytes) -> None:
        """See `KeyProvider`."""
        self.client.call(Verb.CREATE_TENANT_KEY, tenant_id)

    def tenant_epochs(self, tenant_id: bytes) -> list[KeyEpoch]:
        """See `KeyProvider`."""
        found: Any = self.client.call(Verb.TENANT_EPOCHS, tenant_id)[0]
        return list(found)

    def active_epoch(self, tenant_id: bytes) -> int:
        """See `KeyProvider`."""
        return self._number(Verb.ACTIVE_EPOCH, tenant_id)

    def add_tenant_epoch(self, tenant_id: bytes) -> int:
        """See `KeyProvider`."""
        return self._number(Verb.ADD_TENANT_EPOCH, tenant_id)

    def set_tenant_epoch(
        self, tenant_id: bytes, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """See `KeyProvider`."""
        self.client.call(Verb.SET_TENANT_EPOCH, tenant_id, epoch, str(state), warrant)

    def wrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        key: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """See `KeyProvider`. Raises: KeydRefused: a key service in service does not do it."""
        return self._bytes(Verb.WRAP_BUCKET_KEY, tenant_id, bucket_id, epoch, key, tenant_epoch)

    def unwrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        """See `KeyProvider`. Raises: KeydRefused: a key service in service does not do it."""
        fields = (tenant_id, bucket_id, epoch, bytes(wrapped), tenant_epoch)
        return self._bytes(Verb.UNWRAP_BUCKET_KEY, *fields)

    def create_named_key(self, tenant_id: bytes, name: str) -> None:
        """See `KeyProvider`."""
        self.client.call(Verb.CREATE_NAMED_KEY, tenant_id, name)

    def has_named_key(self, tenant_id: bytes, name: str) -> bool:
        """See `KeyProvider`. That there is one is remembered."""
        now_s = self._env.monotonic_s()
        if self._named.get((tenant_id, name), 0.0) > now_s:
            return True
        if not self._number(Verb.HAS_NAMED_KEY, tenant_id, name):
            return False
        self._named[tenant_id, name] = now_s + self._cache_s
        self._named.move_to_end((tenant_id, name))
        if len(self._named) > NAMES_MAX:
            self._named.popitem(last=False)
        return True

    def named_keys(self, tenant_id: bytes) -> list[str]:
        """See `KeyProvider`."""
        found: Any = self.client.call(Verb.NAMED_KEYS, tenant_id)[0]
        return list(found)

    def named_epochs(self, tenant_id: bytes, name: str) -> list[KeyEpoch]:
        """See `KeyProvider`."""
        found: Any = self.client.call(Verb.NAMED_EPOCHS, tenant_id, name)[0]
        return list(found)

    def add_named_epoch(self, tenant_id: bytes, name: str) -> int:
        """See `KeyProvider`."""
        return self._number(Verb.ADD_NAMED_EPOCH, tenant_id, name)

    def set_named_epoch(
        self, tenant_id: bytes, name: str, epoch: int, state: KeyState, warrant: bytes = b""
    ) -> None:
        """See `KeyProvider`."""
        self.client.call(Verb.SET_NAMED_EPOCH, tenant_id, name, epoch, str(state), warrant)

    def wrap_named(self, tenant_id: bytes, name: str, context: bytes, secret: bytes) -> bytes:
        """See `KeyProvider`."""
        return self._bytes(Verb.WRAP_NAMED, tenant_id, name, context, secret)

    def unwrap_named(self, tenant_id: bytes, name: str, context: bytes, wrapped: bytes) -> bytes:
        """See `KeyProvider`."""
        return self._bytes(Verb.UNWRAP_NAMED, tenant_id, name, context, bytes(wrapped))

    def export_sealed(self) -> bytes:
        """See `KeyProvider`."""
        return self._bytes(Verb.EXPORT_SEALED)

    def is_whole(self, sealed: bytes) -> bool:
        """See `KeyProvider`."""
        return bool(self._number(Verb.IS_WHOLE, sealed))

    def import_sealed(self, sealed: bytes) -> None:
        """See `KeyProvider`."""
        self.client.call(Verb.IMPORT_SEALED, sealed)

    def new_bucket_key(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, tenant_epoch: int
    ) -> bytes:
        """See `BucketKeysOf`."""
        return self._bytes(Verb.NEW_BUCKET_KEY, tenant_id, bucket_id, epoch, tenant_epoch)

    def rewrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int,
        to_epoch: int,
    ) -> bytes:
        """See `BucketKeysOf`."""
        fields = (tenant_id, bucket_id, epoch, tenant_epoch, wrapped, to_epoch)
        return self._bytes(Verb.REWRAP_BUCKET_KEY, *fields)

    def bucket_sealer(
        self, tenant_id: bytes, bucket_id: bytes, epoch: int, wrapped: bytes, tenant_epoch: int
    ) -> KeydSealer:
        """See `BucketKeysOf`."""
        shape = SHAPES[Verb.OPEN_BUCKET_KEY].request
        ref = encode_fields(shape, [tenant_id, bucket_id, epoch, tenant_epoch, wrapped])
        payload = self.client.call_raw(Verb.OPEN_BUCKET_KEY, ref)
        return KeydSealer(self.client, ref, _one_bytes(Verb.OPEN_BUCKET_KEY, payload))

    def reseal(self, wanted: Reseal) -> list[bytes | None]:
        """See `BucketKeysOf`. The secrets stay in the key service. One call for RESEALED_AT_ONCE
        records.
        """
        old, new, label, heads, tails, records = wanted
        assert isinstance(old, KeydSealer) and isinstance(new, KeydSealer)
        start = b"".join((old.ref, new.ref, encode_fields("sbb", [label, *heads])))
        found: list[bytes | None] = []
        for at in range(0, len(records), RESEALED_AT_ONCE):
            end = at + RESEALED_AT_ONCE
            lists = encode_fields("LL", [list(tails[at:end]), list(records[at:end])])
            payload = self.client.call_raw(Verb.RESEAL_UNDER_BUCKET, start + lists)
            (answer,) = _fields(Verb.RESEAL_UNDER_BUCKET, payload, 1)
            if len(answer) != len(records[at:end]):
                raise KeydUnavailable(reason="answer of another length")
            found += [record or None for record in answer]
        return found

    def seal_credential(self, tenant_id: bytes, access_key_id: str, secret: str) -> bytes:
        """See `CredentialKeeper`."""
        return self._bytes(Verb.SEAL_CREDENTIAL, tenant_id, access_key_id, secret)

    def signing_key(
        self, tenant_id: bytes, access_key_id: str, sealed: bytes, scope: Scope
    ) -> bytes:
        """See `CredentialKeeper`. Raises: SigningDayRefused: nothing of that day can be valid."""
        return self._bytes(Verb.SIGNING_KEY, tenant_id, access_key_id, sealed, *scope)

    def sign_v2(self, tenant_id: bytes, access_key_id: str, sealed: bytes, text: bytes) -> bytes:
        """See `CredentialKeeper`. Raises: KeydRefused: only the unsafe test profile has it."""
        return self._bytes(Verb.SIGN_V2, tenant_id, access_key_id, sealed, text)

    def reseal_credential(self, tenant_id: bytes, access_key_id: str, sealed: bytes) -> bytes:
        """See `CredentialKeeper`."""
        return self._bytes(Verb.RESEAL_CREDENTIAL, tenant_id, access_key_id, sealed)

    def approvers(self) -> bytes:
        """See `WarrantKeeper`."""
        return self._bytes(Verb.APPROVERS)

    def set_approvers(self, document: bytes, warrant: bytes = b"") -> None:
        """See `WarrantKeeper`."""
        self.client.call(Verb.SET_APPROVERS, document, warrant)

    def spend_warrant(self, item: str, warrant: bytes, holder: str) -> None:
        """See `WarrantKeeper`."""
        self.client.call(Verb.SPEND_WARRANT, item, warrant, holder)

    def status(self) -> dict[str, Any]:
        """What the key service tells of itself. Raises: KeydUnavailable."""
        try:
            found = json.loads(self._bytes(Verb.STATUS))
        except ValueError as error:
            raise KeydUnavailable(reason="status of another form") from error
        return dict(found)

    def summary(self) -> dict[str, Any]:
        """What status and metrics tell of the service. Asks nobody."""
        calls, reason = self.client.calls, self.client.down_because
        return {
            "provider": "keyd",
            "answers": not reason,
            "reason": reason,
            "calls": sum(calls.by_verb.values()),
            "errors": sum(calls.errors.values()),
            "budget_refusals": calls.errors[KeyBudgetSpent.__name__],
            "seconds": round(calls.seconds, 6),
        }

    def close(self) -> None:
        """Idempotent."""
        self.client.close()

    def _bytes(self, verb: Verb, *values: Value) -> bytes:
        found = self.client.call(verb, *values)[0]
        assert isinstance(found, bytes), "the shape says so"
        return found

    def _number(self, verb: Verb, *values: Value) -> int:
        found = self.client.call(verb, *values)[0]
        assert isinstance(found, int), "the shape says so"
        return found


def _one_bytes(verb: Verb, payload: bytes) -> bytes:
    return bytes(_fields(verb, payload, 1)[0])


def _both(verb: Verb, payload: bytes) -> tuple[bytes, bytes]:
    one, other = _fields(verb, payload, 2)
    return bytes(one), bytes(other)


def _fields(verb: Verb, payload: bytes, count: int) -> Sequence[Any]:
    try:
        found: Any = decode_fields(SHAPES[verb].answer, payload)
    except ProtocolError as error:
        raise KeydUnavailable(reason="answer of another shape") from error
    assert len(found) == count
    return list(found)
