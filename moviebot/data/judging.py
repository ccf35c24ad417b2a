"""A teacher's reply about one movie, judged pair by pair."""

import json
import multiprocessing
import os
import pickle
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from moviebot.data.broken_json import load_json
from moviebot.data.injection import is_injection
from moviebot.data.prompts import clean_text
from moviebot.data.rejects import CleanReason
from moviebot.data.replies import Reply
from moviebot.data.schemas import TOPICS, Movie, Topic
from moviebot.data.splits import normalise_title
from moviebot.data.support import Fault, echoes, rate_support
from moviebot.data.title_naming import TitleIndex
from moviebot.errors import UserError

PROCESSES = max(2, min(8, os.cpu_count() or 2))
ALONE_UP_TO = 4000
"""Replies that one process judges before a second one would have started and read the titles."""
_CHUNK = 500
Task = tuple[Movie, Reply]


@dataclass(frozen=True)
class JudgedPair:
    """A question and its answer, or what should have been one.

    Attributes:
        raw: what the teacher wrote, as JSON; empty where that is the question and the answer.
        question: on one line, its title put right; empty where there is none.
        answer: on one line; empty where there is none.
        topic: what is asked for, where that is known.
        reason: why the pair is out, whatever other pairs say.
        fault: what is wrong with the answer; the pair may still be the best of its question.
        score: how well the facts support the answer.
        borderline: the answer's meaning can still save it from its fault.
        fixed: the title was misspelt.
        key: the same for the same question.
    """

    raw: str
    question: str = ""
    answer: str = ""
    topic: Topic | None = None
    reason: CleanReason | None = None
    fault: Fault | None = None
    score: float = 0.0
    borderline: bool = False
    fixed: bool = False
    key: str = ""


@dataclass(frozen=True)
class JudgedReply:
    """What a reply holds.

    Attributes:
        pairs: its pairs; None where no list of them could be read.
        mended: the JSON was broken, and could be read all the same.
    """

    pairs: tuple[JudgedPair, ...] | None
    mended: bool


class ReplyJudge:
    """Judges replies one by one, each from its own movie's facts.

    Args:
        movies: the catalogue.
    """

    def __init__(self, movies: Sequence[Movie]) -> None:
        self._index = TitleIndex(movies)

    def judge(self, movie: Movie, reply: Reply) -> JudgedReply:
        """Judge a reply about a movie."""
        found, mended = load_json(reply.reply) if is_encodable(reply.model) else (None, False)
        if not isinstance(found, dict):
            return JudgedReply(None, mended=False)
        listed = found.get("pairs")
        if not isinstance(listed, list):
            return JudgedReply(None, mended)
        pairs = (self._judge_pair(movie, pair, cut=mended and n == len(listed)) for n, pair in enumerate(listed, 1))
        return JudgedReply(tuple(pairs), mended)

    def _judge_pair(self, movie: Movie, pair: object, *, cut: bool) -> JudgedPair:
        question = find_text(pair, "question") if isinstance(pair, dict) else None
        answer = find_text(pair, "answer") if isinstance(pair, dict) else None
        cut_off = cut and not (answer or "").endswith((".", "!", "?", '"', "…"))
        if not isinstance(pair, dict) or question is None or answer is None or cut_off:
            return JudgedPair(_write_raw(pair), reason="malformed_json")
        if not question or not answer:
            return JudgedPair(_write_raw(pair), question, answer, reason="empty")
        if is_injection(pair["question"]) or is_injection(pair["answer"]):
            return JudgedPair(_write_raw(pair), question, answer, reason="injection")
        fixed = None
        if not self._index.names(question, movie):
            fixed = self._index.fix(question, movie)
            if fixed is None:
                return JudgedPair(_write_raw(pair), question, answer, reason="title_absent")
            question = fixed
        if self._index.is_shared(movie) and not _says_year(question, movie):
            return JudgedPair(_write_raw(pair), question, answer, reason="ambiguous_title")
        said: Topic | None = next((name for name in TOPICS if name == pair.get("topic")), None)
        support = rate_support(question, answer, said, movie)
        if support.asked in (None, "plot") and echoes(f"{question} {movie.label}", answer):
            return JudgedPair(_write_raw(pair), question, answer, reason="empty")
        raw = _write_raw(pair) if support.fault or fixed else ""
        return JudgedPair(
            raw, question, answer, support.asked, None, support.fault, support.score, support.borderline,
            fixed is not None, normalise_title(question),
        )  # fmt: skip


def judge_all(movies: Sequence[Movie], tasks: Sequence[Task]) -> Iterator[JudgedReply]:
    """Judge many replies, in the order given, in two processes where it pays.

    Args:
        movies: the catalogue.
        tasks: each reply with its movie.

    Yields:
        What each reply holds; the same whatever the number of processes.

    Raises:
        UserError: a process was ended from outside.
    """
    judge = ReplyJudge(movies)
    if len(tasks) <= ALONE_UP_TO:
        yield from (judge.judge(*task) for task in tasks)
        return
    chunks = (tasks[start : start + _CHUNK] for start in range(0, len(tasks), _CHUNK))
    # Not forked: the libraries that read Parquet and encode text have threads of their own. The titles go by a file: a
    # worker that dies while it starts would leave the pipe full, and the parent writing to it for ever.
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "judge.pickle"
        path.write_bytes(pickle.dumps(judge))
        try:
            with ProcessPoolExecutor(PROCESSES, context, initializer=_start_worker, initargs=(path,)) as pool:
                waiting = [pool.submit(_judge_chunk, chunk) for chunk in islice(chunks, 2 * PROCESSES)]
                while waiting:
                    judged = waiting.pop(0).result()
                    waiting += [pool.submit(_judge_chunk, chunk) for chunk in islice(chunks, 1)]
                    yield from judged
        except BrokenProcessPool as error:
            raise UserError(
                "a process that judges replies was ended from outside (out of memory?): nothing is lost, run the same "
                "command again"
            ) from error


def find_text(pair: Mapping[str, Any], name: str) -> str | None:
    """Return a text field of a teacher's pair on one line, or None where it is no text that UTF-8 can hold."""
    value = pair.get(name)
    return clean_text(value) if isinstance(value, str) and is_encodable(value) else None


def is_encodable(text: str) -> bool:
    r"""Say whether UTF-8 can hold a text; JSON's escapes can write half a surrogate pair, which it can't.

    Example:
        >>> is_encodable("é"), is_encodable("\ud800")
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_worker_judge: ReplyJudge | None = None


def _start_worker(path: Path) -> None:
    global _worker_judge
    _worker_judge = pickle.loads(path.read_bytes())  # written by the parent, into a folder of its own
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when its parent is killed: it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _judge_chunk(tasks: Sequence[Task]) -> list[JudgedReply]:
    assert _worker_judge is not None
    return [_worker_judge.judge(*task) for task in tasks]


def _write_raw(pair: object) -> str:
    return json.dumps(pair, ensure_ascii=False)


def _says_year(question: str, movie: Movie) -> bool:
    return movie.year is not None and str(movie.year) in normalise_title(question).split()
