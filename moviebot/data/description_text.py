"""What a description may be: one line of text, without the marks of the page it is from, not longer than a synopsis."""

import html
import re
from typing import Literal

from moviebot.data.prompts import clean_text
from moviebot.data.template_teacher import outline

MIN_WORDS = 5
MAX_CHARS = 20_000
TextFault = Literal["too_short", "disambiguation"]

_TAG = re.compile(r"</?(?:a|b|br|div|em|i|p|small|span|strong|sub|sup|u)\b[^<>]*>", re.IGNORECASE)
# [1], [a], [note 2], [citation needed]: marks that point at what is not there.
_CITATION = re.compile(
    r"\[(?:\d{1,3}|[a-z]|(?:note|nb|lower-alpha) ?\d{1,3}|citation needed|clarification needed|when\?|who\?)\]"
)
_OPENING_CHARS = 400  # where an article says how its title is pronounced
_PARENTHESIS = re.compile(r" ?\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
# Slashes or brackets around letters that only phonetic script has, or the words beside such a piece.
_PRONOUNCED = re.compile(
    r"[\[/][^\[\]/]*[ɐ-ʯˈˌːæðøθœŋ][^\[\]/]*[\]/]|\bpronounced\b|\bpronunciation\b|\blisten\b|^\s*(?:IPA|ⓘ)",
    re.IGNORECASE,
)
_DISAMBIGUATION = re.compile(r"^.{0,200}?\b(?:may|can|might|could) (?:also )?refer to\b.{0,40}:", re.IGNORECASE)


def clean_description(text: str) -> str:
    """Return a text on one line, without tags, entities, citation marks and pronunciations.

    Args:
        text: any text, untrusted.

    Example:
        >>> clean_description("Amélie (French pronunciation: [ameˈli]; also known as X)[1] is a film &amp; more.<br>")
        'Amélie (also known as X) is a film & more.'
    """
    text = _TAG.sub(" ", html.unescape(text[: 2 * MAX_CHARS]))
    text = _CITATION.sub("", text)
    opening, rest = text[:_OPENING_CHARS], text[_OPENING_CHARS:]
    text = _PARENTHESIS.sub(_drop_pronunciation, opening) + rest
    return re.sub(r" +([.,;:!?](?:\s|$))", r"\1", clean_text(text, MAX_CHARS))


def find_text_fault(text: str) -> TextFault | None:
    """Say why a cleaned text is no description, if it isn't one.

    Example:
        >>> find_text_fault("A 1999 film."), find_text_fault("Solaris may refer to: a novel, a film, a star")
        ('too_short', 'disambiguation')
    """
    if _DISAMBIGUATION.match(text):
        return "disambiguation"
    return "too_short" if len(text.split()) < MIN_WORDS else None


def cut_description(text: str, max_words: int) -> str:
    """Return a cleaned text's first sentences, at most ``max_words`` words; it is a piece of the text, verbatim."""
    return outline(text, max_words)


def _drop_pronunciation(match: re.Match[str]) -> str:
    inner = match[1]
    if inner.strip() and not _PRONOUNCED.search(inner):
        return match[0]
    parts = [part.strip() for part in re.split(r"[;,]", inner)]
    kept = "; ".join(part for part in parts if part and not _PRONOUNCED.search(part))
    return f" ({kept})" if kept else ""
