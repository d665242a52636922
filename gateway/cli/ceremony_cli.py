"""`hexagone keys recovery ceremony` and `transcript`: shares made and given out before witnesses.

Not for what a transcript is (`gateway.cli.ceremony`). Requirement: K-17.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import recovery_acts as acts
from gateway.cli.ceremony import EVENT, Transcript, is_in_journal, read_transcript
from gateway.cli.policy_cli import confirm
from gateway.cli.recovery_terminal import (
    AlsoOption,
    CountOption,
    CustodianOption,
    JournalOption,
    KeysOption,
    ThresholdOption,
    ToOption,
    YesOption,
    done,
    folders,
    give_out,
    made,
    named_paths,
    place_of,
    share_of,
    tell,
)
from gateway.cli.status_cli import DataOption, JsonOption, SocketOption
from gateway.recovery.backup import read_manifest
from gateway.recovery.shares import ShareSet
from gateway.terminal.language import say


def ceremony(
    count: CountOption,
    threshold: ThresholdOption,
    out: Annotated[Path, typer.Option("--out", help="empty folder for the shares")],
    transcript: Annotated[Path, typer.Option("--transcript", help="file to write")],
    custodian: CustodianOption = None,
    witness: Annotated[
        list[str] | None, typer.Option("--witness", help="who watches; repeatable")
    ] = None,
    where: Annotated[str, typer.Option("--where", help="the place, for the transcript")] = "",
    to: ToOption = None,
    also: AlsoOption = None,
    yes: YesOption = False,
    keys: KeysOption = None,
    data: DataOption = None,
    socket: SocketOption = None,
    as_json: JsonOption = False,
) -> None:
    """The whole ceremony: shares are made and given out, the keys are backed up, the backup is
    opened with a quorum read back from the shares and compared. Each step is a line of the
    transcript, and its digest goes into the journal.

    Example: hexagone keys recovery ceremony --shares 5 --threshold 3 --out /media/shares
    --transcript ceremony.jsonl --witness "Anne Roux" --where "Lyon, room 3"
    """
    place, targets = place_of(keys, data, socket), folders(to, data)
    confirm(say("Custodians and witnesses are here; the machine is off every network."), yes=yes)
    script = Ceremony(place, Transcript(place.env))

    def act() -> dict[str, object]:
        acts.check_share_folder(out, place, targets)
        script.open(where=where, witnesses=witness or [], custodians=custodian or [])
        recovery, shares = acts.begin(
            place,
            count=count,
            threshold=threshold,
            custodians=custodian or [],
            to=targets,
            also=named_paths(also or []),
        )
        files = give_out(shares, recovery.record, out)
        script.handed_out(recovery.record)
        number = acts.adopt(place, recovery)
        script.backed_up(number)
        script.tried(acts.newest_backup(place, []), [Path(file) for file in files[:threshold]])
        head = script.close(transcript)
        return {**made(recovery, files, number), "transcript": str(transcript), "digest": head}

    tell(done(act), as_json=as_json)


def transcript(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    journal: JournalOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check that a transcript is as it was written, and that the journal has its digest.

    Example: hexagone keys recovery transcript ceremony.jsonl --journal export
    """
    place = place_of(None, data, None, journal)
    steps, head = done(lambda: read_transcript(file))
    folder = place.journal
    answer: dict[str, object] = {"steps": [step["what"] for step in steps], "digest": head}
    if folder is not None:
        answer["in_journal"] = done(lambda: is_in_journal(folder, head))
    tell(answer, as_json=as_json)
    if answer.get("in_journal") is False:
        raise typer.Exit(1)


class Ceremony:
    """The steps of a ceremony, as lines of its transcript."""

    def __init__(self, place: acts.Place, lines: Transcript) -> None:
        self._place = place
        self._lines = lines

    def open(self, *, where: str, witnesses: Sequence[str], custodians: Sequence[str]) -> None:
        """Who is there, and with what."""
        about = {
            "place": where,
            "machine": platform.node(),
            "program": metadata.version("hexagone"),
            "witnesses": list(witnesses),
            "custodians": list(custodians),
        }
        self._lines.add("opened", about)

    def handed_out(self, record: ShareSet) -> None:
        """The shares have been made and given out."""
        about = {
            "cluster": record.cluster.hex(),
            "set": record.set_id.hex(),
            "recipient_sha256": record.recipient.fingerprint,
            "threshold": record.threshold,
            "digests": list(record.digests),
        }
        self._lines.add("shares made", about)

    def backed_up(self, number: int) -> None:
        """The keys are encrypted to the new key."""
        self._lines.add("backed up", {"number": number})

    def tried(self, content: bytes, files: Sequence[Path]) -> None:
        """The backup opens with a quorum and is what is here. Raises: as `recovery_acts.verify`."""
        record = read_manifest(content).record
        opened, differ = acts.verify(
            self._place, content, [share_of(path, record) for path in files]
        )
        about = {
            "backup_sha256": sha256(content).hexdigest(),
            "number": opened.manifest.number,
            "shares": list(opened.used),
            "differ": differ or [],
        }
        self._lines.add("opened with a quorum and compared", about)

    def close(self, path: Path) -> str:
        """Write it; its digest, which the journal has from then on. Raises: as `Place.announce`."""
        self._lines.add("closed", {})
        self._place.announce(EVENT.rpartition(".")[2], {"transcript": self._lines.head})
        self._lines.write(path)
        return self._lines.head
