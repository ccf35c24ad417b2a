import hashlib
import json
import random
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import pytest

from moviebot.artefact import read_jsonl, read_report
from moviebot.data.cleaning import clean
from moviebot.data.list_judging import ListJudge
from moviebot.data.movielens import find_movielens, read_likes
from moviebot.data.movielens_teacher import rank_liked
from moviebot.data.pairs import MAY_SEE
from moviebot.data.rejects import Rejects
from moviebot.data.replies import RAW_NAME, Reply, ReplyLog, Request
from moviebot.data.schemas import Movie, RecommendationList, Split, read_recommendations, write_catalogue
from moviebot.data.splits import split_movies
from moviebot.data.table import read_table
from tests.conftest import SHARED_DATA

GENRES = {"space": "Sci-Fi", "court": "Drama", "ghost": "Horror"}


@pytest.fixture(scope="module")
def catalogue() -> list[Movie]:
    """Three families of ten films that share people, genre and story; and two pairs of one title."""
    made = []
    for family, genre in GENRES.items():
        for n in range(10):
            made.append(
                Movie(
                    f"{family}{n}", f"{family.title()} Tale {chr(65 + n)}", year=1990 + n, genres=(genre,),
                    votes=100 + n,
                    directors=(f"{family} director",), cast=(f"{family} star", f"{family} other"),
                    description=f"A story of the {family} where the {family} folk number {n} meet.",
                )
            )  # fmt: skip
    twins = [("space", 1950, 50), ("court", 1980, 60)]
    made += [
        Movie(f"twin{year}", "Twin", year=year, genres=(GENRES[family],), votes=votes,
              directors=(f"{family} director",), cast=(f"{family} star", f"{family} other"))
        for family, year, votes in twins
    ]  # fmt: skip
    return made


def judge(
    movies: list[Movie], *replies: tuple[str, str, str], splits: dict[str, Split] | None = None
) -> tuple[list[RecommendationList], Counter[str], dict[str, int]]:
    rejects, counts = Rejects("clean"), Counter[str]()
    every: dict[str, Split] = splits or {movie.tconst: "train" for movie in movies}
    lists = ListJudge(movies, every, rejects, counts).judge(
        [Reply(f"{n}", "recommend", tconst, model, "", text) for n, (tconst, model, text) in enumerate(replies)]
    )
    return lists, counts, {reason: n for reason, n in rejects.count().items() if n}


def numbered(movies: list[Movie], tconsts: list[str]) -> str:
    labels = {movie.tconst: movie.label for movie in movies}
    return "\n".join(f"{n}. **{labels[tconst]}** - because" for n, tconst in enumerate(tconsts, 1))


def test_what_is_dropped_is_counted(catalogue: list[Movie]) -> None:
    text = "\n".join(
        [
            "1. Space Tale B (1991)", "2. Space Tael C (1992)", "3. Space Tale D (1994)", "4. Space Tale A",
            "5. Space Tale B", "6. A Film Nobody Made (1999)", "7. Space Tale E (1994)", "8. Space Tale F (2005)",
        ]
    )  # fmt: skip
    lists, counts, rejected = judge(catalogue, ("space0", "m", text))
    assert [row.recommended for row in lists] == [("space1", "space2", "space3", "space4")]
    assert rejected == {"seed_recommended": 1, "repeated_movie": 1, "invented_title": 2}
    assert (counts["lists_in"], counts["fuzzy_titles"]) == (1, 1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I'm sorry, but I can't recommend films.", "no_list"),
        ("As a model, I know Space Tale B, but not you, nor your taste, nor your mood, sorry", "no_list"),
        ('{"pairs": [{"question": "a"}]}', "malformed_json"),
        ('{"recommended": []}', "too_few_recommended"),
        ('{"recommended": [null]}', "malformed_json"),
        ("", "no_list"),
    ],
)
def test_replies_without_a_list(catalogue: list[Movie], reply: str, reason: str) -> None:
    lists, _, rejected = judge(catalogue, ("space0", "m", reply))
    assert lists == []
    assert rejected[reason] == 1


def test_prose_around_a_title_and_commas(catalogue: list[Movie]) -> None:
    prose = "You may well like Space Tale B (1991), Space Tale C (1992) and perhaps Space Tale D (1993)."
    for reply in (prose, "Space Tale B, Space Tale C, Space Tale D"):
        lists, _, _ = judge(catalogue, ("space0", "m", reply))
        assert lists[0].recommended[:2] == ("space1", "space2")


def test_a_title_of_two_movies_is_the_one_that_was_offered(catalogue: list[Movie]) -> None:
    # Twelve films of its family and the twin are what resembles each seed most: those a request would offer first.
    import moviebot.data.list_judging as module

    many = [*catalogue, *(Movie(f"x{n}", f"Filler {n}", year=1900, genres=("Western",), votes=1) for n in range(60))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "OFFERED", 10)
        lists, _, rejected = judge(
            many, ("space0", "m", '["Twin", "Space Tale B"]'), ("ghost0", "m", '["Twin", "Ghost Tale B"]')
        )
    assert [row.recommended for row in lists] == [("twin1950", "space1"), ("ghost1",)]
    assert rejected == {"ambiguous_title": 1}


def test_a_list_about_its_first_title_moves_there(catalogue: list[Movie]) -> None:
    wrong = numbered(catalogue, ["court0", "court1", "court2", "court3", "court4"])
    right = numbered(catalogue, ["ghost1", "ghost2", "ghost3", "ghost4"])
    lists, counts, _ = judge(catalogue, ("space0", "m", wrong), ("ghost0", "m", right))
    assert [(row.tconst, row.recommended) for row in lists] == [
        ("court0", ("court1", "court2", "court3", "court4")),
        ("ghost0", ("ghost1", "ghost2", "ghost3", "ghost4")),
    ]
    assert counts["reanchored"] == 1
    # The same names from people's co-likes are for the movie asked about: people do like unlike films.
    lists, counts, _ = judge(catalogue, ("space0", "movielens", wrong))
    assert lists[0].tconst == "space0"
    assert counts["reanchored"] == 0


