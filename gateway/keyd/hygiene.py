"""What a process does so that its memory stays its own: no core file, no tracer, no swap.

CPython and OpenSSL make copies of what they work with and wipe none of them; what is here keeps
those copies inside the process, no more.

Source: prctl(2), mlockall(2), getrlimit(2).
"""

from __future__ import annotations

import ctypes
import os
import resource

from storaged.base.log import Log

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
# With less than this allowed, a locked process could no longer get memory when it needs some.
LOCKED_BYTES_MIN = 1 << 30

_LOG = Log("gateway.keyd")


def keep_memory_private() -> bool:
    """No core file, no `ptrace` by other processes of this user; whether nothing is swapped."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        _LOG.warning("memory can be read by this user", errno=ctypes.get_errno())
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    unbounded = hard == resource.RLIM_INFINITY or hard >= LOCKED_BYTES_MIN or os.geteuid() == 0
    if unbounded and libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0:
        return True
    _LOG.warning("memory may be swapped", locked_bytes_max=hard, errno=ctypes.get_errno())
    return False
