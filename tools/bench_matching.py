"""How often is a misspelt title with a wrong or missing year matched to its movie, and how often to another?

    python tools/bench_matching.py --table movies.tsv

Draws titles of a table, makes 0 to 3 edits in each (insert, delete, substitute, swap), tells the year rightly, one off,
or not at all, and looks them up with `moviebot.data.matching.TitleMatcher`; beside it, in the same run, the exact label
alone and rapidfuzz's ``extractOne`` with ``WRatio``. Then a fifth of the movies is held out and asked for: whatever is
found for them is false. Half of the titles, by a hash, is for choosing thresholds (``--half tune``), the other for the
figures. Prints Markdown.
"""

import argparse
import hashlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rapidfuzz import fuzz, process
from rapidfuzz.utils import default_process

from moviebot.data.catalogue import CATALOGUE_NAME, build_catalogue
from moviebot.data.matching import TitleMatcher
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.data.splits import normalise_title
from moviebot.errors import UserError

Year = Literal["right", "one off", "missing"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
YEARS: tuple[Year, ...] = ("right", "one off", "missing")
WRATIO_CUTOFF = 90.0
HELD_OUT = 0.2
Find = Callable[[str, int | None], str | None]


@dataclass(frozen=True)
class Case:
    """One name to look up.

    Attributes:
        tconst: the movie meant.
        title: as written, perhaps misspelt.
        year: as told.
        edits: mistakes made in the title.
        told: what was done to the year.
    """

    tconst: str
    title: str
    year: int | None
    edits: int
    told: Year


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--table", type=Path, default=None, help="a table of movies (default: the embedded sample)")
    parser.add_argument("--titles", type=int, default=5000, help="how many names to look up")
    parser.add_argument(
        "--baseline_titles", type=int, default=1000, help="how many of them WRatio looks up; it is slow"
    )
    parser.add_argument("--half", choices=("tune", "report"), default="report", help="which half of the titles")
    parser.add_argument("--seed", type=int, default=0, help="of titles, edits and years")
    given = parser.parse_args(arguments)
    try:
        movies = read_movies(given.table)
    except UserError as error:
        print(f"bench_matching: {error}", file=sys.stderr)
        return 2
    cases = draw_cases(pick_half(movies, given.half), given.titles, given.seed)
    print(f"{len(movies):,} movies, {len(cases):,} names of the {given.half} half, seed {given.seed}\n")
    few = cases[: given.baseline_titles]
    started = time.perf_counter()
    matcher = TitleMatcher(movies)
    matcher.find("warming up the n-grams of misspelt titles")
    print(f"index built in {time.perf_counter() - started:.1f} s\n")
    finders: list[tuple[str, Find, Sequence[Case]]] = [
        ("ours", match_with(matcher), cases),
        ("exact title and year", match_exactly(movies), cases),
        (f"WRatio >= {WRATIO_CUTOFF:.0f}", match_with_wratio(movies), few),
    ]
    print_slices(finders)
    print_held_out(movies, given)
    return 0


def read_movies(table: Path | None) -> list[Movie]:
    """Read a table, or the embedded sample."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        build_catalogue(out, table=table, sample=table is None)
        return read_catalogue(out / CATALOGUE_NAME)


def pick_half(movies: Sequence[Movie], half: str) -> list[Movie]:
    """Return the movies of one half, by a hash of the title."""
    wanted = 0 if half == "tune" else 1
    return [m for m in movies if hashlib.sha256(normalise_title(m.title).encode()).digest()[0] % 2 == wanted]


def draw_cases(movies: Sequence[Movie], number: int, seed: int) -> list[Case]:
    """Draw names with 0 to 3 edits and three kinds of years, all twelve kinds alike often."""
    rng = random.Random(seed)
    dated = [movie for movie in movies if movie.year is not None]
    drawn = rng.sample(dated, number) if number <= len(dated) else rng.choices(dated, k=number)
    cases = []
    for count, movie in enumerate(drawn):
        edits, told = count % 4, YEARS[count // 4 % 3]
        assert movie.year is not None
        year = {"right": movie.year, "one off": movie.year + rng.choice((-1, 1)), "missing": None}[told]
        cases.append(Case(movie.tconst, edit_title(movie.title, edits, rng), year, edits, told))
    return cases


def edit_title(title: str, edits: int, rng: random.Random) -> str:
    """Insert, delete, substitute or swap characters of a title."""
    text = title
    for _ in range(edits):
        position = rng.randrange(max(1, len(text)))
        kind = rng.choice(("insert", "delete", "substitute", "swap"))
        if kind == "insert" or len(text) < 2:
            text = text[:position] + rng.choice(LETTERS) + text[position:]
        elif kind == "delete":
            text = text[:position] + text[position + 1 :]
        elif kind == "substitute":
            text = text[:position] + rng.choice(LETTERS) + text[position + 1 :]
        else:
            position = min(position, len(text) - 2)
            text = text[:position] + text[position + 1] + text[position] + text[position + 2 :]
    return text


def match_with(matcher: TitleMatcher) -> Find:
    """Look names up as `moviebot clean` does."""

    def find(title: str, year: int | None) -> str | None:
        found = matcher.find(title, year).movie
        return found.tconst if found else None

    return find


def match_exactly(movies: Sequence[Movie]) -> Find:
    """Look names up by normalised title and year; without a year where one movie has the title."""
    labels: dict[tuple[str, int | None], str] = {}
    counts = Counter(normalise_title(movie.title) for movie in movies)
    for movie in sorted(movies, key=lambda movie: -(movie.votes or 0)):
        key = normalise_title(movie.title)
        labels.setdefault((key, movie.year), movie.tconst)
        if counts[key] == 1:
            labels.setdefault((key, None), movie.tconst)
    return lambda title, year: labels.get((normalise_title(title), year))


def match_with_wratio(movies: Sequence[Movie]) -> Find:
    """Look names up by rapidfuzz's usual recipe over all labels."""
    labels = [default_process(movie.label) for movie in movies]

    def find(title: str, year: int | None) -> str | None:
        name = default_process(title if year is None else f"{title} ({year})")
        found = process.extractOne(name, labels, scorer=fuzz.WRatio, score_cutoff=WRATIO_CUTOFF)
        return movies[found[2]].tconst if found else None

    return find


def print_slices(finders: Sequence[tuple[str, Find, Sequence[Case]]]) -> None:
    """Print right, wrong and missed by edits and year."""
    columns, speeds = [], []
    for name, find, cases in finders:
        started = time.perf_counter()
        counts: Counter[tuple[int, str, str]] = Counter()
        for case in cases:
            found = find(case.title, case.year)
            outcome = "missed" if found is None else "right" if found == case.tconst else "wrong"
            for edits in (case.edits, -1):
                counts[edits, case.told, outcome] += 1
        columns.append(counts)
        speeds.append(f"{name}: {len(cases) / (time.perf_counter() - started):,.0f} names/s ({len(cases):,} names)")
    print("Right / wrong / missed, %\n")
    print("| edits | year | n | " + " | ".join(name for name, _, _ in finders) + " |")
    print("|---|---|---|" + "---|" * len(finders))
    for edits in (0, 1, 2, 3, -1):
        for told in YEARS:
            cells = [_show([counts[edits, told, outcome] for outcome in ("right", "wrong", "missed")])
                     for counts in columns]  # fmt: skip
            total = sum(columns[0][edits, told, outcome] for outcome in ("right", "wrong", "missed"))
            print(f"| {edits if edits >= 0 else 'all'} | {told} | {total} | " + " | ".join(cells) + " |")
    print("\n" + "; ".join(speeds) + "\n")


def print_held_out(movies: Sequence[Movie], given: argparse.Namespace) -> None:
    """Print how often movies that are not in the table are found there."""
    rng = random.Random(given.seed + 1)
    half = {movie.tconst for movie in pick_half(movies, given.half)}
    out = {movie.tconst for movie in movies if movie.tconst in half and rng.random() < HELD_OUT * 2}
    kept = [movie for movie in movies if movie.tconst not in out]
    titles = {normalise_title(movie.title) for movie in kept}
    cases = draw_cases([movie for movie in movies if movie.tconst in out], given.titles, given.seed + 2)
    finders = [match_with(TitleMatcher(kept)), match_exactly(kept), match_with_wratio(kept)]
    print(f"{len(out):,} movies held out, {len(cases):,} of their names looked up among the other {len(kept):,}: "
          "found, all falsely, %; in brackets without those whose very title another movie has\n")  # fmt: skip
    print(f"| year | n | ours | exact title and year | WRatio >= {WRATIO_CUTOFF:.0f} |\n|---|---|---|---|---|")
    originals = {movie.tconst: normalise_title(movie.title) for movie in movies}
    for told in YEARS:
        cells = []
        asked = [case for case in cases if case.told == told]
        for number, find in enumerate(finders):
            some = asked if number < 2 else asked[: given.baseline_titles // 3]
            found = [(find(case.title, case.year) is not None, originals[case.tconst] in titles) for case in some]
            bare = [hit for hit, shared in found if not shared]
            share = 100 * sum(hit for hit, _ in found) / max(1, len(found))
            cells.append(f"{share:.1f} ({100 * sum(bare) / max(1, len(bare)):.1f})")
        print(f"| {told} | {len(asked)} | " + " | ".join(cells) + " |")


def _show(outcomes: Sequence[int]) -> str:
    total = max(1, sum(outcomes))
    return " / ".join(f"{100 * count / total:.1f}" for count in outcomes)


if __name__ == "__main__":
    sys.exit(main())
