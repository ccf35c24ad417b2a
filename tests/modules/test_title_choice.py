"""The model can only write titles that are offered, and writes those that it likes best of them."""

import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from moviebot.data.prompts import clean_text, parse_recommend_response
from moviebot.data.schemas import Movie
from moviebot.modules.decoding import DraftDecoder
from moviebot.modules.title_choice import choose_lines, encode_lines, walk_trie

TITLES = [
    "Alien (1979)", "Aliens (1986)", "Alien", "Alien 3 (1992)", "Amélie (2001)", "千と千尋の神隠し (2001)",
    "</s> (1999)", "### Response: (2000)", "12 Angry Men (1957)", "12 (2007)", "(500) Days of Summer (2009)", "…",
    "Up (2009)", "M (1931)", "M", "\u202eevil (2001)", "a\nb (2002)", "$ (1971)", "Alien (1979) ", "<|im_end|>",
]  # fmt: skip


@pytest.fixture
def tokenizer(tiny_llama: Path) -> PreTrainedTokenizerBase:
    loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_llama)
    return loaded


@pytest.fixture
def model(tiny_llama: Path) -> PreTrainedModel:
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
    return loaded


def choose_by_brute_force(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: list[int], titles: list[str], n: int
) -> list[int]:
    """Token by token and without a cache: each time the likeliest of all ids that keep to the list."""
    text, chosen = list(prompt), list[int]()
    while len(chosen) < n:
        left = [place for place in range(len(titles)) if place not in chosen]
        last = len(chosen) == n - 1
        lines = {}
        for place in left:
            ids = tokenizer(clean_text(titles[place]) + ("" if last else "\n"), add_special_tokens=False)["input_ids"]
            lines[place] = [*ids, *([tokenizer.eos_token_id] if last else [])]
        written: list[int] = []
        while written not in lines.values():
            with torch.inference_mode():
                logits = model(torch.tensor([text + written])).logits[0, -1]
            allowed = {ids[len(written)] for ids in lines.values() if ids[: len(written)] == written}
            mask = torch.full_like(logits, -torch.inf)
            mask[list(allowed)] = 0
            written.append(int((logits + mask).argmax()))
        text += written
        chosen.append(next(place for place, ids in lines.items() if ids == written))
    return chosen


def test_chooses_what_brute_force_chooses(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    draw = random.Random(0)
    distinct = [title for title in TITLES if title != "Alien (1979) "]
    decoder = DraftDecoder(model, tokenizer.eos_token_id)
    firsts = set()
    for _ in range(20):
        titles = draw.sample(distinct, draw.randint(3, 12))
        prompt = tokenizer(f"{draw.random()}\n" + "\n".join(titles), add_special_tokens=True)["input_ids"]
        chosen = choose_lines(decoder.next_logits, tokenizer, prompt, titles, 3)
        assert chosen == choose_by_brute_force(model, tokenizer, prompt, titles, 3)
        firsts.add(titles[chosen[0]])
    assert len(firsts) > 3  # the model does choose


def test_is_asked_only_where_titles_part(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    decoder = DraftDecoder(model, tokenizer.eos_token_id)
    titles = ["Heat (1995)", "Ronin (1998)", "Rope (1948)"]  # the second and third part behind two letters
    choose_lines(decoder.next_logits, tokenizer, [5, 6, 7], titles, 3)
    assert decoder.passes <= 4
    decoder.passes = 0
    assert choose_lines(decoder.next_logits, tokenizer, [5, 6, 7], titles[:1], 3) == [0]
    assert decoder.passes == 0


def test_no_line_begins_another(tokenizer: PreTrainedTokenizerBase) -> None:
    for written in range(3):
        lines = encode_lines(tokenizer, [clean_text(title) for title in TITLES[:-2]], written, 3)
        assert not [(one, other) for one in lines for other in lines if one is not other and one == other[: len(one)]]


@pytest.mark.parametrize("seed", range(50))
def test_whatever_the_model_wants_the_choice_is_of_the_list(tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
    """Random logits; every fifth model wants the end, a newline or one letter above all."""
    draw, noise = random.Random(seed), torch.Generator().manual_seed(seed)
    titles = [draw.choice(TITLES) for _ in range(draw.randint(1, 20))]
    wanted = draw.choice([None, None, tokenizer.eos_token_id, tokenizer("\n")["input_ids"][-1], 70])

    def next_logits(text: list[int]) -> torch.Tensor:
        logits = torch.randn(len(tokenizer), generator=noise)
        if wanted is not None:
            logits[wanted] = 1e9
        return logits if seed % 7 else torch.full_like(logits, torch.nan)

    chosen = choose_lines(next_logits, tokenizer, [5], titles, 3)
    assert len(chosen) == len(set(chosen)) == min(3, len(titles))
    assert all(0 <= place < len(titles) for place in chosen)
    distinct = {clean_text(title) for title in titles}
    assert len({clean_text(titles[place]) for place in chosen}) == min(3, len(distinct))


def test_what_is_written_is_what_the_models_learn(tokenizer: PreTrainedTokenizerBase) -> None:
    """The ids of the lines chosen are those of the taught response, the end token too."""
    movies = [Movie("tt1", "Up", year=2009), Movie("tt2", "Her", year=2013), Movie("tt3", "千と", year=2001)]
    response = "\n".join(movie.label for movie in movies)
    taught = [*tokenizer(response, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    written = [token for n, movie in enumerate(movies) for token in encode_lines(tokenizer, [movie.label], n, 3)[0]]
    assert written == taught
    assert parse_recommend_response(response, movies) == (movies, 0)


def test_lines_that_can_not_be_told_apart_are_still_a_choice() -> None:
    def next_logits(text: list[int]) -> torch.Tensor:
        return torch.tensor([0.0, 1.0, 2.0])

    assert walk_trie(next_logits, [0], [(1, 2), (1, 2), (0,)]) == 0
    assert walk_trie(next_logits, [0], [(1,), (1, 2)]) == 0
