import json
import os
from pathlib import Path

import numpy as np
import pytest

from moviebot.artefact import read_jsonl, read_report
from moviebot.data.cleaning import clean
from moviebot.data.movielens import find_movielens, read_likes
from moviebot.data.movielens_teacher import rank_liked
from moviebot.data.rejects import Rejects
from moviebot.data.replies import RAW_NAME, read_replies
from moviebot.data.schemas import Movie, read_recommendations, write_catalogue
from moviebot.data.table import read_table
from moviebot.data.teacher import teach
from moviebot.errors import UserError
from tests.conftest import SHARED_DATA

REAL = SHARED_DATA / "recommendations"


def write_movielens(folder: Path, ratings: list[str], prefix: str = "") -> Path:
    """Twelve movies: 1 to 10 are linked by id, 11 by title and year, 12 is not in the catalogue."""
    folder.mkdir(exist_ok=True)
    (folder / f"{prefix}ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n" + "".join(f"{r},1\n" for r in ratings)
    )
    links = [f"{n},{n:07d},{n}\n" for n in range(1, 11)] + ["11,9999999,\n", "12,9999998,\n"]
    (folder / f"{prefix}links.csv").write_text("movieId,imdbId,tmdbId\n" + "".join(links))
    titles = [f'{n},"Film {n} (2000)",Drama\n' for n in range(1, 11)] + [
        '11,"Last Beekeeper, The (2017)",Drama\n',
        "12,No (1),x\n",
    ]
    (folder / f"{prefix}movies.csv").write_text("movieId,title,genres\n" + "".join(titles))
    return folder


def likes() -> list[str]:
    """Everybody likes 1; six people like 2 and 3; six others like 4, 5 and 11; 6 is liked by one, 7 is disliked."""
    rows = []
    for user in range(12):
        liked = [1, *([2, 3] if user < 6 else [4, 5, 11]), *([6] if user == 0 else [])]
        rows += [f"{user},{movie},4.5" for movie in liked]
        rows.append(f"{user},7,2.0")
    return rows


@pytest.fixture
def out(tmp_path: Path, movies: list[Movie]) -> Path:
    write_catalogue(tmp_path / "out" / "catalogue.parquet", movies)
    return tmp_path / "out"


@pytest.mark.parametrize("prefix", ["", "movielens_"])
def test_people_write_lists(out: Path, tmp_path: Path, movies: list[Movie], prefix: str) -> None:
    folder = write_movielens(tmp_path / "ml", likes(), prefix)
    teach(out, "movielens", movielens_dir=folder)
    replies = {reply.tconst: reply for reply in read_replies(out / RAW_NAME)}
    label = {movie.tconst: movie.label for movie in movies}
    listed = {tconst: json.loads(reply.reply)["recommended"] for tconst, reply in replies.items()}
    # What everybody likes is last, though as many as any other liked it together with the seed.
    assert listed["tt0000002"] == [label["tt0000003"], label["tt0000001"]]
    assert listed["tt0000004"] == [label["tt0000005"], label["tt0000011"], label["tt0000001"]]
    assert set(listed) == {"tt0000001", "tt0000002", "tt0000003", "tt0000004", "tt0000005", "tt0000011"}
    assert {(reply.model, reply.task) for reply in replies.values()} == {("movielens", "recommend")}
    entry = read_report(out)["teach"]
    assert (entry["in"], entry["movies"], entry["without_support"]) == (6, 12, 6)
    before = (out / RAW_NAME).read_bytes()
    teach(out, "movielens", movielens_dir=folder)
    assert (out / RAW_NAME).read_bytes() == before
    clean(out)
    assert {row.source for row in read_recommendations(out / "recommendations.jsonl")} == {"movielens"}


