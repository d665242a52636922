"""ext4 file systems of their own, on loop images: for power cuts that are real for the file system,
and drives that are really full.

The cut is ext4's own: its SHUTDOWN ioctl without a flush of the journal forgets everything that was
not synced, as pulling the plug does. It does not model a drive that lies about a flush.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
UNMOUNT_S = 10.0


@dataclass
class LoopImage:
    """A sparse file with ext4 on it, mounted on a folder. Needs root."""

    image: Path
    folder: Path
    mib: int = 320

    def create(self) -> LoopImage:
        """Make the file system, and mount it."""
        with self.image.open("wb") as file:
            file.truncate(self.mib << 20)
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1", str(self.image)],
            check=True,
            capture_output=True,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mount()
        (self.folder / "lost+found").rmdir()
        os.sync()
        return self

    def mount(self) -> None:
        mount = ["mount", "-o", "loop", str(self.image), str(self.folder)]
        subprocess.run(mount, check=True, capture_output=True)

    def cut(self) -> None:
        """The power goes: nothing more reaches the drive, and what was not synced is gone."""
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, struct.pack("=I", NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Unmount; waits for the last descriptor of a process that has just been killed."""
        deadline = time.monotonic() + UNMOUNT_S
        while os.path.ismount(self.folder):
            done = subprocess.run(["umount", str(self.folder)], capture_output=True, text=True)
            if done.returncode and time.monotonic() > deadline:
                raise AssertionError(done.stderr)
            if done.returncode:
                time.sleep(0.05)

    def remove(self) -> None:
        """Unmount and delete; what a failed test left is no obstacle."""
        if os.path.ismount(self.folder):
            subprocess.run(["umount", "-l", str(self.folder)], check=False, capture_output=True)
        self.image.unlink(missing_ok=True)
