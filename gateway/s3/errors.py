"""The one table from our errors to S3's: code, status, message, headers.

Not for deciding anything: by the time an error is here it is already an answer. `S3Error` is what
the syntax layer itself raises; every other `StorageError` is found by its class name, then by its
kind, so no error is without an answer.

Source: Amazon S3 API Reference, "Error responses".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate

from gateway.model import errors as semantic
from storaged.base.errors import Kind, StorageError

RETRY_AFTER_S = 1


class S3Error(StorageError):
    """The request is refused by the S3 syntax."""

    kind = Kind.INVALID

    def __init__(
        self, code: str, message: str | None = None, *, extra: Mapping[str, str] | None = None
    ) -> None:
        """Refuse with an S3 code of `STATUS`.

        Args:
            code: S3 error code; an unlisted one is our mistake.
            message: text for the client; by default the message S3 prints for this code.
            extra: further elements of the XML body, by their S3 names; never a secret.
        """
        assert code in STATUS, f"{code} is not in the table"
        self.code = code
        self.text = MESSAGES[code] if message is None else message
        self.extra: Mapping[str, str] = extra or {}
        super().__init__(code=code)

    def message(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Answer:
    """What the client is told: everything of an error response but the ids of the request.

    Attributes:
        headers: (name, value) pairs beside content-type, such as Retry-After.
        extra: further elements of the XML body.
        close_connection: the body of the request may be unread, so the connection cannot be used
            again.
        has_body: False for 304, which has none.
    """

    code: str
    status: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    close_connection: bool = False
    has_body: bool = True


# Status by code. Codes outside this surface are here when an operation of S3 can be refused with
# them at once.
STATUS: dict[str, int] = {
    "AccessControlListNotSupported": 400,
    "AccessDenied": 403,
    "AccessForbidden": 403,
    "AnnotationLimitExceeded": 400,
    "AnnotationNameTooLong": 400,
    "AuthorizationHeaderMalformed": 400,
    "AuthorizationQueryParametersError": 400,
    "BadDigest": 400,
    "BadRequest": 400,
    "BucketAlreadyExists": 409,
    "BucketAlreadyOwnedByYou": 409,
    "BucketNotEmpty": 409,
    "ConditionalRequestConflict": 409,
    "ContractEnded": 403,
    "EncryptionTypeMismatch": 400,
    "EntityTooLarge": 400,
    "EntityTooSmall": 400,
    "ExpiredToken": 400,
    "IdempotencyParameterMismatch": 400,
    "IllegalLocationConstraintException": 400,
    "IllegalVersioningConfigurationException": 400,
    "IncompleteBody": 400,
    "InsufficientStorage": 507,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidAnnotationName": 400,
    "InvalidArgument": 400,
    "InvalidBucketAclWithBlockPublicAccessError": 400,
    "InvalidBucketAclWithObjectOwnership": 400,
    "InvalidBucketName": 400,
    "InvalidBucketState": 409,
    "InvalidChunkSizeError": 403,
    "InvalidConfigurationId": 400,
    "InvalidDigest": 400,
    "InvalidEncryptionAlgorithmError": 400,
    "InvalidLocationConstraint": 400,
    "InvalidObjectState": 403,
    "InvalidPart": 400,
    "InvalidPartNumber": 416,
    "InvalidPartOrder": 400,
    "InvalidPolicyDocument": 400,
    "InvalidPrefix": 400,
    "InvalidRedirectLocation": 400,
    "InvalidRange": 416,
    "InvalidRequest": 400,
    "InvalidRetentionPeriod": 400,
    "InvalidStorageClass": 400,
    "InvalidTag": 400,
    "InvalidTargetBucketForLogging": 400,
    "InvalidToken": 400,
    "InvalidURI": 400,
    "InvalidWriteOffset": 400,
    "KMS.DisabledException": 400,
    "KMS.KMSInvalidStateException": 400,
    "KMS.NotFoundException": 400,
    "KeyTooLongError": 400,
    "MalformedACLError": 400,
    "MalformedPOSTRequest": 400,
    "MalformedPolicy": 400,
    "MalformedTrailerError": 400,
    "MalformedXML": 400,
    "MaxMessageLengthExceeded": 400,
    "MaxPostPreDataLengthExceededError": 400,
    "MetadataTooLarge": 400,
    "MethodNotAllowed": 405,
    "MissingContentLength": 411,
    "MissingRequestBodyError": 400,
    "MissingSecurityHeader": 400,
    "NoSuchAnnotation": 404,
    "NoSuchBucket": 404,
    "NoSuchBucketPolicy": 404,
    "NoSuchCORSConfiguration": 404,
    "NoSuchConfiguration": 404,
    "NoSuchKey": 404,
    "NoSuchLifecycleConfiguration": 404,
    "NoSuchObjectLockConfiguration": 404,
    "NoSuchPublicAccessBlockConfiguration": 404,
    "NoSuchTagSet": 404,
    "NoSuchUpload": 404,
    "NoSuchVersion": 404,
    "NoSuchWebsiteConfiguration": 404,
    "NotImplemented": 501,
    "NotModified": 304,
    "ObjectLockConfigurationNotFoundError": 404,
    "OperationAborted": 409,
    "OwnershipControlsNotFoundError": 404,
    "PermanentRedirect": 301,
    "PreconditionFailed": 412,
    "QuotaExceeded": 403,
    "ReplicationConfigurationNotFoundError": 404,
    "RequestHeaderSectionTooLarge": 400,
    "RequestIsNotMultiPartContent": 412,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TooManyBuckets": 400,
    "TooManyConfigurations": 400,
    "TooManyParts": 400,
    "UnexpectedContent": 400,
    "UnsupportedArgument": 400,
    "UnsupportedMediaType": 415,
    "XAmzContentSHA256Mismatch": 400,
}

MESSAGES: dict[str, str] = {
    "AccessForbidden": "CORSResponse: This CORS request is not allowed.",
    "AuthorizationHeaderMalformed": "The authorization header that you provided is not valid.",
    "AuthorizationQueryParametersError": "Query-string authentication version 4 requires the "
    "X-Amz-Algorithm, "
    "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires "
    "parameters.",
    "BadRequest": "An error occurred when parsing the HTTP request.",
    "ExpiredToken": "The provided token has expired.",
    "IllegalLocationConstraintException": "The unspecified location constraint is incompatible "
    "for the region "
    "specific endpoint this request was sent to.",
    "IllegalVersioningConfigurationException": "The versioning configuration specified in the "
    "request is not valid.",
    "InternalError": "We encountered an internal error. Please try again.",
    "InvalidAccessKeyId": "The AWS Access Key Id you provided does not exist in our records.",
    "InvalidChunkSizeError": "Only the last chunk is allowed to have a size less than 8192 bytes",
    "InvalidConfigurationId": "The specified configuration id is invalid.",
    "InvalidEncryptionAlgorithmError": "The encryption request that you specified is not valid. "
    "The valid value "
    "is AES256.",
    "InvalidRetentionPeriod": "The retention period must be a positive integer value.",
    "InvalidTag": "The tag provided was not a valid tag.",
    "InvalidToken": "The provided token is malformed or otherwise invalid.",
    "InvalidURI": "Couldn't parse the specified URI.",
    "MalformedPOSTRequest": "The body of your POST request is not well-formed multipart/form-data.",
    "MalformedTrailerError": "The request contained trailing data that was not well-formed or did "
    "not conform to "
    "our published schema.",
    "MalformedXML": "The XML you provided was not well-formed or did not validate against our "
    "published schema",
    "InvalidRedirectLocation": "The website redirect location must have a prefix of 'http://' or "
    "'https://' or '/'.",
    "InvalidPolicyDocument": "The content of the form does not meet the conditions specified in "
    "the policy document.",
    "MaxMessageLengthExceeded": "Your request was too big.",
    "MaxPostPreDataLengthExceededError": "Your POST request fields preceding the upload file were "
    "too large.",
    "MissingContentLength": "You must provide the Content-Length HTTP header.",
    "MissingRequestBodyError": "Request Body is empty",
    "MissingSecurityHeader": "Your request was missing a required header.",
    "NotImplemented": "A header or query you provided requested a function that is not "
    "implemented.",
    "PermanentRedirect": "The bucket you are attempting to access must be addressed using the "
    "specified endpoint. "
    "Please send all future requests to this endpoint.",
    "RequestHeaderSectionTooLarge": "Your request header section exceeds the maximum allowed "
    "request header "
    "section size.",
    "RequestIsNotMultiPartContent": "Bucket POST must be of the enclosure-type "
    "multipart/form-data.",
    "RequestTimeTooSkewed": "The difference between the request time and the current time is too "
    "large.",
    "SignatureDoesNotMatch": "The request signature we calculated does not match the signature "
    "you provided. Check your key and signing method.",
    "UnexpectedContent": "This request contains unsupported content.",
    "UnsupportedArgument": "The request contained an unsupported argument.",
    "XAmzContentSHA256Mismatch": "The provided 'x-amz-content-sha256' header does not match what "
    "was computed.",
}

# A class whose S3 code differs from its name.
_CODE_OF_CLASS: dict[str, str] = {
    "InvalidEncryptionAlgorithm": "InvalidEncryptionAlgorithmError",
    "IllegalLocationConstraint": "IllegalLocationConstraintException",
    "KeyTooLong": "KeyTooLongError",
    "KeyBudgetSpent": "SlowDown",
    "KmsKeyDestroyed": "KMS.KMSInvalidStateException",
    "KmsKeyDisabled": "KMS.DisabledException",
    "KmsKeyNotFound": "KMS.NotFoundException",
    "NotImplementedInBucket": "NotImplemented",
    "SigningDayRefused": "AccessDenied",
    "NamedKeyDisabled": "KMS.DisabledException",
    "TenantKeyDisabled": "KMS.DisabledException",
    "DeadlineExceeded": "SlowDown",
    "DriveFull": "InsufficientStorage",  # clients do not retry it, which is right when all is full
    "IndexFull": "InsufficientStorage",
}


def _semantic_classes() -> dict[str, type[StorageError]]:
    return {one.__name__: one for one in semantic.SemanticError.__subclasses__()}


# S3 prints these texts with a full stop, the other ones of the use cases without.
_FULL_STOP = frozenset(
    {
        "AnnotationLimitExceeded",
        "AnnotationNameTooLong",
        "BucketAlreadyExists",
        "BucketAlreadyOwnedByYou",
        "InvalidAnnotationName",
        "InvalidBucketName",
        "InvalidDigest",
        "InvalidPart",
        "InvalidPartOrder",
        "InvalidPrefix",
        "MethodNotAllowed",
        "NoSuchAnnotation",
        "NoSuchKey",
        "NoSuchUpload",
        "NoSuchVersion",
        "OperationAborted",
        "RequestTimeout",
        "SlowDown",
        "UnsupportedMediaType",
    }
)
for _name, _class in _semantic_classes().items():
    _code = _CODE_OF_CLASS.get(_name, _name)
    MESSAGES.setdefault(_code, _class.title() + ("." if _name in _FULL_STOP else ""))

# What a client did wrong is said by `S3Error` or an error of the use cases. Another error comes
# from
# inside: a node's refusal (fenced, retained) or absence says nothing about the client's rights or
# object. "Cannot tell" is 503, never 403, 404 or 412.
_BY_KIND: dict[Kind, str] = {
    Kind.INVALID: "InternalError",
    Kind.DENIED: "ServiceUnavailable",
    Kind.NOT_FOUND: "ServiceUnavailable",
    Kind.CONFLICT: "SlowDown",
    Kind.PRECONDITION: "InternalError",
    Kind.EXHAUSTED: "SlowDown",
    Kind.UNAVAILABLE: "ServiceUnavailable",
    Kind.TIMEOUT: "SlowDown",
    Kind.UNKNOWN_OUTCOME: "ServiceUnavailable",
    Kind.CORRUPT: "InternalError",
}

# Field of a use case's error → element of the XML body.
_ELEMENT_OF_FIELD: dict[str, str] = {
    "bucket": "BucketName",
    "key": "Key",
    "version_id": "VersionId",
    "upload_id": "UploadId",
    "part_number": "PartNumber",
    "etag": "ETag",
    "condition": "Condition",
    "argument_name": "ArgumentName",
    "argument_value": "ArgumentValue",
    "location": "LocationConstraint",
    "location_constraint": "LocationConstraint",
    "range": "RangeRequested",
    "content_bytes": "ActualObjectSize",
    "part_number_requested": "PartNumberRequested",
    "part_count": "ActualPartCount",
    "size": "Size",
    "storage_class": "StorageClassRequested",
    "proposed_bytes": "ProposedSize",
    "min_bytes": "MinSizeAllowed",
    "max_bytes": "MaxSizeAllowed",
    "method": "Method",
    "resource_type": "ResourceType",
    "tag_key": "TagKey",
    "tag_value": "TagValue",
}

# After these the rest of the request's body is not read, so the next request could not be found.
_CLOSING = frozenset(
    {
        "RequestTimeout",
        "IncompleteBody",
        "MissingContentLength",
        "MaxMessageLengthExceeded",
        "InternalError",
    }
)


def s3_code_for(error: StorageError) -> S3Answer:
    """What the client is told about an error; total: every `StorageError` has an answer.

    `S3Error` carries its own code. Others are found by class name along the bases, then by kind.
    The fields `bucket`, `key`, `version_id`, … of an error of the use cases become elements of the
    body; a field `message` replaces the text. Fields of any other error stay inside (they name
    nodes and drives).
    """
    if isinstance(error, S3Error):
        return _answer(error.code, error.text, error.extra)
    code = _code_by_class(type(error)) or _BY_KIND[error.kind]
    text = MESSAGES[code]
    extra: dict[str, str] = {}
    if isinstance(error, semantic.SemanticError):
        text = str(error.fields.get("message", text))
        for name, value in error.fields.items():
            if name in _ELEMENT_OF_FIELD:
                extra[_ELEMENT_OF_FIELD[name]] = str(value)
    answer = _answer(code, text, extra)
    marker = error.fields.get("delete_marker")
    if marker is not None and isinstance(error, semantic.SemanticError):
        told: tuple[tuple[str, str], ...]
        told = (("x-amz-delete-marker", "true"), ("x-amz-version-id", str(marker)))
        if isinstance(error, semantic.MethodNotAllowed):
            told += (("Allow", "DELETE"),)
        modified_at_ms = error.fields.get("modified_at_ms")
        if isinstance(modified_at_ms, int):
            told += (("Last-Modified", formatdate(modified_at_ms // 1000, usegmt=True)),)
        answer = replace(answer, headers=answer.headers + told)
    content_bytes = error.fields.get("content_bytes")
    if isinstance(error, semantic.InvalidRange) and content_bytes is not None:
        extent = (("Content-Range", f"bytes */{content_bytes}"),)
        answer = replace(answer, headers=answer.headers + extent)
    return answer


def _code_by_class(error_class: type[StorageError]) -> str | None:
    for base in error_class.__mro__:
        code = _CODE_OF_CLASS.get(base.__name__, base.__name__)
        if code in STATUS:
            return code
    return None


def _answer(code: str, text: str, extra: Mapping[str, str]) -> S3Answer:
    status = STATUS[code]
    return S3Answer(
        code=code,
        status=status,
        message=text,
        headers=(("Retry-After", str(RETRY_AFTER_S)),) if status == 503 else (),
        extra=extra,
        close_connection=code in _CLOSING,
        has_body=status != 304,
    )
