"""A web page to talk to a bundle: streamed answers, cards with the facts used, thumbs that are logged.

Everything is served from this machine; nothing is sent to Gradio's makers, and no other host is asked for anything.
"""

import importlib.util
import ipaddress
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from moviebot.errors import UserError
from moviebot.rag.answer import HELP, MAX_QUERY_CHARS
from moviebot.rag.bundle import load_bundle
from moviebot.rag.feedback import FeedbackLog, Thumb
from moviebot.rag.language_model import load_language_model
from moviebot.rag.lookup import open_lookup
from moviebot.rag.pipeline import MovieBot
from moviebot.rag.rate_limit import RateLimit
from moviebot.rag.web_html import CSS, EMPTY_CARD, NO_CANDIDATES, escape, render_candidates, render_cards, render_text
from moviebot.rag.web_session import Answerer, Turn, WebSession, WebSessions

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)
TITLE = "moviebot"
EXAMPLES = (
    "Who directed The Godfather?",
    "What is Alien about?",
    "Movies like Heat",
    "I'm looking for a comedy from the nineties",
)
_BURST = 10
_MAX_WAITING = 100  # questions in the queue; who comes later is told to come back
_MAX_PAGES = 2000  # whose state Gradio keeps
_STOP_SECONDS = 2  # an open stream must not keep the server from ending


def serve(
    bundle: Path,
    host: str = "127.0.0.1",
    port: int = 7860,
    no_llm: bool = False,
    llm: str | None = None,
    llm_model: str | None = None,
    lookup: tuple[str, ...] = (),
    lookup_cache: Path | None = None,
    contact: str | None = None,
    feedback: Path = Path("feedback.jsonl"),
    questions_per_minute: int = 30,
) -> None:
    """Talk to a bundle in the browser, until Ctrl-C.

    Args:
        bundle: a bundle's folder.
        host: the address to listen at; by default this machine alone reaches it.
        port: the port to listen at.
        no_llm: answer without the language model: only movies found and recommendations are shown.
        llm: ask an OpenAI-compatible endpoint at this address (http://localhost:8000/v1) instead of the bundle's own
            model; a key is read from the environment variable MOVIEBOT_LLM_API_KEY.
        llm_model: the model's name there.
        lookup: wikipedia, tmdb or both, asked for the story of a movie that has none in the catalogue; nobody by
            default.
        lookup_cache: the folder where what they said is kept; by default one in your cache.
        contact: your e-mail address or page, told to them.
        feedback: where thumbs up and down are appended, one JSON object a line.
        questions_per_minute: of one client's address, after ten at once; 0 for no limit.

    Raises:
        UserError: Gradio is not installed, the bundle can't be read, the endpoint does not answer, or the address
            can't be listened at.
    """
    if importlib.util.find_spec("gradio") is None:
        raise UserError("the web page needs Gradio: install it with `pip install 'gradio>=6.31,<7'`")
    if questions_per_minute < 0:
        raise UserError(f"--questions_per_minute {questions_per_minute} must be at least 0")
    _check_address(host, port)
    log = FeedbackLog(feedback)
    stories = open_lookup(lookup, lookup_cache, contact)
    loaded = load_bundle(bundle)
    with Console(stderr=True).status("Loading the models"):
        bot = MovieBot(loaded, load_language_model(loaded, no_llm, llm, llm_model), stories)
    answerer = Answerer(bot)
    app = build_app(answerer, log, RateLimit(questions_per_minute, _BURST))
    if not _is_loopback(host):
        logger.warning("--host %s: whoever reaches this machine can use the page; it has no passwords", host)
    logger.info("Talk to me at http://%s:%d (Ctrl-C ends)", f"[{host}]" if ":" in host else host, port)
    import uvicorn

    try:
        uvicorn.run(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=_STOP_SECONDS)
    except KeyboardInterrupt:  # uvicorn has ended well and passes it on
        pass
    finally:
        answerer.close()
        log.close()
        logger.info("Stopped; thumbs are in %s", feedback)


def build_app(answerer: Answerer, log: FeedbackLog, limit: RateLimit) -> "FastAPI":
    """Build the page with all that stands before it, as an ASGI app."""
    # Read when Gradio is imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import gradio
    from fastapi import FastAPI

    from moviebot.rag.web_guard import WebGuard

    fonts = ["system-ui", "sans-serif"]  # Gradio's own themes fetch theirs from Google
    theme = gradio.themes.Default(font=fonts, font_mono=["ui-monospace", "monospace"])
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(WebGuard)
    page = build_page(answerer, log, limit)
    return gradio.mount_gradio_app(  # type: ignore[no-any-return]
        app, page, path="/", theme=theme, css=CSS, footer_links=[], show_error=False, ssr_mode=False,
        max_file_size=0, pwa=False, enable_monitoring=False, run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None},
    )  # fmt: skip


