"""The pages that describe what is there: what the code cites in them exists, and what they name in
the code does too.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("data-layout.md", "data-layout-volumes.md", "architecture.md")
CITED = re.compile(r"docs/([a-z-]+\.md),\s+((?:\"[^\"]+\"(?:,\s+|\s+and\s+)?)+)")
PATH = re.compile(r"`((?:gateway|storaged|tests)/[\w/]+\.py)`")
NAME = re.compile(r"`(?:\w+\.)*(\w+)\.(\w+)`")
FILE_ENDINGS = {"py", "md", "key", "sealed", "sock", "env", "toml", "vol", "mdb"}


def sources() -> dict[Path, str]:
    paths = [path for package in ("gateway", "storaged") for path in (ROOT / package).rglob("*.py")]
    return {path: path.read_text() for path in paths}


def test_sections_that_docstrings_cite_exist() -> None:
    headings = {
        page: set(re.findall(r"^## (.+)$", (ROOT / "docs" / page).read_text(), re.M))
        for page in PAGES
    }
    cited = [
        (path, page, section)
        for path, text in sources().items()
        for page, sections in CITED.findall(text)
        if page in headings
        for section in re.findall(r"\"([^\"]+)\"", sections)
    ]
    assert len(cited) > 20
    lost = [entry for entry in cited if entry[2] not in headings[entry[1]]]
    assert not lost, lost


def test_what_the_pages_name_exists() -> None:
    texts = sources()
    everything = "\n".join(texts.values())
    known = {path.stem for path in texts} | set(re.findall(r"^class (\w+)", everything, re.M))
    lost = []
    for page in PAGES:
        text = (ROOT / "docs" / page).read_text()
        lost += [path for path in PATH.findall(text) if not (ROOT / path).exists()]
        for owner, name in NAME.findall(text):
            if name in FILE_ENDINGS or owner not in known:
                continue
            if not re.search(rf"^\s*(async def|def|class) {name}\b", everything, re.M):
                lost.append(f"{page}: {owner}.{name}")
    assert not lost, lost
