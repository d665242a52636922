"""The CLI's answers for people: rich tables from the admin port's documents.

Not for programs: they ask with --json. Every text is printed as text, with control characters
escaped: an object's name can hold terminal commands, and rich's markup must not be found in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.cli.key_service_views import key_service_lines
from gateway.terminal.language import heard, say
from gateway.terminal.times import moment

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
        return say("never")
    return moment(at_ms)


def titled_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[RenderableType]]
) -> Table:
    """A table as all commands print it."""
    table = Table(
        title=text(say(title)) if title else None,
        title_justify="left",
        title_style="bold",
        header_style="dim",
        show_header=any(columns),
    )
    for column in columns:
        table.add_column(text(say(column)), overflow="fold")
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
            say(
                "{cluster}: {k}+{m}, {nodes} nodes, up {uptime} s",
                cluster=answer["cluster"],
                nodes=len(answer["nodes"]),
                uptime=answer["uptime_s"],
                **geometry,
            )
        ),
        text(
            say("tier {name}: {meaning}", name=tier["name"], meaning=heard(tier["meaning"])), style
        ),
        text(say("writes are accepted"), "green")
        if writes["accepted"]
        else text(say("writes are refused: {reason}", reason=heard(writes["reason"])), "red"),
        text(
            say(
                "log epoch {epoch}, group {sequence}, {waiting} changes waiting, {checkpoint}",
                epoch=log["epoch"],
                sequence=log["sequence"],
                waiting=log["waiting"],
                checkpoint=_checkpoint(log["checkpoint"]),
            )
        ),
        _nodes(answer["nodes"]),
        *_regions(answer["regions"]),
        _margins(answer["margins"]),
        _repair(answer["repair"]),
        jobs_view(answer["jobs"]),
        _index_and_buffers(answer["index"], answer["buffers"]),
    ]
    if "admin" in answer:
        local = heard(answer["admin"]["local"])
        lines.append(text(say("the local root {rights}", rights=local)))
    warnings = [text(f"! {heard(warning)}", "yellow") for warning in answer["warnings"]]
    return Group(*lines, *key_service_lines(answer["keys"]), *warnings)


def _index_and_buffers(index: Answer, buffers: Answer) -> Text:
    buckets = str(index["buckets"])
    if not index["buckets_counted_all"]:
        buckets = say("{count} or more", count=buckets)
    return text(
        say(
            "index: {rows} rows, {size}, buckets: {buckets}; "
            "buffers: {leased} of {max} in use, {waiting} bodies waiting",
            rows=index["rows"],
            size=bytes_text(index["bytes"]),
            buckets=buckets,
            **buffers,
        )
    )


def _checkpoint(checkpoint: Answer) -> str:
    if checkpoint["groups_since"] is None:
        return say("no checkpoint yet")
    return say(
        "checkpoint at group {sequence}, {since} groups since",
        sequence=checkpoint["sequence"],
        since=checkpoint["groups_since"],
    )


def _nodes(nodes: Sequence[Answer]) -> Table:
    columns = ("number", "node", "datacenter", "state", "takes shards", "shards", "stored", "free")
    return titled_table(
        "nodes", (*columns, "scrub", "corrupt"), (_node_row(node) for node in nodes)
    )


def _node_row(node: Answer) -> list[RenderableType]:
    drive = ["?"] * 5
    if node["seen"]:
        scrub = say("never") if not node["scrubbed_at_ms"] else say("done")
        drive = [
            str(node["shards"]),
            bytes_text(node["stored_bytes"]),
            bytes_text(node["free_bytes"]),
            f"{node['scrub_progress']:.0%}" if node["scrub_progress"] else scrub,
            str(node["corrupt_shards"]),
        ]
    takes = text(say("yes"), "green")
    if not node["usable"]:
        takes = text(say("no: {reason}", reason=heard(node["why_not"])), "red")
    state = node["state"]
    if not node["reachable"]:
        state = say("{state}, no answer", state=state)
    return [
        text(node["number"]),
        text(node["node"]),
        text(_place_of(node)),
        text(state),
        takes,
        *map(text, drive),
    ]


def _place_of(node: Answer) -> str:
    operator = f", {node['operator']}" if node["operator"] else ""
    return f"{node['datacenter']} ({node['country']}{operator})"


def _regions(regions: Sequence[Answer]) -> list[RenderableType]:
    """A table where there is a region beside the cluster's own, or operators are named."""
    if len(regions) < 2 and not any(region["operators"] for region in regions):
        return []
    rows = [
        (
            text(region["name"]),
            text(" ".join(region["datacenters"]) or say("any")),
            text(" ".join(region["countries"]) or say("any")),
            text(" ".join(region["operators"]) or say("none named")),
            text(say("{done} of {total}", done=region["usable"], total=region["nodes"])),
            text(region["reachable"], "green" if region["writes"] else "red"),
        )
        for region in regions
    ]
    columns = ("region", "datacenters", "countries", "operators", "usable nodes")
    return [titled_table("regions", (*columns, "a write there reaches"), rows)]


