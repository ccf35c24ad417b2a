import pytest

from moviebot.data.schemas import Movie
from moviebot.rag.checks import choose_recommendations, is_grounded


@pytest.mark.parametrize(
    ("answer", "grounded"),
    [
        ("Harbour Lights was directed by Ida Crane.", True),
        ("It runs for 97 minutes.", True),
        ("It is a Crime and Thriller movie from 1954.", True),
        ("I don't know: the facts don't say who wrote it.", True),
        ("It was directed by Alan Smithee.", False),
        ("It runs for 98 minutes.", False),
        ("It won 4 awards.", False),
        ("", False),
    ],
)
def test_is_grounded(movies: list[Movie], answer: str, grounded: bool) -> None:
    assert is_grounded(answer, movies[2], "tell me about Harbour Lights") is grounded


def test_recommendations_are_always_three_distinct_candidates(movies: list[Movie]) -> None:
    candidates = movies[2:8]
    response = "Night Ferry (1962)\nNight Ferry (1962)\nThe Red Lantern (1931)\nMade Up (2020)"
    chosen, faults = choose_recommendations(response, candidates)
    assert [movie.label for movie in chosen] == [
        "Night Ferry (1962)",
        "Harbour Lights (1954)",
        "The Clockmaker's Son (1978)",
    ]
    assert faults == 3


def test_fewer_candidates_than_three_are_no_fault(movies: list[Movie]) -> None:
    assert choose_recommendations("", movies[:2]) == (movies[:2], 0)
    assert choose_recommendations("anything", []) == ([], 1)
