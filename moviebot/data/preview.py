"""``moviebot preview``: the very samples a language model will be trained on, before a night is spent on them.

Some samples are printed as the model sees them, what is masked dim and what is supervised in brackets; then their
lengths, padding and what was cut; then every problem of :data:`~moviebot.data.preview_checks.KINDS` that they have.
"""

import bisect
import random
import statistics
import sys
import unicodedata
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerBase

from moviebot.data.batching import LengthGroupedSampler
from moviebot.data.preview_checks import KINDS, Problem, find_problems, read_turns
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.schemas import SPLITS, Split, Task, read_catalogue, read_qa, read_recommendations
from moviebot.data.splits import normalise_title
from moviebot.data.tokenise import IGNORE
from moviebot.errors import UserError

MASKED, SUPERVISED = "dim", "bold green"
OPEN, CLOSE = "\N{MATHEMATICAL LEFT WHITE SQUARE BRACKET}", "\N{MATHEMATICAL RIGHT WHITE SQUARE BRACKET}"


def show_preview(datamodule: MovieQADataModule, n: int = 4, seed: int = 0) -> None:
    """Print samples, lengths and problems of a datamodule's set.

    Args:
        datamodule: as the training's config makes it; its token cache is written where it is not there yet.
        n: how many training samples of each task to print.
        seed: draws which.

    Raises:
        UserError: the artefacts are absent or damaged, or ``n`` is negative.
        SystemExit: with 1, a bad problem was found.
    """
    if n < 0:
        raise UserError(f"--n {n}: give 0 or more")
    datamodule.prepare_data()
    datamodule.setup("fit")
    # Everything shown comes from data: nothing of it is markup, and there is nothing to click.
    console = Console(markup=False, emoji=False, highlight=False)
    print_samples(console, datamodule, n, seed)
    print_measures(console, datamodule)
    problems = check_set(datamodule)
    print_problems(console, problems)
    if bad := [problem for problem in problems if problem.is_bad]:
        kinds = ", ".join(f"{problem.kind} {problem.counts.total()}" for problem in bad)
        print(f"moviebot: {datamodule.data_dir} holds a bad set: {kinds}; mend it before training", file=sys.stderr)
        raise SystemExit(1)


def check_set(datamodule: MovieQADataModule) -> list[Problem]:
    """Return the problems of a datamodule's cached samples, which :meth:`setup` has opened.

    Args:
        datamodule: prepared and set up.
    """
    folder = datamodule.data_dir
    pairs = list(read_qa(folder / "qa.jsonl"))
    sides: dict[str, set[Split]] = {}
    for pair in pairs:
        sides.setdefault(pair.tconst, set()).add(pair.split)
    for row in read_recommendations(folder / "recommendations.jsonl"):
        sides.setdefault(row.tconst, set()).add(row.split)
    asked = {split: {normalise_title(pair.question) for pair in pairs if pair.split == split} for split in SPLITS}
    return find_problems(
        {split: datamodule.samples(split) for split in SPLITS},
        datamodule.read_counts(),
        datamodule.tokenizer,
        datamodule.max_length,
        {movie.tconst: movie for movie in read_catalogue(folder / "catalogue.parquet")},
        sides,
        asked,
    )


def print_samples(console: Console, datamodule: MovieQADataModule, n: int, seed: int = 0) -> None:
    """Print ``n`` training samples of each task: masked tokens dim, supervised ones bold and in brackets.

    Args:
        console: where to.
        datamodule: set up.
        n: how many of each task.
        seed: draws which.
    """
    samples = datamodule.samples("train")
    tasks: list[Task] = list(samples["task"])
    for task in dict.fromkeys(tasks):
        places = [place for place, found in enumerate(tasks) if found == task]
        for place in sorted(random.Random(seed).sample(places, min(n, len(places)))):
            row = samples[place]
            learnt = sum(label != IGNORE for label in row["labels"])
            about = f"{task}, {row['group']}, {row['tconst']}: {row['length']} tokens, {learnt} supervised"
            console.print(Text(f"Sample {place} of train, {show_controls(about)}", "bold"))
            console.print(mark_sample(row["input_ids"], row["labels"], datamodule.tokenizer), soft_wrap=True)
            console.print()


def mark_sample(ids: Sequence[int], labels: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> Text:
    """Return a sample as text, special tokens included, what is supervised marked.

    Args:
        ids: its tokens.
        labels: their labels, as many.
        tokenizer: the base model's.
    """
    text, place = Text(), 0
    while place < len(ids):
        masked, start = labels[place] == IGNORE, place
        while place < len(ids) and (labels[place] == IGNORE) == masked:
            place += 1
        shown = show_controls(tokenizer.decode(list(ids[start:place])))
        text.append(shown if masked else f"{OPEN}{shown}{CLOSE}", MASKED if masked else SUPERVISED)
    return text


def show_controls(text: str) -> str:
    r"""Write out what a terminal could read as a command: control and format characters, but for newlines.

    Example:
        >>> show_controls("Up\x1b[2J\u202e\n")
        'Up\\x1b[2J\\u202e\n'
    """
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs")
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )  # fmt: skip


