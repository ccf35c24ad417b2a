"""Turns of a conversation that people type, and what each must come to; over the embedded catalogue."""

import pytest

from moviebot.data.schemas import Movie
from moviebot.rag.answer import Answer, Query
from moviebot.rag.bundle import Bundle
from moviebot.rag.pipeline import MovieBot
from moviebot.rag.small_talk import reply


def say(bundle: Bundle, *turns: str) -> list[Answer]:
    bot = MovieBot(bundle)
    return [bot.answer([Query(text, "a")])[0] for text in turns]


def titles(*answers: Answer) -> set[str]:
    return {movie.title for answer in answers for movie in answer.recommendations}


def test_a_place_in_the_list_is_what_was_seen(sample_bundle: Bundle) -> None:
    first, second = say(sample_bundle, "a thriller from the nineties", "seen the 2nd")
    assert f"you know {first.recommendations[1].label}" in second.answer
    assert len(second.recommendations) == 3
    assert not titles(first) & titles(second)


def test_a_famous_surname_is_a_person(sample_bundle: Bundle) -> None:
    [answer] = say(sample_bundle, "i love tarantino movies")
    assert len(answer.recommendations) > 1
    assert all("Quentin Tarantino" in (*movie.directors, *movie.cast) for movie in answer.recommendations)


def test_more_by_the_director_spoken_of(sample_bundle: Bundle) -> None:
    _, answer = say(sample_bundle, "who directed Pulp Fiction?", "more by him")
    assert answer.recommendations
    assert all("Quentin Tarantino" in movie.directors for movie in answer.recommendations)
    assert "Pulp Fiction" not in titles(answer)


def test_both_are_the_two_spoken_of(sample_bundle: Bundle) -> None:
    *_, answer = say(sample_bundle, "what is Alien about?", "and Jaws?", "movies like both of them")
    assert [movie.title for movie in answer.liked] == ["Alien", "Jaws"]
    assert answer.answer.startswith("If you liked Alien (1979) and Jaws (1975), you could watch:")


def test_a_sequel_is_a_question_about_the_movie_spoken_of(sample_bundle: Bundle) -> None:
    _, answer = say(sample_bundle, "when did jaws come out", "how bout the sequel?")
    assert answer.intent == "question"
    assert answer.movie is not None
    assert answer.movie.title == "Jaws"


@pytest.mark.parametrize("text", ["from spain", "what about french comedies?", "something korean"])
def test_what_can_not_be_gone_by_is_said_and_the_wish_stays(sample_bundle: Bundle, text: str) -> None:
    _, answer = say(sample_bundle, "a comedy", text)
    assert "language or country" in answer.answer
    assert len(answer.recommendations) == 3
    assert all("Comedy" in movie.genres for movie in answer.recommendations)


@pytest.mark.parametrize("text", ["drop the horror", "forget about the horror part", "never mind the horror please"])
def test_a_genre_is_dropped(sample_bundle: Bundle, text: str) -> None:
    first, second, third = say(sample_bundle, "a horror movie from the eighties", text, "more")
    assert all("Horror" in movie.genres for movie in first.recommendations)
    after = [*second.recommendations, *third.recommendations]
    assert any("Horror" not in movie.genres for movie in after)
    assert all(movie.year is not None and 1980 <= movie.year <= 1989 for movie in after)


def test_for_kids_holds_and_cartoons_are_left_out_of_it(sample_bundle: Bundle) -> None:
    def is_for_kids(movie: Movie) -> bool:
        return bool({"Family", "Animation"} & set(movie.genres))

    first, second = say(sample_bundle, "movies like The Matrix for kids", "no cartoons")
    assert all(map(is_for_kids, [*first.recommendations, *second.recommendations]))
    assert second.recommendations
    assert all("Animation" not in movie.genres for movie in second.recommendations)


def test_movies_seen_are_not_recommended_later(sample_bundle: Bundle) -> None:
    turns = ("I've seen Alien and Jaws. What next?", "a movie from the seventies", "more", "more", "more")
    assert not {"Alien", "Jaws"} & titles(*say(sample_bundle, *turns))
    assert {"Alien", "Jaws"} & titles(*say(sample_bundle, *turns[1:]))


def test_tastes_are_told(sample_bundle: Bundle) -> None:
    *_, answer = say(sample_bundle, "I loved Alien, what next?", "I hated Jaws", "what did i like so far?")
    assert answer.answer == "You like: Alien (1979)\nYou don't like: Jaws (1975)"
    [answer] = say(sample_bundle, "what do you know about me?")
    assert "haven't told me" in answer.answer


def test_why_those_is_of_all_of_them(sample_bundle: Bundle) -> None:
    *_, answer = say(sample_bundle, "a comedy", "who directed the second one?", "why those?")
    assert answer.answer.count("I picked") == 3


def test_a_new_wish_is_not_told_as_one_for_what_was_liked(sample_bundle: Bundle) -> None:
    _, answer = say(sample_bundle, "I loved Alien, what next?", "I'm looking for a comedy with Tom Hanks")
    assert answer.movie is None
    assert answer.answer.startswith("You could watch:")


@pytest.mark.parametrize("text", ["I'll take it", "ok, let's watch the second one", "I'll go with that"])
def test_a_choice_is_wished_well(text: str) -> None:
    assert reply(text) == "Enjoy the movie!"
