"""The CLI's answers for people: rich tables from the admin port's documents.

Not for programs: they ask with --json. Every text is printed as text, with control characters
escaped: an object's name can hold terminal commands, and rich's markup must not be found in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Answer = dict[str, Any]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def text(value: object, style: str = "") -> Text:
    """Any value as plain text, what is not printable escaped."""
    plain = str(value)
    if not plain.isprintable():
        plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain)
    return Text(plain, style=style)


def bytes_text(count: float) -> str:
    """A number of bytes with a binary unit."""
    for unit in _UNITS[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_UNITS[-1]}"


def time_text(at_ms: int) -> str:
    """A moment in UTC; "never" for 0."""
    if not at_ms:
        return "never"
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}Z"


def titled_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[RenderableType]]
) -> Table:
    """A table as all commands print it."""
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def status_view(answer: Answer) -> Group:
    """`hexagone status`."""
    tier, writes, log = answer["tier"], answer["writes"], answer["log"]
    geometry = answer["geometry"]
    style = "green" if writes["accepted"] and tier["name"] == "FULL" else "yellow"
    lines: list[RenderableType] = [
        text(
            f"{answer['cluster']}: {geometry['k']}+{geometry['m']}, "
            f"{len(answer['nodes'])} nodes, up {answer['uptime_s']} s"
        ),
        text(f"tier {tier['name']}: {tier['meaning']}", style),
        text("writes are accepted", "green")
        if writes["accepted"]
        else text(f"writes are refused: {writes['reason']}", "red"),
        text(
            f"log epoch {log['epoch']}, group {log['sequence']}, {log['waiting']} changes waiting, "
            f"checkpoint {_checkpoint(log['checkpoint'])}"
        ),
        _nodes(answer["nodes"]),
        *_regions(answer["regions"]),
        _margins(answer["margins"]),
        _repair(answer["repair"]),
        jobs_view(answer["jobs"]),
        _index_and_buffers(answer["index"], answer["buffers"]),
    ]
    lines += [text(f"! {warning}", "yellow") for warning in answer["warnings"]]
    return Group(*lines)


def _index_and_buffers(index: Answer, buffers: Answer) -> Text:
    more = "" if index["buckets_counted_all"] else " or more"
    return text(
        f"index: {index['rows']} rows, {bytes_text(index['bytes'])}, buckets: {index['buckets']}"
        f"{more}; buffers: {buffers['leased']} of {buffers['max']} in use, "
        f"{buffers['waiting']} bodies waiting"
    )


def _checkpoint(checkpoint: Answer) -> str:
    if checkpoint["groups_since"] is None:
        return "none yet"
    return f"at group {checkpoint['sequence']}, {checkpoint['groups_since']} groups since"


def _nodes(nodes: Sequence[Answer]) -> Table:
    columns = ("no", "node", "datacenter", "state", "takes shards", "shards", "stored", "free")
    return titled_table(
        "nodes", (*columns, "scrub", "corrupt"), (_node_row(node) for node in nodes)
    )


def _node_row(node: Answer) -> list[RenderableType]:
    drive = ["?"] * 5
    if node["seen"]:
        scrub = "never" if not node["scrubbed_at_ms"] else "done"
        drive = [
            str(node["shards"]),
            bytes_text(node["stored_bytes"]),
            bytes_text(node["free_bytes"]),
            f"{node['scrub_progress']:.0%}" if node["scrub_progress"] else scrub,
            str(node["corrupt_shards"]),
        ]
    takes = text("yes", "green") if node["usable"] else text(f"no: {node['why_not']}", "red")
    state = node["state"] if node["reachable"] else f"{node['state']}, no answer"
    return [
        text(node["number"]),
        text(node["node"]),
        text(f"{node['datacenter']} ({node['country']})"),
        text(state),
        takes,
        *map(text, drive),
    ]


def _regions(regions: Sequence[Answer]) -> list[RenderableType]:
    """A table where there is a region beside the cluster's own."""
    if len(regions) < 2:
        return []
    rows = [
        (
            text(region["name"]),
            text(" ".join(region["datacenters"]) or "any"),
            text(" ".join(region["countries"]) or "any"),
            text(f"{region['usable']} of {region['nodes']}"),
            text(region["reachable"], "green" if region["writes"] else "red"),
        )
        for region in regions
    ]
    columns = ("region", "datacenters", "countries", "usable nodes", "a write there reaches")
    return [titled_table("regions", columns, rows)]


def _margins(margins: Answer) -> RenderableType:
    if not margins["by_margin"]:
        return text("margins: not counted yet")
    rows = [
        (text(left, "red" if int(left) < 0 else ""), text(count), text(_margin_means(int(left))))
        for left, count in margins["by_margin"].items()
    ]
    title = f"stripes by margin (counted by: {margins['counted_by']})"
    return titled_table(title, ("margin", "stripes", "meaning"), rows)


def _margin_means(left: int) -> str:
    if left < 0:
        return "cannot be read until nodes return"
    return f"{left} more shard{'s' * (left != 1)} may go"


def _repair(repair: Answer) -> RenderableType:
    line = text(
        f"repair: {repair['waiting']} stripes waiting, {repair['reported']} reports, "
        f"{repair['unrecoverable_count']} unrecoverable",
        "red" if repair["unrecoverable_count"] else "",
    )
    if not repair["unrecoverable"]:
        return line
    rows = [(text(lost["stripe"]), text(lost["reason"])) for lost in repair["unrecoverable"]]
    return Group(line, titled_table("unrecoverable stripes", ("stripe", "reason"), rows))


