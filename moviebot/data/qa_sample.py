"""From cleaned artefacts to the samples a language model is trained on: prompt, answer, and where they are from.

The prompts are :mod:`moviebot.data.prompts`', which inference uses too.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from moviebot.data.prompts import render_question_prompt, render_recommend_prompt, render_recommend_response
from moviebot.data.schemas import Movie, QAPair, RecommendationList, Split, Task

CANDIDATES = 20
SHOWN = 3
# The movies that may stand in a prompt of each split: a training prompt must not name a movie of the test.
_VISIBLE: dict[Split, tuple[Split, ...]] = {
    "train": ("train",),
    "val": ("train", "val"),
    "test": ("train", "val", "test"),
}


@dataclass(frozen=True)
class Sample:
    """One training sample.

    Attributes:
        task: ``qa`` or ``recommend``.
        group: the topic of a question, or ``recommend``: what subsets are balanced over.
        tconst: the movie it is about.
        question: the person's words, or the request for recommendations.
        prompt: the whole prompt.
        answer: what the model should write.
        follow_ups: further questions about the same movie, asked after the first; their own prompts are not used.
    """

    task: Task
    group: str
    tconst: str
    question: str
    prompt: str
    answer: str
    follow_ups: tuple["Sample", ...] = ()


def render_qa(pair: QAPair, movie: Movie) -> Sample:
    """Render a question/answer pair."""
    prompt = render_question_prompt(pair.question, movie)
    return Sample("qa", pair.topic or "qa", pair.tconst, pair.question, prompt, pair.answer)


def join_questions(
    questions: Iterable[Sample],
    per_sample: int,
    limit: int | None = None,
    unanswerable_share: float | None = None,
    seed: int = 0,
) -> list[Sample]:
    """Join questions about the same movie into samples of several turns.

    Most of a sample is the facts that stand before its question: asked together, several questions need them once.

    Args:
        questions: all of one split.
        per_sample: the most questions a sample.
        limit: how many samples to keep; None keeps all. A movie's second sample comes after every movie's first.
        unanswerable_share: the part of a sample's questions that can't be answered, while a movie has any; None leaves
            the mix to chance.
        seed: of which questions go together, and in what order.

    Returns:
        The samples; each question is in one at most.
    """
    by_movie: dict[str, list[Sample]] = {}
    for sample in sorted(questions, key=lambda sample: (sample.tconst, sample.group, sample.question)):
        by_movie.setdefault(sample.tconst, []).append(sample)
    draw = random.Random(seed)
    wanted = round(per_sample * (unanswerable_share or 0))
    ranked: list[tuple[int, float, Sample]] = []
    for members in by_movie.values():
        draw.shuffle(members)
        set_apart = {"unanswerable"} if unanswerable_share is not None else set()
        declined = [sample for sample in members if sample.group in set_apart]
        answered = [sample for sample in members if sample.group not in set_apart]
        number = 0
        while declined or answered:
            part = [declined.pop() for _ in range(min(wanted, len(declined)))]
            part += [answered.pop() for _ in range(min(per_sample - len(part), len(answered)))]
            part += [declined.pop() for _ in range(min(per_sample - len(part), len(declined)))]
            draw.shuffle(part)
            first, *others = part
            ranked.append((number, draw.random(), replace(first, follow_ups=tuple(others))))
            number += 1
    ranked.sort(key=lambda entry: entry[:2])
    return [sample for _, _, sample in ranked[:limit]]


def render_recommendation(
    row: RecommendationList, movies: Mapping[str, Movie], splits: Mapping[str, Split], seed: int = 0
) -> Sample:
    """Render a recommendation list: its movies first, best first, then distractors; the answer is its first three.

    Best first is how the retriever offers candidates at inference. The distractors come from the splits that the
    row's own split may see, and differ from row to row.

    Args:
        row: the list.
        movies: the catalogue by id.
        splits: the split of each movie that has rows; distractors are drawn from these.
        seed: of the distractors' draw.
    """
    movie = movies[row.tconst]
    chosen = [movies[tconst] for tconst in row.recommended if tconst in movies][:CANDIDATES]
    answer = render_recommend_response(chosen[:SHOWN])  # before the distractors: a short list's answer is short
    labels = {movie.label, *(candidate.label for candidate in chosen)}
    pool = [tconst for tconst, split in splits.items() if split in _VISIBLE[row.split] and tconst in movies]
    draw = random.Random(f"{seed}:{row.tconst}")
    for tconst in draw.sample(pool, k=min(len(pool), 3 * CANDIDATES)):
        if len(chosen) == CANDIDATES:
            break
        if movies[tconst].label not in labels:
            chosen.append(movies[tconst])
            labels.add(movies[tconst].label)
    prompt = render_recommend_prompt(movie, chosen, n=SHOWN)
    return Sample("recommend", "recommend", row.tconst, f"Recommend movies like {movie.label}", prompt, answer)


def balance(
    samples: Iterable[Sample],
    limit: int | None,
    recommend_share: float | None = None,
    unanswerable_share: float | None = None,
    seed: int = 0,
) -> list[Sample]:
    """Choose at most ``limit`` samples, every topic alike and every movie as seldom as can be; deterministic.

    Args:
        samples: all of one split.
        limit: how many to keep; None keeps all.
        recommend_share: the part that is recommendations, 0 to 1; None treats them as one more topic.
        unanswerable_share: the part that is unanswerable questions, likewise.
        seed: of the draw.

    Returns:
        The samples, topics mixed.
    """
    shuffled = sorted(samples, key=lambda sample: (sample.group, sample.tconst, sample.question))
    random.Random(seed).shuffle(shuffled)
    everything = shuffled
    total = len(shuffled) if limit is None else limit
    chosen: list[Sample] = []
    for group, share in (("recommend", recommend_share), ("unanswerable", unanswerable_share)):
        if share is not None:
            members = [sample for sample in shuffled if sample.group == group]
            chosen += _take_in_turns(members, min(len(members), round(total * share)))
            shuffled = [sample for sample in shuffled if sample.group != group]
    chosen += _take_in_turns(shuffled, total - len(chosen))
    if len(chosen) < total:  # the other topics have too few: the shares give way
        taken = {id(sample) for sample in chosen}
        chosen += [sample for sample in everything if id(sample) not in taken][: total - len(chosen)]
    random.Random(seed).shuffle(chosen)
    return chosen


def _take_in_turns(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """Take one sample of each group in turn, preferring movies not yet taken."""
    if limit is None or limit >= len(samples):
        return list(samples)
    queues: dict[str, list[Sample]] = {}
    for sample in samples:
        queues.setdefault(sample.group, []).append(sample)
    taken: list[Sample] = []
    seen: set[str] = set()
    while len(taken) < limit:
        for group in sorted(queues):
            if len(taken) == limit or not queues[group]:
                continue
            fresh = next((i for i, sample in enumerate(queues[group][:50]) if sample.tconst not in seen), 0)
            sample = queues[group].pop(fresh)
            seen.add(sample.tconst)
            taken.append(sample)
    return taken
