import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from moviebot.data import chat_client, openai_teacher
from moviebot.data.endpoints import PRESETS, find_endpoint, read_key
from moviebot.data.replies import RAW_NAME, read_replies
from moviebot.data.schemas import Movie, write_catalogue
from moviebot.data.teacher import teach
from moviebot.errors import UserError

PAIRS = '{"pairs": [{"question": "Who made it?", "answer": "Ada."}]}'


@pytest.fixture
def out(tmp_path: Path, movies: list[Movie]) -> Path:
    write_catalogue(tmp_path / "catalogue.parquet", movies)
    return tmp_path


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_teacher, "FIRST_WAIT_S", 0.01)


def complete(reply: str | None, reason: str = "stop") -> Response:
    choice = {"index": 0, "finish_reason": reason, "message": {"role": "assistant", "content": reply}}
    body = {"choices": [choice], "usage": {"prompt_tokens": 70, "completion_tokens": 7}}
    return Response(json.dumps(body), content_type="application/json")


def refuse(message: str, status: int = 400) -> Response:
    return Response(json.dumps({"error": {"message": message}}), status=status)


def serve(server: HTTPServer, answer: Callable[[dict[str, Any]], Response]) -> list[dict[str, Any]]:
    """Let ``answer`` write the responses; return the list that the requests' bodies go to."""
    seen: list[dict[str, Any]] = []
    lock = threading.Lock()

    def handle(request: Request) -> Response:
        body = request.get_json()
        with lock:
            seen.append(body)
        return answer(body)

    server.expect_request("/v1/chat/completions", method="POST").respond_with_handler(handle)
    return seen


def ask(out: Path, server: HTTPServer, limit: int | None = None, **settings: Any) -> None:
    settings = {"task": ("qa",), "model": "m", "concurrency": 1, "examples": 0, **settings}
    teach(out, "openai", limit=limit, base_url=server.url_for("/v1"), **settings)


def form_of(body: dict[str, Any]) -> str:
    return str(body.get("response_format", {}).get("type", "text"))


@pytest.mark.parametrize("concurrency", [1, 6])
@pytest.mark.parametrize("known", ["json_schema", "json_object", "text"])
def test_reply_format_is_settled_once_and_loses_nothing(
    out: Path, httpserver: HTTPServer, movies: list[Movie], known: str, concurrency: int
) -> None:
    forms = ["json_schema", "json_object", "text"]

    def answer(body: dict[str, Any]) -> Response:
        if forms.index(form_of(body)) < forms.index(known):
            return refuse(f"'response_format' of type '{form_of(body)}' is not supported with this model")
        return complete(PAIRS)

    seen = serve(httpserver, answer)
    ask(out, httpserver, concurrency=concurrency)
    good = [body["messages"][-1]["content"] for body in seen if form_of(body) == known]
    assert sorted(good) == sorted(set(good))
    assert len(good) == len(movies) == len(read_replies(out / RAW_NAME))
    assert len(seen) - len(good) <= concurrency * forms.index(known)  # what was under way before it was learnt


def test_settings_that_a_server_refuses_by_name_are_left_out(out: Path, httpserver: HTTPServer) -> None:
    def answer(body: dict[str, Any]) -> Response:
        if "max_tokens" in body:
            return refuse("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if "seed" in body:
            return refuse('Invalid JSON payload received. Unknown name "seed": Cannot find field.')
        return complete(PAIRS)

    seen = serve(httpserver, answer)
    ask(out, httpserver, limit=3, max_tokens=99)
    assert len(seen) == 3 + 2
    assert [body["max_completion_tokens"] for body in seen[2:]] == [99] * 3
    assert all("seed" not in body for body in seen[2:])
    assert len(read_replies(out / RAW_NAME)) == 3


def test_a_value_out_of_range_is_for_the_person_to_mend(out: Path, httpserver: HTTPServer) -> None:
    seen = serve(httpserver, lambda _: refuse("max_tokens is too large: 9999. At most 4096 are supported"))
    with pytest.raises(UserError, match=r"refuses the request .400.*too large: 9999.*--max_tokens"):
        ask(out, httpserver, max_tokens=9999)
    assert len(seen) == 1


def test_one_refused_request_does_not_stop_the_others(out: Path, httpserver: HTTPServer, movies: list[Movie]) -> None:
    serve(
        httpserver,
        lambda body: refuse("blocked") if movies[3].title in body["messages"][-1]["content"] else complete(PAIRS),
    )
    with pytest.raises(UserError, match=f"1 of {len(movies)} requests failed"):
        ask(out, httpserver)
    assert len(read_replies(out / RAW_NAME)) == len(movies) - 1


def test_other_examples_are_another_request(out: Path, httpserver: HTTPServer) -> None:
    seen = serve(httpserver, lambda _: complete(PAIRS))
    for examples in (0, 1, 0):
        ask(out, httpserver, limit=1, examples=examples)
    assert len(seen) == 2


def test_usage_and_the_reason_to_stop_are_recorded(out: Path, httpserver: HTTPServer) -> None:
    serve(httpserver, lambda _: complete('{"pairs": [{"question": "Wh', "length"))
    ask(out, httpserver, limit=1)
    (reply,) = read_replies(out / RAW_NAME)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.finish_reason) == (70, 7, "length")
    row = json.loads((out / RAW_NAME).read_text())
    assert row.pop("finish_reason") == "length"
    (out / RAW_NAME).write_text(json.dumps({name: row[name] for name in row if not name.endswith("_tokens")}) + "\n")
    (old,) = read_replies(out / RAW_NAME)  # as versions before wrote it
    assert (old.reply, old.prompt_tokens, old.finish_reason) == (reply.reply, None, None)


