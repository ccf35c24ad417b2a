import random
from collections import Counter
from dataclasses import replace

import pytest

from moviebot.data.matching import TitleMatcher, make_keys
from moviebot.data.rejects import Rejects
from moviebot.data.schemas import Movie
from moviebot.data.table import read_table
from tests.conftest import SHARED_DATA
from tools.bench_matching import draw_cases, edit_title, main

TABLE = SHARED_DATA / "catalogue" / "movies.tsv"


@pytest.fixture(scope="module")
def matcher() -> TitleMatcher:
    return TitleMatcher(
        [
            Movie("rocky2", "Rocky II", year=1979, votes=900),
            Movie("rocky3", "Rocky III", year=1982, votes=900),
            Movie("toy2", "Toy Story 2", year=1999, votes=900),
            Movie("matrix", "The Matrix", year=1999, votes=900),
            Movie("amelie", "Amélie", original_title="Le fabuleux destin d'Amélie Poulain", year=2001, votes=900),
            Movie("empire", "Star Wars: Episode V - The Empire Strikes Back", year=1980, votes=900),
            Movie("hamlet48", "Hamlet", year=1948, votes=400),
            Movie("hamlet96", "Hamlet", year=1996, votes=500),
            Movie("thing82", "The Thing", year=1982, votes=900),
            Movie("thing11", "The Thing", year=2011, votes=100),
            Movie("shining", "The Shining", year=1980, akas=("Shining", "Lśnienie"), votes=900),
            Movie("undated", "Unfinished Maps", votes=3),
            Movie("up", "Up", year=2009, votes=900),
        ]
    )


@pytest.mark.parametrize(
    ("title", "year", "wanted", "how"),
    [
        ("The Matrix", 1999, "matrix", "exact"),
        ("matrix", 1999, "matrix", "exact"),
        ("Matrix, The", 1999, "matrix", "exact"),
        ("Fabuleux destin d'Amélie Poulain, Le", 2001, "amelie", "exact"),
        ("AMELIE", None, "amelie", "title"),
        ("Lsnienie", 1980, "shining", "exact"),
        ("Rocky 2", 1979, "rocky2", "exact"),
        ("Toy Story Two", None, "toy2", "title"),
        ("The Matrix", 2000, "matrix", "year"),
        ("The Matrix", 1998, "matrix", "year"),
        ("The Empire Strikes Back", 1980, "empire", "title"),
        ("Unfinished Maps", 2003, "undated", "title"),
        ("The Thing", None, "thing82", "title"),  # nine times the votes of the other
        ("The Thing", 2012, "thing11", "year"),
        ("The Mtarix", 1999, "matrix", "fuzzy"),
        ("The Shinning", None, "shining", "fuzzy"),
        ("Toy Stroy 2", 2000, "toy2", "fuzzy"),
    ],
)
def test_found(matcher: TitleMatcher, title: str, year: int | None, wanted: str, how: str) -> None:
    found = matcher.find(title, year)
    assert (found.movie and found.movie.tconst, found.how) == (wanted, how)


@pytest.mark.parametrize(
    ("title", "year", "fault"),
    [
        ("Rocky III", 1979, "invented"),  # another number is another film, however near
        ("Rocky IV", 1985, "invented"),
        ("Toy Story 3", 1999, "invented"),
        ("Toy Story 3", None, "invented"),
        ("The Matrix", 2003, "invented"),
        ("Hamlet", None, "ambiguous"),
        ("The Empire Strikes Back", 1999, "invented"),
        ("Us", 2009, "invented"),  # too short to be misspelt
        ("A film nobody made", 1999, "invented"),
        ("", None, "invented"),
        ("\ud800\ud800\ud800\ud800\ud800", 1999, "invented"),
        ("x" * 100_000, 1999, "invented"),
    ],
)
def test_not_found(matcher: TitleMatcher, title: str, year: int | None, fault: str) -> None:
    found = matcher.find(title, year)
    assert found.movie is None
    assert found.fault == fault


def test_what_was_offered_decides_between_movies_of_one_title(matcher: TitleMatcher) -> None:
    for wanted in ("hamlet48", "hamlet96"):
        found = matcher.find("Hamlet", None, frozenset((wanted, "matrix")))
        assert found.movie is not None
        assert (found.movie.tconst, found.how) == (wanted, "offered")
    assert matcher.find("Hamlet", None, frozenset(("hamlet48", "hamlet96"))).fault == "ambiguous"
    offered = matcher.find("The Thing", None, frozenset(("thing11",))).movie
    assert offered is not None
    assert offered.tconst == "thing11"
    # A year says more than the offer.
    told = matcher.find("Hamlet", 1996, frozenset(("hamlet48",))).movie
    assert told is not None
    assert told.tconst == "hamlet96"


def test_order_of_the_catalogue_and_of_the_questions_does_not_matter(movies: list[Movie]) -> None:
    rng = random.Random(0)
    asked = [(edit_title(movie.title, n % 3, rng), movie.year) for n in range(20) for movie in movies]
    found = []
    for seed in (1, 2):
        shuffled, questions = movies[:], list(enumerate(asked))
        random.Random(seed).shuffle(shuffled)
        random.Random(seed).shuffle(questions)
        matcher = TitleMatcher(shuffled)
        found.append(sorted((n, repr(matcher.find(title, year))) for n, (title, year) in questions))
    assert found[0] == found[1]


def test_keys_are_the_same_for_all_forms_of_a_title() -> None:
    forms = ("Fast & Furious", "fast and furious", "FAST AND FURIOUS!")
    assert len({make_keys(form) for form in forms}) == 1
    assert make_keys("Matrix, The") == make_keys("The Matrix")


def test_the_benchmark_runs_on_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--titles", "24", "--baseline_titles", "24"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| all |") == 3
    assert "names/s" in printed
    assert "held out" in printed
    assert main(["--table", "nowhere.tsv"]) == 2


@pytest.mark.skipif(not TABLE.is_file(), reason="the real table is not here")
def test_real_titles(capsys: pytest.CaptureFixture[str]) -> None:
    movies, _ = read_table(TABLE, Rejects("catalogue"))
    matcher = TitleMatcher(movies)
    counts: Counter[tuple[int, str, str]] = Counter()
    for case in draw_cases(movies, 1200, seed=7):
        found = matcher.find(case.title, case.year).movie
        outcome = "missed" if found is None else "right" if found.tconst == case.tconst else "wrong"
        counts[case.edits, case.told, outcome] += 1
    for edits, least in enumerate((0.98, 0.92, 0.80, 0.70)):
        assert counts[edits, "right", "right"] >= least * 100
    assert sum(n for (_, told, outcome), n in counts.items() if outcome == "wrong" and told == "right") <= 4
    rng = random.Random(0)
    out = {movie.tconst for movie in movies if rng.random() < 0.2}
    kept = TitleMatcher([movie for movie in movies if movie.tconst not in out])
    strange = draw_cases([movie for movie in movies if movie.tconst in out], 600, seed=8)
    false = sum(kept.find(case.title, case.year).movie is not None for case in strange if case.told == "right")
    assert false <= 8  # of 200


def test_many_movies_of_one_title_are_settled_by_votes(movies: list[Movie]) -> None:
    many = [replace(movies[2], tconst=f"t{n}", year=1900 + n, votes=n) for n in range(100)]
    matcher = TitleMatcher([*many, replace(movies[2], tconst="known", year=2020, votes=1000)])
    found = matcher.find("Harbour Lights").movie
    assert found is not None
    assert found.tconst == "known"
