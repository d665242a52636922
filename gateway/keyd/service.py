"""What the key service does for a request: verbs to the provider, bucket keys kept open.

Not for connections (`gateway.keyd.server`). Here it is decided what a gateway can have: a key of
rows, a window to seal in, one secret that was sealed under a bucket's key, the signing key of a
day. No verb gives a tenant's key, a bucket's key or the secret of an access key.
"""

from __future__ import annotations

import json
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.config_keys import KeydBudgetsConfig
from gateway.data.bucket_sealing import (
    HeldBucketKey,
    HeldBucketKeys,
    Reseal,
)
from gateway.data.credential_sealing import (
    CREDENTIALS_ID,
    SECRET_BYTES_MAX,
    HeldCredentials,
    Scope,
    SigningDayRefused,
)
from gateway.data.envelope import (
    DEK_LABEL,
    INNER_LABEL,
    NAME_BYTES_MAX,
    KeyProvider,
    WarrantKeeper,
)
from gateway.data.keyring_form import TENANT_ID_BYTES
from gateway.data.window import WINDOW_ID_BYTES
from gateway.keyd.budgets import Asker, KeyBudgets
from gateway.keyd.kept_in import Moves
from gateway.keyd.no_warrants import NoWarrants
from gateway.keyd.refusals import KeydOtherCluster, KeydRefused, KeydRequestInvalid
from gateway.keyd.releases import Releases
from gateway.keyd.wire import SHAPES, Value, Verb, decode_fields, encode_fields
from gateway.model.key_states import KeyState
from storaged.base.env import Env
from storaged.base.errors import RETRYABLE, ProtocolError, StorageError

RESEALED_MAX = 1024  # records in one request: some 6 ms
OPEN_KEYS_MAX = 16_384  # bucket keys in memory, each with its last window some 4 KiB: 64 MiB
TEXT_CHARACTERS_MAX = 2048
DAY_MS = 86_400_000
# A presigned request is valid for seven days, and clocks differ; for later days there is no key.
DAYS_BACK, DAYS_AHEAD = 8, 1
LABELS = frozenset({DEK_LABEL, INNER_LABEL})

_KEY_WAYS = frozenset({Verb.WRAP_BUCKET_KEY, Verb.UNWRAP_BUCKET_KEY})
_OPENING = frozenset({Verb.OPEN_BUCKET_KEY, Verb.OPEN_WINDOW, Verb.OPEN_UNDER_BUCKET})
_REF_FIELDS = 5  # tenant, bucket, epoch, epoch of the tenant's key, wrapped key
# What providers that may take long keep in memory all the same, for any thread.
_AT_HAND = frozenset(
    {Verb.STATUS, Verb.ACTIVE_EPOCH, Verb.TENANT_EPOCHS, Verb.HAS_NAMED_KEY, Verb.NAMED_EPOCHS}
)


