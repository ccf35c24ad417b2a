"""Does training tell of the test? What a data folder holds on two sides, counted.

Three kinds of findings. *Breaches* of the contract (a movie, a franchise or a question on two sides; a later side's
movie shown in an earlier side's list or pair) can only be a fault of ours: `moviebot clean` stops on them. *Likenesses*
are the world's: two movies' descriptions that tell the same in nearly the same words. *Wordings* are the teacher's: how
many of the test's questions are asked, but for the title, as some training question is.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations

from rapidfuzz import process
from rapidfuzz.distance import Indel

from moviebot.data.pairs import MAY_SEE, PairRow
from moviebot.data.prompts import render_facts
from moviebot.data.schemas import SPLITS, Movie, QAPair, RecommendationList, Split
from moviebot.data.splits import group_movies, normalise_title

ALIKE_SHARE = 0.5
"""Of the shorter description's runs of four words, the share that stands in the other: from there on, told alike.

On a real table of 13,500 movies, four of the five pairs above it are one story; at a quarter, hardly one in ten."""
RUN_WORDS = 4
MIN_RUNS = 8
COMMON_RUN = 20  # runs that more movies share ("gets more than he bargained for") say nothing
SAME_WORDING = 95  # of 100, words sorted: equal but for a letter or two
MAX_WORDINGS = 2000  # of a side are compared; a sample of as many says the share to two points
WORST = 10


@dataclass(frozen=True)
class Likeness:
    """Two movies on different sides whose descriptions tell nearly the same.

    Attributes:
        tconst: the movie on the later side (test before val before train).
        other: the movie on the earlier side.
        split: of the first.
        other_split: of the second.
        share: of the shorter description's runs of four words, what stands in the other; 0 to 1.
    """

    tconst: str
    other: str
    split: Split
    other_split: Split
    share: float


@dataclass(frozen=True)
class Leakage:
    """What a set holds on two sides.

    Attributes:
        breaches: the contract's breaches by name; all are 0.
        facts_repeated: movies of val and test whose facts, as prompts show them, are a movie's of an earlier side.
        descriptions_alike: pairs of movies on two sides, each in some row, whose descriptions tell nearly the same.
        worst: the ten most alike of these.
        wordings_shared: by side, the share of its questions that are worded, but for title and year, as a question of
            an earlier side is; None where the side has no questions.
        largest_group: the number of movies in the largest group that is kept together.
    """

    breaches: dict[str, int]
    facts_repeated: int
    descriptions_alike: int
    worst: list[Likeness] = field(default_factory=list)
    wordings_shared: dict[Split, float | None] = field(default_factory=dict)
    largest_group: int = 0

    def check(self) -> None:
        """Stop on a breach.

        Raises:
            RuntimeError: the set breaks the contract; that is a fault of this package.
        """
        if any(self.breaches.values()):
            found = ", ".join(f"{name} {number}" for name, number in self.breaches.items() if number)
            raise RuntimeError(
                f"the test would leak into the training ({found}): a fault of moviebot, please report it"
            )

    def as_counts(self) -> dict[str, object]:
        """Return plain values for ``report.json``."""
        return asdict(self)

    def __str__(self) -> str:
        """Say it in a line."""
        wordings = ", ".join(
            f"{split} {share:.1%}" for split, share in self.wordings_shared.items() if share is not None
        )
        return (
            f"leakage: {sum(self.breaches.values())} breaches, {self.facts_repeated} movies with another side's facts, "
            f"{self.descriptions_alike} pairs of descriptions told alike; wordings shared: {wordings or 'no questions'}"
        )


def find_leakage(
    movies: Sequence[Movie], splits: Mapping[str, Split], pairs: Sequence[QAPair], lists: Sequence[RecommendationList],
    pair_rows: Iterable[PairRow] = (),
) -> Leakage:  # fmt: skip
    """Look for what is on two sides.

    Args:
        movies: the whole catalogue.
        splits: the split of each of its movies.
        pairs: the questions and answers.
        lists: the recommendation lists.
        pair_rows: the contrastive pairs of both retrievers.
    """
    groups = group_movies(movies)
    shown = {pair.tconst for pair in pairs} | {tconst for row in lists for tconst in (row.tconst, *row.recommended)}
    alike = _match_descriptions([movie for movie in movies if movie.tconst in shown], splits)
    return Leakage(
        _count_breaches(groups, splits, pairs, lists, pair_rows),
        _count_repeated_facts(movies, splits),
        len(alike),
        alike[:WORST],
        _measure_wordings({movie.tconst: movie for movie in movies}, pairs),
        max(Counter(groups.values()).values(), default=0),
    )


def _count_breaches(
    groups: Mapping[str, str], splits: Mapping[str, Split], pairs: Sequence[QAPair],
    lists: Sequence[RecommendationList], pair_rows: Iterable[PairRow],
) -> dict[str, int]:  # fmt: skip
    sides: dict[str, set[Split]] = defaultdict(set)
    for tconst, key in groups.items():
        sides[key].add(splits[tconst])
    asked: dict[str, set[Split]] = defaultdict(set)
    for pair in pairs:
        asked[normalise_title(pair.question)].add(pair.split)
    return {
        "groups_on_two_sides": sum(len(found) > 1 for found in sides.values()),
        "questions_on_two_sides": sum(len(found) > 1 for found in asked.values()),
        "rows_on_the_wrong_side": sum(splits.get(pair.tconst) != pair.split for pair in pairs)
        + sum(splits.get(row.tconst) != row.split for row in lists),
        "lists_showing_a_later_side": sum(
            any(splits.get(tconst) not in MAY_SEE[row.split] for tconst in row.recommended) for row in lists
        ),
        "pairs_showing_a_later_side": sum(_shows_later(row, splits) for row in pair_rows),
    }


def _shows_later(row: PairRow, splits: Mapping[str, Split]) -> bool:
    own = splits.get(str(row["tconst_anchor"]))
    return own != row["split"] or own is None or splits.get(str(row["tconst_sample"])) not in MAY_SEE[own]


def _count_repeated_facts(movies: Sequence[Movie], splits: Mapping[str, Split]) -> int:
    told: dict[str, set[Split]] = defaultdict(set)
    # Without a description or people, two films of one year and genre have the same facts by chance.
    facts = {movie.tconst: render_facts(movie) for movie in movies if movie.description or movie.directors}
    for tconst, text in facts.items():
        told[text].add(splits[tconst])
    return sum(any(_is_later(splits[tconst], other) for other in told[text]) for tconst, text in facts.items())


def _is_later(split: Split, other: Split) -> bool:
    return SPLITS.index(split) > SPLITS.index(other)


def _match_descriptions(movies: Sequence[Movie], splits: Mapping[str, Split]) -> list[Likeness]:
    """Return the movies on two sides whose descriptions share most of their runs of words, the most alike first."""
    holders: dict[int, list[int]] = defaultdict(list)
    sizes = []
    for number, movie in enumerate(movies):
        words = normalise_title(movie.description or "").split()
        runs = {hash(tuple(words[start : start + RUN_WORDS])) for start in range(len(words) - RUN_WORDS + 1)}
        sizes.append(len(runs))
        if len(runs) >= MIN_RUNS:
            for run in runs:
                holders[run].append(number)
    shared = Counter(
        pair for numbers in holders.values() if 1 < len(numbers) <= COMMON_RUN for pair in combinations(numbers, 2)
    )
    found = []
    for (one, other), count in shared.items():
        share = count / min(sizes[one], sizes[other])
        first, second = sorted((movies[one], movies[other]), key=lambda movie: -SPLITS.index(splits[movie.tconst]))
        if share >= ALIKE_SHARE and splits[first.tconst] != splits[second.tconst]:
            found.append(
                Likeness(first.tconst, second.tconst, splits[first.tconst], splits[second.tconst], round(share, 3))
            )
    return sorted(found, key=lambda likeness: (-likeness.share, likeness.tconst, likeness.other))


def _measure_wordings(movies: Mapping[str, Movie], pairs: Sequence[QAPair]) -> dict[Split, float | None]:
    by_split: dict[Split, Counter[str]] = {split: Counter() for split in SPLITS}
    for pair in pairs:
        by_split[pair.split][_mask_title(pair.question, movies.get(pair.tconst))] += 1
    shares: dict[Split, float | None] = {}
    for number, split in enumerate(SPLITS[1:], start=1):
        earlier = sorted({wording for before in SPLITS[:number] for wording in by_split[before]})
        own = sorted(by_split[split].items())
        own = random.Random(0).sample(own, min(len(own), MAX_WORDINGS))
        known = set(earlier)
        shared = sum(count for wording, count in own if wording in known or _is_close(wording, earlier))
        total = sum(count for _, count in own)
        shares[split] = round(shared / total, 4) if total else None
    return shares


def _is_close(wording: str, others: Sequence[str]) -> bool:
    least = SAME_WORDING / 100
    found = process.extractOne(wording, others, scorer=Indel.normalized_similarity, score_cutoff=least)
    return found is not None


def _mask_title(question: str, movie: Movie | None) -> str:
    """Return a question's words, sorted, without the movie's name and year: what is left is its wording."""
    text = f" {normalise_title(question)} "
    if movie is not None:
        for title in (movie.title, movie.original_title, *movie.akas):
            if title and (normal := normalise_title(title)):
                text = text.replace(f" {normal} ", " ")
        text = text.replace(f" {movie.year} ", " ")
    return " ".join(sorted(text.split()))
