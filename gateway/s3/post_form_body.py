"""The file of a POST form as the body of a put: its content, and its length once that is known.

Not for fields. The length of a form says at most how long its file is, as fields that nobody looks
at may follow it. A small form is read whole before the put begins; of a large one the length
becomes exact before its last piece is given out.

Source: Amazon S3 API Reference, "POST Object".
"""

from __future__ import annotations

from collections import deque

from gateway.limits import SMALL_BODY_BYTES_MAX
from gateway.model.errors import EntityTooLarge, EntityTooSmall
from gateway.objects.body import Buffer
from gateway.s3.body import BodyPace, BodyPromise, NothingReceived, RequestBody
from gateway.s3.post_form import Event, FileBegins, FileContent, FileEnds, FormField, FormParser
from gateway.s3.post_form import malformed as refuse
from gateway.s3.post_form_policy import Policy

AFTER_BYTES_MAX = 64 * 1024  # what may follow the file: the names and values of buttons


class FormReader:
    """One form on its way in: its fields, then its file."""

    def __init__(self, source: RequestBody, boundary: bytes) -> None:
        self._source = source
        self._parser = FormParser(boundary)
        self._ending_bytes = len(boundary) + 6  # of the shortest end of a form: CRLF--boundary--
        self.pieces: deque[memoryview] = deque()
        self.has_ended = False
        self.file_bytes = 0  # of the file, as far as it has been seen
        self.file_bytes_max = 0  # as the length of the form allows it
        self.file_is_whole = False

    async def fields(self) -> tuple[list[FormField], str]:
        """(fields before the file, name of the file). Raises S3Error: as FormParser."""
        found: list[FormField] = []
        while True:
            events = await self._more()
            for index, event in enumerate(events):
                match event:
                    case FormField():
                        found.append(event)
                    case FileBegins():
                        self.file_bytes_max = max(
                            0, self._source.length - event.offset - self._ending_bytes
                        )
                        self._keep(events[index + 1 :])
                        return found, event.file_name
            if self.has_ended:
                refuse()

    @property
    def may_be_whole(self) -> bool:
        """What has not been read of the form may be all that follows the file."""
        remaining = self._source.length - self._source.content_bytes
        return self.file_is_whole or remaining <= AFTER_BYTES_MAX

    async def read_on(self) -> None:
        """Take one more piece. Raises S3Error: MalformedPOSTRequest; whatever the body raises."""
        self._keep(await self._more())

    async def _more(self) -> list[Event]:
        piece = await self._source.read()
        if piece:
            return self._parser.feed(piece)
        self._parser.finish()
        self.has_ended = True
        return []

    def _keep(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case FileContent():
                    self.pieces.append(event.piece)
                    self.file_bytes += len(event.piece)
                case FileEnds():
                    self.file_is_whole = True
                    if self.file_bytes_max - self.file_bytes > AFTER_BYTES_MAX:
                        refuse()


class FormBody(RequestBody):
    """The file of a form. `begin`, then as any body."""

    __slots__ = ("_policy", "_reader")

    def __init__(self, reader: FormReader, promise: BodyPromise, policy: Policy) -> None:
        """A body of the file that `reader` has come to.

        Args:
            promise: what the fields of the form say about the file; its length is set here.
        """
        promise.length = reader.file_bytes_max
        super().__init__(
            NothingReceived(),
            promise,
            decoder=None,
            on_first_read=lambda: None,
            broken=ConnectionError,
            pace=BodyPace(),
        )
        self._reader = reader
        self._policy = policy

    async def begin(self) -> None:
        """Read a small form whole; refuse a large one that is too large whatever its end.

        Raises:
            EntityTooLarge, EntityTooSmall: by the policy. Whatever `read` raises.
        """
        reader, policy = self._reader, self._policy
        least = reader.file_bytes_max - AFTER_BYTES_MAX
        if policy.most_bytes is not None and least > policy.most_bytes:
            raise EntityTooLarge(proposed_bytes=reader.file_bytes_max, max_bytes=policy.most_bytes)
        if least <= SMALL_BODY_BYTES_MAX:
            while not reader.has_ended:
                await reader.read_on()
            self._measure()

    async def read(self) -> Buffer:
        reader = self._reader
        # What may be the end of the form is read before the last of the file is given out.
        while not reader.has_ended and (not reader.pieces or reader.may_be_whole):
            await reader.read_on()
            if reader.has_ended:
                self._measure()
        return reader.pieces.popleft() if reader.pieces else b""

    def _measure(self) -> None:
        """The length is known. Raises EntityTooLarge, EntityTooSmall."""
        length, policy = self._reader.file_bytes, self._policy
        self.length = length
        if policy.most_bytes is not None and length > policy.most_bytes:
            raise EntityTooLarge(proposed_bytes=length, max_bytes=policy.most_bytes)
        if policy.least_bytes is not None and length < policy.least_bytes:
            raise EntityTooSmall(proposed_bytes=length, min_bytes=policy.least_bytes)
