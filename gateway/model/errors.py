"""What the use cases may refuse, by the names S3 gives to it.

Not for syntax: a malformed request is refused by `gateway.s3` before any use case runs. The class
name is the S3 error code and the docstring is the message S3 prints; status codes live in
`gateway.s3.errors` only.

Source: Amazon S3 API Reference, "Error responses", list of error codes.
"""

from __future__ import annotations

from typing import ClassVar

from storaged.base.errors import Kind, StorageError


class SemanticError(StorageError):
    """The request was understood and cannot be fulfilled."""

    kind: ClassVar[Kind] = Kind.INVALID


class NoSuchBucket(SemanticError):
    """The specified bucket does not exist."""

    kind = Kind.NOT_FOUND


class NoSuchKey(SemanticError):
    """The specified key does not exist."""

    kind = Kind.NOT_FOUND


class NoSuchVersion(SemanticError):
    """The specified version does not exist."""

    kind = Kind.NOT_FOUND


class NoSuchUpload(SemanticError):
    """The specified upload does not exist. The upload ID may be invalid, or the upload may have \
been aborted or completed."""

    kind = Kind.NOT_FOUND


class NoSuchTagSet(SemanticError):
    """The TagSet does not exist"""

    kind = Kind.NOT_FOUND


class NoSuchAnnotation(SemanticError):
    """The specified annotation does not exist on this object."""

    kind = Kind.NOT_FOUND


class InvalidAnnotationName(SemanticError):
    """The annotation name you provided is invalid."""


class AnnotationNameTooLong(SemanticError):
    """The annotation name exceeds 512 bytes."""


class AnnotationLimitExceeded(SemanticError):
    """The request would exceed the maximum number of annotations allowed per object."""


class InvalidPrefix(SemanticError):
    """The annotation prefix you provided is invalid."""


class UnsupportedMediaType(SemanticError):
    """The annotation payload is not valid UTF-8 encoded text."""


class InvalidTag(SemanticError):
    """The tag provided was not a valid tag."""


class NoSuchLifecycleConfiguration(SemanticError):
    """The lifecycle configuration does not exist"""

    kind = Kind.NOT_FOUND


class NoSuchWebsiteConfiguration(SemanticError):
    """The specified bucket does not have a website configuration"""

    kind = Kind.NOT_FOUND


class NoSuchCORSConfiguration(SemanticError):
    """The CORS configuration does not exist"""

    kind = Kind.NOT_FOUND


class BucketAlreadyExists(SemanticError):
    """The requested bucket name is not available. The bucket namespace is shared by all users of \
the system. Please select a different name and try again."""

    kind = Kind.CONFLICT


class BucketAlreadyOwnedByYou(SemanticError):
    """Your previous request to create the named bucket succeeded and you already own it."""

    kind = Kind.CONFLICT


class BucketNotEmpty(SemanticError):
    """The bucket you tried to delete is not empty."""

    kind = Kind.CONFLICT


class QuotaExceeded(SemanticError):
    """The request would exceed a limit of bytes or objects that the operator of the service has \
set for the bucket or its account."""

    kind = Kind.EXHAUSTED


class ContractEnded(SemanticError):
    """The contract of the account has ended: what it has can be read, listed and deleted, nothing \
more is taken."""

    kind = Kind.DENIED


class TooManyBuckets(SemanticError):
    """You have attempted to create more buckets than allowed."""

    kind = Kind.EXHAUSTED


class InvalidBucketName(SemanticError):
    """The specified bucket is not valid."""


class ObjectLockConfigurationNotFoundError(SemanticError):
    """Object Lock configuration does not exist for this bucket."""

    kind = Kind.NOT_FOUND


class NoSuchObjectLockConfiguration(SemanticError):
    """The specified object does not have a ObjectLock configuration."""

    kind = Kind.NOT_FOUND


class InvalidBucketState(SemanticError):
    """The request is not valid for the current state of the bucket."""

    kind = Kind.CONFLICT


class InvalidLocationConstraint(SemanticError):
    """The specified location-constraint is not valid."""


class IllegalLocationConstraint(SemanticError):
    """The unspecified location constraint is incompatible for the region specific endpoint this \
request was sent to."""


class InvalidArgument(SemanticError):
    """Invalid Argument."""


class InvalidRequest(SemanticError):
    """Invalid Request."""


class InvalidPart(SemanticError):
    """One or more of the specified parts could not be found. The part may not have been \
uploaded, or the specified entity tag may not match the part's entity tag."""


class InvalidPartOrder(SemanticError):
    """The list of parts was not in ascending order. Parts must be ordered by part number."""


class InvalidPartNumber(SemanticError):
    """The requested partnumber is not satisfiable."""


class EntityTooSmall(SemanticError):
    """Your proposed upload is smaller than the minimum allowed size."""


