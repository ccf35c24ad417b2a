import io
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
    assert "/exit leaves" in text
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