def build_page(answerer: Answerer, log: FeedbackLog, limit: RateLimit) -> Any:  # noqa: ANN401  (a gradio.Blocks)
    """Lay the page out and say what its buttons do."""
    import gradio

    from moviebot.rag.web_guard import read_token

    sessions = WebSessions()

    def find_session(request: gradio.Request) -> WebSession:
        return sessions.get(read_token(request.headers.get("cookie")), request.session_hash)

    def ask(text: str, request: gradio.Request) -> Iterator[tuple[Any, ...]]:
        session = find_session(request)
        wait = limit.take(request.client.host if request.client else "")
        if wait:
            turn = Turn(text[:MAX_QUERY_CHARS], f"That was many questions at once: please ask again in {wait:.0f} s.")
            yield gradio.skip(), _show_turns([*session.turns, turn]), gradio.skip(), gradio.skip()
            return
        for turn in answerer.ask(session, text):
            if turn.answer is None:
                yield "", _show_turns(session.turns), gradio.skip(), gradio.skip()
            else:
                turn.text = render_text(turn.answer)
                yield "", _show_turns(session.turns), render_cards(turn.answer), render_candidates(turn.answer)

    def restart(request: gradio.Request) -> tuple[Any, ...]:
        find_session(request).restart()
        return "", [], EMPTY_CARD, NO_CANDIDATES

    def rate(data: gradio.LikeData, request: gradio.Request) -> None:
        session = find_session(request)
        turn = find_turn(session.turns, data.index)
        if turn is None or turn.answer is None:
            return
        thumb: Thumb = {True: "up", "Like": "up", False: "down", "Dislike": "down"}.get(data.liked, "none")  # type: ignore[assignment]
        try:
            log.write(turn.answer, session.thread, thumb)
        except OSError as error:
            logger.warning("A thumb could not be written to %s (%s)", log.path, error)
            gradio.Warning("Sorry, that could not be noted.")
        else:
            gradio.Info("Thank you, noted." if thumb != "none" else "Taken back.", duration=3)

    with gradio.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as page:
        with gradio.Row():
            with gradio.Column(scale=3, min_width=320):
                gradio.HTML(f"<h1>{TITLE}</h1><p class='quiet'>{HELP}</p>", elem_id="heading")
                chat = gradio.Chatbot(
                    elem_id="chat", label="Conversation", height="60vh", render_markdown=False, sanitize_html=True,
                    allow_tags=False, buttons=[], layout="bubble", allow_file_downloads=False,
                    latex_delimiters=[], placeholder="", feedback_options=("Like", "Dislike"), show_label=False,
                )  # fmt: skip
                with gradio.Row(equal_height=True):
                    box = gradio.Textbox(
                        label="Your question", show_label=False, container=False, max_length=MAX_QUERY_CHARS, lines=1,
                        max_lines=4, placeholder="Ask about a movie, or for one to watch", autofocus=True, scale=5,
                        min_width=180, elem_id="question",
                    )  # fmt: skip
                    send = gradio.Button("Send", variant="primary", scale=1, min_width=70, elem_id="send")
                with gradio.Row(elem_id="examples"):
                    examples = [gradio.Button(words, size="sm", min_width=150) for words in EXAMPLES]
                again = gradio.Button("New conversation", size="sm", variant="secondary", elem_id="restart")
            with gradio.Column(scale=2, min_width=300):
                cards = gradio.HTML(EMPTY_CARD, elem_id="cards")
                with gradio.Accordion("Movies I chose among", open=False, elem_id="candidates"):
                    candidates = gradio.HTML(NO_CANDIDATES)
        shown = [box, chat, cards, candidates]
        plain: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        asking = {
            **plain,
            "concurrency_limit": answerer.workers,
            "concurrency_id": "answers",
            "show_progress": "minimal",
        }
        asking["show_progress_on"] = [chat]
        gradio.on([box.submit, send.click], ask, [box], shown, **asking)
        for button in examples:
            button.click(ask, [button], shown, **asking)
        again.click(restart, None, shown, **plain)
        chat.like(rate, None, None, **plain)
    page.queue(max_size=_MAX_WAITING, api_open=False)
    return page


def find_turn(turns: list[Turn], index: object) -> Turn | None:
    """Return the turn that a message of the transcript belongs to; its number is the client's word."""
    if isinstance(index, (list, tuple)):
        index = index[0] if index else None
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 2 * len(turns):
        return None
    return turns[index // 2]


def _show_turns(turns: list[Turn]) -> list[dict[str, str]]:
    messages = []
    for turn in turns:
        # Gradio takes a message for HTML even where it renders no Markdown (and cleans it): all of ours are text.
        for role, text in (("user", turn.query), ("assistant", turn.text or "…")):
            messages.append({"role": role, "content": escape(text)})
    return messages


def _check_address(host: str, port: int) -> None:
    """Complain of an address that can't be listened at before the models are loaded."""
    if not 1 <= port <= 65535:
        raise UserError(f"--port {port} is no port: give 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserError(f"--host {host} --port {port} can't be listened at ({error.strerror}): give others") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
