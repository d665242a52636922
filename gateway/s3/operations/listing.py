"""ListObjects in both versions.

Source: Amazon S3 API Reference, ListObjects, ListObjectsV2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.limits import LIST_KEYS_MAX
from gateway.objects import list as lists
from gateway.objects.values import ListOptions, ListPage
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply


async def _page(call: Call, *, after: str, token: str | None, keys_max: int) -> ListPage:
    if keys_max == 0:
        # The bucket must be there all the same; one key tells as much as none.
        keys_max = 1
        await lists.list_objects(call.context, call.bucket, ListOptions(keys_max=keys_max))
        return ListPage(
            entries=(), common_prefixes=(), is_truncated=False, next_after=None, next_token=None
        )
    options = ListOptions(
        prefix=call.query.get("prefix", ""),
        delimiter=call.query.get("delimiter", ""),
        after=after,
        token=token,
        keys_max=min(keys_max, LIST_KEYS_MAX),
    )
    return await lists.list_objects(call.context, call.bucket, options)


def _head_elements(call: Call, page: ListPage, keys_max: int, is_url: bool) -> list[str]:
    """Elements both versions share."""
    query = call.query
    encoded = xml.encode_url if is_url else str
    prefix = encoded(query.get("prefix", ""))
    if is_url and "list-type" not in query:
        prefix = prefix.replace("%0A", "\n")  # clients of the first version do not decode it
    children = [
        xml.element("Name", call.bucket),
        xml.element("Prefix", prefix),
        xml.element("MaxKeys", min(keys_max, LIST_KEYS_MAX)),
        xml.element("IsTruncated", page.is_truncated),
    ]
    if query.get("delimiter"):
        children.append(xml.element("Delimiter", encoded(query["delimiter"])))
    if is_url:
        children.append(xml.element("EncodingType", "url"))
    return children


def _rows(call: Call, page: ListPage, *, is_url: bool, has_owners: bool) -> list[str]:
    rows: Sequence[xml.ListedRow] = page.entries
    prefixes = page.common_prefixes
    if is_url:
        rows = [(xml.encode_url(row[0]), *row[1:]) for row in rows]
        prefixes = tuple(map(xml.encode_url, prefixes))
    owner, owners = "", []
    if has_owners and page.has_owners:
        ids = [entry.owner_id for entry in page.entries]
        written = {one: fields.owner_of(call, "Owner", one) for one in set(ids)}
        owners = [written[one] for one in ids]
    elif has_owners:
        owner = fields.owner_of(call, "Owner", "")
    return [xml.contents(rows, owner=owner, owners=owners), xml.common_prefixes(prefixes)]


async def list_objects(call: Call) -> Reply:
    fields.check_supported(call)
    is_url = fields.encoding_is_url(call)
    keys_max = fields.integer(call, "max-keys", LIST_KEYS_MAX, least=0)
    marker = call.query.get("marker", "")
    page = await _page(call, after=marker, token=None, keys_max=keys_max)
    encoded = xml.encode_url if is_url else str
    children = _head_elements(call, page, keys_max, is_url)
    children.append(xml.element("Marker", encoded(marker)))
    if page.is_truncated and call.query.get("delimiter") and page.next_after is not None:
        children.append(xml.element("NextMarker", encoded(page.next_after)))
    children += _rows(call, page, is_url=is_url, has_owners=True)
    return xml_reply(xml.document("ListBucketResult", *children))


async def list_objects_v2(call: Call) -> Reply:
    fields.check_supported(call)
    is_url = fields.encoding_is_url(call)
    keys_max = fields.integer(call, "max-keys", LIST_KEYS_MAX, least=0)
    token = call.query.get("continuation-token")
    start_after = call.query.get("start-after", "")
    page = await _page(call, after=start_after, token=token or None, keys_max=keys_max)
    encoded = xml.encode_url if is_url else str
    children = _head_elements(call, page, keys_max, is_url)
    children.append(xml.element("KeyCount", len(page.entries) + len(page.common_prefixes)))
    if token is not None:
        children.append(xml.element("ContinuationToken", token))
    if start_after:
        children.append(xml.element("StartAfter", encoded(start_after)))
    if page.next_token is not None:
        children.append(xml.element("NextContinuationToken", page.next_token))
    has_owners = call.query.get("fetch-owner") == "true"
    children += _rows(call, page, is_url=is_url, has_owners=has_owners)
    return xml_reply(xml.document("ListBucketResult", *children))


OPERATIONS: Mapping[str, OperationFunction] = {
    "ListObjects": list_objects,
    "ListObjectsV2": list_objects_v2,
}
