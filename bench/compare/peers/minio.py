"""MinIO: one server with six drives, of which two may be lost."""

from __future__ import annotations

from bench.compare.processes import wait_for_port
from bench.compare.systems import ACCESS_KEY, SECRET, Daemonic, Setting, write_self_signed

DRIVES = 6


class MinIO(Daemonic):
    """`minio server` on six folders, parity 2.

    Its default is its synced tier: shards and `xl.meta` are synced before the answer, folders are
    not. The folders are on the system's drive, which it refuses unless told how small such a drive
    is (`MINIO_ROOTDRIVE_THRESHOLD_SIZE`).
    """

    name = "minio"
    setting = Setting(
        store="MinIO",
        tier="default: files synced, directories not",
        redundancy="4+2 on 6 drives of one server",
    )

    def launch(self) -> None:
        for n in range(1, DRIVES + 1):
            (self.folder / "drives" / f"d{n}").mkdir(parents=True, exist_ok=True)
        settings = {
            "MINIO_ROOT_USER": ACCESS_KEY,
            "MINIO_ROOT_PASSWORD": SECRET,
            "MINIO_STORAGE_CLASS_STANDARD": "EC:2",
            "MINIO_ROOTDRIVE_THRESHOLD_SIZE": "1MiB",
            "MINIO_UPDATE": "off",
            "MINIO_BROWSER": "off",
        }
        words = ["minio", "server", "--quiet", "--address", f"127.0.0.1:{self.port}"]
        words += ["--console-address", f"127.0.0.1:{self.port + 1}"]
        certificates = self.folder / "certificates"
        certificates.mkdir(exist_ok=True)
        if self.tls:
            write_self_signed(certificates / "public.crt", certificates / "private.key")
        words += ["--certs-dir", str(certificates)]
        words.append(f"{self.folder}/drives/d{{1...{DRIVES}}}")
        self.daemons.start("minio", words, settings=settings)
        wait_for_port(self.port, self.daemons)
