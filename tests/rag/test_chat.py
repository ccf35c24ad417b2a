import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from moviebot.rag.bundle import load_bundle
from moviebot.rag.chat import chat, run_chat
from moviebot.rag.pipeline import MovieBot
from tests.rag.conftest import ScriptedGenerator


def talk(bundle_folder: Path, lines: list[str]) -> str:
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: "Olga [Sidorova]"))
    out = io.StringIO()
    run_chat(bot, Console(file=out, highlight=False, soft_wrap=True), iter(lines))
    return out.getvalue()


def test_answers_follow_ups_and_commands(bundle_folder: Path) -> None:
    text = talk(
        bundle_folder,
        ["/help", "", "who directed Winter Wheat?", "movies like Night Ferry", "/dance", "/new", "/exit", "hello"],
    )
    assert "/dislike" in text
    assert "leaves (so does Ctrl-D)" in text
    assert "Olga[Sidorova]" in text  # brackets of the model are text, not markup
    assert "If you liked Night Ferry (1962)" in text
    assert "no command /dance" in text
    assert "I can answer" in text.split("\n")[0]
    assert text.count("I can answer") == 1  # nothing after /exit


def test_a_query_too_long_ends_nothing(bundle_folder: Path) -> None:
    text = talk(bundle_folder, ["word " * 10_000, "hello"])
    assert "at most 2,000" in text
    assert "I can answer" in text


def test_reads_a_pipe(bundle_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("movies like Night Ferry\nhello\n"))
    chat(bundle_folder, no_llm=True)
    out = capsys.readouterr().out
    assert "If you liked Night Ferry (1962)" in out
    assert "I can answer" in out


def test_nothing_reaches_the_terminal_as_a_command(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    hostile = "\x1b]0;mine\x07Winter\u202e Wheat [bold]:smile:"
    bundle.movies[9] = replace(bundle.movies[9], title=hostile)
    lines = ["who directed Winter Wheat (2014)?", "movies like Winter Wheat (2014)", "/da\x1b[2Jnce"]
    for bot in (MovieBot(bundle, ScriptedGenerator(lambda prompt: f"{hostile}\x9b2J")), MovieBot(bundle)):
        bot.movies = bundle.movies
        out = io.StringIO()
        run_chat(bot, Console(file=out, highlight=False, soft_wrap=True), iter(lines))
        text = out.getvalue()
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
        assert "[bold]:smile:" in text
        assert "\nIf you liked ]0;mine Winter Wheat [bold]:smile:" in text.replace("  ", " ")


def test_an_answer_that_was_stopped_is_not_remembered_as_shown(bundle_folder: Path) -> None:
    def stop(prompt: str) -> str:
        raise KeyboardInterrupt

    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(stop))
    run_chat(bot, Console(file=io.StringIO()), iter(["movies like Night Ferry"]))
    assert bot.conversations.get("chat0").shown == []
    assert bot.conversations.get("chat0").row == 3
