"""A PKCS#11 module in this process: loaded once, finalised and initialised again when it lost a
token, and the tokens in it that this process is logged in to.

Not for keys: `gateway.keyd.pkcs11_token`. All but `module_of` and the thread itself is for the
module's thread only. A module is loaded once in a process, for C_Initialize and C_Login are the
process's, not the caller's.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pkcs11
from pkcs11 import PKCS11Error, TokenFlag
from pkcs11.types import Session, Slot
from pkcs11.types import Token as FoundToken

from gateway.keyd.pkcs11_pin import PinFile
from gateway.keyd.pkcs11_port import HsmPinRefused, HsmUnavailable, HsmUnusable
from gateway.keyd.pkcs11_thread import HsmThread
from storaged.base.env import Env

if TYPE_CHECKING:
    from pkcs11._pkcs11 import lib as Library

logger = logging.getLogger(__name__)

RETRY_S = 1.0  # between two tries to find a token that is away
LABEL_BYTES_MAX = 32

_modules: dict[str, Module] = {}
_modules_lock = threading.Lock()


def module_of(path: Path, env: Env) -> Module:
    """The module at a path; the same one for whoever asks in this process."""
    name = str(path)
    with _modules_lock:
        held = _modules.get(name)
        if held is None:
            held = _modules[name] = Module(name, env)
        return held


class Module:
    """One PKCS#11 module.

    Attributes:
        thread: runs everything that calls the module.
        generation: counts how often it was initialised; handles are good for one of them only.
    """

    def __init__(self, path: str, env: Env) -> None:
        self.thread = HsmThread(env)
        self.generation = 0
        self._path = path
        self._sessions: dict[str, Session] = {}
        self._away: dict[str, tuple[float, HsmUnavailable]] = {}  # tries not to be made before

    def library(self) -> Library:
        """The binding's object, initialised. Raises: HsmUnusable, HsmUnavailable."""
        try:
            return pkcs11.lib(self._path)
        except PKCS11Error as error:
            reason = str(error) or type(error).__name__
            if "OS exception" in reason or not Path(self._path).exists():
                raise HsmUnusable(module=self._path, reason=reason) from error
            raise HsmUnavailable(module=self._path, reason=reason) from error

    def slot_of(self, label: str) -> Slot | None:
        """The slot with the token of that label. Raises: HsmUnusable, HsmUnavailable."""
        found: list[Slot] = []
        try:
            for slot in self.library().get_slots(token_present=True):
                try:
                    if slot.get_token().label == label:
                        found.append(slot)
                except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                    continue
        except PKCS11Error as error:
            raise HsmUnavailable(module=self._path, reason=type(error).__name__) from error
        if len(found) > 1:
            raise HsmUnusable(token=label, reason=f"{len(found)} tokens have this label")
        return found[0] if found else None

    def labels(self) -> list[str]:
        """Labels of the initialised tokens that are there. Raises: as slot_of."""
        found: list[str] = []
        try:
            for slot in self.library().get_slots(token_present=True):
                try:
                    token = slot.get_token()
                except (pkcs11.TokenNotPresent, pkcs11.TokenNotRecognised):
                    continue
                if token.flags & TokenFlag.TOKEN_INITIALIZED:
                    found.append(token.label)
        except PKCS11Error as error:
            raise HsmUnavailable(module=self._path, reason=type(error).__name__) from error
        return found

    def forget_sessions(self) -> None:
        """Finalise, so that the next call begins anew, with tokens as they are then."""
        self._sessions.clear()
        self.generation += 1
        library = pkcs11._loaded.get(self._path)
        if library is None or not library.initialized:
            return
        try:
            library.finalize()
        except PKCS11Error as error:
            logger.info("the PKCS#11 module does not finalise: %s", type(error).__name__)

    def session(self, label: str, pin: PinFile, now_s: float) -> Session:
        """A session of a token that the user is logged in to.

        Raises: HsmUnavailable: also when it was not there a moment ago; HsmPinRefused; HsmUnusable.
        """
        held = self._sessions.get(label)
        if held is not None:
            return held
        away = self._away.get(label)
        if away is not None and now_s < away[0]:
            raise HsmUnavailable(**away[1].fields)
        try:
            session = self._log_in(label, pin)
        except HsmUnavailable as error:
            self._away[label] = now_s + RETRY_S, error
            raise
        self._away.pop(label, None)
        self._sessions[label] = session
        logger.info("logged in to the token %s", label)
        return session

    def _log_in(self, label: str, pin: PinFile) -> Session:
        slot = self.slot_of(label)
        if slot is None:
            self.forget_sessions()  # modules look for tokens when they are initialised
            slot = self.slot_of(label)
        if slot is None:
            raise HsmUnavailable(token=label, reason="no token has this label")
        try:
            token = slot.get_token()
            self._check_tries(token)
            session = token.open(rw=True, user_pin=pin.read())
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
            pin.refused()
            raise HsmPinRefused(token=label, reason=type(error).__name__) from error
        except (pkcs11.PinLocked, pkcs11.PinExpired, pkcs11.UserPinNotInitialized) as error:
            raise HsmPinRefused(token=label, reason=type(error).__name__) from error
        except PKCS11Error as error:
            self.forget_sessions()
            raise HsmUnavailable(token=label, reason=type(error).__name__) from error
        pin.accepted()
        return session

    @staticmethod
    def _check_tries(token: FoundToken) -> None:
        if token.flags & TokenFlag.USER_PIN_LOCKED:
            raise HsmPinRefused(token=token.label, reason="the token is locked")
        if token.flags & TokenFlag.USER_PIN_FINAL_TRY:
            reason = "one more wrong PIN would lock it: log in once with the vendor's own tool"
            raise HsmPinRefused(token=token.label, reason=reason)
