"""aws-chunked: AWS's published bodies, every cut, and every way of being refused."""

from __future__ import annotations

import hmac
import itertools
from dataclasses import dataclass
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.s3.aws_chunked import LINE_MAX_BYTES, ChunkDecoder, Data, End, Trailers
from gateway.s3.errors import S3Error
from gateway.s3.sigv4 import Authorized, PayloadMode, derive_signing_key

AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SIGNED = PayloadMode.STREAMING_SIGNED
SIGNED_TRAILER = PayloadMode.STREAMING_SIGNED_TRAILER
UNSIGNED_TRAILER = PayloadMode.STREAMING_UNSIGNED_TRAILER


def seed_of(signature: str, mode: PayloadMode = SIGNED) -> Authorized:
    return Authorized(
        access_key_id="AKIAIOSFODNN7EXAMPLE",
        region="us-east-1",
        payload_mode=mode,
        content_sha256=None,
        seed_signature=signature,
        signing_key=derive_signing_key(AWS_SECRET, date="20130524", region="us-east-1"),
        scope="20130524/us-east-1/s3/aws4_request",
        amz_date="20130524T000000Z",
        presigned=False,
    )


@dataclass
class Outcome:
    content: bytes = b""
    trailers: dict[str, str] | None = None
    ended: bool = False
    code: str = ""


def decode(
    body: bytes,
    mode: PayloadMode,
    *,
    decoded_bytes: int,
    trailer_names: tuple[str, ...] = (),
    seed: Authorized | None = None,
    cuts: list[int] | None = None,
) -> Outcome:
    outcome = Outcome()
    at = sorted({0, len(body), *(cuts or [])})
    try:
        decoder = ChunkDecoder(
            mode=mode, seed=seed, decoded_bytes=decoded_bytes, trailer_names=trailer_names
        )
        for start, end in itertools.pairwise(at):
            for event in decoder.feed(body[start:end]):
                match event:
                    case Data():
                        outcome.content += event.piece
                    case Trailers():
                        outcome.trailers = event.fields
                    case End():
                        outcome.ended = True
        decoder.finish()
    except S3Error as error:
        outcome.code = error.code
    return outcome


def link(seed: Authorized, kind: str, previous: str, rest: str) -> str:
    text = f"AWS4-HMAC-SHA256-{kind}\n{seed.amz_date}\n{seed.scope}\n{previous}\n{rest}"
    return hmac.digest(seed.signing_key, text.encode(), "sha256").hex()


def signed_body(
    chunks: list[bytes],
    seed: Authorized,
    trailers: list[tuple[str, str]] | None = None,
    *,
    blank: bool = False,
) -> bytes:
    """A body as a signing client sends it; its own statement of the chain, not the decoder's."""
    body, previous = b"", seed.seed_signature
    for chunk in [*chunks, b""]:
        rest = f"{sha256(b'').hexdigest()}\n{sha256(chunk).hexdigest()}"
        previous = link(seed, "PAYLOAD", previous, rest)
        body += b"%x;chunk-signature=%s\r\n" % (len(chunk), previous.encode())
        body += chunk + b"\r\n" if chunk else b""
    if trailers is None:
        return body + b"\r\n"
    lines = "".join(f"{name}:{value}\n" for name, value in trailers)
    previous = link(seed, "TRAILER", previous, sha256(lines.encode()).hexdigest())
    for name, value in trailers:
        body += f"{name}:{value}".encode() + (b"\n\r\n" if blank else b"\r\n")
    return body + b"x-amz-trailer-signature:" + previous.encode() + b"\r\n\r\n"


def unsigned_body(chunks: list[bytes], trailers: list[tuple[str, str]]) -> bytes:
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n"
    return body + b"".join(f"{n}:{v}\r\n".encode() for n, v in trailers) + b"\r\n"


# --- AWS's own examples -----------------------------------------------------------------------

AWS_SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
AWS_CHUNKS = [
    "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
]
AWS_TRAILER_SEED = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
AWS_TRAILER_CHUNKS = [
    "b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    "1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    "2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
]
AWS_TRAILER = "d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"


def aws_body(signatures: list[str]) -> bytes:
    chunks = [b"a" * 65536, b"a" * 1024, b""]
    lines = []
    for chunk, signature in zip(chunks, signatures, strict=True):
        lines.append(b"%x;chunk-signature=%s\r\n%s" % (len(chunk), signature.encode(), chunk))
    return b"\r\n".join(lines[:2]) + b"\r\n" + lines[2]


def test_published_chunked_upload() -> None:
    body = aws_body(AWS_CHUNKS) + b"\r\n"
    assert len(body) == 66_824  # the Content-Length of the documentation
    outcome = decode(body, SIGNED, decoded_bytes=66_560, seed=seed_of(AWS_SEED))
    assert outcome == Outcome(b"a" * 66_560, None, True, "")