def _margins(margins: Answer) -> RenderableType:
    if not margins["by_margin"]:
        return text(say("margins: not counted yet"))
    rows = [
        (text(left, "red" if int(left) < 0 else ""), text(count), text(_margin_means(int(left))))
        for left, count in margins["by_margin"].items()
    ]
    counted_by = heard(margins["counted_by"])
    title = say("stripes by margin (counted by: {counted_by})", counted_by=counted_by)
    return titled_table(title, ("margin", "stripes", "meaning"), rows)


def _margin_means(left: int) -> str:
    if left < 0:
        return say("cannot be read until nodes return")
    return say("1 more shard may go") if left == 1 else say("{left} more shards may go", left=left)


def _repair(repair: Answer) -> RenderableType:
    line = text(
        say(
            "repair: {waiting} stripes waiting, {reported} reports, {lost} unrecoverable",
            waiting=repair["waiting"],
            reported=repair["reported"],
            lost=repair["unrecoverable_count"],
        ),
        "red" if repair["unrecoverable_count"] else "",
    )
    if not repair["unrecoverable"]:
        return line
    rows = [(text(lost["stripe"]), text(heard(lost["reason"]))) for lost in repair["unrecoverable"]]
    return Group(line, titled_table("unrecoverable stripes", ("stripe", "reason"), rows))


def jobs_view(jobs: Sequence[Answer]) -> Table:
    """`hexagone jobs list`."""
    columns = ("job", "state", "progress", "detail", "rounds", "failures", "last error")
    rows = [
        (
            text(job["name"]),
            text(heard(job["state"]), "red" if job["state"] == "failing" else ""),
            text(progress_text(job)),
            text(heard(job["progress"]["detail"])),
            text(job["rounds"]),
            text(job["failures"]),
            text(heard(job["last_error"])),
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
    done, total, unit = progress["done"], progress["total"], heard(progress["unit"])
    if not total:
        return f"{done} {unit}"
    return say("{done} of {total} {unit}", done=done, total=total, unit=unit)


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
            say(
                "{kind}, {size}, {parts} part(s), {annotations} annotation(s), "
                "{stripes} stripe(s), lowest margin {margin}",
                kind=heard(answer["kind"]),
                size=bytes_text(answer["content_bytes"]),
                parts=answer["part_count"],
                annotations=answer["annotation_count"],
                stripes=answer["stripe_count"],
                margin=answer["lowest_margin"],
            )
        ),
        titled_table("recorded in", ("datacenter", "country", "shards", "bytes of cells"), places),
        titled_table(
            "nodes that hold shards",
            ("node", "place", "certificate (SHA-256)", "last whole scrub"),
            _node_rows(answer["stripes"]),
        ),
        titled_table(
            "stripes",
            ("part", "stripe", "layout", "tier with all nodes up", "margin", "shards: index node"),
            (_stripe_row(stripe) for stripe in answer["stripes"]),
        ),
    ]
    lines += _left_out(answer)
    lines.append(text(heard(answer["recorded"]), "dim"))
    return Group(*lines)


