"""The form parser: wherever a body is cut the same comes out, and any bytes are form or refusal."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.s3.errors import S3Error
from gateway.s3.post_form import (
    FIELDS_BYTES_MAX,
    FileBegins,
    FileContent,
    FileEnds,
    FormField,
    FormParser,
    boundary_of,
)

BOUNDARY = b"XyZ"
REFUSALS = {"MalformedPOSTRequest", "InvalidArgument", "MaxPostPreDataLengthExceededError"}


def part(name: str, value: bytes, more: str = "") -> bytes:
    head = f'--XyZ\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def read(pieces: list[bytes]) -> tuple[list[tuple[str, str]], str, int, bytes]:
    """(fields, file name, offset of the file, its content) of a whole form."""
    parser, fields, content = FormParser(BOUNDARY), [], b""
    begun: FileBegins | None = None
    has_ended, offset = False, 0
    for piece in pieces:
        for event in parser.feed(piece):
            match event:
                case FormField():
                    fields.append((event.name, event.value))
                case FileBegins():
                    begun = event
                case FileContent():
                    assert not has_ended
                    content += event.piece
                case FileEnds():
                    has_ended = True
        offset += len(piece)
    parser.finish()
    assert begun is not None
    return fields, begun.file_name, begun.offset, content


def cut(body: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({min(index, len(body)) for index in at} | {0, len(body)})
    return [body[start:end] for start, end in pairwise(ends)]


@given(
    content=st.binary(max_size=200) | st.sampled_from([b"\r\n", b"\r\n--", b"\r\n--Xy", b"-" * 40]),
    ending=st.sampled_from([b"--XyZ--", b"--XyZ--\r\n", b"--XyZ \t\r\nanything at all"]),
    at=st.lists(st.integers(0, 400)),
)
def test_a_form_is_the_same_wherever_it_is_cut(
    content: bytes, ending: bytes, at: list[int]
) -> None:
    body = (
        part("Key", "é".encode())
        + part("empty", b"", '; filename="x"')
        + part("file", content, '; filename="a \\"b\\".txt"\r\nContent-Type: text/plain')
    )
    offset = len(body) - 2 - len(content)
    fields, file_name, found_at, found = read(cut(body + ending, at))
    assert fields == [("key", "é"), ("empty", "")]
    assert file_name == 'a "b".txt'
    assert (found_at, found) == (offset, content)


@given(content=st.binary(max_size=300), at=st.integers(0, 300))
def test_the_last_of_the_file_comes_last(content: bytes, at: int) -> None:
    parser, given_out = FormParser(BOUNDARY), 0
    parser.feed(part("file", b"")[:-2])
    for event in parser.feed((content + b"\r\n--XyZ--")[:at]):
        match event:
            case FileContent():
                given_out += len(event.piece)
            case FileEnds():
                return
    assert given_out < len(content) or not content


@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from(
            [
                b"--XyZ",
                b"\r\n--XyZ",
                b"--XyZ--",
                b"\r\n",
                b'Content-Disposition: form-data; name="',
                b'"; filename="',
                b"name=file",
                b'"\r\n\r\n',
                b'\\"',
                b";",
                b"\xff",
            ]
        ),
        max_size=24,
    )
)
def test_any_bytes_are_a_form_or_refused(pieces: list[bytes]) -> None:
    try:
        cut_result = read(pieces)
    except S3Error as error:
        assert error.code in REFUSALS
        return
    assert cut_result == read([b"".join(pieces)])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedPOSTRequest"),
        (b"--XyZ--\r\n", "InvalidArgument"),
        (part("key", b"k") + b"--XyZ--", "InvalidArgument"),
        (part("file", b"content")[:-2], "MalformedPOSTRequest"),
        (part("file", b"content") + b"--XyZ", "MalformedPOSTRequest"),
        (part("file", b"content") + b"--XyZw--", "MalformedPOSTRequest"),
        (b"--XyZ\r\n\r\nvalue\r\n--XyZ--", "MalformedPOSTRequest"),
        (b"--XyZ\r\nContent-Disposition: form-data\r\n\r\n", "MalformedPOSTRequest"),
        (b"--XyZ\r\nContent-Disposition: attachment; name=a\r\n\r\n", "MalformedPOSTRequest"),
        (
            b"--XyZ\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\n",
            "MalformedPOSTRequest",
        ),
        (b"--XyZ\r\nno colon\r\n\r\n", "MalformedPOSTRequest"),
        (part("key", b"\xff") + b"--XyZ", "MalformedPOSTRequest"),
        (part("key", bytes(FIELDS_BYTES_MAX)), "MaxPostPreDataLengthExceededError"),
        (b"x" * (FIELDS_BYTES_MAX + 8), "MaxPostPreDataLengthExceededError"),
        (part("x", b"") * 400, "MaxPostPreDataLengthExceededError"),
    ],
)
def test_forms_that_are_refused(body: bytes, code: str) -> None:
    with pytest.raises(S3Error) as error:
        read([body])
    assert error.value.code == code


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=----WebKitFormBoundaryAbc1", b"----WebKitFormBoundaryAbc1"),
        ('Multipart/Form-Data;charset=utf-8; Boundary="a b:c"', b"a b:c"),
    ],
)
def test_boundaries(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("", "PreconditionFailed"),
        ("text/plain; boundary=x", "PreconditionFailed"),
        ("multipart/form-data", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=", "MalformedPOSTRequest"),
        ("multipart/form-data; boundary=" + "x" * 71, "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="é"', "MalformedPOSTRequest"),
        ('multipart/form-data; boundary="x" y', "MalformedPOSTRequest"),
    ],
)
def test_content_types_that_are_refused(content_type: str, code: str) -> None:
    with pytest.raises(S3Error) as error:
        boundary_of(content_type)
    assert error.value.code == code


@given(st.text(max_size=80))
def test_any_content_type_has_a_boundary_or_is_refused(text: str) -> None:
    for content_type in (text, "multipart/form-data;" + text):
        try:
            assert 1 <= len(boundary_of(content_type)) <= 70
        except S3Error as error:
            assert error.code in {"PreconditionFailed", "MalformedPOSTRequest"}
