from pathlib import Path

import numpy as np
import pytest

from moviebot.data.schemas import Movie
from moviebot.errors import UserError
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.constraints import Constraints
from moviebot.rag.pair_features import FEATURES, PairFeatures
from moviebot.rag.pair_fit import fit_pair_scorer
from moviebot.rag.pair_scorer import PairScorer
from moviebot.rag.titles import TitleIndex

SIZE = 600
KINDS = 6


@pytest.fixture(scope="module")
def catalogue() -> tuple[list[Movie], np.ndarray]:
    """Six kinds of movies that only the embedding tells apart; people like movies of one kind together."""
    rng = np.random.default_rng(0)
    movies = [Movie(f"tt{row}", f"Word{row} Film{row}", year=1950 + row % 70, votes=100) for row in range(SIZE)]
    vectors = rng.normal(size=(SIZE, 16)).astype(np.float32) * 0.3
    vectors[np.arange(SIZE), np.arange(SIZE) % KINDS] += 0.5
    return movies, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def scorer(catalogue: tuple[list[Movie], np.ndarray]) -> PairScorer:
    rng = np.random.default_rng(1)
    lists = {row: [int(x) * KINDS + row % KINDS for x in rng.choice(70, 10, replace=False)] for row in range(420)}
    fitted = fit_pair_scorer(*catalogue, {row: [x for x in found if x != row] for row, found in lists.items()})
    assert fitted is not None
    return fitted


def test_places_movies_that_no_list_names(catalogue: tuple[list[Movie], np.ndarray], scorer: PairScorer) -> None:
    movies, vectors = catalogue
    ranker = CandidateRanker(movies, TitleIndex(movies), vectors, scorer)
    kinds = [row % KINDS == seed % KINDS for seed in range(500, 560) for row in ranker.rank("", [seed])]
    plain = [row % KINDS == s % KINDS for s in range(500, 560) for row in np.argsort(-(vectors @ vectors[s]))[1:21]]
    assert np.mean(kinds) > np.mean(plain) + 0.05


def test_constraints_leave_twenty(catalogue: tuple[list[Movie], np.ndarray], scorer: PairScorer) -> None:
    movies, vectors = catalogue
    ranker = CandidateRanker(movies, TitleIndex(movies), vectors, scorer)
    rows = ranker.rank("", [500], constraints=Constraints(year_from=2010))
    assert len(rows) == 20
    assert all((movies[row].year or 0) >= 2010 for row in rows)


def test_is_the_same_after_a_file(scorer: PairScorer, tmp_path: Path) -> None:
    path = tmp_path / "scorer.npz"
    scorer.save(path)
    loaded = PairScorer.load(path)
    np.testing.assert_array_equal(loaded.weights, scorer.weights)
    assert loaded.taste is not None
    assert scorer.taste is not None
    np.testing.assert_array_equal(loaded.taste.projection, scorer.taste.projection)
    assert loaded.taste.genres == scorer.taste.genres


def test_refuses_another_file(tmp_path: Path) -> None:
    path = tmp_path / "scorer.npz"
    path.write_bytes(b"nothing of ours")
    with pytest.raises(UserError, match="no fitted pair scorer"):
        PairScorer.load(path)


def test_too_few_lists_fit_nothing(catalogue: tuple[list[Movie], np.ndarray]) -> None:
    assert fit_pair_scorer(*catalogue, {0: [6], 1: [7]}) is None


def test_one_film_of_a_series_unless_asked() -> None:
    movies = [Movie("tt0", "Zed", genres=("Drama",), year=1990)]
    movies += [Movie(f"tt{n}", f"Rocky {n}", genres=("Drama",), year=1990 + n, directors=("A B",)) for n in range(2, 6)]
    ranker = CandidateRanker(movies, TitleIndex(movies))
    assert len(ranker.rank("", [0])) == 1
    assert len(ranker.rank("", [1])) == 2
    assert ranker.rank("more of the series please", [1])[:3] == [2, 3, 4]


def test_a_movie_that_nobody_has_rated_yet_is_no_obscure_one() -> None:
    """Two kinds of movies, famous ones told one way and obscure ones another: the text tells which a new one is."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(201, 16)).astype(np.float32)
    vectors[:, 0] += np.where(np.arange(201) < 100, 3.0, -3.0)
    vectors[200, 0] = 3.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    movies = [Movie(f"tt{n}", f"A{n}", year=2000, votes=500_000 if n < 100 else 9, rating=7.0) for n in range(200)]
    movies.append(Movie("tt200", "New", year=2000))
    gap = np.zeros(len(FEATURES), dtype=np.float32)
    gap[FEATURES.index("fame gap")] = -1.0
    score = PairFeatures(movies, vectors, None).score([200], gap)
    assert score[:100].min() > score[100:200].max()
