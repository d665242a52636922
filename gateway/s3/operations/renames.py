"""RenameObject.

Source: Amazon S3 API Reference, this operation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.objects import rename
from gateway.objects.values import RenameOptions
from gateway.s3 import routes
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields, sse
from gateway.s3.responses import Reply

SOURCE = "x-amz-rename-source"
TOKEN = "x-amz-client-token"
_TOKEN = re.compile(r"[\x21-\x7e]{1,64}")


async def rename_object(call: Call) -> Reply:
    fields.check_supported(call)
    sse.refuse_on_read(call.headers)
    source = call.headers.get(SOURCE)
    if source is None:
        raise S3Error("InvalidRequest", f"Missing required header for this request: {SOURCE}")
    token = call.headers.get(TOKEN, "")
    if token and _TOKEN.fullmatch(token) is None:
        text = "A client token has at most 64 characters from ! to ~."
        raise S3Error("InvalidArgument", text, extra={"ArgumentName": TOKEN})
    await rename.rename_object(
        call.context,
        call.bucket,
        routes.split_rename_source(source, call.bucket),
        call.key,
        RenameOptions(
            source=fields.read_conditions(call, rename.SOURCE_CONDITIONS),
            destination=fields.read_conditions(call),
            client_token=token,
            customer_key=sse.customer_key_of(call.headers),
        ),
    )
    return Reply()


OPERATIONS: Mapping[str, OperationFunction] = {"RenameObject": rename_object}
