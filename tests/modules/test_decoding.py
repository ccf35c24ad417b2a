"""Drafts change how fast an answer is written, never what it says."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from moviebot.modules.decoding import DraftDecoder, _Drafts

EOS = 1


@pytest.fixture
def model(tiny_llama: Path) -> PreTrainedModel:
    """Random weights, made to repeat what they read: else no draft would ever be right."""
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32).eval()
    return loaded


def plain(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    """Token by token, without a cache."""
    text = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            text.append(int(model(torch.tensor([text])).logits[0, -1].argmax()))
            if text[-1] == EOS:
                break
    return text[len(prompt) :]


def make_prompts() -> list[list[int]]:
    torch.manual_seed(0)
    shared = torch.randint(3, 300, (12,)).tolist()
    return [shared + torch.randint(3, 300, (length,)).tolist() for length in (5, 9, 1, 9)]


@pytest.mark.parametrize("draft_tokens", [0, 1, 4, 10])
def test_writes_what_token_by_token_would(model: PreTrainedModel, draft_tokens: int) -> None:
    decoder = DraftDecoder(model, EOS, draft_tokens)
    for prompt in [*make_prompts(), *make_prompts()]:  # the second time with a history
        answer = [token for found in decoder.decode(prompt, 20) for token in found]
        assert answer == plain(model, prompt, 20)


def test_drafts_save_passes(model: PreTrainedModel) -> None:
    prompts = make_prompts() * 2
    passes = {}
    for draft_tokens in (0, 10):
        decoder = DraftDecoder(model, EOS, draft_tokens)
        tokens = sum(len(found) for prompt in prompts for found in decoder.decode(prompt, 20))
        passes[draft_tokens] = decoder.passes
        assert draft_tokens or decoder.passes == tokens
    assert passes[10] < 0.7 * passes[0]  # an answer that was given before is a draft that is right


def test_the_end_token_ends_it_and_the_cut_cuts_it(model: PreTrainedModel) -> None:
    prompt = make_prompts()[0]
    wanted = plain(model, prompt, 20)
    end = wanted[4]
    cut = wanted[: wanted.index(end) + 1]
    decoder = DraftDecoder(model, end)
    for _ in range(2):
        assert [token for found in decoder.decode(prompt, 20) for token in found] == cut
    assert [token for found in DraftDecoder(model, EOS).decode(prompt, 3) for token in found] == wanted[:3]
    assert list(DraftDecoder(model, EOS).decode(prompt, 0)) == []


def test_what_prompts_share_is_computed_once(model: PreTrainedModel) -> None:
    widths: list[int] = []
    model.register_forward_pre_hook(
        lambda _, args, kwargs: widths.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    decoder = DraftDecoder(model, EOS, draft_tokens=0)
    first, second = make_prompts()[:2]
    list(decoder.decode(first, 1))
    list(decoder.decode(second, 1))
    assert widths == [17, 21 - 12]
    list(decoder.decode(second, 1))
    assert widths[2:] == [1]  # the whole prompt is cached: its last token is computed again


def test_drafts_follow_the_longest_match() -> None:
    drafts = _Drafts([1, 2, 3, 4, 9, 2, 3, 7, 5, 2, 3], history=[8, 6, 5, 4])
    assert drafts.propose(3) == [7, 5, 2]  # "2 3" stood twice: the last place counts
    drafts.extend([4, 9])
    assert drafts.propose(2) == [2, 3]  # "3 4 9" stood once
    drafts.extend([8, 6])
    assert drafts.propose(4) == [5, 4]  # from the history
    drafts.extend([77])
    assert drafts.propose(4) == []