class KeyService:
    """Answers requests. One at a time: it belongs to the event loop, or to one thread.

    Args:
        keys_leave: bucket keys may be asked for and given in the clear; for suites of providers
            only, no configuration has it.
        allows_v2: Signature Version 2 is computed for any text; for the unsafe test profile.

    Attributes:
        releases: what was given to whom.
        budgets: how much more may be.
    """

    def __init__(
        self,
        provider: KeyProvider,
        cluster_id: bytes,
        env: Env,
        *,
        cache_s: float,
        provider_name: str,
        keys_leave: bool = False,
        allows_v2: bool = False,
        budgets: KeydBudgetsConfig | None = None,
    ) -> None:
        self.provider = provider
        self._keeper = provider if isinstance(provider, WarrantKeeper) else NoWarrants()
        self._buckets = HeldBucketKeys(provider, env)
        self._credentials = HeldCredentials(provider, env)
        self._cluster_id = cluster_id
        self._env = env
        self._cache_s = cache_s
        self._provider_name = provider_name
        self._keys_leave, self._allows_v2 = keys_leave, allows_v2
        self._open: OrderedDict[tuple[Value, ...], tuple[float, HeldBucketKey]] = OrderedDict()
        self._started_s = env.monotonic_s()
        self.releases = Releases()
        self.budgets = KeyBudgets(budgets or KeydBudgetsConfig())
        self.calls: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self._verbs: dict[Verb, Callable[..., Any]] = {
            Verb.HELLO: self._hello,
            Verb.STATUS: self._status,
            Verb.CREATE_TENANT_KEY: provider.create_tenant_key,
            Verb.TENANT_EPOCHS: provider.tenant_epochs,
            Verb.ACTIVE_EPOCH: provider.active_epoch,
            Verb.ADD_TENANT_EPOCH: provider.add_tenant_epoch,
            Verb.SET_TENANT_EPOCH: self._set_tenant_epoch,
            Verb.WRAP_BUCKET_KEY: provider.wrap_bucket_key,
            Verb.UNWRAP_BUCKET_KEY: provider.unwrap_bucket_key,
            Verb.NEW_BUCKET_KEY: self._buckets.new_bucket_key,
            Verb.REWRAP_BUCKET_KEY: self._rewrap_bucket_key,
            Verb.OPEN_BUCKET_KEY: self._open_bucket_key,
            Verb.OPEN_WINDOW: self._open_window,
            Verb.OPEN_UNDER_BUCKET: self._open_under_bucket,
            Verb.RESEAL_UNDER_BUCKET: self._reseal_under_bucket,
            **self._of_names(provider),
            Verb.EXPORT_SEALED: provider.export_sealed,
            Verb.IS_WHOLE: provider.is_whole,
            Verb.IMPORT_SEALED: self._import_sealed,
            Verb.SEAL_CREDENTIAL: self._seal_credential,
            Verb.SIGNING_KEY: self._signing_key,
            Verb.SIGN_V2: self._sign_v2,
            Verb.RESEAL_CREDENTIAL: self._credentials.reseal_credential,
            Verb.APPROVERS: self._keeper.approvers,
            Verb.SET_APPROVERS: self._keeper.set_approvers,
            Verb.SPEND_WARRANT: self._keeper.spend_warrant,
        }
        assert self._verbs.keys() == set(Verb)

    def _of_names(self, provider: KeyProvider) -> dict[Verb, Callable[..., Any]]:
        return {
            Verb.CREATE_NAMED_KEY: provider.create_named_key,
            Verb.HAS_NAMED_KEY: provider.has_named_key,
            Verb.NAMED_KEYS: provider.named_keys,
            Verb.WRAP_NAMED: provider.wrap_named,
            Verb.UNWRAP_NAMED: provider.unwrap_named,
            Verb.NAMED_EPOCHS: provider.named_epochs,
            Verb.ADD_NAMED_EPOCH: provider.add_named_epoch,
            Verb.SET_NAMED_EPOCH: self._set_named_epoch,
        }

    def __repr__(self) -> str:
        return f"KeyService({self._provider_name}, {len(self._open)} open)"

    def answer(self, code: int, payload: bytes, gateway: str = "") -> bytes:
        """The payload of the answer.

        Args:
            gateway: who asks, as his connection has shown.

        Raises: KeydRequestInvalid: no such verb, or not its fields; KeydRefused: not for gateways;
            KeyBudgetSpent; and what the provider raises.
        """
        try:
            verb = Verb(code)
        except ValueError as error:
            raise KeydRequestInvalid(reason="unknown verb", verb=code) from error
        shape = SHAPES[verb]
        try:
            values = decode_fields(shape.request, payload)
        except ProtocolError as error:
            raise KeydRequestInvalid(**error.fields) from error
        self._check(verb, values)
        name = verb.name.lower()
        self.calls[name] += 1
        asker, now_s = Asker(gateway, _tenant_of(verb, values)), self._env.monotonic_s()
        self.budgets.check(verb, asker, now_s)
        found = self._verbs[verb](*values)
        # Before the answer goes: no way out of here leaves no count.
        count = len(_records(values[-1])) if verb is Verb.RESEAL_UNDER_BUCKET else 1
        self.budgets.charge(verb, asker, count, now_s)
        self.releases.add(verb, name, asker, count)
        if len(shape.answer) == 1:
            found = (found,)
        return encode_fields(shape.answer, found or ())

    def is_warm(self, code: int, payload: bytes) -> bool:
        """Whether the answer is made of what is open, or in memory, and waits for no device."""
        if code in _AT_HAND:
            return True
        if code not in _OPENING and code != Verb.RESEAL_UNDER_BUCKET:
            return False
        try:
            values = decode_fields(SHAPES[Verb(code)].request, payload)
        except ProtocolError:
            return True  # refused without the provider
        first, second = values[:_REF_FIELDS], values[_REF_FIELDS : 2 * _REF_FIELDS]
        refs = [first] if code in _OPENING else [first, second]
        # Who asks for the key itself goes on with it for a while: it is opened anew in good time.
        spare_s = self._cache_s / 2 if code == Verb.OPEN_BUCKET_KEY else 0.0
        return all(self._left_s(tuple(ref)) > spare_s for ref in refs)

    def _left_s(self, ref: tuple[Value, ...]) -> float:
        held = self._open.get(ref)
        return 0.0 if held is None else held[0] - self._env.monotonic_s()

    def _check(self, verb: Verb, values: Sequence[Value]) -> None:
        """What providers take for granted of their callers."""
        if verb in _KEY_WAYS and not self._keys_leave:
            raise KeydRefused(verb=verb.name.lower())
        if verb in _OF_TENANTS and len(_raw(values[0])) != TENANT_ID_BYTES:
            raise KeydRequestInvalid(reason="a tenant's id has 16 bytes", verb=verb.name.lower())
        if verb in _OF_BUCKETS and (len(_raw(values[1])) != 16 or values[1] == CREDENTIALS_ID):
            raise KeydRequestInvalid(reason="no id of a bucket", verb=verb.name.lower())
        # Else a secret of one tenant would be opened for another one, out of that one's budget.
        if verb is Verb.RESEAL_UNDER_BUCKET and values[:2] != values[5:7]:
            raise KeydRefused(reason="from one bucket to another", verb=verb.name.lower())
        if any(isinstance(one, str) and len(one) > TEXT_CHARACTERS_MAX for one in values):
            raise KeydRequestInvalid(reason="text too long", verb=verb.name.lower())
        if verb is Verb.CREATE_NAMED_KEY and not 1 <= len(str(values[1]).encode()) <= (
            NAME_BYTES_MAX
        ):
            raise KeydRequestInvalid(reason="name of a key", verb=verb.name.lower())

    def _hello(self, cluster_id: bytes) -> str:
        if cluster_id != self._cluster_id:
            raise KeydOtherCluster(ours=self._cluster_id.hex(), theirs=cluster_id.hex()[:64])
        return self._provider_name

    def _status(self) -> bytes:
        document = {
            "provider": self._provider_name,
            "up_s": round(self._env.monotonic_s() - self._started_s, 3),
            "open_bucket_keys": len(self._open),
            "calls": dict(self.calls),
            "refused": dict(self.refused),
        }
        if isinstance(self.provider, Moves):
            document["move"] = self.provider.move_status()
        return json.dumps(document).encode()

    def _set_tenant_epoch(self, tenant_id: bytes, epoch: int, state: str, warrant: bytes) -> None:
        wanted = _state_of(state)
        try:
            self.provider.set_tenant_epoch(tenant_id, epoch, wanted, warrant)
        finally:  # a token that is away refuses the key from here on, and erases it later
            self._open.clear()

    def _set_named_epoch(
        self, tenant_id: bytes, name: str, epoch: int, state: str, warrant: bytes
    ) -> None:
        self.provider.set_named_epoch(tenant_id, name, epoch, _state_of(state), warrant)

    def _import_sealed(self, sealed: bytes) -> None:
        try:
            self.provider.import_sealed(sealed)
        finally:
            self._open.clear()

    def _rewrap_bucket_key(
        self, tenant: bytes, bucket: bytes, epoch: int, held_epoch: int, wrapped: bytes, to: int
    ) -> bytes:
        return self._buckets.rewrap_bucket_key(tenant, bucket, epoch, wrapped, held_epoch, to)

    def _opened(self, *ref: Any) -> HeldBucketKey:
        """A bucket key, from (tenant, bucket, epoch, epoch of the tenant's key, wrapped)."""
        held = self._open.get(ref)
        if held is not None and held[0] > self._env.monotonic_s():
            return held[1]
        return self._opened_anew(*ref)

    def _opened_anew(self, *ref: Any) -> HeldBucketKey:
        now_s = self._env.monotonic_s()
        tenant, bucket, epoch, tenant_epoch, wrapped = ref
        key = self._buckets.bucket_sealer(tenant, bucket, epoch, wrapped, tenant_epoch)
        self._open[ref] = (now_s + self._cache_s, key)
        self._open.move_to_end(ref)
        if len(self._open) > OPEN_KEYS_MAX:
            self._open.popitem(last=False)
        return key

    def drop_expired(self) -> None:
        """Forget the bucket keys whose time is over, the oldest first."""
        now_s = self._env.monotonic_s()
        while self._open:
            ref, held = next(iter(self._open.items()))
            if held[0] > now_s:
                return
            del self._open[ref]

    def _open_bucket_key(self, *ref: Any) -> bytes:
        """The second half of its time a key that is asked for is opened anew, so that one in use
        stays open; where the device is away, the one that is open does.
        """
        if 0.0 < self._left_s(ref) <= self._cache_s / 2:
            try:
                return self._opened_anew(*ref).record_key
            except StorageError as error:
                if error.kind not in RETRYABLE:
                    raise
        return self._opened(*ref).record_key

    def _open_window(self, *ref: Any) -> tuple[bytes, bytes]:
        window_id = self._env.random_bytes(WINDOW_ID_BYTES)
        return window_id, self._opened(*ref).window_key(window_id)

    def _open_under_bucket(self, *fields: Any) -> bytes:
        *ref, label, context, record = fields
        _check_label(label)
        return self._opened(*ref).open(label, context, record)

    def _reseal_under_bucket(self, *fields: Any) -> list[bytes]:
        """Under a window of the new key, as gateways themselves do it; b"" for what does not open.
        No secret leaves.
        """
        label, before, after, tails, records = fields[10:]
        if len(tails) != len(records):
            raise KeydRequestInvalid(reason="lists of different lengths")
        if len(records) > RESEALED_MAX:
            raise KeydRequestInvalid(reason="too many records", records_max=RESEALED_MAX)
        _check_label(label)
        old, new = self._opened(*fields[:5]), self._opened(*fields[5:10])
        wanted = Reseal(old, new, label, (before, after), tails, records)
        return [record or b"" for record in self._buckets.reseal(wanted)]

    def _seal_credential(self, tenant_id: bytes, access_key_id: str, secret: str) -> bytes:
        if len(secret.encode("utf-8", "surrogatepass")) > SECRET_BYTES_MAX:
            raise KeydRequestInvalid(reason="secret too long")
        return self._credentials.seal_credential(tenant_id, access_key_id, secret)

    def _signing_key(
        self,
        tenant_id: bytes,
        access_key_id: str,
        sealed: bytes,
        date: str,
        region: str,
        service: str,
    ) -> bytes:
        day = self._env.now_ms() // DAY_MS
        allowed = (_date_of(day + ahead) for ahead in range(-DAYS_BACK, DAYS_AHEAD + 1))
        if date not in allowed:
            raise SigningDayRefused(date=date[:8])
        scope = Scope(date, region, service)
        return self._credentials.signing_key(tenant_id, access_key_id, sealed, scope)

    def _sign_v2(self, tenant_id: bytes, access_key_id: str, sealed: bytes, text: bytes) -> bytes:
        if not self._allows_v2:
            raise KeydRefused(reason="Signature Version 2")
        return self._credentials.sign_v2(tenant_id, access_key_id, sealed, text)


