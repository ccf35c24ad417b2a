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
        genres: a movie must have one of them, in any case of letters; empty for all movies.
        exclude_genres: a movie must have none of them.
        adult: whether to keep IMDb's adult titles.
        regions: regions of the other titles to keep, for example ``DE``; empty for all.
        languages: languages of the other titles to keep, for example ``de``; empty for all.
        filtered: how many movies were passed over, by the setting that did it.
    """

    year_from: int | None = None
    year_to: int | None = None
    min_votes: int = 0
    title_types: tuple[str, ...] = ("movie",)
    limit: int | None = None
    genres: tuple[str, ...] = ()
    exclude_genres: tuple[str, ...] = ()
    adult: bool = False
    regions: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    filtered: Counter[str] = field(
        default_factory=lambda: Counter(adult=0, title_type=0, year=0, genres=0, exclude_genres=0, votes=0, limit=0)
    )

    def __post_init__(self) -> None:
        problems = []
        if self.year_from is not None and self.year_to is not None and self.year_from > self.year_to:
            problems.append(
                f"--year_from {self.year_from} is after --year_to {self.year_to}: give a first year that is not after "
                "the last"
            )
        if self.min_votes < 0:
            problems.append(f"--min_votes {self.min_votes}: give at least 0")
        if self.limit is not None and self.limit < 1:
            problems.append(f"--limit {self.limit}: give at least 1, or leave it out for all movies")
        if not self.title_types:
            problems.append("--title_types is empty: give at least one, for example '[movie,tvMovie]'")
        for name in ("title_types", "genres", "exclude_genres", "regions", "languages"):
            if not all(word.strip() for word in getattr(self, name)):
                problems.append(f"--{name} holds an empty word: leave it out")
        both = sorted(set(_lower(self.genres)) & set(_lower(self.exclude_genres)))
        if both:
            problems.append(f"--genres and --exclude_genres both name {', '.join(both)}: name it in one of them")
        if problems:
            raise UserError("; ".join(problems))

    def select(self, movies: Sequence[Movie]) -> list[Movie]:
        """Return the movies wanted, in their order, and count the others."""
        kept = []
        for movie in movies:
            why = self._find_why_not(movie)
            if why is None:
                kept.append(movie)
            else:
                self.filtered[why] += 1
        if self.limit is None or len(kept) <= self.limit:
            return kept
        self.filtered["limit"] += len(kept) - self.limit
        most_voted = {movie.tconst for movie in sorted(kept, key=lambda movie: -(movie.votes or 0))[: self.limit]}
        return [movie for movie in kept if movie.tconst in most_voted]

    def write_sql(self) -> tuple[str, dict[str, object]]:
        """Return what :meth:`select` asks of one movie as SQL over the catalogue's columns.

        Returns:
            An expression: the name of the setting that passes the movie over, NULL where none does; and its parameters.
        """
        # DuckDB before 2 joins an empty list to NULL.
        have = "string_split(coalesce(lower(array_to_string(genres, chr(9))), ''), chr(9))"
        cases = {
            "year": "year IS NULL OR year NOT BETWEEN $year_from AND $year_to" if self._bounds_years() else "false",
            "genres": f"NOT list_has_any({have}, $genres)" if self.genres else "false",
            "exclude_genres": f"list_has_any({have}, $exclude_genres)" if self.exclude_genres else "false",
            "votes": "coalesce(votes, 0) < $min_votes",
        }
        parameters = {
            "year_from": -(2**31) if self.year_from is None else self.year_from,
            "year_to": 2**31 - 1 if self.year_to is None else self.year_to,
            "genres": _lower(self.genres),
            "exclude_genres": _lower(self.exclude_genres),
            "min_votes": self.min_votes,
        }
        text = "CASE " + " ".join(f"WHEN {case} THEN '{name}'" for name, case in cases.items()) + " END"
        return text, {name: value for name, value in parameters.items() if f"${name}" in text}

    def _find_why_not(self, movie: Movie) -> str | None:
        have = set(_lower(movie.genres))
        if not self._wants_year(movie.year):
            return "year"
        if self.genres and not have & set(_lower(self.genres)):
            return "genres"
        if have & set(_lower(self.exclude_genres)):
            return "exclude_genres"
        return "votes" if (movie.votes or 0) < self.min_votes else None

    def _bounds_years(self) -> bool:
        return self.year_from is not None or self.year_to is not None

    def _wants_year(self, year: int | None) -> bool:
        if year is None:
            return not self._bounds_years()
        return (self.year_from is None or year >= self.year_from) and (self.year_to is None or year <= self.year_to)


def _lower(words: Sequence[str]) -> list[str]:
    return [word.strip().lower() for word in words]
