"""Forms in whatever pieces: the file comes out whole, with its length before its last piece."""

from __future__ import annotations

import asyncio
from typing import cast

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.limits import SMALL_BODY_BYTES_MAX
from gateway.s3.body import BodyPace, BodyPromise, RequestBody
from gateway.s3.errors import S3Error
from gateway.s3.post_form_body import AFTER_BYTES_MAX, FormBody, FormReader
from gateway.s3.post_form_policy import NO_POLICY
from storaged.base.errors import StorageError

HEAD = b'--B\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
LARGE = SMALL_BODY_BYTES_MAX + AFTER_BYTES_MAX


class Pieces:
    """A connection's body that comes in pieces of a size."""

    def __init__(self, content: bytes, piece_bytes: int) -> None:
        self.total_bytes = len(content)
        self._content = content
        self._piece_bytes = piece_bytes

    async def readchunk(self) -> tuple[bytes, bool]:
        piece = self._content[: self._piece_bytes]
        self._content = self._content[self._piece_bytes :]
        return piece, False

    def is_eof(self) -> bool:
        return True

    def at_eof(self) -> bool:
        return not self._content

    def set_exception(self, exc: BaseException) -> None:
        raise AssertionError


def body_of(form: bytes, piece_bytes: int) -> RequestBody:
    return RequestBody(
        Pieces(form, piece_bytes),
        BodyPromise(length=len(form), md5=None, sha256=None, checksum=None),
        decoder=None,
        on_first_read=lambda: None,
        broken=ConnectionError,
        pace=BodyPace(),
    )


async def read(form: bytes, piece_bytes: int) -> bytes:
    """The file, while what FormBody promises of its length is checked."""
    reader = FormReader(body_of(form, piece_bytes), b"B")
    await reader.fields()
    promise = BodyPromise(length=0, md5=None, sha256=None, checksum=None)
    body = FormBody(reader, promise, NO_POLICY)
    await body.begin()
    is_small = body.length <= SMALL_BODY_BYTES_MAX
    said, read_bytes, content = body.length, 0, []
    while piece := await body.read():
        assert body.length <= said and (body.length == said or not is_small)
        said = body.length
        assert read_bytes < said, "the length shrank to what was given out already"
        read_bytes += len(piece)
        content.append(bytes(piece))
    assert said == body.length == read_bytes, "the length is exact when the last piece has come"
    return b"".join(content)


@given(
    length=st.integers(0, 3 * AFTER_BYTES_MAX) | st.integers(LARGE - 99, LARGE + 99),
    after=st.integers(0, 300) | st.integers(0, AFTER_BYTES_MAX - 99),
    piece_bytes=st.integers(500, 70_000),
)
@example(length=LARGE + 65_536, after=AFTER_BYTES_MAX - 99, piece_bytes=65_536)
def test_files_come_out_whole(length: int, after: int, piece_bytes: int) -> None:
    content = b"0123456789abcdef\r\n--"[: length % 21] + bytes(length - min(length, length % 21))
    content = content[:length]
    form = HEAD + content + b"\r\n--B\r\n" + b"x" * after + b"\r\n--B--"
    assert asyncio.run(read(form, piece_bytes)) == content


@given(
    form=st.lists(
        st.sampled_from([HEAD, b"--B", b"\r\n--B", b"--", b"\r\n", b"x" * 5000]) | st.binary(),
        max_size=12,
    ).map(b"".join),
    piece_bytes=st.integers(1, 9000),
)
def test_any_body_ends_in_a_file_or_a_refusal(form: bytes, piece_bytes: int) -> None:
    async def attempt() -> None:
        async with asyncio.timeout(5):
            await read(form, piece_bytes)

    try:
        asyncio.run(attempt())
    except S3Error as error:
        assert error.code in {
            "MalformedPOSTRequest",
            "InvalidArgument",
            "MaxPostPreDataLengthExceededError",
        }
    except StorageError as error:
        raise AssertionError(cast(object, error)) from error
