"""How good are a tuned model's answers: right, declined where the facts are silent, and true to the prompt?

    python tools/bench_answers.py --data DATA --adapter runs/llm/smollm2_135m_qlora/adapter --questions QUESTIONS.jsonl

Asks, each time with the facts of the right movie in the prompt: questions of another author (``--questions``, JSON
lines with question, tconst, answers, supported_by_catalogue), the data folder's own test questions, and these again
with another movie's facts, where the answer must follow the prompt. ``--adapter none`` asks the untuned model.
"""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from moviebot.artefact import read_jsonl
from moviebot.data.prompts import is_decline, render_question_prompt
from moviebot.data.schemas import Movie, QAPair, read_catalogue, read_qa
from moviebot.data.splits import normalise_title
from moviebot.data.template_teacher import facts_of
from moviebot.evaluation.answers import evaluate_answers, holds_facts, plain_prompts
from moviebot.evaluation.bootstrap import measure_mean
from moviebot.modules.dense import generate_texts, load_dense_model
from moviebot.pretrained import SMOLLM2


def main() -> int:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", default=SMOLLM2)
    parser.add_argument("--adapter", required=True, help="a PEFT folder, or none")
    parser.add_argument("--questions", type=Path, help="questions of another author")
    parser.add_argument("--n", type=int, default=400, help="questions of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="write every answer there, as JSON lines")
    given = parser.parse_args()
    adapter = None if given.adapter == "none" else Path(given.adapter)
    model, tokenizer = load_dense_model(given.base, adapter)
    render = render_question_prompt if adapter else plain_prompts(tokenizer)
    movies = {movie.tconst: movie for movie in read_catalogue(given.data / "catalogue.parquet")}
    draw = random.Random(given.seed)
    rows: list[dict[str, Any]] = []
    table = Table("answers", "share", "95 %", "n", title=f"{given.base}, adapter {given.adapter}")
    seconds: list[float] = []
    words: list[int] = []

    def ask(prompts: Sequence[str]) -> list[str]:
        started = time.perf_counter()
        answers = generate_texts(model, tokenizer, prompts, 64)
        seconds.append((time.perf_counter() - started) / max(1, len(prompts)))
        words.extend(len(answer.split()) for answer in answers)
        return answers

    def add(name: str, values: Sequence[bool]) -> None:
        if values:
            mean, low, high = measure_mean([float(value) for value in values])
            table.add_row(name, f"{mean:.3f}", f"{low:.3f} to {high:.3f}", str(len(values)))

    if given.questions:
        asked = [row for row in read_jsonl(given.questions) if row["tconst"] in movies]
        for kind in (True, False):
            chosen = [row for row in asked if bool(row.get("supported_by_catalogue")) is kind]
            chosen = draw.sample(chosen, min(given.n, len(chosen)))
            answers = ask([render(row["question"], movies[row["tconst"]]) for row in chosen])
            right = [holds_any(answer, row["answers"]) for answer, row in zip(answers, chosen, strict=True)]
            gave_up = [is_decline(answer) for answer in answers]
            if kind:
                add("other author, supported: right", right)
                add("other author, supported: declined", gave_up)
            else:
                both = [a or b for a, b in zip(right, gave_up, strict=True)]
                add("other author, not supported: right or declined", both)
            rows += [
                {
                    "set": f"other {kind}",
                    "question": row["question"],
                    "gold": row["answers"],
                    "answer": answer,
                    "right": ok,
                }
                for row, answer, ok in zip(chosen, answers, right, strict=True)
            ]
    pairs = [pair for pair in read_qa(given.data / "qa.jsonl") if pair.split == "test" and pair.topic]
    answerable = [pair for pair in pairs if facts_of(movies[pair.tconst], pair.topic or "plot")]
    silent = [pair for pair in pairs if pair.topic == "unanswerable"]
    for name, chosen_pairs in (("answerable", answerable), ("unanswerable", silent)):
        drawn = draw.sample(chosen_pairs, min(given.n, len(chosen_pairs)))
        scores = evaluate_answers(movies, drawn, ask, render, generous=adapter is None)
        if name == "answerable":
            add("test questions: all facts", [bool(row["right"]) for row in scores.rows])
            for topic, share in scores.exact_by_topic.items():
                table.add_row(f"  {topic}", f"{share:.3f}", "", "")
            add("test questions: declined, though answerable", [is_decline(str(row["answer"])) for row in scores.rows])
        else:
            add("unanswerable: declined", [bool(row["right"]) for row in scores.rows])
        rows += [{"set": name, **row} for row in scores.rows]
    swapped = swap_facts(draw.sample(answerable, min(given.n, len(answerable))), movies, draw)
    answers = ask([render(pair.question, other) for pair, other in swapped])
    follows, remembers = [], []
    for (pair, other), answer in zip(swapped, answers, strict=True):
        topic = pair.topic or "plot"
        follows.append(holds_facts(answer, topic, facts_of(other, topic)))
        remembers.append(holds_facts(answer, topic, facts_of(movies[pair.tconst], topic)))
        rows.append({"set": "swapped", "question": pair.question, "answer": answer, "right": follows[-1]})
    add("facts of another movie: the answer follows them", follows)
    add("facts of another movie: its own are told", remembers)
    Console(width=110).print(table)
    print(f"median words an answer: {statistics.median(words)}; seconds an answer: {statistics.fmean(seconds):.3f}")
    if given.out:
        text = "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)
        given.out.write_text(text, encoding="utf-8")
    return 0


def holds_any(answer: str, gold: Sequence[str]) -> bool:
    """Say whether an answer names one of the right answers, letters and digits alone."""
    text = f" {normalise_title(answer)} "
    return any(f" {normalise_title(name)} " in text for name in gold if normalise_title(name))


def swap_facts(pairs: Sequence[QAPair], movies: dict[str, Movie], draw: random.Random) -> list[tuple[QAPair, Movie]]:
    """Give each question the facts of another movie, whose answer is another one."""
    swapped = []
    for pair in pairs:
        topic = pair.topic or "plot"
        own = facts_of(movies[pair.tconst], topic)
        for other in draw.sample(pairs, min(50, len(pairs))):
            facts = facts_of(movies[other.tconst], topic)
            if facts and not set(facts) & set(own):
                swapped.append((pair, movies[other.tconst]))
                break
    return swapped


if __name__ == "__main__":
    sys.exit(main())
