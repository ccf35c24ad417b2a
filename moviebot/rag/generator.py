"""The language model that writes the answers: batched for files, streamed for the chat."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from transformers import TextIteratorStreamer

from moviebot.data.tokenise import collate_prompts, encode_prompt, pad_id_of
from moviebot.modules.dense import generate_texts, greedy_decoding, load_dense_model

MAX_NEW_TOKENS = 96  # an answer is a sentence or two, a list three titles


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

    def generate(self, prompts: Sequence[str]) -> list[str]:
        """Return the model's text for each prompt, in order."""
        return generate_texts(self.model, self.tokenizer, prompts, self.max_new_tokens, self.batch_size)

    def stream(self, prompt: str) -> Iterator[str]:
        """Yield the model's text in pieces, as it is written.

        Leaving the iteration early stops the model after its next token.
        """
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        batch = collate_prompts([encode_prompt(self.tokenizer, prompt)], pad_id_of(self.tokenizer))
        device = next(self.model.parameters()).device
        stopped = threading.Event()
        failure: list[BaseException] = []

        def is_stopped(input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
            return torch.full((len(input_ids),), stopped.is_set(), device=input_ids.device)

        def write() -> None:
            try:
                with torch.inference_mode():
                    self.model.generate(
                        **{name: tensor.to(device) for name, tensor in batch.items()},
                        streamer=streamer,
                        generation_config=greedy_decoding(self.tokenizer, self.max_new_tokens, lookup_tokens=None),
                        stopping_criteria=[is_stopped],
                    )
            except BaseException as error:
                failure.append(error)
            finally:
                streamer.end()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            stopped.set()
            thread.join()
        if failure:
            raise failure[0]
