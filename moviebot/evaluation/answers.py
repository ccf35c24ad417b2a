"""Answers to test questions: are the facts in them, are the unanswerable declined, how long are they?"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from transformers import PreTrainedTokenizerBase

from moviebot.data.prompts import DECLINE, is_decline, render_facts, render_question_prompt
from moviebot.data.schemas import Movie, QAPair, Topic
from moviebot.data.splits import normalise_title
from moviebot.data.template_teacher import facts_of
from moviebot.errors import UserError

Generate = Callable[[list[str]], list[str]]
PLAIN_INSTRUCTION = (
    "Answer the question in one short sentence using only the facts. "
    f"If the facts do not contain the answer, say {DECLINE}."
)
# An untuned model declines in its own words; it gets the credit for all of these.
_DECLINES = re.compile(
    r"\b(don['’]?t know|do not know|"
    r"not (sure|known|mentioned|provided|stated|specified|available|given|listed|included)|"
    r"unknown|no information|cannot (say|tell|answer|determine|provide)|can['’]t (say|tell|answer)|unable to|"
    r"does(n['’]t| not) (say|mention|contain|provide|specify|include|state|list)|isn['’]t (mentioned|given|provided))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class AnswerScores:
    """How good answers to test questions are.

    Attributes:
        exact: share of the answerable questions whose answer holds each fact asked for.
        exact_by_topic: the same for each topic.
        declined: share of the unanswerable questions that were declined.
        wrongly_declined: share of the answerable questions that were declined.
        words: mean words an answer.
        count: questions asked.
        rows: question, gold, answer, topic and verdict of each.
    """

    exact: float
    exact_by_topic: dict[str, float]
    declined: float
    wrongly_declined: float
    words: float
    count: int
    rows: list[dict[str, str | bool | None]] = field(repr=False)


def evaluate_answers(
    movies: Mapping[str, Movie],
    pairs: Sequence[QAPair],
    generate: Generate,
    render: Callable[[str, Movie], str] = render_question_prompt,
    *,
    generous: bool = False,
) -> AnswerScores:
    """Ask the questions, each with the facts of the right movie, and judge the answers.

    Args:
        movies: by tconst.
        pairs: the questions; those without a topic are left out.
        generate: prompts to continuations.
        render: question and movie to prompt; :func:`plain_prompts` makes one for an untuned model.
        generous: count any wording of "I don't know" as a decline, as an untuned model deserves.

    Raises:
        UserError: no pair has a topic.
    """
    asked = [(pair, movies[pair.tconst], pair.topic) for pair in pairs if pair.topic and pair.tconst in movies]
    if not asked:
        raise UserError("no question to evaluate has a topic: give pairs that `moviebot clean` wrote")
    answers = generate([render(pair.question, movie) for pair, movie, _ in asked])
    rows: list[dict[str, str | bool | None]] = []
    exact: dict[str, list[float]] = {}
    declined: list[float] = []
    wrongly: list[float] = []
    for (pair, movie, topic), answer in zip(asked, answers, strict=True):
        gave_up = is_decline(answer) or (generous and bool(_DECLINES.search(answer)))
        facts = facts_of(movie, topic)
        right = holds_facts(answer, topic, facts) if facts else gave_up
        if facts:
            exact.setdefault(topic, []).append(float(right))
            wrongly.append(float(gave_up))
        else:
            declined.append(float(gave_up))
        rows.append({"question": pair.question, "gold": pair.answer, "answer": answer, "topic": topic, "right": right})
    return AnswerScores(
        exact=mean_or_nan([value for values in exact.values() for value in values]),
        exact_by_topic={topic: fmean(values) for topic, values in sorted(exact.items())},
        declined=mean_or_nan(declined),
        wrongly_declined=mean_or_nan(wrongly),
        words=mean_or_nan([float(len(answer.split())) for answer in answers]),
        count=len(asked),
        rows=rows,
    )


def holds_facts(answer: str, topic: Topic, facts: Sequence[str]) -> bool:
    """Say whether an answer holds each fact; case, accents and punctuation do not matter, numbers must be whole.

    Of a plot, half of the outline's content words are enough: it may be told in other words.

    Example:
        >>> holds_facts("It runs 96 minutes.", "runtime", ("96",))
        True
        >>> holds_facts("It runs 196 minutes.", "runtime", ("96",))
        False
    """
    text = f" {normalise_title(answer)} "
    if topic == "plot":
        words = {word for fact in facts for word in normalise_title(fact).split() if len(word) > 3}
        return sum(f" {word} " in text for word in words) * 2 >= len(words)
    return all(f" {normalise_title(fact)} " in text for fact in facts)


def plain_prompts(tokenizer: PreTrainedTokenizerBase) -> Callable[[str, Movie], str]:
    """Return a renderer of question prompts for an untuned chat model: its own template and a plain instruction."""

    def render(question: str, movie: Movie) -> str:
        facts = f"Facts about {movie.label}:\n{render_facts(movie)}"
        return apply_template(tokenizer, f"{PLAIN_INSTRUCTION}\n\n{facts}\n\nQuestion: {question}")

    return render


def apply_template(tokenizer: PreTrainedTokenizerBase, content: str) -> str:
    """Put a request into the model's own chat template; without one, after it "Answer:"."""
    if tokenizer.chat_template is None:
        return f"{content}\nAnswer:"
    messages = [{"role": "user", "content": content}]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    # Where the tokenizer puts the start token before each prompt by itself, the template's own would be a second.
    return text.removeprefix(tokenizer.bos_token or "") if _adds_bos(tokenizer) else text


def _adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer("a", add_special_tokens=True)["input_ids"]
    return bool(tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id)


def mean_or_nan(values: Sequence[float]) -> float:
    """Return the mean, or NaN of nothing."""
    return fmean(values) if values else float("nan")