def print_measures(console: Console, datamodule: MovieQADataModule) -> None:
    """Print the table of samples, tokens, padding, and what was cut or left out.

    Args:
        console: where to.
        datamodule: set up.
    """
    columns = {split: _measure(datamodule, split) for split in SPLITS}
    table = Table("", *SPLITS)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in columns["train"]:
        table.add_row(name, *(columns[split][name] for split in SPLITS))
    console.print(f"The samples of {show_controls(str(datamodule.data_dir))} ({datamodule.tokenizer_name})")
    console.print(table)
    console.print()


def _measure(datamodule: MovieQADataModule, split: Split) -> dict[str, str]:
    """Return one column of the table."""
    samples, counts = datamodule.samples(split), datamodule.read_counts()[split]
    lengths: list[int] = list(samples["length"])
    learnt = sorted(sum(label != IGNORE for label in labels) for labels in samples["labels"])
    questions = sum(sum(1 for _ in read_turns(row, datamodule.tokenizer)) for row in samples)
    tasks: list[str] = list(samples["task"])
    batch_size = datamodule.batch_size if split == "train" else datamodule.eval_batch_size
    sampler = LengthGroupedSampler(lengths, batch_size, datamodule.seed) if split == "train" else None
    ordered = sorted(lengths)
    packed = getattr(datamodule, "packing", False)  # a batch is one row then, its samples one behind the other
    batches = [lengths[place] for place in sampler] if sampler else ordered
    padding = share_of_padding(batches, batch_size)
    return {
        "samples": f"{len(lengths):,}",
        "  questions": f"{tasks.count('qa'):,}",
        "  recommendations": f"{tasks.count('recommend'):,}",
        "turns (questions asked in them)": f"{questions:,}",
        "tokens a sample: median": f"{statistics.median(ordered):.0f}",
        "  95 %": f"{ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]:,}",
        "  longest": f"{ordered[-1]:,}",
        "supervised tokens: median": f"{statistics.median(learnt):.0f}",
        "  of all tokens": f"{sum(learnt) / sum(lengths):.1%}",
        "padding as configured": "none: packed" if packed else f"{padding:.1%}",
        f"  in padded batches of {datamodule.batch_size} ({datamodule.eval_batch_size})": f"{padding:.1%}",
        "  in packed rows of max_length": f"{share_left_by_packing(lengths, datamodule.max_length):.1%}",
        "descriptions cut": f"{counts['descriptions_cut']:,}",
        "follow-ups left out": f"{counts['follow_ups_left_out']:,}",
        "samples too long, left out": f"{counts['dropped']:,}",
    }


def share_of_padding(lengths: Sequence[int], batch_size: int) -> float:
    """Return the part of a batch that is padding, over all batches of samples in this order.

    Example:
        >>> share_of_padding([10, 6, 4], batch_size=2)  # 4 of 20 + 4
        0.16666666666666663
    """
    padded = 0
    for start in range(0, len(lengths), batch_size):
        batch = lengths[start : start + batch_size]
        padded += max(batch) * len(batch)
    return 1 - sum(lengths) / padded


def share_left_by_packing(lengths: Sequence[int], width: int) -> float:
    """Return the part that stays empty where samples are packed into rows, each where it leaves the least room.

    Args:
        lengths: each sample's tokens.
        width: the tokens of a row.

    Example:
        >>> share_left_by_packing([6, 5, 4, 4], width=10)  # 6 + 4, 5 + 4
        0.050000000000000044
    """
    room: list[int] = []  # what each row has left, ascending
    rows = 0
    for length in sorted(lengths, reverse=True):
        place = bisect.bisect_left(room, length)
        if place == len(room):
            rows += 1
            left = max(width, length) - length
        else:
            left = room.pop(place) - length
        bisect.insort(room, left)
    return 1 - sum(lengths) / (rows * max(width, *lengths))


def print_problems(console: Console, problems: Sequence[Problem]) -> None:
    """Print each problem with its count, an example and what to do.

    Args:
        console: where to.
        problems: as :func:`check_set` found them.
    """
    if not problems:
        console.print(f"No problem found (of the {len(KINDS)} kinds looked for).")
    for problem in problems:
        kind = KINDS[problem.kind]
        counts = ", ".join(f"{split} {problem.counts[split]:,}" for split in SPLITS if problem.counts[split])
        heading = Text(f"{kind.severity.upper()} {problem.kind}", "bold red" if problem.is_bad else "bold yellow")
        console.print(heading, Text(f"{problem.counts.total():,} samples ({counts}) {kind.meaning}."), soft_wrap=True)
        if problem.example:
            console.print(Text(f"  for example {_shorten(show_controls(problem.example))}"), soft_wrap=True)
        console.print(Text(f"  what to do: {kind.advice}"), soft_wrap=True)


def _shorten(text: str, most: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}..."
