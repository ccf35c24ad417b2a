"""Which movies of a source are wanted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from moviebot.data.schemas import Movie
from moviebot.errors import UserError


@dataclass
class Selection:
    """The movies wanted, and how many were not.

    Attributes:
        year_from: first year; movies without a year are then out.
        year_to: last year; movies without a year are then out.
        min_votes: fewest votes; absent votes are 0.
        title_types: IMDb's ``titleType`` values.
        limit: how many to keep, most votes first.
        filtered: how many movies were passed over, by the setting that did it.
    """

    year_from: int | None = None
    year_to: int | None = None
    min_votes: int = 0
    title_types: tuple[str, ...] = ("movie",)
    limit: int | None = None
    filtered: Counter[str] = field(default_factory=lambda: Counter(adult=0, title_type=0, year=0, votes=0, limit=0))

    def __post_init__(self) -> None:
        if self.year_from is not None and self.year_to is not None and self.year_from > self.year_to:
            raise UserError(
                f"--year_from {self.year_from} is after --year_to {self.year_to}: give a first year that is not after "
                "the last"
            )
        if self.limit is not None and self.limit < 1:
            raise UserError(f"--limit {self.limit}: give at least 1, or leave it out for all movies")
        if not self.title_types:
            raise UserError("--title_types is empty: give at least one, for example '[movie,tvMovie]'")

    def select(self, movies: Sequence[Movie]) -> list[Movie]:
        """Return the movies wanted, in their order, and count the others."""
        kept = []
        for movie in movies:
            if not self._wants_year(movie.year):
                self.filtered["year"] += 1
            elif (movie.votes or 0) < self.min_votes:
                self.filtered["votes"] += 1
            else:
                kept.append(movie)
        if self.limit is None or len(kept) <= self.limit:
            return kept
        self.filtered["limit"] += len(kept) - self.limit
        most_voted = {movie.tconst for movie in sorted(kept, key=lambda movie: -(movie.votes or 0))[: self.limit]}
        return [movie for movie in kept if movie.tconst in most_voted]

    def _wants_year(self, year: int | None) -> bool:
        if year is None:
            return self.year_from is None and self.year_to is None
        return (self.year_from is None or year >= self.year_from) and (self.year_to is None or year <= self.year_to)
