"""What is asked of a teacher: the movies to write about, and a request for each of them and each task."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from moviebot.artefact import hash_path, read_jsonl
from moviebot.data.catalogue import CATALOGUE_NAME, SIMILAR_NAME, SIMILAR_SOURCE
from moviebot.data.prompts import render_facts
from moviebot.data.replies import Reply, Request
from moviebot.data.schemas import Movie, Task
from moviebot.data.splits import normalise_title, split_movies
from moviebot.data.template_teacher import TEMPLATE_VERSION, write_questions, write_recommendations
from moviebot.data.wordings import WORDINGS

RECOMMENDED = 12  # a train movie keeps about nine of them: the others are val and test movies
OFFERED = 40  # movies that a request offers to choose from; they tell movies of one title apart in the reply


def pick_taught(movies: Sequence[Movie], limit: int | None) -> list[Movie]:
    """Return the ``limit`` movies with the most votes, in the catalogue's order."""
    if limit is None or limit >= len(movies):
        return list(movies)
    chosen = {movie.tconst for movie in sorted(movies, key=lambda movie: -(movie.votes or 0))[:limit]}
    return [movie for movie in movies if movie.tconst in chosen]


class Lesson:
    """What is asked of a teacher, and what the template teacher answers.

    Args:
        movies: the whole catalogue.
        out: the data folder; lists in its ``similar.jsonl`` are preferred to computed ones.
        questions_per_movie: question/answer pairs a movie.
        seed: of the wordings and the splits.
    """

    def __init__(self, movies: Sequence[Movie], out: Path, questions_per_movie: int, seed: int) -> None:
        self.movies = {movie.tconst: movie for movie in movies}
        self.n, self.seed = questions_per_movie, seed
        titles = Counter(normalise_title(movie.title) for movie in movies)
        self.splits = split_movies(movies, seed)
        self.ambiguous = {movie.tconst for movie in movies if titles[normalise_title(movie.title)] > 1}
        similar = out / SIMILAR_NAME
        rows = read_jsonl(similar) if similar.is_file() else []
        self.similar: dict[str, list[str]] = {row["tconst"]: row["recommended"] for row in rows}
        self._words_hash = hashlib.sha256(repr(WORDINGS).encode()).hexdigest()
        self._catalogue_hash = hash_path(out / CATALOGUE_NAME)

    def template_request(self, movie: Movie, task: Task) -> Request:
        """Return the request whose prompt names all that the template's answer depends on."""
        start = f"template {TEMPLATE_VERSION}, seed {self.seed}"
        if task == "qa":
            decided = f"{self.n} {movie.tconst in self.ambiguous} {self.splits[movie.tconst]}"
            prompt = "\n".join((start, self._words_hash, decided, movie.label, render_facts(movie)))
            return Request(task, movie.tconst, "template", prompt)
        if movie.tconst in self.similar:
            return Request(task, movie.tconst, SIMILAR_SOURCE, "\n".join((start, *self.similar[movie.tconst])))
        return Request(task, movie.tconst, "template", "\n".join((start, self._catalogue_hash)))

    def model_requests(
        self, taught: Sequence[Movie], tasks: Sequence[Task], model: str, examples: int, offered: int
    ) -> Iterator[Request]:
        """Yield the requests to a language model."""
        from moviebot.data.teacher_prompts import build_preface, build_questions_prompt, build_recommend_prompt

        ranked = self._rank([movie.tconst for movie in taught], offered) if "recommend" in tasks else {}
        prefaces = {task: build_preface(task, examples) for task in tasks}
        for movie in taught:
            for task in tasks:
                if task == "qa":
                    prompt = build_questions_prompt(movie, self.n, ambiguous=movie.tconst in self.ambiguous)
                else:
                    candidates = [self.movies[tconst] for tconst in ranked[movie.tconst]]
                    prompt = build_recommend_prompt(movie, candidates, min(RECOMMENDED, max(1, len(candidates) // 2)))
                yield Request(task, movie.tconst, model, prompt, prefaces[task])

    def template_answers(self, requests: Sequence[Request]) -> Iterator[tuple[Request, Reply]]:
        """Yield each request with the template's answer."""
        computed = [r.tconst for r in requests if r.task == "recommend" and r.tconst not in self.similar]
        ranked = self._rank(computed, RECOMMENDED + 3) | self.similar
        for request in requests:
            movie = self.movies[request.tconst]
            if request.task == "recommend":
                others = [self.movies[tconst] for tconst in ranked[movie.tconst]]
                others = [other for other in others if other.label != movie.label]  # another film of this name and year
                yield request, request.answer(write_recommendations(others[:RECOMMENDED]))
            else:
                split = self.splits[movie.tconst]
                rng = random.Random(f"{self.seed}:{movie.tconst}")
                written = write_questions(movie, split, self.n, rng, ambiguous=movie.tconst in self.ambiguous)
                yield request, request.answer(written)

    def _rank(self, tconsts: Sequence[str], n: int) -> dict[str, list[str]]:
        if not tconsts:
            return {}
        from moviebot.data.recommendations import ContentRecommender

        return dict(ContentRecommender(list(self.movies.values())).rank(tconsts, n))
