"""`hexagone journal`: show, export, verify, prove and witness the tamper-evident journal.

`verify` of a folder and `witness` ask no gateway: they need public keys only.

Exit codes: 0 all is well; 1 something is wrong with the journal, or the gateway refused; 2 no
gateway answers, or the command is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from gateway.cli import journal_views as views
from gateway.cli.journal_export import export_journal
from gateway.cli.journal_files import journal_keys, kept_checkpoints, key_chain
from gateway.cli.journal_search import hashes_of, last_events, moment, named_log
from gateway.cli.status_cli import (
    DataOption,
    JsonOption,
    SocketOption,
    asked,
    client_of,
    show,
)
from gateway.journal.chain import Chain
from gateway.journal.events import Entry
from gateway.journal.notes import (
    COSIGNATURE,
    NOTE_BYTES_MAX,
    SEED_BYTES,
    SignerKey,
    VerifierKey,
    read_checkpoint,
    read_note,
    read_verifier_key,
)
from gateway.journal.proofs import PROOF_BYTES_MAX, dense_proof, open_proof_by
from gateway.journal.verify import KEYS, Report, verify_folder
from gateway.journal.witness import REQUEST_BYTES_MAX, cosign, judge, read_request
from gateway.terminal.language import heard, say
from gateway.terminal.refusals import refuse, said, stop
from gateway.terminal.user_files import FileKind, FileUnusable
from storaged.base.durable import replace_file
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError

SHOWN = 50
PIPE_COLUMNS = 200
LONG_LINE = 1000  # of a proof: the signature of ML-DSA
PROOF = FileKind(
    bytes_max=PROOF_BYTES_MAX,
    hint="name the folder of a `journal export`, or a file of `journal proof NUMBER > FILE`",
)
OWN_KEYS = "the keys are those of the folder itself: whoever made it could have made them"

KeysOption = Annotated[
    Path | None, typer.Option("--keys", help="file of public keys, as `journal keys` prints them")
]
ChainOption = Annotated[
    Path | None,
    typer.Option("--chain", help="file of `journal keys --chain`: to follow from older keys"),
]
LogOption = Annotated[
    str, typer.Option("--tenant", help="a tenant: name, id or access key; else all logs")
]

app = typer.Typer(no_args_is_help=True, help="The tamper-evident journal.")


def add_commands(target: typer.Typer) -> None:
    """Put the commands of this module on the `hexagone` command."""
    target.add_typer(app, name="journal")


@app.command("show")
def show_events(
    tenant: LogOption = "",
    kind: Annotated[str, typer.Option("--type", help="part of an event's name")] = "",
    who: Annotated[str, typer.Option(help="part of an access key, or of an admin")] = "",
    about: Annotated[
        str, typer.Option("--about", metavar="s3://BUCKET[/KEY]", help="a bucket or an object")
    ] = "",
    request: Annotated[str, typer.Option(help="id of a request")] = "",
    since: Annotated[str, typer.Option(help="2026-11-23T04:00 or 2026-11-23, UTC")] = "",
    until: Annotated[str, typer.Option(help="likewise")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="refused or failed only")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="also anchors, checkpoints, metered hours")
    ] = False,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=100_000)] = SHOWN,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """The last events, oldest first. With --json: one object a line.

    Example: hexagone journal show --type PutBucketPolicy --about s3://photos
    """
    client = client_of(data, socket)
    named = named_log(client, tenant)
    status = asked(lambda: client.journal("GET", "", {}))
    wanted = {
        "kind": kind.lower(),
        "who": who,
        "request": request,
        "since": moment(since, "--since"),
        "until": moment(until, "--until"),
        "failed": failed,
        "all": everything or any(own in kind for own in ("journal", "usage")),
    }
    found: list[tuple[str, Entry]] = []
    for log in status["logs"]:
        if named and log["log"] != named:
            continue
        hashes = hashes_of(client, log["log"], about) if about else {}
        found += last_events(client, log["log"], log["events"], wanted, hashes, count)
    found.sort(key=lambda one: (one[1].at_ms, one[0], one[1].seq))
    found = found[-count:]
    if as_json:
        for log_name, entry in found:
            typer.echo(json.dumps(views.entry_document(log_name, entry)))
        return
    names = asked(lambda: client.journal("GET", "/names", {}))["names"]
    _console().print(views.events_view(found, names))


@app.command("list")
def list_logs(
    data: DataOption = None, socket: SocketOption = None, as_json: JsonOption = False
) -> None:
    """The logs there are, and whether they take events. Example: hexagone journal list"""
    show(
        asked(lambda: client_of(data, socket).journal("GET", "", {})),
        views.logs_view,
        as_json=as_json,
    )


@app.command("keys")
def keys(
    chain: Annotated[
        bool, typer.Option("--chain", help="with all before them, each vouching for the next")
    ] = False,
    data: DataOption = None,
    socket: SocketOption = None,
) -> None:
    """The public keys; give them to whoever is to verify, by a way of its own.

    Example: hexagone journal keys > journal.pub
    """
    found = asked(lambda: client_of(data, socket).journal("GET", "", {}))
    if chain and found["chain"]:
        typer.echo(found["chain"], nl=False)
        return
    if chain:
        typer.echo(say("the keys have not been changed: there is no chain"), err=True)
        raise typer.Exit(1)
    for line in found["keys"]:
        typer.echo(line)


@app.command("checkpoint")
def checkpoint(
    tenant: LogOption = "", data: DataOption = None, socket: SocketOption = None
) -> None:
    """Sign the cluster's log (or a tenant's) now and print the checkpoint: keep it elsewhere.

    Example: hexagone journal checkpoint > kept.checkpoint
    """
    client = client_of(data, socket)
    signed = asked(lambda: client.journal("POST", "/checkpoint", {"log": tenant or "cluster"}))
    named = named_log(client, tenant) or "cluster"
    typer.echo(signed["checkpoints"][named], nl=False)


@app.command("proof")
def proof(
    seq: Annotated[int, typer.Argument(min=0, help="number of the event in its log")],
    tenant: LogOption = "",
    text: Annotated[
        bool, typer.Option("--text", help="a C2SP tlog-proof; at a terminal that is what you see")
    ] = False,
    short: Annotated[
        bool, typer.Option("--short", help="Ed25519 only: 3.3 KB less, for keys without ML-DSA")
    ] = False,
    data: DataOption = None,
    socket: SocketOption = None,
) -> None:
    """Write the proof of one event; `journal verify FILE` checks it without a gateway.

    Example: hexagone journal proof 42 > 42.proof
    """
    query = {"log": tenant or "cluster", "seq": str(seq)}
    found = asked(lambda: client_of(data, socket).journal("GET", "/proof", query))
    lines = found["proof"].splitlines(keepends=True)
    kept = [one for one in lines if not short or len(one) < LONG_LINE or one.startswith("extra ")]
    if text or sys.stdout.isatty():
        typer.echo("".join(kept), nl=False)
        return
    try:
        sys.stdout.buffer.write(dense_proof("".join(kept).encode()))
    except StorageError as error:
        stop(error)


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="new or empty folder")],
    tenant: LogOption = "",
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write events, checkpoints, proofs and public keys into a folder.

    Example: hexagone journal export ./export
    """
    terminal = Console(stderr=True, highlight=False, quiet=as_json)

    def tell(log: str, done: int, total: int) -> None:
        terminal.print(say("{log}: {done} of {total} events", log=log, done=done, total=total))

    client = client_of(data, socket)
    sizes = asked(lambda: dict(export_journal(client, folder, tenant, tell)))
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), "events": sizes}))


