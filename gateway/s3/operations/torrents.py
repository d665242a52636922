"""GetObjectTorrent, which S3 has given up: objects are there, torrents of them are not.

Source: Amazon S3 API Reference, GetObjectTorrent.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.objects import get as reads
from gateway.objects.values import GetOptions
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Reply


async def get_object_torrent(call: Call) -> Reply:
    fields.check_supported(call)
    await reads.head_object(call.context, call.bucket, call.key, GetOptions())
    raise S3Error("NoSuchKey", "The object has no torrent.")


OPERATIONS: Mapping[str, OperationFunction] = {"GetObjectTorrent": get_object_torrent}
