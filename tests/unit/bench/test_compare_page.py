"""The page of a comparison: medians, ranges, verdicts at their limits; nothing is ever dropped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.compare.measure import summary
from bench.compare.plan import GROWTH_MAX, TARGETS, Trial, known_trials, quick_targets
from bench.compare.results import by_case, stored_for_each, systems, title, title_of
from bench.compare.table import main, page
from bench.compare.verdicts import (
    FROZEN,
    GROWN_FROM,
    GROWN_TO,
    MIXED,
    START,
    START_COLD,
    beside,
    every,
    frozen,
    growth,
    memory,
    of_target,
    others,
    start,
)

Line = dict[str, Any]


def line(case: str, system: str, rate: float, p99_ms: float = 8.0, **more: Any) -> Line:
    """What a run says of a system in a case, out of rounds around a rate."""
    rounds = [
        {"ops_per_s": rate + step, "mib_per_s": rate + step, "p50_ms": 1.0, "p99_ms": p99_ms}
        | {"ops": 10, "resident_mib": 5.0, "cpu_ms_per_op": 0.5}
        for step in (-1.0, 0.0, 10.0)
    ]
    return {"case": case, "system": system} | summary(rounds, None) | more


def system(name: str, redundancy: str = "4+2 on 6 nodes", **more: Any) -> Line:
    told = {"tier": "default", "redundancy": redundancy, "notes": ""}
    return {"case": "system", "system": name} | told | more


def failed(case: str, name: str) -> Line:
    return {"case": case, "system": name, "failed": "no quorum"}


PUT = next(target for target in TARGETS if target.trial.name == "put-4k-c64")


def test_a_cell_is_the_median_with_its_range_and_the_p99() -> None:
    text = page([system("hexagone"), line("put-4k-c64", "hexagone", 1234.0)], TARGETS)
    assert "| PUT 4 KiB, 64 clients | **1,234**/s (1,233–1,244)<br>p99 8.0 ms |" in text
    assert "Medians of 3 interleaved rounds" in text and "Fewer than the 5" in text


@pytest.mark.parametrize(
    ("ours", "peer", "word"),
    [(100.0, 100.0, "met"), (99.99, 100.0, "missed"), (100.01, 100.0, "met")],
)
def test_a_rate_at_its_very_limit_is_met(ours: float, peer: float, word: str) -> None:
    of_case = {"hexagone": line("put-4k-c64", "hexagone", ours)}
    of_case["garage"] = line("put-4k-c64", "garage", peer)
    assert beside(of_case, "ops_per_s", 1.0, is_rate=True).word == word


@pytest.mark.parametrize(
    ("ours_ms", "word", "distance"), [(12.0, "met", ""), (12.1, "missed", " by less than 1 %")]
)
def test_a_p99_at_its_very_limit_is_met(ours_ms: float, word: str, distance: str) -> None:
    of_case = {"hexagone": line("put-4k-c64", "hexagone", 1.0, ours_ms)}
    of_case["garage"] = line("put-4k-c64", "garage", 1.0, 10.0)
    verdict = beside(of_case, "p99_ms", 1.2, is_rate=False)
    assert verdict.word == word
    assert distance in verdict.text


def test_the_best_peer_is_the_best_of_any_tier_in_each_figure() -> None:
    case = PUT.trial.name
    lines = [line(case, "hexagone", 300.0, 8.0), line(case, "minio", 100.0, 4.0)]
    lines.append(line(case, "garage-synced", 400.0, 16.0))
    found = {heading: verdict.text for heading, verdict in of_target(PUT, lines).items()}
    assert found == {
        "Against the best peer": "0.75 × garage-synced (≥ 1, **missed** by 25 %)",
        "Against MinIO": "3.00 × minio (≥ 3, met)",
        "p99, best peer": "2.00 × minio (≤ 1.2, **missed** by 67 %)",
        "p99, MinIO": "2.00 × minio (≤ 1, **missed** by 100 %)",
    }


def test_every_bound_has_a_verdict_in_an_empty_run() -> None:
    verdicts = every([{"case": "machine"}], TARGETS)
    assert len(verdicts) == 4 * len(TARGETS) + len(others([]))
    assert {verdict.word for _, verdict in verdicts} == {"not measured"}
    text = page([], quick_targets())
    assert f"Bounds: 0 met, 0 missed, {len(verdicts)} not measured." in text
    assert all(title(target.trial) in text for target in quick_targets())


def test_our_failure_is_a_miss_and_a_peers_failure_is_said() -> None:
    case = PUT.trial.name
    lost = of_target(PUT, [failed(case, "hexagone"), line(case, "minio", 1.0)])
    assert {verdict.word for verdict in lost.values()} == {"missed"}
    assert "hexagone failed" in lost["Against MinIO"].text
    found = of_target(PUT, [line(case, "hexagone", 1.0), failed(case, "minio")])
    assert {verdict.word for verdict in found.values()} == {"not measured"}
    assert found["Against MinIO"].text == "≥ 3, not measured: minio failed"
    assert found["Against the best peer"].text == "≥ 1, not measured: every peer failed"
    alone = of_target(PUT, [line(case, "hexagone", 1.0)])
    assert alone["Against MinIO"].text == "≥ 3, not measured: no such peer in this case"


def test_what_failed_stays_in_the_table_and_says_why() -> None:
    lines = [system("hexagone"), system("minio"), {"case": "absent", "what": "garage (garage)"}]
    lines += [failed("put-4k-c64", "hexagone"), failed("put-4k-c64", "minio")]
    lines.append(system("seaweedfs") | {"failed": "no port"})
    text = page(lines, TARGETS)
    assert "| PUT 4 KiB, 64 clients | failed | failed | – |" in text
    assert "* minio, put-4k-c64: `'no quorum'`" in text
    assert "* seaweedfs, system: `'no port'`" in text
    assert "* not found: garage (garage)" in text


def test_a_system_without_a_line_of_its_own_has_a_column() -> None:
    lines = [system("hexagone"), line("get-4k-c64", "hexagone", 2.0), line("get-4k-c64", "b", 1.0)]
    assert "| Case | hexagone | b |" in page(lines, TARGETS)


def grown(rate_1k: float, rate_1m: float, objects: int = 1_000_000) -> list[Line]:
    few = line("put-4k-c64-in-1k", "hexagone", rate_1k, objects=1_000)
    return [few, line("put-4k-c64-in-1m", "hexagone", rate_1m, objects=objects)]


def test_growth_is_what_a_put_costs_more_in_a_million() -> None:
    assert growth(grown(GROWTH_MAX * 1000, 1000.0)).word == "met"
    verdict = growth(grown(1500.0, 1000.0))
    assert verdict.text == "1.50 (≤ 1.15, **missed** by 30 %)"
    assert growth(grown(1000.0, 1000.0)[:1]).word == "not measured"
    lost = [*grown(1000.0, 1000.0)[:1], failed("put-4k-c64-in-1m", "hexagone")]
    assert growth(lost).word == "missed"


def test_a_smaller_bucket_may_show_a_miss_and_never_that_a_bound_is_met() -> None:
    assert growth(grown(1000.0, 1000.0, 400_000)).text == (
        "≤ 1.15, not measured: 1.00 with only 400,000 objects"
    )
    assert growth(grown(1500.0, 1000.0, 400_000)).word == "missed"


def test_memory_is_held_against_the_median_peer() -> None:
    resident = {"hexagone": 200.0, "minio": 100.0, "garage": 200.0, "seaweedfs": 900.0}
    lines = [
        line("mixed-4k-c64", name, 1.0) | {"resident_mib": mib} for name, mib in resident.items()
    ]
    assert memory(lines).text == "1.00 × the median of 3 peers (≤ 1, met)"
    assert memory([*lines[:2], failed("mixed-4k-c64", "garage")]).word == "missed"
    assert memory(lines[:1]).text == "≤ 1, not measured: no peer"
    assert memory([failed("mixed-4k-c64", "hexagone"), *lines[1:]]).word == "missed"


@pytest.mark.parametrize(
    ("started", "text"),
    [
        ({"start_s": 2.0}, "2.00 s (≤ 2 s, met)"),
        ({"start_s": 2.5}, "2.50 s (≤ 2 s, **missed** by 25 %)"),
        ({"failed": "no"}, "≤ 2 s, **missed**: hexagone failed"),
        (
            {"start_s": 1.0, "objects": 300_000},
            "≤ 2 s, not measured: 1.00 s with only 300,000 objects",
        ),
    ],
)
def test_start_up_has_a_bound_of_its_own(started: Line, text: str) -> None:
    told = {"case": "start-in-1m", "system": "hexagone", "objects": 1_000_000} | started
    assert start([told, told | {"system": "minio", "start_s": 9.0}], "start-in-1m").text == text


def test_a_frozen_node_has_one_and_errors_are_told() -> None:
    told = {"case": FROZEN, "system": "hexagone", "p99_ratio": 2.0, "errors": 0}
    assert frozen([told]).text == "2.00 (≤ 2, met)"
    lost = frozen([told | {"p99_ratio": 3.0, "errors": 7.0}])
    assert lost.text == "3.00 (≤ 2, **missed** by 50 %: 7 errors a round)"
    assert frozen([failed(FROZEN, "hexagone")]).word == "missed"


def test_every_verdict_is_of_a_case_that_can_be_run() -> None:
    assert {GROWN_FROM, GROWN_TO, MIXED, START, START_COLD, FROZEN} <= set(known_trials())


def test_start_ups_and_frozen_nodes_have_cells_of_their_own() -> None:
    started = line("start-in-1m", "hexagone", 0.5, start_s=2.0, start_s_range=[1.5, 3.0])
    still = line(FROZEN, "hexagone", 10.0, healthy_p99_ms=4.0, errors=2)
    text = page([system("hexagone"), started | {"objects": 999}, still], TARGETS)
    assert "| start-up, bucket of 1,000,000 | **2.0** s (1.5–3.0)<br>999 objects |" in text
    assert "p99 8.0 ms, healthy 4.0 ms<br>2 errors |" in text


def test_what_filled_a_bucket_is_told() -> None:
    filled = {
        "case": "fill-listed-1000000",
        "system": "garage",
        "fill_s": 2.0,
        "fill_bytes": 240_000,
    }
    lines = [filled | {"objects": 60_000, "made": 60_000, "stopped": "space"}]
    lines.append(filled | {"objects": 900, "made": 600, "stopped": ""})
    text = page(lines, TARGETS)
    assert "| garage | 60,000 | 30,000 | 4 | no more space |" in text
    assert "| garage | 900 | 300 | – | full |" in text


def test_small_objects_are_compared_without_their_redundancy() -> None:
    lines = [
        system("hexagone", bytes_per_byte=1.8),
        system("minio", bytes_per_byte=8.1, redundancy="3 copies on 3 nodes"),
        system("elsewhere", redundancy="unknown"),
    ]
    assert "| **hexagone 1.20**, minio 2.70 (no bound) |" in page(lines, TARGETS)
    assert [stored_for_each(text) for text in ("4+2 on 6", "3 copies", "unknown")] == [1.5, 3, None]


def test_a_system_that_was_started_twice_is_one_row() -> None:
    lines = [system("hexagone", start_s=1.0), system("hexagone", start_s=9.0)]
    assert [each["start_s"] for each in systems(lines)] == [1.0]


def test_titles_are_for_people_and_unknown_cases_keep_their_names() -> None:
    assert title(Trial(operation="put", length="64m", clients=1)) == "PUT 64 MiB, 1 client"
    assert title(Trial(operation="list", clients=1, bucket="1m")).endswith("bucket of 1,000,000")
    assert title_of("delete-9x-c3") == "delete-9x-c3"
    assert list(
        by_case([line("delete-9x-c3", "hexagone", 1.0), failed("cluster", "hexagone")])
    ) == ["delete-9x-c3"]


def test_the_page_of_an_earlier_run_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "compare.json"
    file.write_text(json.dumps(line("put-4k-c64", "hexagone", 5.0)) + "\n", "utf-8")
    monkeypatch.setattr("sys.argv", ["table", str(file)])
    assert main() == 0
    assert "PUT 4 KiB, 64 clients" in capsys.readouterr().out
    file.write_text("not JSON\n", "utf-8")
    assert main() == 2
    assert "compare.json:1: not a result line" in capsys.readouterr().err