def test_an_empty_reply_is_asked_for_again_then_kept(out: Path, httpserver: HTTPServer) -> None:
    seen = serve(httpserver, lambda _: complete(None))
    ask(out, httpserver, limit=1)
    (reply,) = read_replies(out / RAW_NAME)
    assert reply.reply == ""
    assert len(seen) == openai_teacher.VOID_TRIES
    assert (reply.prompt_tokens, reply.completion_tokens) == (3 * 70, 3 * 7)  # all tries cost
    ask(out, httpserver, limit=1)
    assert len(seen) == openai_teacher.VOID_TRIES


def test_an_empty_reply_that_says_why_is_kept_at_once(out: Path, httpserver: HTTPServer) -> None:
    seen = serve(httpserver, lambda _: complete("", "content_filter"))
    ask(out, httpserver, limit=1)
    assert len(seen) == 1
    assert [reply.finish_reason for reply in read_replies(out / RAW_NAME)] == ["content_filter"]


def test_no_credit_and_long_pauses_stop_at_once(out: Path, httpserver: HTTPServer) -> None:
    responses = [
        refuse('{"code": "insufficient_quota"}', 429),
        Response("later", status=429, headers={"Retry-After": "86400"}),
    ]
    seen = serve(httpserver, lambda _: responses[len(seen) - 1])
    with pytest.raises(UserError, match="no more credit"):
        ask(out, httpserver)
    with pytest.raises(UserError, match="left alone for 86400 s: run the same command again then"):
        ask(out, httpserver)
    assert len(seen) == 2


def test_retry_after_holds_all_requests(out: Path, httpserver: HTTPServer, movies: list[Movie]) -> None:
    times: list[float] = []

    def answer(_: dict[str, Any]) -> Response:
        times.append(time.monotonic())
        return Response("slow", status=429, headers={"Retry-After": "1"}) if len(times) == 1 else complete(PAIRS)

    serve(httpserver, answer)
    ask(out, httpserver, concurrency=2)
    assert len(times) == len(movies) + 1
    # One other may have been under way, and one was sent while the refusal was; the rest waited.
    assert sum(moment < times[0] + 0.9 for moment in times) <= 3


def test_a_server_that_dribbles_is_left_after_the_deadline(out: Path, httpserver: HTTPServer) -> None:
    sent = [0]

    def dribble(_: dict[str, Any]) -> Response:
        def blocks() -> Any:
            for _ in range(200):
                time.sleep(0.05)
                sent[0] += 1
                yield b" "

        return Response(blocks(), status=200)

    seen = serve(httpserver, dribble)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_teacher, "MAX_RETRIES", 1)
        with pytest.raises(UserError, match="1 of 1 requests failed"):
            ask(out, httpserver, limit=1, timeout_s=0.3)  # each block comes in time, the whole does not
    assert len(seen) == 2
    assert sent[0] < 2 * 200


