"""A language model behind a real server: streamed, and gone in every way that servers go."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from moviebot.data.prompts import render_question_prompt
from moviebot.data.schemas import Movie
from moviebot.errors import UserError
from moviebot.rag.answer import Query
from moviebot.rag.bundle import load_bundle
from moviebot.rag.endpoint import KEY_ENV, EndpointError, EndpointGenerator, check_url, connect
from moviebot.rag.language_model import load_language_model
from moviebot.rag.pipeline import MovieBot
from tests.rag.completion_server import CompletionServer, Fault

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9/v1"  # the discard port: nobody listens
ANSWER = "It was directed by Olga Sidorova. Né à 千."


@pytest.fixture
def server() -> CompletionServer:
    return CompletionServer(lambda prompt: ANSWER)


def test_streams_what_it_would_write_at_once(server: CompletionServer) -> None:
    with server:
        generator = EndpointGenerator(server.url, "ours", key="secret-7")
        pieces = list(generator.stream("### Response:\n"))
        assert "".join(pieces) == ANSWER
        assert len(pieces) > 3
        assert generator.generate(["a", "b", "c"]) == [ANSWER] * 3
    assert [body["prompt"] for body in server.bodies][:1] == ["### Response:\n"]
    assert sorted(body["prompt"] for body in server.bodies[1:]) == ["a", "b", "c"]
    assert {body["temperature"] for body in server.bodies} == {0}
    assert {body["model"] for body in server.bodies} == {"ours"}
    assert set(server.keys) == {"Bearer secret-7"}


def test_the_prompt_is_the_one_of_training(bundle_folder: Path, movies: list[Movie], server: CompletionServer) -> None:
    with server:
        bot = MovieBot(load_bundle(bundle_folder), EndpointGenerator(server.url, "ours"))
        bot.answer([Query("who directed Winter Wheat?")])
    assert [body["prompt"] for body in server.bodies] == [
        render_question_prompt("who directed Winter Wheat?", movies[9])
    ]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("cut", "the connection broke"),
        ("cut_clean", "broke off amid a reply"),
        ("hang", "no whole reply in 0.5 s"),
        ("500", r"refuses the request \(500: .*no.* luck with Bearer \.\.\."),
        ("401", "refuses the key"),
        ("404", "does not know 'ours'"),
        ("error_event", "failed amid a reply: .*out of memory"),
        ("no_json", "sent no completion"),
        ("endless", "longer than 1 MiB"),
    ],
)
def test_a_failure_is_one_line(server: CompletionServer, fault: Fault, line: str) -> None:
    server.fault = fault
    with server:
        generator = EndpointGenerator(server.url, "ours", key="secret-7", timeout_s=0.5 if fault == "hang" else 20)
        with pytest.raises(EndpointError, match=line) as caught:
            list(generator.stream("prompt"))
    assert "\n" not in str(caught.value)
    assert "secret-7" not in str(caught.value)


@pytest.mark.parametrize("fault", ["cut", "cut_clean", "500", "error_event"])
def test_a_question_gets_the_fact_where_the_model_fails(
    bundle_folder: Path, server: CompletionServer, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Half a reply that reads well ("It was directed by") is none."""
    server.fault = fault
    queries = [Query("who directed Winter Wheat?"), Query("movies like Night Ferry"), Query("who wrote Winter Wheat?")]
    with server, caplog.at_level(logging.WARNING):
        bot = MovieBot(load_bundle(bundle_folder), EndpointGenerator(server.url, "ours"))
        together = bot.answer(queries)
        warned = [record for record in caplog.records if record.name.startswith("moviebot")]
        assert len(warned) == 1  # three questions failed for one reason
        singly = bot.prepare(queries)
        for answer in singly:
            list(bot.complete(answer))
    for question, wish, unknown in (together, singly):
        assert question.answer == "It was directed by Olga Sidorova."
        assert question.fallback
        assert question.grounded
        assert wish.recommendations == wish.candidates[:3]
        assert unknown.abstained


def test_a_server_that_does_not_stream_is_read_too(server: CompletionServer) -> None:
    server.fault = "whole"
    with server:
        assert EndpointGenerator(server.url, "ours").generate(["a"]) == [ANSWER]


def test_whatever_a_server_lists_only_candidates_are_shown(bundle_folder: Path) -> None:
    listed = "Night Ferry (1962)\nJaws (1975)\nWinter Wheat (2014)\nWinter Wheat (2014)\n<script>"
    with CompletionServer(lambda prompt: listed) as server:
        bot = MovieBot(load_bundle(bundle_folder), EndpointGenerator(server.url, "ours"))
        [answer] = bot.answer([Query("movies like Night Ferry")])
    assert len(answer.recommendations) == len(set(answer.recommendations)) == 3
    assert set(answer.recommendations) <= set(answer.candidates)
    assert answer.recommendations[0].title == "Winter Wheat"
    assert len(answer.reasons) == 3


def test_an_absent_server_is_told_before_the_first_question(bundle_folder: Path) -> None:
    with pytest.raises(UserError, match="can't be reached: start the server, or leave --llm out"):
        load_language_model(load_bundle(bundle_folder), llm=NOWHERE, llm_model="ours")


def test_the_key_comes_from_the_environment(server: CompletionServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with server:
        monkeypatch.setenv(KEY_ENV, "secret-8")
        list(connect(server.url, "ours").stream("a"))
        assert set(server.keys) == {"Bearer secret-8"}
        monkeypatch.setenv(KEY_ENV, "geheim\N{LATIN SMALL LETTER U WITH DIAERESIS}")
        with pytest.raises(UserError, match="letters that no key has"):
            connect(server.url, "ours")
        monkeypatch.delenv(KEY_ENV)
        server.fault = "401"
        with pytest.raises(UserError, match=f"refuses the key .*set {KEY_ENV}"):
            connect(server.url, "ours")


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("localhost:8000", "is no web address"),
        ("file:///etc/passwd", "is no web address"),
        ("http://", "is no web address"),
        ("http://me:secret@host/v1", "no user or password"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_flags_that_contradict_are_refused(bundle_folder: Path) -> None:
    bundle = load_bundle(bundle_folder)
    with pytest.raises(UserError, match="exclude each other"):
        load_language_model(bundle, no_llm=True, llm=NOWHERE, llm_model="ours")
    with pytest.raises(UserError, match="needs --llm_model"):
        load_language_model(bundle, llm=NOWHERE)
    with pytest.raises(UserError, match="needs --llm:"):
        load_language_model(bundle, llm_model="ours")


def test_the_script_asks_an_endpoint(bundle_folder: Path, tmp_path: Path, server: CompletionServer) -> None:
    (tmp_path / "in.jsonl").write_text('{"query": "who directed Winter Wheat?"}\n')
    command = [sys.executable, "tools/predict.py", str(bundle_folder), "--llm_model", "ours"]
    command += ["--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out.jsonl"), "--llm"]
    server.reply = lambda prompt: "It was Olga Sidorova."
    with server:
        done = subprocess.run([*command, server.url], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text())["answer"] == "It was Olga Sidorova."
    done = subprocess.run([*command, NOWHERE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "can't be reached" in done.stderr
    assert "Traceback" not in done.stderr
