import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from moviebot.data.schemas import Movie
from moviebot.data.selection import Selection

GENRES = st.lists(st.sampled_from(["Drama", "Sci-Fi", "sci-fi", "War", "Film-Noir"]), max_size=3).map(tuple)
YEARS = st.none() | st.integers(1990, 1993)
MOVIES = st.lists(st.builds(Movie, st.just("tt"), st.just("Up"), year=YEARS, genres=GENRES, votes=YEARS), max_size=12)


@settings(deadline=None, max_examples=60)
@given(MOVIES, YEARS, st.integers(0, 3), st.sampled_from([0, 1, 1992]), GENRES, st.sampled_from([(), ("WAR",)]))
def test_sql_passes_over_what_python_passes_over(
    movies: list[Movie], year: int | None, more: int, min_votes: int, genres: tuple[str, ...], excluded: tuple[str, ...]
) -> None:
    """IMDb's files are selected in SQL, a table in Python: by the same rules."""
    genres = tuple(genre for genre in genres if genre != "War")
    selection = Selection(year, year + more if year else None, min_votes, genres=genres, exclude_genres=excluded)
    kept = selection.select(movies)
    expression, parameters = selection.write_sql()
    table = pa.table(
        {
            "place": pa.array(range(len(movies)), pa.int64()),
            "year": pa.array([movie.year for movie in movies], pa.int32()),
            "votes": pa.array([movie.votes for movie in movies], pa.int64()),
            "genres": pa.array([list(movie.genres) for movie in movies], pa.list_(pa.string())),
        }
    )
    with duckdb.connect() as connection:
        connection.register("movies", table)
        query = f"SELECT place, {expression} FROM movies ORDER BY place"
        found = connection.execute(query, parameters).fetchall()
    assert [movies[place] for place, why in found if why is None] == kept
    for name in ("year", "genres", "exclude_genres", "votes"):
        assert sum(why == name for _, why in found) == selection.filtered[name]
