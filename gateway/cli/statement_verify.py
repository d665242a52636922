"""A statement computed again from an export of the tenant's journal, and held against the one that
was handed out.

Asks no gateway: it needs the export, the public keys and the price list, which comes from the
contract. Everything that is wrong becomes a finding that names it. Not for prices and integrals
themselves (`gateway.cli.statements`), nor for how hours are told (`gateway.journal.usage`).

Source: docs/metering.md, "From the journal". Requirement: A-16.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.cli.client import Document
from gateway.cli.statements import (
    MeteredHours,
    StatementInvalid,
    month_hours,
    statement_bytes,
    statement_of,
)
from gateway.journal.events import CLUSTER, LOG_NAME, EntryInvalid, read_line
from gateway.journal.notes import VerifierKey
from gateway.journal.shelf import LOGS
from gateway.journal.store import read_lines
from gateway.journal.usage import UsageReader, hour_text
from gateway.journal.verify import verify_folder
from gateway.model.billing import HOUR_MS, PriceList

LINES_MAX = 1 << 40  # all that there are
STATEMENT_BYTES_MAX = 1 << 20
FINDINGS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A statement as it was handed out; it names a tenant by id and a month."""

    content: bytes
    document: Document
    tenant_id: str
    month: str


@dataclass(slots=True)
class Checked:
    """What was found; the statement holds where `findings` is empty.

    Args:
        is_open: nothing contradicts the statement, and the month is not over: there is only that
            finding, and no comparison.
        statement: computed again; None where it cannot be.
    """

    findings: list[str] = field(default_factory=list)
    is_open: bool = False
    notices: list[str] = field(default_factory=list)
    statement: Document | None = None

    def document(self) -> Document:
        """For programs."""
        return {
            "equal": not self.findings,
            "open": self.is_open,
            "findings": self.findings,
            "notices": self.notices,
            "statement": self.statement,
        }


def verify_statement(
    folder: Path,
    keys: Sequence[VerifierKey],
    told: Told,
    prices: PriceList,
    *,
    against: Sequence[bytes] = (),
) -> Checked:
    """Verify the journal, compute the statement from it, compare every byte.

    Args:
        folder: an export of the tenant's journal, or of all.
        keys: public keys of the journal, from elsewhere than the export.
        told: the statement as `hexagone statement --json` has written it.
        against: checkpoints that somebody has kept.

    Raises: StatementInvalid: it cannot be computed again.
    """
    tenant_id, month = told.tenant_id, told.month
    checked = Checked()
    report = verify_folder(folder, keys, against=against)
    checked.findings += [f"journal: {finding}" for finding in report.findings]
    checked.notices += report.notices
    first, end = month_hours(month)
    usage = _usage(folder, tenant_id, first, end)
    checked.findings += usage.problems
    checked.notices += [f"told again since: {text}" for text in usage.corrected]
    checked.statement = statement_of(
        tenant=str(told.document.get("tenant")),
        tenant_id=tenant_id,
        month=month,
        hours=MeteredHours(
            first=first,
            end=end,
            until_ms=min(end, max(usage.closed_before, first)) * HOUR_MS,
            by_bucket=usage.by_bucket,
        ),
        plans=usage.plans,
        prices=prices,
    )
    is_there = any(log.name == tenant_id for log in report.logs)
    so_far = told.document.get("is_final") is False
    if so_far and is_there and not checked.findings and _is_open(usage):
        checked.is_open = True
        checked.findings += _incomplete(usage, tenant_id)
        return checked
    checked.findings += _incomplete(usage, tenant_id)
    checked.findings += _compared(told.document, told.content, checked.statement)
    del checked.findings[FINDINGS_MAX:]
    return checked


def read_statement(content: bytes) -> Told:
    """A statement, before anything is believed. Raises: StatementInvalid: this is none."""
    document = _statement(content)
    tenant_id, month = str(document.get("tenant_id")), str(document.get("month"))
    if not LOG_NAME.fullmatch(tenant_id) or tenant_id == CLUSTER:
        raise StatementInvalid(reason="it names no tenant by id")
    month_hours(month)
    return Told(content=content, document=document, tenant_id=tenant_id, month=month)


def _statement(content: bytes) -> Document:
    if len(content) > STATEMENT_BYTES_MAX:
        raise StatementInvalid(reason="the statement is too large")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StatementInvalid(reason="the statement is no JSON") from error
    if not isinstance(told, dict) or not isinstance(told.get("lines"), list):
        raise StatementInvalid(reason="the statement has no lines")
    return told


def _usage(folder: Path, log: str, first: int, end: int) -> UsageReader:
    """What a log of an export tells of a time. Lines that are damaged were found already."""
    reader = UsageReader(first, end)
    for seq, line in enumerate(read_lines(folder / LOGS / log, 0, LINES_MAX)):
        if b'"type":"usage.' not in line:
            continue
        try:
            reader.take(read_line(line, seq))
        except EntryInvalid as error:
            reader.problems.append(f"usage in event {seq} is not taken: {error.message()}")
    return reader


def _is_open(usage: UsageReader) -> bool:
    """Whether hours of the month are not closed yet; a cut journal looks so too, and one whose
    tenant was made within the hour.
    """
    return usage.closing is None or usage.closed_before < usage.end


def _incomplete(usage: UsageReader, tenant_id: str) -> Iterator[str]:
    """What the journal does not tell of the month."""
    if usage.closing is None:
        yield f"the journal of tenant {tenant_id} tells nothing of usage"
        return
    if usage.closing.from_hour > usage.first:
        yield f"the journal tells of usage from {hour_text(usage.closing.from_hour)} on only"
    if usage.closed_before < usage.end:
        last = hour_text(usage.closing.hour)
        yield f"the month is not closed: the last hour that is closed is {last}"


def _compared(told: Document, content: bytes, again: Document) -> Iterator[str]:
    """Where a statement is not the one that was computed."""
    differs = False
    for place, said, is_so in _differences(_by_item(told), _by_item(again)):
        differs = True
        yield f"{place}: the statement says {said}, the journal {is_so}"
    if not differs and content != statement_bytes(again):
        yield "the figures are equal, and the file is not what the command writes"


def _by_item(statement: Document) -> Document:
    """Lines by what they are of, so that a line more or less is not a difference of all others."""
    lines = {}
    for at, line in enumerate(statement["lines"]):
        name = str(line.get("item")) if isinstance(line, dict) else ""
        lines[name if name and name not in lines else f"{name} ({at + 1})"] = line
    return {**statement, "lines": lines}


def _differences(
    told: Mapping[str, object], again: Mapping[str, object], place: str = ""
) -> Iterator[tuple[str, str, str]]:
    for name in (*again, *(one for one in told if one not in again)):
        at = f"{place}, {name}" if place else name
        said, is_so = told.get(name), again.get(name)
        if isinstance(said, dict) and isinstance(is_so, dict):
            yield from _differences(said, is_so, at)
        elif said != is_so or type(said) is not type(is_so):
            yield at, _shown(said), _shown(is_so)


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)[:200]
