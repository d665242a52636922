"""Calls to the key service, with a deadline, and what happens while it does not answer.

Calls block: a warm one takes some 50 µs over the Unix socket, so they are made on the event loop,
but never wait longer than their deadline. One that fails opens a circuit: from then on all calls
fail at once, while a thread tries to reach the key service again.

A connection that turns out dead was closed by a key service that was restarted: the call is made
once more, over a new one. All verbs can be repeated; see the port.

Not for what is asked for: `gateway.keyd.keys`.
"""

from __future__ import annotations

import threading
from collections import Counter

from gateway.keyd.line import Connect, Line, unavailable
from gateway.keyd.refusals import KeydUnavailable
from gateway.keyd.wire import SHAPES, Value, Verb, decode_fields, encode_fields
from storaged.base.env import Env
from storaged.base.errors import ProtocolError, StorageError
from storaged.base.log import Log

IDLE_LINES_MAX = 8
SLOW_DEADLINE_S = 3.0  # verbs that make a key durable, or carry all of them: the loop waits
PROBE_FIRST_S, PROBE_MAX_S = 0.1, 0.5

_SLOW = frozenset(
    {
        Verb.CREATE_TENANT_KEY,
        Verb.ADD_TENANT_EPOCH,
        Verb.SET_TENANT_EPOCH,
        Verb.CREATE_NAMED_KEY,
        Verb.EXPORT_SEALED,
        Verb.IS_WHOLE,
        Verb.IMPORT_SEALED,
        Verb.SET_APPROVERS,
        Verb.SPEND_WARRANT,
    }
)
_LOG = Log("gateway.keyd")


class KeydCalls:
    """What calls there were: for status and metrics."""

    __slots__ = ("by_verb", "errors", "seconds")

    def __init__(self) -> None:
        self.by_verb: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.seconds = 0.0


class KeydClient:
    """Calls to a key service. Any thread may call.

    Args:
        connect: makes connections.
        deadline_s: how long a call may take, but for those of _SLOW.
    """

    def __init__(self, connect: Connect, cluster_id: bytes, env: Env, *, deadline_s: float) -> None:
        self._connect = connect
        self._cluster_id = cluster_id
        self._env = env
        self._deadline_s = deadline_s
        self._idle: list[Line] = []
        self._lock = threading.Lock()
        self._prober: threading.Thread | None = None
        self._closing = threading.Event()
        self.calls = KeydCalls()
        self.down_because = ""

    def __repr__(self) -> str:
        return f"KeydClient({'down' if self.is_down else 'up'})"

    @property
    def is_down(self) -> bool:
        """Calls fail at once."""
        return bool(self.down_because)

    def call(self, verb: Verb, *values: Value) -> list[Value]:
        """Fields of the answer. Raises: KeydUnavailable, and what the key service refuses with."""
        shape = SHAPES[verb]
        payload = self.call_raw(verb, encode_fields(shape.request, values))
        try:
            return decode_fields(shape.answer, payload)
        except ProtocolError as error:
            raise KeydUnavailable(reason="answer of another shape") from error

    def call_raw(self, verb: Verb, payload: bytes) -> bytes:
        """The payload of the answer. Raises: as call."""
        self.calls.by_verb[verb.name.lower()] += 1
        started_s = self._env.monotonic_s()
        try:
            return self._call(verb, payload)
        except StorageError as error:
            self.calls.errors[type(error).__name__] += 1
            raise
        finally:
            self.calls.seconds += self._env.monotonic_s() - started_s

    def _call(self, verb: Verb, payload: bytes) -> bytes:
        if self.down_because:
            raise KeydUnavailable(reason=self.down_because)
        deadline_s = SLOW_DEADLINE_S if verb in _SLOW else self._deadline_s
        line = self._take_idle()
        if line is not None:
            try:
                return self._over(line, verb, payload, deadline_s)
            except TimeoutError as error:
                raise self._trip(error) from error
            except (OSError, ProtocolError):
                self._drop_idle()
        try:
            line = Line(self._connect(deadline_s), self._cluster_id, self._env, deadline_s)
        except (OSError, ProtocolError) as error:
            raise self._trip(error) from error
        except StorageError as error:
            # It is another one, or does not let us in: no use to ask again at every request.
            self._trip(error)
            raise
        try:
            return self._over(line, verb, payload, deadline_s)
        except (OSError, ProtocolError) as error:
            raise self._trip(error) from error

    def _over(self, line: Line, verb: Verb, payload: bytes, deadline_s: float) -> bytes:
        try:
            answer = line.call(verb, payload, deadline_s)
        except (OSError, ProtocolError):
            line.close()
            raise
        except StorageError:
            self._give_back(line)
            raise
        self._give_back(line)
        return answer

    def _take_idle(self) -> Line | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _give_back(self, line: Line) -> None:
        if len(self._idle) < IDLE_LINES_MAX and not self._closing.is_set():
            self._idle.append(line)
        else:
            line.close()

    def _drop_idle(self) -> None:
        while (line := self._take_idle()) is not None:
            line.close()

    def _trip(self, error: Exception) -> KeydUnavailable:
        """Have calls fail at once until the key service is there again."""
        failed = unavailable(error)
        with self._lock:
            self.down_because = type(error).__name__
            if self._prober is None and not self._closing.is_set():
                _LOG.warning("key service does not answer", reason=self.down_because)
                self._prober = threading.Thread(target=self._probe, name="keyd-probe", daemon=True)
                self._prober.start()
        return failed

    def _probe(self) -> None:
        wait_s = PROBE_FIRST_S
        while not self._closing.wait(wait_s):
            try:
                line = Line(
                    self._connect(self._deadline_s), self._cluster_id, self._env, self._deadline_s
                )
            except (OSError, StorageError) as error:
                self.down_because = type(error).__name__
                wait_s = min(PROBE_MAX_S, wait_s * 1.5)
                continue
            self._drop_idle()
            with self._lock:
                self._prober = None
                self.down_because = ""
            self._give_back(line)
            _LOG.warning("key service answers again")
            return

    def close(self) -> None:
        """Idempotent."""
        self._closing.set()
        prober = self._prober
        if prober is not None:
            prober.join()
        self._drop_idle()
