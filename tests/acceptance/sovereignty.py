"""`make sovereignty`: keys in an HSM, rotation under load, residency, journal, statement, erasure.

Runs `hexagone up --processes --hsm` with a SoftHSM2 token on a fresh folder, then one step after
another, as an operator would do them at the command line; the first failure ends the run with exit
code 1. The days of an erasure's notice pass by starting the cluster with a clock that is ahead.

SoftHSM is no HSM: it shows that the path works, and protects nothing.

Usage: python -m tests.acceptance.sovereignty [--files N] [--keep] [--report FILE]
"""

from __future__ import annotations

import calendar
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.acceptance.sovereign import (
    Cluster,
    brief,
    changed_letter,
    dropped_line,
    look_into_token,
    next_month,
    wait_until_closed,
)
from tests.acceptance.steps import (
    BIN,
    StepFailed,
    Transcript,
    make_tree,
    read_exports,
    run_drill,
)

PORT = 9460
TENANT, BUCKET = "mairie", "s3://archives"
PIN, SO_PIN = "4711-drill", "9922-drill"
MODULES = tuple(Path("/usr/lib").glob("**/libsofthsm2.so"))
ABROAD = "paris-2"  # the node that is certified to stand in another country
WAIT_S = 180.0
PRICES = 'currency = "EUR"\nout_gb = 0.01\n[storage]\n"*" = 0.0146\n'
INTRO = (
    "# Sovereignty: the last whole run of the drill",
    "",
    "`make sovereignty` writes this page. What it shows, in order: a tenant's key is made in a",
    "PKCS#11 token and cannot leave it; keys are rotated while clients read; a node outside France",
    "is refused; the journal is verified, and tampering with it is found; a statement is computed",
    "again without the gateway; the tenant is erased with two approvals after 21 days of notice; a",
    "copy of everything from before opens nothing; the certificate is verified offline.",
    "The token is SoftHSM2, which is no HSM. Days pass by a clock that is set ahead.",
)
VERSIONS = (["aws", "--version"], ["softhsm2-util", "--version"])


