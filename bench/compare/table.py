"""The comparison for people: Markdown, with the targets and where we stand. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.compare.plan import LENGTHS, Target, Trial

Line = dict[str, Any]
OURS, MINIO = "hexagone", "minio"
OPERATIONS = {
    "put": "PUT",
    "get": "GET",
    "head": "HEAD",
    "delete": "DELETE",
    "list": "LIST 1,000 keys",
    "mixed": "mixed",
    "multipart": "multipart",
}


def title(trial: Trial) -> str:
    """Such as `PUT 4 KiB, 64 clients`."""
    words = OPERATIONS[trial.operation]
    if trial.operation != "list":
        kib = LENGTHS[trial.length] // 1024
        words += f" {kib // 1024} MiB" if kib >= 1024 else f" {kib} KiB"
    words += f", {trial.clients} client{'s' * (trial.clients > 1)}"
    words += f", bucket of {trial.bucket}" if trial.bucket else ""
    return words + ", cold" * trial.is_cold + ", TLS" * trial.tls


def figure(trial: Trial) -> str:
    """Which figure is the rate of a trial."""
    return "mib_per_s" if trial.is_long else "ops_per_s"


def by_system(lines: Iterable[Line]) -> dict[str, dict[str, Line]]:
    """case → system → line."""
    found: dict[str, dict[str, Line]] = {}
    for line in lines:
        if "system" in line and "case" in line:
            found.setdefault(line["case"], {})[line["system"]] = line
    return found


def ratios(lines: dict[str, Line], name: str, *, is_rate: bool) -> tuple[float, str, float]:
    """(ours over the best peer's, that peer's name, ours over MinIO's); 0.0 where one failed."""
    values = {system: line[name] for system, line in lines.items() if line.get(name)}
    ours = values.pop(OURS, 0.0)
    if not ours or not values:
        return 0.0, "", 0.0
    best = (max if is_rate else min)(values, key=lambda system: values[system])
    minio = values.get(MINIO)
    return ours / values[best], best, ours / minio if minio else 0.0


def _cell(line: Line | None, trial: Trial) -> str:
    if line is None:
        return "–"
    if "failed" in line:
        return "failed"
    name = figure(trial)
    low, high = line[f"{name}_range"]
    unit = " MiB/s" if trial.is_long else "/s"
    text = f"**{line[name]:,.0f}**{unit} ({low:,.0f}–{high:,.0f})<br>p99 {line['p99_ms']:,.1f} ms"
    if trial.bucket and line.get("objects"):
        text += f"<br>{line['objects']:,} objects"
    return text


def cases_table(lines: Iterable[Line], trials: Sequence[Trial], systems: Sequence[str]) -> str:
    """A row for each trial that was run, a column for each system: medians, ranges, p99."""
    found = by_system(lines)
    rows = ["| Case | " + " | ".join(systems) + " |", "|---" * (len(systems) + 1) + "|"]
    for trial in trials:
        if trial.name in found:
            cells = [_cell(found[trial.name].get(system), trial) for system in systems]
            rows.append(f"| {title(trial)} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _verdict(value: float, bound: float, *, is_floor: bool) -> str:
    if not value:
        return "not measured"
    is_met = value >= bound if is_floor else value <= bound
    sign = "≥" if is_floor else "≤"
    return f"{value:.2f} ({sign} {bound:g}, {'met' if is_met else '**missed**'})"


def targets_table(lines: Iterable[Line], targets: Sequence[Target]) -> str:
    """Every target beside the best peer and beside MinIO; where we lose, it says so."""
    found = by_system(lines)
    rows = ["| Case | Best peer | against it | against MinIO | p99, best | p99, MinIO |"]
    rows.append("|---" * 6 + "|")
    for target in targets:
        case = found.get(target.trial.name)
        if case is None:
            continue
        rate, best, minio = ratios(case, figure(target.trial), is_rate=True)
        late, _, minio_late = ratios(case, "p99_ms", is_rate=False)
        cells = [
            title(target.trial),
            best or "–",
            _verdict(rate, target.best, is_floor=True),
            _verdict(minio, target.minio, is_floor=True),
            _verdict(late, target.best_p99, is_floor=False),
            _verdict(minio_late, target.minio_p99, is_floor=False),
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def systems_table(lines: Iterable[Line]) -> str:
    """Tier, redundancy, start-up, space and memory of each system."""
    rows = ["| System | Tier | Redundancy | Start | Bytes on disk per byte, 4 KiB | Not alike |"]
    rows.append("|---" * 6 + "|")
    for line in lines:
        if line.get("case") != "system":
            continue
        start = f"{line['start_s']:.1f} s" if "start_s" in line else "failed"
        space = f"{line['bytes_per_byte']:.2f}" if "bytes_per_byte" in line else "–"
        cells = (line["system"], line["tier"], line["redundancy"], start, space, line["notes"])
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def memory_table(lines: Iterable[Line]) -> str:
    """Resident memory at the end of each round of the mixed load."""
    rows = ["| System | Resident under the mixed load, MiB | CPU ms a request |", "|---|---|---|"]
    for line in lines:
        if str(line.get("case")).startswith("mixed-") and "resident_mib" in line:
            rows.append(
                f"| {line['system']} | {line['resident_mib']:,.0f} | {line['cpu_ms_per_op']:.2f} |"
            )
    return "\n".join(rows)


def page(lines: Sequence[Line], trials: Sequence[Trial], targets: Sequence[Target]) -> str:
    """All tables of one run."""
    systems = list(dict.fromkeys(line["system"] for line in lines if line.get("case") == "system"))
    parts = [
        systems_table(lines),
        cases_table(lines, trials, systems),
        targets_table(lines, targets),
        memory_table(lines),
    ]
    failures = [
        f"* {line['system']}, {line['case']}: {line['failed'][:200]!r}"
        for line in lines
        if "failed" in line
    ]
    absent = [f"* not found: {line['what']}" for line in lines if line.get("case") == "absent"]
    return "\n\n".join([*parts, "\n".join([*failures, *absent])]) + "\n"
