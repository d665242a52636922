"""The AWS SDK for JavaScript v3 under Node: the task is `aws_sdk_js.mjs` beside this."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from tests.clients.server import Server, command

MODULES = "CLIENT_MODULES"
SCRIPT = Path(__file__).with_suffix(".mjs")


def version() -> str:
    modules = Path(os.environ[MODULES]) / "node_modules"
    package = json.loads((modules / "@aws-sdk/client-s3/package.json").read_text())
    return f"{package['version']}, Node {command(['node', '--version']).strip()}"


def run(server: Server, work: Path) -> str:
    # Modules are looked for beside the script, so the script goes to a folder that names theirs.
    shutil.copy(SCRIPT, work / "task.mjs")
    (work / "node_modules").symlink_to(Path(os.environ[MODULES]) / "node_modules")
    environment = {
        "ENDPOINT": server.url,
        "BUCKET": server.bucket(),
        "PATH_STYLE": "" if server.is_virtual else "1",
    }
    return command(["node", work / "task.mjs"], env=environment, cwd=work).strip()