def test_other_ratings_are_other_requests(out: Path, tmp_path: Path) -> None:
    teach(out, "movielens", movielens_dir=write_movielens(tmp_path / "ml", likes()))
    first = {reply.request_id for reply in read_replies(out / RAW_NAME)}
    teach(out, "movielens", movielens_dir=write_movielens(tmp_path / "ml", [*likes(), "77,1,5.0"]))
    later = {reply.request_id for reply in read_replies(out / RAW_NAME)} - first
    assert len(first) == len(later) == 6
    clean(out)
    assert read_report(out)["clean"]["rejected"]["superseded"] == 6


def test_a_cut_log_is_made_whole(out: Path, tmp_path: Path) -> None:
    folder = write_movielens(tmp_path / "ml", likes())
    teach(out, "movielens", movielens_dir=folder)
    whole = [(reply.request_id, reply.reply) for reply in read_replies(out / RAW_NAME)]
    os.truncate(out / RAW_NAME, (out / RAW_NAME).stat().st_size // 2)
    teach(out, "movielens", movielens_dir=folder)
    assert [(reply.request_id, reply.reply) for reply in read_replies(out / RAW_NAME)] == whole


def test_order_of_the_ratings_does_not_matter(tmp_path: Path, movies: list[Movie]) -> None:
    ranked = []
    for rows in (likes(), likes()[::-1], [*likes(), *likes()]):
        matrix = read_likes(find_movielens(write_movielens(tmp_path / "ml", rows)), movies).matrix
        assert matrix.max() == 1
        ranked.append(dict(rank_liked(matrix, movies, [movie.tconst for movie in movies], 20)))
    assert ranked[0] == ranked[1] == ranked[2]


def test_every_problem_is_in_one_line(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs --movielens_dir DIR"):
        teach(out, "movielens")
    with pytest.raises(UserError, match="is no folder"):
        teach(out, "movielens", movielens_dir=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"ratings.csv is not there; links.csv is not there; movies.csv is not there"):
        teach(out, "movielens", movielens_dir=tmp_path / "empty")
    folder = write_movielens(tmp_path / "ml", [*likes(), "1,2", "many,3,4.0", "5,6,nine", "7,8,11"])
    (folder / "links.csv").write_text("movieId,tmdbId\n1,2\n")
    (folder / "movies.csv").write_text("")
    with pytest.raises(UserError) as error:
        teach(out, "movielens", movielens_dir=folder)
    message = str(error.value)
    assert "\n" not in message
    for problem in (
        "ratings.csv: 2 values are no numbers (the first: 'many')",
        "ratings.csv: 1 rows have too few or too many fields",
        "links.csv lacks one of the columns movieId, imdbId", "movies.csv is empty",
    ):  # fmt: skip
        assert problem in message
    with pytest.raises(UserError, match=r"1 ratings are not 0 to 5 \(the first: 11\)"):
        teach(out, "movielens", movielens_dir=write_movielens(folder, [*likes(), "7,8,11"]))
    (folder / "ratings.csv").rename(folder / "a_ratings.csv")
    (folder / "b_ratings.csv").write_text("x")
    with pytest.raises(UserError, match=r"could be any of a_ratings.csv, b_ratings.csv"):
        teach(out, "movielens", movielens_dir=folder)
    with pytest.raises(UserError, match="writes lists only"):
        teach(out, "movielens", task=("qa",), movielens_dir=folder)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real ratings are not here")
def test_real_likes_beat_popularity() -> None:
    movies, _ = read_table(SHARED_DATA / "catalogue" / "movies.tsv", Rejects("catalogue"))
    found = read_likes(find_movielens(REAL), movies)
    rows = read_jsonl(REAL / "movielens_neighbours_dev.jsonl")
    ranked = dict(rank_liked(found.matrix, movies, [row["seed"] for row in rows], 20))
    popular = [movies[n].tconst for n in np.argsort(-np.asarray(found.matrix.sum(axis=0)).ravel(), kind="stable")[:20]]
    hits = [bool(set(ranked[row["seed"]]) & set(row["accepted"])) for row in rows]
    assert np.mean(hits) > 0.8
    assert np.mean([bool(set(popular) & set(row["accepted"])) for row in rows]) < 0.2
