"""Greedy decoding of one prompt at a time, with drafts: the same text as token by token, in fewer passes.

An answer about a movie copies names from its prompt and wording from earlier answers. So the next tokens are proposed
by looking up the last ones there (prompt lookup, https://github.com/apoorvumang/prompt-lookup-decoding), and the model
checks all of them in one pass, which costs about as much as a pass for one token: the weights are read once either way.
Only what the model itself would have written is kept. What two prompts begin with alike is computed once.
"""

from collections.abc import Iterator, Sequence

import torch
from transformers import DynamicCache, PreTrainedModel

DRAFT_TOKENS = 10  # proposed at a time: names and titles are that long
_LONGEST_MATCH = 3  # tokens that are looked up, the longest match first
HISTORY_TOKENS = 4096


class DraftDecoder:
    """Writes answers greedily, one prompt after the other; keeps what helps with the next.

    Args:
        model: a causal language model in eval mode.
        end_id: the end token.
        draft_tokens: proposed at a time; 0 writes token by token.
        history: tokens of earlier answers that drafts may come from.
    """

    def __init__(
        self, model: PreTrainedModel, end_id: int, draft_tokens: int = DRAFT_TOKENS, history: int = HISTORY_TOKENS
    ) -> None:
        self.model = model
        self.end_id = end_id
        self.draft_tokens = draft_tokens
        self.history_tokens = history
        self.passes = 0  # of the model, prompts included
        self._history: list[int] = []
        self._cache: DynamicCache | None = None
        self._cached: list[int] = []  # the ids whose keys and values the cache holds

    def decode(self, prompt: Sequence[int], max_new_tokens: int) -> Iterator[list[int]]:
        """Yield the answer's ids as they are found, a few at a time, the end token last where there is one.

        Args:
            prompt: the prompt's ids.
            max_new_tokens: where an answer is cut.
        """
        text = list(prompt)
        answer: list[int] = []
        self._reuse(text)
        drafts = _Drafts(text, self._history)
        while len(answer) < max_new_tokens and self.end_id not in answer[-1:]:
            room = min(self.draft_tokens, max_new_tokens - len(answer) - 1)
            # The first pass reads the prompt: what comes after it is not known yet, but earlier answers began so.
            draft = drafts.propose(room) if room > 0 else []
            found = self._check(text, draft)
            if self.end_id in found:
                found = found[: found.index(self.end_id) + 1]
            text += found
            answer += found
            drafts.extend(found)
            yield found
        history = self._history + text[-len(answer) - _LONGEST_MATCH :]
        self._history = history[max(0, len(history) - self.history_tokens) :]

    def _reuse(self, text: Sequence[int]) -> None:
        """Keep of the cache what this prompt shares with the one before; at least one token is left to compute."""
        shared = 0
        for one, other in zip(self._cached, text[:-1], strict=False):
            if one != other:
                break
            shared += 1
        if self._cache is None or shared == 0:
            self._cache, self._cached = DynamicCache(config=self.model.config), []
            return
        self._crop(shared)

    def next_logits(self, text: Sequence[int]) -> torch.Tensor:
        """Return the logits (V,) of the token behind a text; what it shares with the text before is not read again.

        Args:
            text: at least one id.
        """
        self._reuse(text)
        return self._read(text, [])[0]

    def _check(self, text: Sequence[int], draft: Sequence[int]) -> list[int]:
        """Run the tokens that are not cached and the draft; return what of the draft is right, and one token more."""
        best: list[int] = self._read(text, draft).argmax(dim=-1).tolist()
        right = 0
        while right < len(draft) and draft[right] == best[right]:
            right += 1
        self._crop(len(text) + right)
        return best[: right + 1]

    @torch.inference_mode()
    def _read(self, text: Sequence[int], draft: Sequence[int]) -> torch.Tensor:
        """Run the tokens that are not cached and the draft, and cache them.

        Returns:
            (draft + 1, V), the logits behind the text and behind each token of the draft.
        """
        device = self.model.device
        new = [*text[len(self._cached) :], *draft]
        ids = torch.tensor([new], device=device)  # (1, T)
        positions = torch.arange(len(self._cached), len(self._cached) + len(new), device=device)[None]
        logits: torch.Tensor = self.model(
            input_ids=ids, position_ids=positions, past_key_values=self._cache, use_cache=True,
            logits_to_keep=len(draft) + 1,
        ).logits[0]  # (draft + 1, V)  # fmt: skip
        self.passes += 1
        self._cached += new
        return logits

    def _crop(self, length: int) -> None:
        assert self._cache is not None
        if length < len(self._cached):
            self._cache.crop(length - len(self._cached))  # negative: how many to forget
            del self._cached[length:]


class _Drafts:
    """Where the last tokens stood before: in this prompt and answer, else in earlier answers."""

    def __init__(self, text: Sequence[int], history: Sequence[int]) -> None:
        self.text: list[int] = []
        self.history = list(history)
        # The last place wins: what was written last is likest to come again.
        self.in_history = self._index(self.history, 0)
        self.in_text: dict[tuple[int, ...], int] = {}
        self.extend(text)

    def extend(self, tokens: Sequence[int]) -> None:
        """Take in more text."""
        start = len(self.text)
        self.text += tokens
        # The end of the text itself is what is looked up: it is indexed once something follows it.
        self.in_text |= self._index(self.text, max(0, start - _LONGEST_MATCH))

    def propose(self, count: int) -> list[int]:
        """Return up to ``count`` tokens that followed the last ones before; none where they are new."""
        for length in range(_LONGEST_MATCH, 0, -1):
            key = tuple(self.text[-length:])
            for place, tokens in ((self.in_text.get(key), self.text), (self.in_history.get(key), self.history)):
                if place is not None:
                    return tokens[place : place + count]
        return []

    @staticmethod
    def _index(tokens: Sequence[int], start: int) -> dict[tuple[int, ...], int]:
        """Return for each run of up to three tokens where the text goes on behind its last occurrence."""
        return {
            tuple(tokens[end - length : end]): end
            for end in range(start + 1, len(tokens))
            for length in range(1, _LONGEST_MATCH + 1)
            if end - length >= 0
        }