class EntityTooLarge(SemanticError):
    """Your proposed upload exceeds the maximum allowed size."""


class KeyTooLong(SemanticError):
    """Your key is too long."""


class MetadataTooLarge(SemanticError):
    """Your metadata headers exceed the maximum allowed metadata size."""


class InvalidStorageClass(SemanticError):
    """The storage class you specified is not valid."""


class InvalidRange(SemanticError):
    """The requested range is not satisfiable."""


class PreconditionFailed(SemanticError):
    """At least one of the pre-conditions you specified did not hold."""

    kind = Kind.PRECONDITION


class NotModified(SemanticError):
    """Not Modified."""

    kind = Kind.PRECONDITION


class ConditionalRequestConflict(SemanticError):
    """The conditional request cannot succeed due to a conflicting operation against this \
resource."""

    kind = Kind.CONFLICT


class OperationAborted(SemanticError):
    """A conflicting conditional operation is currently in progress against this resource. Please \
try again."""

    kind = Kind.CONFLICT


class BadDigest(SemanticError):
    """The Content-MD5 or checksum value that you specified did not match what the server \
received."""


class InvalidDigest(SemanticError):
    """The Content-MD5 you specified was invalid."""


class InvalidEncryptionAlgorithm(SemanticError):
    """The encryption request that you specified is not valid. The valid value is AES256."""


class KmsKeyNotFound(SemanticError):
    """The key does not exist."""


class KmsKeyDisabled(SemanticError):
    """The request was rejected because the key is disabled."""

    kind = Kind.DENIED


class KmsKeyDestroyed(SemanticError):
    """The request was rejected because the key that this is sealed under was destroyed."""

    kind = Kind.DENIED


class IncompleteBody(SemanticError):
    """You did not provide the number of bytes specified by the Content-Length HTTP header."""


class RequestTimeout(SemanticError):
    """Your socket connection to the server was not read from or written to within the timeout \
period."""

    kind = Kind.TIMEOUT


class AccessDenied(SemanticError):
    """Access Denied."""

    kind = Kind.DENIED


class InvalidObjectState(SemanticError):
    """The operation is not valid for the current state of the object."""

    kind = Kind.CONFLICT


class MethodNotAllowed(SemanticError):
    """The specified method is not allowed against this resource."""


class SlowDown(SemanticError):
    """Please reduce your request rate."""

    kind = Kind.UNAVAILABLE


class ServiceUnavailable(SemanticError):
    """Service is unable to handle request."""

    kind = Kind.UNAVAILABLE


class InsufficientStorage(SemanticError):
    """There is not enough space left to store the object."""

    kind = Kind.EXHAUSTED


class MalformedPolicy(SemanticError):
    """Policies must be valid JSON and the first byte must be '{'."""


class NoSuchBucketPolicy(SemanticError):
    """The bucket policy does not exist."""

    kind = Kind.NOT_FOUND


class NoSuchPublicAccessBlockConfiguration(SemanticError):
    """The public access block configuration was not found."""

    kind = Kind.NOT_FOUND


class OwnershipControlsNotFoundError(SemanticError):
    """The bucket ownership controls were not found."""

    kind = Kind.NOT_FOUND


class AccessControlListNotSupported(SemanticError):
    """The bucket does not allow ACLs."""


class InvalidBucketAclWithObjectOwnership(SemanticError):
    """Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting."""


class InvalidBucketAclWithBlockPublicAccessError(SemanticError):
    """Bucket cannot have public ACLs set with BlockPublicAccess enabled."""


class MalformedACLError(SemanticError):
    """The XML you provided was not well-formed or did not validate against our published schema."""


class NoSuchConfiguration(SemanticError):
    """The specified configuration does not exist."""

    kind = Kind.NOT_FOUND


class TooManyConfigurations(SemanticError):
    """You are attempting to create a new configuration but have already reached the \
1,000-configuration limit."""


class ReplicationConfigurationNotFoundError(SemanticError):
    """The replication configuration was not found"""

    kind = Kind.NOT_FOUND


class InvalidTargetBucketForLogging(SemanticError):
    """The target bucket for logging does not exist"""


class NotImplementedInBucket(SemanticError):
    """A header or query you provided requested a function that is not implemented."""


class InvalidWriteOffset(SemanticError):
    """The write offset value that you specified does not match the current object size."""


class TooManyParts(SemanticError):
    """You have attempted to add more parts than the maximum of 10000 that are allowed for this \
object. You can use the CopyObject operation to copy this object to another and then add more data \
to the newly copied object."""


class EncryptionTypeMismatch(SemanticError):
    """The existing object was created with a different encryption type. Subsequent write requests \
must include the appropriate encryption parameters in the request or while creating the session."""


class IdempotencyParameterMismatch(SemanticError):
    """Parameters on this idempotent request are inconsistent with parameters used in previous \
request(s)."""
