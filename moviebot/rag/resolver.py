"""Which movie does a query mean?

Titles that stand in the query and titles spelt like a part of it are looked at first, for that takes a millisecond.
Where they leave doubt, the movies whose label or description lies near the query's embedding and those that share its
words come on top. A fitted model (:class:`~moviebot.rag.choice.ChoiceModel`) weighs what speaks for each, and for none.

Legend: Q queries, D embedding.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from moviebot.data.splits import normalise_title, split_movies
from moviebot.rag.choice import NONE, ChoiceModel, Example
from moviebot.rag.choice_examples import Asked, find_neighbours, make_queries
from moviebot.rag.evidence import LETTERS, LETTERS_QUERY, MEANINGS, MEANINGS_QUERY, Evidence, EvidenceReader

MAX_CANDIDATES = 10
MAX_CHOICES = 3
SURE = 0.9
"""A title found this surely needs no look at meanings."""
_DOUBT = 0.25  # "did you mean": movies at least this share of the threshold
_EXAMPLES, _EXAMPLES_A_MOVIE, _MIN_EXAMPLES = 3000, 8, 300
_MIN_ASKED = 100  # movies to ask about: of fewer, what the fit learns is the few, not what a title says
LETTERS_NAME, MEANINGS_NAME = "letters.npz", "meanings.npz"
Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Candidate:
    """A movie that may be meant.

    Attributes:
        row: its catalogue row.
        score: the probability that it is meant, 0 to 1.
        evidence: what speaks for it, in words.
    """

    row: int
    score: float
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Resolution:
    """Movies a query may mean.

    Attributes:
        candidates: likeliest first, at most :data:`MAX_CANDIDATES`.
        threshold: the least score with which the first is named.
    """

    candidates: tuple[Candidate, ...]
    threshold: float

    @property
    def rows(self) -> tuple[int, ...]:
        """The candidates' catalogue rows."""
        return tuple(candidate.row for candidate in self.candidates)

    @property
    def score(self) -> float:
        """How sure the first is, 0 to 1; 0 where there is none."""
        return self.candidates[0].score if self.candidates else 0.0

    @property
    def row(self) -> int | None:
        """The movie meant, or None where the score is too low to name one."""
        return self.candidates[0].row if self.candidates and self.score >= self.threshold else None

    @property
    def choices(self) -> tuple[int, ...]:
        """Movies to ask about ("did you mean ...?") where none is named, at most :data:`MAX_CHOICES`."""
        if self.row is not None:
            return ()
        likely = [found.row for found in self.candidates if found.score >= _DOUBT * self.threshold]
        return tuple(likely[:MAX_CHOICES])


