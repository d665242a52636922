"""What clients' bytes reach first: each target takes any bytes and ends, or refuses as S3 does.

A target raises nothing but for what is our mistake: an error that would be answered with 500, or
none of ours at all. Speed is the driver's to judge: one input may take STEP_S.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.model.action import Action
from gateway.model.conditions import byte_range
from gateway.model.lifecycle import Configuration, Instant
from gateway.model.lifecycle_checks import check_rules
from gateway.model.policy import ANYBODY
from gateway.model.policy_document import parse_policy
from gateway.model.policy_public import is_public
from gateway.s3 import post_form_policy, routes, sigv4, xml
from gateway.s3.aws_chunked import ChunkDecoder
from gateway.s3.errors import s3_code_for
from gateway.s3.operations.cors import parse_cors
from gateway.s3.operations.lifecycle import BODY_BYTES_MAX, rule_of
from gateway.s3.operations.website import parse_website
from gateway.s3.post_form import FormParser
from gateway.s3.sigv4 import PayloadMode, RequestHead
from gateway.s3.tagging import parse_tagging, tags_of_header
from gateway.s3.xml_reader import read
from storaged.base.errors import StorageError

KEY = bytes(32)
NOW_MS = 1_795_392_000_000
MODES = [mode for mode in PayloadMode if mode.is_streaming]


class WrongAnswer(Exception):
    """What a client would be told is our own mistake."""


def refused(error: StorageError) -> None:
    """Go on if an error is an answer to a client. Raises WrongAnswer."""
    answer = s3_code_for(error)
    if answer.status >= 500 and answer.code != "NotImplemented":
        raise WrongAnswer(f"{answer.status} {answer.code}") from error


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def signature(data: bytes) -> None:
    """SigV4 in header and query: method, path, query and headers are lines of the input."""
    lines = [_text(line) for line in data.split(b"\n")]
    method, path, query, *rest = [*lines, "", "", ""]
    headers = [(name.lower(), value) for name, _, value in (line.partition(":") for line in rest)]
    head = RequestHead(method=method, raw_path=f"/{path}", raw_query=query, headers=headers)
    sigv4.authorize(head, now_ms=NOW_MS, regions=("fr",), signing_key=lambda *_: KEY)


def target(data: bytes) -> None:
    """Host, path and names of the query."""
    host, path, query = [*data.split(b"\n", 2), b"", b""][:3]
    bucket, key = routes.split_target(_text(host), f"/{_text(path)}", ("s3.test",))
    names = [_text(name) for name in query.split(b"&")]
    routes.route("PUT", routes.level_of(bucket, key), names, ())
    routes.split_copy_source(_text(path))


def chunks(data: bytes) -> None:
    """aws-chunked bodies in every mode; the first byte chooses it and where the body is cut."""
    choice = data[0] if data else 0
    mode = MODES[choice % len(MODES)]
    seed = sigv4.Authorized(
        access_key_id="AK",
        region="fr",
        payload_mode=mode,
        content_sha256=None,
        seed_signature="0" * 64,
        signing_key=KEY,
        scope="20261122/fr/s3/aws4_request",
        amz_date="20261122T000000Z",
        presigned=False,
    )
    names = ("x-amz-checksum-crc32",) if "TRAILER" in mode else ()
    decoder = ChunkDecoder(mode=mode, seed=seed, decoded_bytes=choice, trailer_names=names)
    cut = 1 + choice
    for piece in (data[1:cut], data[cut:]):
        decoder.feed(piece)
    decoder.finish()


def documents(data: bytes) -> None:
    """Bodies of XML; the first byte chooses the reader."""
    readers: list[Callable[[bytes], object]] = [
        xml.parse_delete,
        xml.parse_complete,
        xml.parse_create_bucket,
        parse_tagging,
        parse_cors,
        parse_website,
    ]
    if data:
        readers[data[0] % len(readers)](data[1:])


def lifecycle(data: bytes) -> None:
    """Rules, and what they say about a key."""
    root = read(data, "LifecycleConfiguration", BODY_BYTES_MAX)
    rules = [rule_of(node) for node in root.children]
    check_rules(rules)
    configuration = Configuration(rules=tuple(rules))
    configuration.expiration_of(b"a/key", tags=(("a", "b"),), content_bytes=5, created_at_ms=NOW_MS)
    configuration.abort_of(b"a/key", NOW_MS, Instant(NOW_MS))


def policy(data: bytes) -> None:
    """Bucket policies, and what they let anybody do."""
    parsed = parse_policy(_text(data), "bucket")
    parsed.effect(Action.GET_OBJECT, "bucket/key", ANYBODY, {"aws:sourceip": ("10.0.0.1",)}.get)
    is_public(parsed)


def form(data: bytes) -> None:
    """Forms of browsers, in two pieces; and their policies."""
    parser = FormParser(b"boundary")
    cut = 1 + (data[0] if data else 0)
    for piece in (data[1:cut], data[cut:]):
        parser.feed(piece)
    parser.finish()


def form_policy(data: bytes) -> None:
    """Policies of forms."""
    held = post_form_policy.parse_policy(_text(data))
    post_form_policy.check_policy(held, {"key": "k", "content-type": "a/b"}, "bucket", NOW_MS)


def ranges(data: bytes) -> None:
    """Range headers, tags of headers."""
    byte_range(_text(data), 1000)
    tags_of_header(_text(data))


TARGETS: dict[str, Callable[[bytes], None]] = {
    made.__name__: made
    for made in (
        signature,
        target,
        chunks,
        documents,
        lifecycle,
        policy,
        form,
        form_policy,
        ranges,
    )
}


def run(name: str, data: bytes) -> None:
    """Give one input to a target. Raises WrongAnswer, and whatever is no error of ours."""
    try:
        TARGETS[name](data)
    except StorageError as error:
        refused(error)
