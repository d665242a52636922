"""Website configuration of a bucket: which object a page is, and where requests are sent instead.

Not for HTML or headers (`gateway.s3.operations.website`), nor for rights: pages are read like any
object, by nobody.

Source: Amazon S3 User Guide, "Hosting a static website", "Configuring redirection rules"; API
Reference, "PutBucketWebsite".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gateway.model.action import Action
from gateway.model.errors import (
    InvalidArgument,
    InvalidRequest,
    NoSuchBucket,
    NoSuchWebsiteConfiguration,
)
from gateway.objects.bucket_config import Document, find_document, put_document, read_document
from gateway.objects.context import Context

DOCUMENT = "website"
RULES_MAX = 50
MOVED = 301
_PROTOCOLS = frozenset({"http", "https"})
_HOST = re.compile(r"[^\x00-\x20\x7f/?#\\@]{1,1024}")
_COMPILED = "website parsed"  # in `OpenBucket.parsed`


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """Where a request is sent; None: as in the request.

    Args:
        key: instead of the whole key. prefix: instead of the prefix that the rule asks for.
    """

    protocol: str | None = None
    host: str | None = None
    key: str | None = None
    prefix: str | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingRule:
    """A redirect and when it applies.

    Args:
        prefix: of the key; "" = any.
        error: status of the answer that would be given; None: before the object is looked at.
    """

    redirect: Redirect
    prefix: str = ""
    error: int | None = None

    def new_key(self, key: str) -> str:
        """The key a request for `key`, which has the prefix, is sent to."""
        if self.redirect.key is not None:
            return self.redirect.key
        if self.redirect.prefix is not None:
            return self.redirect.prefix + key[len(self.prefix) :]
        return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Website:
    """A configuration: either `all_requests`, or an index and what else there is.

    Args:
        index: what a key that ends in a slash, or is empty, goes on with.
        error_key: of the page that comes with an error; "": none.
    """

    all_requests: Redirect | None = None
    index: str = ""
    error_key: str = ""
    rules: tuple[RoutingRule, ...] = ()

    def page_key(self, key: str) -> str:
        """The key of the object that a request is about."""
        return key + self.index if not key or key.endswith("/") else key

    def rule_for(self, key: str, error: int | None) -> RoutingRule | None:
        """The first rule for a key, before the object is looked at (None) or after an error."""
        return next(
            (rule for rule in self.rules if rule.error == error and key.startswith(rule.prefix)),
            None,
        )


def check_website(website: Website) -> None:
    """What S3 refuses of a configuration that is well-formed.

    Raises: InvalidArgument, InvalidRequest.
    """
    if website.all_requests is not None:
        _check_target(website.all_requests)
        return
    if not website.index or "/" in website.index:
        raise InvalidArgument(
            message="The IndexDocument Suffix is not well formed",
            argument_name="IndexDocument",
            argument_value=website.index,
        )
    if len(website.rules) > RULES_MAX:
        raise InvalidRequest(
            message=f"{len(website.rules)} routing rules provided, the number of routing rules in "
            f"a website configuration is limited to {RULES_MAX}."
        )
    for rule in website.rules:
        _check_rule(rule)


def _check_target(redirect: Redirect) -> None:
    if redirect.host is not None and _HOST.fullmatch(redirect.host) is None:
        raise InvalidRequest(message="The provided HostName is not a valid name of a host.")
    if redirect.protocol is not None and redirect.protocol not in _PROTOCOLS:
        raise InvalidRequest(
            message="Invalid protocol, protocol can be http or https. If not defined the protocol "
            "will be selected automatically."
        )


def _check_rule(rule: RoutingRule) -> None:
    redirect = rule.redirect
    _check_target(redirect)
    if redirect.key is not None and redirect.prefix is not None:
        raise InvalidRequest(
            message="You can only define ReplaceKeyPrefix or ReplaceKey but not both."
        )
    if redirect.status is not None and not 301 <= redirect.status <= 399:
        raise InvalidRequest(
            message=f"The provided HTTP redirect code ({redirect.status}) is not valid. Valid "
            "codes are 3XX except 300."
        )
    if rule.error is not None and not 400 <= rule.error <= 599:
        raise InvalidRequest(
            message=f"The provided HTTP error code ({rule.error}) is not valid. Valid codes are "
            "4XX or 5XX."
        )


def _document_of(website: Website) -> Document:
    return asdict(website)


def _website_of(held: dict[str, Any]) -> Website:
    rules: Sequence[dict[str, Any]] = held["rules"]
    every = held["all_requests"]
    return Website(
        all_requests=None if every is None else Redirect(**every),
        index=held["index"],
        error_key=held["error_key"],
        rules=tuple(
            RoutingRule(
                redirect=Redirect(**rule["redirect"]), prefix=rule["prefix"], error=rule["error"]
            )
            for rule in rules
        ),
    )


def find_website(ctx: Context, bucket: str) -> Website:
    """The configuration by which a bucket's pages are served, to anybody.

    Raises: NoSuchBucket, NoSuchWebsiteConfiguration, RowCorrupt.
    """
    opened = ctx.services.buckets.find(bucket)
    if opened is None:
        raise NoSuchBucket(bucket=bucket)
    found: Website | None = opened.parsed.get(_COMPILED)
    if found is None:
        held = find_document(ctx.services, opened, DOCUMENT)
        if held is None:
            raise NoSuchWebsiteConfiguration(bucket=bucket)
        found = opened.parsed[_COMPILED] = _website_of(held)
    return found


def read_website(ctx: Context, bucket: str) -> Website:
    """The configuration. Raises: AccessDenied, NoSuchBucket, NoSuchWebsiteConfiguration."""
    held = read_document(ctx, bucket, DOCUMENT, Action.GET_BUCKET_WEBSITE)
    if held is None:
        raise NoSuchWebsiteConfiguration(bucket=bucket)
    return _website_of(held)


async def put_website(ctx: Context, bucket: str, website: Website) -> None:
    """Set the configuration. Raises: InvalidArgument, InvalidRequest, and as put_document."""
    check_website(website)
    await put_document(ctx, bucket, DOCUMENT, _document_of(website), Action.PUT_BUCKET_WEBSITE)


async def delete_website(ctx: Context, bucket: str) -> None:
    """Drop the configuration, if there is one. Raises: as put_document."""
    await put_document(ctx, bucket, DOCUMENT, None, Action.DELETE_BUCKET_WEBSITE)
