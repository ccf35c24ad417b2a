import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from moviebot.data.schemas import Movie
from moviebot.data.splits import normalise_title
from moviebot.errors import UserError
from moviebot.modules.index import MovieIndex
from moviebot.rag.choice import NONE, ChoiceModel, Example
from moviebot.rag.evidence import LETTERS, LETTERS_QUERY, EvidenceReader
from moviebot.rag.resolver import MovieResolver, Resolution
from moviebot.rag.story import StoryIndex
from tests.rag.conftest import sample_movies


@pytest.fixture(scope="module")
def resolver() -> MovieResolver:
    """Over the embedded sample, without embeddings."""
    return MovieResolver.fit(EvidenceReader(sample_movies()), count=400)


def find(resolver: MovieResolver, query: str) -> str | None:
    [found] = resolver.resolve([query])
    return None if found.row is None else resolver.reader.movies[found.row].label


@pytest.mark.parametrize(
    ("query", "label"),
    [
        ("who directed The Godfather?", "The Godfather (1972)"),
        ("who directed the godfahter", "The Godfather (1972)"),
        ("Casablanca", "Casablanca (1942)"),
        ("What year did Casblanca come out?", "Casablanca (1942)"),
        ("I watched Psycho yesterday. It was great!", "Psycho (1960)"),
    ],
)
def test_finds_the_movie_named(resolver: MovieResolver, query: str, label: str) -> None:
    assert find(resolver, query) == label


@pytest.mark.parametrize(
    "query",
    [
        "who directed Zzyzx Quorvle?", "hello", "", "31 77 4", "🎬🍿", "кто режиссёр фильма Иваново детство?",
        "Thanks, that sounds great!", "x" * 5000, "what " * 10_000,
    ],
)  # fmt: skip
def test_names_no_movie_where_none_is_meant(resolver: MovieResolver, query: str) -> None:
    assert find(resolver, query) is None


def test_a_described_plot_is_found_by_its_words(resolver: MovieResolver) -> None:
    movies = resolver.reader.movies
    movie = next(movie for movie in movies if len((movie.description or "").split()) > 25)
    told = " ".join((movie.description or "").split()[2:22])
    [found] = resolver.resolve([f"what's that movie where {told}"])
    assert movies[found.rows[0]] == movie
    assert any("of the words' weight" in said for said in found.candidates[0].evidence)


def test_evidence_is_told_in_words(resolver: MovieResolver) -> None:
    exact, misspelt = resolver.resolve(["The Godfather (1972) by Francis Ford Coppola", "the godfahter"])
    assert exact.candidates[0].evidence[:2] == ('named "The Godfather"', "its year")
    assert "its director" in exact.candidates[0].evidence
    assert misspelt.candidates[0].evidence[0] == 'spelt like "the godfahter"'


def test_probabilities_are_of_candidates_and_of_none(resolver: MovieResolver) -> None:
    for found in resolver.resolve(["who made Vertigo?", "hello there", "the one with the shark"]):
        scores = [candidate.score for candidate in found.candidates]
        assert scores == sorted(scores, reverse=True)
        assert all(0 <= score <= 1 for score in scores)
        assert sum(scores) <= 1 + 1e-5


def test_asks_which_where_none_is_sure() -> None:
    from moviebot.rag.resolver import Candidate

    doubtful = Resolution(tuple(Candidate(row, score, ()) for row, score in ((4, 0.2), (7, 0.15), (9, 0.001))), 0.3)
    assert doubtful.row is None
    assert doubtful.choices == (4, 7)
    assert Resolution(doubtful.candidates, 0.1).row == 4
    assert Resolution(doubtful.candidates, 0.1).choices == ()


def test_the_year_tells_remakes_apart_and_votes_where_none_is_told(resolver: MovieResolver) -> None:
    by_title: dict[str, list[Movie]] = {}
    for movie in resolver.reader.movies:
        by_title.setdefault(normalise_title(movie.title), []).append(movie)
    remakes = [group for group in by_title.values() if len(group) > 1]
    assert len(remakes) > 3
    for group in remakes:
        for movie in group:
            assert find(resolver, f"who made {movie.title} ({movie.year})?") == movie.label
        [plain] = resolver.resolve([f"who made {group[0].title}?"])
        first, second = sorted(group, key=lambda movie: -(movie.votes or 0))[:2]
        if (first.votes or 0) > 3 * (second.votes or 0):
            assert resolver.reader.movies[plain.rows[0]] == first


