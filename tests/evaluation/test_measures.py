from pathlib import Path

import pytest

from moviebot.data.schemas import Movie, QAPair, RecommendationList
from moviebot.errors import UserError
from moviebot.evaluation import answers, lookup, recommendations
from moviebot.rag.bundle import load_bundle
from moviebot.rag.pipeline import MovieBot


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


def test_lookup_by_the_encoder_alone(movies: list[Movie], tiny_encoder: Path) -> None:
    questions = [(f"who directed {movie.label}?", movie.tconst) for movie in movies]
    alone = lookup.evaluate_encoder_lookup(lookup.CachedEncoder(tiny_encoder), movies, questions)
    assert 0 < alone.mrr <= 1
    assert alone.hit_1 <= alone.hit_10
    assert alone.count == len(movies)
    assert -1 <= alone.cosine <= 1


def test_lookup_by_what_answers(bundle_folder: Path, movies: list[Movie]) -> None:
    """Through the bot: where it abstains there is no movie, however near the nearest one is."""
    bot = MovieBot(load_bundle(bundle_folder))
    known = {f"who directed {movie.label}?": movie.tconst for movie in movies}
    assert lookup.find_movies(bot, [*known, "who directed Zzyzx Quorvle?", "hello", "long " * 999]) == {
        **known, "who directed Zzyzx Quorvle?": None, "hello": None, "long " * 999: None,
    }  # fmt: skip


def test_rankings_against_popularity(movies: list[Movie], tiny_encoder: Path) -> None:
    lists = [RecommendationList("tt0000012", ("tt0000011", "tt0000001"), "x", "test")]
    popular = recommendations.measure_hits(lists, recommendations.rank_by_votes(movies))
    assert popular == [1.0] * 20  # the most voted but for the movie itself
    rank = recommendations.rank_by_encoder(lookup.CachedEncoder(tiny_encoder), movies)
    assert "tt0000012" not in rank("tt0000012")
    assert recommendations.measure_hits(lists, rank)[19] == 1


def test_the_models_faults_are_counted_before_and_after_the_checks(movies: list[Movie]) -> None:
    by_id = {m.tconst: m for m in movies}
    lists = [RecommendationList(t, ("tt0000004",), "x", "test") for t in ("tt0000003", "tt0000005")]
    replies = [
        "Night Ferry (1962)\nNight Ferry (1962)\nJaws (1975)",
        f"{movies[7].label}\n{movies[8].label}\n{movies[9].label}",
    ]
    shown = recommendations.evaluate_shown(by_id, lists, recommendations.rank_by_votes(movies), lambda prompts: replies)
    assert (shown.hit_3, shown.retriever_hit_3, shown.count) == (0.5, 0, 2)
    assert (shown.faults_before, shown.short_before, shown.faults_after) == (0.5, 0.5, 0)


def test_the_retrievers_hits_are_not_the_models(movies: list[Movie]) -> None:
    """What the checks fill up with the retriever's first three is shown to people, but the model did not choose it."""
    lists = [RecommendationList("tt0000003", ("tt0000012",), "x", "test")]  # the most voted: the ranking's first
    by_id, rank = {m.tconst: m for m in movies}, recommendations.rank_by_votes(movies)
    shown = recommendations.evaluate_shown(by_id, lists, rank, lambda prompts: ["I like cheese."])
    assert (shown.hit_3, shown.retriever_hit_3) == (0, 1)


@pytest.mark.parametrize(
    ("response", "titles", "faults"),
    [
        ("Sure! Three movies like Harbour Lights (1954):\n\n1. Night Ferry (1962)\n2. Winter Wheat (2014)", "NW", 0),
        ("Night Ferry (1962), Winter Wheat (2014), and A Small Orchestra (2011).", "NWA", 0),
        ("1. **Night Ferry (1962)** - a crime film\n* Winter Wheat: it is sad", "NW", 0),
        ("Because you liked Harbour Lights (1954), I chose Night Ferry (1962).\nNight Ferry (1962) is dark.", "N", 0),
        ("Three movies like Harbour Lights (1954)\nNight Ferry (1962)", "N", 0),
        ("Night Ferry (1962), Jaws (1975)", "N", 1),
        ("Jaws (1975)\n- Winter Wheat (2014)\n- Winter Wheat (2014)", "W", 2),
        ("1. A shark film", "", 1),
        ("Harbour Lights (1954)", "", 1),
        ("I can't help with that.", "", 0),
    ],
)  # fmt: skip
def test_an_untuned_models_prose_is_no_invention(movies: list[Movie], response: str, titles: str, faults: int) -> None:
    named, counted = recommendations.read_named(response, [movies[3], movies[9], movies[8]], movies[2])
    assert "".join(movie.title[0] for movie in named) == titles
    assert counted == faults
