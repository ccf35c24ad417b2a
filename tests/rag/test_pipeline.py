from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from moviebot.data.prompts import render_question_prompt, render_recommend_prompt
from moviebot.data.schemas import Movie
from moviebot.data.tokenise import encode_prompt
from moviebot.errors import UserError
from moviebot.modules.title_choice import choose_lines
from moviebot.rag.answer import MAX_QUERY_CHARS, Query, check_query
from moviebot.rag.bundle import load_bundle
from moviebot.rag.generator import Generator
from moviebot.rag.pipeline import MovieBot
from tests.rag.conftest import ScriptedGenerator


@pytest.fixture
def bot(bundle_folder: Path) -> MovieBot:
    return MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: "It was Olga Sidorova."))


def test_a_question_gets_the_movies_facts_and_the_models_answer(bot: MovieBot, movies: list[Movie]) -> None:
    [answer] = bot.answer([Query("who directed Winter Wheat?")])
    assert answer.intent == "question"
    assert answer.movie == movies[9]
    assert answer.prompt == render_question_prompt("who directed Winter Wheat?", movies[9])
    assert answer.answer == "It was Olga Sidorova."
    assert answer.grounded
    assert not answer.abstained
    assert answer.seconds["total"] >= answer.seconds["generate"] > 0


def test_an_invented_answer_gives_way_to_the_fact(bundle_folder: Path) -> None:
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: "It was Alan Smithee."))
    [answer] = bot.answer([Query("who directed Winter Wheat?")])
    assert answer.answer == "It was directed by Olga Sidorova."
    assert answer.grounded
    assert answer.fallback
    assert not answer.abstained


def test_a_decline_is_an_abstention(bundle_folder: Path) -> None:
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: "I don't know: no budget is given."))
    [answer] = bot.answer([Query("what was the budget of Winter Wheat?")])
    assert answer.abstained
    assert answer.grounded


def test_recommendations_are_checked(bundle_folder: Path, movies: list[Movie]) -> None:
    reply = "Night Ferry (1962)\nHarbour Lights (1954)\nNight Ferry (1962)\nJaws (1975)"
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: reply))
    [answer] = bot.answer([Query("I loved Harbour Lights. What else should I watch?")])
    assert answer.intent == "recommend"
    assert answer.movie == movies[2]
    assert answer.prompt == render_recommend_prompt(movies[2], answer.candidates)
    assert movies[2] not in answer.candidates
    assert answer.recommendations[0] == movies[3]
    assert len(answer.recommendations) == len(set(answer.recommendations)) == 3
    assert set(answer.recommendations) <= set(answer.candidates)
    assert answer.faults == 3
    assert all(movie.label in answer.answer for movie in answer.recommendations)


def test_a_wish_without_a_movie_is_answered_from_the_catalogue(bot: MovieBot) -> None:
    [answer] = bot.answer([Query("I'm looking for a documentary")])
    assert answer.intent == "recommend"
    assert answer.movie is None
    assert answer.recommendations[0].title == "The Last Beekeeper"
    assert answer.prompt == ""


def test_an_unknown_movie_and_small_talk_need_no_model(bot: MovieBot) -> None:
    unknown, hello = bot.answer([Query("who directed Zzyzx Quorvle?"), Query("hello there")])
    assert unknown.abstained
    assert unknown.movie is None
    assert hello.intent == "other"
    assert "recommend movies" in hello.answer
    assert isinstance(bot.generator, ScriptedGenerator)
    assert bot.generator.prompts == []


def test_a_conversation_remembers_its_movie_and_no_other_conversations(bot: MovieBot, movies: list[Movie]) -> None:
    first, other, follow_up, stranger = bot.answer(
        [
            Query("who directed Winter Wheat?", "a"),
            Query("when did Night Ferry come out?", "b"),
            Query("who directed it?", "a"),
            Query("who directed it?"),
        ]
    )
    assert first.movie == follow_up.movie == movies[9]
    assert other.movie == movies[3]
    assert stranger.movie is None


def test_more_of_the_same_repeats_nothing(bot: MovieBot) -> None:
    first, second = bot.answer([Query("movies like Night Ferry", "a"), Query("give me another one", "a")])
    assert second.intent == "recommend"
    assert not {movie.tconst for movie in first.recommendations} & {movie.tconst for movie in second.recommendations}


