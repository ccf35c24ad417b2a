"""One answer, piece by piece: what the terminal and the web page share."""

from collections.abc import Iterator

from moviebot.rag.answer import Answer
from moviebot.rag.checks import strip_controls
from moviebot.rag.pipeline import MovieBot


def stream_answer(bot: MovieBot, answer: Answer) -> Iterator[str]:
    """Yield the pieces of an answer to a question as the model writes them, then finish the answer.

    A list of recommendations is yielded by no piece: it is shown once it is checked. What ``answer.answer`` is
    afterwards counts: the checks may have put another text in the place of the model's.

    Args:
        bot: prepared the answer.
        answer: from :meth:`MovieBot.prepare`; one without a prompt is whole already.

    Yields:
        Text without anything that a terminal would obey. Leaving early stops the model and leaves the answer as
        prepared, with nothing remembered as shown.
    """
    if bot.generator is None or not answer.prompt:
        return
    pieces = []
    for piece in bot.generator.stream(answer.prompt):
        pieces.append(strip_controls(piece))
        yield pieces[-1] if answer.intent == "question" else ""
    bot.finish(answer, "".join(pieces))
