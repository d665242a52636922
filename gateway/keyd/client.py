"""Calls to the key service, with a deadline, and what happens while it does not answer.

Calls block. A warm one takes some 50 µs over the Unix socket, so `apart` makes it on the event
loop, but waits there for HASTE_S only, and for nothing while another call is slow: then a thread
goes on, so that a key that takes long delays who needs it and nobody else.

A call that fails opens a circuit: from then on all calls fail at once, while a thread tries to
reach the key service again. A slow key alone does not: where a call's time is over in a thread, and
the key service greets, only that call has failed.

A connection that turns out dead was closed by a key service that was restarted: the call is made
once more, over a new one. All verbs can be repeated; see the port.

Not for what is asked for: `gateway.keyd.keys`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from gateway.keyd.line import Connect, Line, unavailable
from gateway.keyd.refusals import KeydUnavailable
from gateway.keyd.wire import SHAPES, Value, Verb, decode_fields, encode_fields
from storaged.base.env import Env
from storaged.base.errors import ProtocolError, StorageError
from storaged.base.log import Log

IDLE_LINES_MAX = 8
SLOW_DEADLINE_S = 3.0  # verbs that make a key durable, or carry all of them: the loop waits
PROBE_FIRST_S, PROBE_MAX_S = 0.1, 0.5
HASTE_S = 0.002  # the event loop waits so long for an answer that should be there at once
GREETING_S = 0.5  # for a key service to show that it is only a key that is slow
THREADS_MAX = 16
APART_MAX = 1024  # calls that wait, in threads or for one

_SLOW = frozenset(
    {
        Verb.CREATE_TENANT_KEY,
        Verb.ADD_TENANT_EPOCH,
        Verb.SET_TENANT_EPOCH,
        Verb.CREATE_NAMED_KEY,
        Verb.ADD_NAMED_EPOCH,
        Verb.SET_NAMED_EPOCH,
        Verb.EXPORT_SEALED,
        Verb.IS_WHOLE,
        Verb.IMPORT_SEALED,
        Verb.SET_APPROVERS,
        Verb.SPEND_WARRANT,
    }
)
_LOG = Log("gateway.keyd")


T = TypeVar("T")


class _Asked(NamedTuple):
    """A request that was sent and not answered yet."""

    verb: Verb
    payload: bytes
    line: Line
    until_s: float


class _TakesLong(Exception):
    """An answer is not there at once. Never seen outside of this module."""

    def __init__(self, asked: _Asked | None) -> None:
        self.asked = asked


class _OfThread(threading.local):
    """How calls of one thread are made: in haste, or in a thread for what takes long; and the
    request that was begun in haste, which that thread ends.
    """

    is_hasty = False
    is_apart = False
    begun: _Asked | None = None


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
        self._here = _OfThread()
        self._threads: ThreadPoolExecutor | None = None
        self._apart = 0
        self.calls = KeydCalls()
        self.on_refused: Callable[[StorageError], None] | None = None  # in any thread
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
        begun, self._here.begun = self._here.begun, None
        started_s = self._env.monotonic_s()
        try:
            if begun is not None:
                if (begun.verb, begun.payload) == (verb, payload):
                    return self._ended(begun)
                begun.line.close()  # another one is wanted by now
            return self._call(verb, payload)
        except StorageError as error:
            with self._lock:
                self.calls.errors[type(error).__name__] += 1
            if self.on_refused is not None:
                self.on_refused(error)
            raise
        finally:
            with self._lock:
                self.calls.by_verb[verb.name.lower()] += begun is None
                self.calls.seconds += self._env.monotonic_s() - started_s

    async def apart(self, call: Callable[[], T], *, is_long: bool = False) -> T:
        """What a function that calls the key service returns; only who awaits this waits for it.

        It is begun here, and goes on in a thread where that takes long: then the function is called
        once more, and finds the answer to the call it had made, if it makes the same one again.

        Args:
            is_long: it is not begun here.

        Raises: as the function; KeydUnavailable: too many wait.
        """
        if self.down_because:
            return call()  # fails at once
        begun: _Asked | None = None
        if not is_long and not self._apart and self._idle:
            self._here.is_hasty = True
            try:
                return call()
            except _TakesLong as slow:
                begun = slow.asked
            finally:
                self._here.is_hasty = False
        if self._apart >= APART_MAX or self._closing.is_set():
            if begun is not None:
                begun.line.close()
            raise KeydUnavailable(reason="too many calls wait", calls_max=APART_MAX)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="keyd")
        loop = asyncio.get_running_loop()
        self._apart += 1
        ended = loop.run_in_executor(self._threads, self._in_thread, begun, call)
        ended.add_done_callback(self._one_less)
        return await ended

    def _one_less(self, _: object) -> None:
        self._apart -= 1

    def _in_thread(self, begun: _Asked | None, call: Callable[[], T]) -> T:
        here = self._here
        here.begun, here.is_apart = begun, True
        try:
            return call()
        finally:
            here.is_apart = False
            if here.begun is not None:  # the function asked for nothing, this time
                here.begun.line.close()
                here.begun = None

    def _call(self, verb: Verb, payload: bytes) -> bytes:
        if self.down_because:
            raise KeydUnavailable(reason=self.down_because)
        deadline_s = SLOW_DEADLINE_S if verb in _SLOW else self._deadline_s
        line = self._take_idle()
        if line is not None:
            try:
                return self._over(line, verb, payload, deadline_s)
            except TimeoutError as error:
                raise self._timed_out(error) from error
            except (OSError, ProtocolError):
                self._drop_idle()
        if self._here.is_hasty:
            raise _TakesLong(None)
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
        except TimeoutError as error:
            raise self._timed_out(error) from error
        except (OSError, ProtocolError) as error:
            raise self._trip(error) from error

    def _over(self, line: Line, verb: Verb, payload: bytes, deadline_s: float) -> bytes:
        until_s = self._env.monotonic_s() + deadline_s
        try:
            line.ask(verb, payload, deadline_s)
            if self._here.is_hasty:
                return self._at_once(_Asked(verb, payload, line, until_s))
            answer = line.answered(until_s)
        except (OSError, ProtocolError):
            line.close()
            raise
        except StorageError:
            self._give_back(line)
            raise
        self._give_back(line)
        return answer

    def _at_once(self, asked: _Asked) -> bytes:
        """Raises: _TakesLong, and as `Line.answered`, but for TimeoutError."""
        try:
            answer = asked.line.answered(self._env.monotonic_s() + HASTE_S)
        except TimeoutError:
            raise _TakesLong(asked) from None
        self._give_back(asked.line)
        return answer

    def _ended(self, asked: _Asked) -> bytes:
        """The answer to what was asked in haste. Raises: as call."""
        line = asked.line
        try:
            answer = line.answered(asked.until_s)
        except TimeoutError as error:
            line.close()
            raise self._timed_out(error) from error
        except (OSError, ProtocolError):
            line.close()
            return self._call(asked.verb, asked.payload)  # it was restarted: see above
        except StorageError:
            self._give_back(line)
            raise
        self._give_back(line)
        return answer

    def _timed_out(self, error: TimeoutError) -> KeydUnavailable:
        """What a call has failed with whose time is over."""
        return unavailable(error) if self._here.is_apart and self._greets() else self._trip(error)

    def _greets(self) -> bool:
        """The key service answers: it is only a key that takes long."""
        try:
            line = Line(self._connect(GREETING_S), self._cluster_id, self._env, GREETING_S)
        except (OSError, StorageError):
            return False
        self._give_back(line)
        return True

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
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        self._drop_idle()
