"""What a row of pairs reads in an epoch: questions are misspelt and plots are told anew each time."""

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from moviebot.data.described import can_be_told, tell_plot
from moviebot.data.description_row import DescriptionRow
from moviebot.data.documents import movie_text
from moviebot.data.pair_batch import PairRow
from moviebot.data.schemas import Movie
from moviebot.data.typos import add_typo

ELSEWHERE_SHARE = 0.7  # of the tellings, where another source tells of the movie


class Misspeller:
    """Makes one or two mistakes in the title, in a share of the questions.

    Args:
        movies: those that questions are about.
        share: of the questions, 0 to 1; one that does not hold its movie's title as it is written stays as it is.
    """

    def __init__(self, movies: Iterable[Movie], share: float) -> None:
        self._titles = {movie.tconst: movie.title for movie in movies}
        self._share = share

    def __call__(self, row: PairRow, rng: random.Random) -> PairRow:
        """Return the row with the anchor of this time."""
        title = self._titles[row.tconst_sample]
        if rng.random() >= self._share or title.lower() not in row.anchor.lower():
            return row
        return row._replace(anchor=add_typo(row.anchor, rng, within=title))


class Teller:
    """Tells movies' plots as people do: see :func:`~moviebot.data.described.tell_plot`.

    Args:
        movies: those that may be told of, those without a description too.
        described: what sources said of movies; other sources' texts than the catalogue's are what people tell.
    """

    def __init__(self, movies: Iterable[Movie], described: Iterable[DescriptionRow] = ()) -> None:
        self._movies = {movie.tconst: movie for movie in movies if can_be_told(movie)}
        self._elsewhere: dict[str, list[str]] = defaultdict(list)
        for row in described:
            movie = self._movies.get(row.tconst)
            if movie and row.description and row.source != movie.description_source:
                self._elsewhere[row.tconst].append(row.description)

    def draw_rows(self, count: int, seed: int) -> list[PairRow]:
        """Draw at most ``count`` movies; a row's texts are made when it is told, and until then are of its length."""
        movies: Sequence[Movie] = list(self._movies.values())
        drawn = random.Random(seed).sample(movies, min(count, len(movies)))
        return [PairRow("", movie_text(movie), 1, movie.tconst, movie.tconst) for movie in drawn]

    def __call__(self, row: PairRow, rng: random.Random) -> PairRow:
        """Return the row with the telling of this time, and the text to find by it."""
        others: Collection[str] = self._elsewhere.get(row.tconst_anchor, ())
        other = rng.choice(list(others)) if others and rng.random() < ELSEWHERE_SHARE else None
        anchor, sample = tell_plot(self._movies[row.tconst_anchor], rng, other)
        return row._replace(anchor=anchor, sample=sample)
