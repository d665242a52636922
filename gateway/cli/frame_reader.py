"""Frames and contents that the admin port answers, as the command reads them.

Not for what they mean (`gateway.admin.frames` has the form).
"""

from __future__ import annotations

from http.client import HTTPResponse
from io import BufferedReader

from gateway.admin.frames import HEAD_BYTES, Document, decode_object, frame_length
from storaged.base.errors import ProtocolError

READ_BYTES = 1024 * 1024


def buffered(answer: HTTPResponse) -> BufferedReader:
    """A stream that is read in small pieces without a call of the system for each."""
    return BufferedReader(answer, READ_BYTES)


def read_frame(response: BufferedReader) -> Document:
    """The next object of a stream. Raises: ProtocolError."""
    length = frame_length(exactly(response, HEAD_BYTES))
    return decode_object(exactly(response, length))


def exactly(response: BufferedReader, length: int) -> bytes:
    """So many bytes of a stream. Raises: ProtocolError."""
    found = response.read(length)
    if len(found) != length:
        raise ProtocolError(reason="the gateway hung up in the middle")
    return found
