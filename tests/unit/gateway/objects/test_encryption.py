"""DEKs under a second key, and what is judged of headers before any key is touched."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.data.envelope import NamedKeyMissing, SealInvalid
from gateway.model.attributes import CUSTOMER, KMS, Encryption
from gateway.model.errors import InvalidArgument, KmsKeyNotFound
from gateway.model.names import ObjectKey, ObjectUuid
from gateway.objects.context import Services
from gateway.objects.encryption import (
    PLAIN,
    Choice,
    checked_context,
    checked_key_name,
    key_check,
)
from gateway.objects.new_object import DekPlace, opened_dek, wrapped_dek
from tests.support.gateway import BUCKET, TENANT, memory_gateway

DEK, SALT, KEY = b"d" * 32, b"s" * 24, b"customer-key-of-thirty-two-bytes"
UUID = ObjectUuid(b"u" * 16)
CUSTOMERS = Choice(Encryption(kind=CUSTOMER), KEY)
NAMED = Choice(Encryption(kind=KMS, key_id="alias/name"))
OF_BUCKET = Choice(Encryption(kind=KMS, key_id="name", bucket_key=True, context="e30="))


def with_services(test: Callable[[Services, DekPlace], None]) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            services = gateway.services
            services.bucket_keys.provider.create_named_key(TENANT, "name")
            services.bucket_keys.provider.create_named_key(TENANT, "other")
            opened = services.buckets.find(BUCKET)
            assert opened is not None
            bucket = opened.bucket
            key = ObjectKey(b"key")
            test(services, DekPlace(TENANT, bucket.bucket_id, key, UUID, bucket.key_epoch))

    asyncio.run(main())


@pytest.mark.proves("CRY-06")
@pytest.mark.parametrize("choice", [PLAIN, CUSTOMERS, NAMED, OF_BUCKET])
def test_a_dek_opens_in_its_place_with_its_keys_only(choice: Choice) -> None:
    def test(services: Services, place: DekPlace) -> None:
        wrapped, stored = wrapped_dek(services, place, DEK, SALT, choice)
        given_key = choice.customer_key
        assert len(wrapped) == (105 if stored is None else 178) and DEK not in wrapped
        assert opened_dek(services, place, wrapped, stored, given_key) == DEK
        moved = place._replace(key=ObjectKey(b"another"))
        another = place._replace(uuid=ObjectUuid(b"v" * 16))
        for elsewhere in (moved, another):
            with pytest.raises(SealInvalid):
                opened_dek(services, elsewhere, wrapped, stored, given_key)
        # What is told of the encryption does not open it: another word of it opens nothing.
        told = [Encryption(kind=KMS, key_id="other"), None if stored else CUSTOMERS.encryption]
        for encryption in told:
            with pytest.raises(SealInvalid):
                opened_dek(services, place, wrapped, encryption, KEY)

    with_services(test)


@pytest.mark.proves("CRY-18")
def test_another_key_of_a_client_or_none_opens_nothing() -> None:
    def test(services: Services, place: DekPlace) -> None:
        wrapped, stored = wrapped_dek(services, place, DEK, SALT, CUSTOMERS)
        assert stored is not None
        assert stored.key_check == key_check(services.cluster_id, UUID, KEY)
        for key in (None, b"x" * 32):
            with pytest.raises(SealInvalid):
                opened_dek(services, place, wrapped, stored, key)

    with_services(test)


def test_a_named_key_that_is_gone_opens_nothing() -> None:
    def test(services: Services, place: DekPlace) -> None:
        wrapped, stored = wrapped_dek(services, place, DEK, SALT, NAMED)
        provider = services.bucket_keys.provider
        provider.named.clear()  # type: ignore[attr-defined]
        with pytest.raises(NamedKeyMissing):
            opened_dek(services, place, wrapped, stored)

    with_services(test)


def test_checks_of_keys_differ_between_objects_and_keys() -> None:
    cluster = b"c" * 16
    checks = {
        key_check(cluster, UUID, KEY),
        key_check(cluster, ObjectUuid(b"v" * 16), KEY),
        key_check(cluster, UUID, b"x" * 32),
        key_check(b"d" * 16, UUID, KEY),
    }
    assert len(checks) == 4 and all(len(check) == 32 for check in checks)


@pytest.mark.parametrize(
    "key_id", ["", "alias/", "arn:aws:kms:fr:1:key/", "n" * 256, "é", "a\n", "a b"]
)
def test_ids_that_no_key_can_have(key_id: str) -> None:
    with pytest.raises(KmsKeyNotFound):
        checked_key_name(key_id)


def test_an_encryption_context_is_a_map_of_texts() -> None:
    good = base64.b64encode(json.dumps({"a": "b", "é": ""}).encode()).decode()
    assert checked_context(good) == good
    for document in ([], 1, {"a": 1}, {"a": {"b": "c"}}, None):
        with pytest.raises(InvalidArgument):
            checked_context(base64.b64encode(json.dumps(document).encode()).decode())
    with pytest.raises(InvalidArgument):
        checked_context(base64.b64encode(b"[" * 5000).decode())
    with pytest.raises(InvalidArgument):
        checked_context(good * 1000)


BASE64 = st.binary(max_size=40).map(lambda raw: base64.b64encode(raw).decode())


@given(text=st.text(max_size=40) | BASE64)
def test_any_context_is_taken_or_refused(text: str) -> None:
    with suppress(InvalidArgument):
        assert checked_context(text) == text
