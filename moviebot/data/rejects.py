"""What was thrown away and why: one file, a closed list of reasons a stage."""

from collections import Counter
from pathlib import Path
from typing import Literal, get_args

from moviebot.artefact import read_jsonl, write_jsonl

REJECTS_NAME = "rejects.jsonl"
MAX_RAW_CHARS = 2000

CatalogueReason = Literal[
    "cut_line",  # the file ends in the middle of this line
    "bad_row",  # too many or too few fields, or a line that is not JSON
    "not_utf8",
    "bad_value",  # a year, a number or an id that can't be one
    "no_title",
    "duplicate_id",
]
DescribeReason = Literal[
    "too_short",  # fewer words than a sentence about a plot has
    "disambiguation",  # a page that lists the things of one name
    "robots",  # robots.txt forbids the page
    "cut_line",  # these and the next: a row of a file of descriptions
    "bad_row",
    "not_utf8",
    "duplicate_id",
]
CleanReason = Literal[
    "duplicate_question",  # published fault 1: the same question, another answer
    "malformed_json",  # published fault 2
    "title_absent",  # published fault 3: the question doesn't say which movie
    "unsupported_answer",  # published fault 4: the answer is not in the facts
    "repeats_description",  # the published system's habit: the description as the answer to a question of fact
    "injection",  # a question or an answer that gives the model orders
    "ambiguous_title",  # the title belongs to several movies and the question or list doesn't say the year
    "repeated_pair",  # the same question with the same answer
    "superseded",  # the same request was answered again, later, or is no part of the last `teach`
    "empty",  # no question, no answer, or an answer that only says the question again
    "unknown_movie",  # a tconst that is not in the catalogue
    "no_list",  # prose, where a list was asked for
    "invented_title",  # a recommended title that no movie of the catalogue has, misspelt or not
    "seed_recommended",  # a movie recommended for itself
    "repeated_movie",  # twice in one list
    "too_few_recommended",  # nothing left of a list
    "too_many_recommended",  # the names behind the 200th of a list
    "disliked",  # people gave this very answer to this question a thumb down
]
Stage = Literal["catalogue", "describe", "clean"]
Reason = CatalogueReason | DescribeReason | CleanReason
CATALOGUE_REASONS: tuple[CatalogueReason, ...] = get_args(CatalogueReason)
DESCRIBE_REASONS: tuple[DescribeReason, ...] = get_args(DescribeReason)
CLEAN_REASONS: tuple[CleanReason, ...] = get_args(CleanReason)
_REASONS: dict[Stage, tuple[Reason, ...]] = {  # in the order of the stages
    "catalogue": CATALOGUE_REASONS,
    "describe": DESCRIBE_REASONS,
    "clean": CLEAN_REASONS,
}


class Rejects:
    """Collects what one stage throws away.

    Args:
        stage: ``catalogue``, ``describe`` or ``clean``.
        max_rows: rows to keep of one reason, so that a broken file of millions can't fill the memory; None keeps all.
            Every row is counted.

    Example:
        >>> rejects = Rejects("catalogue")
        >>> rejects.add("bad_value", "tt1", "year 'abc'")
        >>> rejects.count()["bad_value"], rejects.count()["cut_line"]
        (1, 0)
    """

    def __init__(self, stage: Stage, max_rows: int | None = None) -> None:
        self.stage = stage
        self.max_rows = max_rows
        self._counts: Counter[str] = Counter()
        self.rows: list[dict[str, str | None]] = []

    def add(self, reason: Reason, tconst: str | None, raw: str) -> None:
        r"""Note one thing thrown away.

        Args:
            reason: why.
            tconst: the movie it was about, where that is known.
            raw: the thing itself; bytes that are not UTF-8 (as surrogates) are shown as ``\xff``, others as ``\ud800``.
        """
        self._counts[reason] += 1
        if self.max_rows is not None and self._counts[reason] > self.max_rows:
            return
        about = None if tconst is None else _show(tconst)
        self.rows.append({"stage": self.stage, "reason": reason, "tconst": about, "raw": _show(raw[:MAX_RAW_CHARS])})

    def count(self) -> dict[str, int]:
        """Return the number thrown away by reason; every reason of the stage shows, even at 0."""
        return {reason: self._counts[reason] for reason in _REASONS[self.stage]}

    def count_left_out(self) -> dict[str, int]:
        """Return how many rows were counted but not kept, by reason; empty where all were kept."""
        most = self.max_rows
        return {} if most is None else {reason: n - most for reason, n in self._counts.items() if n > most}

    def write(self, folder: Path) -> None:
        """Put this stage's rows into ``folder/rejects.jsonl``, leaving the other stages' as they are."""
        path = folder / REJECTS_NAME
        others = [row for row in read_jsonl(path) if row.get("stage") != self.stage] if path.is_file() else []
        order = list(_REASONS)
        rows = sorted([*others, *self.rows], key=lambda row: order.index(row["stage"]) if row["stage"] in order else 9)
        write_jsonl(path, rows)


def _show(text: str) -> str:
    """Return text that can be written as UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, out of JSON's own escapes
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
