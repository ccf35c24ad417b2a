import pytest

from moviebot.data.schemas import Movie
from moviebot.rag.titles import TitleIndex
from moviebot.rag.wishes import Wishes, WishReader
from tests.rag.conftest import sample_movies


@pytest.fixture(scope="module")
def titles() -> TitleIndex:
    return TitleIndex(sample_movies())


@pytest.fixture(scope="module")
def reader() -> WishReader:
    return WishReader(sample_movies())


def read(reader: WishReader, titles: TitleIndex, text: str) -> Wishes:
    return reader.read(text, titles.find_mentions(text))


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("a comedy from 1999", "comedy, from 1999"),
        ("newer than 2005, please", "from 2006 on"),
        ("not older than 2000", "from 2000 on"),
        ("nothing from the 80s", "not from the 1980s"),
        ("something from the '80s or nineties", "from 1980 to 1999"),
        ("between 1990 and 1999", "from the 1990s"),
        ("made from 1995 to 2001", "from 1995 to 2001"),
        ("an old western", "western, up to 1979"),
        ("under two hours", "at most 119 minutes"),
        ("no longer than an hour and a half", "at most 90 minutes"),
        ("at least 2.5 hours", "at least 150 minutes"),
        ("I have two hours to kill", "at most 120 minutes"),
        ("a short documentary", "documentary, at most 90 minutes"),
        ("rated above 7", "rated at least 7.1"),
        ("at least 8", "rated at least 8"),
        ("well rated", "rated at least 7"),
        ("recommend three movies", ""),
        ("no horror, war or westerns", "no horror, no war, no western"),
        ("no horror, something funny", "comedy, no horror"),
        ("not a musical", "no musical"),
        ("a thriller without romance", "thriller, no romance"),
        ("I'm not in the mood for a drama", "no drama"),
        ("a horror or thriller", "horror or thriller"),
        ("romantic comedies", "comedy, romance"),
        ("a thiller from the 70s", "thriller, from the 1970s"),
        ("movies about war", ""),
        ("something for my family", ""),
        ("by Nolan", "directed by Christopher Nolan"),
        ("films by Stanly Kubrick", "directed by Stanley Kubrick"),
        ("with Al Pacino or Robert De Niro", "with Al Pacino or Robert De Niro"),
        ("but not with tom hanks", "not with Tom Hanks"),
        ("any film without Bill Murray over two hours", "at least 121 minutes, not with Bill Murray"),
    ],
)
def test_conditions(reader: WishReader, titles: TitleIndex, text: str, conditions: str) -> None:
    assert read(reader, titles, text).constraints.describe() == conditions


@pytest.mark.parametrize(
    ("text", "liked", "disliked", "excluded"),
    [
        ("I loved Heat and Alien but hated Psycho", {"Heat", "Alien"}, {"Psycho"}, set()),
        ("like Heat but not Scarface", {"Heat"}, set(), {"Scarface"}),
        ("I didn't like Psycho or Alien", set(), {"Psycho", "Alien"}, set()),
        ("movies like Alien, Heat and Fargo", {"Alien", "Heat", "Fargo"}, set(), set()),
    ],
)
def test_good_and_bad_examples(
    reader: WishReader, titles: TitleIndex, text: str, liked: set[str], disliked: set[str], excluded: set[str]
) -> None:
    wishes = read(reader, titles, text)
    found = [{reader.movies[row].title for row in rows} for rows in (wishes.liked, wishes.disliked, wishes.excluded)]
    assert found == [liked, disliked, excluded]


def test_comparisons_and_moods(reader: WishReader, titles: TitleIndex) -> None:
    assert read(reader, titles, "like Heat but newer and shorter").comparisons == {"newer", "shorter"}
    assert read(reader, titles, "like Alien, but less scary").moods == {"lighter"}
    assert read(reader, titles, "funnier please").moods == {"funnier"}


def test_a_title_tells_no_condition() -> None:
    movies = [
        Movie("tt1", "The Short Western Comedy of 1999", year=1999, votes=9),
        Movie("tt2", "Up", genres=("Comedy",)),
    ]
    text = "movies like The Short Western Comedy of 1999"
    wishes = WishReader(movies).read(text, TitleIndex(movies).find_mentions(text))
    assert not wishes.constraints
    assert wishes.liked == (0,)


def test_a_genre_is_no_title() -> None:
    movies = [Movie("tt1", "Western", year=2017, votes=9), Movie("tt2", "Up", genres=("Western",))]
    text = "I want a Western"
    wishes = WishReader(movies).read(text, TitleIndex(movies).find_mentions(text))
    assert wishes.liked == ()
    assert wishes.constraints.genres == {"western"}


@pytest.mark.parametrize(
    ("text", "conditions", "liked"),
    [
        ("any good movie made in 2010?", "from 2010", ()),
        ("movies like 2010", "", (0,)),
        ("a film under 2.5 hours", "at most 149 minutes", ()),
        ("a film of max 137 minutes", "at most 137 minutes", ()),
    ],
)
def test_a_number_is_no_title(text: str, conditions: str, liked: tuple[int, ...]) -> None:
    titles = ("2010", "Hours", "Max")
    movies = [Movie(f"tt{n}", title, year=1984, votes=90_000) for n, title in enumerate(titles)]
    wishes = WishReader(movies).read(text, TitleIndex(movies).find_mentions(text))
    assert wishes.constraints.describe() == conditions
    assert wishes.liked == liked


def test_a_doubtful_title_in_a_list_with_a_sure_one_is_meant() -> None:
    movies = [Movie("tt1", "Alien", votes=900_000, year=1979), Movie("tt2", "Up", votes=900_000, year=2009)]
    movies += [Movie(f"tt{n}", f"Nobody's Tale {n}", votes=5) for n in range(3, 30)]
    titles, reader = TitleIndex(movies), WishReader(movies)
    text = "I loved Alien, and also Up"
    assert {mention.score >= 0.6 for mention in titles.find_mentions(text)} == {True, False}
    assert set(read(reader, titles, text).liked) == {0, 1}
    alone = "I loved Alien. Up to you"
    assert read(reader, titles, alone).liked == (0,)


def test_a_place_in_a_list_is_no_title() -> None:
    movies = [Movie("tt1", "The Second One", votes=900_000, year=1979), Movie("tt2", "Heat", votes=600_000, year=1995)]
    titles, reader = TitleIndex(movies), WishReader(movies)
    text = "why the second one?"
    assert titles.find_mentions(text)
    assert reader.select(text, titles.find_mentions(text)) == []
    for named in ("who directed The Second One?", 'who directed "the second one"?'):
        assert reader.select(named, titles.find_mentions(named))
