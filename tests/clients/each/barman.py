"""Barman's cloud scripts: WAL archive, backup, list, restore to the end of the WAL, delete."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.clients.curl import make_bucket, request
from tests.clients.postgres import Postgres
from tests.clients.server import Server, check, command, same

NAME = "main"


def version() -> str:
    return command(["barman-cloud-backup", "--version"]).split()[-1]


def run(server: Server, work: Path) -> str:
    bucket = server.bucket()
    make_bucket(server, bucket)
    url = f"s3://{bucket}/backups"
    postgres = Postgres(work.parent / f"{work.name}-pg")
    # The archiving commands run as PostgreSQL's user, which may not see root's home.
    config = postgres.folder / "aws"
    style = "virtual" if server.is_virtual else "path"
    config.write_text(f"[default]\ns3 =\n  addressing_style = {style}\n")
    environment = server.environment() | {"AWS_CONFIG_FILE": str(config)}
    lines = "".join(f"export {name}='{value}'\n" for name, value in environment.items())
    wrapper = postgres.folder / "cloud"
    wrapper.write_text(
        f'#!/bin/sh\n{lines}script=$1; shift\nexec /usr/bin/barman-cloud-$script "$@"\n'
    )
    wrapper.chmod(0o755)
    endpoint = ("--endpoint-url", server.url)
    archive = f"{wrapper} wal-archive --gzip --endpoint-url {server.url} {url} {NAME} %p"
    postgres.create({"archive_command": f"'{archive}'"})
    where = ("-h", postgres.folder, "-p", str(postgres.port), "-U", "postgres")

    def cloud(script: str, *words: str | Path) -> str:
        return postgres.as_user(wrapper, script, *endpoint, *words)

    try:
        postgres.sql("create table t as select n, md5(n::text) from generate_series(1, 200000) n")
        cloud("backup", "--jobs", "2", "--gzip", "--immediate-checkpoint", *where, url, NAME)
        postgres.sql("insert into t select n, 'later' from generate_series(200001, 210000) n")
        wanted = postgres.sql("select count(*), md5(string_agg(t::text, ',' order by n)) from t")
        postgres.sql("select pg_switch_wal()")
        _await_archive(postgres)
        listed = json.loads(cloud("backup-list", "--format", "json", url, NAME))["backups_list"]
        same([found["status"] for found in listed], ["DONE"], "backups")
        postgres.stop()
        shutil.rmtree(postgres.data)
        cloud("restore", url, NAME, listed[0]["backup_id"], postgres.data)
        postgres.data.chmod(0o700)
        with (postgres.data / "postgresql.conf").open("a") as conf:
            conf.write(f"restore_command = '{wrapper} wal-restore --endpoint-url {server.url} "
                       f"{url} {NAME} %f %p'\n")  # fmt: skip
        signal_file = postgres.data / "recovery.signal"
        signal_file.touch()
        postgres.own(signal_file)
        postgres.start()
        postgres.await_promotion()
        found = postgres.sql("select count(*), md5(string_agg(t::text, ',' order by n)) from t")
        log = (postgres.folder / "postgres.log").read_text(errors="replace")
        same(found, wanted, f"rows after the restore; {log[-1500:]}")
    finally:
        postgres.stop("immediate")
    cloud("backup-delete", "--backup-id", listed[0]["backup_id"], url, NAME)
    left = request(server, "GET", f"{bucket}?list-type=2&prefix=backups/{NAME}/base")
    check("<Key>" not in left, "backup-delete leaves nothing")
    return (
        "wal-archive by PostgreSQL, backup in parts, backup-list, restore with WAL, backup-delete"
    )


def _await_archive(postgres: Postgres) -> None:
    """Wait until every finished segment is archived (PostgreSQL counts them)."""
    done = (
        "do $$ begin for n in 1..300 loop perform pg_stat_clear_snapshot(); "
        "if (select last_archived_wal >= pg_walfile_name(pg_current_wal_lsn() - 16777216) "
        "from pg_stat_archiver) then return; end if; perform pg_sleep(0.1); end loop; "
        "raise exception 'not archived'; end $$"
    )
    postgres.sql(done)
