"""XML: output that always parses, and a reader that refuses what it does not know."""

from __future__ import annotations

import time
from collections.abc import Callable
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.meta.records import ListingEntry
from gateway.s3 import xml
from gateway.s3.errors import S3Answer, S3Error
from gateway.s3.xml import (
    BucketConfiguration,
    CompletedPart,
    DeleteRequest,
    KeyToDelete,
    parse_complete,
    parse_create_bucket,
    parse_delete,
)
from gateway.s3.xml_reader import ELEMENTS_MAX, _Reader

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
PARSERS: list[Callable[[bytes], object]] = [parse_delete, parse_complete, parse_create_bucket]
DELETE = b"<Delete><Object><Key>k</Key></Object></Delete>"


def refused(parser: Callable[[bytes], object], body: bytes) -> str:
    with pytest.raises(S3Error) as caught:
        parser(body)
    return caught.value.code


# --- writer -----------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_output_always_parses(text: str) -> None:
    """XML-04."""
    root = ElementTree.fromstring(xml.document("R", xml.element("E", text)))
    assert len(root[0].text or "") == len(text)
    if text.isprintable():
        assert (root[0].text or "") == text


def test_every_control_character_and_surrogate_is_carried_or_replaced() -> None:
    text = "".join(map(chr, range(0x21))) + "\x7f\x85\u2028\ud800\udfff\ufffe\uffff]]>\U0001f600"
    root = ElementTree.fromstring(xml.document("R", xml.element("E", text)))
    kept = set("\t\n\r \x7f\x85\u2028]>\U0001f600")
    assert root[0].text == "".join(one if one in kept else "\ufffd" for one in text)


def test_elements() -> None:
    assert xml.element("A", True) + xml.element("A", False) == "<A>true</A><A>false</A>"
    assert xml.element("N", 12) == "<N>12</N>"
    assert xml.element("T", '<&>"\r') == "<T>&lt;&amp;&gt;&quot;&#13;</T>"
    assert xml.group("G", "<A/>", "<B/>") == "<G><A/><B/></G>"
    assert xml.document("R").startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n<R xmlns=')


def test_timestamps() -> None:
    assert xml.timestamp(1_255_369_830_000) == "2009-10-12T17:50:30.000Z"
    assert xml.timestamp(1_255_369_830_007) == "2009-10-12T17:50:30.007Z"
    assert xml.told_time(1_255_369_830_999) == "2009-10-12T17:50:30.000Z"


def test_encode_url() -> None:
    assert xml.encode_url("a b+c/é&\x01~") == "a%20b%2Bc/%C3%A9%26%01~"


def test_contents() -> None:
    row = ListingEntry(
        key="a&b", etag="e", content_bytes=7, created_at_ms=0, storage_class="STANDARD"
    )
    full = ListingEntry(
        key="c",
        created_at_ms=0,
        etag="e",
        content_bytes=0,
        storage_class="STANDARD",
        checksum_algorithm="CRC32",
        checksum_type="FULL_OBJECT",
    )
    owner = xml.group("Owner", xml.element("ID", "me"))
    answer = xml.document("R", xml.contents([row]), xml.contents([full], owner=owner))
    first, second = ElementTree.fromstring(answer).findall(f"{NS}Contents")
    assert [(one.tag.removeprefix(NS), one.text) for one in first] == [
        ("Key", "a&b"),
        ("LastModified", "1970-01-01T00:00:00.000Z"),
        ("ETag", '"e"'),
        ("Size", "7"),
        ("StorageClass", "STANDARD"),
    ]
    assert second.findtext(f"{NS}ChecksumType") == "FULL_OBJECT"
    assert second.findtext(f"{NS}ChecksumAlgorithm") == "CRC32"
    assert second.findtext(f"{NS}Owner/{NS}ID") == "me"
    prefixes = ElementTree.fromstring(xml.document("R", xml.common_prefixes(["a/", "<"])))
    assert [one.findtext(f"{NS}Prefix") for one in prefixes] == ["a/", "<"]


