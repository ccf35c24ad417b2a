import pytest

from moviebot.data.schemas import Movie
from moviebot.rag.dialogue_acts import find_places, pick_choice, read_act
from moviebot.rag.small_talk import reply

REMAKES = [Movie("tt1", "Carrie", year=1976, directors=("Brian De Palma",)), Movie("tt2", "Carrie", year=2013)]


@pytest.mark.parametrize(
    ("text", "kind", "places"),
    [
        ("seen it", "seen", ()),
        ("I've already seen the first two", "seen", (0, 1)),
        ("why the last one?", "why", (2,)),
        ("Why did you pick that?", "why", ()),
        ("not the second one", "reject", (1,)),
        ("another one please", "more", ()),
        ("I hated the third", "dislike", (2,)),
        ("forget it", "restart", ()),
        ("never mind the year", "drop", ()),
    ],
)
def test_acts(text: str, kind: str, places: tuple[int, ...]) -> None:
    act = read_act(text, 3)
    assert act is not None
    assert (act.kind, act.places) == (kind, places)


@pytest.mark.parametrize(
    "text",
    ["who directed thatmovie?", "a comedy from the 90s", "why did he leave her in thatmovie?", "I haven't seen it"],
)
def test_no_act(text: str) -> None:
    assert read_act(text, 3) is None


def test_nothing_shown_nothing_spoken_of() -> None:
    assert read_act("seen it", 0) is None


def test_places() -> None:
    assert find_places("the first and the third", 3) == (0, 2)
    assert find_places("number two", 3) == (1,)
    assert find_places("the fourth", 3) == ()
    assert find_places("the first time I saw it", 3) == ()


@pytest.mark.parametrize(
    ("text", "place"),
    [("2", 1), ("the 1976 one", 0), ("the newer", 1), ("yes", 0), ("the De Palma one", 0), ("a comedy", None)],
)
def test_choices(text: str, place: int | None) -> None:
    assert pick_choice(text, REMAKES) == place


@pytest.mark.parametrize(
    ("text", "said"),
    [("Hi!", "Hello!"), ("thanks", "welcome"), ("bye bye", "Goodbye"), ("what is 2 + 2?", "outside what I know")],
)
def test_small_talk(text: str, said: str) -> None:
    assert said in reply(text)
