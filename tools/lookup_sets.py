"""The questions that tools/bench_lookup.py asks: real ones, made ones, and ones that no movie of the table answers.

Real sets are read from a folder laid out as ``shared/data`` is (MetaQA's questions, plots, INSPIRED's dialogues,
Wikipedia's extracts, the beginning of IMDb's title.basics); nothing of them is kept here.
"""

import csv
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.data.wordings import WORDINGS

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PLACEHOLDER = re.compile(r"\[MOVIE_TITLE_\d+\]")
_LABEL = re.compile(r"^(.*\S) \((\d{4})\)$")
_YEAR_GAP = 1  # festivals and cinemas differ by a year


@dataclass(frozen=True)
class Case:
    """One query and the movie it means.

    Attributes:
        query: the words.
        tconst: the movie; None where the query means none of the table.
    """

    query: str
    tconst: str | None


def read_metaqa(data: Path, movies: Sequence[Movie]) -> list[Case]:
    """Read MetaQA's questions, each about a movie of the table."""
    known = {movie.tconst for movie in movies}
    rows = _read_jsonl(data / "questions" / "metaqa_dev_movie_questions.jsonl")
    return [Case(row["question"], row["tconst"]) for row in rows if row["tconst"] in known]


def read_plots(data: Path, movies: Sequence[Movie]) -> list[Case]:
    """Read plots told in other words than the table's."""
    known = {movie.tconst for movie in movies}
    rows = _read_jsonl(data / "questions" / "plot_to_movie_dev.jsonl")
    return [Case(row["query"], row["tconst"]) for row in rows if row["tconst"] in known]


def read_inspired(data: Path, movies: Sequence[Movie], part: str) -> list[Case]:
    """Read INSPIRED's lines with exactly one title marked, where just one movie of the table has its title and year.

    The marks were made by a program and some are wrong ("I guess" is no movie); they are taken as they are.

    Args:
        data: the folder of the sets.
        movies: the table.
        part: ``dev`` or ``test``.
    """
    by_title = defaultdict(list)
    for movie in movies:
        by_title[normalise_title(movie.title)].append(movie)
    cases = []
    for row in _read_inspired_rows(data, part):
        named = [label.strip() for label in row["movies"].split(";") if label.strip()]
        if len(named) != 1 or len(_PLACEHOLDER.findall(row["text_with_placeholder"])) != 1:
            continue
        label = _LABEL.match(named[0])
        if label is None:
            continue
        year = int(label[2])
        found = [
            movie
            for movie in by_title[normalise_title(label[1])]
            if movie.year is not None and abs(movie.year - year) <= _YEAR_GAP
        ]
        if len(found) == 1:
            cases.append(Case(_clean_line(row["text"]), found[0].tconst))
    return cases


def read_chat(data: Path, part: str) -> list[Case]:
    """Read INSPIRED's lines in which no title is marked, in a dialogue's words: greetings, wishes, opinions.

    Some name a movie that the program did not mark, so that not each answer to them is a fault.
    """
    rows = _read_inspired_rows(data, part)
    return [
        Case(_clean_line(row["text"]), None)
        for row in rows
        if not row["movies"].strip() and not _PLACEHOLDER.search(row["text_with_placeholder"]) and row["text"].strip()
    ]


def read_absent(data: Path, movies: Sequence[Movie], count: int, seed: int) -> list[Case]:
    """Ask MetaQA's questions about movies of Wikipedia whose title no movie of the table has, nor begins with."""
    rng = random.Random(seed)
    known = {normalise_title(movie.title) for movie in movies}
    heads = {tuple(title.split()[:2]) for title in known}
    absent = [
        movie
        for movie in _read_extracts(data)
        if (plain := normalise_title(movie.title)) not in known and tuple(plain.split()[:2]) not in heads
    ]
    frames = _list_frames(data)
    return [
        Case(rng.choice(frames).replace("{title}", movie.title), None)
        for movie in rng.sample(absent, min(count, len(absent)))
    ]


def widen_table(data: Path, movies: Sequence[Movie], count: int) -> list[Movie]:
    """Add titles of Wikipedia's extracts and of IMDb's beginning to the table, up to ``count`` movies."""
    taken = {normalise_title(movie.label) for movie in movies} | {movie.tconst for movie in movies}
    wide = list(movies)
    for movie in (*_read_extracts(data), *_read_basics(data)):
        names = {normalise_title(movie.label), movie.tconst}
        if len(wide) < count and not names & taken:
            taken |= names
            wide.append(movie)
    return wide


