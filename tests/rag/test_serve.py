"""The web page, driven in a headless browser, and the parts behind it without one."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from moviebot.data.schemas import Movie
from moviebot.errors import UserError
from moviebot.rag.answer import Answer, Query, show_recommendations
from moviebot.rag.bundle import Bundle, load_bundle
from moviebot.rag.endpoint import EndpointGenerator
from moviebot.rag.feedback import FeedbackLog
from moviebot.rag.pipeline import MovieBot
from moviebot.rag.rate_limit import RateLimit
from moviebot.rag.serve import find_turn, serve
from moviebot.rag.web_html import render_cards, render_text
from moviebot.rag.web_session import Answerer, Turn, WebSession, WebSessions
from tests.rag.completion_server import CompletionServer
from tests.rag.conftest import ScriptedGenerator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).resolve().parents[2]
MARKUP = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\"> [a](javascript:run) ${1+1}"


class Page:
    """A page in the browser, and what it asked of the network."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.requests: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(address)
        page.wait_for_selector("#question textarea", timeout=30_000)

    def ask(self, text: str, expected: str) -> str:
        """Type a question, send it by the keyboard, and return what the conversation says when it is answered."""
        self.page.fill("#question textarea", text)
        self.page.keyboard.press("Enter")
        self.page.wait_for_function(
            "([asked, expected]) => { const text = document.querySelector('#chat').innerText;"
            " const at = text.lastIndexOf(asked); return at >= 0 && text.slice(at + asked.length).includes(expected) }",
            arg=[text, expected],
            timeout=60_000,
        )
        told = str(self.page.inner_text("#chat"))
        return told[told.rindex(text) + len(text) :]


