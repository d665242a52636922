"""The table of layers names what exists, and every sample finds its layer."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bench import flame
from bench.layers import LAYERS, TABLE, TRANSPARENT, WAITS, layer_of, layer_of_name
from bench.stacks import Stack, frame_name, own_time, read_stacks, shares

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", sorted({*TABLE, *TRANSPARENT, *WAITS}))
def test_names_in_the_table_exist(name: str) -> None:
    module, _, function = name.partition(":")
    found = importlib.import_module(module)
    for part in function.split(".") if function else ():
        found = getattr(found, part)


def test_every_layer_of_the_table_is_known_and_used() -> None:
    assert set(TABLE.values()) == set(LAYERS) - {"other"}


def test_every_module_on_the_way_of_a_request_has_a_layer() -> None:
    for package in ("s3", "objects", "model", "data", "meta", "commit", "journal"):
        for path in (ROOT / "gateway" / package).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            assert layer_of_name(f"{module}:anything") is not None, module


@pytest.mark.parametrize(
    ("frames", "layer"),
    [
        (("gateway.s3.http:S3Frontend.answer", "gateway.s3.sigv4:authorize"), "auth"),
        (("gateway.s3.sigv4:authorize", "hmac:digest"), "auth"),
        (("gateway.objects.store:store_part",), "use case"),
        (("gateway.objects.store:PartDigester.update_batch",), "hash"),
        (("gateway.s3.sigv4_something:f",), "HTTP"),
        (("gateway.commit.log:Log.commit", "storaged.base.env:RealEnv.random_bytes"), "commit"),
        (("storaged.files:PosixFile.write",), "node"),
        (("asyncio.runners:Runner.run",), "loop"),
        (("somebody:else", "<string>:f"), "other"),
        ((), "other"),
    ],
)
def test_the_innermost_known_frame_says_the_layer(frames: tuple[str, ...], layer: str) -> None:
    assert layer_of(frames) == layer


RAW = (
    'process 7:"python x up; not";thread (7): MainThread;main (gateway/main.py:2)'
    ";Runner.run (asyncio/runners.py:118);authorize (gateway/s3/sigv4.py:9) 3\n"
    'process 7:"python x";thread (9): offload_0;_worker (concurrent/futures/thread.py:1) 5\n'
    'process 7:"python x";process 8:"keyd";thread (8): MainThread;seal (gateway/data/cipher.py) 1\n'
    "not a stack\n"
).replace(" up; not", " up")


def test_stacks_are_read_with_process_and_thread() -> None:
    first, second, third = read_stacks(RAW, 7)
    assert first.frames == ("asyncio.runners:Runner.run", "gateway.s3.sigv4:authorize")
    assert (first.process_id, first.thread_id, first.count) == (7, 7, 3)
    assert (second.thread_id, second.thread_name) == (9, "offload_0")
    assert (third.process_id, third.thread_id) == (8, 8)


def test_a_frame_without_a_line_is_a_name_too() -> None:
    assert frame_name("f.<locals>.<lambda> (a/__init__.py:3)") == "a:f.<locals>.<lambda>"
    assert frame_name("odd") == "odd"


def test_shares_leave_waiting_out_and_weigh_threads() -> None:
    stacks = read_stacks(RAW, 7)
    main = shares(stacks, lambda stack: 3.0 if stack.process_id == 8 else 1.0, is_main=True)
    assert main["auth"] == main["seal"] == 0.5
    assert shares(stacks, lambda stack: 1.0, is_main=False)["other"] == 1.0
    assert own_time(stacks)[0] == (0.75, "gateway.s3.sigv4:authorize")


def test_a_flame_graph_shows_every_wide_frame_once() -> None:
    drawn = flame.svg(read_stacks(RAW, 7), "a <title>")
    assert drawn.count("<title>gateway.s3.sigv4:authorize · auth · 75.00 %</title>") == 1
    assert "a &lt;title&gt;" in drawn and "_worker" not in drawn
    assert len({flame.colour(layer) for layer in LAYERS}) == len(LAYERS)


def test_a_flame_graph_of_nothing_is_a_picture() -> None:
    idle = Stack(process_id=1, thread_id=1, thread_name="t", frames=(), count=0)
    assert flame.svg([idle], "empty").endswith("</svg>\n")
