"""Who is still to be asked about which movie, and what came of it; who is asked, and how, is another matter."""

from collections.abc import Mapping, Sequence
from typing import get_args

from moviebot.data.description_row import LINKED, DescriptionRow, Key
from moviebot.data.description_text import cut_description
from moviebot.data.rejects import DescribeReason, Rejects
from moviebot.data.schemas import Movie
from moviebot.data.wikipedia import IMDB_ID


class Inquiry:
    """What is known of each movie, who is still to be asked about it, and what came of it.

    Args:
        movies: the catalogue.
        rows: what earlier runs learnt.
        sources: their names and whether each is a file, in the order in which they are asked.
        overwrite: ask about movies that have a description too.
        retry_missing: ask again where a source had nothing.
    """

    def __init__(
        self, movies: Sequence[Movie], rows: dict[Key, DescriptionRow], sources: Mapping[str, bool], overwrite: bool,
        retry_missing: bool,
    ) -> None:  # fmt: skip
        self.movies = movies
        self.rows = rows
        self.names = list(sources)
        self._is_file = sources
        self.failures: dict[str, tuple[str, str]] = {}  # by tconst: who failed, and why
        self.counts = {name: dict.fromkeys(("found", "missing", "failed", "requests"), 0) for name in sources}
        self.cut = self.had = 0
        self._answered = {
            key
            for key, row in rows.items()
            if row.reason != LINKED and (row.description is not None or not retry_missing)
        }
        self.candidates = [movie for movie in movies if overwrite or not self._keeps_description(movie)]

    def find_pending(self, name: str) -> list[Movie]:
        """Return the movies about which a source is to be asked: those that the sources before it have no text of."""
        before = self.names[: self.names.index(name)]
        return [
            movie for movie in self.candidates
            if movie.tconst not in self.failures and (movie.tconst, name) not in self._answered
            and all(self._has_nothing(movie.tconst, other) for other in before)
        ]  # fmt: skip

    def learn(self, row: DescriptionRow) -> None:
        """Take in what a source said."""
        self.rows[row.key] = row
        if row.reason != LINKED:
            self._answered.add(row.key)

    def forget(self, name: str) -> dict[Key, DescriptionRow]:
        """Let a source be asked anew about all movies, a file that may have changed; return what it said before."""
        old: dict[Key, DescriptionRow] = {}
        for movie in self.candidates:
            key = movie.tconst, name
            self._answered.discard(key)
            if key in self.rows:
                old[key] = self.rows.pop(key)
        return old

    def settle(self, max_words: int, rejects: Rejects) -> list[tuple[str | None, str | None]]:
        """Return each movie's description and its source, and count.

        Args:
            max_words: longer texts are cut.
            rejects: where texts that are no descriptions go.
        """
        asked = {movie.tconst for movie in self.candidates}
        described: list[tuple[str | None, str | None]] = []
        for movie in self.movies:
            own = movie.description, movie.description_source
            if movie.tconst not in asked:
                self.had += 1
                described.append(own)
                continue
            row = self._choose(movie.tconst, rejects)
            if row is None or row.description is None:
                described.append(own)
                continue
            text = cut_description(row.description, max_words)
            self.cut += text != row.description
            described.append((text, row.source))
        return described

    def _choose(self, tconst: str, rejects: Rejects) -> DescriptionRow | None:
        for name in self.names:
            row = self.rows.get((tconst, name))
            if row is not None and row.description is not None:
                self.counts[name]["found"] += 1
                return row
            if tconst in self.failures and self.failures[tconst][0] == name:
                self.counts[name]["failed"] += 1
                return None
            self.counts[name]["missing"] += 1
            if row is not None and row.reason in get_args(DescribeReason):
                rejects.add(row.reason, tconst, row.raw or "")  # type: ignore[arg-type]  # just checked
        return None

    def _has_nothing(self, tconst: str, name: str) -> bool:
        """Say whether a source has no text of a movie: it said so, or it can't look the movie up."""
        row = self.rows.get((tconst, name))
        return row is None or row.description is None

    def _keeps_description(self, movie: Movie) -> bool:
        """Say whether a movie has a description that stays: any, but one of ours that would come out again.

        An earlier run put ours there; that it is found again, without asking, makes a run that goes on after a kill
        count as an undisturbed one does.
        """
        if not movie.description:
            return False
        source = movie.description_source or ""
        row = self.rows.get((movie.tconst, source))
        if source not in self.names or row is None or not (row.description or "").startswith(movie.description):
            return True
        before = self.names[: self.names.index(source)]
        return any(not self._is_settled(movie.tconst, name) for name in before)

    def _is_settled(self, tconst: str, name: str) -> bool:
        """Say whether no request is needed to know what a source has: it said so, or can't be asked, or is a file."""
        return (tconst, name) in self._answered or self._is_file[name] or not IMDB_ID.fullmatch(tconst)
