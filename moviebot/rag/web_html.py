"""The HTML of the page's cards. Every word from outside goes through :func:`escape`, every link is made here."""

import html
from collections.abc import Sequence

from moviebot.data.prompts import clean_text
from moviebot.data.schemas import Movie
from moviebot.rag.answer import Answer
from moviebot.rag.checks import strip_controls
from moviebot.rag.wording import find_link, tell_facts, tell_source

# What Gradio's own templates would read, in the browser, behind the escaping of HTML.
_TEMPLATE_CHARS = str.maketrans({"$": "&#36;", "{": "&#123;", "}": "&#125;", "`": "&#96;"})
_FACT_NAMES = {
    "Description": "Story", "Director(s)": "Directed by", "Cast": "With", "Release Year": "Year",
    "Runtime(in minutes)": "Minutes", "Genre": "Genre", "Rating": "Rating", "Votes": "Votes",
}  # fmt: skip
_SHORT_FACTS = ("Genre", "Runtime(in minutes)", "Rating", "Director(s)")

CSS = """
.card { border: 1px solid var(--border-color-primary); border-radius: 10px; padding: 12px 14px; margin-bottom: 10px;
  background: var(--block-background-fill); overflow-wrap: anywhere; }
.card h3 { margin: 0 0 6px; font-size: 1.05rem; }
.card dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 12px; margin: 0; font-size: .9rem; }
.card dt { opacity: .75; }
.card dd { margin: 0; }
.card .reason { margin: 0 0 6px; font-size: .9rem; font-style: italic; }
.card a { display: inline-block; margin-top: 8px; padding: 4px 0; font-size: .9rem; text-decoration: underline; }
.candidates { margin: 0; padding-left: 1.4rem; font-size: .9rem; overflow-wrap: anywhere; }
.quiet { opacity: .8; font-size: .9rem; margin: 0; }
#heading h1 { font-size: 1.4rem; margin: 0; }
#chat .message { overflow-wrap: anywhere; white-space: normal; }
#chat .message-markdown-disabled { white-space: normal; }
#chat .message-markdown-disabled .md { white-space: pre-line; }
#chat .top-panel { display: none; }
#chat .message-buttons button { min-width: 36px; min-height: 36px; }
#question textarea { font-size: 16px; }
#examples button { min-height: 40px; font-weight: 400; text-align: left; justify-content: flex-start; }
button:focus-visible, a:focus-visible, textarea:focus-visible { outline: 3px solid #2563eb; outline-offset: 2px; }
footer { display: none !important; }
@media (max-width: 640px) {
  .gradio-container, .gradio-container main { padding: 6px !important; }
  #chat { height: 50vh !important; }
  #heading .quiet { font-size: .85rem; line-height: 1.35; }
}
"""
EMPTY_CARD = '<p class="quiet">The movie that an answer is about is shown here, with the facts used.</p>'
NO_CANDIDATES = '<p class="quiet">Ask for a recommendation to see what it was chosen from.</p>'


def escape(text: str) -> str:
    r"""Return text as HTML that shows it and does nothing else.

    Example:
        >>> escape("<b>${1}</b>\x1b\u202e")
        '&lt;b&gt;&#36;&#123;1&#125;&lt;/b&gt;'
    """
    return html.escape(strip_controls(text)).translate(_TEMPLATE_CHARS)


def render_text(answer: Answer) -> str:
    """Write an answer as the plain text of a chat bubble."""
    text = answer.answer or (f"That is about {clean_text(answer.movie.label)}." if answer.movie else "")
    lines = [text] if answer.grounded else [text, "(not all of this is in my catalogue)"]
    if answer.intent == "question" and answer.movie is not None:
        lines += ["", tell_source(answer.movie, answer.looked_up)]
    return strip_controls("\n".join(lines))


def render_cards(answer: Answer | None) -> str:
    """Write the cards of the movies an answer shows: the movie with the facts of its prompt, or the recommendations."""
    if answer is not None and answer.recommendations:
        return "".join(
            _render_card(movie, _SHORT_FACTS, reason)
            for movie, reason in zip(answer.recommendations, answer.reasons, strict=True)
        )
    if answer is not None and answer.movie is not None:
        return _render_card(answer.movie, tuple(_FACT_NAMES))
    return EMPTY_CARD


def render_candidates(answer: Answer | None) -> str:
    """Write the movies that recommendations were chosen from, or those that a question may have meant."""
    movies = [] if answer is None else answer.candidates or answer.movie_candidates
    if not movies:
        return NO_CANDIDATES
    return f'<ol class="candidates">{_render_items(movies)}</ol>'


def _render_items(movies: Sequence[Movie]) -> str:
    return "".join(f"<li>{escape(clean_text(movie.label))}</li>" for movie in movies)


def _render_card(movie: Movie, names: Sequence[str], reason: str = "") -> str:
    facts = "".join(
        f"<dt>{_FACT_NAMES[name]}</dt><dd>{escape(value)}</dd>"
        for name, value in sorted(tell_facts(movie), key=lambda fact: fact[0] == "Description")
        if name in names
    )
    link = find_link(movie)
    return (
        f'<article class="card"><h3>{escape(clean_text(movie.label))}</h3>'
        + (f'<p class="reason">{escape(reason)}</p>' if reason else "")
        + f"<dl>{facts}</dl>"
        + (f'<a href="{link}" target="_blank" rel="noopener noreferrer">Page at IMDb</a>' if link else "")
        + "</article>"
    )
