"""Which language model writes the answers: the bundle's own, one behind an endpoint, or none."""

from moviebot.errors import UserError
from moviebot.rag.bundle import Bundle
from moviebot.rag.endpoint import connect
from moviebot.rag.pipeline import TextGenerator


def load_language_model(
    bundle: Bundle, no_llm: bool = False, llm: str | None = None, llm_model: str | None = None, batch_size: int = 16
) -> TextGenerator | None:
    """Return what the command line asks for.

    Args:
        bundle: names the base model and the adapter.
        no_llm: none.
        llm: the address of an OpenAI-compatible endpoint.
        llm_model: the model's name there.
        batch_size: prompts that go through the bundle's own model together.

    Raises:
        UserError: the flags contradict each other, or the endpoint does not answer.
    """
    if llm is not None:
        if no_llm:
            raise UserError("--no_llm and --llm exclude each other: leave one out")
        return connect(llm, llm_model)
    if llm_model is not None:
        raise UserError(f"--llm_model {llm_model} needs --llm: the address of the server that knows it")
    if no_llm:
        return None
    from moviebot.rag.generator import Generator  # imports the language model's libraries

    return Generator(bundle.base, bundle.adapter, batch_size=batch_size)
