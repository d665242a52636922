"""The first minute of both READMEs works as it is written, and the French guide names commands,
options and messages that there are.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from gateway.main import app
from gateway.terminal.commands import tree
from gateway.terminal.language import Language, catalogue_of

ROOT = Path(__file__).resolve().parents[1]
FRENCH = ROOT / "docs" / "fr"
BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(hexagone [^`]+)`")
QUOTED = re.compile(r"^\| « ([^»]+) »|: « ([^»]+) » :|^« ([^»]+) » :", re.MULTILINE)
CLIENT = re.compile(r"\b(rclone|restic)\b")
READY_S = 60


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as that of a clone after `make up`, whose cluster serves."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "docs").symlink_to(ROOT / "docs")
    (folder / ".venv").symlink_to(Path(sys.executable).parents[1])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = (sys.executable, "-m", "gateway.main", "up", "--data", "hexagone-data")
    with subprocess.Popen(
        [*words, "--port", str(port)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as cluster:
        assert cluster.stdout is not None
        try:
            for line in cluster.stdout:
                if line.strip() == "ready":
                    break
            else:
                pytest.fail("hexagone up ended before it was ready")
            yield folder
        finally:
            cluster.terminate()
            cluster.wait(READY_S)


@pytest.mark.proves("S-08")
@pytest.mark.parametrize("page", ["README.md", "docs/fr/README.md"])
def test_s_08_the_first_minute_works_as_it_is_written(clone: Path, page: str) -> None:
    first, second, others = blocks(page)[:3]
    assert first.startswith("make up")
    ran = run(clone, second)
    assert ran.returncode == 0, ran.stderr
    bucket = "essai" if "fr/" in page else "test"
    assert f"s3://{bucket}/docs/wire.md" in ran.stdout
    assert ("niveau FULL" if "fr/" in page else "tier FULL") in ran.stdout
    lines = [line for line in others.splitlines() if shutil.which(CLIENT.findall(line)[0])]
    ran = run(clone, "\n".join(["source hexagone-data/aws.env", *lines]))
    assert ran.returncode == 0, ran.stderr


def blocks(page: str) -> list[str]:
    found: list[str] = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    return found


def run(clone: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Commands of a page, typed in the clone by somebody who has no cloud's settings."""
    environment = {name: value for name, value in os.environ.items() if "AWS" not in name}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=clone,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def commands() -> dict[str, tuple[Any, Any]]:
    found = tree(typer.main.get_command(app))  # type: ignore[arg-type]
    return {path: (command, context) for path, command, context in found}


def written() -> list[str]:
    """Every command that the French pages name."""
    found = []
    for path in sorted(FRENCH.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
        lines += INLINE.findall(text)
        found += [line.partition(" #")[0].strip() for line in lines]
    return [one.removeprefix(".venv/bin/") for one in found if "hexagone " in one[:20]]


@pytest.mark.proves("S-08")
def test_s_08_commands_of_the_french_guide_are_commands_that_there_are() -> None:
    held, wrong = commands(), []
    root = {opt for param in held["hexagone"][0].params for opt in param.opts}
    for line in written():
        words = shlex.split(line.replace("…", ""), comments=False)
        if "COMMANDE" in words:
            continue
        while len(words) > 2 and words[1] in root:
            del words[1 : 2 if words[1] in ("--help", "--version") else 3]
        if words == ["hexagone"]:
            continue
        path = next(
            (
                " ".join(words[:count])
                for count in (4, 3, 2)
                if " ".join(words[:count]) in held and len(words) >= count
            ),
            "",
        )
        if not path:
            wrong.append(line)
            continue
        command, context = held[path]
        known = {opt for param in command.get_params(context) for opt in param.opts}
        wrong += [f"{line}: {word}" for word in words if word[:2] == "--" and word not in known]
    assert not wrong


@pytest.mark.proves("S-08")
def test_s_08_messages_of_the_french_guide_are_messages_that_there_are() -> None:
    said = "\n".join(catalogue_of(Language.FRENCH).messages.values())
    guide = (FRENCH / "guide-exploitant.md").read_text(encoding="utf-8")
    quoted = ["".join(one) for one in QUOTED.findall(guide)]
    assert len(quoted) > 5
    assert [one for one in quoted if one not in said] == []
