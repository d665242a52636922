"""The tree of commands: help, examples, exit codes, language, completion, and its speed."""

from __future__ import annotations

import inspect
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import typer
from typer.testing import CliRunner

from gateway.main import OFFERED, app
from gateway.terminal import questions
from gateway.terminal.commands import tree
from gateway.terminal.help import EXIT_CODES, first_sentence, page_of, rendered, told
from gateway.terminal.language import Language, catalogue_of, use
from tests.support import cli_page, messages

ROOT = Path(__file__).resolve().parents[4]
CLI = CliRunner()
HELP_CPU_S = 0.3
HEAVY = ("aiohttp", "awscrt", "cryptography", "lmdb", "pyeclib", "rich", "uvloop", "zfec")

# Command → why it has no --json: what it prints is for a program as it is, or it prints nothing.
NOT_JSON = {
    "hexagone up": "serves in the foreground",
    "hexagone gateway run": "serves in the foreground",
    "hexagone gateway credentials": "writes a file",
    "hexagone completion": "prints a script",
    "hexagone keyd": "serves in the foreground",
    "hexagone keyd token-erase": "says that it is done",
    "hexagone erase certificate": "prints a certificate",
    "hexagone approver keygen": "prints a public key",
    "hexagone approvals sign": "writes an approval",
    "hexagone admin api": "prints a JSON document",
    "hexagone journal keys": "prints keys, a line each",
    "hexagone journal checkpoint": "prints a signed note",
    "hexagone journal proof": "prints a proof",
    "hexagone journal witness": "prints a cosigned note",
    "hexagone journal request": "prints a request",
    "hexagone journal cosign": "reads a cosigned note",
}


@pytest.fixture(autouse=True)
def _english_afterwards() -> Iterator[None]:
    yield
    use(Language.ENGLISH)


def commands() -> list[tuple[str, Any, Any]]:
    return tree(typer.main.get_command(app))  # type: ignore[arg-type]


