"""S3's operations by name, and the table of what leads to them.

Not for choosing (`routes`). The rows follow S3's own list of actions; a test compares them with the
service model of botocore.

Source: Amazon S3 API Reference, "Actions", 2026.
"""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """What the target of a request names."""

    __hash__ = str.__hash__  # that of Enum is written in Python, and every request looks one up

    SERVICE = "SERVICE"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


class Operation(StrEnum):
    """S3's operations by their own names."""

    __hash__ = str.__hash__

    ABORT_MULTIPART_UPLOAD = "AbortMultipartUpload"
    COMPLETE_MULTIPART_UPLOAD = "CompleteMultipartUpload"
    COPY_OBJECT = "CopyObject"
    CREATE_BUCKET = "CreateBucket"
    CREATE_BUCKET_METADATA_CONFIGURATION = "CreateBucketMetadataConfiguration"
    CREATE_BUCKET_METADATA_TABLE_CONFIGURATION = "CreateBucketMetadataTableConfiguration"
    CREATE_MULTIPART_UPLOAD = "CreateMultipartUpload"
    CREATE_SESSION = "CreateSession"
    DELETE_BUCKET = "DeleteBucket"
    DELETE_BUCKET_ANALYTICS_CONFIGURATION = "DeleteBucketAnalyticsConfiguration"
    DELETE_BUCKET_CORS = "DeleteBucketCors"
    DELETE_BUCKET_ENCRYPTION = "DeleteBucketEncryption"
    DELETE_BUCKET_INTELLIGENT_TIERING_CONFIGURATION = "DeleteBucketIntelligentTieringConfiguration"
    DELETE_BUCKET_INVENTORY_CONFIGURATION = "DeleteBucketInventoryConfiguration"
    DELETE_BUCKET_LIFECYCLE = "DeleteBucketLifecycle"
    DELETE_BUCKET_METADATA_CONFIGURATION = "DeleteBucketMetadataConfiguration"
    DELETE_BUCKET_METADATA_TABLE_CONFIGURATION = "DeleteBucketMetadataTableConfiguration"
    DELETE_BUCKET_METRICS_CONFIGURATION = "DeleteBucketMetricsConfiguration"
    DELETE_BUCKET_OWNERSHIP_CONTROLS = "DeleteBucketOwnershipControls"
    DELETE_BUCKET_POLICY = "DeleteBucketPolicy"
    DELETE_BUCKET_REPLICATION = "DeleteBucketReplication"
    DELETE_BUCKET_TAGGING = "DeleteBucketTagging"
    DELETE_BUCKET_WEBSITE = "DeleteBucketWebsite"
    DELETE_OBJECT = "DeleteObject"
    DELETE_OBJECT_ANNOTATION = "DeleteObjectAnnotation"
    DELETE_OBJECT_TAGGING = "DeleteObjectTagging"
    DELETE_OBJECTS = "DeleteObjects"
    DELETE_PUBLIC_ACCESS_BLOCK = "DeletePublicAccessBlock"
    GET_BUCKET_ABAC = "GetBucketAbac"
    GET_BUCKET_ACCELERATE_CONFIGURATION = "GetBucketAccelerateConfiguration"
    GET_BUCKET_ACL = "GetBucketAcl"
    GET_BUCKET_ANALYTICS_CONFIGURATION = "GetBucketAnalyticsConfiguration"
    GET_BUCKET_CORS = "GetBucketCors"
    GET_BUCKET_ENCRYPTION = "GetBucketEncryption"
    GET_BUCKET_INTELLIGENT_TIERING_CONFIGURATION = "GetBucketIntelligentTieringConfiguration"
    GET_BUCKET_INVENTORY_CONFIGURATION = "GetBucketInventoryConfiguration"
    GET_BUCKET_LIFECYCLE_CONFIGURATION = "GetBucketLifecycleConfiguration"
    GET_BUCKET_LOCATION = "GetBucketLocation"
    GET_BUCKET_LOGGING = "GetBucketLogging"
    GET_BUCKET_METADATA_CONFIGURATION = "GetBucketMetadataConfiguration"
    GET_BUCKET_METADATA_TABLE_CONFIGURATION = "GetBucketMetadataTableConfiguration"
    GET_BUCKET_METRICS_CONFIGURATION = "GetBucketMetricsConfiguration"
    GET_BUCKET_NOTIFICATION_CONFIGURATION = "GetBucketNotificationConfiguration"
    GET_BUCKET_OWNERSHIP_CONTROLS = "GetBucketOwnershipControls"
    GET_BUCKET_POLICY = "GetBucketPolicy"
    GET_BUCKET_POLICY_STATUS = "GetBucketPolicyStatus"
    GET_BUCKET_REPLICATION = "GetBucketReplication"
    GET_BUCKET_REQUEST_PAYMENT = "GetBucketRequestPayment"
    GET_BUCKET_TAGGING = "GetBucketTagging"
    GET_BUCKET_VERSIONING = "GetBucketVersioning"
    GET_BUCKET_WEBSITE = "GetBucketWebsite"
    GET_OBJECT = "GetObject"
    GET_OBJECT_ACL = "GetObjectAcl"
    GET_OBJECT_ANNOTATION = "GetObjectAnnotation"
    GET_OBJECT_ATTRIBUTES = "GetObjectAttributes"
    GET_OBJECT_LEGAL_HOLD = "GetObjectLegalHold"
    GET_OBJECT_LOCK_CONFIGURATION = "GetObjectLockConfiguration"
    GET_OBJECT_RETENTION = "GetObjectRetention"
    GET_OBJECT_TAGGING = "GetObjectTagging"
    GET_OBJECT_TORRENT = "GetObjectTorrent"
    GET_PUBLIC_ACCESS_BLOCK = "GetPublicAccessBlock"
    HEAD_BUCKET = "HeadBucket"
    HEAD_OBJECT = "HeadObject"
    LIST_BUCKET_ANALYTICS_CONFIGURATIONS = "ListBucketAnalyticsConfigurations"
    LIST_BUCKET_INTELLIGENT_TIERING_CONFIGURATIONS = "ListBucketIntelligentTieringConfigurations"
    LIST_BUCKET_INVENTORY_CONFIGURATIONS = "ListBucketInventoryConfigurations"
    LIST_BUCKET_METRICS_CONFIGURATIONS = "ListBucketMetricsConfigurations"
    LIST_BUCKETS = "ListBuckets"
    LIST_MULTIPART_UPLOADS = "ListMultipartUploads"
    LIST_OBJECT_ANNOTATIONS = "ListObjectAnnotations"
    LIST_OBJECT_VERSIONS = "ListObjectVersions"
    LIST_OBJECTS = "ListObjects"
    LIST_OBJECTS_V2 = "ListObjectsV2"
    LIST_PARTS = "ListParts"
    OPTIONS_OBJECT = "OptionsObject"
    POST_OBJECT = "PostObject"
    PUT_BUCKET_ABAC = "PutBucketAbac"
    PUT_BUCKET_ACCELERATE_CONFIGURATION = "PutBucketAccelerateConfiguration"
    PUT_BUCKET_ACL = "PutBucketAcl"
    PUT_BUCKET_ANALYTICS_CONFIGURATION = "PutBucketAnalyticsConfiguration"
    PUT_BUCKET_CORS = "PutBucketCors"
    PUT_BUCKET_ENCRYPTION = "PutBucketEncryption"
    PUT_BUCKET_INTELLIGENT_TIERING_CONFIGURATION = "PutBucketIntelligentTieringConfiguration"
    PUT_BUCKET_INVENTORY_CONFIGURATION = "PutBucketInventoryConfiguration"
    PUT_BUCKET_LIFECYCLE_CONFIGURATION = "PutBucketLifecycleConfiguration"
    PUT_BUCKET_LOGGING = "PutBucketLogging"
    PUT_BUCKET_METRICS_CONFIGURATION = "PutBucketMetricsConfiguration"
    PUT_BUCKET_NOTIFICATION_CONFIGURATION = "PutBucketNotificationConfiguration"
    PUT_BUCKET_OWNERSHIP_CONTROLS = "PutBucketOwnershipControls"
    PUT_BUCKET_POLICY = "PutBucketPolicy"
    PUT_BUCKET_REPLICATION = "PutBucketReplication"
    PUT_BUCKET_REQUEST_PAYMENT = "PutBucketRequestPayment"
    PUT_BUCKET_TAGGING = "PutBucketTagging"
    PUT_BUCKET_VERSIONING = "PutBucketVersioning"
    PUT_BUCKET_WEBSITE = "PutBucketWebsite"
    PUT_OBJECT = "PutObject"
    PUT_OBJECT_ACL = "PutObjectAcl"
    PUT_OBJECT_ANNOTATION = "PutObjectAnnotation"
    PUT_OBJECT_LEGAL_HOLD = "PutObjectLegalHold"
    PUT_OBJECT_LOCK_CONFIGURATION = "PutObjectLockConfiguration"
    PUT_OBJECT_RETENTION = "PutObjectRetention"
    PUT_OBJECT_TAGGING = "PutObjectTagging"
    PUT_PUBLIC_ACCESS_BLOCK = "PutPublicAccessBlock"
    RENAME_OBJECT = "RenameObject"
    RESTORE_OBJECT = "RestoreObject"
    SELECT_OBJECT_CONTENT = "SelectObjectContent"
    UPDATE_BUCKET_METADATA_ANNOTATION_TABLE_CONFIGURATION = (
        "UpdateBucketMetadataAnnotationTableConfiguration"
    )
    UPDATE_BUCKET_METADATA_INVENTORY_TABLE_CONFIGURATION = (
        "UpdateBucketMetadataInventoryTableConfiguration"
    )
    UPDATE_BUCKET_METADATA_JOURNAL_TABLE_CONFIGURATION = (
        "UpdateBucketMetadataJournalTableConfiguration"
    )
    UPDATE_OBJECT_ENCRYPTION = "UpdateObjectEncryption"
    UPLOAD_PART = "UploadPart"
    UPLOAD_PART_COPY = "UploadPartCopy"


