"""Under which epoch of a named key a secret is wrapped: what stands before what its provider makes.
Pure.

04 ‖ u32 epoch ‖ as the provider wraps. Before what is under epoch 1 stands nothing: so it was
before named keys had epochs, and what a provider makes never begins with 4.

Source: docs/data-layout.md, "Epochs of keys".
"""

from __future__ import annotations

from struct import Struct

from gateway.data.envelope import SealInvalid
from gateway.model.key_states import FIRST_EPOCH, KeyEpoch, KeyState

_MARK = 4
_HEAD = Struct(">BI")


def with_epoch(epoch: int, wrapped: bytes) -> bytes:
    """What a provider made under an epoch, as it is stored."""
    assert wrapped[:1] != bytes([_MARK])
    return wrapped if epoch == FIRST_EPOCH else _HEAD.pack(_MARK, epoch) + wrapped


def parted(wrapped: bytes) -> tuple[int, bytes]:
    """The epoch, and what a provider made under it. Raises: SealInvalid: it has no such form."""
    if wrapped[:1] != bytes([_MARK]):
        return FIRST_EPOCH, bytes(wrapped)
    if len(wrapped) < _HEAD.size:
        raise SealInvalid(label="wrap-named", record_bytes=len(wrapped))
    epoch: int = _HEAD.unpack_from(wrapped)[1]
    if epoch <= FIRST_EPOCH:  # there is one form for each
        raise SealInvalid(label="wrap-named", epoch=epoch)
    return epoch, bytes(wrapped[_HEAD.size :])


def newest_active(epochs: list[KeyEpoch]) -> int:
    """The epoch of a key that wraps; 0: none does."""
    return max((one.epoch for one in epochs if one.state is KeyState.ACTIVE), default=0)
