"""``moviebot annotate``: people judge answers drawn at random, the check behind every automatic figure.

Query, facts and answer are untrusted text and shown as such. What is judged is kept at once, so that a person may stop
at any time and go on later; another person judges the same answers with the same seed.
"""

import getpass
import hashlib
import json
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from moviebot.data.prompts import clean_text
from moviebot.errors import UserError
from moviebot.evaluation.bootstrap import Interval
from moviebot.evaluation.judgements import (
    By,
    Judgement,
    Summary,
    Verdict,
    append_judgement,
    read_judgements,
    summarise,
)
from moviebot.rag.checks import strip_controls

_KEYS: Mapping[str, Verdict] = {"y": "yes", "yes": "yes", "n": "no", "no": "no", "s": "skip", "skip": "skip"}
_HELP = "y: right   n: wrong   s: skip   b: back   q: quit; behind y or n a reason may stand, as in: n wrong year"
_MOST_DISPUTED = 10
_JUDGE = (
    "Below are a movie's facts, a question about it and an answer. Say whether the answer is right by the facts, "
    "answers what was asked, and says so where the facts do not tell it. Reply with yes or no alone.\n\n"
    "### Facts and question:\n{prompt}\n\n### Answer:\n{answer}\n\n### Right, yes or no:\n"
)


def annotate(
    answers: Path,
    out: Path,
    annotator: str | None = None,
    n: int = 100,
    seed: int = 0,
    others: tuple[Path, ...] = (),
    judge: str | None = None,
    judge_model: str | None = None,
    summary: bool = False,
) -> None:
    """Judge answers to questions, drawn at random; then say which share is right, and how far the judges agree.

    Args:
        answers: what `moviebot answer` wrote.
        out: where judgements are appended, one JSON object a line; several people may share it.
        annotator: your name; your user's name by default.
        n: how many answers to judge.
        seed: of the draw: the same seed gives everybody the same answers.
        others: files of other people's judgements, counted in the summary.
        judge: an OpenAI-compatible endpoint (http://localhost:8000/v1) whose model judges the same answers, as a
            column beside the people's, never in their place.
        judge_model: the model's name there.
        summary: only print what was judged so far.

    Raises:
        UserError: the answers or the judgements can't be read, or the endpoint does not answer.
    """
    if n < 1:
        raise UserError(f"--n {n} must be at least 1")
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    items = draw_answers(answers, n, seed)
    name = annotator or getpass.getuser()
    known = read_judgements([out]) if out.exists() else []
    if judge is not None and not summary:
        _let_model_judge(items, known, out, judge, judge_model)
    elif not summary:
        session = JudgingSession(items, name, out, console)
        session.run(known, _read_lines())
    judged = {make_id(row) for row in items}
    rows = read_judgements([path for path in (out, *others) if path in others or path.exists()])
    print_summary(summarise(row for row in rows if row.item in judged), console, len(items))