def test_published_chunked_upload_with_trailer() -> None:
    body = aws_body(AWS_TRAILER_CHUNKS)
    body += b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    body += b"x-amz-trailer-signature:" + AWS_TRAILER.encode() + b"\r\n\r\n"
    outcome = decode(
        body,
        SIGNED_TRAILER,
        decoded_bytes=66_560,
        seed=seed_of(AWS_TRAILER_SEED),
        trailer_names=("x-amz-checksum-crc32c",),
    )
    assert outcome == Outcome(b"a" * 66_560, {"x-amz-checksum-crc32c": "sOO8/Q=="}, True, "")


# --- any cut ----------------------------------------------------------------------------------

SEED = seed_of("0" * 64)
CRC = ("x-amz-checksum-crc32", "AAAAAA==")
CHUNKS = [b"hello, ", b"w" * 300, b"orld"]
CONTENT = b"".join(CHUNKS)
GOOD: list[tuple[bytes, PayloadMode, dict[str, str] | None]] = [
    (signed_body(CHUNKS, SEED), SIGNED, None),
    (signed_body(CHUNKS, SEED, [CRC]), SIGNED_TRAILER, dict([CRC])),
    (signed_body(CHUNKS, SEED, [CRC], blank=True), SIGNED_TRAILER, dict([CRC])),
    (unsigned_body(CHUNKS, [CRC]), UNSIGNED_TRAILER, dict([CRC])),
]


def decode_case(body: bytes, mode: PayloadMode, cuts: list[int] | None = None) -> Outcome:
    names = () if mode is SIGNED else (CRC[0],)
    return decode(body, mode, decoded_bytes=len(CONTENT), trailer_names=names, seed=SEED, cuts=cuts)


@pytest.mark.parametrize(("body", "mode", "trailers"), GOOD)
def test_one_byte_at_a_time(
    body: bytes, mode: PayloadMode, trailers: dict[str, str] | None
) -> None:
    outcome = decode_case(body, mode, list(range(len(body))))
    assert outcome == Outcome(CONTENT, trailers, True, "")


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_split_invariance(data: st.DataObject) -> None:
    body, mode, _ = data.draw(st.sampled_from(GOOD))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(body) - 1))
        letter = bytes([data.draw(st.integers(0, 255))])
        body = body[:at] + letter + body[at + data.draw(st.integers(0, 1)) :]
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    whole, cut = decode_case(body, mode), decode_case(body, mode, cuts)
    assert (whole.code, whole.trailers, whole.ended) == (cut.code, cut.trailers, cut.ended) or (
        whole.code == cut.code != ""
    )
    if not whole.code:
        assert whole.content == cut.content


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=300), mode=st.sampled_from([SIGNED, SIGNED_TRAILER]))
def test_any_bytes_end_or_are_refused(body: bytes, mode: PayloadMode) -> None:
    assert decode_case(body, mode).code != ""


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7), index=st.integers(0, 1))
def test_any_flipped_bit_of_a_signed_body_is_refused(at: int, bit: int, index: int) -> None:
    body, mode, _ = GOOD[index]
    changed = bytearray(body)
    changed[at % len(body)] ^= 1 << bit
    outcome = decode_case(bytes(changed), mode)
    # Two spellings of one trailer name or of one chunk length are the same message.
    same = bytes(changed).lower() == body.lower()
    assert outcome.code or (same and outcome.content == CONTENT)


@pytest.mark.parametrize(("body", "mode", "trailers"), GOOD)
def test_every_truncation_is_refused(
    body: bytes, mode: PayloadMode, trailers: dict[str, str] | None
) -> None:
    """SIG-10."""
    for end in range(len(body)):
        outcome = decode_case(body[:end], mode)
        assert outcome.code and not outcome.ended


# --- what is refused --------------------------------------------------------------------------


def test_signed_chunks_that_are_not_in_the_chain() -> None:
    """SIG-10: reordered, dropped, duplicated, of another chain."""
    parts = signed_body([b"aa", b"bb"], SEED).split(b"\r\n")
    first, second, last = parts[:2], parts[2:4], parts[4:]
    for order in ([second, first, last], [first, first, last], [first, last], [second, last]):
        body = b"\r\n".join([line for part in order for line in part])
        for length in (2, 4):
            outcome = decode(body, SIGNED, decoded_bytes=length, seed=SEED)
            assert outcome.code in {"SignatureDoesNotMatch", "IncompleteBody"}
    body = signed_body(CHUNKS, seed_of("1" * 64))
    assert decode_case(body, SIGNED).code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    "header",
    [
        b"+5",
        b"-5",
        b" 5",
        b"5 ",
        b"0x5",
        b"5_0",
        b"",
        b"g",
        b"5;x=y",
        b"5;chunk-signature=" + b"0" * 64,
        b"1" + b"0" * 16,
    ],
)
def test_malformed_chunk_headers(header: bytes) -> None:
    """SIG-10."""
    outcome = decode(header + b"\r\nhello\r\n0\r\n\r\n", UNSIGNED_TRAILER, decoded_bytes=5)
    assert outcome.code == "InvalidRequest"


