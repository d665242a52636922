"""CORS rules of a bucket: pages of which origins may ask for what, and read which headers.

Not for rights: a rule only tells a browser what a page may see of an answer. Not for headers of
requests and answers either (`gateway.s3.cors`).

Source: Amazon S3 User Guide, "Using cross-origin resource sharing (CORS)"; API Reference,
"PutBucketCors".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.model.action import Action
from gateway.model.errors import InvalidRequest, NoSuchCORSConfiguration
from gateway.objects.bucket_config import Document, find_document, put_document, read_document
from gateway.objects.context import Context, Services

DOCUMENT = "cors"
RULES_MAX = 100
ASKED_HEADERS_MAX = 64  # of a preflight: each is held against every pattern, and anybody may ask
_TOKEN = re.compile(r"[!#$%&'+\-.^_`|~0-9A-Za-z]*")  # what answers repeat must be a name
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD"})
ANY = "*"
_COMPILED = "cors rules"  # in `OpenBucket.parsed`


@dataclass(frozen=True, slots=True, kw_only=True)
class CorsRule:
    """One rule.

    Args:
        origins: each with one `*` at the most, which stands for any characters.
        headers: names that a page may send, lower or upper case, each with one `*` at the most.
        exposed: names of headers that a page may read.
        max_age_s: how long a browser may remember the answer to a preflight; None: its default.
    """

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    max_age_s: int | None = None
    rule_id: str | None = None

    def admits(self, origin: str, method: str, headers: Iterable[str]) -> bool:
        """Whether the rule lets a page of that origin do that.

        Args:
            headers: lower-case names that the page wants to send.
        """
        if method not in self.methods:
            return False
        if not any(_matches(pattern, origin) for pattern in self.origins):
            return False
        names = list(headers)
        patterns = [pattern.lower() for pattern in self.headers] if names else []
        return all(any(_matches(pattern, name) for pattern in patterns) for name in names)


def _matches(pattern: str, text: str) -> bool:
    before, star, after = pattern.partition(ANY)
    if not star:
        return pattern == text
    return (
        len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)
    )


def find_rule(
    rules: Sequence[CorsRule], origin: str, method: str, headers: Iterable[str] = ()
) -> CorsRule | None:
    """The first rule that lets a page of that origin do that."""
    names = tuple(dict.fromkeys(headers))
    if len(names) > ASKED_HEADERS_MAX:
        return None
    return next((rule for rule in rules if rule.admits(origin, method, names)), None)


def check_rules(rules: Sequence[CorsRule]) -> None:
    """What S3 refuses of rules that are well-formed. Raises InvalidRequest."""
    if len(rules) > RULES_MAX:
        raise InvalidRequest(
            message=f"The number of CORS rules should not exceed allowed limit of {RULES_MAX} "
            "rules."
        )
    for rule in rules:
        for method in rule.methods:
            if method not in METHODS:
                raise InvalidRequest(
                    message="Found unsupported HTTP method in CORS config. Unsupported method is "
                    f"{method}"
                )
        for element, patterns in (("AllowedOrigin", rule.origins), ("AllowedHeader", rule.headers)):
            for pattern in patterns:
                if pattern.count(ANY) > 1:
                    raise InvalidRequest(
                        message=f'{element} "{pattern}" can not have more than one wildcard.'
                    )
                if _CONTROL.search(pattern) is not None:
                    raise InvalidRequest(message=f"{element} holds a control character.")
        for name in rule.exposed:
            if _TOKEN.fullmatch(name.replace(ANY, "")) is None:
                raise InvalidRequest(message="ExposeHeader is not the name of a header.")
            if ANY in name:
                raise InvalidRequest(
                    message=f'ExposeHeader "{name}" contains wildcard. We currently do not support '
                    "wildcard for ExposeHeader."
                )


def _document_of(rules: Sequence[CorsRule]) -> Document:
    return {
        "rules": [
            {
                "origins": list(rule.origins),
                "methods": list(rule.methods),
                "headers": list(rule.headers),
                "exposed": list(rule.exposed),
                "max_age_s": rule.max_age_s,
                "id": rule.rule_id,
            }
            for rule in rules
        ]
    }


def _rule_of(held: dict[str, Any]) -> CorsRule:
    return CorsRule(
        origins=tuple(held["origins"]),
        methods=tuple(held["methods"]),
        headers=tuple(held["headers"]),
        exposed=tuple(held["exposed"]),
        max_age_s=held["max_age_s"],
        rule_id=held["id"],
    )


def rules_of(services: Services, bucket: str) -> tuple[CorsRule, ...] | None:
    """The rules of a bucket, () without any; None when there is no such bucket.

    No rights are asked: browsers ask for nobody.
    """
    opened = services.buckets.find(bucket)
    if opened is None:
        return None
    if DOCUMENT not in opened.bucket.cold:
        return ()
    compiled: tuple[CorsRule, ...] | None = opened.parsed.get(_COMPILED)
    if compiled is None:
        held = find_document(services, opened, DOCUMENT) or {"rules": []}
        compiled = tuple(_rule_of(rule) for rule in held["rules"])
        opened.parsed[_COMPILED] = compiled
    return compiled


def read_cors(ctx: Context, bucket: str) -> tuple[CorsRule, ...]:
    """The rules of a bucket. Raises: AccessDenied, NoSuchBucket, NoSuchCORSConfiguration."""
    held = read_document(ctx, bucket, DOCUMENT, Action.GET_BUCKET_CORS)
    if held is None:
        raise NoSuchCORSConfiguration(bucket=bucket)
    return tuple(_rule_of(rule) for rule in held["rules"])


async def put_cors(ctx: Context, bucket: str, rules: Sequence[CorsRule]) -> None:
    """Set the rules of a bucket. Raises: InvalidRequest, and as put_document."""
    check_rules(rules)
    await put_document(ctx, bucket, DOCUMENT, _document_of(rules), Action.PUT_BUCKET_CORS)


async def delete_cors(ctx: Context, bucket: str) -> None:
    """Drop the rules of a bucket, if there are any. Raises: as put_document."""
    await put_document(ctx, bucket, DOCUMENT, None, Action.PUT_BUCKET_CORS)