@app.command("verify")
def verify(
    path: Annotated[
        Path | None, typer.Argument(metavar="[DIR|FILE]", help="an export, or a proof")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="the journal of the gateway here")] = False,
    keys_file: KeysOption = None,
    chain_file: ChainOption = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="verifier key of a witness that must have cosigned")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="a checkpoint that you have kept")
    ] = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find every change, removal, reordering, cut and fork. Asks no gateway, unless --live.

    Example: hexagone journal verify ./export --keys journal.pub --against kept.checkpoint

    Exit codes: 0 intact; 1 something is wrong with the journal, or the gateway refused; 2 no
    gateway answers, or the command is wrong
    """
    if live == (path is not None):
        raise typer.BadParameter("name a folder or a file, or say --live")
    known: list[VerifierKey] | None = None
    try:
        notes = kept_checkpoints(against or ())
        witnesses = [read_verifier_key(one) for one in witness or ()]
        if keys_file is not None:
            known = journal_keys(keys_file)
        if live:
            client = client_of(data, socket)
            asked(lambda: client.journal("POST", "/checkpoint", {}))
            status = asked(lambda: client.journal("GET", "", {}))
            path = Path(status["folder"])
            known = known or [read_verifier_key(text) for text in status["keys"]]
        assert path is not None
        if not path.is_dir():
            _verify_proof(path, _followed(known, chain_file), as_json=as_json)
            return
        own = known is None
        if known is None:
            known = journal_keys(path / KEYS)
        report = verify_folder(path, known, witnesses=witnesses, against=notes)
        if own:
            report.notices.append(OWN_KEYS)
    except FileUnusable as error:
        stop(error)
    except StorageError as error:
        report = Report(findings=[error.message() if as_json else said(error)[0]])
    show(views.report_document(report), views.report_view, as_json=as_json)
    if report.findings:
        raise typer.Exit(1)


@app.command("witness")
def witness(
    state: Annotated[Path, typer.Option(help="folder of the witness: its key, what it has seen")],
    name: Annotated[str, typer.Option(help="name of the witness, such as example.org/w1")],
    keys_file: KeysOption = None,
    chain_file: ChainOption = None,
) -> None:
    """Be a witness: read a request, check that the log only grew, print the cosigned checkpoint.

    Example: ssh HOST hexagone journal request | hexagone journal witness
    --state w --name example.org/w1 --keys journal.pub | ssh HOST hexagone journal cosign
    """
    env = RealEnv(threads_max=1)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _witness_key(state, env)
    (state / "witness.pub").write_text(key.verifier(name).text + "\n")
    if keys_file is None:
        typer.echo(key.verifier(name).text)
        return
    seen_path = state / "seen"
    try:
        known = _followed(journal_keys(keys_file), chain_file).last
        request = read_request(sys.stdin.buffer.read(REQUEST_BYTES_MAX + 1))
        seen = None
        if seen_path.exists():
            seen = read_checkpoint(read_note(seen_path.read_bytes()).text)
        judged = judge(request, seen, known)
        replace_file(seen_path, request.note)  # before the name is put under it
        cosigned = cosign(request, judged, key=key, name=name, at_s=env.now_ms() // 1000)
    except StorageError as error:
        stop(error)
    sys.stdout.buffer.write(cosigned)


@app.command("request")
def request(
    old: Annotated[int | None, typer.Option(min=0, help="size that the witness saw last")] = None,
    data: DataOption = None,
    socket: SocketOption = None,
) -> None:
    """Print what a witness is asked: a checkpoint, and the proof that it follows from the last.

    Example: hexagone journal request > request
    """
    query = {} if old is None else {"old": str(old)}
    found = asked(lambda: client_of(data, socket).journal("GET", "/request", query))
    typer.echo(found["request"], nl=False)


@app.command("cosign")
def cosign_checkpoint(data: DataOption = None, socket: SocketOption = None) -> None:
    """Give a cosigned checkpoint (on standard input) back to the journal, for its exports.

    Example: hexagone journal cosign < cosigned
    """
    note = sys.stdin.buffer.read(NOTE_BYTES_MAX + 1)
    found = asked(lambda: client_of(data, socket).journal("POST", "/cosign", {}, note))
    typer.echo(say("cosigned up to event {event}", event=found["cosigned"]))


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


def _followed(known: Sequence[VerifierKey] | None, chain_file: Path | None) -> Chain:
    """The keys that are trusted, and those that follow. Raises: NoteInvalid, BadParameter."""
    if known is None:
        raise typer.BadParameter("a proof is verified with --keys FILE")
    if chain_file is None:
        return Chain(tuple(known))
    return key_chain(chain_file).since(known)


def _verify_proof(path: Path, chain: Chain, *, as_json: bool) -> None:
    content = PROOF.read(path)
    try:
        proven = open_proof_by(content, chain)
    except StorageError as error:
        if as_json:
            raise
        text, advice = said(error)
        refuse(f"{path}: {text}", advice or heard(PROOF.hint), 1, error)
    log = proven.checkpoint.origin.rpartition("/")[2]
    if as_json:
        typer.echo(json.dumps(views.entry_document(log, proven.entry)))
        return
    _console().print(views.events_view([(log, proven.entry)], {}))
    origin, size = proven.checkpoint.origin, proven.checkpoint.size
    typer.echo(say("in {origin}, among {count} events", origin=origin, count=size))


def _witness_key(state: Path, env: RealEnv) -> SignerKey:
    path = state / "witness.key"
    if not path.exists():
        replace_file(path, env.random_bytes(SEED_BYTES))
    return SignerKey(COSIGNATURE, path.read_bytes())