def test_without_a_model_all_but_the_text_is_filled(bundle_folder: Path) -> None:
    bot = MovieBot(load_bundle(bundle_folder))
    question, wish = bot.answer([Query("who directed Winter Wheat?"), Query("movies like Night Ferry")])
    assert question.prompt
    assert question.answer == ""
    assert len(wish.recommendations) == 3


def test_the_same_queries_in_one_batch_or_singly_give_the_same(bundle_folder: Path) -> None:
    queries = [
        Query("who directed Winter Wheat?"),
        Query("movies like Night Ferry"),
        Query("hello"),
        Query("war films"),
    ]
    bundle = load_bundle(bundle_folder)
    together = MovieBot(bundle).answer(queries)
    singly = [answer for query in queries for answer in MovieBot(bundle).answer([query])]
    for one, other in zip(together, singly, strict=True):
        assert {**one.as_row(), "seconds": 0, "movie_score": 0} == {**other.as_row(), "seconds": 0, "movie_score": 0}
        assert one.movie_score == pytest.approx(other.movie_score, abs=1e-3)


def test_a_query_too_long_is_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="at most 2,000"):
        check_query("word " * 10_000)
    with pytest.raises(UserError, match="empty"):
        check_query(" \n")
    assert check_query("x" * MAX_QUERY_CHARS)


def test_what_the_model_chose_is_what_is_not_shown_again(bundle_folder: Path) -> None:
    """In one batch too: the second query waits for what the model makes of the first."""

    def choose_last(prompt: str) -> str:
        return "\n".join(prompt.split("### Input:\n")[1].split("\n\n")[0].split("\n")[-3:])

    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(choose_last))
    first, other, second = bot.answer(
        [Query("movies like Night Ferry", "a"), Query("hello"), Query("give me another one", "a")]
    )
    assert first.recommendations == first.candidates[-3:]
    assert other.intent == "other"
    left = [movie for movie in first.candidates if movie not in first.recommendations]
    assert [movie for movie in second.candidates if movie in first.candidates] == left
    shown = [*first.recommendations, *second.recommendations]
    assert [bot.movies[row] for row in bot.conversations.get("a").shown] == shown


def test_a_recalled_movie_is_the_first_candidate(bot: MovieBot, movies: list[Movie]) -> None:
    _, follow_up = bot.answer([Query("who directed Winter Wheat?", "a"), Query("and how long is it?", "a")])
    assert follow_up.movie == follow_up.movie_candidates[0] == movies[9]
    assert len(follow_up.movie_candidates) <= 10
    assert len(set(follow_up.movie_candidates)) == len(follow_up.movie_candidates)


def test_an_answer_that_failed_leaves_no_memory(bundle_folder: Path) -> None:
    def fail(prompt: str) -> str:
        raise RuntimeError("out of memory")

    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(fail))
    bot.conversations.get("a").remember(1, [2])
    with pytest.raises(RuntimeError):
        bot.answer([Query("movies like Night Ferry", "a"), Query("who directed Winter Wheat?", "b")])
    assert (bot.conversations.get("a").row, bot.conversations.get("a").shown) == (1, [2])
    assert bot.conversations.get("b").row is None


def test_control_characters_of_a_model_are_not_passed_on(bundle_folder: Path) -> None:
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: "It was \x1bOlga\u200b Sidorova.\x07"))
    [answer] = bot.answer([Query("who directed Winter Wheat?")])
    assert answer.answer == "It was Olga Sidorova."
    assert not answer.fallback


