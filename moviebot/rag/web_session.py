"""What the server keeps of each browser, and the threads in which answers are made.

Nothing of a conversation comes from the client but its own words: the transcript, the answers that a thumb is about and
the conversation's id are the server's.
"""

import hashlib
import hmac
import logging
import queue
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Lock

from moviebot.errors import UserError
from moviebot.modules.host_memory import trim_host_memory
from moviebot.rag.answer import MAX_QUERY_CHARS, Answer, Query, check_query
from moviebot.rag.pipeline import MovieBot

logger = logging.getLogger(__name__)
MAX_SESSIONS = 2000
MAX_TURNS = 50  # of a session's transcript; older ones are no longer shown
FAILED = "Something went wrong with that question. Please ask it again, perhaps in other words."
_STEP_SECONDS = 0.5


@dataclass
class Turn:
    """A question and what was shown for it.

    Attributes:
        query: the person's words.
        text: what is shown so far.
        answer: the whole answer; None while it is made, and where there is none.
    """

    query: str
    text: str = ""
    answer: Answer | None = None


@dataclass
class WebSession:
    """One browser page.

    Attributes:
        conversation: its id, which no client can guess.
        turns: the transcript, oldest first.
        restarts: how often the person began anew.
        answering: held while an answer of this page is made: the next one waits for what it leaves to refer to.
    """

    conversation: str
    turns: list[Turn] = field(default_factory=list)
    restarts: int = 0
    answering: Lock = field(default_factory=Lock, repr=False, compare=False)

    @property
    def thread(self) -> str:
        """The id under which the bot remembers what is being talked of."""
        return f"{self.conversation}-{self.restarts}"

    def restart(self) -> None:
        """Begin a new conversation."""
        self.turns = []
        self.restarts += 1


class WebSessions:
    """The sessions of one server, the longest unused forgotten first."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._sessions: OrderedDict[str, WebSession] = OrderedDict()
        self._lock = Lock()

    def get(self, token: str | None, page: str | None) -> WebSession:
        """Return a page's session.

        Args:
            token: the browser's secret, which the server gave it as a cookie; without it a session that is new and
                remembered by nobody.
            page: which page of that browser, as Gradio tells them apart; who knows only this gets no one's session.
        """
        if not token or not page:
            return WebSession(secrets.token_urlsafe(32))
        name = hmac.new(self._secret, f"{token}\n{page}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()
        with self._lock:
            session = self._sessions.setdefault(name, WebSession(name))
            self._sessions.move_to_end(name)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
            return session


class Answerer:
    """Makes answers in threads of its own, and hands their pieces on.

    The pipeline is not made for several threads, and a page that is closed halfway must hold no lock: so the answers
    are made behind a queue, and whoever waits for the pieces may leave. A model of our own writes one answer at a time;
    one behind an endpoint writes as many as its ``concurrency`` says, while the pipeline still plans one at a time.

    Args:
        bot: answers.
    """

    def __init__(self, bot: MovieBot) -> None:
        self.bot = bot
        self.workers = int(getattr(bot.generator, "concurrency", 1))
        self._planning = Lock()
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="answers")

    def ask(self, session: WebSession, text: str) -> Iterator[Turn]:
        """Yield the turn as its text grows, at last with its answer; bad queries get one clear line.

        Leaving early stops the model.
        """
        turn = Turn(text[: MAX_QUERY_CHARS + 1])
        problem = find_problem(text)
        if problem:
            turn.text = problem
            session.turns = [*session.turns, turn][-MAX_TURNS:]
            yield turn
            return
        session.turns = [*session.turns, turn][-MAX_TURNS:]
        pieces: queue.SimpleQueue[str | Answer | None] = queue.SimpleQueue()
        left = Event()
        job = self._pool.submit(self._make, session, Query(text, session.thread), pieces, left)
        try:
            yield turn
            while True:
                try:
                    piece = pieces.get(timeout=_STEP_SECONDS)
                except queue.Empty:
                    if job.done() and pieces.empty():
                        piece = None  # the server is going down
                    else:
                        continue
                if isinstance(piece, str):
                    turn.text += piece
                    yield turn
                    continue
                turn.answer, turn.text = piece, (turn.text if piece else FAILED)
                yield turn
                return
        finally:
            left.set()

    def close(self) -> None:
        """Drop what waits, and let the answers under way end."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _make(
        self, session: WebSession, query: Query, pieces: "queue.SimpleQueue[str | Answer | None]", left: Event
    ) -> None:
        try:
            with session.answering:
                if left.is_set():
                    return
                with self._planning:
                    [answer] = self.bot.prepare([query])
                for piece in self.bot.complete(answer):
                    if left.is_set():
                        return
                    if piece:
                        pieces.put(piece)
                pieces.put(answer)
            trim_host_memory()  # answers of unequal length leave holes, with which the server would grow
        except Exception:  # whatever it is, one person's question must not end the server
            logger.exception("A question could not be answered")
            pieces.put(None)


def find_problem(text: str) -> str | None:
    """Say why a query can't be answered, or None."""
    try:
        check_query(text)
    except UserError as error:
        return str(error)
    return None
