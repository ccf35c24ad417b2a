"""What the facts do not bear out is not told: the fact itself is, or that it is not known."""

import pytest

from moviebot.data.schemas import Movie
from moviebot.data.wordings import DECLINE_ANSWER, WORDINGS, near_wordings
from moviebot.rag.grounding import ground_answer, guess_loosely, is_uncovered

HEAT = Movie(
    "tt1", "Heat", year=1995, runtime_minutes=170, genres=("Crime", "Drama"), rating=8.2, votes=700000,
    directors=("Michael Mann",), cast=("Al Pacino", "Robert De Niro", "Val Kilmer"),
    description="A group of bank robbers feel the pressure from the police after a heist goes wrong.",
)  # fmt: skip
UNKNOWN = Movie("tt2", "Lost Reel", year=1920)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who directed Heat?", "It was directed by Michael Mann."),
        ("Who directed Heat?", "Michael Mann directed it."),
        ("When did Heat come out?", "It came out in 1995."),
        ("How long is Heat?", "It runs for 170 minutes."),
        ("the movie Heat starred who?", "The cast includes Al Pacino, Robert De Niro and Val Kilmer."),
        ("What is Heat about?", "The story: A group of bank robbers feel the pressure from the police after a heist."),
        ("who wrote heat", DECLINE_ANSWER),
        ("What did Heat cost?", "I don't know: the facts about Heat don't say."),
    ],
)
def test_a_grounded_answer_is_kept(question: str, answer: str) -> None:
    grounded = ground_answer(question, answer, HEAT)
    assert (grounded.text, grounded.fallback) == (answer, False)
    assert grounded.abstained is answer.startswith("I don't know")


@pytest.mark.parametrize(
    ("question", "answer", "told"),
    [
        ("Who directed Heat?", "It was directed by Alan Smithee.", "It was directed by Michael Mann."),
        ("Who directed Heat?", "It was directed by Al Pacino.", "It was directed by Michael Mann."),
        ("Who stars in Heat?", "It stars Michael Mann.", "The cast includes Al Pacino, Robert De Niro and Val Kilmer."),
        ("When did Heat come out?", "It came out in 1996.", "It came out in 1995."),
        ("How long is Heat?", "", "It runs for 170 minutes."),
        ("How long is Heat?", "I don't know.", "It runs for 170 minutes."),
        ("What is Heat about?", "It is rated 8.2 out of 10.", "The story: A group of bank robbers feel the pressure "
         "from the police after a heist goes wrong."),
        ("What is Heat about?", "The story: Two wizards ride a dragon to a volcano.", "The story: A group of bank "
         "robbers feel the pressure from the police after a heist goes wrong."),
        ("the director of Heat was?", "", "It was directed by Michael Mann."),
        ("Who wrote Heat?", "It was directed by Michael Mann.", DECLINE_ANSWER),
        ("What language is Heat in?", "It came out in 1995.", DECLINE_ANSWER),
        ("Is it any good for a rainy day?", "It won 4 Oscars.", DECLINE_ANSWER),
        ("Is it any good for a rainy day?", "I don't know, but Alan Smithee liked it.", DECLINE_ANSWER),
        ("Tell me of Heat", "crime " * 500, DECLINE_ANSWER),
    ],
)  # fmt: skip
def test_an_ungrounded_answer_gives_way(question: str, answer: str, told: str) -> None:
    grounded = ground_answer(question, answer, HEAT)
    assert (grounded.text, grounded.fallback) == (told, True)
    assert grounded.abstained is (told == DECLINE_ANSWER)


def test_another_film_is_not_answered_with_the_facts_of_this_one() -> None:
    for answer in ("", "It was directed by Michael Mann.", DECLINE_ANSWER):
        assert ground_answer("Who directed the sequel to Heat?", answer, HEAT).text == DECLINE_ANSWER


@pytest.mark.parametrize("question", ["Who directed Lost Reel?", "How long is Lost Reel?", "What is Lost Reel about?"])
def test_a_fact_that_is_absent_is_not_known(question: str) -> None:
    for answer in ("It was directed by Alan Smithee.", "It runs for 90 minutes.", "The story: A reel is lost.", ""):
        assert ground_answer(question, answer, UNKNOWN).text == DECLINE_ANSWER


def test_no_taught_question_that_a_fact_answers_counts_as_uncovered() -> None:
    asked = [
        wording.replace("{title}", "Heat")
        for topic, splits in WORDINGS.items() if topic != "unanswerable"
        for wordings in splits.values() for wording in wordings
    ]  # fmt: skip
    assert len(asked) > 800
    assert [question for question in asked if is_uncovered(question, HEAT)] == []


def test_a_topic_is_seldom_guessed_where_there_is_none() -> None:
    """With the model gone, a guess decides what fact is told: rather none than one that was not asked for."""
    absent = [*WORDINGS["unanswerable"]["train"], *near_wordings("train")]
    guessed = [wording for wording in absent if guess_loosely(wording.replace("{title}", "Heat"), HEAT)]
    assert len(guessed) < 0.1 * len(absent)
    wordings = WORDINGS["director"]["train"]
    told = [wording for wording in wordings if guess_loosely(wording.replace("{title}", "Heat"), HEAT) == "director"]
    assert len(told) > 0.8 * len(wordings)


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("what was the release date of Heat?", "It came out in 1995."),
        ("the movie Heat starred who?", "The cast includes Al Pacino."),
        ("the director of Heat was?", "It was directed by Michael Mann."),
        ("what is the exact release date of Heat?", "I don't know"),
        ("the director of Heat is how old?", "I don't know"),
    ],
)
def test_a_fact_that_the_model_overlooked_is_told(question: str, told: str) -> None:
    heat = Movie("tt1", "Heat", year=1995, directors=("Michael Mann",), cast=("Al Pacino",))
    assert ground_answer(question, "I don't know: the facts I have don't say.", heat).text.startswith(told)