# Method → operation, of a target without a sub-resource.
PLAIN: dict[Level, dict[str, Operation]] = {
    Level.SERVICE: {
        "GET": Operation.LIST_BUCKETS,
    },
    Level.BUCKET: {
        "GET": Operation.LIST_OBJECTS,
        "PUT": Operation.CREATE_BUCKET,
        "HEAD": Operation.HEAD_BUCKET,
        "DELETE": Operation.DELETE_BUCKET,
        "POST": Operation.POST_OBJECT,
        "OPTIONS": Operation.OPTIONS_OBJECT,
    },
    Level.OBJECT: {
        "GET": Operation.GET_OBJECT,
        "PUT": Operation.PUT_OBJECT,
        "HEAD": Operation.HEAD_OBJECT,
        "DELETE": Operation.DELETE_OBJECT,
        "OPTIONS": Operation.OPTIONS_OBJECT,
    },
}

# Sub-resource → method → operation.
BUCKET_SUBRESOURCES: dict[str, dict[str, Operation]] = {
    "abac": {"GET": Operation.GET_BUCKET_ABAC, "PUT": Operation.PUT_BUCKET_ABAC},
    "accelerate": {
        "GET": Operation.GET_BUCKET_ACCELERATE_CONFIGURATION,
        "PUT": Operation.PUT_BUCKET_ACCELERATE_CONFIGURATION,
    },
    "acl": {"GET": Operation.GET_BUCKET_ACL, "PUT": Operation.PUT_BUCKET_ACL},
    "analytics": {
        "GET": Operation.GET_BUCKET_ANALYTICS_CONFIGURATION,
        "PUT": Operation.PUT_BUCKET_ANALYTICS_CONFIGURATION,
        "DELETE": Operation.DELETE_BUCKET_ANALYTICS_CONFIGURATION,
    },
    "cors": {
        "GET": Operation.GET_BUCKET_CORS,
        "PUT": Operation.PUT_BUCKET_CORS,
        "DELETE": Operation.DELETE_BUCKET_CORS,
    },
    "delete": {"POST": Operation.DELETE_OBJECTS},
    "encryption": {
        "GET": Operation.GET_BUCKET_ENCRYPTION,
        "PUT": Operation.PUT_BUCKET_ENCRYPTION,
        "DELETE": Operation.DELETE_BUCKET_ENCRYPTION,
    },
    "intelligent-tiering": {
        "GET": Operation.GET_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,
        "PUT": Operation.PUT_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,
        "DELETE": Operation.DELETE_BUCKET_INTELLIGENT_TIERING_CONFIGURATION,
    },
    "inventory": {
        "GET": Operation.GET_BUCKET_INVENTORY_CONFIGURATION,
        "PUT": Operation.PUT_BUCKET_INVENTORY_CONFIGURATION,
        "DELETE": Operation.DELETE_BUCKET_INVENTORY_CONFIGURATION,
    },
    "lifecycle": {
        "GET": Operation.GET_BUCKET_LIFECYCLE_CONFIGURATION,
        "PUT": Operation.PUT_BUCKET_LIFECYCLE_CONFIGURATION,
        "DELETE": Operation.DELETE_BUCKET_LIFECYCLE,
    },
    "location": {"GET": Operation.GET_BUCKET_LOCATION},
    "logging": {"GET": Operation.GET_BUCKET_LOGGING, "PUT": Operation.PUT_BUCKET_LOGGING},
    "metadataAnnotationTable": {
        "PUT": Operation.UPDATE_BUCKET_METADATA_ANNOTATION_TABLE_CONFIGURATION
    },
    "metadataConfiguration": {
        "GET": Operation.GET_BUCKET_METADATA_CONFIGURATION,
        "POST": Operation.CREATE_BUCKET_METADATA_CONFIGURATION,
        "DELETE": Operation.DELETE_BUCKET_METADATA_CONFIGURATION,
    },
    "metadataInventoryTable": {
        "PUT": Operation.UPDATE_BUCKET_METADATA_INVENTORY_TABLE_CONFIGURATION
    },
    "metadataJournalTable": {"PUT": Operation.UPDATE_BUCKET_METADATA_JOURNAL_TABLE_CONFIGURATION},
    "metadataTable": {
        "GET": Operation.GET_BUCKET_METADATA_TABLE_CONFIGURATION,
        "POST": Operation.CREATE_BUCKET_METADATA_TABLE_CONFIGURATION,
        "DELETE": Operation.DELETE_BUCKET_METADATA_TABLE_CONFIGURATION,
    },
    "metrics": {
        "GET": Operation.GET_BUCKET_METRICS_CONFIGURATION,
        "PUT": Operation.PUT_BUCKET_METRICS_CONFIGURATION,
        "DELETE": Operation.DELETE_BUCKET_METRICS_CONFIGURATION,
    },
    "notification": {
        "GET": Operation.GET_BUCKET_NOTIFICATION_CONFIGURATION,
        "PUT": Operation.PUT_BUCKET_NOTIFICATION_CONFIGURATION,
    },
    "object-lock": {
        "GET": Operation.GET_OBJECT_LOCK_CONFIGURATION,
        "PUT": Operation.PUT_OBJECT_LOCK_CONFIGURATION,
    },
    "ownershipControls": {
        "GET": Operation.GET_BUCKET_OWNERSHIP_CONTROLS,
        "PUT": Operation.PUT_BUCKET_OWNERSHIP_CONTROLS,
        "DELETE": Operation.DELETE_BUCKET_OWNERSHIP_CONTROLS,
    },
    "policy": {
        "GET": Operation.GET_BUCKET_POLICY,
        "PUT": Operation.PUT_BUCKET_POLICY,
        "DELETE": Operation.DELETE_BUCKET_POLICY,
    },
    "policyStatus": {"GET": Operation.GET_BUCKET_POLICY_STATUS},
    "publicAccessBlock": {
        "GET": Operation.GET_PUBLIC_ACCESS_BLOCK,
        "PUT": Operation.PUT_PUBLIC_ACCESS_BLOCK,
        "DELETE": Operation.DELETE_PUBLIC_ACCESS_BLOCK,
    },
    "replication": {
        "GET": Operation.GET_BUCKET_REPLICATION,
        "PUT": Operation.PUT_BUCKET_REPLICATION,
        "DELETE": Operation.DELETE_BUCKET_REPLICATION,
    },
    "requestPayment": {
        "GET": Operation.GET_BUCKET_REQUEST_PAYMENT,
        "PUT": Operation.PUT_BUCKET_REQUEST_PAYMENT,
    },
    "session": {"GET": Operation.CREATE_SESSION},
    "tagging": {
        "GET": Operation.GET_BUCKET_TAGGING,
        "PUT": Operation.PUT_BUCKET_TAGGING,
        "DELETE": Operation.DELETE_BUCKET_TAGGING,
    },
    "uploads": {"GET": Operation.LIST_MULTIPART_UPLOADS},
    "versioning": {"GET": Operation.GET_BUCKET_VERSIONING, "PUT": Operation.PUT_BUCKET_VERSIONING},
    "versions": {"GET": Operation.LIST_OBJECT_VERSIONS},
    "website": {
        "GET": Operation.GET_BUCKET_WEBSITE,
        "PUT": Operation.PUT_BUCKET_WEBSITE,
        "DELETE": Operation.DELETE_BUCKET_WEBSITE,
    },
}

