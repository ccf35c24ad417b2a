"""What can be wrong with a set of training samples: a closed list, each looked for in the tokens themselves.

The cached samples are read as training reads them (ids, labels, length); nothing is rendered again. A *bad* problem
spoils the model or its measurement without a word in the loss; a *warning* costs time or tells of a weak set.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.progress import track
from transformers import PreTrainedTokenizerBase

from moviebot.data.pairs import MAY_SEE
from moviebot.data.prompts import clean_text
from moviebot.data.schemas import SPLITS, Movie, Split
from moviebot.data.splits import normalise_title
from moviebot.data.tokenise import IGNORE, encode_answer, encode_prompt

Severity = Literal["bad", "warning"]
CUT_SHARE = 0.1
"""Of the samples, the part whose description may be cut before it is worth a warning."""


class Kind(NamedTuple):
    """One problem of the closed list.

    Attributes:
        severity: whether the set is bad, or the problem only worth knowing.
        meaning: what the counted samples have, to stand behind their number.
        advice: what to do.
    """

    severity: Severity
    meaning: str
    advice: str


_MAKE_AGAIN = "delete the cache folder of the data and run this again; if it stays, the tokenising code is at fault"
_CLEAN_AGAIN = "run `moviebot clean` again; if it stays, mend the artefact it names"
KINDS: dict[str, Kind] = {
    "misaligned": Kind("bad", "have labels that are not their own tokens, or another length", _MAKE_AGAIN),
    "text_differs": Kind("bad", "have other tokens than their own prompt and answer: cut, or altered", _MAKE_AGAIN),
    "too_long": Kind("bad", "are longer than max_length", "raise --data.init_args.max_length, or delete the cache"),
    "nothing_supervised": Kind("bad", "have no supervised token: nothing is learnt from them", _MAKE_AGAIN),
    "end_masked": Kind(
        "bad", "show the end token after an answer, but masked: the model would never stop",
        "mask by lengths, not by the padding token's id",
    ),
    "no_end": Kind("bad", "have an answer without its end token: the model would never stop", _MAKE_AGAIN),
    "empty_answer": Kind("bad", "have an answer of no words: the model would learn to say nothing", _CLEAN_AGAIN),
    "special_in_prompt": Kind(
        "bad", "have a special token inside the prompt: outside text may end it there", "clean the text it comes from"
    ),
    "special_in_answer": Kind("bad", "have a special token amid an answer", "clean the answers, then run this again"),
    "contradiction": Kind(
        "bad", "ask about one movie what another sample answers otherwise", _CLEAN_AGAIN
    ),
    "movie_on_two_sides": Kind("bad", "are about a movie that is on another side too", _CLEAN_AGAIN),
    "question_of_later_side": Kind("bad", "ask a question of val or test, word by word", _CLEAN_AGAIN),
    "candidate_of_later_side": Kind("bad", "offer a movie of a later side as a candidate", _CLEAN_AGAIN),
    "mention_of_later_side": Kind(
        "warning", "name a movie of a later side with its year in their facts", "few do no harm: descriptions compare"
    ),
    "duplicate": Kind("warning", "repeat another sample, prompt and answer", "run `moviebot clean` again"),
    "unknown_token": Kind("warning", "have tokens unknown to the tokenizer", "choose a base that knows these letters"),
    "dropped": Kind("warning", "were left out, being longer than max_length", "raise --data.init_args.max_length"),
    "cut": Kind("warning", "have a cut description", "raise --data.init_args.max_length"),
}  # fmt: skip


@dataclass
class Problem:
    """One kind of problem as a set has it.

    Attributes:
        kind: a key of :data:`KINDS`.
        counts: the number of samples by split.
        example: the first of them.
    """

    kind: str
    counts: Counter[Split] = field(default_factory=Counter)
    example: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether a set that has it is not to be trained on."""
        return KINDS[self.kind].severity == "bad"


class Turn(NamedTuple):
    """One answer of a sample, with what stands before it.

    Attributes:
        prompt_ids: the masked tokens before the answer.
        answer_ids: the supervised tokens.
        next_id: the masked token behind the answer, None at the sample's end.
    """

    prompt_ids: list[int]
    answer_ids: list[int]
    next_id: int | None