def hexagone(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("LANG", "LC_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "gateway.main", *words],
        env={**env, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.proves("S-08")
def test_s_08_nothing_is_missing_in_the_french_catalogue() -> None:
    found = messages.problems(messages.wanted(), catalogue_of(Language.FRENCH))
    assert not found, "python -m tests.support.messages --update, then translate:\n" + "\n".join(
        found
    )


@pytest.mark.proves("S-08")
def test_s_08_the_catalogue_is_in_the_package(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    kept = (ROOT / "gateway/terminal/fr.po").read_bytes()
    assert ZipFile(wheel).read("gateway/terminal/fr.po") == kept


@pytest.mark.proves("S-08")
def test_s_08_nothing_is_printed_that_no_catalogue_can_have() -> None:
    assert not messages.unsaid(), "print these with gateway.terminal.language.say"


@pytest.mark.proves("S-08")
def test_s_08_the_help_of_every_command_is_french_where_french_is_spoken() -> None:
    use(Language.ENGLISH)
    english = {path: page_of(command, context) for path, command, context in commands()}
    use(Language.FRENCH)
    same_in_both = {"gateway.toml", "keyd.toml", "s3://BUCKET/KEY", "aws:PrincipalTag/KEY"}
    for path, command, context in commands():
        page = page_of(command, context)
        assert page.examples == english[path].examples, path
        for said, before in zip(page.paragraphs, english[path].paragraphs, strict=True):
            assert said != before, (path, before)
        for said, before in zip(page.options, english[path].options, strict=True):
            assert said.names == before.names
            if before.meaning and before.meaning not in same_in_both:
                assert said.meaning != before.meaning or "," in said.meaning, (path, before)


def test_every_command_has_help_an_example_and_exit_codes() -> None:
    for path, command, context in commands():
        parts = told(command.help or "")
        assert parts.paragraphs, path
        page = page_of(command, context)
        if page.sections:
            continue
        assert page.examples, f"{path} has no example: `Example: {path} …` in its docstring"
        words = path.removeprefix("hexagone ")
        assert all(f" {words}" in one for one in page.examples), (path, page.examples)
        assert page.exit_codes, path


def test_every_command_has_json_or_a_reason_why_not() -> None:
    without = set()
    for path, command, context in commands():
        if hasattr(command, "list_commands") and not command.invoke_without_command:
            continue
        if not any("--json" in param.opts for param in command.get_params(context)):
            without.add(path)
    assert without - {"hexagone"} == NOT_JSON.keys()


def test_options_of_one_meaning_have_one_name() -> None:
    """`--data` is always the folder, `--yes` always the answer to a question, and so on."""
    flags = {"--json", "--yes", "--dry-run", "--watch"}
    for path, command, context in commands():
        for param in command.get_params(context):
            if flags & set(param.opts):
                assert param.is_flag, (path, param.opts)
            assert not {"--output", "--force", "--quiet", "--no-confirm"} & set(param.opts), path


def test_what_is_listed_without_an_import_is_what_the_module_says() -> None:
    for one in OFFERED:
        for module in one.modules:
            assert hasattr(import_module(module), "add_commands"), module
    held = {path: command for path, command, _ in commands()}
    for one in OFFERED:
        first = told(held[f"hexagone {one.name}"].help or "").paragraphs[0]
        assert first_sentence(first) == first_sentence(one.help), one.name


def test_the_page_of_the_documents_is_that_of_the_commands() -> None:
    # In a process of its own: commands of a group stand in the order in which modules come.
    code = "from tests.support import cli_page; print(cli_page.document(), end='')"
    made = subprocess.run([sys.executable, "-c", code], cwd=cli_page.ROOT, stdout=subprocess.PIPE)
    assert cli_page.DOCUMENT.read_bytes() == made.stdout, "python -m tests.support.cli_page"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, gateway.main; print(*(name for name in sys.argv[1:] if name in sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []


def test_commands_that_only_ask_a_gateway_import_none() -> None:
    code = (
        "import sys, gateway.cli.status_cli, gateway.cli.keys_cli, gateway.cli.access_cli,"
        " gateway.cli.policy_cli, gateway.cli.metering_cli, gateway.cli.where_cli;"
        "print(*(name for name in sys.argv[1:] if name in sys.modules))"
    )
    gateway = ("aiohttp", "awscrt", "lmdb", "uvloop", "gateway.config", "gateway.objects")
    ran = subprocess.run(
        [sys.executable, "-c", code, *gateway], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == []


def test_help_answers_at_once() -> None:
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert hexagone("--help", LANG="fr_FR.UTF-8").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(took) < HELP_CPU_S, took


def test_an_unknown_command_suggests_the_nearest_and_ends_with_2() -> None:
    ran = hexagone("stauts")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: No such command 'stauts'. Did you mean 'status'?\nhint: ")
    french = hexagone("stauts", LANG="fr_FR.UTF-8")
    assert "Vouliez-vous dire 'status' ?" in french.stderr and french.returncode == 2
    assert hexagone("keys", "rotat").stderr.count("'rotate'") == 1
    assert "no such option" in hexagone("status", "--jsn").stderr.lower()


@pytest.mark.proves("S-08")
def test_s_08_the_language_changes_words_and_nothing_else(tmp_path: Path) -> None:
    keys = ("keys", "init", "--keys")
    english = hexagone(*keys, str(tmp_path / "en"))
    french = hexagone("--lang", "fr", *keys, str(tmp_path / "fr"))
    assert english.stdout.startswith("root key") and french.stdout.startswith("clé racine")
    as_json = hexagone(*keys, str(tmp_path / "json"), "--json", LANG="fr_FR.UTF-8")
    assert as_json.stdout.startswith('{"root_key": ')
    again = hexagone("--lang", "fr", *keys, str(tmp_path / "fr"))
    assert again.returncode == 1 and again.stdout == ""
    assert again.stderr.startswith("erreur : ")
    away = hexagone("status", "--data", str(tmp_path), LANG="fr_FR.UTF-8")
    assert away.returncode == 2 and away.stderr.startswith("erreur : Aucune passerelle")


def test_the_version_is_the_package_s() -> None:
    ran = hexagone("--version")
    assert ran.stdout.startswith("hexagone ") and ran.returncode == 0


def test_no_colour_where_nobody_sees_it() -> None:
    for environment in ({}, {"NO_COLOR": "1"}, {"TERM": "xterm-256color"}):
        ran = hexagone("--help", **environment)
        assert "\x1b" not in ran.stdout + ran.stderr
        assert "\x1b" not in hexagone("status", "--data", "/nowhere", **environment).stderr


def test_help_fits_the_terminal() -> None:
    for path, command, context in commands():
        page = page_of(command, context)
        for width in (60, 80, 100):
            for line in rendered(page, width=width, bold=False).splitlines():
                copied = line.strip() in page.examples or " " not in line.strip()
                assert len(line) <= width or copied, (path, width, line)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell: str) -> None:
    script = hexagone("completion", shell)
    assert script.returncode == 0 and f"complete_{shell}" in script.stdout
    if shell != "bash":
        return
    asked = {"_HEXAGONE_COMPLETE": "complete_bash", "COMP_WORDS": "hexagone jo", "COMP_CWORD": "1"}
    assert hexagone(**asked).stdout.split() == ["jobs", "journal"]
    asked |= {"COMP_WORDS": "hexagone keys rotate --dr", "COMP_CWORD": "3"}
    assert hexagone(**asked).stdout.split() == ["--dry-run"]
    asked = {"_HEXAGONE_COMPLETE": "complete_fish", "_TYPER_COMPLETE_ARGS": "hexagone keys rot"}
    asked |= {"_TYPER_COMPLETE_FISH_ACTION": "get-args", "LANG": "fr_FR.UTF-8"}
    assert hexagone(**asked).stdout.startswith("rotate\tCréer une nouvelle époque d'une clé")


def test_what_is_lost_is_asked_for_in_the_reader_s_language(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Terminal:
        def __init__(self, *lines: str) -> None:
            self.lines = list(lines)

        def isatty(self) -> bool:
            return True

        def readline(self) -> str:
            return self.lines.pop(0)

    use(Language.FRENCH)
    monkeypatch.setattr("sys.stdin", Terminal("quoi\n", "o\n"))
    questions.confirm("X va disparaître.", yes=False)
    assert capsys.readouterr().err.count("X va disparaître. Continuer ? [o/N]") == 2
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    questions.confirm("X va disparaître.", yes=False)
    for said in ("\n", "n\n", "non\n", ""):
        monkeypatch.setattr("sys.stdin", Terminal(said))
        with pytest.raises(typer.Abort):
            questions.confirm("X va disparaître.", yes=False)
    questions.confirm("X va disparaître.", yes=True)


def test_a_docstring_has_paragraphs_examples_and_exit_codes() -> None:
    text = """Do this. And that,
    on two lines.

    More of it.

    Examples:

        hexagone a --b 2.5

        curl x |
        hexagone c -

    Exit codes: 0 fine; 3 not.
    """
    parts = told(inspect.cleandoc(text))
    assert parts.paragraphs == ("Do this. And that, on two lines.", "More of it.")
    assert parts.examples == ("hexagone a --b 2.5", "curl x | hexagone c -")
    assert parts.exit_codes == "0 fine; 3 not."
    assert told("Do it. Example: hexagone d").examples == ("hexagone d",)
    assert told("Do it.").exit_codes == "" and "2 no gateway" in EXIT_CODES
    assert first_sentence("4.4 KB less, e.g. this. Then that.") == "4.4 KB less, e.g. this"


def test_errors_of_the_line_of_command_are_no_traceback() -> None:
    for words in (("jobs", "run"), ("journal", "show", "-n", "x"), ("keys", "rotate"), ("--lang",)):
        ran = CLI.invoke(app, list(words))
        assert ran.exit_code == 2, (words, ran.output)
        assert "Traceback" not in ran.output
