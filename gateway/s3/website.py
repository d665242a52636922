"""Pages of a bucket as a website: GET and HEAD by anybody, redirects, and errors as HTML.

Not for the configuration's meaning (`gateway.objects.website`). A page is an object that anybody
may read: nothing else is asked, and credentials in a request are ignored.

Source: Amazon S3 User Guide, "Website endpoints", "Configuring a custom error document".
"""

from __future__ import annotations

from dataclasses import replace
from html import escape
from http import HTTPStatus
from urllib.parse import quote

from gateway.objects.warming import warm_bucket
from gateway.objects.website import MOVED, Redirect, Website, find_website
from gateway.s3.call import Call
from gateway.s3.errors import S3Answer, S3Error, s3_code_for
from gateway.s3.operations.fields import WEBSITE_REDIRECT
from gateway.s3.operations.objects import get_object, head_object
from gateway.s3.responses import Header, Reply
from storaged.base.errors import StorageError

OPERATION = "WebsiteRequest"  # in the access log and the counters
FOUND = 302
HTML_TYPE = "text/html; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD"})
# Of a request for a page, what counts for the read of an object.
_READING = frozenset(
    {
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "range",
        "referer",
        "user-agent",
    }
)


async def serve(call: Call, method: str) -> Reply:
    """The answer to a request for a page; `call.key` is the path without its first slash."""
    headers = {name: call.headers[name] for name in _READING & call.headers.keys()}
    facts = call.context.facts._replace(headers=headers)
    context = replace(call.context, principal=None, facts=facts)
    page = replace(call, headers=headers, query={}, context=context)
    try:
        if method not in _METHODS:
            raise S3Error("MethodNotAllowed", extra={"Method": method, "ResourceType": "OBJECT"})
        await warm_bucket(context.services, call.bucket)
        website = find_website(context, call.bucket)
        redirect = _redirect_before(page, website)
        if redirect is not None:
            return redirect
    except StorageError as error:
        return _html(page, s3_code_for(error), method)
    try:
        return await _page(page, website, method)
    except StorageError as error:
        return await _error(page, website, error, method)


def _redirect_before(page: Call, website: Website) -> Reply | None:
    """The redirect that applies whatever the object is."""
    if website.all_requests is not None:
        return _redirect(page, website.all_requests, page.key)
    rule = website.rule_for(page.key, None)
    return None if rule is None else _redirect(page, rule.redirect, rule.new_key(page.key))


def _redirect(page: Call, redirect: Redirect, key: str) -> Reply:
    scheme, _, host = page.origin.partition("://")
    origin = f"{redirect.protocol or scheme}://{redirect.host or host}"
    status = redirect.status or MOVED
    return _location(status, f"{origin}/{quote(key)}")


def _location(status: int, target: str) -> Reply:
    return Reply(status=status, headers=[("Location", target)])


async def _page(page: Call, website: Website, method: str) -> Reply:
    """The object of a page, or the redirect that it stands for."""
    read = get_object if method == "GET" else head_object
    reply = await read(replace(page, key=website.page_key(page.key)))
    target = _value(reply.headers, WEBSITE_REDIRECT)
    if target is None or reply.status >= HTTPStatus.MULTIPLE_CHOICES:
        return reply
    if reply.pieces is not None:
        await reply.pieces.aclose()
    return _location(MOVED, target)


def _value(headers: list[Header], name: str) -> str | None:
    return next((value for held, value in headers if held == name), None)


async def _error(page: Call, website: Website, error: StorageError, method: str) -> Reply:
    """What comes instead of a page that cannot be read."""
    answer = s3_code_for(error)
    if answer.status in (403, 404) and page.key and not page.key.endswith("/"):
        folder = f"{page.key}/"
        if await _exists(page, website.page_key(folder)):
            # Two slashes at the start of an address would begin the name of another host.
            origin = page.origin if folder.startswith("/") else ""
            return _location(FOUND, f"{origin}/{quote(folder)}")
    rule = website.rule_for(page.key, answer.status)
    if rule is not None:
        return _redirect(page, rule.redirect, rule.new_key(page.key))
    if website.error_key and 400 <= answer.status < 500:
        try:
            # Ranges and conditions were about another object.
            headers = {"host": page.headers["host"]}
            read = get_object if method == "GET" else head_object
            reply = await read(replace(page, key=website.error_key, headers=headers))
        except StorageError:
            return _html(page, answer, method)
        reply.status, reply.code = answer.status, answer.code
        return reply
    return _html(page, answer, method)


async def _exists(page: Call, key: str) -> bool:
    try:
        await head_object(replace(page, key=key, headers={"host": page.headers["host"]}))
    except StorageError:
        return False
    return True


def _html(page: Call, answer: S3Answer, method: str) -> Reply:
    """An error as a browser shows it."""
    title = f"{answer.status} {HTTPStatus(answer.status).phrase}"
    request_id = page.context.request_id[:8].hex().upper()
    told = {"Code": answer.code, "Message": answer.message, **answer.extra, "RequestId": request_id}
    items = "".join(f"<li>{escape(name)}: {escape(text)}</li>\n" for name, text in told.items())
    body = (
        f"<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n{items}"
        "</ul>\n<hr/>\n</body>\n</html>\n"
    ).encode("utf-8", "replace")
    headers = [*answer.headers, ("Content-Type", HTML_TYPE)]
    return Reply(
        status=answer.status,
        headers=headers,
        body=b"" if method == "HEAD" else body,
        code=answer.code,
        close_connection=answer.close_connection,
    )
