"""pgBackRest: full and incremental backup, archived WAL, and a restore to a point in time."""

from __future__ import annotations

from pathlib import Path

from tests.clients.curl import make_bucket, request
from tests.clients.postgres import Postgres
from tests.clients.server import Server, check, command, same


def version() -> str:
    return command(["pgbackrest", "version"]).split()[-1]


def _config(server: Server, bucket: str, postgres: Postgres) -> Path:
    folder = postgres.folder
    for name in ("log", "lock", "spool"):
        (folder / name).mkdir()
        postgres.own(folder / name)
    repo = {
        "type": "s3",
        "path": "/repo",
        "s3-bucket": bucket,
        # Its check of a certificate reads names only, not addresses.
        "s3-endpoint": server.host if server.is_virtual else "localhost",
        "s3-region": server.region,
        "s3-key": server.access_key,
        "s3-key-secret": server.secret_key,
        "s3-uri-style": "host" if server.is_virtual else "path",
        "storage-port": str(server.port),
        "storage-ca-file": server.authority or "",
        "retention-full": "2",
        "bundle": "y",
        "cipher-type": "aes-256-cbc",
        "cipher-pass": "correct horse",
    }
    lines = [f"repo1-{name}={value}" for name, value in repo.items()]
    lines += [f"log-path={folder}/log", f"lock-path={folder}/lock", f"spool-path={folder}/spool"]
    lines += ["start-fast=y", "log-level-console=warn", "process-max=2", "compress-type=gz"]
    stanza = [f"pg1-path={postgres.data}", f"pg1-port={postgres.port}", f"pg1-socket-path={folder}"]
    path = folder / "pgbackrest.conf"
    path.write_text("\n".join(["[global]", *lines, "[main]", *stanza, ""]))
    postgres.own(path)
    return path


def run(server: Server, work: Path) -> str:
    bucket = server.bucket()
    make_bucket(server, bucket)
    postgres = Postgres(work.parent / f"{work.name}-pg")
    config = _config(server, bucket, postgres)
    words = ["pgbackrest", f"--config={config}", "--stanza=main"]
    archive = " ".join([*words, "archive-push", "%p"])
    postgres.create({"archive_command": f"'{archive}'", "archive_timeout": "60"})
    try:
        postgres.as_user(*words, "stanza-create")
        postgres.as_user(*words, "check")
        postgres.sql("create table t as select n, md5(n::text) from generate_series(1, 50000) n")
        postgres.as_user(*words, "--type=full", "backup")
        postgres.sql("insert into t select n, 'later' from generate_series(50001, 60000) n")
        postgres.as_user(*words, "--type=incr", "backup")
        postgres.sql("insert into t values (60001, 'in the WAL only')")
        wanted = postgres.sql("select count(*), md5(string_agg(t::text, ',' order by n)) from t")
        target = postgres.sql("select pg_create_restore_point('here')")
        check(target, "a restore point")
        postgres.sql("insert into t values (0, 'after the point'); select pg_switch_wal()")
        postgres.as_user(*words, "check")
        postgres.stop()
        for path in sorted(postgres.data.glob("base/*/*"))[:50]:
            path.unlink()
        postgres.as_user(*words, "--delta", "--type=name", "--target=here",
                         "--target-action=promote", "restore")  # fmt: skip
        postgres.start()
        postgres.await_promotion()
        found = postgres.sql("select count(*), md5(string_agg(t::text, ',' order by n)) from t")
        same(found, wanted, "rows after the restore")
        postgres.as_user(*words, "verify")
        postgres.as_user(*words, "--repo1-retention-full=1", "expire")
    finally:
        postgres.stop("immediate")
    postgres.as_user(*words, "stop")
    postgres.as_user(*words, "--force", "stanza-delete")
    listed = request(server, "GET", f"{bucket}?list-type=2")
    check("<Key>" not in listed, "stanza-delete leaves nothing")
    request(server, "DELETE", bucket)
    return (
        "stanza, check, full and incremental backup, WAL, restore to a named point, verify, delete"
    )
