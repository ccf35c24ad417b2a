"""What speaks for and against each movie that a query may mean, as numbers.

Legend: N movies, C candidates, F features of a candidate, E features of a query, D embedding.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.modules.index import MovieIndex
from moviebot.rag.signs import Signs, read_signs, weigh_signs
from moviebot.rag.spelling import LEAST_LIKENESS, Spelling, SpellingIndex
from moviebot.rag.story import StoryIndex
from moviebot.rag.take_best import take_best
from moviebot.rag.titles import Span, TitleIndex
from moviebot.rag.words import COMMON, Word, find_decades, find_years, fold, split_words, weigh_words

Floats = NDArray[np.float32]
_LABEL_POOL, _STORY_POOL = 20, 30  # movies that each view puts forward
_LEAST_ODDS = -8.0  # of a movie that no title speaks for
_SIGNS = tuple(name for name in Signs._fields if name not in ("year_told", "decade_told"))
LETTERS = (
    *_SIGNS, "named", "inside_longer", "share", "less_known_namesake",
    "spelt", "likeness", "likeness_long", "letters", "unknown_held", "number_differs", "unknown_left",
    "year_same", "year_near", "year_other", "decade_same", "year_other_named",
    "director_named", "actor_named", "other_person_named", "fame", "unrated",
)  # fmt: skip
"""What titles, years, people and votes say of a candidate."""
LETTERS_QUERY = ("long", "best_name", "unknown", "people", "best_spelling")
"""What they say of the query as a whole."""
MEANINGS = (
    "odds", "chance", "label_cosine", "label_gap", "words_share", "words_gap", "story_cosine", "story_gap",
    "year_same", "year_other", "director_named", "actor_named", "other_person_named", "fame",
)  # fmt: skip
"""What that comes to, and what embeddings and descriptions say of a candidate."""
MEANINGS_QUERY = (*LETTERS_QUERY, "best_chance", "best_label", "best_story", "best_words")
_FACTS = MEANINGS[MEANINGS.index("year_same") :]
_FACT_PLACES = [LETTERS.index(name) for name in _FACTS]
_DESCRIBED = LETTERS.index("year_same")  # the first of what _describe_facts gives
_SAID = {
    "year_same": "its year",
    "year_near": "a year next to its own",
    "decade_same": "its decade",
    "director_named": "its director",
    "actor_named": "one of its cast",
}


@dataclass(frozen=True)
class Evidence:
    """The candidates of one query.

    Attributes:
        rows: C catalogue rows.
        features: ``(C, F)``, in the order of :data:`LETTERS` or :data:`MEANINGS`.
        query: ``(E,)``, in the order of :data:`LETTERS_QUERY` or :data:`MEANINGS_QUERY`.
        explain: tells, for a candidate's place among them, what speaks for it, in words.
    """

    rows: tuple[int, ...]
    features: Floats
    query: Floats
    explain: Callable[[int], tuple[str, ...]]


@dataclass(frozen=True)
class _Reading:
    """What the letters of a query say."""

    query: str
    words: Sequence[Word]
    spans: Mapping[int, Span]  # by row, the likeliest
    spellings: Mapping[int, Spelling]
    inside: Collection[tuple[int, int]]  # spans within longer ones
    unknown: Sequence[int]  # places of words that are in no vocabulary
    names: Sequence[tuple[int, int]]

    # What follows is the same for each of hundreds of candidates.
    @cached_property
    def years(self) -> Mapping[int, int]:
        return find_years(self.query)

    @cached_property
    def decades(self) -> Collection[int]:
        return find_decades(self.query)

    @cached_property
    def weight(self) -> float:
        return weigh_words(word.plain for word in self.words)

    @cached_property
    def name_texts(self) -> Sequence[str]:
        return [" ".join(word.plain for word in self.words[first : last + 1]) for first, last in self.names]


class EvidenceReader:
    """Gathers candidates from all views, and what speaks for each.

    Args:
        movies: the catalogue, N movies.
        labels: of the embeddings of the movies' labels, or None to go without.
        descriptions: of the embeddings of the movies' descriptions, or None to go without.
        known: folded words that are no misspellings, beside those of the catalogue's people and descriptions.
    """

    def __init__(
        self,
        movies: Sequence[Movie],
        labels: MovieIndex | None = None,
        descriptions: MovieIndex | None = None,
        known: Collection[str] = frozenset(),
    ) -> None:
        self.movies = movies
        self.titles = TitleIndex(movies)
        self.spellings = SpellingIndex(movies)
        self.stories = StoryIndex(movies)
        self.labels = labels
        self.descriptions = descriptions
        self._extra = known

    @cached_property
    def _namesakes(self) -> NDArray[np.int32]:
        """``(N,)``, the same number for the same title."""
        numbers: dict[str, int] = {}
        titles = (numbers.setdefault(normalise_title(movie.title), len(numbers)) for movie in self.movies)
        return np.fromiter(titles, np.int32, len(self.movies))

    @cached_property
    def _obscurity(self) -> Floats:
        """``(N,)``, by how much less known each is than the best known movie of its title, in tenfold votes."""
        best = np.zeros(len(self.movies))
        np.maximum.at(best, self._namesakes, self.titles.fame)
        return (best[self._namesakes] - self.titles.fame).astype(np.float32)

    @cached_property
    def known(self) -> frozenset[str]:
        """Words that are no misspellings."""
        texts = (text for m in self.movies for text in (*m.directors, *m.cast, m.description or ""))
        raw = {word for text in texts for word in text.split()}  # few differ: folding takes most of the time
        return frozenset(word for text in raw for word in fold(text).split()) | COMMON | frozenset(self._extra)

    def read_letters(self, query: str, excluded: Collection[int] = frozenset()) -> Evidence:
        """Gather the movies whose title stands in a query, or is spelt like a part of it.

        Args:
            query: the person's words.
            excluded: rows to pass over, as if the catalogue lacked them.
        """
        words = split_words(query)
        reading = self._read_query(query, words, excluded)
        rows = tuple(dict.fromkeys((*reading.spans, *reading.spellings)))
        columns = [self._describe_title(reading, row) for row in rows]
        features = np.array(columns, dtype=np.float32).reshape(len(rows), len(LETTERS))
        best_name = max((weigh_signs(signs) for signs in {s.signs for s in reading.spans.values()}), default=0.0)
        best_spelling = max((found.likeness for found in reading.spellings.values()), default=0.0)
        long = min(2.0, max(-1.0, math.log2((len(words) + 1) / 8)))
        asked = [long, best_name, min(3, len(reading.unknown)) / 3, min(2, len(reading.names)) / 2, best_spelling]
        return Evidence(rows, features, np.array(asked, dtype=np.float32), partial(_explain, reading, rows, features))

    def read_meanings(
        self,
        query: str,
        letters: Evidence,
        chances: Floats,
        vector: Floats | None = None,
        excluded: Collection[int] = frozenset(),
    ) -> Evidence:
        """Add the movies whose label or description means the same, or shares words.

        Args:
            query: the person's words.
            letters: what :meth:`read_letters` gathered for it.
            chances: ``(C,)`` the probabilities that came to.
            vector: ``(D,)`` the query's embedding.
            excluded: rows to pass over, as if the catalogue lacked them.
        """
        words = self.stories.score(query)  # (N,)
        words[list(excluded)] = 0.0
        scale = self.stories.score_best(query)
        by_label, best_label = _search(self.labels, vector, _LABEL_POOL, excluded)
        by_story, best_story = _search(self.descriptions, vector, _STORY_POOL, excluded)
        by_words = [row for row in take_best(words, _STORY_POOL) if words[row] > 0]
        best_words = float(words[by_words[0]]) / scale if by_words else 0.0
        rows = list(dict.fromkeys((*letters.rows, *by_label, *by_words, *by_story)))
        asked = [*letters.query.tolist(), float(chances.max(initial=0.0)), best_label, best_story, best_words]
        label = self._level_namesakes(rows, _compare(self.labels, vector, rows))
        shared = words[rows] / scale
        story = _compare(self.descriptions, vector, rows)
        compared = (label, label - best_label, shared, shared - best_words, story, story - best_story)
        place = {row: n for n, row in enumerate(letters.rows)}
        none = max(1e-4, 1.0 - float(chances.sum()))
        features = np.zeros((len(rows), len(MEANINGS)), dtype=np.float32)
        if rows:
            features[:, 2:8] = np.stack(compared, axis=1)
        reading = self._read_facts(query)
        for n, row in enumerate(rows):
            chance = float(chances[place[row]]) if row in place else 0.0
            features[n, 0] = max(_LEAST_ODDS, math.log(max(chance, 1e-6) / none)) / -_LEAST_ODDS
            features[n, 1] = chance
            if row in place:
                features[n, 8:] = letters.features[place[row], _FACT_PLACES]
            else:
                known = self._describe_facts(reading, row, None)
                features[n, 8:] = [known[at - _DESCRIBED] for at in _FACT_PLACES]

        def explain(n: int) -> tuple[str, ...]:
            extra = (
                f"shares {features[n, 4]:.0%} of the words' weight" if features[n, 4] else "",
                f"its description is {features[n, 6]:.2f} alike" if features[n, 6] else "",
            )
            return (*(letters.explain(place[rows[n]]) if rows[n] in place else ()), *filter(None, extra))

        return Evidence(tuple(rows), features, np.array(asked, dtype=np.float32), explain)

    def _level_namesakes(self, rows: Sequence[int], cosines: Floats) -> Floats:
        """Give movies of one title the best of their labels' cosines, ``(C,)``: what differs is the year.

        A year that was told has features of its own; one that was not makes no label likelier, whatever the encoder
        feels about it.
        """
        _, titles = np.unique(self._namesakes[list(rows)], return_inverse=True)
        best = np.full(len(rows), -1.0, dtype=np.float32)
        np.maximum.at(best, titles, cosines)
        return best[titles]

    def _read_query(self, query: str, words: Sequence[Word], excluded: Collection[int]) -> _Reading:
        spans: dict[int, Span] = {}
        weights: dict[int, float] = {}
        found = [span for span in self.titles.find_spans(query, words) if not span.rows.keys() <= set(excluded)]
        for span in found:
            weight = weigh_signs(span.signs)
            for row in span.rows:
                if row not in excluded and weight > weights.get(row, -math.inf):
                    spans[row], weights[row] = span, weight
        places = {(span.first, span.last) for span in found}
        inside = {(a, b) for a, b in places if any(c <= a and b <= d and (a, b) != (c, d) for c, d in places)}
        spellings = {
            spelling.row: spelling
            for spelling in self.spellings.find(words, self.known)
            if spelling.row not in spans and spelling.row not in excluded
        }
        unknown = [
            place
            for place, word in enumerate(words)
            if not all(part in self.known or part.isdigit() for part in word.plain.split())
        ]
        return _Reading(query, words, spans, spellings, inside, unknown, self.titles.find_names(words))

    def _read_facts(self, query: str) -> _Reading:
        """Read the people and years of a query alone."""
        words = split_words(query)
        return _Reading(query, words, {}, {}, (), (), self.titles.find_names(words))

    def _describe_title(self, reading: _Reading, row: int) -> list[float]:
        words, query = reading.words, reading.query
        span, spelling = reading.spans.get(row), reading.spellings.get(row)
        place: tuple[int, int] | None = None
        signs: Signs | None = None
        if span is not None:
            place = span.first, span.last
            signs = span.signs._replace(weak_name=1.0 - span.rows[row])
        elif spelling is not None:
            place = spelling.first, spelling.last
            signs = read_signs(query, words, *place)
        values = [getattr(signs, name) if signs is not None else 0.0 for name in _SIGNS]
        held = [at for at in reading.unknown if place is not None and place[0] <= at <= place[1]]
        within = weigh_words(word.plain for word in words[place[0] : place[1] + 1]) if place else 0.0
        values += [
            float(span is not None),
            float(span is not None and place in reading.inside),
            within / max(reading.weight, 0.2),
            0.0 if self.movies[row].year in reading.years else float(self._obscurity[row]),
        ]
        likeness = (spelling.likeness - LEAST_LIKENESS) / (1 - LEAST_LIKENESS) if spelling is not None else 0.0
        letters = min(len(spelling.name), 30) / 30 if spelling is not None else 0.0
        values += [float(spelling is not None), likeness, likeness * letters, letters, min(2, len(held)) / 2]
        values.append(float(spelling is not None and place is not None and self._differs(spelling, words, place)))
        values.append(min(3, len(reading.unknown) - len(held)) / 3)
        return values + self._describe_facts(reading, row, place)

    def _describe_facts(self, reading: _Reading, row: int, place: tuple[int, int] | None) -> list[float]:
        movie = self.movies[row]
        start, end = (reading.words[place[0]].start, reading.words[place[1]].end) if place else (-1, -1)
        years = [year for year, at in reading.years.items() if not start <= at < end]
        gap = min((abs(movie.year - year) for year in years), default=None) if movie.year is not None else None
        decade = movie.year is not None and movie.year // 10 % 10 in reading.decades
        other = gap is not None and gap > 1
        names = [
            name
            for name, (a, b) in zip(reading.name_texts, reading.names, strict=True)
            if place is None or b < place[0] or a > place[1]
        ]
        directs = bool(names) and any(fold(name) in names for name in movie.directors)
        acts = bool(names) and any(fold(name) in names for name in movie.cast)
        return [
            float(gap == 0), float(gap == 1), float(other), float(decade), float(other and place is not None),
            float(directs), float(acts), float(bool(names) and not directs and not acts),
            float(self.titles.fame[row]) / 7, float(not movie.votes),
        ]  # fmt: skip

    def _differs(self, spelling: Spelling, words: Sequence[Word], place: tuple[int, int]) -> bool:
        """Say whether the numbers differ: "Rocky III" is no misspelt "Rocky II"."""
        told = {word for at in range(place[0], place[1] + 1) for word in words[at].plain.split() if word.isdigit()}
        return told != {word for word in spelling.name.split() if word.isdigit()}


def _explain(reading: _Reading, rows: Sequence[int], features: Floats, n: int) -> tuple[str, ...]:
    row, value = rows[n], dict(zip(LETTERS, features[n].tolist(), strict=True))
    if row in reading.spans:
        span = reading.spans[row]
        first = f'named "{reading.query[reading.words[span.first].start : span.end]}"'
    else:
        spelling = reading.spellings[row]
        written = reading.query[reading.words[spelling.first].start : reading.words[spelling.last].end]
        first = f'spelt like "{written}"'
    return (first, *(words for name, words in _SAID.items() if value[name]))


def _search(
    index: MovieIndex | None, vector: Floats | None, count: int, excluded: Collection[int]
) -> tuple[list[int], float]:
    """Return the rows of the highest cosines above zero, highest first, and the highest cosine, at least 0."""
    if index is None or vector is None:
        return [], 0.0
    rows, cosines = index.search_rows(vector[None], count + len(excluded))
    pairs = zip(rows[0].tolist(), cosines[0].tolist(), strict=True)
    found = [(row, cosine) for row, cosine in pairs if cosine > 0 and row not in excluded][:count]
    return [row for row, _ in found], found[0][1] if found else 0.0


def _compare(index: MovieIndex | None, vector: Floats | None, rows: Sequence[int]) -> Floats:
    """Return the cosines ``(C,)`` of rows, 0 without an index."""
    if index is None or vector is None or not rows:
        return np.zeros(len(rows), dtype=np.float32)
    found: Floats = index.vectors[list(rows)] @ vector
    return found
