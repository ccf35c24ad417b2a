from pathlib import Path

import pytest

from moviebot.data.schemas import Movie, QAPair, RecommendationList
from moviebot.errors import UserError
from moviebot.evaluation import answers, lookup, recommendations


def pair(movie: Movie, topic: str) -> QAPair:
    return QAPair(movie.tconst, f"{topic} of {movie.title}?", "gold", "template", "test", topic)  # type: ignore[arg-type]


def test_answers_are_judged_by_their_facts(movies: list[Movie]) -> None:
    asked = [pair(movies[2], "director"), pair(movies[2], "runtime"), pair(movies[2], "unanswerable")]
    asked.append(pair(movies[10], "runtime"))  # absent: a decline is right
    replies = ["It was Ida Crane.", "It runs 197 minutes.", "I don't know that.", "It runs 90 minutes."]
    scores = answers.evaluate_answers({m.tconst: m for m in movies}, asked, lambda prompts: replies)
    assert scores.exact == 0.5
    assert scores.exact_by_topic == {"director": 1.0, "runtime": 0.0}
    assert scores.declined == 0.5
    assert scores.wrongly_declined == 0
    assert scores.count == 4
    assert [row["right"] for row in scores.rows] == [True, False, True, False]


def test_an_untuned_model_may_decline_in_its_own_words(movies: list[Movie]) -> None:
    asked, replies = [pair(movies[2], "unanswerable")], ["The budget is not mentioned in the facts."]
    by_id = {m.tconst: m for m in movies}
    assert answers.evaluate_answers(by_id, asked, lambda prompts: replies).declined == 0
    assert answers.evaluate_answers(by_id, asked, lambda prompts: replies, generous=True).declined == 1


def test_pairs_without_a_topic_are_refused(movies: list[Movie]) -> None:
    bare = [QAPair("tt0000001", "q", "a", "x", "test")]
    with pytest.raises(UserError, match="has a topic"):
        answers.evaluate_answers({m.tconst: m for m in movies}, bare, lambda prompts: prompts)


def test_lookup_with_the_resolver_and_the_encoder_alone(movies: list[Movie], tiny_encoder: Path) -> None:
    questions = [(f"who directed {movie.label}?", movie.tconst) for movie in movies]
    encode = lookup.CachedEncoder(tiny_encoder)
    whole = lookup.evaluate_resolver_lookup(movies, questions, encode)
    assert whole.hit_1 == whole.mrr == 1
    alone = lookup.evaluate_encoder_lookup(encode, movies, questions)
    assert 0 < alone.mrr <= 1
    assert alone.hit_1 <= alone.hit_10
    assert alone.count == len(movies)
    assert -1 <= alone.cosine <= 1


def test_rankings_against_popularity(movies: list[Movie], tiny_encoder: Path) -> None:
    lists = [RecommendationList("tt0000012", ("tt0000011", "tt0000001"), "x", "test")]
    popular = recommendations.evaluate_ranking(lists, recommendations.rank_by_votes(movies))
    assert popular.hit_3 == 1  # the most voted but for the movie itself
    rank = recommendations.rank_by_encoder(lookup.CachedEncoder(tiny_encoder), movies)
    assert "tt0000012" not in rank("tt0000012")
    assert recommendations.evaluate_ranking(lists, rank).hit_20 == 1


def test_the_models_faults_are_counted_before_and_after_the_checks(movies: list[Movie]) -> None:
    by_id = {m.tconst: m for m in movies}
    lists = [RecommendationList(t, ("tt0000004",), "x", "test") for t in ("tt0000003", "tt0000005")]
    replies = [
        "Night Ferry (1962)\nNight Ferry (1962)\nJaws (1975)",
        f"{movies[7].label}\n{movies[8].label}\n{movies[9].label}",
    ]
    shown = recommendations.evaluate_shown(by_id, lists, recommendations.rank_by_votes(movies), lambda prompts: replies)
    assert shown.scores.hit_3 == 0.5
    assert (shown.faults_before, shown.short_before, shown.faults_after) == (0.5, 0.5, 0)