def _left_out(answer: Answer) -> list[RenderableType]:
    """What the tables do not show, or what is not as it should be."""
    lines: list[RenderableType] = []
    counted, listed = answer["stripes_counted"], len(answer["stripes"])
    if listed < (count := answer["stripe_count"]):
        told = "{listed} of {count} stripes listed; totals are of {counted}"
        lines.append(text(say(told, listed=listed, count=count, counted=counted)))
    if count := answer["stripe_rows_missing"]:
        lines.append(text(say("{count} stripes have no row in the index", count=count), "red"))
    if count := answer["shards_outside"]:
        outside = say("{count} shards are outside of their region: run repair", count=count)
        lines.append(text(outside, "red"))
    if count := answer["stripes_too_much_with_one"]:
        much = say("{count} stripes lie too much with one operator: run repair", count=count)
        lines.append(text(much, "red"))
    return lines


def _node_rows(stripes: list[Answer]) -> list[list[RenderableType]]:
    """Each node once: what is said of its place, and when it last read all it has."""
    shards = [shard for stripe in stripes for shard in stripe["shards"] if shard["node"]]
    held = {shard["node"]: shard for shard in shards}
    return [
        [
            text(name),
            text(_place_of(shard)),
            text(shard["certificate_sha256"] or say("none: a folder of the gateway")),
            text(time_text(shard["verified_at_ms"])),
        ]
        for name, shard in sorted(held.items())
    ]


def _stripe_row(stripe: Answer) -> list[RenderableType]:
    if not stripe["recorded"]:
        return [text(stripe["part"]), text(stripe["stripe"]), *[text("?")] * 3, text(say("no row"))]
    shards = ", ".join(
        f"{shard['index']} {shard['node'] or say('(nowhere)')}"
        + ("" if shard["node"] is None or shard["reachable"] else f" {say('(no answer)')}")
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
    layouts = (
        (say("this cluster"), answer["present"]),
        (say("production"), answer["production"]),
    )
    columns = ("", "layout", "shards per datacenter", "raw bytes", "margin after a datacenter")
    table = titled_table(
        "durability",
        (*columns, "loss per year", "nines", "mostly by"),
        (_layout_row(name, layout) for name, layout in layouts),
    )
    lines: list[RenderableType] = [
        table,
        text(heard(answer["sentence"])),
        text(say("Meaning: {meaning}.", meaning=heard(answer["meaning"]))),
        text(
            say(
                "Assumed: {failures:.2%} of drives fail in a year, repair takes {repair:.0f} h, "
                "a datacenter is destroyed {losses:g} times a year and its shards exist again "
                "after {restore:.0f} h.",
                failures=assumed["drive_failures_per_year"],
                repair=assumed["repair_hours"],
                losses=assumed["datacenter_losses_per_year"],
                restore=assumed["datacenter_restore_hours"],
            )
        ),
    ]
    lines += [text(f"! {heard(caveat)}", "yellow") for caveat in answer["caveats"]]
    return Group(*lines)


def _layout_row(name: str, layout: Answer) -> list[RenderableType]:
    if not layout["possible"]:
        return [text(name), text(layout["layout"]), text(heard(layout["reason"])), *[text("-")] * 5]
    return [
        text(name),
        text(layout["layout"]),
        text("+".join(map(str, layout["shards_per_datacenter"]))),
        text(f"× {layout['raw_bytes_per_byte']:g}"),
        text(f"{layout['margin_after_datacenter']}: {heard(layout['after_datacenter'])}"),
        text(f"{layout['loss_per_year']:.1e}"),
        text(heard(layout["nines_text"])),
        text(heard(layout["dominant_cause"])),
    ]
