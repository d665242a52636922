"""Terraform's or OpenTofu's state in S3, with its lock file: also a race of many runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.clients.curl import make_bucket, read_object
from tests.clients.server import Server, check, command, same

RACERS = 16


def program() -> str:
    return shutil.which("terraform") or shutil.which("tofu") or ""


def version() -> str:
    shown = json.loads(command([program(), "version", "-json"]))
    return f"{Path(program()).name} {shown['terraform_version']}"


def _main(server: Server, bucket: str, value: str) -> str:
    options = {
        "bucket": bucket,
        "key": "env/état.tfstate",
        "region": server.region,
        "use_lockfile": True,
        "use_path_style": not server.is_virtual,
        "skip_credentials_validation": True,
        "skip_requesting_account_id": True,
        "skip_metadata_api_check": True,
        "skip_region_validation": True,
        "endpoints": {"s3": server.url},
    }
    data = {"main": {"input": value}}
    whole = {
        "terraform": {"backend": {"s3": options}},
        "resource": {"terraform_data": data},
        "output": {"said": {"value": "${terraform_data.main.output}"}},
    }
    return json.dumps(whole)


def run(server: Server, work: Path) -> str:
    bucket = server.bucket()
    make_bucket(server, bucket)
    folders = [work / f"run{number}" for number in range(RACERS)]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "main.tf.json").write_text(_main(server, bucket, f"value {number}"))
        command([program(), "init", "-input=false", "-no-color"], cwd=folder)
    apply = [program(), "apply", "-auto-approve", "-input=false", "-no-color"]
    command(apply, cwd=folders[0])
    same(command([program(), "output", "-raw", "said"], cwd=folders[1]), "value 0", "the state")
    before = json.loads(read_object(server, bucket, "env/%C3%A9tat.tfstate"))["serial"]
    racers = [
        subprocess.Popen([*apply, "-lock-timeout=0s"], cwd=folder, stderr=subprocess.PIPE,
                         stdout=subprocess.DEVNULL, text=True)
        for folder in folders
    ]  # fmt: skip
    ended = [(racer.communicate(timeout=200)[1], racer.returncode) for racer in racers]
    won = [number for number, (_, code) in enumerate(ended) if code == 0]
    lost = [text for text, code in ended if code != 0]
    check(won, f"nobody got the lock: {lost[:1]}")
    check(all("state lock" in text for text in lost), f"lost otherwise: {lost}")
    state = json.loads(read_object(server, bucket, "env/%C3%A9tat.tfstate"))
    changes = len(won) if 0 not in won else None
    if changes is not None:
        check(before < state["serial"] <= before + 2 * changes, f"serial {state['serial']}")
    said = command([program(), "output", "-raw", "said"], cwd=folders[0])
    check(said in {f"value {number}" for number in won}, f"{said} is of no winner {won}")
    listed = read_object(server, bucket, "?list-type=2")
    check(".tflock" not in listed, "a lock file stayed")
    command([program(), "destroy", "-auto-approve", "-input=false"], cwd=folders[won[0]])
    return f"apply, output elsewhere, {RACERS} applies at once under the lock file, destroy"
