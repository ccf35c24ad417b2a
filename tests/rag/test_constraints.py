import pytest

from moviebot.data.schemas import Movie
from moviebot.rag.constraints import Constraints

FULL = Movie("tt1", "A", year=1999, runtime_minutes=100, genres=("Comedy", "Sci-Fi"), rating=7.0)
BARE = Movie("tt2", "B")


@pytest.mark.parametrize(
    ("constraints", "allowed"),
    [
        (Constraints(), [True, True]),
        (Constraints(year_from=1999, year_to=1999), [True, False]),
        (Constraints(year_to=1998), [False, False]),
        (Constraints(genres=frozenset({"sci fi", "COMEDY"})), [True, False]),
        (Constraints(without_genres=frozenset({"comedy"})), [False, True]),
        (Constraints(runtime_at_most=100), [True, False]),
        (Constraints(runtime_at_least=101), [False, False]),
        (Constraints(rating_at_least=7.0), [True, False]),
        (Constraints(seen=frozenset({"tt1"})), [False, True]),
    ],
)
def test_each_condition(constraints: Constraints, allowed: list[bool]) -> None:
    assert constraints.allow([FULL, BARE]).tolist() == allowed