@pytest.mark.parametrize("header", [b"5", b"5;chunk-signature=", b"5;chunk-signature=" + b"A" * 64])
def test_malformed_signed_chunk_headers(header: bytes) -> None:
    """SIG-10."""
    outcome = decode(header + b"\r\nhello\r\n", SIGNED, decoded_bytes=5, seed=SEED)
    assert outcome.code == "InvalidRequest"


@pytest.mark.parametrize("header", [b"6", b"FFFFFFFFFFFFFFFF"])
def test_more_data_than_announced(header: bytes) -> None:
    """SIG-10."""
    outcome = decode(header + b"\r\nhello", UNSIGNED_TRAILER, decoded_bytes=5)
    assert outcome.code == "IncompleteBody" and outcome.content == b""


def test_less_data_than_announced() -> None:
    """SIG-10."""
    body = unsigned_body([b"hell"], [])
    assert decode(body, UNSIGNED_TRAILER, decoded_bytes=5).code == "IncompleteBody"


def test_bytes_after_the_end() -> None:
    """SIG-10."""
    for body, mode, _ in GOOD:
        outcome = decode_case(body + b"x", mode)
        assert outcome.code == "InvalidRequest"
        cut = decode_case(body + b"x", mode, [len(body)])
        assert cut.code == "InvalidRequest"


def test_a_failed_decoder_stays_failed() -> None:
    decoder = ChunkDecoder(mode=UNSIGNED_TRAILER, seed=None, decoded_bytes=0)
    decoder.feed(b"0\r\n\r\n")
    decoder.finish()
    for _ in range(2):
        with pytest.raises(S3Error):
            decoder.feed(b"x")
    with pytest.raises(S3Error):
        decoder.finish()


def test_a_chunk_longer_than_its_header() -> None:
    body = b"3\r\nhello\r\n0\r\n\r\n"
    assert decode(body, UNSIGNED_TRAILER, decoded_bytes=5).code == "InvalidRequest"


def test_lines_are_bounded() -> None:
    for body in (b"0" * LINE_MAX_BYTES, b"0\r\n" + b"x-amz-checksum-crc32:" * LINE_MAX_BYTES):
        for cuts in ([], list(range(len(body)))):
            outcome = decode(
                body, UNSIGNED_TRAILER, decoded_bytes=0, trailer_names=(CRC[0],), cuts=cuts
            )
            assert outcome.code == "InvalidRequest"


@pytest.mark.parametrize(
    "lines",
    [
        b"x-amz-checksum-crc32\r\n",
        b"x-other:1\r\n",
        b"x-amz-checksum-crc32:a\r\nx-amz-checksum-crc32:a\r\n",
        b"x-amz-trailer-signature:0\r\n",
        b"",
    ],
)
def test_malformed_trailers(lines: bytes) -> None:
    """SIG-11: undeclared, repeated, missing."""
    outcome = decode(
        b"0\r\n" + lines + b"\r\n", UNSIGNED_TRAILER, decoded_bytes=0, trailer_names=(CRC[0],)
    )
    assert outcome.code == "MalformedTrailerError" and not outcome.ended


def test_signed_trailers_need_their_signature_last() -> None:
    body = signed_body([], SEED, [CRC])
    head, _, rest = body.partition(b"x-amz-trailer-signature")
    names = (CRC[0], "x-late")

    def code(text: bytes, trailer_names: tuple[str, ...] = names[:1]) -> str:
        return decode(
            text, SIGNED_TRAILER, decoded_bytes=0, seed=SEED, trailer_names=trailer_names
        ).code

    assert code(body) == ""
    assert code(head + b"\r\n") == "IncompleteBody"
    assert code(head + b"\r\n\r\n") == "MalformedTrailerError"
    late = body.removesuffix(b"\r\n") + b"x-late:1\r\n\r\n"
    assert code(late, names) == "MalformedTrailerError"
    assert code(body.replace(b"AAAAAA==", b"AAAAAB==")) == "SignatureDoesNotMatch"
    assert code(head + b"x-amz-trailer-signature:\xff" + rest) == "SignatureDoesNotMatch"


def test_trailer_spelling_is_tolerated() -> None:
    body = b"0\nX-Amz-Checksum-CRC32 : AAAAAA== \r\n\r\n".replace(b"0\n", b"0\r\n")
    outcome = decode(body, UNSIGNED_TRAILER, decoded_bytes=0, trailer_names=(CRC[0],))
    assert outcome.trailers == dict([CRC])


def test_too_many_announced_trailers() -> None:
    names = tuple(f"x-{index}" for index in range(17))
    assert decode(b"", UNSIGNED_TRAILER, decoded_bytes=0, trailer_names=names).code == (
        "MalformedTrailerError"
    )


def test_data_is_not_copied() -> None:
    buffer = bytearray(b"5\r\nhello")
    decoder = ChunkDecoder(mode=UNSIGNED_TRAILER, seed=None, decoded_bytes=5)
    [event] = decoder.feed(memoryview(buffer))
    assert isinstance(event, Data)
    buffer[3] = ord("J")
    assert bytes(event.piece) == b"Jello"
