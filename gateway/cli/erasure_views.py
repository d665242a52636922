"""Answers about erasures and approvals for people; see `gateway.cli.tables`."""

from __future__ import annotations

from rich.console import Group, RenderableType

from gateway.cli.key_views import when
from gateway.cli.status_cli import parse_url
from gateway.cli.tables import Answer, text, titled_table
from gateway.terminal.language import heard, say


def parse_object(url: str) -> tuple[str, str]:
    """Bucket and key of s3://BUCKET/KEY. Raises: typer.BadParameter."""
    return parse_url(url)


def loss_text(planned: Answer) -> str:
    """What is lost, in one sentence."""
    return say(
        "{kind} {name}: {objects} object version(s), {size} bytes will be LOST FOR EVER.",
        kind=heard(planned["kind"]),
        name=planned["name"],
        objects=planned["objects"],
        size=planned["size_bytes"],
    )


def plan_view(answer: Answer) -> Group:
    """`hexagone erase … --dry-run`."""
    lines = [
        loss_text(answer),
        say("notice: {days} days", days=answer["notice_days"]),
        say("keys disabled before they are destroyed: {hours} h", hours=answer["disabled_hours"]),
        say("approvals needed: {count}", count=answer["approvals"]),
    ]
    if answer["kept_until_ms"]:
        until = when(answer["kept_until_ms"])
        lines.append(say("the tenant leaves and can retrieve until {until}", until=until))
    days = answer["backup_retention_days"]
    if days is None:
        lines.append(say("how long backups are kept is not configured: no date is certified"))
    else:
        lines.append(say("no backup restores it {days} days after that", days=days))
    return Group(*(text(line) for line in lines))


def begun_view(answer: Answer) -> RenderableType:
    """One erasure, or an object that was only deleted."""
    if "erasure" not in answer:
        deleted = say("deleted: {count} version(s)", count=answer["deleted"])
        worth = say("shredded: {when}", when=heard(answer["shredded"]))
        return Group(text(deleted), text(worth))
    return erasures_view({"erasures": [answer["erasure"]]})


def erasures_view(answer: Answer) -> RenderableType:
    """`hexagone erase status`."""
    columns = ("erasure", "what", "step", "not before", "versions", "detail")
    rows = [
        (
            text(one["id"]),
            text(f"{heard(one['kind'])} {one['name'] or one['bucket'] or one['tenant']}"),
            text(one["step"], "green" if one["is_certified"] else ""),
            text(when(one["execute_at_ms"])),
            text(one["objects"]),
            text(heard(one["detail"]), "yellow"),
        )
        for one in answer["erasures"]
    ]
    return titled_table("erasures", columns, rows)


def verified_view(answer: Answer) -> Group:
    """`hexagone erase verify`."""
    lines = [_heard_line(line) for line in answer["text"].splitlines()]
    return Group(text(say("the certificate holds"), "green"), *(text(line) for line in lines))


def _heard_line(line: str) -> str:
    bare = line.lstrip()
    return f"{line[: len(line) - len(bare)]}{heard(bare)}"


def purge_view(answer: Answer) -> Group:
    """`hexagone purge`."""
    lines = []
    told = (
        (answer.get("purged"), "taken away: {counts}"),
        (answer["left"], "left: {counts}"),
    )
    for counts, message in told:
        if counts is not None:
            said = ", ".join(f"{count} {heard(name)}" for name, count in sorted(counts.items()))
            lines.append(say(message, counts=said or 0))
    return Group(*(text(line) for line in lines))


def approvers_view(answer: Answer) -> Group:
    """Who approves."""
    if not answer["threshold"]:
        return Group(text(say("no approvers: destruction needs one person only"), "yellow"))
    title = say(
        "{threshold} of {count} approve, version {version}",
        threshold=answer["threshold"],
        count=len(answer["approvers"]),
        version=answer["version"],
    )
    return Group(text(title), *(text(one) for one in answer["approvers"]))


def requests_view(answer: Answer) -> Group:
    """`hexagone approvals list`."""
    columns = ("request", "act", "name", "asked by", "approved by", "lacking", "expires")
    rows = [
        (
            text(one["id"]),
            text(one["act"]),
            text(one["name"]),
            text(one["requester"]),
            text(", ".join(one["approved_by"])),
            text(one["lacking"], "yellow" if one["lacking"] else "green"),
            text(when(one["expires_ms"])),
        )
        for one in answer["requests"]
    ]
    return Group(approvers_view(answer), titled_table("requests for approval", columns, rows))


def request_view(answer: Answer) -> Group:
    """`hexagone approvals show`."""
    named = say("The gateway calls it {name}.", name=answer["name"])
    lacking = say("approvals lacking: {count}", count=answer["lacking"])
    said = [heard(line) for line in answer["in_words"]]
    return Group(*(text(line) for line in (*said, named, lacking)))