def run_server(bundle: Path, log: Path, markup: str = "") -> Iterator[str]:
    """Serve the page in a process of its own, at a free port of this machine."""
    pytest.importorskip("gradio", reason="the extra `web` is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.rag.web_server", str(bundle), str(port), str(log), markup]
    with log.with_suffix(".err").open("w+") as errors:
        server = subprocess.Popen(command, cwd=ROOT, stderr=errors, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            for _ in range(600):
                if server.poll() is not None or is_up(address):
                    break
                time.sleep(0.1)
            assert is_up(address), log.with_suffix(".err").read_text()
            yield address
        finally:
            server.send_signal(signal.SIGINT)  # Ctrl-C, with pages still open
            assert server.wait(20) in (0, -signal.SIGINT, 130, 1)
            assert "Task was destroyed" not in log.with_suffix(".err").read_text()


def is_up(address: str) -> bool:
    try:
        return httpx.get(address).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return load_bundle(bundle_folder)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web") / "feedback.jsonl"


@pytest.fixture(scope="module")
def address(bundle_folder: Path, log: Path) -> Iterator[str]:
    yield from run_server(bundle_folder, log)


@pytest.fixture
def browser() -> Iterator[Any]:
    pytest.importorskip("gradio", reason="the extra `web` is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def test_a_person_asks_follows_up_gets_a_wish_and_gives_a_thumb(
    browser: Any, address: str, log: Path, movies: list[Movie]
) -> None:
    page = Page(browser.new_page(viewport={"width": 390, "height": 844}), address)
    told = page.ask("who directed Winter Wheat?", "from my catalogue")
    assert "Olga Sidorova" in told
    assert f"https://www.imdb.com/title/{movies[9].tconst}/" in told
    assert "Olga Sidorova" in page.page.inner_text("#cards")
    assert "Winter Wheat (2014)" in page.ask("and when did it come out?", "from my catalogue")
    told = page.ask("I'm looking for a documentary", "1. ")
    assert "1. The Last Beekeeper (2017)" in told
    assert "The Last Beekeeper (2017)" in page.page.inner_text("#cards")
    assert "Night Ferry" not in page.page.inner_text("#candidates")  # folded
    page.page.click("#candidates button")
    page.page.wait_for_selector("#candidates li", state="visible")
    page.page.get_by_role("button", name="Like", exact=True).last.click()
    row = wait_for_line(log)
    assert row["query"] == "I'm looking for a documentary"
    assert row["thumb"] == "up"
    assert row["movie"] is None
    assert row["shown"][0] == movies[10].tconst
    assert row.keys() == {"at", "conversation", "query", "answer", "movie", "shown", "thumb"}
    # The page is served from here alone, and fits the phone.
    assert len(page.requests) > 5
    assert {url.split("/")[2] for url in page.requests if url.startswith("http")} == {address.split("/")[2]}
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    page.page.click("#restart")
    page.page.wait_for_function("!document.querySelector('#chat').innerText.includes('Beekeeper')")
    assert "couldn't find" in page.ask("who directed it?", "couldn't find")


def test_markup_is_shown_and_not_run(browser: Any, bundle_folder: Path, tmp_path: Path) -> None:
    for address in run_server(bundle_folder, tmp_path / "log.jsonl", MARKUP):
        page = Page(browser.new_page(), address)
        page.ask("who directed Winter Wheat?", "from my catalogue")
        page.ask(MARKUP, "")
        page.page.wait_for_function("!document.querySelector('#chat').innerText.includes('…')")
        for place in ("#chat", "#cards"):
            assert page.page.locator(f"{place} script, {place} img, {place} a[href^=javascript]").count() == 0
        shown = page.page.inner_text("#chat")
        assert shown.count("document.title='run'") >= 3
        assert "[a](javascript:run)" in shown
        assert "${1+1}" in shown
        page.page.wait_for_timeout(300)
        assert page.page.title() == "moviebot"


def test_no_one_gets_anothers_conversation(address: str) -> None:
    with httpx.Client(base_url=address) as client:
        first, second = (client.get("/", headers={"Cookie": ""}).headers["set-cookie"] for _ in range(2))
        assert first != second
        assert "HttpOnly" in first
        assert "SameSite=Strict" in first
        for path in ("/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=http://localhost/"):
            assert client.get(path).status_code == 404
        large = client.post("/gradio_api/queue/join", content=b"x" * 1_000_000)
        assert large.status_code == 413
        endless = client.post("/gradio_api/queue/join", content=iter([b"x"] * 10))
        assert endless.status_code == 411


def test_a_session_belongs_to_the_cookie_and_the_page() -> None:
    sessions = WebSessions()
    mine = sessions.get("token-a", "page")
    assert sessions.get("token-a", "page") is mine
    others = [sessions.get("token-b", "page"), sessions.get("token-a", "other"), sessions.get(None, "page")]
    others += [sessions.get(mine.conversation, "page"), sessions.get(None, mine.conversation)]
    assert mine.conversation not in {other.conversation for other in others}
    assert WebSessions().get("token-a", "page").conversation != mine.conversation  # not even after a restart


@pytest.mark.parametrize("index", [-1, 2, 10**9, None, "0", True, [], 1.5])
def test_a_thumb_for_no_message_is_for_no_turn(index: object) -> None:
    turns = [Turn("a"), Turn("b")]
    assert find_turn(turns[:1], index) is None
    assert find_turn(turns, 3) is turns[1]
    assert find_turn(turns, [0]) is turns[0]


def test_one_answer_at_a_time_and_a_page_that_leaves_stops_its_own(bundle: Bundle) -> None:
    running: list[int] = []
    most: list[int] = []

    class Slow(ScriptedGenerator):
        def stream(self, prompt: str) -> Iterator[str]:
            running.append(1)
            most.append(len(running))
            try:
                for _ in range(20):
                    time.sleep(0.01)
                    yield "word "
            finally:
                running.pop()

    answerer = Answerer(MovieBot(bundle, Slow(str)))
    left = answerer.ask(WebSession("left"), "who directed Winter Wheat?")
    next(left), next(left)
    left.close()  # type: ignore[attr-defined]
    threads = [
        threading.Thread(target=lambda n=n: list(answerer.ask(WebSession(str(n)), "who directed Winter Wheat?")))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 5
    assert max(most) == 1
    answerer.close()


def test_a_question_that_fails_ends_nothing(bundle: Bundle) -> None:
    replies = iter(["", "fine"])

    def reply(prompt: str) -> str:
        if not next(replies):
            raise RuntimeError("a bug")
        return "It was Olga Sidorova."

    answerer = Answerer(MovieBot(bundle, ScriptedGenerator(reply)))
    session = WebSession("a")
    *_, failed = answerer.ask(session, "who directed Winter Wheat?")
    *_, good = answerer.ask(session, "who directed Winter Wheat?")
    assert failed.answer is None
    assert "Something went wrong" in failed.text
    assert good.answer is not None
    *_, long = answerer.ask(session, "x" * 50_000)
    assert "at most 2,000" in long.text
    assert len(long.query) < 3000
    *_, broken = answerer.ask(session, "\ud800")
    assert "Unicode" in broken.text
    answerer.close()


def test_the_log_is_whole_lines_whatever_happens(tmp_path: Path, movies: list[Movie]) -> None:
    path = tmp_path / "feedback.jsonl"
    path.write_text('{"thumb": "up"}\n{"thumb": "do')
    log = FeedbackLog(path)
    with pytest.raises(UserError, match="in use by another server"):
        FeedbackLog(path)
    answer = Answer("q\nuery", "question", movie=movies[0], answer="line\nline \ud800")
    log.write(answer, "secret", "down")
    log.close()
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    assert first == {"thumb": "up"}
    assert second["movie"] == movies[0].tconst
    assert second["thumb"] == "down"
    assert "secret" not in path.read_text()
    with pytest.raises(UserError, match="can't be written"):
        FeedbackLog(tmp_path)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, movies: list[Movie], monkeypatch: pytest.MonkeyPatch) -> None:
    log = FeedbackLog(tmp_path / "feedback.jsonl")
    write = os.write
    monkeypatch.setattr("os.write", lambda file, data: write(file, data[:5]))
    with pytest.raises(OSError, match="part of the line"):
        log.write(Answer("q", "other"), "a", "up")
    assert log.path.read_bytes() == b""
    log.close()


def test_clients_are_limited_each_for_itself_and_get_tokens_back() -> None:
    now = [0.0]
    limit = RateLimit(per_minute=30, burst=3, clock=lambda: now[0])
    assert [limit.take("a") for _ in range(4)] == [0, 0, 0, 2]
    assert limit.take("b") == 0
    now[0] = 2.0
    assert limit.take("a") == 0
    assert limit.take("a") == 2
    now[0] = 1e6
    assert [bool(limit.take("a")) for _ in range(4)] == [False, False, False, True]
    assert not any(RateLimit(0, 1).take("a") for _ in range(100))


def test_mistakes_are_one_line_before_anything_is_loaded(
    tmp_path: Path, bundle_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: SimpleNamespace())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="can't be listened at"):
            serve(bundle_folder, port=taken.getsockname()[1])
    with pytest.raises(UserError, match="no port"):
        serve(bundle_folder, port=0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'gradio>=6.31,<7'"):
        serve(bundle_folder)


def test_nothing_of_the_catalogue_becomes_markup(bundle: Bundle) -> None:
    bot = MovieBot(bundle)
    [answer] = bot.prepare([Query("movies like Night Ferry")])
    answer.recommendations = [replace(movie, title=MARKUP, genres=(MARKUP,)) for movie in answer.recommendations]
    answer.reasons = [MARKUP] * 3
    answer.answer = show_recommendations(answer)
    cards = render_cards(answer)
    assert "<script" not in cards
    assert "<img" not in cards
    assert "$" not in cards
    assert "onerror=" in render_text(answer)  # in the chat as plain text


def wait_for_line(path: Path) -> dict[str, Any]:
    """Return the first line of a log when it is there."""
    for _ in range(100):
        if path.read_text().endswith("\n"):
            break
        time.sleep(0.1)
    row: dict[str, Any] = json.loads(path.read_text().splitlines()[0])
    return row


def test_an_endpoint_writes_for_several_people_at_once(bundle: Bundle) -> None:
    together = threading.Barrier(4, timeout=20)  # broken, and the answers with it, where one waits for another

    def reply(prompt: str) -> str:
        together.wait()
        return "It was directed by Olga Sidorova."

    with CompletionServer(reply) as server:
        answerer = Answerer(MovieBot(bundle, EndpointGenerator(server.url, "ours")))
        people = [WebSession(f"person-{n}") for n in range(4)]
        with ThreadPoolExecutor(4) as pool:
            turns = list(pool.map(lambda one: list(answerer.ask(one, "who directed Winter Wheat?"))[-1], people))
        answerer.close()
    assert not together.broken
    assert [turn.answer.fallback for turn in turns if turn.answer] == [False] * 4


def test_turns_of_one_page_wait_for_each_other(bundle: Bundle) -> None:
    writing = threading.Lock()
    met: list[bool] = []

    def reply(prompt: str) -> str:
        free = writing.acquire(blocking=False)
        met.append(not free)
        time.sleep(0.2)
        if free:
            writing.release()
        return "It was directed by Olga Sidorova."

    with CompletionServer(reply) as server:
        answerer = Answerer(MovieBot(bundle, EndpointGenerator(server.url, "ours")))
        page = WebSession("one")
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda text: list(answerer.ask(page, text)), ["who directed Winter Wheat?"] * 3))
        answerer.close()
    assert met == [False] * 3