def jobs_view(jobs: Sequence[Answer]) -> Table:
    """`hexagone jobs list`."""
    columns = ("job", "state", "progress", "detail", "rounds", "failures", "last error")
    rows = [
        (
            text(job["name"]),
            text(job["state"], "red" if job["state"] == "failing" else ""),
            text(progress_text(job)),
            text(job["progress"]["detail"]),
            text(job["rounds"]),
            text(job["failures"]),
            text(job["last_error"]),
        )
        for job in jobs
    ]
    return titled_table("jobs", columns, rows)


def keys_view(answer: Answer) -> Table:
    """`hexagone keys`."""
    return titled_table("named keys", ("name",), [(text(key["name"]),) for key in answer["keys"]])


def progress_text(job: Answer) -> str:
    """How far a job is."""
    progress = job["progress"]
    total = f" of {progress['total']}" if progress["total"] else ""
    return f"{progress['done']}{total} {progress['unit']}"


def where_view(answer: Answer) -> Group:
    """`hexagone where`."""
    places = [
        (
            text(place["datacenter"]),
            text(place["country"]),
            text(place["shards"]),
            text(bytes_text(place["cell_bytes"])),
        )
        for place in answer["datacenters"]
    ]
    lines: list[RenderableType] = [
        text(f"s3://{answer['bucket']}/{answer['key']}"),
        text(
            f"{answer['kind']}, {bytes_text(answer['content_bytes'])}, {answer['part_count']} "
            f"part(s), {answer['annotation_count']} annotation(s), {answer['stripe_count']} "
            f"stripe(s), lowest margin {answer['lowest_margin']}"
        ),
        titled_table("recorded in", ("datacenter", "country", "shards", "bytes of cells"), places),
        titled_table(
            "nodes that hold shards",
            ("node", "datacenter", "country", "certificate (SHA-256)", "last whole scrub"),
            _node_rows(answer["stripes"]),
        ),
        titled_table(
            "stripes",
            ("part", "stripe", "layout", "tier with all nodes up", "margin", "shards: index node"),
            (_stripe_row(stripe) for stripe in answer["stripes"]),
        ),
    ]
    counted, listed = answer["stripes_counted"], len(answer["stripes"])
    if listed < answer["stripe_count"]:
        lines.append(
            text(f"{listed} of {answer['stripe_count']} stripes listed; totals are of {counted}")
        )
    if answer["stripe_rows_missing"]:
        lines.append(
            text(f"{answer['stripe_rows_missing']} stripes have no row in the index", "red")
        )
    if answer["shards_outside"]:
        outside = f"{answer['shards_outside']} shards are outside of their region: run repair"
        lines.append(text(outside, "red"))
    lines.append(text(answer["recorded"], "dim"))
    return Group(*lines)


def _node_rows(stripes: list[Answer]) -> list[list[RenderableType]]:
    """Each node once: what is said of its place, and when it last read all it has."""
    shards = [shard for stripe in stripes for shard in stripe["shards"] if shard["node"]]
    held = {shard["node"]: shard for shard in shards}
    return [
        [
            text(name),
            text(shard["datacenter"]),
            text(shard["country"]),
            text(shard["certificate_sha256"] or "none: a folder of the gateway"),
            text(time_text(shard["verified_at_ms"])),
        ]
        for name, shard in sorted(held.items())
    ]


def _stripe_row(stripe: Answer) -> list[RenderableType]:
    if not stripe["recorded"]:
        return [text(stripe["part"]), text(stripe["stripe"]), *[text("?")] * 3, text("no row")]
    shards = ", ".join(
        f"{shard['index']} {shard['node'] or '(nowhere)'}"
        + ("" if shard["node"] is None or shard["reachable"] else " (no answer)")
        for shard in stripe["shards"]
    )
    return [
        text(stripe["part"]),
        text(stripe["stripe"]),
        text(stripe["layout"]),
        text(stripe["tier"]),
        text(stripe["margin"]),
        text(shards),
    ]


def durability_view(answer: Answer) -> Group:
    """`hexagone durability`."""
    assumed = answer["assumptions"]
    layouts = (("this cluster", answer["present"]), ("production", answer["production"]))
    columns = ("", "layout", "shards per datacenter", "raw bytes", "margin after a datacenter")
    table = titled_table(
        "durability",
        (*columns, "loss per year", "nines", "mostly by"),
        (_layout_row(name, layout) for name, layout in layouts),
    )
    lines: list[RenderableType] = [
        table,
        text(answer["sentence"]),
        text(f"Meaning: {answer['meaning']}."),
        text(
            f"Assumed: {assumed['drive_failures_per_year']:.2%} of drives fail in a year, repair "
            f"takes {assumed['repair_hours']:.0f} h, a datacenter is destroyed "
            f"{assumed['datacenter_losses_per_year']:g} times a year and its shards exist again "
            f"after {assumed['datacenter_restore_hours']:.0f} h."
        ),
    ]
    lines += [text(f"! {caveat}", "yellow") for caveat in answer["caveats"]]
    return Group(*lines)


def _layout_row(name: str, layout: Answer) -> list[RenderableType]:
    if not layout["possible"]:
        return [text(name), text(layout["layout"]), text(layout["reason"]), *[text("-")] * 5]
    return [
        text(name),
        text(layout["layout"]),
        text("+".join(map(str, layout["shards_per_datacenter"]))),
        text(f"× {layout['raw_bytes_per_byte']:g}"),
        text(f"{layout['margin_after_datacenter']}: {layout['after_datacenter']}"),
        text(f"{layout['loss_per_year']:.1e}"),
        text(layout["nines_text"]),
        text(layout["dominant_cause"]),
    ]