def draw_answers(path: Path, n: int, seed: int) -> list[dict[str, str]]:
    """Draw answers to questions from a file of predictions, in random order.

    Args:
        path: what `moviebot answer` wrote.
        n: how many; all where there are fewer.
        seed: of the draw.

    Raises:
        UserError: it can't be read, or holds no answer to a question.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"--answers {path} can't be read ({error}): give what `moviebot answer` wrote") from error
    found = [
        {name: str(row[name]) for name in ("query", "prompt", "answer")} | {"movie": _name_movie(row.get("movie"))}
        for row in rows
        if isinstance(row, dict) and row.get("intent") == "question" and row.get("prompt") and row.get("answer")
    ]
    if not found:
        raise UserError(f"--answers {path} holds no answer to a question: answer some with a language model first")
    return random.Random(seed).sample(found, min(n, len(found)))


def make_id(row: Mapping[str, str]) -> str:
    """Return what names an answer in the judgements: who judges another answer to the same question begins anew."""
    whole = "\x00".join(row[name] for name in ("query", "prompt", "answer"))
    return hashlib.sha256(whole.encode("utf-8", "replace")).hexdigest()[:16]


class JudgingSession:
    """One person going through the answers.

    Args:
        items: from :func:`draw_answers`.
        name: the person's.
        out: where judgements go.
        console: where answers are shown.
    """

    def __init__(self, items: Sequence[Mapping[str, str]], name: str, out: Path, console: Console) -> None:
        self.items = items
        self.name = name
        self.out = out
        self.console = console

    def run(self, known: Sequence[Judgement], lines: Iterator[str]) -> None:
        """Show what this person has not judged yet, and keep what they say until the lines end or they quit."""
        done = {row.item for row in known if (row.judge, row.by) == (self.name, "person")}
        waiting = [place for place, row in enumerate(self.items) if make_id(row) not in done]
        if not waiting:
            self._say(f"{self.name} has judged all {len(self.items)} answers.")
            return
        self._say(f"{len(self.items) - len(waiting)} of {len(self.items)} are judged. {_HELP}")
        at = 0
        while at < len(waiting):
            row = self.items[waiting[at]]
            self._show(row, waiting[at])
            step = self._take(row, lines)
            if step is None:
                self._say("Stopped; run the same command to go on.")
                return
            at = max(0, at + step)

    def _take(self, row: Mapping[str, str], lines: Iterator[str]) -> int | None:
        """Read until one line is a verdict; return how far to go on, or None to stop."""
        for line in lines:
            word, _, why = line.strip().partition(" ")
            word = word.lower()
            if word in ("q", "quit"):
                return None
            if word in ("b", "back"):
                return -1
            if word in _KEYS:
                append_judgement(self.out, _judge(row, self.name, "person", _KEYS[word], why.strip()))
                return 1
            self._say(f"{clean_text(word, 20)!r} is none of these. {_HELP}")
        return None

    def _show(self, row: Mapping[str, str], place: int) -> None:
        self.console.rule(f"{place + 1} of {len(self.items)}", align="left")
        self._say(f"Asked:  {clean_text(row['query'])}")
        self._say(f"  Movie: {clean_text(row['movie'])}")
        for line in _list_facts(row["prompt"]):
            self._say(f"  {line}")
        self._say(f"Answer: {clean_text(row['answer'])}")

    def _say(self, text: str) -> None:
        self.console.print(strip_controls(text), markup=False, emoji=False, highlight=False)


def print_summary(summary: Summary, console: Console, drawn: int) -> None:
    """Print the shares with their 95 % Wilson intervals, and the agreement."""
    table = Table(title=f"Answers judged right, of {drawn} drawn")
    for column, justify in (("judge", "left"), ("share", "right"), ("95 %", "left"), ("n", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]

    def add(name: str, share: Interval, count: int) -> None:
        cells = (f"{share.mean:.3f}", f"{share.low:.3f} to {share.high:.3f}") if count else ("", "")
        table.add_row(clean_text(name, 40), *cells, str(count))

    for name, (share, count) in summary.by_judge.items():
        add(name, share, count)
    if len(summary.by_judge) != 1:
        add("most people who judged it", summary.right, summary.count)
    for name, (share, count) in summary.by_model.items():
        add(f"a model, not counted above: {name}", share, count)
    console.print(table)
    if len(summary.by_judge) > 1:
        kind = "Cohen's" if len(summary.by_judge) == 2 else "Fleiss'"
        said = "undefined" if summary.kappa != summary.kappa else f"{summary.kappa:.2f}"
        console.print(f"{kind} kappa between people, {summary.shared} answers judged by all: {said}")
    for name, kappa in summary.model_kappa.items():
        said = "undefined" if kappa != kappa else f"{kappa:.2f}"
        console.print(f"Cohen's kappa between people and the model {clean_text(name, 40)}: {said}", markup=False)
    for query in summary.disputed[:_MOST_DISPUTED]:
        console.print(f"disputed: {strip_controls(clean_text(query))}", markup=False, emoji=False)


def _judge(row: Mapping[str, str], name: str, by: By, verdict: Verdict, why: str) -> Judgement:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return Judgement(make_id(row), row["query"], row["answer"], name, by, verdict, why, at)


def _let_model_judge(
    items: Sequence[Mapping[str, str]], known: Sequence[Judgement], out: Path, url: str, model: str | None
) -> None:
    from moviebot.rag.endpoint import connect  # imports an HTTP client

    generator = connect(url, model)
    name = generator.model
    done = {row.item for row in known if (row.judge, row.by) == (name, "model")}
    for row in items:
        if make_id(row) in done:
            continue
        [said] = generator.generate([_JUDGE.format(prompt=row["prompt"], answer=clean_text(row["answer"]))])
        words = said.split()
        word = words[0].strip(".,:;!*\"'").lower() if words else ""
        verdict = _KEYS.get(word, "skip") if word in ("yes", "no") else "skip"
        append_judgement(out, _judge(row, name, "model", verdict, clean_text(said, 200)))


def _name_movie(movie: object) -> str:
    return f"{movie.get('title')} ({movie.get('year')})" if isinstance(movie, dict) else ""


def _list_facts(prompt: str) -> Iterator[str]:
    """Yield the lines of a prompt that hold facts, as one would read them."""
    for line in prompt.splitlines():
        name, colon, value = line.partition(": ")
        if colon and value.strip() and not line.startswith("###"):
            yield f"{clean_text(name, 40)}: {clean_text(value)}"


def _read_lines() -> Iterator[str]:
    """Yield what the person types, until the end of the input; Ctrl-C ends it too."""
    while True:
        try:
            yield input("> ") if sys.stdin.isatty() else input()
        except (EOFError, KeyboardInterrupt):
            return
