"""The Merkle tree of a log: hashes, roots, proofs of inclusion and of consistency.

Not for files: hashes of whole subtrees are asked for through a function. A subtree is named by its
level (0 = a leaf) and its place in that level, so (3, 0) covers leaves 0 to 7.

Kept hashes stand in one row in the order in which they come to be: after leaf n come the subtrees
that it completes, lowest first. `stored_index` says where one is.

Source: RFC 6962 §2.1, RFC 9162 §2.1; C2SP tlog-checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256

from storaged.base.errors import Kind, StorageError

HASH_BYTES = 32
LEVELS_MAX = 63  # a proof has no more hashes than that
EMPTY_ROOT = sha256(b"").digest()

HashReader = Callable[[int, int], bytes]
"""(level, place) → the 32-byte hash of a whole subtree."""


class ProofInvalid(StorageError):
    """The proof does not lead to the root."""

    kind = Kind.CORRUPT


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of the subtree over two others."""
    return sha256(b"\x01" + left + right).digest()


def stored_index(level: int, place: int) -> int:
    """Where the hash of a whole subtree stands among the kept hashes of its log."""
    last_leaf = ((place + 1) << level) - 1
    # Before leaf n stand n leaves and the subtrees they complete: n minus the one-bits of n.
    return 2 * last_leaf - last_leaf.bit_count() + level


def stored_count(leaf_count: int) -> int:
    """How many hashes are kept for so many leaves."""
    return 2 * leaf_count - leaf_count.bit_count()


class Edge:
    """The right edge of a growing tree: the roots of its whole subtrees, largest first."""

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        assert len(peaks) == size.bit_count()
        self.size = size
        self.peaks = list(peaks)

    def copy(self) -> Edge:
        return Edge(self.size, self.peaks)

    def append(self, leaf: bytes) -> list[bytes]:
        """Add the hash of a leaf; the hashes to keep: that one and of what it completes."""
        made = [leaf]
        carry, size = leaf, self.size
        while size & 1:
            carry = sha256(b"\x01" + self.peaks.pop() + carry).digest()
            made.append(carry)
            size >>= 1
        self.peaks.append(carry)
        self.size += 1
        return made

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node_hash(peak, root)
        return root


def peak_places(size: int) -> list[tuple[int, int]]:
    """(level, place) of the whole subtrees that a tree of a size is made of, largest first."""
    places, start = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            places.append((level, start >> level))
            start += 1 << level
    return places


def edge_at(size: int, read: HashReader) -> Edge:
    """The right edge as it was at a size, from kept hashes."""
    return Edge(size, [read(level, place) for level, place in peak_places(size)])


def _range_root(start: int, end: int, read: HashReader) -> bytes:
    """Root over leaves `start` to `end`, a subtree as proofs name them: `start` is a multiple of
    the power of two above its width.
    """
    hashes, at = [], start
    while at < end:
        level = (end - at).bit_length() - 1
        hashes.append(read(level, at >> level))
        at += 1 << level
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Hashes that lead from a leaf to the root at a size, from the leaf's sibling on."""
    assert 0 <= index < size
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if index < split:
            proof.append(_range_root(split, end, read))
            end = split
        else:
            proof.append(_range_root(start, split, read))
            start = split
    proof.reverse()
    return proof


def consistency_proof(old: int, size: int, read: HashReader) -> list[bytes]:
    """Hashes that show that the tree at a size begins with the tree at an older one."""
    assert 0 <= old <= size
    if old in (0, size):
        return []
    proof: list[bytes] = []
    start, end, is_whole = 0, size, True
    while old != end:
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= split:
            proof.append(_range_root(split, end, read))
            end = split
        else:
            proof.append(_range_root(start, split, read))
            start, is_whole = split, False
    if not is_whole:
        proof.append(_range_root(start, end, read))
    proof.reverse()
    return proof


def root_of_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that a proof leads to. Raises: ProofInvalid, when it has another length."""
    if not 0 <= index < size:
        raise ProofInvalid(index=index, size=size)
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofInvalid(reason="too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ProofInvalid(reason="too short")
    return found


def check_inclusion(
    leaf: bytes, index: int, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """A leaf is in the tree with that root, at that place. Raises: ProofInvalid."""
    if root_of_inclusion(leaf, index, size, proof) != root:
        raise ProofInvalid(reason="another root")


def check_consistency(
    *, old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> None:
    """The tree at `size` begins with the one at `old`. Raises: ProofInvalid."""
    if not 0 <= old <= size:
        raise ProofInvalid(old=old, size=size)
    if old in (0, size):
        expected = EMPTY_ROOT if old == 0 else root
        if proof or old_root != expected:
            raise ProofInvalid(reason="another root")
        return
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    hashes = list(proof) if node else [old_root, *proof]
    if not hashes:
        raise ProofInvalid(reason="too short")
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise ProofInvalid(reason="too long")
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    if last or first != old_root or second != root:
        raise ProofInvalid(reason="another root")
