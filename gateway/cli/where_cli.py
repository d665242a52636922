"""`hexagone where`: where an object is recorded to be, a signed statement about it, and a check of
such a statement that asks no gateway.

Exit codes: 0 it is as it should be; 1 the gateway refused, or a statement does not hold; 2 no
gateway answers, or the command is wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from gateway.admin.attestation import (
    NO_CERTIFICATE,
    SENTENCE,
    STATEMENT_BYTES_MAX,
    AttestationInvalid,
    verified,
)
from gateway.cli import tables
from gateway.cli.status_cli import (
    DataOption,
    JsonOption,
    SocketOption,
    asked,
    client_of,
    parse_url,
    show,
)
from gateway.cli.tables import Answer, text
from gateway.terminal.language import heard, say
from gateway.terminal.refusals import refuse, said, stop
from gateway.terminal.user_files import FileKind, FileUnusable
from storaged.base.durable import replace_file

ATTESTATION = FileKind(
    bytes_max=STATEMENT_BYTES_MAX,
    hint="`hexagone where s3://BUCKET/KEY --attest --out FILE` writes such a file",
)
PLACE_COLUMNS = ("country", "datacenter", "operator", "node")


def add_commands(target: typer.Typer) -> None:
    """Put the command on an app."""
    target.command("where")(where)


def where(
    url: Annotated[str, typer.Argument(metavar="[s3://BUCKET/KEY]")] = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
    attest: Annotated[
        bool, typer.Option("--attest", help="ask the nodes, and print a signed statement")
    ] = False,
    challenge: Annotated[
        str, typer.Option("--challenge", metavar="HEX", help="32 bytes of yours, for --attest")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="where --attest writes")
    ] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help="check a statement, offline")
    ] = None,
    public_key: Annotated[
        str, typer.Option("--key", metavar="HEX", help="the cluster's public key, for --verify")
    ] = "",
) -> None:
    """On which nodes, in which datacenters and countries an object is.

    Examples: hexagone where s3://photos/cat.jpg

    hexagone where s3://photos/cat.jpg --attest --out cat.attested

    hexagone where --verify cat.attested --key HEX

    Exit codes: 0 done; 1 the gateway refused, or the statement does not hold; 2 no gateway answers,
    or the command is wrong
    """
    if verify is not None:
        report = _checked(verify, public_key)
        show(report, report_view, as_json=as_json)
        raise typer.Exit(0 if report["sound"] else 1)
    bucket, key = parse_url(url)
    if not attest:
        answer = asked(lambda: client_of(data, socket).where(bucket, key))
        show(answer, tables.where_view, as_json=as_json)
        return
    signed = asked(lambda: client_of(data, socket).attest(bucket, key, challenge))
    line = json.dumps(signed, sort_keys=True)
    if out is not None:
        replace_file(out, line.encode("ascii") + b"\n", mode=0o644)
        report = verified(line.encode("ascii"), signed["public_key"])
        show(report, report_view, as_json=as_json)
        return
    typer.echo(line)


def _checked(path: Path, public_key: str) -> Answer:
    """The report on a file; ends the command where there is none to give."""
    try:
        return verified(ATTESTATION.read(path), public_key or None)
    except FileUnusable as error:
        stop(error)
    except AttestationInvalid as error:
        text, advice = said(error)
        refuse(f"{path}: {text}", advice or heard(ATTESTATION.hint), 1, error)


def report_view(report: Answer) -> Group:
    """What was signed, and what does not hold."""
    statement = report["statement"]
    shards = [shard for stripe in statement["stripes"] for shard in stripe["shards"]]
    answered = [shard for shard in shards if not shard["failed"]]
    places = sorted({_place(shard) for shard in answered})
    lines: list[RenderableType] = [
        text(
            say(
                "s3://{bucket}/{key}, cluster {cluster}",
                bucket=statement["bucket"],
                key=statement["key"],
                cluster=statement["cluster"],
            )
        ),
        text(
            say(
                "{answered} of {shards} shards of {asked} of {stripes} stripes answered, {when}",
                answered=len(answered),
                shards=len(shards),
                asked=statement["stripes_asked"],
                stripes=statement["stripe_count"],
                when=tables.time_text(statement["began_at_ms"]),
            )
        ),
        tables.titled_table(
            "attested in",
            (*PLACE_COLUMNS, "certificate (SHA-256)", "answers", "within km"),
            [_place_row(place, answered) for place in places],
        ),
    ]
    lines += [text(heard(problem), "red") for problem in report["problems"]]
    lines.append(text(say("signed by {key}", key=report["public_key"])))
    if not report["key_was_given"]:
        lines.append(
            text(
                say("the key is the statement's own: compare it with the cluster's, or give --key")
            )
        )
    lines.append(text(_said(statement["says"]), "dim"))
    return Group(*lines)


def _said(sentences: str) -> str:
    """What a statement says of itself, where it says what statements of today say."""
    if sentences == f"{SENTENCE} {NO_CERTIFICATE}":
        return f"{say(SENTENCE)} {say(NO_CERTIFICATE)}"
    return heard(sentences)


def _place(shard: Answer) -> tuple[str, str, str, str]:
    return shard["country"], shard["datacenter"], shard.get("operator", ""), shard["node"]


def _place_row(place: tuple[str, str, str, str], answered: list[Answer]) -> list[RenderableType]:
    """One node's answers; the bound is its slowest answer's, by light in fibre."""
    held = [shard for shard in answered if _place(shard) == place]
    certificates = sorted({shard["certificate_sha256"] or say("none") for shard in held})
    bound = max(shard["within_km"] for shard in held)
    return [*map(text, place), text(" ".join(certificates)), text(len(held)), text(bound)]