def test_a_reply_of_any_size_takes_little_memory(out: Path, httpserver: HTTPServer) -> None:
    sent = [0]

    def flood(_: dict[str, Any]) -> Response:
        def blocks() -> Any:
            for _ in range(1000):
                sent[0] += 1 << 20
                yield b"x" * (1 << 20)

        return Response(blocks(), status=200)

    serve(httpserver, flood)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(openai_teacher, "MAX_RETRIES", 0)
        with pytest.raises(UserError, match="1 of 1 requests failed"):
            ask(out, httpserver, limit=1)
    assert sent[0] < 100 * chat_client.MAX_BODY_BYTES  # socket buffers included: nobody read a gigabyte


def test_teaching_works_where_a_loop_runs(out: Path, httpserver: HTTPServer) -> None:
    serve(httpserver, lambda _: complete(PAIRS))

    async def cell() -> None:  # of a notebook
        ask(out, httpserver, limit=2)

    asyncio.run(cell())
    assert len(read_replies(out / RAW_NAME)) == 2


def test_dry_run_sends_and_writes_nothing(
    out: Path, httpserver: HTTPServer, movies: list[Movie], capsys: pytest.CaptureFixture[str]
) -> None:
    seen = serve(httpserver, lambda _: complete(PAIRS))
    before = sorted(path.name for path in out.iterdir())
    ask(out, httpserver, dry_run=True, questions_per_movie=2)
    said = capsys.readouterr().out
    assert f"requests: {len(movies)} to send, 0 of {len(movies)} answered already" in said
    assert f"{2 * 60 * len(movies)} out (estimated: a token every 4 characters)" in said
    assert "give --price_in and --price_out for the cost" in said
    assert sorted(path.name for path in out.iterdir()) == before
    assert seen == []
    ask(out, httpserver, limit=2, questions_per_movie=2)
    before_bytes = {path.name: path.read_bytes() for path in out.iterdir()}
    ask(out, httpserver, dry_run=True, questions_per_movie=2, price_in=0.0, price_out=1.0)
    said = capsys.readouterr().out
    left = len(movies) - 2
    assert f"requests: {left} to send, 2 of {len(movies)} answered already" in said
    assert f"{7 * left} out (from the log's own token counts)" in said
    assert f"cost: about {7 * left / 1e6:.4f} USD" in said
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before_bytes
    assert len(seen) == 2
    teach(out, dry_run=True)
    assert f"requests: {2 * len(movies)} to answer on this machine" in capsys.readouterr().out


def test_cost_settings_are_checked(out: Path) -> None:
    with pytest.raises(UserError, match=r"--price_in -1.*--max_cost 1 needs --price_in and --price_out"):
        teach(out, "openai", price_in=-1.0, max_cost=1.0)
    with pytest.raises(UserError, match=r"--offered 0.*--max_tokens 0.*--examples 4: give 0 to 3.*--timeout_s 0"):
        teach(out, "openai", examples=4, offered=0, max_tokens=0, timeout_s=0)


def test_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    for preset in PRESETS.values():
        if preset.key_env:
            monkeypatch.delenv(preset.key_env, raising=False)
            with pytest.raises(UserError, match=f"environment variable {preset.key_env}: set it"):
                read_key(preset)
        else:
            assert read_key(preset) is None
    assert find_endpoint("gemini", None, "MINE").key_env == "MINE"
    assert find_endpoint("cohere", "http://proxy/v1/", None).base_url == "http://proxy/v1"
    with pytest.raises(UserError, match="--base_url localhost:8000: give an address such as"):
        find_endpoint(None, "localhost:8000", None)
    monkeypatch.setenv("MINE", "schlüssel")
    with pytest.raises(UserError, match="variable MINE holds letters that no key has"):
        read_key(find_endpoint("openai", None, "MINE"))


def test_the_key_goes_only_where_it_belongs(out: Path, httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    sent: list[str | None] = []

    def handle(request: Request) -> Response:
        sent.append(request.headers.get("Authorization"))
        return complete(PAIRS)

    httpserver.expect_request("/v1/chat/completions").respond_with_handler(handle)
    ask(out, httpserver, limit=1)
    ask(out, httpserver, limit=2, endpoint="openai")
    assert sent == [None, "Bearer sesame"]


def test_source_date_epoch_stops_the_clock(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    teach(out, task=("qa",), limit=1)
    assert [reply.created_at for reply in read_replies(out / RAW_NAME)] == ["1970-01-01T00:00:01+00:00"]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "now")
    with pytest.raises(UserError, match="SOURCE_DATE_EPOCH=now: give seconds since 1970"):
        teach(out, task=("qa",), limit=2)