@pytest.mark.parametrize("special", ["&", "<", ">", '"', "\r", "\x01", "é", "\ud800", "\uffff"])
def test_one_special_key_does_not_change_the_others(special: str) -> None:
    keys = ["plain", f"a{special}b", "also plain", "é"]
    rows = [
        ListingEntry(
            key=key,
            created_at_ms=61_999 + number,
            etag="e-2",
            content_bytes=0,
            storage_class="STANDARD",
            checksum_algorithm="CRC32",
            checksum_type="COMPOSITE" if number % 2 else "FULL_OBJECT",
        )
        for number, key in enumerate(keys)
    ]
    written = xml.contents(rows)
    assert written == "".join([xml.contents([row]) for row in rows])
    found = ElementTree.fromstring(xml.document("R", written)).findall(f"{NS}Contents")
    carried = "\ufffd" if special in "\x01\ud800\uffff" else special
    assert [one.findtext(f"{NS}Key") for one in found] == ["plain", f"a{carried}b", *keys[2:]]
    assert [one.findtext(f"{NS}LastModified") for one in found] == [
        "1970-01-01T00:01:01.000Z",
        *["1970-01-01T00:01:02.000Z"] * 3,
    ]
    assert found[1].findtext(f"{NS}ChecksumType") == "COMPOSITE"


def test_a_thousand_rows_are_quick() -> None:
    rows = [
        ListingEntry(
            key=f"some/prefix/of/a/key/{index:08}.bin",
            created_at_ms=1_790_000_000_000 + index,
            etag="d41d8cd98f00b204e9800998ecf8427e",
            content_bytes=index,
            storage_class="STANDARD",
        )
        for index in range(1000)
    ]
    took_s = []
    for _ in range(5):
        began = time.perf_counter()
        xml.document("R", xml.contents(rows))
        took_s.append(time.perf_counter() - began)
    assert min(took_s) < 0.02  # 2 ms is the aim; ten times that on a busy machine


def test_error_document() -> None:
    answer = S3Answer(code="NoSuchKey", status=404, message="No <key>", extra={"Key": "a&b"})
    body = xml.error_document(answer, resource="/b/a&b", request_id="R1", host_id="H1")
    assert [(one.tag, one.text) for one in ElementTree.fromstring(body)] == [
        ("Code", "NoSuchKey"),
        ("Message", "No <key>"),
        ("Key", "a&b"),
        ("Resource", "/b/a&b"),
        ("RequestId", "R1"),
        ("HostId", "H1"),
    ]
    bare = S3Answer(code="NotModified", status=304, message="", has_body=False)
    assert xml.error_document(bare, resource="", request_id="", host_id="") == b""


# --- reader: what is read ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "opening",
    [
        "<Delete>",
        '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">',
        '<?xml version="1.0" encoding="UTF-8"?>\n<Delete>',
        '<?xml version="1.0" encoding="utf-8" standalone="yes"?><Delete other="x">',
        "\ufeff<Delete>",
    ],
)
def test_delete_requests(opening: str) -> None:
    text = f"""{opening}
      <Object><Key> spaced &amp; é </Key></Object>
      <Object><Key>k</Key><VersionId>v</VersionId><ETag>"e"</ETag><Size>3</Size>
        <LastModifiedTime>Wed, 21 Oct 2015 07:28:00 GMT</LastModifiedTime></Object>
      <Quiet> True </Quiet></Delete>"""
    assert parse_delete(text.encode()) == DeleteRequest(
        keys=(
            KeyToDelete(key=" spaced & é "),
            KeyToDelete(
                key="k",
                version_id="v",
                etag='"e"',
                last_modified_time="Wed, 21 Oct 2015 07:28:00 GMT",
                length_bytes="3",
            ),
        ),
        quiet=True,
    )


