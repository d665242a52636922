"""The table: every error has an answer, with S3's status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.model import errors as semantic
from gateway.s3.errors import MESSAGES, STATUS, S3Error, s3_code_for
from storaged.base.errors import DeadlineExceeded, Kind, ProtocolError, StorageError
from storaged.node import DriveFull, FencedOut


def all_classes(root: type[StorageError] = StorageError) -> Iterator[type[StorageError]]:
    for one in root.__subclasses__():
        yield one
        yield from all_classes(one)


def named(name: str) -> type[StorageError]:
    found = getattr(semantic, name)
    assert issubclass(found, StorageError)
    return found  # type: ignore[no-any-return]


OTHER_CODES = {
    "IllegalLocationConstraint": "IllegalLocationConstraintException",
    "InvalidEncryptionAlgorithm": "InvalidEncryptionAlgorithmError",
    "KeyTooLong": "KeyTooLongError",
    "KmsKeyDestroyed": "KMS.KMSInvalidStateException",
    "KmsKeyDisabled": "KMS.DisabledException",
    "KmsKeyNotFound": "KMS.NotFoundException",
    "NotImplementedInBucket": "NotImplemented",
}


def test_every_code_has_a_status_and_a_text() -> None:
    assert STATUS.keys() == MESSAGES.keys()
    assert all(MESSAGES.values())


def test_every_use_case_error_has_its_own_code() -> None:
    for one in semantic.SemanticError.__subclasses__():
        answer = s3_code_for(one())
        expected = OTHER_CODES.get(one.__name__, one.__name__)
        assert answer.code == expected
        assert answer.message.rstrip(".") == one.title()


def test_every_error_of_the_project_has_an_answer() -> None:
    for one in all_classes():
        if one is S3Error:
            continue
        error = one.__new__(one)
        StorageError.__init__(error)
        answer = s3_code_for(error)
        assert 300 <= answer.status < 600
        assert answer.message == MESSAGES[answer.code]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("NoSuchBucket", 404),
        ("NoSuchKey", 404),
        ("NoSuchUpload", 404),
        ("NoSuchVersion", 404),
        ("BucketAlreadyExists", 409),
        ("BucketAlreadyOwnedByYou", 409),
        ("BucketNotEmpty", 409),
        ("InvalidBucketName", 400),
        ("InvalidPart", 400),
        ("InvalidPartOrder", 400),
        ("InvalidPartNumber", 416),
        ("EntityTooSmall", 400),
        ("EntityTooLarge", 400),
        ("PreconditionFailed", 412),
        ("NotModified", 304),
        ("InvalidRange", 416),
        ("BadDigest", 400),
        ("IncompleteBody", 400),
        ("RequestTimeout", 400),
        ("ConditionalRequestConflict", 409),
        ("OperationAborted", 409),
        ("SlowDown", 503),
        ("ServiceUnavailable", 503),
        ("AccessDenied", 403),
        ("InvalidObjectState", 403),
        ("MethodNotAllowed", 405),
        ("InsufficientStorage", 507),
        ("TooManyBuckets", 400),
    ],
)
def test_statuses_are_s3s(name: str, status: int) -> None:
    answer = s3_code_for(named(name)())
    assert answer.status == status
    assert answer.has_body == (status != 304)
    assert (answer.headers == (("Retry-After", "1"),)) == (status == 503)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Kind.INVALID, 500),
        (Kind.DENIED, 503),
        (Kind.NOT_FOUND, 503),
        (Kind.CONFLICT, 503),
        (Kind.PRECONDITION, 500),
        (Kind.EXHAUSTED, 503),
        (Kind.UNAVAILABLE, 503),
        (Kind.TIMEOUT, 503),
        (Kind.UNKNOWN_OUTCOME, 503),
        (Kind.CORRUPT, 500),
    ],
)
def test_other_errors_answer_by_their_kind(kind: Kind, status: int) -> None:
    inner = type("SomethingInside", (StorageError,), {"kind": kind, "__doc__": "Inside."})
    answer = s3_code_for(inner(node="n1", key="secret-name", message="inside"))
    assert answer.status == status
    assert answer.extra == {} and "n1" not in answer.message and "inside" not in answer.message


def test_errors_of_the_inside_are_not_the_clients() -> None:
    assert s3_code_for(ProtocolError()).code == "InternalError"
    assert s3_code_for(DeadlineExceeded()).code == "SlowDown"
    assert s3_code_for(FencedOut()).status == 503
    assert s3_code_for(DriveFull()).status == 507
    derived = type("WireBroken", (ProtocolError,), {})
    assert s3_code_for(derived()).code == "InternalError"


def test_fields_of_a_use_case_become_elements() -> None:
    answer = s3_code_for(semantic.NoSuchKey(key="a/b", node="n1"))
    assert answer.extra == {"Key": "a/b"} and answer.message == "The specified key does not exist."
    answer = s3_code_for(semantic.InvalidArgument(message="Bad.", argument_name="max-keys"))
    assert answer.message == "Bad." and answer.extra == {"ArgumentName": "max-keys"}


def test_syntax_errors_carry_their_own_answer() -> None:
    error = S3Error("AccessDenied", "Request has expired", extra={"ServerTime": "x"})
    answer = s3_code_for(error)
    assert (answer.code, answer.status, answer.message) == ("AccessDenied", 403, error.text)
    assert answer.extra == {"ServerTime": "x"} and str(error) == "AccessDenied: Request has expired"
    assert s3_code_for(S3Error("MalformedXML")).message == MESSAGES["MalformedXML"]
    with pytest.raises(AssertionError):
        S3Error("NoSuchCode")


def test_an_unread_body_closes_the_connection() -> None:
    assert s3_code_for(S3Error("IncompleteBody")).close_connection
    assert not s3_code_for(S3Error("NoSuchKey")).close_connection
