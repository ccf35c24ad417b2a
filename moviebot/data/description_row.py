"""``descriptions.jsonl``: what each source said of each movie, the nothing that it said too."""

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Literal

from moviebot.artefact import read_jsonl
from moviebot.data.description_text import clean_description, find_text_fault
from moviebot.data.replies import mend_last_line
from moviebot.errors import UserError

DESCRIPTIONS_NAME = "descriptions.jsonl"
EPOCH_ENV = "SOURCE_DATE_EPOCH"  # a standard of reproducible output: seconds since 1970 in place of the clock
NOT_FOUND = "not_found"
LINKED = "linked"  # where its text stands is known; the text hasn't come yet
Key = tuple[str, str]


@dataclass(frozen=True)
class DescriptionRow:
    """One row of ``descriptions.jsonl``: one movie, one source.

    Attributes:
        tconst: the movie.
        description: the text, cleaned, of any length; None where there is none.
        source: who was asked.
        licence: of the text.
        url: where a person can read it.
        retrieved_at: when, in UTC, ISO 8601.
        reason: why there is no description: ``not_found``, ``linked``, or a reason of ``rejects.jsonl``.
        raw: the text that was rejected.
    """

    tconst: str
    description: str | None
    source: str
    licence: str | None
    url: str | None
    retrieved_at: str
    reason: str | None = None
    raw: str | None = None

    @property
    def key(self) -> Key:
        """Rows of one key answer the same question; the last one counts."""
        return self.tconst, self.source


@dataclass(frozen=True)
class Unanswered:
    """A movie that a source could not be asked about: nothing is remembered, so that the next run asks again.

    Attributes:
        tconst: the movie.
        why: what happened.
    """

    tconst: str
    why: str


def build_row(
    tconst: str, source: str, text: str | None, *, licence: str | None = None, url: str | None = None
) -> DescriptionRow:
    """Make a row of what a source said.

    Args:
        tconst: the movie.
        source: who said it.
        text: the text as it came, untrusted; None or blank where there is none.
        licence: of the text.
        url: where it stands.
    """
    row = DescriptionRow(tconst, None, source, licence, url, read_clock())
    cleaned = clean_description(text or "")
    if not cleaned:
        return replace(row, licence=None, reason=NOT_FOUND)
    fault = find_text_fault(cleaned)
    if fault is not None:
        return replace(row, licence=None, reason=fault, raw=cleaned[:2000])
    return replace(row, description=cleaned)


def read_clock() -> str:
    """Return the time, as ``SOURCE_DATE_EPOCH`` says where it is set.

    Raises:
        UserError: the variable holds no number of seconds.
    """
    epoch = os.environ.get(EPOCH_ENV)
    try:
        now = datetime.now(UTC) if not epoch else datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise UserError(f"{EPOCH_ENV}={epoch!r} is no number of seconds since 1970: mend it, or unset it") from error
    return now.isoformat(timespec="seconds")


def read_description_rows(path: Path) -> dict[Key, DescriptionRow]:
    """Read ``descriptions.jsonl``; none where it is absent; a half-written last row, left by a kill, is passed over.

    Raises:
        UserError: a line is not such a row.
    """
    if not path.is_file():
        return {}
    names = [field.name for field in fields(DescriptionRow)]
    needed = ("tconst", "source", "retrieved_at")
    rows: dict[Key, DescriptionRow] = {}
    for number, values in enumerate(read_jsonl(path, skip_half_line=True), start=1):
        wrong = [name for name in names if not isinstance(values.get(name), str | None)]
        wrong += [name for name in needed if values.get(name) is None]
        if wrong:
            raise UserError(f"{path}, row {number} lacks {', '.join(dict.fromkeys(wrong))}: mend or delete the line")
        row = DescriptionRow(**{name: values.get(name) for name in names})  # type: ignore[arg-type]  # just checked
        rows[row.key] = row
    return rows


class DescriptionLog:
    """Appends rows as they come, so that a kill at any moment loses none that was answered.

    Args:
        path: the file; a half-written last line is cut off on opening.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> "DescriptionLog":
        mend_last_line(self.path)
        self._handle = self.path.open("a", encoding="utf-8")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        self._handle.close()
        return False

    def append(self, row: DescriptionRow) -> None:
        """Write one row as a line, through to the operating system."""
        self._handle.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")
        self._handle.flush()