def test_a_prefixed_namespace_is_read() -> None:
    body = (
        b'<s:Delete xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/">'
        b"<s:Object><s:Key>k</s:Key></s:Object></s:Delete>"
    )
    assert parse_delete(body) == DeleteRequest(keys=(KeyToDelete(key="k"),), quiet=False)


def test_complete_requests_keep_their_order() -> None:
    body = b"""<CompleteMultipartUpload>
      <Part><PartNumber>2</PartNumber><ETag>"b"</ETag></Part>
      <Part><ETag>&quot;a&quot;</ETag><PartNumber> 1 </PartNumber>
        <ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>
      <Part><PartNumber>2</PartNumber><ETag>b</ETag></Part></CompleteMultipartUpload>"""
    assert parse_complete(body) == (
        CompletedPart(part_number=2, etag="b"),
        CompletedPart(part_number=1, etag="a", checksums={"ChecksumCRC32": "AAAAAA=="}),
        CompletedPart(part_number=2, etag="b"),
    )


def test_ten_thousand_parts_with_checksums_fit() -> None:
    part = (
        "<Part><PartNumber>{0}</PartNumber><ETag>&quot;" + "0" * 32 + "&quot;</ETag>"
        "<ChecksumSHA256>" + "A" * 43 + "=</ChecksumSHA256></Part>"
    )
    parts = "".join(part.format(number) for number in range(1, 10_001))
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    assert len(parse_complete(body)) == 10_000
    more = body.replace(b"<Part>", b"<Part><PartNumber>1</PartNumber></Part><Part>", 1)
    assert refused(parse_complete, more) == "MalformedXML"


def test_bucket_configurations() -> None:
    def configuration(inside: str) -> BucketConfiguration:
        text = f"<CreateBucketConfiguration>{inside}</CreateBucketConfiguration>"
        return parse_create_bucket(text.encode())

    assert parse_create_bucket(b"") == BucketConfiguration(location=None)
    assert configuration("") == BucketConfiguration(location=None)
    location = "<LocationConstraint>fr</LocationConstraint>"
    assert configuration(location) == BucketConfiguration(location="fr")
    assert configuration("<LocationConstraint/>") == BucketConfiguration(location=None)
    tags = "<Tags><Tag><Key>a</Key><Value>1</Value></Tag></Tags>"
    assert configuration(tags).tags == (("a", "1"),)
    for inside in ("<Location><Type>x</Type></Location>", "<Bucket/>"):
        with pytest.raises(S3Error, match="NotImplemented"):
            configuration(inside)
    for inside in (
        location * 2,
        "<Other/>",
        "<LocationConstraint><a/></LocationConstraint>",
        "<Tags><Tag><Key>a</Key></Tag></Tags>",
        "<Tags><Other><Key>a</Key><Value>1</Value></Other></Tags>",
    ):
        with pytest.raises(S3Error, match="MalformedXML"):
            configuration(inside)


