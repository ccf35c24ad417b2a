"""A generator that says what it is told to."""

from collections.abc import Callable, Iterator, Sequence


class ScriptedGenerator:
    """Stands in for the language model: replies by a function, and notes the prompts it saw."""

    def __init__(self, reply: Callable[[str], str]) -> None:
        self.reply = reply
        self.prompts: list[str] = []

    def generate(self, prompts: Sequence[str]) -> list[str]:
        self.prompts.extend(prompts)
        return [self.reply(prompt) for prompt in prompts]

    def stream(self, prompt: str) -> Iterator[str]:
        self.prompts.append(prompt)
        yield from self.reply(prompt).split(" ")
