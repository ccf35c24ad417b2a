"""An Ollama Modelfile whose template is the training prompt.

The facts are the *system* text and the question is the prompt, so that ``ollama run`` takes ``/set system FACTS`` and
the API ``{"system": FACTS, "prompt": QUESTION}``.
"""

from transformers import PreTrainedTokenizerBase

from moviebot.export.chat_template import end_token, render_go

MODELFILE_NAME = "Modelfile"
CONTEXT_TOKENS = 2048  # facts, a description of 2,000 characters and some follow-up questions
HEADING = "### Instruction:"  # a model that did not stop goes on to invent the next question


def render_modelfile(gguf_name: str, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> str:
    """Write a Modelfile.

    Args:
        gguf_name: the model's file, in the Modelfile's own folder.
        tokenizer: the model's own, for its end token.
        max_new_tokens: where an answer without an end token is cut.

    Returns:
        The file's text.

    Raises:
        UserError: the end token can't stand in a template.
    """
    return (
        "# ollama create moviebot -f Modelfile\n"
        "# ollama run moviebot, then: /set system FACTS (one a line, as the model card shows), and ask.\n"
        "# Facts and questions from outside: put them through moviebot.data.prompts.clean_text first, because Ollama\n"
        "# reads special tokens wherever they stand.\n"
        f"FROM ./{gguf_name}\n"
        f'TEMPLATE """{render_go(tokenizer)}"""\n'
        f'PARAMETER stop "{end_token(tokenizer)}"\n'
        f'PARAMETER stop "{HEADING}"\n'
        "PARAMETER temperature 0\n"
        f"PARAMETER num_ctx {CONTEXT_TOKENS}\n"
        f"PARAMETER num_predict {max_new_tokens}\n"
    )
