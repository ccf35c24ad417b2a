"""Choosing lines of a list by constrained decoding: a walk through the prefix trie of their tokens.

The model writes the list that it was taught to write, one title a line, but at each token it may only take what some
title still possible goes on with. So a line that was not offered, or one twice, can't be written, whatever the model's
weights are. It is asked only where titles part: the tokens up to there are forced, and read together in the next pass.
"""

from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedTokenizerBase

from moviebot.data.prompts import clean_text

NextLogits = Callable[[list[int]], torch.Tensor]
"""From a text's ids to the logits (V,) of the token behind it; a text mostly goes on where the one before ended."""
_ANCHOR = "x\n"  # what a line stands behind: some tokenizers begin a text in another way than a line


def choose_lines(
    next_logits: NextLogits, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], titles: Sequence[str], n: int
) -> list[int]:
    """Let a model choose among titles, greedily.

    Args:
        next_logits: the model.
        tokenizer: the model's own.
        prompt: the ids of the prompt, which offers the titles.
        titles: untrusted; written as the prompt writes them.
        n: how many to choose.

    Returns:
        The places of min(n, len(titles)) distinct titles, in the model's order. Of titles that read alike one is
        chosen as long as there are others.
    """
    n = min(n, len(titles))
    text = list(prompt)
    chosen: list[int] = []
    left = _group_alike(titles)
    while len(chosen) < n and left:
        lines = encode_lines(tokenizer, [clean_text(titles[alike[0]]) for alike in left], len(chosen), n)
        place = walk_trie(next_logits, text, lines)
        text += lines[place]
        chosen.append(left.pop(place)[0])
    return chosen + [place for place in range(len(titles)) if place not in chosen][: n - len(chosen)]


def encode_lines(
    tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], written: int, n: int
) -> list[tuple[int, ...]]:
    r"""Return each title's ids as the next line of a list, with what ends the line.

    The end is what makes one title of "Alien" and "Aliens", the first tokens of which may be the same: no line's ids
    are the beginning of another's. It is the newline, which some tokenizers join with what stands before it, or behind
    the last line the end token.

    Args:
        tokenizer: the model's own.
        titles: each one line.
        written: how many lines stand before it.
        n: how many lines the list will have.
    """
    end = "\n" if written < n - 1 else ""
    tail = () if end else (int(tokenizer.eos_token_id),)
    before = _encode(tokenizer, _ANCHOR) if written else []
    lines = []
    for title in titles:
        ids = _encode(tokenizer, f"{_ANCHOR if written else ''}{title}{end}")
        # Where the anchor's tokens change with what follows, the title alone is the nearest.
        ids = ids[len(before) :] if ids[: len(before)] == before else _encode(tokenizer, f"{title}{end}")
        lines.append((*ids, *tail))
    return lines


def walk_trie(next_logits: NextLogits, text: Sequence[int], lines: Sequence[Sequence[int]]) -> int:
    """Follow the model through the trie of lines until one is left.

    Args:
        next_logits: the model.
        text: the ids of what stands before the line.
        lines: the ids of each line; of two that are equal, or one that goes on where another ends, the first wins.

    Returns:
        The place of the line that the model wrote.
    """
    possible = list(range(len(lines)))
    depth = 0
    while len(possible) > 1:
        ended = [place for place in possible if len(lines[place]) == depth]
        if ended:  # equal, or cut short by a tokenizer: nothing is left to tell them apart
            return ended[0]
        allowed = sorted({lines[place][depth] for place in possible})
        token = allowed[0]
        if len(allowed) > 1:
            logits = next_logits([*text, *lines[possible[0]][:depth]])  # (V,)
            token = allowed[int(logits[allowed].argmax())]
        possible = [place for place in possible if lines[place][depth] == token]
        depth += 1
    return possible[0]


def _group_alike(titles: Sequence[str]) -> list[list[int]]:
    """Return the places of titles, those that read alike together, in the order of the first of each."""
    groups: dict[str, list[int]] = {}
    for place, title in enumerate(titles):
        groups.setdefault(" ".join(clean_text(title).casefold().split()), []).append(place)
    return list(groups.values())


def _encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
