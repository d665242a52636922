"""Planted bugs about keys in a token."""

from __future__ import annotations

from tests.mutations.table import Mutation

RING = "tests/unit/gateway/keyd/test_pkcs11_keyring.py"
COUNTS = "tests/unit/gateway/keyd/test_pkcs11_counts.py"
TOKEN = "tests/unit/gateway/keyd/test_pkcs11_token.py"
AWAY = "tests/unit/gateway/keyd/test_pkcs11_away.py"
SUITE = "tests/conformance/test_key_provider_pkcs11.py"

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="hsm-extractable-key",
        file="gateway/keyd/pkcs11_token.py",
        old="        if wrong:\n",
        new="        if False:\n",
        seen_by=(TOKEN,),
    ),
    Mutation(
        name="hsm-first-of-two-keys",
        file="gateway/keyd/pkcs11_token.py",
        old="        if len(found) > 1:\n",
        new="        if False:\n",
        seen_by=(TOKEN,),
    ),
    Mutation(
        name="hsm-one-nonce",
        file="gateway/keyd/pkcs11_token.py",
        old="nonce = self._env.random_bytes(NONCE_BYTES)",
        new="nonce = bytes(NONCE_BYTES)",
        seen_by=(TOKEN,),
    ),
    Mutation(
        name="hsm-refusal-tried-again",
        file="gateway/keyd/pkcs11_token.py",
        old="            except _REFUSALS as error:\n",
        new="            except () as error:\n",
        seen_by=(TOKEN, SUITE),
    ),
    Mutation(
        name="hsm-pin-tried-again",
        file="gateway/keyd/pkcs11_module.py",
        old="            pin.refused()\n",
        new="            pass\n",
        seen_by=(AWAY,),
    ),
    Mutation(
        name="hsm-last-try",
        file="gateway/keyd/pkcs11_module.py",
        old="        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:\n",
        new="        if False:\n",
        seen_by=(AWAY,),
    ),
    Mutation(
        name="hsm-module-in-a-fork",
        file="gateway/keyd/pkcs11_thread.py",
        old="        if os.getpid() != self._pid:\n",
        new="        if False:\n",
        seen_by=(TOKEN,),
    ),
    Mutation(
        name="hsm-late-call-is-made",
        file="gateway/keyd/pkcs11_thread.py",
        old="            answer.cancel()\n",
        new="            pass\n",
        seen_by=(TOKEN,),
    ),
    Mutation(
        name="hsm-foreign-key-wraps",
        file="gateway/keyd/pkcs11_keyring.py",
        old="            self._counts.use(key)\n        self._check(held)\n",
        new="            self._counts.use(key)\n",
        seen_by=(RING,),
    ),
    Mutation(
        name="hsm-wraps-not-counted-ahead",
        file="gateway/keyd/pkcs11_counts.py",
        old="wraps=min(WRAPS_MAX, done + ahead)",
        new="wraps=done",
        seen_by=(COUNTS,),
    ),
    Mutation(
        name="hsm-key-before-record",
        file="gateway/keyd/pkcs11_states.py",
        old="                self._file.put(key, held)\n            what =",
        new="            what =",
        seen_by=(RING,),
    ),
    Mutation(
        name="hsm-destroyed-before-erased",
        file="gateway/keyd/pkcs11_states.py",
        old="                    self._token.destroy_key(held.key_id)\n",
        new="",
        seen_by=(RING,),
    ),
    Mutation(
        name="hsm-cache-outlives-key",
        file="gateway/keyd/pkcs11_states.py",
        old="        self._sealing.forget()\n        self._book.spend",
        new="        self._book.spend",
        seen_by=(RING,),
    ),
    Mutation(
        name="hsm-context-not-bound",
        file="gateway/keyd/pkcs11_sealing.py",
        old='return enc("hsm/" + label, self._cluster_id, key_id, context)',
        new='return enc("hsm/" + label, self._cluster_id, key_id)',
        seen_by=(SUITE,),
    ),
)
