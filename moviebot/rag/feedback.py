"""Thumbs up and down as a log: one JSON object a line, appended when it is given, for the cleaning to read later.

A line holds ``at`` (UTC, ISO 8601), ``conversation`` (an opaque id), ``query``, ``answer``, ``movie`` (tconst or null),
``shown`` (tconsts recommended) and ``thumb`` ("up", "down", or "none" where one was taken back); of several thumbs on
one answer the last counts.
"""

import fcntl
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Literal

from moviebot.errors import UserError
from moviebot.rag.answer import Answer

Thumb = Literal["up", "down", "none"]
_ID_CHARS = 16


class FeedbackLog:
    """An append-only log that one server holds open.

    Every line goes to the disk before :meth:`write` returns; a line that a crash cut in half is cut off at opening.

    Args:
        path: the file; made where absent, with its folder.

    Raises:
        UserError: the file can't be written, or another server holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UserError(f"--feedback {path} can't be written ({error.strerror}): give another file") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise UserError(f"--feedback {path} is in use by another server: give another file") from error
        self._cut_half_line()

    def write(self, answer: Answer, conversation: str, thumb: Thumb) -> None:
        """Append what a person thinks of an answer.

        Raises:
            OSError: the disk is full, for example; no half line is left.
        """
        row = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            # A digest: who reads the log can't take over a conversation.
            "conversation": hashlib.sha256(conversation.encode()).hexdigest()[:_ID_CHARS],
            "query": answer.query,
            "answer": answer.answer,
            "movie": answer.movie.tconst if answer.movie else None,
            "shown": [movie.tconst for movie in answer.recommendations],
            "thumb": thumb,
        }
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        with self._lock:
            end = os.fstat(self._file).st_size
            try:
                if os.write(self._file, line) < len(line):
                    raise OSError(f"{self.path}: only a part of the line could be written")
                os.fsync(self._file)
            except OSError:
                os.ftruncate(self._file, end)
                raise

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    def _cut_half_line(self) -> None:
        whole = self.path.read_bytes()
        if whole and not whole.endswith(b"\n"):
            os.ftruncate(self._file, whole.rfind(b"\n") + 1)
