"""Questions to verify an exported model with: about movies of the test split, which no training has seen."""

import json
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from moviebot.data.catalogue import CATALOGUE_NAME, build_catalogue
from moviebot.data.cleaning import QA_NAME, RECOMMENDATIONS_NAME
from moviebot.data.prompts import is_decline
from moviebot.data.qa_sample import Sample, balance, render_qa, render_recommendation
from moviebot.data.schemas import Movie, QAPair, Split, read_catalogue, read_qa, read_recommendations
from moviebot.data.splits import normalise_title, split_movies
from moviebot.data.template_teacher import TOPIC_CYCLE, facts_of, write_questions
from moviebot.errors import UserError
from moviebot.evaluation.answers import holds_facts


@dataclass(frozen=True)
class HeldOut:
    """One question or request for recommendations about a test movie.

    Attributes:
        sample: the prompt, and the answer the data holds.
        movie: the movie it is about.
        pair: the question/answer pair it was made from; None for recommendations.
    """

    sample: Sample
    movie: Movie
    pair: QAPair | None = None

    def agree(self, left: str, right: str) -> bool:
        """Say whether two answers tell the same: the same words, the same facts, or both that they don't know."""
        if normalise_title(left) == normalise_title(right):
            return True
        if self.pair is None or self.pair.topic is None:
            return False
        facts = facts_of(self.movie, self.pair.topic)
        if not facts:
            return is_decline(left) and is_decline(right)
        return all(holds_facts(text, self.pair.topic, facts) for text in (left, right))


def read_held_out(data: Path | None, n: int, seed: int = 0) -> list[HeldOut]:
    """Choose ``n`` prompts about test movies, topics balanced.

    Args:
        data: a data folder that `moviebot clean` wrote; None takes the embedded sample and its written wordings.
        n: how many.
        seed: of the choice.

    Returns:
        At most ``n``.

    Raises:
        UserError: an artefact is absent or damaged, or has no test row.
    """
    found = _from_sample(seed) if data is None else _from_folder(data, seed)
    by_prompt = {one.sample.prompt: one for one in found}
    chosen = balance([one.sample for one in by_prompt.values()], n, seed=seed)
    if not chosen:
        raise UserError(f"{data} has no row of the test split to verify with: run `moviebot clean --out {data}` again")
    return [by_prompt[sample.prompt] for sample in chosen]


def _from_folder(data: Path, seed: int) -> list[HeldOut]:
    movies = {movie.tconst: movie for movie in read_catalogue(data / CATALOGUE_NAME)}
    pairs, lists = read_qa(data / QA_NAME), read_recommendations(data / RECOMMENDATIONS_NAME)
    splits: dict[str, Split] = {pair.tconst: pair.split for pair in pairs} | {row.tconst: row.split for row in lists}
    known = [pair for pair in pairs if pair.split == "test" and pair.tconst in movies]
    found = [HeldOut(render_qa(pair, movies[pair.tconst]), movies[pair.tconst], pair) for pair in known]
    for row in lists:
        if row.split == "test" and row.tconst in movies:
            found.append(HeldOut(render_recommendation(row, movies, splits, seed), movies[row.tconst]))
    return found


def _from_sample(seed: int) -> list[HeldOut]:
    with tempfile.TemporaryDirectory() as folder:
        build_catalogue(out=Path(folder), sample=True)
        movies = read_catalogue(Path(folder) / CATALOGUE_NAME)
    splits = split_movies(movies)
    draw = random.Random(seed)
    found = []
    for movie in movies:
        if splits[movie.tconst] != "test":
            continue
        for row in json.loads(write_questions(movie, "test", len(TOPIC_CYCLE), draw, ambiguous=False))["pairs"]:
            pair = QAPair(movie.tconst, row["question"], row["answer"], "template", "test", row["topic"])
            found.append(HeldOut(render_qa(pair, movie), movie, pair))
    return found