class ContraryGenerator(ScriptedGenerator):
    """Held to a list, with random logits; otherwise it invents."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, seed: int = 0) -> None:
        super().__init__(lambda prompt: "Jaws (1975)\nJaws (1975)\nMade Up (2020)")
        self.tokenizer = tokenizer
        self.noise = torch.Generator().manual_seed(seed)

    def choose(self, prompt: str, titles: Sequence[str], n: int) -> list[int]:
        ids = encode_prompt(self.tokenizer, prompt)
        return choose_lines(lambda text: torch.randn(320, generator=self.noise), self.tokenizer, ids, titles, n)


def test_a_list_is_chosen_not_written(bundle_folder: Path, tiny_llama: Path) -> None:
    bot = MovieBot(load_bundle(bundle_folder), ContraryGenerator(AutoTokenizer.from_pretrained(tiny_llama)))
    queries = [
        Query(f"I loved {movie.label}. What else should I watch?", f"c{n}") for n, movie in enumerate(bot.movies)
    ]
    answers = bot.answer([*queries, *(Query("more like that", query.conversation) for query in queries)])
    lists = [answer for answer in answers if answer.intent == "recommend" and answer.prompt]
    assert len(lists) > 12
    for answer in lists:
        assert len(answer.recommendations) == len(set(answer.recommendations)) == min(3, len(answer.candidates))
        assert set(answer.recommendations) <= set(answer.candidates)
        assert answer.movie not in answer.recommendations
        assert answer.faults == 0
        assert answer.seconds["generate"] > 0
    assert any(answer.recommendations != answer.candidates[:3] for answer in lists)
    for conversation in {query.conversation for query in queries}:
        shown = bot.conversations.get(conversation).shown
        assert len(shown) == len(set(shown))


def test_a_list_has_its_reasons(bundle_folder: Path, tiny_llama: Path, movies: list[Movie]) -> None:
    bundle = load_bundle(bundle_folder)
    chooser = MovieBot(bundle, ContraryGenerator(AutoTokenizer.from_pretrained(tiny_llama)))
    for bot in (MovieBot(bundle), MovieBot(bundle, ScriptedGenerator(lambda prompt: "Night Ferry (1962)")), chooser):
        like, wish = bot.answer([Query("movies like Harbour Lights"), Query("I'm looking for a documentary")])
        for answer in (like, wish):
            assert len(answer.reasons) == len(answer.recommendations) > 0
            for movie, reason in zip(answer.recommendations, answer.reasons, strict=True):
                assert f"{movie.label}: {reason}" in answer.answer
        told = dict(zip((movie.title for movie in like.recommendations), like.reasons, strict=True))
        if "Night Ferry" in told:
            assert told["Night Ferry"] == "also directed by Ida Crane, with Tom Vale"
        assert wish.reasons[0].startswith("a documentary from 2017")


def test_one_answer_completed_is_the_one_of_a_batch(bundle_folder: Path, tiny_llama: Path) -> None:
    """What a chat does, question by question, and what a file gets."""
    bundle = load_bundle(bundle_folder)
    queries = [Query("who directed Winter Wheat?"), Query("movies like Night Ferry"), Query("hello there")]
    generator = Generator(str(tiny_llama), None, max_new_tokens=8)
    together = MovieBot(bundle, generator).answer(queries)
    bot = MovieBot(bundle, generator)
    for query, other in zip(queries, together, strict=True):
        [answer] = bot.prepare([query])
        pieces = "".join(bot.complete(answer))
        assert bool(pieces) is (answer.intent == "question")
        assert (answer.answer, answer.recommendations) == (other.answer, other.recommendations)
        assert answer.seconds["generate"] > 0 or not answer.prompt


def test_a_follow_up_is_checked_against_what_was_asked(bundle_folder: Path, movies: list[Movie]) -> None:
    """The prompt's question counts, whatever words led to it."""
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: ""))
    [answer] = bot.prepare([Query("who directed Winter Wheat?")])
    answer.query = "the second one"
    bot.finish(answer, "It was directed by Ivan Petrov.")
    assert answer.answer == "It was directed by Olga Sidorova."


def test_what_no_fact_tells_is_declined_without_the_model(bundle_folder: Path) -> None:
    asked: list[str] = []
    bot = MovieBot(load_bundle(bundle_folder), ScriptedGenerator(lambda prompt: asked.append(prompt) or "By Olga."))  # type: ignore[func-returns-value]
    texts = ("who wrote Winter Wheat?", "who directed the sequel to Winter Wheat?")
    for answer in bot.answer([Query(text) for text in texts]):
        assert answer.abstained
        assert answer.answer.startswith("I don't know")
    for text in texts:
        [answer] = bot.prepare([Query(text)])
        assert list(bot.complete(answer)) == []
        assert answer.abstained
    assert asked == []