class Drill(Transcript):
    """The steps, in order."""

    def __init__(self, work: Path, files: int) -> None:
        super().__init__()
        self.work, self.files, self.tree = work, files, work / "tree"
        if not MODULES:
            raise SystemExit("SoftHSM2 is not installed: run `make deb`")
        config = work / "softhsm2.conf"
        (work / "tokens").mkdir()
        config.write_text(f"directories.tokendir = {work / 'tokens'}\nobjectstore.backend = file\n")
        hsm = work / "hsm.toml"
        hsm.write_text(f'module = "{MODULES[0]}"\ntoken = "drill"\npin_file = "{work / "pin"}"\n')
        (work / "pin").touch(0o600)
        (work / "pin").write_text(PIN + "\n")
        self.cluster = Cluster(work / "data", PORT, hsm, config)
        self.copy = Cluster(work / "copy", PORT + 40, hsm, config)
        self.tenant: dict[str, str] = {}
        self.erasure = ""
        # Behind the notice, and behind the end of the month, whose statement is final then.
        left_s = calendar.timegm(next_month()) - time.time()
        self.later = max(22, int(left_s / 86_400) + 2)

    # Clients

    def aws(self, *words: str | Path, cluster: Cluster | None = None, code: int = 0) -> str:
        """awscli as the tenant."""
        cluster = cluster or self.cluster
        more = {**self.tenant, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{cluster.port}"}
        done = subprocess.run(
            ["aws", "s3", *words],
            env={**cluster.ahead(), **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if (done.returncode != 0) is not bool(code):
            raise StepFailed(f"aws s3 {words[0]}: {done.returncode} {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def compare(self, name: str) -> None:
        back = self.work / name
        shutil.rmtree(back, ignore_errors=True)
        self.aws("sync", "--only-show-errors", f"{BUCKET}/t", back)
        subprocess.run(["diff", "-r", self.tree, back], check=True, capture_output=True)
        shutil.rmtree(back)

    # Steps

    def make_token(self) -> str:
        words = ["--init-token", "--free", "--label", "drill", "--pin", PIN, "--so-pin", SO_PIN]
        subprocess.run(
            ["softhsm2-util", *words],
            env=self.cluster.environment,
            check=True,
            capture_output=True,
        )
        return "a token of SoftHSM2"

    def make_tenant(self) -> str:
        secret = self.work / "mairie.env"
        self.cluster.run("tenant", "create", TENANT, "--secret-file", secret)
        region = read_exports(self.cluster.folder / "aws.env")["AWS_REGION"]
        held = read_exports(secret)
        self.tenant = {name: held[name] for name in held if name.startswith("AWS_")}
        self.tenant |= {"AWS_REGION": region, "AWS_DEFAULT_REGION": region}
        return f"{TENANT}, with a key of its own"

    def look_into_token(self) -> str:
        os.environ["SOFTHSM2_CONF"] = self.cluster.environment["SOFTHSM2_CONF"]
        return look_into_token(MODULES[0], PIN)

    def store(self) -> str:
        self.aws("mb", BUCKET)
        self.aws("sync", "--only-show-errors", self.tree, f"{BUCKET}/t")
        self.compare("back")
        return f"aws s3 sync of {self.files} files up and down compares equal"

    def rotate_under_load(self) -> str:
        """Rotate all keys while a client reads everything again and again."""
        failures: list[str] = []
        rounds, over = 0, threading.Event()

        def read() -> None:
            nonlocal rounds
            while not over.is_set() and not failures:
                try:
                    self.compare("during")
                    rounds += 1
                except (StepFailed, subprocess.CalledProcessError) as error:
                    failures.append(str(error))

        reader = threading.Thread(target=read)
        reader.start()
        try:
            self.cluster.run(
                "keys", "rotate", "--tenant", TENANT, "--rate", "30", "--yes", "--wait"
            )
        finally:
            while not rounds and not failures and reader.is_alive():
                time.sleep(0.2)
            over.set()
            reader.join()
        if failures:
            raise StepFailed(failures[0])
        self.compare("after")
        report = self.cluster.ask("keys", "status")["reports"][0]
        return (
            f"{rounds} whole reads meanwhile and one after compare equal; report: {brief(report)}"
        )

    def refuse_node_abroad(self) -> str:
        """A node shows a certificate of another country."""
        folder, name = self.cluster.folder, ABROAD
        pid = dict(line.split() for line in (folder / "nodes.pid").read_text().splitlines())[name]
        abroad, kept = self.work / "abroad", self.work / "kept"
        self.cluster.run(
            *("ca", "issue-node", "--dir", folder / "keys" / "authority", "--id", name),
            *("--datacenter", "paris", "--country", "de", "--out", abroad),
        )
        os.kill(int(pid), signal.SIGKILL)
        kept.mkdir()
        for suffix in (".pem", ".key"):
            shutil.move(folder / "tls" / f"{name}{suffix}", kept)
            shutil.copy(abroad / f"{name}{suffix}", folder / "tls")
        self._start_node(name)
        said = self._wait_for_node(name, is_up=False)
        self.aws("cp", "--only-show-errors", self.tree / "empty", f"{BUCKET}/written-then")
        shown = self.cluster.ask("where", f"{BUCKET}/written-then")
        if name in json.dumps(shown):
            raise StepFailed("a shard was given to it")
        assert self.cluster.node is not None
        self.cluster.node.kill()
        self.cluster.node.wait()
        for path in kept.iterdir():
            shutil.copy(path, folder / "tls")
        self._start_node(name)
        self._wait_for_node(name, is_up=True)
        return f"{name} certified for de: {said}; with its own certificate it is taken again"

    def _start_node(self, name: str) -> None:
        config = self.cluster.folder / f"{name}.toml"
        self.cluster.node = subprocess.Popen(
            [BIN / "storaged", "run", "--config", config],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.cluster.node.stdout is not None
        self.cluster.node.stdout.readline()

    def _wait_for_node(self, name: str, *, is_up: bool) -> str:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            for node in self.cluster.ask("status")["nodes"]:
                reason = str(node["why_not"])
                as_wanted = node["usable"] if is_up else "certificate" in reason
                if node["node"] == name and as_wanted:
                    return reason
            time.sleep(0.5)
        raise StepFailed(f"{name}: not as it should be within {WAIT_S:.0f} s")

    def verify_journal(self) -> str:
        export, keys = self.work / "export", self.work / "journal.pub"
        keys.write_text(self.cluster.run("journal", "keys"))
        self.cluster.run("journal", "export", export)
        self.cluster.run("journal", "verify", export, "--keys", keys)
        lines = sum(1 for path in export.rglob("*.events") for _ in path.open("rb"))
        return f"{lines} events verify offline"

    def tamper_with_journal(self) -> str:
        """One letter of one event; one event gone."""
        found = []
        for change in (changed_letter, dropped_line):
            forged = self.work / "forged"
            shutil.rmtree(forged, ignore_errors=True)
            shutil.copytree(self.work / "export", forged)
            events = max(forged.rglob("*.events"), key=lambda path: path.stat().st_size)
            events.write_bytes(change(events.read_bytes()))
            keys = self.work / "journal.pub"
            said = self.cluster.run("journal", "verify", forged, "--keys", keys, "--json", code=1)
            found.append(json.loads(said)["findings"][0].partition(": ")[2])
        return "found: " + "; ".join(found)

    def statement(self) -> str:
        """The statement of a month that is over, computed again from the journal's export alone."""
        month, prices = time.strftime("%Y-%m", time.gmtime()), self.work / "prices.toml"
        prices.write_text(PRICES)
        handed_out, forged = self.work / "statement.json", self.work / "statement-forged.json"
        export, keys = self.work / "usage", self.work / "journal.pub"
        shared = ("statement", month, "--prices", prices, "--format", "json")
        told = self.cluster.run(*shared, "--tenant", TENANT)
        handed_out.write_text(told)
        if not json.loads(told)["is_final"]:
            raise StepFailed(told)
        wait_until_closed(self.cluster, TENANT, WAIT_S)
        self.cluster.run("journal", "export", export, "--tenant", TENANT)
        verify = ("--journal", export, "--keys", keys, "--prices", prices, "--json")
        self.cluster.run("statement-verify", handed_out, *verify)
        altered = json.loads(told)
        altered["lines"][0]["quantity"] += 1
        forged.write_text(json.dumps(altered) + "\n")
        found = json.loads(self.cluster.run("statement-verify", forged, *verify, code=1))
        return (
            f"of {month}, from the journal alone: equal to the last byte; with a byte·ms more:"
            f" {found['findings'][0]}"
        )

    def register_approvers(self) -> str:
        public = []
        for name in ("alice", "bruno", "chloe"):
            path = self.work / f"{name}.pub"
            key = self.work / f"{name}.key"
            path.write_text(self.cluster.run("approver", "keygen", "--name", name, "--out", key))
            public.append(path)
        self.cluster.run("approver", "set", "--threshold", "2", "--yes", *public)
        return "alice, bruno and chloe; two of them have to approve"

    def ask_for_erasure(self) -> str:
        self.cluster.run("erase", "--tenant", TENANT, "--lose", TENANT, "--yes", "--json")
        (erasure,) = self.cluster.ask("erase", "status")["erasures"]
        self.erasure = erasure["id"]
        return f"{erasure['objects']} objects; step {erasure['step']}"

    def approve(self) -> str:
        (request,) = self.cluster.ask("approvals", "list")["requests"]
        text = self.work / "request.txt"
        self.cluster.run("approvals", "show", request["id"], "--out", text)
        approvals = []
        for name in ("alice", "chloe"):
            out = self.work / f"{name}.approval"
            key = self.work / f"{name}.key"
            self.cluster.run(
                "approvals", "sign", text, "--key", key, "--out", out, stdin=f"{TENANT}\n"
            )
            approvals.append(out)
        self.cluster.run("approvals", "submit", approvals[0])
        self.cluster.run("approvals", "submit", approvals[1])
        return "signed offline by alice and chloe"

    def copy_everything(self) -> str:
        """What somebody has who copied it all: nodes, index, keys, the key service's secret."""
        self.cluster.stop()
        shutil.copytree(self.cluster.folder, self.copy.folder, symlinks=True)
        self.cluster.start()
        return "nodes, index, keys folder, the key service's secret; not the token"

    def open_copy(self) -> str:
        """A copy of before the erasure is of use as long as the token has the key."""
        self.copy.start(0, "--takeover")
        self.aws("ls", f"{BUCKET}/t/", cluster=self.copy)
        self.copy.stop()
        return "a cluster of the copy lists the tenant's objects, while the token has the key"

    def pass_notice(self) -> str:
        self.cluster.stop()
        self.cluster.start(20)
        if self._step() != "notice":
            raise StepFailed("it did not wait for the 21st day")
        self.cluster.stop()
        self.cluster.start(self.later)
        self._wait_for_step("disabled")
        self.aws("ls", BUCKET, code=1)
        return f"day 20: notice; day {self.later}: keys disabled, the tenant is refused"

    def carry_out(self) -> str:
        self.cluster.stop()
        self.cluster.start(self.later + 2)
        self._wait_for_step("done")
        return f"day {self.later + 2}: keys destroyed in the token, people forgotten"

    def _step(self) -> str:
        (found,) = self.cluster.ask("erase", "status")["erasures"]
        return str(found["step"])

    def _wait_for_step(self, wanted: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while (step := self._step()) != wanted:
            if time.monotonic() > deadline:
                raise StepFailed(f"step {step} and not {wanted} after {WAIT_S:.0f} s")
            time.sleep(1)

    def copy_opens_nothing(self) -> str:
        self.copy.start(0, "--takeover")
        said = self.aws("ls", f"{BUCKET}/t/", cluster=self.copy, code=1)
        self.copy.stop()
        return f"the same copy now: {said.strip().splitlines()[-1][-90:]}"

    def verify_certificate(self) -> str:
        certificate, keys = self.work / "erased.json", self.work / "journal.pub"
        self.cluster.run("erase", "certificate", self.erasure, "--out", certificate)
        self.cluster.stop()
        self.cluster.run("erase", "verify", certificate, "--keys", keys)
        forged = certificate.with_name("forged.json")
        forged.write_bytes(changed_letter(certificate.read_bytes()))
        self.cluster.run("erase", "verify", forged, "--keys", keys, code=1)
        return "holds offline; with one letter changed it does not"

    def run(self) -> None:
        total = make_tree(self.tree, self.files)
        self.say(f"tree: {self.files + 1} files, {total / 1e6:.0f} MB")
        self.step("a token is made", self.make_token)
        self.step("hexagone up --processes --hsm", self.cluster.start)
        self.step("a tenant is made", self.make_tenant)
        self.step("its key is in the token", self.look_into_token)
        self.step("objects are written", self.store)
        self.step("keys are rotated under load", self.rotate_under_load)
        self.step("a node outside France is refused", self.refuse_node_abroad)
        self.step("the journal is verified", self.verify_journal)
        self.step("the journal is tampered with", self.tamper_with_journal)
        self.step("approvers are registered", self.register_approvers)
        self.step("a copy of everything is kept", self.copy_everything)
        self.step("the copy opens", self.open_copy)
        self.step("the tenant is to be erased", self.ask_for_erasure)
        self.step("two people approve", self.approve)
        self.step("the notice passes", self.pass_notice)
        self.step("a statement is computed again", self.statement)
        self.step("the tenant is erased", self.carry_out)
        self.step("the copy opens nothing", self.copy_opens_nothing)
        self.step("the certificate is verified offline", self.verify_certificate)

    def end(self) -> None:
        """See `Drill` in `tests.acceptance.steps`."""
        self.cluster.stop()
        self.copy.stop()


def main() -> int:
    return run_drill(__doc__ or "", "sovereignty", Drill, INTRO, VERSIONS, files=400)


if __name__ == "__main__":
    sys.exit(main())
