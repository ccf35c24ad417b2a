"""Writes made-up files of the shape and size of IMDb's, for ``bench_imdb.py``."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from isal import igzip
from numpy.typing import NDArray

ROWS = {"basics": 12_000_000, "names": 14_000_000}
CHUNK = 250_000
HEADERS = {
    "title.basics": "tconst titleType primaryTitle originalTitle isAdult startYear endYear runtimeMinutes genres",
    "title.ratings": "tconst averageRating numVotes",
    "title.crew": "tconst directors writers",
    "title.principals": "tconst ordering nconst category job characters",
    "title.akas": "titleId ordering title region language types attributes isOriginalTitle",
    "name.basics": "nconst primaryName birthYear deathYear primaryProfession knownForTitles",
}
NULL = "\\N"
# Shares of IMDb's dump of 2025.
TYPES = {
    "tvEpisode": 0.76, "short": 0.09, "movie": 0.06, "video": 0.03, "tvSeries": 0.025, "tvMovie": 0.0125,
    "tvMiniSeries": 0.0055, "tvSpecial": 0.005, "videoGame": 0.004, "tvShort": 0.008,
}  # fmt: skip
GENRES = [
    "Drama", "Comedy", "Documentary", "Short", "Talk-Show", "News", "Romance", "Family", "Reality-TV",
    "Animation", "Crime", "Action", "Music", "Adult", "Sport", "Horror",
]  # fmt: skip
REGIONS = [NULL, "DE", "FR", "JP", "IN", "ES", "IT", "PT", "US", "GB", "RU", "BR", "GR", "PL"]
LANGUAGES = [NULL, NULL, NULL, NULL, "en", "ja", "de", "fr", "es", "hi"]
CATEGORIES = ["actor", "actress", "self", "director", "writer", "producer", "composer", "cinematographer", "editor"]
Ints = NDArray[np.int64]


class Writer:
    """Writes made-up files of IMDb's shape.

    Args:
        folder: where the ``.tsv.gz`` files go.
        scale: 1.0 for full size.
    """

    def __init__(self, folder: Path, scale: float) -> None:
        self.folder = folder
        self.titles = int(ROWS["basics"] * scale)
        self.people = int(ROWS["names"] * scale)
        self.random = np.random.default_rng(7)
        self.words = pa.array(_make_words(self.random, 20_000, "aeiou", "bcdfghklmnprstvz"))
        foreign = _make_words(self.random, 8_000, "аеиоуяё", "бвгдклмнпрст") + _make_words(
            self.random, 8_000, "éüöàñãô", "bcdfglmnprst"
        )
        self.foreign = pa.array(foreign)

    def write(self) -> None:
        """Write all six files."""
        stems = list(HEADERS)
        handles = {stem: igzip.open(self.folder / f".{stem}.tmp", "wb", compresslevel=2) for stem in stems}  # type: ignore[no-untyped-call]
        for stem, handle in handles.items():
            handle.write(HEADERS[stem].replace(" ", "\t").encode() + b"\n")
        for first in range(0, self.titles, CHUNK):
            for stem, columns in self._make_titles(first, min(CHUNK, self.titles - first)):
                handles[stem].write(_join_lines(columns))
        for first in range(0, self.people, CHUNK):
            count = min(CHUNK, self.people - first)
            handles["name.basics"].write(_join_lines(self._make_names(first, count)))
        bad = {
            "title.basics": [
                b"tt99999990\tmovie\tToo few\n",
                b"tt0000001\tmovie\tTwice\tTwice\t0\t1990\t\\N\t90\tDrama\n",
            ],
            "title.ratings": [b"tt0000001\t5.0\t9\n"],
            "title.crew": [b"tt0000001\tnm0000001\n", b"tt0000002\t\\N\t\\N\n"],
            "title.principals": [b"tt0000003\t1\tnm0000001\tactor\t\\N\t\\N\t\\N\n"],
            "title.akas": [b"tt0000001\t99\tCaf\xe9\tFR\t\\N\t\\N\t\\N\t0\n"],
            "name.basics": [b"nm0000001\tTwice Named\t\\N\t\\N\t\\N\t\\N\n"],
        }
        for stem, handle in handles.items():
            handle.write(b"".join(bad[stem]))
            handle.close()
            (self.folder / f".{stem}.tmp").rename(self.folder / f"{stem}.tsv.gz")

    def _make_titles(self, first: int, count: int) -> "Iterator[tuple[str, list[pa.Array]]]":
        numbers = np.arange(first + 1, first + 1 + count)
        ids = _make_ids("tt", numbers)
        kinds = self.random.choice(len(TYPES), count, p=np.array(list(TYPES.values())) / sum(TYPES.values()))
        movie = kinds == list(TYPES).index("movie")
        titles = self._make_text(count, self.words)
        episode = pa.array(kinds == 0) if count else pa.array([], pa.bool_())
        numbered = pc.binary_join_element_wise(
            "Episode #", _text(self.random.integers(1, 9, count)), ".", _text(numbers % 300), ""
        )
        titles = pc.if_else(pc.and_(episode, pa.array(self.random.random(count) < 0.4)), numbered, titles)
        quoted = self.random.random(count)
        titles = pc.if_else(pa.array(quoted < 0.0005), pc.binary_join_element_wise('"', titles, ""), titles)
        titles = pc.if_else(
            pa.array(quoted > 0.995), pc.replace_substring(titles, " ", ' "', max_replacements=1), titles
        )
        original = pc.if_else(pa.array(self.random.random(count) < 0.9), titles, self._make_text(count, self.foreign))
        runtimes = self._null(_text(self.random.integers(1, 180, count)), np.where(movie, 0.35, 0.67))
        genres = pa.array(GENRES)
        second = genres.take(
            pa.array(self.random.integers(0, len(GENRES), count), mask=self.random.random(count) < 0.4)
        )
        both = pc.binary_join_element_wise(self._pick(GENRES, count), second, ",", null_handling="skip")
        yield "title.basics", [
            ids, pa.array(list(TYPES)).take(pa.array(kinds)), titles, original,
            _text((self.random.random(count) < 0.03).astype(np.int64)),
            self._null(_text(self.random.integers(1900, 2026, count)), 0.12), self._constant(count), runtimes,
            self._null(both, 0.04),
        ]  # fmt: skip
        rated = pa.array(self.random.random(count) < np.where(movie, 0.45, 0.113))
        tenths = self.random.integers(10, 100, count)
        ratings = pc.binary_join_element_wise(_text(tenths // 10), _text(tenths % 10), ".")
        votes = _text(np.minimum(self.random.pareto(0.7, count) * 5 + 5, 3_000_000).astype(np.int64))
        yield "title.ratings", [column.filter(rated) for column in (ids, ratings, votes)]
        directors = self._null(self._pick_people(count), 0.4)
        more = pc.binary_join_element_wise(directors, self._pick_people(count), ",")
        several = pc.and_(pa.array(self.random.random(count) < 0.05), pc.not_equal(directors, NULL))
        yield "title.crew", [ids, pc.if_else(several, more, directors), self._null(self._pick_people(count), 0.5)]
        yield (
            "title.principals",
            self._make_principals(ids, np.where(movie, 10, self.random.integers(1, 5, count) + 0.4)),
        )
        yield "title.akas", self._make_akas(ids, titles, np.where(movie, 4.5, 0.59))

    def _make_principals(self, ids: "pa.Array", mean: NDArray[np.float64]) -> "list[pa.Array]":
        rows, ordering = self._repeat(mean)
        count = len(rows)
        # The first four are mostly cast, the others mostly not.
        category = np.where(self.random.random(count) < np.where(ordering < 5, 0.8, 0.2),
                            self.random.integers(0, 3, count), self.random.integers(3, 9, count))  # fmt: skip
        name = pc.binary_join_element_wise(
            '["', self.words.take(pa.array(self.random.integers(0, 20_000, count))), '"]', ""
        )
        return [
            ids.take(pa.array(rows)), _text(ordering), self._pick_people(count),
            pa.array(CATEGORIES).take(pa.array(category)),
            self._null(self._pick(["producer", "creator", "voice"], count), 0.81), self._null(name, 0.5),
        ]  # fmt: skip

    def _make_akas(self, ids: "pa.Array", titles: "pa.Array", mean: NDArray[np.float64]) -> "list[pa.Array]":
        rows, ordering = self._repeat(mean)
        count = len(rows)
        same = pa.array(self.random.random(count) < 0.4)
        other = self._make_text(count, self.foreign)
        own = titles.take(pa.array(rows))
        return [
            ids.take(pa.array(rows)), _text(ordering), pc.if_else(same, own, other), self._pick(REGIONS, count),
            self._pick(LANGUAGES, count), self._null(self._pick(["imdbDisplay", "alternative"], count), 0.6),
            self._constant(count), _text((ordering == 1).astype(np.int64)),
        ]  # fmt: skip

    def _make_names(self, first: int, count: int) -> "list[pa.Array]":
        pick = [self.words.take(pa.array(self.random.integers(0, 20_000, count))) for _ in range(2)]
        known = pc.binary_join_element_wise(
            *(_make_ids("tt", self.random.integers(1, self.titles + 1, count)) for _ in "12"), ","
        )
        return [
            _make_ids("nm", np.arange(first + 1, first + 1 + count)), pc.binary_join_element_wise(*pick, " "),
            self._null(_text(self.random.integers(1870, 2010, count)), 0.95), self._constant(count),
            self._null(self._pick(["actor", "actress,producer", "editor", "camera_department"], count), 0.2),
            self._null(known, 0.1),
        ]  # fmt: skip

    def _repeat(self, mean: NDArray[np.float64]) -> tuple[Ints, Ints]:
        """Return the row of the title and the ordering (from 1) for each of about ``mean`` rows a title."""
        times = np.floor(mean + self.random.random(len(mean))).astype(np.int64)
        rows = np.repeat(np.arange(len(mean)), times)
        return rows, np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times) + 1

    def _make_text(self, count: int, words: "pa.Array") -> "pa.Array":
        picked = [
            words.take(pa.array(self.random.integers(0, len(words), count), mask=self.random.random(count) < share))
            for share in (0.0, 0.1, 0.5, 0.7)
        ]
        return pc.binary_join_element_wise(*picked, " ", null_handling="skip")

    def _pick_people(self, count: int) -> "pa.Array":
        skewed = (self.people * self.random.random(count) ** 2).astype(np.int64)  # some people are in much
        return _make_ids("nm", skewed + 1)

    def _pick(self, words: list[str], count: int) -> "pa.Array":
        return pa.array(words).take(pa.array(self.random.integers(0, len(words), count)))

    def _null(self, cells: "pa.Array", share: "float | NDArray[np.float64]") -> "pa.Array":
        return pc.if_else(pa.array(self.random.random(len(cells)) < share), NULL, cells)

    def _constant(self, count: int) -> "pa.Array":
        return pa.array([NULL]).take(pa.array(np.zeros(count, np.int64)))


def _make_words(random: np.random.Generator, count: int, vowels: str, consonants: str) -> list[str]:
    syllables = [c + v for c in consonants for v in vowels]
    picked = random.integers(0, len(syllables), (count, 3))
    lengths = random.integers(1, 4, count)
    rows = zip(picked, lengths, strict=True)
    return ["".join(syllables[s] for s in row[:length]).capitalize() for row, length in rows]


def _make_ids(prefix: str, numbers: Ints) -> "pa.Array":
    return pc.binary_join_element_wise(prefix, pc.utf8_lpad(_text(numbers), 7, "0"), "")


def _text(numbers: Ints) -> "pa.Array":
    return pc.cast(pa.array(numbers), pa.string())


def _join_lines(columns: "list[pa.Array]") -> bytes:
    lines = pc.binary_join_element_wise(*columns[:-1], pc.binary_join_element_wise(columns[-1], "\n", ""), "\t")
    return lines.buffers()[2].to_pybytes() if len(lines) else b""
