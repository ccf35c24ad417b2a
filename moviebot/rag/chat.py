"""A conversation in the terminal, streamed; or, where standard input is no terminal, answers to its lines."""

import sys
from collections.abc import Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import InMemoryHistory
from rich.console import Console

from moviebot.data.prompts import clean_text
from moviebot.errors import UserError
from moviebot.rag.answer import HELP, Answer, Query, check_query
from moviebot.rag.bundle import load_bundle
from moviebot.rag.checks import strip_controls
from moviebot.rag.language_model import load_language_model
from moviebot.rag.pipeline import MovieBot

_COMMANDS = "/help shows this, /new forgets the conversation, /exit leaves (so does Ctrl-D)"
_CONVERSATION = "chat"


def chat(bundle: Path, no_llm: bool = False, llm: str | None = None, llm_model: str | None = None) -> None:
    """Talk to a bundle in the terminal.

    Args:
        bundle: a bundle's folder.
        no_llm: answer without the language model: only movies found and recommendations are shown.
        llm: ask an OpenAI-compatible endpoint at this address (http://localhost:8000/v1) instead of the bundle's own
            model; a key is read from the environment variable MOVIEBOT_LLM_API_KEY.
        llm_model: the model's name there.
    """
    console = Console(highlight=False, soft_wrap=True, emoji=False)
    loaded = load_bundle(bundle)
    with Console(stderr=True).status("Loading the models"):
        generator = load_language_model(loaded, no_llm, llm, llm_model)
        bot = MovieBot(loaded, generator)
    if sys.stdin.isatty():
        _say(console, f"{HELP}\n{_COMMANDS}.")
        run_chat(bot, console, _read_prompt())
    else:
        run_chat(bot, console, (line.rstrip("\n") for line in sys.stdin))


def run_chat(bot: MovieBot, console: Console, lines: Iterator[str]) -> None:
    """Answer lines until there are no more, or ``/exit``.

    Args:
        bot: answers them, as one conversation.
        console: where the answers go.
        lines: the person's words.
    """
    turn = 0
    for line in lines:
        match line.strip():
            case "":
                continue
            case "/exit" | "/quit":
                return
            case "/help":
                _say(console, f"{HELP}\n{_COMMANDS}.")
            case "/new":
                turn += 1
                _say(console, "A new conversation.")
            case text if text.startswith("/"):
                _say(console, f"There is no command {text.split()[0]}: {_COMMANDS}.")
            case text:
                _reply(bot, console, Query(text, f"{_CONVERSATION}{turn}"))


def _reply(bot: MovieBot, console: Console, query: Query) -> None:
    try:
        check_query(query.text)
    except UserError as error:
        _say(console, str(error))
        return
    [answer] = bot.prepare([query])
    if bot.generator is None or not answer.prompt:
        _say(console, answer.answer or _say_what_was_found(answer))
        return
    try:
        _stream(bot, console, answer)
    except KeyboardInterrupt:  # the answer is cut short; the conversation goes on
        _say(console, " (stopped)")


def _stream(bot: MovieBot, console: Console, answer: Answer) -> None:
    if bot.generator is None:
        raise ValueError("there is no language model to stream from")
    pieces = []
    for piece in bot.complete(answer):
        pieces.append(strip_controls(piece))
        _say(console, pieces[-1], end="")
        console.file.flush()
    written = "".join(pieces).strip()
    if written and written != answer.answer:  # the check has put the fact in the place of what was written
        _say(console, "")
    _say(console, "" if written == answer.answer else answer.answer)


def _say(console: Console, text: str, end: str = "\n") -> None:
    """Print text that is not ours: no markup, no emoji codes, nothing that the terminal would obey."""
    console.print(strip_controls(text), end=end, markup=False, emoji=False, highlight=False)


def _say_what_was_found(answer: Answer) -> str:
    return f"That is about {clean_text(answer.movie.label)}." if answer.movie else HELP


def _read_prompt() -> Iterator[str]:
    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    while True:
        try:
            yield session.prompt("you> ")
        except KeyboardInterrupt:  # clears the line, as shells do
            continue
        except EOFError:
            return
