import pytest

from moviebot.data.judging import parse_reply
from moviebot.data.schemas import Movie, Topic
from moviebot.data.support import is_supported
from moviebot.data.title_naming import names_movie

DOOR = Movie(
    "tt1", "The Blue Door", "La porte bleue", 1950, 90, ("Drama",), 7.0, 1500, ("Ann Ash", "Bo Birk"),
    ("Di Dahl", "Ed Elm"), "A widow opens a locked door in her late husband's house and finds letters.", "test",
    ("Die blaue Tür",),
)  # fmt: skip
BARE = Movie("tt2", "The Blue Door", year=1951)


@pytest.mark.parametrize(
    ("answer", "topic", "expected"),
    [
        ("It was directed by Ann Ash and Bo Birk.", "director", True),
        ("Ann Ash directed it.", "director", True),
        ("It was directed by Ann Ash and Orson Welles.", "director", False),
        ("It was directed by Orson Welles.", "director", False),
        ("A very good director.", "director", False),
        ("It runs for 90 minutes, or 1 hour 30 minutes.", "runtime", True),
        ("It runs for 95 minutes.", "runtime", False),
        ("It is rated 7 out of 10 by 1,500 voters.", None, True),
        ("It has a rating of 7.0.", "rating", True),
        ("It has a rating of 7.1.", "rating", False),
        ("A widow finds letters behind a door in the house of her husband.", "plot", True),
        ("An astronaut discovers aliens beneath the frozen surface.", "plot", False),
        ("I don't know: the facts don't say.", "director", False),
        ("I don't know: the facts don't say who wrote it.", "unanswerable", True),
        ("It cost 3 million dollars.", "unanswerable", False),
        ("It was made in Paris.", None, False),
    ],
)
def test_support(answer: str, topic: Topic | None, expected: bool) -> None:
    assert is_supported("What about The Blue Door?", answer, topic, DOOR) is expected


def test_decline_is_right_where_the_fact_is_absent() -> None:
    assert not is_supported("Who directed The Blue Door?", "I don't know who directed it.", "unanswerable", DOOR)
    assert not is_supported("Who directed The Blue Door?", "I don't know who directed it.", None, DOOR)
    assert is_supported("Who directed The Blue Door?", "I don't know who directed it.", "director", BARE)
    assert not is_supported("Who directed The Blue Door?", "It was directed by Ann Ash.", "director", BARE)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who directed The Blue Door?", True),
        ("who directed blue door", True),
        ("Wer spielt in Die blaue Tür?", True),
        ("Who made La Porte Bleue?", True),
        ("Who directed the movie?", False),
        ("Who painted the door blue?", False),
    ],
)
def test_names_movie(question: str, expected: bool) -> None:
    assert names_movie(question, DOOR) is expected


def test_names_movie_of_punctuation() -> None:
    assert names_movie("Who directed ???", Movie("tt1", "???"))
    assert not names_movie("Who directed it", Movie("tt1", "???"))


@pytest.mark.parametrize(
    ("text", "mended", "found"),
    [
        ('{"pairs": []}', False, True),
        ('```json\n{"pairs": []}\n```', True, True),
        ('{"pairs": [{"question": "a", "answer": "b",}]}', True, True),
        ("I'm sorry, I can't do that.", True, False),
        ("", True, False),
    ],
)
def test_parse_reply(text: str, mended: bool, found: bool) -> None:
    content, was_mended = parse_reply(text)
    assert was_mended is mended
    assert isinstance(content, dict) is found
