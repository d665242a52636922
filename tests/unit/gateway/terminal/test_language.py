"""The language that is spoken, what is said in it, and what never is."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from gateway.approvals.request import PERMITTED, Act, Request
from gateway.cli.client import AdminRefused, GatewayNotRunning
from gateway.main import app
from gateway.terminal.catalogue import Catalogue, CatalogueDamaged, placeholders, read_catalogue
from gateway.terminal.language import Language, heard, language_of, say, use
from gateway.terminal.refusals import said, said_error
from storaged.base.errors import ConfigError


@pytest.fixture(autouse=True)
def _english_afterwards() -> Iterator[None]:
    yield
    use(Language.ENGLISH)


@pytest.mark.proves("S-08")
@pytest.mark.parametrize(
    ("environment", "arguments", "expected"),
    [
        ({}, (), "en"),
        ({"LANG": "fr_FR.UTF-8"}, (), "fr"),
        ({"LANG": "fr"}, (), "fr"),
        ({"LANG": "de_DE.UTF-8"}, (), "en"),
        ({"LANG": "C.UTF-8"}, (), "en"),
        ({"LANG": "fr_FR", "LC_MESSAGES": "en_GB.UTF-8"}, (), "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "fr_CA.UTF-8"}, (), "fr"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "de:fr:en"}, (), "fr"),
        ({"LANG": "fr_FR.UTF-8", "LC_ALL": ""}, (), "fr"),
        ({"LANG": "fr_FR"}, ("--lang", "en", "status"), "en"),
        ({}, ("--lang=fr", "status"), "fr"),
        ({}, ("status", "--lang", "fr"), "en"),
        ({}, ("--lang", "klingon"), "en"),
        ({}, ("--lang",), "en"),
    ],
)
def test_s_08_the_language_is_that_of_the_reader(
    environment: dict[str, str], arguments: tuple[str, ...], expected: str
) -> None:
    assert language_of(environment, arguments) == expected


@pytest.mark.proves("S-08")
def test_s_08_a_message_is_said_with_its_values() -> None:
    assert say("{done} of {total}", done=2, total=3) == "2 of 3"
    use(Language.FRENCH)
    assert say("{done} of {total}", done=2, total=3) == "2 sur 3"
    assert say("nobody has translated {this}", this="x") == "nobody has translated x"


@pytest.mark.proves("S-08")
def test_s_08_what_the_gateway_said_in_english_is_heard_in_french() -> None:
    use(Language.FRENCH)
    assert heard("no answer in time") == "pas de réponse à temps"
    found = heard("node paris-1 (paris) takes no shards: no answer")
    assert found == "le nœud paris-1 (paris) ne prend pas de fragments : pas de réponse"
    assert heard("what nobody has translated") == "what nobody has translated"


@pytest.mark.proves("S-08")
def test_s_08_names_that_look_like_messages_stay_names() -> None:
    use(Language.FRENCH)
    assert heard("node jobs (never) does not answer: no answer") == (
        "le nœud jobs (never) ne répond pas : pas de réponse"
    )
    assert said_error("There is no job of this name", {"job": "never"}) == (
        "Il n'y a pas de tâche de ce nom (job=never)"
    )
    assert heard("node {0} (a) does not answer: {reason}").startswith("le nœud {0} (a)")


@pytest.mark.proves("S-08")
def test_s_08_errors_say_what_happened_and_what_to_do() -> None:
    use(Language.FRENCH)
    text, advice = said(GatewayNotRunning(socket="/x/admin.sock"))
    assert text.startswith("Aucune passerelle ne répond") and "socket=/x/admin.sock" in text
    assert "hexagone up" in advice
    assert said(ConfigError(key="a.b", reason="unknown key"))[0] == (
        "La configuration est inutilisable (key=a.b, reason=clé inconnue)"
    )
    assert said(OSError(28, "No space left on device"))[0] == "il n'y a plus de place sur le disque"
    assert said(OSError(2, "No such file", "/a"))[0] == "/a: ce fichier ou dossier n'existe pas"
    assert "--port" in said(OSError(errno.EADDRINUSE, "address already in use"))[1]


@pytest.mark.proves("S-08")
def test_s_08_an_error_inside_a_sentence_is_heard_with_its_reason() -> None:
    use(Language.FRENCH)
    found = heard(
        "log cluster: A line of the journal is not what was written"
        " (seq=4, reason=the body was changed)"
    )
    assert found.startswith("journal cluster : Une ligne du journal")
    assert found.endswith("(seq=4, reason=le corps a été changé)")
    cut = heard("log cluster, cut short: the checkpoint has 9 events, 6 are there")
    assert cut == ("journal cluster, tronqué : le point de contrôle a 9 événements, il y en a 6")
    assert heard("A line of nothing (reason=the body was changed)").startswith("A line of nothing")


@pytest.mark.proves("S-08")
@pytest.mark.parametrize("act", list(Act))
def test_s_08_what_an_approver_reads_is_in_his_language(act: Act) -> None:
    request = Request(
        act=act,
        cluster="a" * 32,
        about=f"erasure {'b' * 32}: bucket of tenant {'c' * 32}, bucket {'d' * 32}",
        name_check="e" * 64,
        objects=1,
        size_bytes=2,
        requester="uid-0",
        created_ms=1,
        not_before_ms=2,
        expires_ms=3,
        nonce="f" * 32,
        permits=(f"{PERMITTED[act][0]}/{'0' * 32}/1",),
    )
    use(Language.FRENCH)
    said = [heard(line) for line in request.in_words()]
    for line, told in zip(said, request.in_words(), strict=True):
        assert line != told or line.startswith("  ")
    assert not re.search(r"\b(the|and|with|of|for|under)\b", " ".join(said))


def test_an_error_of_the_gateway_keeps_what_it_is_made_of() -> None:
    refused = AdminRefused(
        text="There is no job of this name (job=x)",
        advice="",
        status=404,
        title="There is no job of this name",
        details={"job": "x"},
    )
    assert (refused.said_title, refused.details) == ("There is no job of this name", {"job": "x"})


def test_a_catalogue_is_read_as_gettext_has_it() -> None:
    text = (
        '# comment\nmsgid ""\nmsgstr ""\n"Language: fr\\n"\n\n#: place\nmsgid "one "\n"two"\n'
        'msgstr "un "\n"deux \\"x\\""\n\nmsgid "empty"\nmsgstr ""\n'
    )
    read = read_catalogue(text)
    assert dict(read.messages) == {"one two": 'un deux "x"', "empty": ""}
    assert read.of("empty") == "empty"
    for damaged in ("msgid one", '"text of nothing"', 'msgid "a\\"', "nonsense"):
        with pytest.raises(CatalogueDamaged):
            read_catalogue(damaged)


def test_of_two_forms_that_fit_the_one_with_more_fixed_text_is_taken() -> None:
    found = Catalogue({"{a} is away now": "{a} A", "node {a} is away now": "noeud {a} B"})
    assert found.of_filled("node x is away now") == "noeud x B"
    assert found.of_filled("drive x is away now") == "drive x A"
    assert found.of_filled("x" * 5000 + " is away now").endswith("away now")
    assert Catalogue({"not in {": "pas dans {"}).of_filled("not in {") == "pas dans {"


def test_a_form_reads_a_value_that_is_there_twice_once() -> None:
    found = Catalogue({"{a} is not {b}, {a} is {c:.1f}": "{a}/{b}/{c}"})
    assert found.of_filled("x is not y, x is z") == "x/y/z"
    assert found.of_filled("x is not y, v is z") == "x is not y, v is z"
    assert placeholders("{a:.2f} {b}") == {"a": ".2f", "b": ""}


def test_matching_a_long_text_takes_no_long_time() -> None:
    found = Catalogue({"{a} in {b} in {c} in {d} ends": "{a}{b}{c}{d}"})
    assert re.fullmatch(r"[\s\S]+", found.of_filled("x in " * 60 + "y"))


def test_a_value_that_is_none_of_a_choice_shows_no_word_of_a_library() -> None:
    for language in ("en", "fr"):
        told = CliRunner().invoke(app, ["--lang", language, "completion", "powershell"])
        assert told.exit_code == 2 and "Value error" not in told.stderr
        assert "'powershell'" in told.stderr and "'bash', 'zsh', 'fish'" in told.stderr