OBJECT_SUBRESOURCES: dict[str, dict[str, Operation]] = {
    "acl": {"GET": Operation.GET_OBJECT_ACL, "PUT": Operation.PUT_OBJECT_ACL},
    "annotation": {
        "GET": Operation.GET_OBJECT_ANNOTATION,
        "PUT": Operation.PUT_OBJECT_ANNOTATION,
        "DELETE": Operation.DELETE_OBJECT_ANNOTATION,
    },
    "attributes": {"GET": Operation.GET_OBJECT_ATTRIBUTES},
    "encryption": {"PUT": Operation.UPDATE_OBJECT_ENCRYPTION},
    "legal-hold": {"GET": Operation.GET_OBJECT_LEGAL_HOLD, "PUT": Operation.PUT_OBJECT_LEGAL_HOLD},
    "renameObject": {"PUT": Operation.RENAME_OBJECT},
    "restore": {"POST": Operation.RESTORE_OBJECT},
    "retention": {"GET": Operation.GET_OBJECT_RETENTION, "PUT": Operation.PUT_OBJECT_RETENTION},
    "select": {"POST": Operation.SELECT_OBJECT_CONTENT},
    "tagging": {
        "GET": Operation.GET_OBJECT_TAGGING,
        "PUT": Operation.PUT_OBJECT_TAGGING,
        "DELETE": Operation.DELETE_OBJECT_TAGGING,
    },
    "torrent": {"GET": Operation.GET_OBJECT_TORRENT},
    "uploadId": {
        "GET": Operation.LIST_PARTS,
        "PUT": Operation.UPLOAD_PART,
        "POST": Operation.COMPLETE_MULTIPART_UPLOAD,
        "DELETE": Operation.ABORT_MULTIPART_UPLOAD,
    },
    "uploads": {"POST": Operation.CREATE_MULTIPART_UPLOAD},
}

# A GET of these sub-resources reads one item if the query names it, and lists them if not.
LISTED: dict[Operation, tuple[str, Operation]] = {
    Operation.GET_BUCKET_ANALYTICS_CONFIGURATION: (
        "id",
        Operation.LIST_BUCKET_ANALYTICS_CONFIGURATIONS,
    ),
    Operation.GET_BUCKET_INTELLIGENT_TIERING_CONFIGURATION: (
        "id",
        Operation.LIST_BUCKET_INTELLIGENT_TIERING_CONFIGURATIONS,
    ),
    Operation.GET_BUCKET_INVENTORY_CONFIGURATION: (
        "id",
        Operation.LIST_BUCKET_INVENTORY_CONFIGURATIONS,
    ),
    Operation.GET_BUCKET_METRICS_CONFIGURATION: (
        "id",
        Operation.LIST_BUCKET_METRICS_CONFIGURATIONS,
    ),
    Operation.GET_OBJECT_ANNOTATION: ("annotationName", Operation.LIST_OBJECT_ANNOTATIONS),
}
