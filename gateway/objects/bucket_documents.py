"""Documents of an open bucket on the way of a request: what is there, read once.

Not for changing them (`objects.bucket_config`).
"""

from __future__ import annotations

from typing import Any

from gateway.meta import buckets as bucket_rows
from gateway.model.bucket import HOT_DOCUMENTS
from gateway.objects.context import Services
from gateway.objects.target import OpenBucket

Document = dict[str, Any]


def find_document(services: Services, opened: OpenBucket, name: str) -> Document | None:
    """A document of an open bucket; None when it has none. Raises: RowCorrupt.

    What is returned is shared: nobody may change it.
    """
    bucket = opened.bucket
    if name in HOT_DOCUMENTS:
        return bucket.documents.get(name)
    if name not in bucket.cold:
        return None
    if name not in opened.parsed:
        opened.parsed[name] = bucket_rows.read_document(
            services.log, services.records, bucket.bucket_id, name
        )
    found: Document | None = opened.parsed[name]
    return found
