import numpy as np
import pytest

from moviebot.data.schemas import Movie
from moviebot.rag.resolver import MovieResolver, Resolution


def resolve(resolver: MovieResolver, query: str, is_description: bool = False) -> Resolution:
    return resolver.resolve(query, resolver.titles.find_mentions(query), is_description)


@pytest.fixture(scope="module")
def resolver(movies: list[Movie]) -> MovieResolver:
    return MovieResolver(movies)


def test_a_title_is_surer_than_a_misspelling_and_both_are_found(resolver: MovieResolver) -> None:
    exact, misspelt = resolve(resolver, "who directed Winter Wheat?"), resolve(resolver, "who directed wintr whaet?")
    assert exact.row == misspelt.row == 9
    assert exact.score > misspelt.score


def test_a_year_tells_remakes_apart(resolver: MovieResolver) -> None:
    assert resolve(resolver, "who made The Red Lantern (1931)?").row == 0
    assert resolve(resolver, "who made The Red Lantern (1987)?").row == 1
    assert set(resolve(resolver, "who made The Red Lantern?").rows[:2]) == {0, 1}


@pytest.mark.parametrize("query", ["who directed Zzyzx Quorvle?", "hello", "", "12 12 12"])
def test_abstains_where_nothing_is_near(resolver: MovieResolver, query: str) -> None:
    assert resolve(resolver, query).row is None


def test_a_described_plot_is_found_by_its_words() -> None:
    catalogue = [
        Movie("tt1", "Rome", description="A history of the city's aqueducts."),
        Movie("tt2", "The Vault", description="A gang of thieves plans a heist and tunnels under a bank."),
        Movie("tt3", "Quiet Hills", description="A shepherd looks for a lost lamb."),
    ]
    found = resolve(MovieResolver(catalogue), "Thieves tunnel under a bank in Rome for one last heist.", True)
    assert catalogue[found.rows[0]].tconst == "tt2"


def test_the_embedding_decides_between_equal_spellings() -> None:
    catalogue = [Movie("tt1", "Silver Bay"), Movie("tt2", "Silver Day")]
    labels = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    resolver = MovieResolver(catalogue, labels)
    query = "who directed silver jay"
    found = resolver.resolve(query, [], label_query=np.array([0.0, 1.0], dtype=np.float32))
    assert found.rows[0] == 1


def test_a_catalogue_of_one_movie_works() -> None:
    resolver = MovieResolver([Movie("tt1", "Alone in Oslo")], np.ones((1, 2), dtype=np.float32))
    assert resolver.resolve("alone in olso", [], label_query=np.ones(2, dtype=np.float32)).rows == (0,)
