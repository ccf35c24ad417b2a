"""Judgements of answers: one JSON object a line, appended as they are given; of several on one answer the last counts.

A line holds ``item`` (a digest of query, prompt and answer), ``query``, ``answer``, ``judge``, ``by`` ("person" or
"model"), ``verdict`` ("yes", "no" or "skip"), ``why`` and ``at`` (UTC, ISO 8601).
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from moviebot.errors import UserError
from moviebot.evaluation.agreement import measure_kappa, measure_share
from moviebot.evaluation.bootstrap import Interval

Verdict = Literal["yes", "no", "skip"]
By = Literal["person", "model"]


@dataclass(frozen=True)
class Judgement:
    """What one judge says of one answer."""

    item: str
    query: str
    answer: str
    judge: str
    by: By
    verdict: Verdict
    why: str = ""
    at: str = ""


@dataclass(frozen=True)
class Summary:
    """What the judges say together.

    Attributes:
        right: share of the items that most people who judged them call right; a tie is wrong.
        count: items that a person judged.
        by_judge: each person's own share, and their number of items.
        by_model: each model's share, and their number; never a part of ``right``.
        kappa: agreement beyond chance of the people, over the items that all of them judged; NaN without two.
        shared: those items.
        model_kappa: the same between each model and what most people say.
        disputed: queries that people judge differently.
    """

    right: Interval
    count: int
    by_judge: Mapping[str, tuple[Interval, int]]
    by_model: Mapping[str, tuple[Interval, int]]
    kappa: float
    shared: int
    model_kappa: Mapping[str, float] = field(default_factory=dict)
    disputed: Sequence[str] = ()


def read_judgements(paths: Iterable[Path]) -> list[Judgement]:
    """Read files of judgements; a last line that a crash cut in half is passed over.

    Raises:
        UserError: a file is absent, or a whole line of it is no judgement.
    """
    found = []
    for path in paths:
        try:
            whole = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"the judgements {path} can't be read ({error.strerror}): give what annotate wrote"
            ) from error
        for number, line in enumerate(whole[: whole.rfind(b"\n") + 1].splitlines(), start=1):
            try:
                row = Judgement(**json.loads(line))
                good = row.verdict in get_args(Verdict) and row.by in get_args(By) and isinstance(row.judge, str)
            except (ValueError, TypeError):
                good = False
            if not good:
                raise UserError(f"{path}, line {number} is no judgement: give a file that `moviebot annotate` wrote")
            found.append(row)
    return found


def append_judgement(path: Path, judgement: Judgement) -> None:
    """Write a judgement to the disk; a line that an earlier crash cut in half is cut off first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as handle:
        handle.seek(0)
        whole = handle.read()
        if whole and not whole.endswith(b"\n"):
            handle.truncate(whole.rfind(b"\n") + 1)
        handle.write((json.dumps(asdict(judgement), ensure_ascii=False) + "\n").encode("utf-8", "replace"))
        handle.flush()
        os.fsync(handle.fileno())


def summarise(judgements: Iterable[Judgement]) -> Summary:
    """Count what the judges say.

    Example:
        >>> rows = [Judgement(f"i{n}", "q", "a", who, "person", says) for n, who, says in
        ...         [(0, "Ada", "yes"), (1, "Ada", "no"), (0, "Bo", "yes"), (1, "Bo", "no"), (2, "Bo", "skip")]]
        >>> summary = summarise(rows)
        >>> summary.count, summary.right.mean, summary.kappa
        (2, 0.5, 1.0)
    """
    last: dict[tuple[By, str, str], Judgement] = {}
    for one in judgements:
        last[one.by, one.judge, one.item] = one
    verdicts: dict[By, dict[str, dict[str, bool]]] = {"person": defaultdict(dict), "model": defaultdict(dict)}
    queries = {}
    for (by, judge, item), one in last.items():
        if one.verdict != "skip":
            verdicts[by][judge][item] = one.verdict == "yes"
            queries[item] = one.query
    people, models = verdicts["person"], verdicts["model"]
    items = sorted(set().union(*people.values()))
    votes = {item: [said[item] for said in people.values() if item in said] for item in items}
    majority = {item: 2 * sum(said) > len(said) for item, said in votes.items()}
    shared = [item for item in items if len(votes[item]) == len(people)]
    return Summary(
        measure_share(sum(majority.values()), len(majority)),
        len(majority),
        {judge: (measure_share(sum(said.values()), len(said)), len(said)) for judge, said in sorted(people.items())},
        {judge: (measure_share(sum(said.values()), len(said)), len(said)) for judge, said in sorted(models.items())},
        measure_kappa([votes[item] for item in shared]) if len(people) > 1 and shared else float("nan"),
        len(shared),
        {judge: _compare(said, majority) for judge, said in sorted(models.items())},
        [queries[item] for item in items if len(set(votes[item])) > 1],
    )


def _compare(said: Mapping[str, bool], majority: Mapping[str, bool]) -> float:
    pairs = [(verdict, majority[item]) for item, verdict in said.items() if item in majority]
    return measure_kappa(pairs) if pairs else float("nan")