_WITHOUT_TENANT = frozenset({Verb.HELLO, Verb.IS_WHOLE, Verb.IMPORT_SEALED, Verb.SET_APPROVERS})
_OF_TENANTS = frozenset(
    verb for verb in Verb if SHAPES[verb].request[:1] == "b" and verb not in _WITHOUT_TENANT
)
_OF_BUCKETS = frozenset(
    {
        Verb.WRAP_BUCKET_KEY,
        Verb.UNWRAP_BUCKET_KEY,
        Verb.NEW_BUCKET_KEY,
        Verb.REWRAP_BUCKET_KEY,
        Verb.OPEN_BUCKET_KEY,
        Verb.OPEN_WINDOW,
        Verb.OPEN_UNDER_BUCKET,
        Verb.RESEAL_UNDER_BUCKET,
    }
)
assert TENANT_ID_BYTES == 16


def _raw(value: Value) -> bytes:
    assert isinstance(value, bytes)
    return value


def _records(value: Value) -> list[Any]:
    assert isinstance(value, list)
    return value


def _tenant_of(verb: Verb, values: Sequence[Value]) -> bytes:
    return _raw(values[0]) if verb in _OF_TENANTS else b""


def _state_of(text: str) -> KeyState:
    try:
        return KeyState(text)
    except ValueError as error:
        raise KeydRequestInvalid(reason="no state of a key") from error


def _check_label(label: str) -> None:
    if label not in LABELS:
        raise KeydRefused(label=label[:64])


def _date_of(day: int) -> str:
    """A day since the epoch as YYYYMMDD."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y%m%d")