class MovieResolver:
    """Finds the movie a query means.

    Args:
        reader: gathers the evidence.
        letters: weighs what titles say.
        meanings: weighs that together with what descriptions say.
        encode: texts to ``(Q, D)``; None to go without embeddings.
    """

    def __init__(
        self, reader: EvidenceReader, letters: ChoiceModel, meanings: ChoiceModel, encode: Encode | None = None
    ) -> None:
        self.reader = reader
        self.letters = letters
        self.meanings = meanings
        self.encode = encode

    @classmethod
    def fit(
        cls, reader: EvidenceReader, encode: Encode | None = None, count: int | None = None, seed: int = 0
    ) -> "MovieResolver":
        """Fit the weights on queries about the validation movies: the encoder knows the training movies too well.

        A catalogue with fewer than 100 of those is asked about as a whole.

        Args:
            reader: over the catalogue to answer from.
            encode: the encoder the reader's vectors are of; None to go without embeddings.
            count: queries about movies; 8 a movie, at least 300 and at most 3,000, where None.
            seed: of the draw.
        """
        movies = reader.movies
        splits = split_movies(movies)
        rows = [row for row, movie in enumerate(movies) if splits[movie.tconst] == "val"]
        count = min(_EXAMPLES, max(_MIN_EXAMPLES, _EXAMPLES_A_MOVIE * len(movies))) if count is None else count
        rows = rows if len(rows) >= _MIN_ASKED else list(range(len(movies)))
        near = {} if encode is None else find_neighbours([movies[row] for row in rows], encode)
        asked = make_queries(movies, rows, count, seed, near)
        random.Random(seed).shuffle(asked)
        # A movie that is to be absent takes all of its title with it.
        by_title = defaultdict(list)
        for row, movie in enumerate(movies):
            by_title[normalise_title(movie.title)].append(row)
        labelled = []
        for one in track(asked, description="Reading examples", transient=True):
            absent = one.absent and one.row is not None
            excluded = frozenset(by_title[normalise_title(movies[one.row or 0].title)] if absent else ())
            labelled.append((one, excluded, reader.read_letters(one.query, excluded)))
        # Half for the letters, half for what weighs their verdict: a verdict on what it was fitted on is too sure.
        half = len(labelled) // 2
        letters = ChoiceModel.fit([_label(evidence, one) for one, _, evidence in labelled[:half]], seed=seed)
        vectors = None if encode is None else encode([one.query for one, _, _ in labelled[half:]])  # (Q, D)
        examples = []
        for number, (one, excluded, evidence) in enumerate(labelled[half:]):
            chances = letters.weigh(evidence.features, evidence.query)
            vector = None if vectors is None else vectors[number]
            deep = reader.read_meanings(one.query, evidence, chances, vector, excluded)
            examples.append(_label(deep, one))
        return cls(reader, letters, ChoiceModel.fit(examples, seed=seed), encode)

    def save(self, folder: Path) -> None:
        """Write the fitted weights into a folder that exists."""
        self.letters.save(folder / LETTERS_NAME)
        self.meanings.save(folder / MEANINGS_NAME)

    @classmethod
    def load(cls, folder: Path, reader: EvidenceReader, encode: Encode | None = None) -> "MovieResolver":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: a file is absent, damaged or of other features.
        """
        letters = ChoiceModel.load(folder / LETTERS_NAME, len(LETTERS), len(LETTERS_QUERY))
        meanings = ChoiceModel.load(folder / MEANINGS_NAME, len(MEANINGS), len(MEANINGS_QUERY))
        return cls(reader, letters, meanings, encode)

    def resolve(self, queries: Sequence[str]) -> list[Resolution]:
        """Rank the movies for each query; those that titles leave in doubt are encoded together."""
        threshold = float(self.meanings.threshold)
        read = [self.reader.read_letters(query) for query in queries]
        chances = [self.letters.weigh(evidence.features, evidence.query) for evidence in read]
        found = [Resolution(self._rank(*pair), threshold) for pair in zip(read, chances, strict=True)]
        doubtful = [number for number, resolution in enumerate(found) if resolution.score < SURE]
        vectors = self.encode([queries[number] for number in doubtful]) if self.encode and doubtful else None  # (Q, D)
        for place, number in enumerate(doubtful):
            vector = None if vectors is None else vectors[place]
            evidence = self.reader.read_meanings(queries[number], read[number], chances[number], vector)
            ranked = self._rank(evidence, self.meanings.weigh(evidence.features, evidence.query))
            found[number] = Resolution(ranked, threshold)
        return found

    def _rank(self, evidence: Evidence, shares: NDArray[np.float32]) -> tuple[Candidate, ...]:
        votes = [self.reader.movies[row].votes or 0 for row in evidence.rows]
        order = sorted(range(len(shares)), key=lambda n: (-shares[n], -votes[n], evidence.rows[n]))[:MAX_CANDIDATES]
        return tuple(Candidate(evidence.rows[n], float(shares[n]), evidence.said[evidence.rows[n]]) for n in order)


def _label(evidence: Evidence, asked: Asked) -> Example:
    """Say which candidate is meant."""
    chosen = evidence.rows.index(asked.row) if asked.row in evidence.rows else NONE
    return Example(evidence.features, evidence.query, chosen)