def split_turns(ids: Sequence[int], labels: Sequence[int]) -> list[Turn]:
    """Cut a sample where its mask changes; masked tokens behind the last answer belong to no turn.

    Example:
        >>> split_turns([5, 6, 7, 2, 8, 9], [-100, -100, 7, 2, -100, -100])
        [Turn(prompt_ids=[5, 6], answer_ids=[7, 2], next_id=8)]
    """
    turns: list[Turn] = []
    prompt: list[int] = []
    place = 0
    for supervised, run in groupby(labels, lambda label: label != IGNORE):
        start, place = place, place + sum(1 for _ in run)
        if supervised:
            turns.append(Turn(prompt, list(ids[start:place]), ids[place] if place < len(ids) else None))
        prompt = [] if supervised else list(ids[start:place])
    return turns


def find_problems(
    samples: Mapping[Split, Collection[dict[str, Any]]],
    counts: Mapping[Split, Mapping[str, int]],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    movies: Mapping[str, Movie],
    sides: Mapping[str, set[Split]],
    asked: Mapping[Split, set[str]],
) -> list[Problem]:
    """Look for every kind of problem.

    Args:
        samples: the cached rows by split.
        counts: what was cut or left out while the cache was made.
        tokenizer: the base model's.
        max_length: the most tokens a sample may have.
        movies: the catalogue by id.
        sides: the splits of each movie with rows in the artefacts.
        asked: the artefact's questions by split, as :func:`~moviebot.data.splits.normalise_title` writes them.

    Returns:
        What was found, bad ones first, in the order of :data:`KINDS`.
    """
    console = Console(stderr=True)
    found = {kind: Problem(kind) for kind in KINDS}
    special = frozenset(tokenizer.all_special_ids) | {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    seen: set[tuple[int, ...]] = set()
    answers: dict[tuple[str, str], str] = {}
    all_sides = {tconst: set(splits) for tconst, splits in sides.items()}
    rows_of: dict[Split, set[str]] = {}
    for split, rows in samples.items():
        later = _later_labels(split, movies, sides)
        later_questions = set().union(*(asked.get(other, set()) for other in SPLITS if other not in MAY_SEE[split]))
        rows_of[split] = set()
        for row in track(rows, f"check {split}", transient=True, console=console, disable=not console.is_terminal):
            kinds = {
                **_check_tokens(row, tokenizer, special, max_length),
                **_check_text(row, later, later_questions),
                **_check_repeats(row, tokenizer, seen, answers),
            }
            for kind, example in kinds.items():
                found[kind].counts[split] += 1
                found[kind].example = found[kind].example or f"{row['tconst']}, {row['question']!r}: {example}"
            rows_of[split].add(row["tconst"])
            all_sides.setdefault(row["tconst"], set()).add(split)
        for kind, name in (("dropped", "dropped"), ("cut", "descriptions_cut")):
            found[kind].counts[split] += counts[split][name]
    for split, tconsts in rows_of.items():
        for tconst in sorted(tconst for tconst in tconsts if len(all_sides[tconst]) > 1):
            problem = found["movie_on_two_sides"]
            problem.counts[split] += 1
            names = ", ".join(side for side in SPLITS if side in all_sides[tconst])
            problem.example = problem.example or f"{tconst} is in {names}"
    if found["cut"].counts.total() <= CUT_SHARE * sum(len(rows) for rows in samples.values()):
        found["cut"].counts.clear()
    return [problem for problem in found.values() if problem.counts.total()]


def _check_tokens(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, special: frozenset[int], max_length: int
) -> dict[str, str]:
    """Return what is wrong with one sample's ids and labels: an example by kind."""
    ids, labels = row["input_ids"], row["labels"]
    if len(ids) != len(labels) or len(ids) != row["length"]:
        return {"misaligned": f"{len(ids)} tokens, {len(labels)} labels, length {row['length']}"}
    wrong = next((place for place, label in enumerate(labels) if label not in (IGNORE, ids[place])), None)
    if wrong is not None:
        return {"misaligned": f"at {wrong}, token {ids[wrong]} has the label {labels[wrong]}"}
    found = {"too_long": f"{len(ids)} tokens, {max_length} allowed"} if len(ids) > max_length else {}
    turns = split_turns(ids, labels)
    if not turns:
        return {**found, "nothing_supervised": f"{len(ids)} tokens, all masked"}
    eos = tokenizer.eos_token_id
    for number, turn in enumerate(turns, start=1):
        words = turn.answer_ids[:-1] if turn.answer_ids[-1] == eos else turn.answer_ids
        if turn.answer_ids[-1] != eos:
            found["end_masked" if turn.next_id == eos else "no_end"] = (
                f"answer {number} ends with {tokenizer.decode(turn.answer_ids[-3:])!r}"
            )
        if not words:
            found["empty_answer"] = f"answer {number} is its end token alone"
        # The end token of the answer before, where it is masked, is counted as such above.
        start = 1 if number == 1 and turn.prompt_ids[:1] == [tokenizer.bos_token_id] else 0
        start += number > 1 and turn.prompt_ids[:1] == [eos] and turns[number - 2].answer_ids[-1] != eos
        text = f"{row['prompt']} {row['answer']}"
        for kind, part in (("special_in_prompt", turn.prompt_ids[start:]), ("special_in_answer", words)):
            for token in special.intersection(part):
                # Where a tokenizer knows every byte, its unknown token can only come from its name in the text.
                unknown = token == tokenizer.unk_token_id and tokenizer.unk_token not in text
                found["unknown_token" if unknown else kind] = repr(tokenizer.convert_ids_to_tokens(token))
    if not found and (
        turns[0].prompt_ids != encode_prompt(tokenizer, row["prompt"])
        or turns[0].answer_ids != encode_answer(tokenizer, row["answer"])
    ):
        found["text_differs"] = f"ends with {tokenizer.decode(ids[-8:])!r}"
    return found


_YEAR = re.compile(r"\(\d{4}\)")


def _check_text(row: Mapping[str, Any], later: set[str], later_questions: set[str]) -> dict[str, str]:
    """Return what one sample tells of a later side."""
    found: dict[str, str] = {}
    if row["task"] == "qa" and normalise_title(row["question"]) in later_questions:
        found["question_of_later_side"] = "asked there too"
    context = row["prompt"].partition("### Input:\n")[2].rpartition("\n\n### Response:")[0]
    if row["task"] == "recommend":
        shown = [line for line in context.split("\n") if line in later]
        if shown:
            found["candidate_of_later_side"] = repr(shown[0])
        return found
    for match in _YEAR.finditer(context):
        words = context[: match.end()].rsplit("\n", 1)[-1].split(" ")
        # A title is seldom longer; each start of the words before the year may be the title's.
        names = [" ".join(words[-length:]) for length in range(2, 12)]
        if mentioned := next((name for name in names if name in later), None):
            found["mention_of_later_side"] = repr(mentioned)
    return found


def _check_repeats(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, seen: set[tuple[int, ...]],
    answers: dict[tuple[str, str], str],
) -> dict[str, str]:  # fmt: skip
    """Return whether a sample repeats an earlier one, or contradicts one; ``seen`` and ``answers`` are added to."""
    found: dict[str, str] = {}
    key = tuple(row["input_ids"])
    if key in seen:
        found["duplicate"] = repr(row["answer"])
    seen.add(key)
    for question, answer in read_turns(row, tokenizer):
        # One movie may be recommended from several lists of candidates: what is asked is then the whole prompt.
        about = row["prompt"] if row["task"] == "recommend" else normalise_title(question)
        said = answers.setdefault((row["tconst"], about), answer)
        if " ".join(said.casefold().split()) != " ".join(answer.casefold().split()):
            found["contradiction"] = f"{question!r}: {said!r} and {answer!r}"
    return found


def read_turns(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, str]]:
    """Yield each question of a sample with its answer; follow-ups are read from the tokens, where alone they are."""
    yield row["question"], row["answer"]
    if len(row["input_ids"]) != len(row["labels"]):
        return
    for turn in split_turns(row["input_ids"], row["labels"])[1:]:
        asked = tokenizer.decode(turn.prompt_ids, skip_special_tokens=True)
        question = asked.partition("### Instruction:\n")[2].rpartition("\n\n### Response:")[0]
        yield question, tokenizer.decode(turn.answer_ids, skip_special_tokens=True).strip()


def _later_labels(split: Split, movies: Mapping[str, Movie], sides: Mapping[str, set[Split]]) -> set[str]:
    """Return the labels of movies that a split must not show, but for those that a movie of its own has too."""
    labels: dict[bool, set[str]] = {True: set(), False: set()}
    for tconst, found in sides.items():
        if tconst in movies:
            labels[bool(found & set(MAY_SEE[split]))].add(clean_text(movies[tconst].label))
    return labels[False] - labels[True]