def test_the_embedding_finds_what_letters_cannot() -> None:
    movies = sample_movies()[:60]
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((len(movies), 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    described = [set((movie.description or "").split()) for movie in movies]

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        # A text lies where the movie lies whose description it shares most words with, or whose id it names.
        named = {_allude(movie): row for row, movie in enumerate(movies)}
        rows = [
            named.get(text, max(range(len(movies)), key=lambda row: len(described[row] & set(text.split()))))
            for text in texts
        ]
        return np.stack([vectors[row] for row in rows])

    index = MovieIndex(tuple(movie.tconst for movie in movies), vectors, "", "")
    reader = EvidenceReader(movies, index, index)
    resolver = MovieResolver.fit(reader, encode, count=200)
    [found] = resolver.resolve([_allude(movies[5])])
    assert found.rows[0] == 5
    assert "its description is 1.00 alike" in found.candidates[0].evidence


def _allude(movie: Movie) -> str:
    return f"there it all went wrong for them and nobody could ever put into words why so, number {movie.tconst}"


def test_a_word_said_again_and_again_counts_once() -> None:
    stories = StoryIndex(sample_movies())
    assert stories.score("shark " * 50).max() == stories.score("shark").max() > 0


def test_a_catalogue_of_one_movie_works() -> None:
    resolver = MovieResolver.fit(EvidenceReader([Movie("tt1", "Alone in Oslo")]), count=50)
    [found] = resolver.resolve(["alone in olso"])
    assert found.rows == (0,)


def test_is_the_same_after_saving(resolver: MovieResolver, tmp_path: Path) -> None:
    resolver.save(tmp_path)
    again = MovieResolver.load(tmp_path, resolver.reader)
    query = ["who directed the godfahter", "hello"]
    assert again.resolve(query) == resolver.resolve(query)
    (tmp_path / "letters.npz").write_bytes(b"no zip")
    with pytest.raises(UserError, match="holds no weights of the resolver"):
        MovieResolver.load(tmp_path, resolver.reader)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=120))
def test_any_text_is_read_without_a_fault(query: str) -> None:
    reader = EvidenceReader([Movie("tt1", "Up", year=2009), Movie("tt2", "Night Ferry", description="A ferry sinks.")])
    evidence = reader.read_letters(query)
    assert evidence.features.shape == (len(evidence.rows), len(LETTERS))
    assert evidence.query.shape == (len(LETTERS_QUERY),)
    assert np.isfinite(evidence.features).all()
    deep = reader.read_meanings(query, evidence, np.zeros(len(evidence.rows), dtype=np.float32))
    assert np.isfinite(deep.features).all()


def test_an_excluded_movie_is_as_if_it_were_absent(resolver: MovieResolver) -> None:
    reader = resolver.reader
    row = next(n for n, movie in enumerate(reader.movies) if movie.title == "Vertigo")
    assert row in reader.read_letters("who made Vertigo?").rows
    letters = reader.read_letters("who made Vertigo?", {row})
    assert row not in letters.rows
    deep = reader.read_meanings(
        "who made Vertigo?", letters, np.zeros(len(letters.rows), dtype=np.float32), None, {row}
    )
    assert row not in deep.rows


def test_the_choice_model_learns_to_choose_and_to_abstain() -> None:
    rng = np.random.default_rng(1)
    examples = []
    for _ in range(400):
        candidates = rng.standard_normal((5, 3)).astype(np.float32)
        chosen = int(candidates[:, 1].argmax())  # the second feature decides, where it is large enough
        meant = chosen if candidates[chosen, 1] > 0.8 else NONE
        examples.append(Example(candidates, np.zeros(1, dtype=np.float32), meant))
    model = ChoiceModel.fit(examples)
    sure = model.weigh(np.array([[0, 3, 0], [0, -1, 0]], dtype=np.float32), np.zeros(1, dtype=np.float32))
    none = model.weigh(np.array([[0, -2, 0], [0, -1, 0]], dtype=np.float32), np.zeros(1, dtype=np.float32))
    assert sure[0] > 0.9
    assert none.sum() < 0.1
    assert math.isclose(float(ChoiceModel.fit(examples).threshold), float(model.threshold))


def test_a_told_year_outweighs_a_famous_namesake(resolver: MovieResolver) -> None:
    """The namesake without votes is meant as much as the one that everybody saw, once its year is told."""
    movies = [*resolver.reader.movies, Movie("tt9999991", "The Godfather", year=1991)]
    assert any(movie.title == "The Godfather" and (movie.votes or 0) > 10**6 for movie in movies)
    wider = MovieResolver(EvidenceReader(movies), resolver.letters, resolver.meanings)
    for query in ("who directed The Godfather (1991)?", "what is the 1991 movie The Godfather about"):
        [found] = wider.resolve([query])
        assert movies[found.rows[0]].year == 1991
    [plain] = wider.resolve(["who directed The Godfather?"])
    assert movies[plain.rows[0]].year == 1972
