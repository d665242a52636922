"""Which function answers which operation; what is not here is answered 501 NotImplemented.

Each module of operations has a table of its own; no operation is in two of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.s3.call import OperationFunction
from gateway.s3.operations import (
    acls,
    annotating,
    attributes,
    buckets,
    configs,
    cors,
    encryption,
    lifecycle,
    listing,
    locks,
    logging,
    multipart,
    notifications,
    objects,
    policies,
    post_object,
    renames,
    replication,
    tagging,
    torrents,
    versioning,
    website,
)

OPERATIONS: Mapping[str, OperationFunction] = {
    **acls.OPERATIONS,
    **annotating.OPERATIONS,
    **attributes.OPERATIONS,
    **buckets.OPERATIONS,
    **configs.OPERATIONS,
    **cors.OPERATIONS,
    **encryption.OPERATIONS,
    **lifecycle.OPERATIONS,
    **listing.OPERATIONS,
    **locks.OPERATIONS,
    **logging.OPERATIONS,
    **multipart.OPERATIONS,
    **notifications.OPERATIONS,
    **objects.OPERATIONS,
    **policies.OPERATIONS,
    **post_object.OPERATIONS,
    **renames.OPERATIONS,
    **replication.OPERATIONS,
    **tagging.OPERATIONS,
    **torrents.OPERATIONS,
    **versioning.OPERATIONS,
    **website.OPERATIONS,
}
