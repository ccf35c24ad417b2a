"""The language model that writes the answers: batched for files, streamed for the chat, held to a list for a choice."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from moviebot.data.tokenise import encode_prompt
from moviebot.modules.decoding import DraftDecoder
from moviebot.modules.dense import MAX_NEW_TOKENS, generate_texts, load_dense_model
from moviebot.modules.title_choice import choose_lines


class Generator:
    """A base model with its adapter, loaded once.

    Args:
        base: the base model, a folder or a hub name.
        adapter: a PEFT folder, or None for the base as it is.
        max_new_tokens: where an answer is cut.
        batch_size: prompts that go through the model together.
    """

    def __init__(
        self, base: str, adapter: Path | None, max_new_tokens: int = MAX_NEW_TOKENS, batch_size: int = 16
    ) -> None:
        self.max_new_tokens = max_new_tokens
        self.batch_size = batch_size
        self.model, self.tokenizer = load_dense_model(base, adapter)
        self._decoder = DraftDecoder(self.model, self.tokenizer.eos_token_id)

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Return the model's text for each prompt, in order."""
        return generate_texts(self.model, self.tokenizer, prompts, self.max_new_tokens, self.batch_size)

    def choose(self, prompt: str, titles: Sequence[str], n: int) -> list[int]:
        """Let the model choose among titles by constrained decoding; see :func:`choose_lines`.

        Args:
            prompt: offers the titles.
            titles: untrusted.
            n: how many to choose.

        Returns:
            The places of min(n, len(titles)) distinct titles, in the model's order.
        """
        return choose_lines(self._decoder.next_logits, self.tokenizer, encode_prompt(self.tokenizer, prompt), titles, n)

    def stream(self, prompt: str) -> Iterator[str]:
        """Yield the model's text in pieces, as it is written.

        Leaving the iteration early stops the model.
        """
        ids: list[int] = []
        told = text = ""
        for found in self._decoder.decode(encode_prompt(self.tokenizer, prompt), self.max_new_tokens):
            ids += found
            text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
            # A letter of several bytes may be half written: it waits for the rest.
            if len(text) > len(told) and not text.endswith("\N{REPLACEMENT CHARACTER}"):
                yield text[len(told) :]
                told = text
        if len(text) > len(told):
            yield text[len(told) :]
