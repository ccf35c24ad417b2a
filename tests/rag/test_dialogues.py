"""Scripted dialogues and drawn conditions, on the embedded catalogue."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from moviebot.evaluation.constraint_queries import draw_query, measure_constraints
from moviebot.rag import predict as predict_module
from moviebot.rag.answer import Query
from moviebot.rag.bundle import Bundle
from moviebot.rag.pipeline import MovieBot
from tests.rag.conftest import ScriptedGenerator
from tools.bench_dialogues import play, read_dialogues


@pytest.fixture
def bot(sample_bundle: Bundle) -> MovieBot:
    return MovieBot(sample_bundle)


def test_forty_dialogues_of_three_to_eight_turns() -> None:
    dialogues = read_dialogues()
    assert len(dialogues) == 40
    assert all(3 <= len(dialogue["turns"]) <= 8 for dialogue in dialogues)
    assert all(len(turn) > 1 for dialogue in dialogues for turn in dialogue["turns"] if turn["say"].count(" ") > 6)


def test_most_turns_of_the_dialogues_are_right(bot: MovieBot) -> None:
    played = [turn for dialogue in read_dialogues() for turn in play(bot, dialogue)]
    wrong = [(said, faults) for said, faults, _ in played if faults]
    assert len(wrong) / len(played) <= 0.05, wrong  # with encoders one turn of 137 is wrong


def test_no_condition_is_broken_and_no_list_is_short(bot: MovieBot) -> None:
    figures, faults = measure_constraints(bot, queries=120, seed=7)
    assert figures["items shown that break a condition"] == 0, faults
    assert figures["candidates that break a condition"] == 0, faults
    assert figures["fewer than three shown although three exist"] == 0, faults
    assert figures["items shown"] > 250


def test_the_check_notices_a_bot_that_ignores_conditions(sample_bundle: Bundle) -> None:
    bot = MovieBot(sample_bundle)
    rank = bot.ranker.rank
    bot.ranker.rank = lambda *args, **kwargs: rank(*args, **{**kwargs, "constraints": None})  # type: ignore[method-assign]
    figures, _ = measure_constraints(bot, queries=40, seed=7)
    assert figures["items shown that break a condition"] > 10


def test_the_three_that_the_model_chooses_meet_the_conditions(sample_bundle: Bundle) -> None:
    def choose_last(prompt: str) -> str:
        return "\n".join(prompt.split("### Input:\n")[1].split("\n\n")[0].split("\n")[-3:])

    bot = MovieBot(sample_bundle, ScriptedGenerator(choose_last))
    [answer] = bot.answer([Query("movies like Heat from the 90s under two hours")])
    assert answer.prompt
    assert answer.recommendations == answer.candidates[-3:]
    assert all(
        1990 <= (movie.year or 0) <= 1999 and (movie.runtime_minutes or 999) < 120 for movie in answer.candidates
    )


def test_conversations_do_not_mix(bot: MovieBot) -> None:
    together = [
        Query("I hated Psycho", "a"),
        Query("a comedy from the nineties", "b"),
        Query("something newer", "a"),
        Query("more", "b"),
    ]
    *_, more = bot.answer(together)
    assert all("Comedy" in movie.genres and movie.year // 10 == 199 for movie in more.recommendations if movie.year)
    assert bot.conversations.get("b").dislikes == []
    assert len(bot.conversations.get("a").dislikes) == 1


def test_a_failed_answer_leaves_tastes_and_wishes_as_they_were(sample_bundle: Bundle) -> None:
    def fail(prompt: str) -> str:
        raise RuntimeError("out of memory")

    bot = MovieBot(sample_bundle, ScriptedGenerator(fail))
    bot.answer([Query("a comedy from the nineties", "a")])
    before = bot.conversations.get("a").wish
    with pytest.raises(RuntimeError):
        bot.answer([Query("I hated Psycho but I loved Heat. What else should I watch?", "a")])
    after = bot.conversations.get("a")
    assert (after.likes, after.dislikes, after.wish) == ([], [], before)


def test_none_fits_names_what_to_give_up_and_a_yes_does_so(bot: MovieBot) -> None:
    none, relaxed = bot.answer([Query("a western from 2015 or later rated above 9", "a"), Query("yes please", "a")])
    assert none.recommendations == []
    assert none.abstained
    assert "shall I leave it out?" in none.answer
    assert relaxed.recommendations


def test_few_that_fit_are_said_to_be_few(bot: MovieBot) -> None:
    [answer] = bot.answer([Query("a film by Spike Jonze with Joaquin Phoenix")])
    assert [movie.label for movie in answer.recommendations] == ["Her (2013)"]
    assert "Only this one fits" in answer.answer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a French comedy", "language or country"),
        ("something with Xaver Quandtner please", "I know no movie with Xaver Quandtner"),
    ],
)
def test_what_the_catalogue_cannot_tell_is_said(bot: MovieBot, text: str, said: str) -> None:
    [answer] = bot.answer([Query(text)])
    assert said in answer.answer


def test_a_doubt_is_resolved_by_the_next_turn(bot: MovieBot) -> None:
    thread = bot.conversations.get("a")
    rows = tuple(row for row, movie in enumerate(bot.movies) if movie.title == "Beauty and the Beast")
    thread.choices, thread.pending = rows, "who is in beuaty and beast"
    [answer] = bot.answer([Query("the 2017 one", "a")])
    assert answer.movie is not None
    assert answer.movie.label == "Beauty and the Beast (2017)"
    assert "who is in beuaty and beast" in answer.prompt
    assert thread.choices == ()
    thread.choices = rows
    [answer] = bot.answer([Query("neither", "a")])
    assert answer.abstained
    assert answer.movie is None


def test_drawn_queries_differ() -> None:
    from tests.rag.conftest import sample_movies

    rng = random.Random(0)
    texts = {draw_query(sample_movies(), rng)[0] for _ in range(100)}
    assert len(texts) > 95


@pytest.mark.parametrize("place", range(0, 40, 5))
def test_a_resumed_file_is_answered_as_one_that_was_not_stopped(
    sample_bundle: Bundle, tmp_path: Path, place: int
) -> None:
    """Wishes, tastes and what the model chose go on, wherever the run was cut."""

    def choose_the_last(prompt: str) -> str:
        return "\n".join(re.findall(r"^\W*(.+ \(\d{4}\))$", prompt, re.MULTILINE)[-3:])

    lines = [
        json.dumps({"query": turn["say"], "conversation": str(dialogue["id"])}).encode()
        for turns in zip(*[dialogue["turns"][:5] for dialogue in read_dialogues()[place : place + 3]], strict=False)
        for dialogue, turn in zip(read_dialogues()[place : place + 3], turns, strict=True)
    ]

    def answer(bot: MovieBot, some: Sequence[bytes]) -> list[dict[str, object]]:
        return [{**row, "seconds": None} for row in predict_module.answer_lines(bot, some)]

    whole = answer(MovieBot(sample_bundle, ScriptedGenerator(choose_the_last)), lines)
    part = tmp_path / "out.jsonl.part"
    for done in range(3, len(lines), 4):
        part.write_text("stamp\n" + "".join(json.dumps(row) + "\n" for row in whole[:done]))
        bot = MovieBot(sample_bundle, ScriptedGenerator(choose_the_last))
        predict_module._replay(bot, lines, done, part)
        assert answer(bot, lines[done:]) == whole[done:], done