def make_typos(movies: Sequence[Movie], pool: Sequence[Movie], count: int, seed: int) -> list[Case]:
    """Ask about movies with one or two edits (insert, delete, substitute, swap) inside the title.

    Titles of fewer than 8 letters get one edit, half of the longer ones two. Only titles that no other movie of the
    pool has are asked for, without a year, in the test split's wordings; an edit that makes another title of the pool
    is drawn anew.
    """
    rng = random.Random(seed)
    titles = Counter(normalise_title(movie.title) for movie in pool)
    unique = [movie for movie in movies if titles[normalise_title(movie.title)] == 1 and len(movie.title) >= 4]
    wordings = [wording for topic in sorted(WORDINGS) for wording in WORDINGS[topic]["test"] if "{title}" in wording]
    cases = []
    for movie in rng.sample(unique, min(count, len(unique))):
        edits = 1 if len(movie.title) < 8 else rng.choice((1, 2))
        title = _edit(movie.title, edits, rng)
        while normalise_title(title) in titles:
            title = _edit(movie.title, edits, rng)
        cases.append(Case(rng.choice(wordings).replace("{title}", title), movie.tconst))
    return cases


def make_originals(movies: Sequence[Movie], count: int, seed: int) -> list[Case]:
    """Ask by the original title for movies whose title in the table is another, where no other movie has that one."""
    rng = random.Random(seed)
    names = Counter(
        name for m in movies for name in {normalise_title(m.title), normalise_title(m.original_title or m.title)}
    )
    translated = [
        (movie, movie.original_title)
        for movie in movies
        if movie.original_title
        and normalise_title(movie.original_title) != normalise_title(movie.title)
        and names[normalise_title(movie.original_title)] == 1
    ]
    wordings = [wording for topic in sorted(WORDINGS) for wording in WORDINGS[topic]["test"] if "{title}" in wording]
    return [
        Case(rng.choice(wordings).replace("{title}", title), movie.tconst)
        for movie, title in rng.sample(translated, min(count, len(translated)))
    ]


def make_remakes(movies: Sequence[Movie], count: int, seed: int) -> list[Case]:
    """Ask, with the year, about movies that share their title with another of another year."""
    rng = random.Random(seed)
    by_title = defaultdict(list)
    for movie in movies:
        by_title[normalise_title(movie.title)].append(movie)
    shared = [
        movie
        for group in by_title.values()
        for movie in group
        if movie.year is not None and len(group) > 1 and sum(other.year == movie.year for other in group) == 1
    ]
    wordings = [wording for topic in sorted(WORDINGS) for wording in WORDINGS[topic]["test"] if "{title}" in wording]
    names = ("{title} ({year})", "the {year} movie {title}", "{title} from {year}")
    return [
        Case(
            rng.choice(wordings).replace("{title}", rng.choice(names).format(title=movie.title, year=movie.year)),
            movie.tconst,
        )
        for movie in rng.sample(shared, min(count, len(shared)))
    ]


def make_aliases(movies: Sequence[Movie], seed: int) -> list[Case]:
    """Ask about movies by another title of theirs (original, or of another country) that only they have."""
    rng = random.Random(seed)
    owners = Counter(
        plain
        for movie in movies
        for plain in {normalise_title(name) for name in (movie.title, movie.original_title, *movie.akas) if name}
    )
    wordings = [wording for topic in sorted(WORDINGS) for wording in WORDINGS[topic]["test"] if "{title}" in wording]
    cases = []
    for movie in movies:
        others = [
            name
            for name in dict.fromkeys((movie.original_title, *movie.akas))
            if name and normalise_title(name) != normalise_title(movie.title) and owners[normalise_title(name)] == 1
        ]
        if others:
            cases.append(Case(rng.choice(wordings).replace("{title}", rng.choice(others)), movie.tconst))
    return cases


def _edit(title: str, edits: int, rng: random.Random) -> str:
    letters = list(title)
    for _ in range(edits):
        places = [n for n, letter in enumerate(letters) if letter.isalnum()]
        at = rng.choice(places)
        match rng.choice(("insert", "delete", "substitute", "swap")):
            case "insert":
                letters.insert(at, rng.choice(LETTERS))
            case "delete" if len(places) > 2:
                del letters[at]
            case "swap" if at + 1 < len(letters):
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
            case _:
                letters[at] = rng.choice(LETTERS)
    return "".join(letters)


def _list_frames(data: Path) -> list[str]:
    rows = _read_jsonl(data / "questions" / "metaqa_dev_movie_questions.jsonl")
    return [row["question"].replace(row["title"], "{title}") for row in rows if row["title"] in row["question"]]


def _clean_line(text: str) -> str:
    return text.replace("QUOTATION_MARK", '"').strip()


def _read_inspired_rows(data: Path, part: str) -> list[dict[str, str]]:
    with (data / "dialogues" / f"inspired_{part}.tsv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def _read_extracts(data: Path) -> list[Movie]:
    rows = []
    for path in sorted((data / "wikipedia-extracts").glob("movies-*.json")):
        rows += json.loads(path.read_text(encoding="utf-8"))
    return [Movie(f"wp{n}", row["title"], year=row["year"]) for n, row in enumerate(rows)]


def _read_basics(data: Path) -> Iterator[Movie]:
    lines = (data / "imdb-tsv-sample" / "title.basics.tsv").read_text(encoding="utf-8").splitlines()
    for line in lines[1:-1]:  # the last line is cut
        cells = line.split("\t")
        year = None if cells[5] == "\\N" else int(cells[5])
        yield Movie(cells[0], cells[2], year=year, original_title=cells[3])


def _read_jsonl(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
