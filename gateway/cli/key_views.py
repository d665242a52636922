"""Answers about keys for people; see `gateway.cli.tables`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from gateway.cli.tables import Answer, text, titled_table
from gateway.terminal.language import heard, say
from gateway.terminal.times import moment

_STYLES = {"ACTIVE": "green", "DISABLED": "yellow", "DESTROYED": "red"}


def plain(value: str) -> str:
    """A text for a progress bar, whose descriptions are markup."""
    return escape(text(value).plain)


def when(at_ms: int) -> str:
    """A time; "" = not known."""
    return moment(at_ms) if at_ms else ""


def keys_view(answer: Answer) -> Group:
    """`hexagone keys list`."""
    columns = ("key", "epoch", "state", "created", "changed")
    tables: list[RenderableType] = []
    for title, held, name in (
        (say("keys of tenants"), answer["tenants"], "name"),
        (say("keys of buckets"), answer["buckets"], "bucket"),
        (say("named keys"), answer["keys"], "name"),
    ):
        rows = [_epoch_row(one[name], epoch) for one in held for epoch in one["epochs"]]
        if rows:
            tables.append(titled_table(title, columns, rows))
    if answer["is_truncated"]:
        tables.append(text(say("there are more buckets: name one with --bucket"), "yellow"))
    tables.append(
        text(say("keys of tenants are kept in: {place}", place=heard(answer["kept_in"])), "dim")
    )
    return Group(*tables)


def _epoch_row(name: str, epoch: Answer) -> Sequence[RenderableType]:
    state = epoch["state"]
    if epoch["is_retiring"]:
        state = say("{state}, retiring", state=state)
    return (
        text(f"{name}/{epoch['epoch']}"),
        text(epoch["epoch"]),
        text(state, _STYLES.get(epoch["state"], "")),
        text(when(epoch["created_at_ms"])),
        text(when(epoch["changed_at_ms"])),
    )


def planned_view(answer: Answer) -> Group:
    """`hexagone keys rotate`."""
    rows = [
        (text(heard(one["kind"])), text(one["name"]), text(one["from"]), text(one["to"]))
        for one in answer["begun"]
    ]
    title = say("would be rotated") if answer["dry_run"] else say("rotations begun")
    lines: list[RenderableType] = [titled_table(title, ("kind", "name", "from", "to"), rows)]
    if answer["under_way"]:
        count = len(answer["under_way"])
        lines.append(text(say("{count} more are under way already", count=count), "yellow"))
    if not answer["dry_run"]:
        lines.append(text(say("`hexagone keys status --watch` shows how far they are"), "dim"))
    return Group(*lines)


def pace_text(rotation: Answer) -> str:
    """How fast a rotation is, and how long it will take."""
    if rotation["is_counting"]:
        return say("counting")
    if not rotation["rate"]:
        return say("waiting")
    rate, eta = rotation["rate"], rotation["eta_s"]
    if eta is None:
        return say("{rate:.0f} rows/s", rate=rate)
    return say("{rate:.0f} rows/s, {eta:.0f} s left", rate=rate, eta=eta)


def rotations_view(answer: Answer) -> Group:
    """`hexagone keys status`."""
    held = [
        (
            text(f"{heard(one['kind'])} {one['name']}"),
            text(one["epoch"]),
            text(when(one["started_at_ms"])),
            text(say("{done} of {total}", done=one["done"], total=max(one["total"], one["done"]))),
            text(pace_text(one)),
        )
        for one in answer["rotations"]
    ]
    ended = [
        (
            text(f"{heard(one['kind'])} {one['name']}"),
            text(one["epoch"]),
            text(when(one["started_at_ms"])),
            text(when(one["ended_at_ms"])),
            text(heard(one["outcome"]), "red" if one["outcome"] == "left" else ""),
            text(counts_text(one["rewrapped"])),
        )
        for one in answer["reports"]
    ]
    return Group(
        titled_table("under way", ("key", "to epoch", "begun", "rows", "pace"), held),
        titled_table("ended", ("key", "to epoch", "begun", "ended", "outcome", "moved"), ended),
        text(heard(answer["said"]), "dim"),
    )


def counts_text(counts: Answer) -> str:
    """Numbers by what they are of."""
    return ", ".join(f"{count} {heard(name)}" for name, count in counts.items()) or say("nothing")


def left_text(answer: Answer) -> str:
    """What is under an epoch."""
    named = text(answer["named"]).plain
    return say("{counts} under {named}", counts=counts_text(answer["left"]), named=named)


def left_view(answer: Answer) -> Text:
    """`--dry-run` of disable and destroy."""
    return text(left_text(answer))


def changed_view(answer: Answer) -> Text:
    """`hexagone keys disable` and `enable`."""
    epoch = answer["epoch"]
    kind = heard(answer["kind"])
    return text(f"{kind} {answer['name']}/{epoch['epoch']}: {epoch['state']}")


def destroyed_view(answer: Answer) -> Text:
    """`hexagone keys destroy`."""
    lost = counts_text(answer["lost"])
    named = f"{heard(answer['kind'])} {answer['name']}/{answer['epoch']}"
    return text(say("{named}: DESTROYED, lost: {lost}", named=named, lost=lost))
