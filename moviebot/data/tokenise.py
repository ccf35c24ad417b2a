"""From text to token ids: the one way that training and inference share.

Prompt and answer are tokenised apart, so that the ids at their boundary are the same in training, where the answer is
known, and at inference, where the model writes it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from moviebot.errors import UserError
from moviebot.pretrained import resolve_model

IGNORE = -100  # the label of a token that is no target: PyTorch's cross-entropy leaves it out


def load_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """Load a base model's tokenizer.

    Raises:
        UserError: the tokenizer has no end token, so that a model could never learn to stop.
    """
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_model(base))
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {base} has no end token (eos_token): choose a model that has one")
    return tokenizer


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """Return a prompt's ids, with the tokenizer's own start token and without its end token."""
    ids: list[int] = list(tokenizer(prompt, add_special_tokens=True)["input_ids"])
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def encode_follow_up(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Return the ids of what stands between an answer's end and the next answer: no start token, no end token."""
    ids: list[int] = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return ids


def encode_answer(tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
    """Return an answer's ids, closed by the end token, which the model must learn to write."""
    return [*tokenizer(answer.strip(), add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def pad_left(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    """Stack rows of unequal length, filling on the left.

    On the left, because generation continues from the last token, and because in training the answers then end
    together: logits are wanted for the last few columns only.

    Args:
        rows: B lists of ids.
        value: the filler.

    Returns:
        (B, T), int64, where T is the longest row's length.

    Example:
        >>> pad_left([[1, 2, 3], [4]], value=0).tolist()
        [[1, 2, 3], [0, 0, 4]]
    """
    width = max(len(row) for row in rows)
    return torch.tensor([[value] * (width - len(row)) + list(row) for row in rows], dtype=torch.int64)


def collate_prompts(prompts: Sequence[Sequence[int]], pad_id: int) -> dict[str, torch.Tensor]:
    """Return ``input_ids`` and ``attention_mask`` (B, T) of left-padded prompts.

    The mask follows from the lengths, never from the ids: the filler may be a token that also means something.
    """
    mask = pad_left([[1] * len(ids) for ids in prompts], 0)
    return {"input_ids": pad_left(prompts, pad_id), "attention_mask": mask}


def label_answers(turns: Sequence[tuple[Sequence[int], Sequence[int]]]) -> tuple[list[int], list[int]]:
    """Join the turns of one sample.

    Only the answers' tokens are labels, their end tokens among them; all else is :data:`IGNORE`.

    Args:
        turns: prompt and answer, each a list of ids, the answer closed by the end token.

    Returns:
        The ids and their labels, equally long.

    Example:
        >>> label_answers([([5, 6], [7, 2]), ([8], [9, 2])])
        ([5, 6, 7, 2, 8, 9, 2], [-100, -100, 7, 2, -100, 9, 2])
    """
    ids = [token for prompt, answer in turns for token in [*prompt, *answer]]
    return ids, [label for prompt, answer in turns for label in [*([IGNORE] * len(prompt)), *answer]]


def collate_samples(samples: Sequence[tuple[Sequence[int], Sequence[int]]], pad_id: int) -> dict[str, torch.Tensor]:
    """Return a training batch: ``input_ids``, ``attention_mask`` and ``labels``, each (B, T), left-padded.

    Args:
        samples: B pairs of ids and labels, as :func:`label_answers` returns them.
        pad_id: the filler of the ids; padding's label is :data:`IGNORE`.
    """
    batch = collate_prompts([ids for ids, _ in samples], pad_id)
    batch["labels"] = pad_left([labels for _, labels in samples], IGNORE)
    return batch


def pack_samples(samples: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, Any]:
    """Return a training batch without padding: the samples one behind the other in one row.

    Args:
        samples: pairs of ids and labels, each (T,), int64.

    Returns:
        ``input_ids``, ``labels`` and ``position_ids`` (1, T), int64, the positions beginning again at each sample,
        which keeps the samples apart, and the samples' lengths ``segments``.
    """
    lengths = tuple(len(ids) for ids, _ in samples)
    device = samples[0][0].device
    return {
        "input_ids": torch.cat([ids for ids, _ in samples])[None],
        "labels": torch.cat([labels for _, labels in samples])[None],
        "position_ids": torch.cat([torch.arange(length, device=device) for length in lengths])[None],
        "segments": lengths,
    }


def pad_id_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id to pad with: the tokenizer's own, else its end token (masks follow lengths, so either is safe)."""
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)
