"""The Merkle tree: roots against the definition, proofs of every place, and what they refuse."""

from __future__ import annotations

import pytest

from gateway.journal import tree

pytestmark = pytest.mark.proves("C9")

SIZES = range(1, 40)
LEAVES = [b"%d" % at for at in range(SIZES.stop)]


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1, as it is written there."""
    if not leaves:
        return tree.EMPTY_ROOT
    if len(leaves) == 1:
        return tree.leaf_hash(leaves[0])
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return tree.node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


class Grown:
    """A tree with all its kept hashes."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.edge = tree.Edge()
        self.kept: list[bytes] = []
        self.roots = [self.edge.root()]
        for at, leaf in enumerate(leaves):
            assert len(self.kept) == tree.stored_count(at)
            self.kept += self.edge.append(tree.leaf_hash(leaf))
            self.roots.append(self.edge.root())

    def read(self, level: int, place: int) -> bytes:
        return self.kept[tree.stored_index(level, place)]


GROWN = Grown(LEAVES)


def test_roots_are_those_of_the_definition() -> None:
    for size in (0, *SIZES):
        assert GROWN.roots[size] == defined_root(LEAVES[:size])
        assert tree.edge_at(size, GROWN.read).root() == GROWN.roots[size]


def test_the_published_vectors_of_certificate_transparency() -> None:
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
    leaves.append("606162636465666768696a6b6c6d6e6f")
    root = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert Grown([bytes.fromhex(one) for one in leaves]).edge.root().hex() == root


def test_every_leaf_is_proven_in_every_tree() -> None:
    for size in SIZES:
        for index in range(size):
            proof = tree.inclusion_proof(index, size, GROWN.read)
            leaf = tree.leaf_hash(LEAVES[index])
            tree.check_inclusion(leaf, index, size, GROWN.roots[size], proof)


def test_jrn_01_no_other_leaf_place_or_proof_passes() -> None:
    for size in SIZES:
        for index in range(size):
            proof = tree.inclusion_proof(index, size, GROWN.read)
            leaf, root = tree.leaf_hash(LEAVES[index]), GROWN.roots[size]
            wrong = [(tree.leaf_hash(b"other"), index, proof), (leaf, index, [*proof, root])]
            wrong += [(leaf, other, proof) for other in range(size) if other != index]
            wrong += [(leaf, index, proof[:at] + proof[at + 1 :]) for at in range(len(proof))]
            for bad in (size, -1):
                wrong.append((leaf, bad, proof))
            for bad_leaf, bad_index, bad_proof in wrong:
                with pytest.raises(tree.ProofInvalid):
                    tree.check_inclusion(bad_leaf, bad_index, size, root, bad_proof)


def test_every_tree_begins_with_every_smaller_one() -> None:
    for size in SIZES:
        for old in range(size + 1):
            proof = tree.consistency_proof(old, size, GROWN.read)
            tree.check_consistency(
                old=old,
                old_root=GROWN.roots[old],
                size=size,
                root=GROWN.roots[size],
                proof=proof,
            )


def test_jrn_01_a_fork_has_no_consistency_proof() -> None:
    forked = Grown([b"other", *LEAVES[1:]])
    for size in SIZES:
        for old in range(1, size + 1):
            for grown in (GROWN, forked):
                proof = tree.consistency_proof(old, size, grown.read)
                cases = [proof, proof[:-1], [*proof, forked.roots[size]]]
                for case in cases:
                    with pytest.raises(tree.ProofInvalid):
                        tree.check_consistency(
                            old=old,
                            old_root=GROWN.roots[old],
                            size=size,
                            root=forked.roots[size],
                            proof=case,
                        )


def test_a_smaller_tree_follows_from_no_larger_one() -> None:
    with pytest.raises(tree.ProofInvalid):
        tree.check_consistency(
            old=3, old_root=GROWN.roots[3], size=2, root=GROWN.roots[2], proof=()
        )
    with pytest.raises(tree.ProofInvalid):
        tree.check_consistency(
            old=0, old_root=GROWN.roots[1], size=2, root=GROWN.roots[2], proof=()
        )


def test_a_proof_among_ten_million_events_is_short() -> None:
    """24 hashes at the most: 768 bytes, 1080 as text."""
    size = 10_000_000
    known: dict[tuple[int, int], bytes] = {}

    def read(level: int, place: int) -> bytes:
        return known.setdefault((level, place), b"%32d" % (level << 40 | place))

    for index in (0, 1, 5_000_000, size - 1):
        proof = tree.inclusion_proof(index, size, read)
        assert len(proof) <= 24
        root = tree.root_of_inclusion(read(0, index), index, size, proof)
        tree.check_inclusion(read(0, index), index, size, root, proof)
