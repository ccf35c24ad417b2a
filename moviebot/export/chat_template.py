"""The training prompt as a template, for programs that build prompts themselves.

They know a conversation of messages; the training prompt knows an instruction and an input. So the *system* message
holds the facts (or the candidates), and the *user* message the question. Facts begin a new prompt; a question without
facts is a follow-up about the movie above it, as in training (:func:`moviebot.data.prompts.render_follow_up`).
"""

import json
import re
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from moviebot.data.prompts import FOLLOW_UP, PROMPT
from moviebot.data.tokenise import encode_prompt
from moviebot.errors import UserError

_PROMPT_PARTS = re.compile(
    re.escape(PROMPT).replace(r"\{instruction\}", "(?P<instruction>.*?)").replace(r"\{context\}", "(?P<facts>.*)"),
    re.DOTALL,
)
# What could end a string or open an action in a template or a Modelfile; no special token of a real model holds any.
_UNSAFE = re.compile(r"[{}\"'`\\\s]")


class Parts(NamedTuple):
    """What a rendered prompt was made from: the user's message and the system's."""

    instruction: str
    facts: str


def split_prompt(prompt: str) -> Parts:
    r"""Take a prompt apart again; untrusted text can't hold a heading (``clean_text``), so there is one way only.

    Raises:
        ValueError: the text is no prompt of :mod:`moviebot.data.prompts`.

    Example:
        >>> split_prompt(PROMPT.format(instruction="How long is Up?", context="Runtime(in minutes): 96"))
        Parts(instruction='How long is Up?', facts='Runtime(in minutes): 96')
    """
    match = _PROMPT_PARTS.fullmatch(prompt)
    if match is None:
        raise ValueError(f"no prompt of moviebot: {prompt[:80]!r}")
    return Parts(match["instruction"], match["facts"])


def render_jinja(tokenizer: PreTrainedTokenizerBase) -> str:
    """Write the chat template that Transformers, vLLM and llama.cpp's server read.

    Args:
        tokenizer: the model's own, for its start and end tokens.

    Raises:
        UserError: a token holds characters that would break the template.
    """
    bos = "{{ bos_token }}" if adds_start_token(tokenizer) else ""
    eos = json.dumps(end_token(tokenizer))
    full = _quote_jinja(PROMPT, "instruction", "m['content']", "context", "state.facts")
    follow_up = _quote_jinja(FOLLOW_UP, "instruction", "m['content']")
    return (
        f"{bos}{{%- set state = namespace(facts=none) -%}}"
        "{%- for m in messages -%}"
        "{%- if m['role'] == 'system' -%}{%- set state.facts = m['content'] -%}"
        "{%- elif m['role'] == 'assistant' -%}{{- m['content'] ~ " + eos + " -}}"
        "{%- elif state.facts is not none or loop.first -%}"
        "{{- " + full + " -}}{%- set state.facts = none -%}"
        "{%- else -%}{{- " + follow_up + " -}}{%- endif -%}"
        "{%- endfor -%}"
    )  # fmt: skip


def render_go(tokenizer: PreTrainedTokenizerBase) -> str:
    """Write the template that Ollama reads (Go's ``text/template``), one turn of a conversation at a time.

    Args:
        tokenizer: the model's own, for its end token; the start token is Ollama's to add, as the GGUF file says.

    Raises:
        UserError: the end token holds characters that would break the template.
    """
    full = PROMPT.format(instruction="{{ .Prompt }}", context="{{ .System }}")
    follow_up = FOLLOW_UP.format(instruction="{{ .Prompt }}")
    return f"{{{{ if .System }}}}{full}{{{{ else }}}}{follow_up}{{{{ end }}}}{{{{ .Response }}}}{end_token(tokenizer)}"


def end_token(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the text of the end token.

    Raises:
        UserError: it holds characters that would break a template.
    """
    token = str(tokenizer.eos_token)
    if _UNSAFE.search(token):
        raise UserError(f"the end token {token!r} can't stand in a template: choose a base with a plain one (</s>)")
    return token


def adds_start_token(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Say whether the tokenizer puts a start token before a prompt."""
    return encode_prompt(tokenizer, "a")[:1] == [tokenizer.bos_token_id]


def _quote_jinja(text: str, *fields: str) -> str:
    """Write a format string as a Jinja expression: quoted pieces and the named values, joined."""
    names = dict(zip(fields[::2], fields[1::2], strict=True))
    pieces = re.split(r"\{(\w+)\}", text)  # text, name, text, name, ..., text
    return " ~ ".join(json.dumps(piece) if n % 2 == 0 else f"({names[piece]} or '')" for n, piece in enumerate(pieces))
