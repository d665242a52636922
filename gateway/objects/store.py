"""Storing the bytes of one part: small ones are sealed in memory, large ones streamed to stripes.

Not for rows: what this returns is named by nobody until a batch does. A stored part that never
gets a name is garbage of this writer epoch, and the sweep takes it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Sequence
from hashlib import md5
from typing import NamedTuple

from gateway.commit.change import StripeChange
from gateway.commit.reservations import Reservations
from gateway.data.cipher import SALT_BYTES, PartKeys, seal_frames_into
from gateway.data.digests import INLINE_BYTES_MAX
from gateway.data.geometry import sealed_bytes
from gateway.data.topology import OWN_REGION
from gateway.data.writer import write_body
from gateway.limits import SMALL_BODY_BYTES_MAX
from gateway.model.checksums import MD5, Digest, new_digest
from gateway.model.errors import IncompleteBody
from gateway.model.layout import Geometry, Striped
from gateway.model.names import ObjectUuid, TenantId
from gateway.model.version import Checksum, PartSeal
from gateway.objects.bindings import body_context
from gateway.objects.body import Body, Buffer
from gateway.objects.context import Services
from gateway.objects.regions import check_region
from storaged.base.ids import StripeFamily, StripeId

FULL_OBJECT = "FULL_OBJECT"


class PartName(NamedTuple):
    """Whose bytes they are: what the frames are bound to, the key that seals them, and the region
    they may not leave.
    """

    tenant: TenantId
    uuid: ObjectUuid
    number: int
    dek: bytes
    region: int

    def __repr__(self) -> str:
        return f"PartName({self.uuid.hex()}, {self.number})"


class SealedPart(NamedTuple):
    """Bytes that are sealed and, if striped, durable.

    Args:
        body: sealed bytes that ride in the commit stripe; None when the part is striped.
        layout: where a striped part is.
        creates: the rows of its stripes, for the batch that names the part.
        reserved: the ids to release once the batch has its outcome.
    """

    seal: PartSeal
    etag: str
    checksum: Checksum | None
    body: Buffer | None
    layout: Striped | None
    creates: tuple[StripeChange, ...]
    reserved: StripeId | None


async def store_part(
    services: Services,
    name: PartName,
    body: Body,
    checksum_algorithm: str | None,
    storage_class: str = "STANDARD",
) -> SealedPart:
    """Read a body to its end, seal it, and compare the digests its sender stated.

    Args:
        storage_class: whose geometry a body gets that has stripes of its own.

    Raises:
        IncompleteBody: the body has another length than it said.
        LogUnavailable: writes are refused at what the nodes can give, before the body is read.
        RegionUnreachable: its region's nodes cannot take it, before the body is read.
        TierNotReached, NodeUnavailable, …: large bodies, from the nodes.
        whatever the body raises, and the errors of its expected digests.
    """
    services.log.check_reach()
    algorithms = set(body.digests)
    if checksum_algorithm is not None:
        algorithms.add(checksum_algorithm)
    if body.length <= SMALL_BODY_BYTES_MAX and name.region == OWN_REGION:
        return await _seal_small(services, name, body, algorithms, checksum_algorithm)
    geometry = services.geometry_of(storage_class)
    if name.region != OWN_REGION:
        check_region(services, name.region, geometry)
    return await _stream_large(services, name, body, algorithms, checksum_algorithm, geometry)


async def _seal_small(
    services: Services,
    name: PartName,
    body: Body,
    algorithms: Collection[str],
    checksum_algorithm: str | None,
) -> SealedPart:
    content = await read_whole(body)
    digester = PartDigester(algorithms)
    length = body.length
    if length <= INLINE_BYTES_MAX:
        digester.update_batch((content,))
    else:
        await services.env.offload(lambda: digester.update_batch((content,)))
    digests = digester.results()
    compare(body, digests)
    salt = services.env.random_bytes(SALT_BYTES)
    keys = part_keys(services, name, salt)
    sealed = bytearray(sealed_bytes(length))
    seal_frames_into(keys, 0, memoryview(content), True, memoryview(sealed))
    return SealedPart(
        PartSeal(plain_bytes=length, salt=salt, commitment=keys.commitment),
        digests[MD5].hex(),
        kept_checksum(checksum_algorithm, digests),
        sealed,
        None,
        (),
        None,
    )


async def _stream_large(
    services: Services,
    name: PartName,
    body: Body,
    algorithms: Collection[str],
    checksum_algorithm: str | None,
    geometry: Geometry,
) -> SealedPart:
    keys = part_keys(services, name, services.env.random_bytes(SALT_BYTES))
    digester = PartDigester(algorithms)
    ids = _Reservation(services.log.reservations)
    try:
        stored = await write_body(
            services.stripes,
            services.pool,
            geometry,
            services.log.tier,
            ids.reserve,
            keys,
            body,
            body.length,
            env=services.env,
            digester=digester,
            floor=services.tier_floor,
            exact_length=lambda: body.length,
            region=name.region,
        )
        digests = digester.results()
        compare(body, digests)
        part = SealedPart(
            PartSeal(
                plain_bytes=stored.plain_bytes, salt=stored.salt, commitment=stored.commitment
            ),
            digests[MD5].hex(),
            kept_checksum(checksum_algorithm, digests),
            None,
            stored.layout,
            tuple(StripeChange(stripe=row.stripe, create=row) for row in stored.stripe_rows),
            ids.first,
        )
        ids.is_taken = True
        return part
    finally:
        ids.give_back()


class _Reservation:
    """Stripe ids of one part. Given back if the part does not come about, to the sweep."""

    def __init__(self, reservations: Reservations) -> None:
        self._reservations = reservations
        self.first: StripeId | None = None
        self.is_taken = False

    def reserve(self, count: int) -> StripeId:
        assert self.first is None, "a part reserves once"
        self.first = self._reservations.reserve(StripeFamily.DATA, count)
        return self.first

    def give_back(self) -> None:
        if self.first is not None and not self.is_taken:
            self._reservations.release(self.first)


class PartDigester:
    """MD5 and whatever else is asked of one part; see `gateway.data.digests.Digester`."""

    def __init__(self, algorithms: Collection[str]) -> None:
        self._digests: dict[str, Digest] = {MD5: md5(usedforsecurity=False)}
        for algorithm in algorithms:
            if algorithm != MD5:
                self._digests[algorithm] = new_digest(algorithm)

    def update_batch(self, buffers: Sequence[Buffer]) -> None:
        """Add content."""
        for digest in self._digests.values():
            for buffer in buffers:
                digest.update(buffer)

    def finish(self) -> None:
        """Nothing is left to do."""

    def results(self) -> dict[str, bytes]:
        """Raw digests by algorithm."""
        return {algorithm: digest.digest() for algorithm, digest in self._digests.items()}


def part_keys(services: Services, name: PartName, salt: bytes) -> PartKeys:
    """Keys of one attempt at a part."""
    context = body_context(services.cluster_id, name.tenant, name.uuid, name.number)
    return PartKeys.derive(name.dek, salt, context)


async def read_whole(body: Body) -> Buffer:
    """A small body in one buffer. Raises IncompleteBody, and whatever the body raises."""
    pieces: list[Buffer] = []
    held = 0
    while piece := await body.read():
        pieces.append(piece)
        held += len(piece)
        if held > body.length:
            break
    if held != body.length:
        raise IncompleteBody(expected=body.length, received=held)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def compare(body: Body, digests: dict[str, bytes]) -> None:
    """Raise the error of the first expected digest that is not the content's."""
    for algorithm, digest, error in body.expected():
        if digests[algorithm] != digest:
            raise error()


def kept_checksum(algorithm: str | None, digests: dict[str, bytes]) -> Checksum | None:
    """The checksum that is kept with the part."""
    if algorithm is None:
        return None
    value = b64encode(digests[algorithm]).decode("ascii")
    return Checksum(algorithm=algorithm, type=FULL_OBJECT, value=value)
