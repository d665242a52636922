"""The comparison: its plan, its medians, its turns, its command; the mixed load."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.compare.__main__ import chosen, found, parser
from bench.compare.measure import keys_of, summary
from bench.compare.plan import TARGETS, Trial, full_plan, known_trials, targets_plan
from bench.heads import Endpoint
from bench.load import Job, Stamps, mixed_requests

Line = dict[str, Any]


def line(system: str, rate: float, p99_ms: float) -> Line:
    """What a run says of PUT 4 KiB by 64 clients."""
    rounds = [
        {"ops_per_s": rate + step, "mib_per_s": 1.0, "p50_ms": 1.0, "p99_ms": p99_ms, "ops": 10}
        | {"resident_mib": 5.0}
        for step in (-1.0, 0.0, 10.0)
    ]
    return {"case": "put-4k-c64", "system": system} | summary(rounds, None)


def test_every_target_and_every_size_of_a_bucket_is_in_the_plan() -> None:
    plan = targets_plan(is_quick=False)
    assert {target.trial for target in TARGETS} <= set(plan)
    assert [trial.bucket for trial in plan if trial.operation == "put" and trial.bucket] == [
        "1k",
        "10k",
        "100k",
        "300k",
        "1m",
    ]


def test_names_of_trials_are_unique_and_what_grows_comes_last() -> None:
    plan = full_plan()
    assert len({trial.name for trial in plan}) == len(plan)
    sizes = [trial.bucket for trial in plan]
    assert sizes.index("1m") > sizes.index("100k") > sizes.index("1k") > 0
    assert known_trials()["list-c1-in-1m"].bucket == "1m"


def test_a_summary_is_the_median_with_its_range() -> None:
    found_line = line("minio", 100.0, 7.0)
    assert (found_line["ops_per_s"], found_line["ops_per_s_range"]) == (100.0, [99.0, 110.0])
    assert found_line["ops"] == 30 and found_line["rounds"] == 3


def test_a_put_overwrites_nothing_within_a_round() -> None:
    assert keys_of(Trial(operation="put")) == 30_000
    assert keys_of(Trial(operation="get", length="64m")) >= 8


def test_an_unknown_case_is_refused_and_an_absent_peer_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match="no such case"):
        chosen(parser().parse_args(["--case", "put-9x"]))
    monkeypatch.setenv("PATH", "/nowhere")
    there, absent = found([])
    assert [system.name for system in there] == ["hexagone"]
    assert any("minio" in name for name in absent)


def test_no_two_bodies_are_alike() -> None:
    first, second = Stamps("a"), Stamps("b")
    made = [first.next(), first.next(), second.next()]
    assert len(set(made)) == 3 and {len(stamp) for stamp in made} == {16}


def test_a_mixed_load_has_its_shares_and_deletes_what_it_put() -> None:
    endpoint = Endpoint(
        host="127.0.0.1",
        port=1,
        authority="127.0.0.1:1",
        access_key_id="A",
        secret="not a secret",
        region="fr",
    )
    job = Job(endpoint=endpoint, method="GET", path="/b/{:04d}", count=400, body_bytes=64)
    requests = list(mixed_requests(replace(job, mixed=True, salt="s")))
    methods = [request.partition(b" ")[0] for request in requests]
    shares = {method: methods.count(method) / 400 for method in set(methods)}
    assert shares == {b"GET": 0.45, b"HEAD": 0.30, b"PUT": 0.15, b"DELETE": 0.10}
    put = {r.split(b" ")[1] for r in requests if r.startswith(b"PUT")}
    gone = {r.split(b" ")[1] for r in requests if r.startswith(b"DELETE")}
    assert gone <= put
