"""``teacher_raw.jsonl``: every reply of a teacher, verbatim, append-only."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from moviebot.artefact import read_jsonl
from moviebot.data.schemas import Task
from moviebot.errors import UserError

RAW_NAME = "teacher_raw.jsonl"
Key = tuple[Task, str, str]


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
        created_at: when, in UTC, ISO 8601.
    """

    request_id: str
    task: Task
    tconst: str
    model: str
    prompt_hash: str
    reply: str
    created_at: str = ""

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
        prompt: all that decides the answer.
    """

    task: Task
    tconst: str
    model: str
    prompt: str

    @property
    def prompt_hash(self) -> str:
        """SHA-256 of the prompt."""
        return hashlib.sha256(self.prompt.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def request_id(self) -> str:
        """The same for the same request, today and tomorrow."""
        text = "\0".join((self.task, self.tconst, self.model, self.prompt_hash))
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def answer(self, reply: str) -> Reply:
        """Return the row for a reply that has just come."""
        return Reply(
            request_id=self.request_id, task=self.task, tconst=self.tconst, model=self.model,
            prompt_hash=self.prompt_hash, reply=reply, created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip


class ReplyLog:
    """Appends replies to a file, so that a kill at any moment loses none that was paid for.

    Args:
        path: the file; a half-written last line, left by a kill, is cut off on opening.
        sync_every: replies between two flushes to the disk: 1 where a reply costs money.
    """

    def __init__(self, path: Path, sync_every: int = 1) -> None:
        self.path = path
        self.sync_every = sync_every

    def __enter__(self) -> "ReplyLog":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        cut_half_line(self.path)
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
        self._handle.write(json.dumps(asdict(reply), ensure_ascii=False) + "\n")
        self._unsynced += 1
        if self._unsynced >= self.sync_every:
            self._sync()

    def _sync(self) -> None:
        self._handle.flush()
        os.fsync(self._handle.fileno())
        self._unsynced = 0


def cut_half_line(path: Path) -> None:
    """Cut a file after its last newline, where the file is there."""
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
        handle.truncate(end)


def read_replies(path: Path) -> list[Reply]:
    """Read ``teacher_raw.jsonl``, in file order.

    Raises:
        UserError: the file is absent, or a line is not a reply.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: run `moviebot teach --out {path.parent}` first")
    cut_half_line(path)
    names = {field.name for field in fields(Reply)}
    replies = []
    for number, row in enumerate(read_jsonl(path), start=1):
        lacking = sorted(name for name in names if not isinstance(row.get(name), str))
        if lacking:
            raise UserError(f"{path}, row {number} lacks {', '.join(lacking)}: mend or delete the line")
        replies.append(Reply(**{name: row[name] for name in names}))
    return replies


def keep_latest(replies: Iterable[Reply]) -> dict[Key, Reply]:
    """Return the last reply to each request."""
    return {reply.key: reply for reply in replies}
