"""Answers about keys for people; see `gateway.admin.tables`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from gateway.admin.tables import Answer, text, titled_table

_STYLES = {"ACTIVE": "green", "DISABLED": "yellow", "DESTROYED": "red"}


def plain(value: str) -> str:
    """A text for a progress bar, whose descriptions are markup."""
    return escape(text(value).plain)


def when(at_ms: int) -> str:
    """A time; "" = not known."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M:%SZ}" if at_ms else ""


def keys_view(answer: Answer) -> Group:
    """`hexagone keys list`."""
    columns = ("key", "epoch", "state", "created", "changed")
    tables: list[RenderableType] = []
    for title, held, name in (
        ("keys of tenants", answer["tenants"], "name"),
        ("keys of buckets", answer["buckets"], "bucket"),
    ):
        rows = [_epoch_row(one[name], epoch) for one in held for epoch in one["epochs"]]
        if rows:
            tables.append(titled_table(title, columns, rows))
    if answer["keys"]:
        named = [(text(key["name"]),) for key in answer["keys"]]
        tables.append(titled_table("named keys", ("name",), named))
    if answer["is_truncated"]:
        tables.append(text("there are more buckets: name one with --bucket", "yellow"))
    return Group(*tables)


def _epoch_row(name: str, epoch: Answer) -> Sequence[RenderableType]:
    state = epoch["state"] + (", retiring" if epoch["is_retiring"] else "")
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
        (text(one["kind"]), text(one["name"]), text(one["from"]), text(one["to"]))
        for one in answer["begun"]
    ]
    title = "would be rotated" if answer["dry_run"] else "rotations begun"
    lines: list[RenderableType] = [titled_table(title, ("kind", "name", "from", "to"), rows)]
    if answer["under_way"]:
        lines.append(text(f"{len(answer['under_way'])} more are under way already", "yellow"))
    if not answer["dry_run"]:
        lines.append(text("`hexagone keys status --watch` shows how far they are", "dim"))
    return Group(*lines)


def pace_text(rotation: Answer) -> str:
    """How fast a rotation is, and how long it will take."""
    if rotation["is_counting"]:
        return "counting"
    if not rotation["rate"]:
        return "waiting"
    eta = f", {rotation['eta_s']:.0f} s left" if rotation["eta_s"] is not None else ""
    return f"{rotation['rate']:.0f} rows/s{eta}"


def rotations_view(answer: Answer) -> Group:
    """`hexagone keys status`."""
    held = [
        (
            text(f"{one['kind']} {one['name']}"),
            text(one["epoch"]),
            text(when(one["started_at_ms"])),
            text(f"{one['done']} of {max(one['total'], one['done'])}"),
            text(pace_text(one)),
        )
        for one in answer["rotations"]
    ]
    ended = [
        (
            text(f"{one['kind']} {one['name']}"),
            text(one["epoch"]),
            text(when(one["started_at_ms"])),
            text(when(one["ended_at_ms"])),
            text(one["outcome"], "red" if one["outcome"] == "left" else ""),
            text(counts_text(one["rewrapped"])),
        )
        for one in answer["reports"]
    ]
    return Group(
        titled_table("under way", ("key", "to epoch", "begun", "rows", "pace"), held),
        titled_table("ended", ("key", "to epoch", "begun", "ended", "outcome", "moved"), ended),
        text(answer["said"], "dim"),
    )


def counts_text(counts: Answer) -> str:
    """Numbers by what they are of."""
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"


def left_text(answer: Answer) -> str:
    """What is under an epoch."""
    return f"{counts_text(answer['left'])} under {text(answer['named']).plain}"


def left_view(answer: Answer) -> Text:
    """`--dry-run` of disable and destroy."""
    return text(left_text(answer))


def changed_view(answer: Answer) -> Text:
    """`hexagone keys disable` and `enable`."""
    epoch = answer["epoch"]
    return text(f"{answer['kind']} {answer['name']}/{epoch['epoch']}: {epoch['state']}")


def destroyed_view(answer: Answer) -> Text:
    """`hexagone keys destroy`."""
    lost = counts_text(answer["lost"])
    return text(f"{answer['kind']} {answer['name']}/{answer['epoch']}: DESTROYED, lost: {lost}")
