"""The attacks that the S3 endpoint must stand, by the id that tests name them by.

Not for keys, nodes and journals, whose invariants have ids of their own.
"""

from __future__ import annotations

ATTACKS: dict[str, str] = {
    "SIG-01": "a streaming payload mode with a wrong signature",
    "SIG-02": "the same with the credentials in the query",
    "SIG-03": "any route with any kind of wrong signature",
    "SIG-04": "a payload mode that is taken for a proof",
    "SIG-05": "a header that changes a write, added to a signed request",
    "SIG-06": "credentials in two places at once",
    "SIG-07": "another algorithm, none, or the old version of signatures",
    "SIG-08": "a request from another time, or for another region or service",
    "SIG-09": "a presigned request used for something else",
    "SIG-10": "signed chunks reordered, dropped, doubled, cut, or longer than they say",
    "SIG-11": "trailers that were not announced, or are wrong",
    "SIG-12": "a body that nobody signed, over plain HTTP",
    "SIG-13": "two spellings of one request, or one of two",
    "SIG-14": "a digest that needs no key in the place of a signature",
    "SIG-15": "a form that does more than its signer allowed",
    "SIG-16": "a token of an unsafe algorithm, or a session that gets the rights of its key",
    "SIG-17": "guessing users and passwords",
    "SIG-18": "credentials that are the same everywhere",
    "AUT-01": "a copy of what one may not read",
    "AUT-02": "dots and escapes that lead into another bucket",
    "AUT-03": "conditions that tell what one may not read",
    "AUT-04": "an operation that asks for the wrong right, or for none",
    "AUT-05": "a right that makes itself larger",
    "AUT-06": "an address that the client itself has written into a header",
    "AUT-07": "headers that only parts of the service may send",
    "AUT-08": "pages for debugging that anybody may read",
    "AUT-09": "a denial that lets more people in",
    "AUT-10": "answers that tell what another account has",
    "AUT-11": "many items in one request, of which only the first is asked for",
    "AUT-12": "having the gateway ask an address of one's own choice",
    "HTTP-01": "a compressed body that is inflated",
    "HTTP-02": "a path that is decoded twice, or tidied up",
    "HTTP-03": "a target that names another host than the request",
    "HTTP-04": "escapes that are none, and NUL",
    "HTTP-05": "a request that two readers cut at different places",
    "HTTP-06": "a header that is there twice",
    "HTTP-07": "errors that repeat the bytes they are about",
    "HTTP-08": "a body that is let through before its sender is known",
    "HTTP-09": "trailers, requests in advance and line ends without bounds",
    "HTTP-10": "slow and idle connections, large heads, many parameters",
    "HTTP-11": "half an answer that looks whole",
    "XML-01": "document types and entities",
    "XML-02": "depth, size and number without bounds",
    "XML-03": "other encodings, namespaces and orders",
    "XML-04": "keys that break the XML of answers",
    "RES-01": "queries that are run over objects",
    "RES-02": "archives that are taken apart",
    "WEB-01": "pages of objects where a browser trusts them",
}
# What of an attack cannot be tried yet, and what takes its place until then.
AWAITING: dict[str, str] = {
    "SIG-17": "No password exists, nor a place to exchange one. Equal answers, equal times and a "
    "limit on tries are to be tried when there is.",
    "AUT-05": "Only the operator makes users and roles, and a session has no more rights than who "
    "began it. That who is made has no more rights than who made him is to be tried when users can "
    "make users.",
}
# Where the endpoint does what S3 does although a stricter answer was thought of.
AS_S3: dict[str, str] = {
    "SIG-07": "Version 2 exists for suites of tests: off, and refused beyond loopback.",
    "SIG-12": "UNSIGNED-PAYLOAD over plain HTTP is taken, as old clients send it; plain HTTP "
    "beyond loopback needs `unsafe_plain_http`, and a bucket's policy can keep both out.",
    "SIG-15": "Forms exist, of both versions; every field needs a condition.",
    "AUT-07": "An `x-amz-*` that means nothing is overlooked once it is signed; `x-hexagone-*` is "
    "refused.",
    "RES-02": "The headers that ask for it mean nothing here: the archive is stored as it came.",
}
