"""``teacher_raw.jsonl``: every reply of a teacher, verbatim, append-only."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from moviebot.artefact import read_jsonl, write_whole
from moviebot.data.schemas import Task
from moviebot.errors import UserError

RAW_NAME = "teacher_raw.jsonl"
RUNS_NAME = "teacher_runs.json"
Key = tuple[Task, str, str]
_TEXTS = ("request_id", "task", "tconst", "model", "prompt_hash", "reply", "created_at")
_COUNTS = ("prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Reply:
    """One row of ``teacher_raw.jsonl``.

    Attributes:
        request_id: follows from the task, the movie, the model and the prompt.
        task: what was asked for.
        tconst: the movie.
        model: who answered.
        prompt_hash: SHA-256 of the prompt.
        reply: the answer, verbatim.
        created_at: when, in UTC, ISO 8601; what ``SOURCE_DATE_EPOCH`` says where that is set.
        prompt_tokens: tokens of the request, where the server counts them; rows of older files lack it.
        completion_tokens: tokens of the reply, likewise.
        finish_reason: why the model stopped, in the server's words: ``stop``, or ``length`` where it was cut off.
    """

    request_id: str
    task: Task
    tconst: str
    model: str
    prompt_hash: str
    reply: str
    created_at: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reason: str | None = None

    @property
    def key(self) -> Key:
        """Replies of one key answer the same request; the last one counts."""
        return self.task, self.tconst, self.model


@dataclass(frozen=True)
class Request:
    """Something to ask a teacher.

    Attributes:
        task: what is asked for.
        tconst: the movie.
        model: who is asked.
        prompt: what is asked.
        preface: what stands before it: the system prompt, then the worked examples' questions and answers by turns.
    """

    task: Task
    tconst: str
    model: str
    prompt: str
    preface: tuple[str, ...] = ()

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of all that is sent."""
        return hashlib.sha256("\0".join((*self.preface, self.prompt)).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def request_id(self) -> str:
        """The same for the same request, today and tomorrow."""
        text = "\0".join((self.task, self.tconst, self.model, self.prompt_hash))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]

    def answer(
        self, reply: str, *, prompt_tokens: int | None = None, completion_tokens: int | None = None,
        finish_reason: str | None = None,
    ) -> Reply:  # fmt: skip
        """Return the row for a reply that has just come; ``SOURCE_DATE_EPOCH`` (seconds since 1970) stops its clock."""
        now = datetime.fromtimestamp(time.time() if (epoch := _read_epoch()) is None else epoch, UTC)
        return Reply(
            request_id=self.request_id, task=self.task, tconst=self.tconst, model=self.model,
            prompt_hash=self.prompt_hash, reply=reply, created_at=now.isoformat(timespec="seconds"),
            prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, finish_reason=finish_reason,
        )  # fmt: skip


class ReplyLog:
    """Appends replies to a file, so that a kill at any moment loses none that was paid for.

    Args:
        path: the file; a half-written last line, left by a kill, is cut off on opening; a whole one gets its newline.
        sync_every: replies between two flushes to the disk: 1 where a reply costs money.
    """

    def __init__(self, path: Path, sync_every: int = 1) -> None:
        self.path = path
        self.sync_every = sync_every

    def __enter__(self) -> "ReplyLog":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        mend_last_line(self.path)
        self._handle = self.path.open("a", encoding="utf-8")
        self._unsynced = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self._sync()
        self._handle.close()
        return False

    def append(self, reply: Reply) -> None:
        """Write one reply as a line."""
        row = {name: value for name, value in asdict(reply).items() if value is not None}
        line = json.dumps(row, ensure_ascii=False)
        try:
            line.encode("utf-8")
        except UnicodeEncodeError:  # a reply with half a surrogate pair: keep it verbatim, as an escape
            line = json.dumps(row)
        self._handle.write(line + "\n")
        self._unsynced += 1
        if self._unsynced >= self.sync_every:
            self._sync()

    def _sync(self) -> None:
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._unsynced = 0


def mend_last_line(path: Path) -> None:
    """End a file with a newline: after its last row where that is whole, else by cutting the half row off."""
    if not path.is_file():
        return
    with path.open("r+b") as handle:
        end = handle.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 4096)
            handle.seek(start)
            newline = handle.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        handle.seek(end)
        tail = handle.read()
        if _is_object(tail):
            handle.write(b"\n")  # an editor saved the file without it
        else:
            handle.truncate(end)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def read_replies(path: Path) -> list[Reply]:
    """Read ``teacher_raw.jsonl``, in file order; a half-written last row, left by a kill, is passed over.

    Raises:
        UserError: the file is absent, or a line is not a reply.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: run `moviebot teach --out {path.parent}` first")
    replies = []
    for number, row in enumerate(read_jsonl(path, skip_half_line=True), start=1):
        lacking = sorted(name for name in _TEXTS if not isinstance(row.get(name), str))
        if lacking:
            raise UserError(f"{path}, row {number} lacks {', '.join(lacking)}: mend or delete the line")
        tokens = {name: row[name] for name in _COUNTS if type(row.get(name)) is int}  # a bool is no count
        reason = row.get("finish_reason")
        texts = {name: row[name] for name in _TEXTS}
        replies.append(Reply(**texts, **tokens, finish_reason=reason if isinstance(reason, str) else None))
    return replies


@dataclass(frozen=True)
class Run:
    """What the last `teach` of a task by a teacher consists of.

    Attributes:
        task: what was asked for.
        teacher: ``template``, or the language model's name.
        seed: the seed given.
        limit: how many movies were taught at the most.
        request_ids: the requests, answered or not.
    """

    task: Task
    teacher: str
    seed: int
    limit: int | None
    request_ids: tuple[str, ...]


def read_runs(folder: Path) -> list[Run]:
    """Read ``folder/teacher_runs.json``: the runs whose replies count; none where the file is absent.

    Raises:
        UserError: the file is damaged.
    """
    path = folder / RUNS_NAME
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [Run(**{**row, "request_ids": tuple(row["request_ids"])}) for row in rows]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is damaged: delete it, and run `moviebot teach --out {folder}` again") from error


def record_runs(folder: Path, runs: Sequence[Run]) -> None:
    """Put runs into ``folder/teacher_runs.json``.

    A run takes the place of the earlier one of its task and teacher, and of all of its task that had another seed:
    their movies are split otherwise. Several teachers of one task and seed add up.
    """
    kept = [
        old
        for old in read_runs(folder)
        if all(old.task != new.task or (old.teacher != new.teacher and old.seed == new.seed) for new in runs)
    ]
    rows = [asdict(run) for run in sorted([*kept, *runs], key=lambda run: (run.task, run.teacher))]
    with write_whole(folder / RUNS_NAME) as temporary:
        temporary.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def keep_latest(replies: Iterable[Reply]) -> dict[Key, Reply]:
    """Return the last reply to each request."""
    return {reply.key: reply for reply in replies}


def _read_epoch() -> int | None:
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return None
    if not epoch.isdecimal():
        raise UserError(f"SOURCE_DATE_EPOCH={epoch}: give seconds since 1970, or unset it")
    return int(epoch)
