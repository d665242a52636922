"""Every command that takes a file, with files that are not what it wants."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from gateway.approvals.request import Act, Request, name_check
from gateway.journal.chain import encode_keys
from gateway.journal.notes import ED25519, SignerKey
from gateway.main import app
from gateway.terminal.commands import tree
from gateway.terminal.language import Language, use

CLI = CliRunner()
NAME = "photos/1"
REQUEST = Request(
    act=Act.DESTROY_KEY,
    cluster="0" * 32,
    about="epoch 1",
    name_check=name_check("1" * 32, NAME),
    objects=0,
    size_bytes=0,
    requester="admin",
    created_ms=1,
    not_before_ms=1,
    expires_ms=86_400_000,
    nonce="1" * 32,
    permits=(f"bucket-key/{'2' * 32}/1",),
)

BAD = {
    "a list": b"[]",
    "nothing in it": b"{}",
    "something else": b'{"x":1}',
    "no UTF-8": b"\xff",
    "empty": b"",
    "a folder": None,
    "missing": None,
}
JSON_OBJECTS = ("nothing in it", "something else")

# Command and parameter → how it is called; F is the bad file, the others are as they should be.
CALLS = {
    "where verify": "where --verify F",
    "erase verify file": "erase verify F --keys keys",
    "erase verify keys": "erase verify object --keys F",
    "approver set files": "approver set --threshold 2 --yes F F",
    "approvals sign file": "approvals sign F --key object --out made",
    "approvals sign key": "approvals sign request --key F --out made",
    "approvals submit files": "approvals submit F",
    "keys recovery verify backup": "keys recovery verify --backup F",
    "keys recovery request backup": "keys recovery request --backup F --no-journal --out made",
    "keys recovery restore backup": "keys recovery restore --backup F --no-journal --yes",
    "keys recovery restore request": "keys recovery restore --backup object --request F"
    " --approval object --no-journal",
    "keys recovery restore approval": "keys recovery restore --backup object --request request"
    " --approval F --no-journal",
    "keys recovery transcript file": "keys recovery transcript F",
    "ca request token": "ca request --id paris-4 --token F --out made",
    "ca approve request": "ca approve F --dir ca --out made --yes",
    "ca admin issue request": "ca admin issue a --dir admin-ca --person A --role custodian"
    " --out made --request F",
    "policy put file": "policy put a F",
    "role put trust": "role put a --trust F",
    "identity-provider put jwks": "identity-provider put a --issuer https://a --audience a"
    " --jwks F",
    "journal verify path": "journal verify F --keys keys",
    "journal verify keys_file": "journal verify object --keys F",
    "journal verify chain_file": "journal verify object --keys keys --chain F",
    "journal verify against": "journal verify . --keys keys --against F",
    "journal witness keys_file": "journal witness --state made --name a/b --keys F",
    "journal witness chain_file": "journal witness --state made --name a/b --keys keys --chain F",
    "export customer_keys": "export made --tenant a --customer-keys F",
    "import customer_keys": "import made --customer-keys F",
    "export-verify keys": "export-verify made --keys F",
    "statement prices": "statement 2026-11 --tenant a --prices F",
    "statement hours": "statement 2026-11 --hours F",
    "statement plan": "statement 2026-11 --hours hours --plan F",
    "statement-verify file": "statement-verify F --journal made --keys keys",
    "statement-verify keys": "statement-verify object --journal made --keys F",
    "statement-verify prices": "statement-verify object --journal made --keys keys --prices F",
    "statement-verify against": "statement-verify object --journal . --keys keys --against F",
    "gateway run config": "gateway run --config F",
    "gateway credentials config": "gateway credentials --config F --to made",
    "config check config": "config check --config F",
    "rebuild config": "rebuild --config F",
    "up hsm": "up --data made --hsm F",
    "up unsafe_test_profile": "up --data made --unsafe-test-profile F",
    " cert": "--admin https://127.0.0.1:1 --cert F --key F --ca F status",
}
# What is read only after something else that these tests do not have; the reader is the same.
ELSEWHERE = {
    "keys recovery reshare share": "after the recovery record of a cluster",
    "keys recovery verify share": "after a backup that is one",
    "keys recovery restore newer": "after a backup that is one",
    "keys recovery restore share": "after a backup that is one",
    "keys recovery restore keyd_passphrase": "after a backup that is one",
    "keyd config": "tests/unit/gateway/keyd",
    "keyd init config": "tests/unit/gateway/keyd",
    "keyd cluster-id config": "tests/unit/gateway/keyd",
    "keyd token-check config": "tests/unit/gateway/keyd",
    "keyd token-erase config": "tests/unit/gateway/keyd",
    "gateway credentials authority": "is only written into the file",
    " key": "as cert",
    " ca": "as cert",
}
# What is handed on as it is, and judged where it arrives.
HANDED_ON = ("policy put", "role put", "identity-provider put")
WRITTEN = {"out", "to", "transcript", "secret_file", "plain"}
FOLDERS = {"data", "socket", "folder", "keys", "journal", "state", "spool", "former"}


def is_toml(name: str) -> bool:
    """Whether a parameter takes TOML."""
    return name.endswith((" config", " prices", " hsm"))


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEXAGONE_DATA", str(tmp_path / "nowhere"))
    Path("object").write_text('{"x":1}')
    Path("object").chmod(0o600)
    Path("request").write_text(REQUEST.text)
    signer = SignerKey(ED25519, bytes(32)).verifier("hexagone/0/cluster")
    Path("keys").write_bytes(encode_keys([signer]))
    first = 1_793_491_200 // 3600
    hours = {"from_hour": first, "to_hour": first + 720, "until_ms": 0, "hours": []}
    Path("hours").write_text(json.dumps(hours))
    yield
    use(Language.ENGLISH)


def files_taken() -> dict[str, str]:
    """Command and parameter → the option, for each parameter that is a file or several."""
    found = {}
    for path, command, _ in tree(typer.main.get_command(app)):  # type: ignore[arg-type]
        for one in command.params:
            about = getattr(one, "type_descriptor", None)
            is_path = about is not None and "Path" in str(about.annotation)
            if is_path or one.metavar == "FILE":
                short = f"{path.removeprefix('hexagone').strip()} {one.name}"
                found[short] = one.opts[0]
    return found


def test_every_command_that_takes_a_file_is_here() -> None:
    taken = {
        name
        for name, option in files_taken().items()
        if name.rpartition(" ")[2] not in WRITTEN | FOLDERS
        or (name.endswith(" keys") and name in CALLS)
        or name == " key"
        if option != "--dir"
    }
    assert sorted(taken) == sorted(CALLS.keys() | ELSEWHERE.keys())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("bad", BAD)
def test_a_file_that_is_not_what_is_wanted_is_one_line_and_a_hint(call: str, bad: str) -> None:
    content, file = BAD[bad], Path("F")
    if call.startswith("up --data made --unsafe") and bad == "empty":
        pytest.skip("is a file without a setting, and the cluster starts")
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    elif bad == "a folder":
        file.mkdir()
    if call.startswith("journal verify F") and bad == "a folder":
        pytest.skip("is an export, and one without a log")
    for authority in ("ca", "admin-ca"):
        if f"--dir {authority} " in call:
            words = ("ca", "init") if authority == "ca" else ("ca", "admin", "init")
            assert CLI.invoke(app, [*words, "--dir", authority]).exit_code == 0
    answer = CLI.invoke(app, call.split(), input=f"{NAME}\n")
    assert answer.exit_code in (1, 2), answer.output
    assert isinstance(answer.exception, SystemExit), answer.exception
    assert "Traceback" not in answer.output
    told = answer.stderr.splitlines()
    assert answer.stderr.count("error: ") == 1, answer.output
    assert told[-1].startswith("hint: "), answer.output
    assert "codec" not in answer.stderr and "Errno" not in answer.stderr, answer.output
    if not (call.startswith(HANDED_ON) and bad in (*JSON_OBJECTS, "a list")):
        assert "No gateway" not in answer.stderr, "the file is read before the gateway is asked"


@pytest.mark.parametrize("call", [call for name, call in CALLS.items() if is_toml(name)])
@pytest.mark.parametrize("content", [b"a=" + b"[" * 30_000, b"a=" + b"9" * 5000, None])
def test_toml_that_no_parser_takes_and_a_file_without_an_end(
    call: str, content: bytes | None
) -> None:
    if content is None:
        Path("F").symlink_to("/dev/zero")
    else:
        Path("F").write_bytes(content)
    answer = CLI.invoke(app, call.split())
    assert answer.exit_code in (1, 2) and isinstance(answer.exception, SystemExit), answer.exception
    assert answer.stderr.count("error: ") == 1, answer.output


@pytest.mark.parametrize("language", Language)
def test_a_wrong_name_and_the_text_of_the_screen_are_told_apart(language: Language) -> None:
    Path("screen").write_text("\n".join(REQUEST.in_words()))
    words = ("--lang", language.value, "approvals", "sign")
    rest = ("--key", "object", "--out", "made")
    wrong = CLI.invoke(app, [*words, "request", *rest], input="videos/1\n")
    screen = CLI.invoke(app, [*words, "screen", *rest])
    assert wrong.exit_code == 1 and screen.exit_code == 2 and not Path("made").exists()
    assert "photos/1, mairie" in wrong.stderr and "key is not" not in wrong.stderr
    assert "`hexagone approvals show ID --out FILE`" in screen.stderr