def test_a_reply_that_says_whom_its_list_is_for(catalogue: list[Movie]) -> None:
    labels = ["Ghost Tale B (1991)", "Court Tale C (1992)"]
    said = "If you liked Ghost Tale A (1990), here are some:\n1. " + "\n2. ".join(labels)
    lists, counts, _ = judge(catalogue, ("space0", "m", said))
    assert (lists[0].tconst, lists[0].recommended, counts["reanchored"]) == ("ghost0", ("ghost1", "court2"), 1)
    keyed = json.dumps({"Space Tale A (1990)": [f"Court Tale {letter}" for letter in "ABCDE"]})
    lists, counts, _ = judge(catalogue, ("space0", "m", keyed))  # it says the seed: the features are not asked
    assert (lists[0].tconst, counts["reanchored"]) == ("space0", 0)


def test_a_list_that_moved_keeps_to_the_splits(catalogue: list[Movie]) -> None:
    splits: dict[str, Split] = {movie.tconst: "test" for movie in catalogue}
    splits |= {"court0": "train", "court1": "train", "court2": "train"}
    wrong = numbered(catalogue, ["court0", "court1", "court2", "court3", "court4"])
    lists, counts, _ = judge(catalogue, ("space0", "m", wrong), splits=splits)
    assert lists == [RecommendationList("court0", ("court1", "court2"), "m", "train")]
    assert all(splits[tconst] in MAY_SEE[lists[0].split] for tconst in lists[0].recommended)
    assert counts["outside_split"] == 2


def test_lists_of_several_teachers_are_fused(catalogue: list[Movie], tmp_path: Path) -> None:
    rows = [
        ("space0", "b", '["Space Tale B", "Space Tale C", "Space Tale D"]'),
        ("space0", "a", '["Space Tale C", "Space Tale E"]'),
        ("space0", "movielens", '["Space Tale C", "Space Tale B"]'),
        ("court0", "a", '["Court Tale B"]'),
    ]
    wanted, counts, _ = judge(catalogue, *rows)
    assert wanted[0] == RecommendationList("space0", ("space2", "space1", "space4", "space3"), "a+b+movielens", "train")
    assert counts["fused"] == 2
    for seed in range(5):
        random.Random(seed).shuffle(rows)
        assert judge(catalogue, *rows)[0] == wanted
    # Through the command: the older reply of one teacher is superseded, not fused.
    write_catalogue(tmp_path / "catalogue.parquet", catalogue)
    with ReplyLog(tmp_path / RAW_NAME) as log:
        log.append(Request("recommend", "space0", "a", "old").answer('["Space Tale J"]'))
        for tconst, model, text in rows:
            log.append(Request("recommend", tconst, model, "new").answer(text))
    clean(tmp_path)
    kept = read_recommendations(tmp_path / "recommendations.jsonl")
    splits = split_movies(catalogue)
    assert {row.tconst: row.source for row in kept} == {
        row.tconst: row.source
        for row in wanted
        if any(splits[t] in MAY_SEE[splits[row.tconst]] for t in row.recommended)
    }
    entry = read_report(tmp_path)["clean"]
    assert entry["rejected"]["superseded"] == 1
    assert entry["fused"] == 2
    assert len(read_jsonl(tmp_path / "recommendations.jsonl")) == len({row.tconst for row in kept})


def test_the_same_replies_give_the_same_lists(catalogue: list[Movie]) -> None:
    rng = random.Random(3)
    replies = []
    for movie in catalogue:
        for model in ("a", "b"):
            replies.append((movie.tconst, model, numbered(catalogue, [m.tconst for m in rng.sample(catalogue, 8)])))
    first = [asdict(row) for row in judge(catalogue, *replies)[0]]
    for _ in range(3):
        rng.shuffle(replies)
        assert [asdict(row) for row in judge(catalogue, *replies)[0]] == first


def is_reported(tconst: str) -> bool:
    return hashlib.sha256(tconst.encode()).digest()[0] % 2 == 1


@pytest.mark.skipif(not (SHARED_DATA / "recommendations").is_dir(), reason="the real data is not here")
def test_reanchoring_on_real_movies() -> None:
    """Lists of people's co-likes of a movie, and of another movie with that movie first; half of them not tuned on."""
    movies, _ = read_table(SHARED_DATA / "catalogue" / "movies.tsv", Rejects("catalogue"))
    found = read_likes(find_movielens(SHARED_DATA / "recommendations"), movies)
    lists = dict(rank_liked(found.matrix, movies, [movie.tconst for movie in movies], 12))
    lists = {tconst: row for tconst, row in lists.items() if len(row) == 12 and is_reported(tconst)}
    rng = random.Random(0)
    replies, wrong = [], {}
    for tconst, row in lists.items():
        replies.append((tconst, "right", numbered(movies, row)))
        wrong[tconst] = rng.choice([other for other in lists if other != tconst])
        replies.append((tconst, "wrong", numbered(movies, [wrong[tconst], *lists[wrong[tconst]][:11]])))
    fused, _, _ = judge(movies, *replies)
    moved = {(row.tconst, source) for row in fused for source in row.source.split("+")}
    kept = sum((tconst, "right") in moved for tconst in lists)
    assert kept >= 0.97 * len(lists)
    recalled = sum((tconst, "wrong") in moved for tconst in set(wrong.values()))
    assert recalled > 0.4 * len(set(wrong.values()))