# --- reader: what is refused ------------------------------------------------------------------


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE Delete>" + DELETE,
        b'<!DOCTYPE Delete [<!ENTITY a "b">]>' + DELETE,
        b'<!DOCTYPE Delete SYSTEM "file:///etc/passwd">' + DELETE,
        b"<Delete><Object><Key>&unknown;</Key></Object></Delete>",
        b'<?xml version="1.0" encoding="ISO-8859-1"?>' + DELETE,
        b'<?xml version="1.0" encoding="UTF-16"?>' + DELETE,
        b'<?xml version="1.0" encoding="UTF-7"?>' + DELETE,
        DELETE.decode().encode("utf-16"),
        DELETE.decode().encode("utf-32"),
        DELETE.replace(b">k<", b">\xff<"),
        DELETE.replace(b">k<", b">\x01<"),
        DELETE[:-1],
        DELETE + DELETE,
        DELETE + b"x",
        b" ",
        b"{}",
        b'<Delete xmlns="urn:other"><Object><Key>k</Key></Object></Delete>',
        b"\xff\xfe",
        b"\xfe\xff\x3c",
        b"<Other/>",
    ],
)
def test_refused_documents(parser: Callable[[bytes], object], body: bytes) -> None:
    """XML-01, XML-03."""
    assert refused(parser, body) == "MalformedXML"


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "<Quiet>true</Quiet>",
        "<Object/>",
        "<Object><Key/></Object>",
        "<Object><Key>k</Key><Key>k</Key></Object>",
        "<Object><Key>k</Key><Other/></Object>",
        "<Object><Key>k<b/></Key></Object>",
        "<Object>text<Key>k</Key></Object>",
        "<Object><Key>k</Key></Object><Other/>",
        "<Object><Key>k</Key></Object><Quiet>maybe</Quiet>",
        "<Object><Key>k</Key></Object><Quiet>true</Quiet><Quiet>true</Quiet>",
        "<Object><Key>k</Key></Object><Quiet><a/></Quiet>",
        "<Object><Key>k</Key></Object>" * 1001,
    ],
)
def test_refused_delete_requests(inside: str) -> None:
    assert refused(parse_delete, f"<Delete>{inside}</Delete>".encode()) == "MalformedXML"


@pytest.mark.parametrize(
    ("inside", "code"),
    [
        ("", "MalformedXML"),
        ("<Other/>", "MalformedXML"),
        ("<Part><PartNumber>1</PartNumber></Part>", "MalformedXML"),
        ("<Part><ETag>a</ETag></Part>", "MalformedXML"),
        ('<Part><PartNumber>1</PartNumber><ETag>""</ETag></Part>', "MalformedXML"),
        ("<Part><PartNumber>-1</PartNumber><ETag>a</ETag></Part>", "MalformedXML"),
        ("<Part><PartNumber>1.0</PartNumber><ETag>a</ETag></Part>", "MalformedXML"),
        ("<Part><PartNumber>²</PartNumber><ETag>a</ETag></Part>", "MalformedXML"),
        (f"<Part><PartNumber>{'1' * 10}</PartNumber><ETag>a</ETag></Part>", "MalformedXML"),
    ],
)
def test_refused_complete_requests(inside: str, code: str) -> None:
    text = f"<CompleteMultipartUpload>{inside}</CompleteMultipartUpload>"
    assert refused(parse_complete, text.encode()) == code


def test_depth_elements_and_bytes_are_bounded() -> None:
    """XML-02."""
    read = _Reader().read
    assert read(b"<a>" * 32 + b"</a>" * 32).name == "a"
    for depth in (33, 20_000):
        assert refused(_Reader().read, b"<a>" * depth + b"</a>" * depth) == "MalformedXML"
    most = b"<a>" + b"<b/>" * (ELEMENTS_MAX - 1)
    assert len(_Reader().read(most + b"</a>").children) == ELEMENTS_MAX - 1
    assert refused(_Reader().read, most + b"<b/></a>") == "MalformedXML"
    for parser, bytes_max in zip(
        PARSERS,
        [xml.DELETE_BODY_MAX_BYTES, xml.COMPLETE_BODY_MAX_BYTES, xml.BUCKET_BODY_MAX_BYTES],
        strict=True,
    ):
        assert refused(parser, b" " * (bytes_max + 1)) == "MaxMessageLengthExceeded"


def test_the_largest_delete_request_fits() -> None:
    keys = [f"{index:04}" + "&" * 1020 for index in range(1000)]
    objects = "".join(f"<Object>{xml.element('Key', key)}</Object>" for key in keys)
    body = f"<Delete>{objects}</Delete>".encode()
    assert [one.key for one in parse_delete(body).keys] == keys


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), parser=st.sampled_from(PARSERS))
def test_any_bytes_are_read_or_refused(body: bytes, parser: Callable[[bytes], object]) -> None:
    try:
        parser(body)
    except S3Error as error:
        assert error.code == "MalformedXML"
