"""What of what people liked is among the twenty, for movies that no training list names?

    PYTHONPATH=. python tools/bench_recommend.py --data DATA --work DIR --movielens DIR --inspired inspired_dev.tsv ...

Movies are in five folds by series. A seed is ranked by a scorer fitted without its fold: no movie of the fold is in a
training list, as seed or as recommended. Lists for training are made of MovieLens' ratings; `*_neighbours_dev.jsonl`
of the same folder is only measured on. Cold start: the seed's votes and rating are taken away as well. INSPIRED: a
movie that the seeker named -> the movies the recommender named first, later in the dialogue, where it ended well.
Prints Markdown; 95 % bootstrap intervals over seeds, or over dialogues.

``--fit`` prints the weights that `moviebot.rag.pair_scorer.DEFAULT_WEIGHTS` holds instead: those without a taste, for
the lists of training movies (split 0).
"""

import argparse
import csv
import dataclasses
import hashlib
import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from moviebot.data.documents import movie_text
from moviebot.data.movielens import Likes, find_movielens, read_likes
from moviebot.data.movielens_teacher import rank_liked
from moviebot.data.recommendations import ContentRecommender
from moviebot.data.schemas import Movie, read_catalogue
from moviebot.data.splits import group_movies, split_movies
from moviebot.pretrained import MINILM, resolve_model
from moviebot.rag.candidates import CandidateRanker
from moviebot.rag.pair_features import FEATURES
from moviebot.rag.pair_fit import fit_pair_scorer
from moviebot.rag.pair_scorer import PairScorer
from moviebot.rag.titles import TitleIndex
from tools.kept_index import keep_index

FOLDS = 5
DRAWS = 1000
LISTED = 20
_LABEL = re.compile(r"^(.*\S)\s*\((\d{4})\)$")
Rank = Callable[[int], list[int]]


@dataclass(frozen=True)
class Case:
    """One seed.

    Attributes:
        seed: its row.
        accepted: the rows people liked.
        cluster: what is drawn together in the bootstrap.
    """

    seed: int
    accepted: frozenset[int]
    cluster: str


def main() -> None:
    """Measure and print."""
    arguments = _parse()
    movies = read_catalogue(arguments.data / "catalogue.parquet")
    untuned, catalogue = Path(resolve_model(MINILM)), arguments.data / "catalogue.parquet"
    texts = {movie.tconst: movie_text(movie) for movie in movies}
    vectors = keep_index(arguments.encoder or untuned, texts, catalogue, arguments.work / "texts").vectors
    likes = read_likes(find_movielens(arguments.movielens), movies)
    lists = _list_liked(likes, movies)
    if arguments.fit:
        _print_weights(movies, vectors, lists)
        return
    groups = group_movies(movies)
    folds = np.array([_hash(groups[movie.tconst]) % FOLDS for movie in movies])
    rows = {movie.tconst: row for row, movie in enumerate(movies)}
    dev = _read_neighbours(next(arguments.movielens.glob("*neighbours_dev.jsonl")), rows)
    slices = {"MovieLens, unseen seed": dev}
    for path in arguments.inspired:
        slices[path.stem] = _read_inspired([path], movies)
    talked = [case for path in arguments.inspired for case in slices[path.stem]]
    slices["INSPIRED, seed in no list"] = [case for case in talked if case.seed not in lists]
    slices = {name: cases for name, cases in slices.items() if cases}
    told = {movie.tconst: _write_plainly(movie) for movie in movies}
    mix = keep_index(untuned, told, catalogue, arguments.work / "mix").vectors
    found: dict[tuple[str, str], list[tuple[Case, list[int]]]] = {}
    cold = "MovieLens, unseen seed without votes and rating"
    for name, cases in slices.items():
        for system, rank in _make_baselines(movies, vectors, mix, lists).items():
            found[name, system] = [(case, rank(case.seed)) for case in cases]
    print("| slice (seeds) | ranking | hit@3 | hit@20 | recall@20 | nDCG@20 |\n|---|---|---|---|---|---|")
    _print_rows(found)  # at once, since the rest takes minutes
    found.clear()
    titles = TitleIndex(movies)
    times: list[float] = []
    for fold in range(FOLDS):
        training = {row: [x for x in listed if folds[x] != fold] for row, listed in lists.items() if folds[row] != fold}
        scorer = fit_pair_scorer(movies, vectors, training)
        plain = fit_pair_scorer(movies, vectors, training, with_taste=False)
        ranker = CandidateRanker(movies, titles, vectors, plain)
        for name, cases in slices.items():
            for case in (case for case in cases if folds[case.seed] == fold):
                ranked = ranker.rank("", [case.seed], one_a_series=False, diversity=0)
                found.setdefault((name, "pair scorer without taste, as it comes"), []).append((case, ranked))
        ranker = CandidateRanker(movies, titles, vectors, scorer)
        for name, cases in slices.items():
            for case in (case for case in cases if folds[case.seed] == fold):
                for system, series, diversity in _SETTINGS:
                    start = time.perf_counter()
                    ranked = ranker.rank("", [case.seed], one_a_series=series, diversity=diversity)
                    times.append(time.perf_counter() - start)
                    found.setdefault((name, system), []).append((case, ranked))
        mine = [case for case in dev if folds[case.seed] == fold]
        bare = list(movies)
        for case in mine:
            bare[case.seed] = dataclasses.replace(bare[case.seed], votes=None, rating=None)
        ranker = CandidateRanker(bare, titles, vectors, scorer)
        for case in mine:
            found.setdefault((cold, _SETTINGS[0][0]), []).append(
                (case, ranker.rank("", [case.seed], one_a_series=False, diversity=0))
            )
        if fold < FOLDS - 1:
            print(f"\nafter {fold + 1} of {FOLDS} folds:", file=sys.stderr)
            _print_rows(found, sys.stderr)
    side = split_movies(movies)
    ranker = CandidateRanker(movies, titles, vectors, PairScorer.default())
    for name, cases in slices.items():
        unseen = [case for case in cases if side[movies[case.seed].tconst] != "train"]
        for case in unseen:  # the default's weights were fitted to lists of the training split
            ranked = ranker.rank("", [case.seed], one_a_series=False, diversity=0)
            found.setdefault((f"{name}, not of the split train", "default weights, as it comes"), []).append(
                (case, ranked)
            )
    _print_rows(found)
    print(f"\n{len(lists)} lists; a request takes {1000 * np.median(times):.1f} ms (median of {len(times)})")


def _print_rows(found: dict[tuple[str, str], list[tuple[Case, list[int]]]], to: TextIO = sys.stdout) -> None:
    for (name, system), ranked_cases in found.items():
        figures = " | ".join(_show(ranked_cases, measure) for measure in (_hit_3, _hit_20, _recall, _ndcg))
        print(f"| {name} ({len(ranked_cases)}) | {system} | {figures} |", flush=True, file=to)


_SETTINGS = (
    ("pair scorer, as it comes", False, 0.0),
    ("pair scorer, one a series", True, 0.0),
    ("pair scorer, one a series, diversity .1", True, 0.1),
    ("pair scorer, one a series, diversity .3", True, 0.3),
)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with catalogue.parquet")
    parser.add_argument("--encoder", type=Path, help="the recommend retriever; MiniLM as it comes where not given")
    parser.add_argument("--work", type=Path, required=True, help="embeddings are kept here for the next run")
    parser.add_argument("--movielens", type=Path, required=True, help="folder with ratings, links, movies, neighbours")
    parser.add_argument("--fit", action="store_true", help="print the default weights and nothing else")
    parser.add_argument("--inspired", type=Path, nargs="*", default=[], help="INSPIRED .tsv files")
    return parser.parse_args()


def _make_baselines(
    movies: Sequence[Movie],
    vectors: NDArray[np.float32],
    mix: NDArray[np.float32],
    lists: dict[int, list[int]],
) -> dict[str, Rank]:
    fame = np.log1p(np.array([movie.votes or 0 for movie in movies], dtype=np.float64))
    names = sorted({genre for movie in movies for genre in movie.genres})
    genres = np.array([[name in movie.genres for name in names] for movie in movies], dtype=np.float64)
    genres /= np.linalg.norm(genres, axis=1, keepdims=True) + 1e-9

    def rank_by(score: Callable[[int], NDArray[np.float64]]) -> Rank:
        def rank(seed: int) -> list[int]:
            order = np.argsort(-score(seed), kind="stable")[: LISTED + 1]
            return [int(row) for row in order if row != seed][:LISTED]

        return rank

    return {
        "popularity": rank_by(lambda seed: fame),
        "genres + popularity": rank_by(lambda seed: genres @ genres[seed] + 0.05 * fame),
        "item-kNN (has seen the seed)": lambda seed: lists.get(seed, []),
        "simple mix: text + .05 log votes": rank_by(lambda seed: mix @ mix[seed] + 0.05 * fame),
        "ranker before this scorer: text + shared facts": rank_by(_fuse_facts(movies, vectors)),
    }


def _fuse_facts(movies: Sequence[Movie], vectors: NDArray[np.float32]) -> Callable[[int], NDArray[np.float64]]:
    """The ranker before: cosine, places among what shares facts, votes; its weights were chosen on half of dev."""
    content, rows = ContentRecommender(movies), {movie.tconst: row for row, movie in enumerate(movies)}
    fame = np.log10(1.0 + np.array([movie.votes or 0 for movie in movies]))

    def score(seed: int) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = vectors @ vectors[seed] + 0.05 * fame
        for _, ranked in content.rank([movies[seed].tconst], 200):
            for place, tconst in enumerate(ranked):
                scores[rows[tconst]] += 40 / (60 + place)
        return scores

    return score


def _print_weights(movies: Sequence[Movie], vectors: NDArray[np.float32], lists: dict[int, list[int]]) -> None:
    side = split_movies(movies)
    trains = [side[movie.tconst] == "train" for movie in movies]
    training = {row: [x for x in listed if trains[x]] for row, listed in lists.items() if trains[row]}
    scorer = fit_pair_scorer(movies, vectors, training, with_taste=False)
    if scorer is None:
        sys.exit(f"bench_recommend: {len(training)} lists are too few")
    print(f"{len(training)} lists of training movies:")
    print(json.dumps({n: float(f"{w:.3g}") for n, w in zip(FEATURES, scorer.weights.tolist(), strict=True) if w}))


def _write_plainly(movie: Movie) -> str:
    """The text of the simple mix."""
    genres, directors = ", ".join(movie.genres), ", ".join(movie.directors)
    return f"{movie.label} {genres} by {directors}. {movie.description or ''}".strip()


def _list_liked(likes: Likes, movies: Sequence[Movie]) -> dict[int, list[int]]:
    rows = {movie.tconst: row for row, movie in enumerate(movies)}
    ranked = rank_liked(likes.matrix, movies, [movie.tconst for movie in movies], LISTED)
    return {rows[tconst]: [rows[other] for other in others] for tconst, others in ranked}


def _read_neighbours(path: Path, rows: dict[str, int]) -> list[Case]:
    cases = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        accepted = frozenset(rows[tconst] for tconst in row["accepted"] if tconst in rows)
        if row["seed"] in rows and accepted:
            cases.append(Case(rows[row["seed"]], accepted, row["seed"]))
    return cases


def _read_inspired(paths: Sequence[Path], movies: Sequence[Movie]) -> list[Case]:
    """A dialogue's cases; an annotated movie counts where the table has its label once and the line its title."""
    labels: dict[str, list[int]] = {}
    for row, movie in enumerate(movies):
        labels.setdefault(movie.label.casefold(), []).append(row)
    cases = []
    for path in paths:
        dialogues: dict[str, list[dict[str, str]]] = {}
        with path.open(encoding="utf-8", newline="") as handle:
            for line in csv.DictReader(handle, delimiter="\t"):
                dialogues.setdefault(line["dialog_id"], []).append(line)
        for name, lines in dialogues.items():
            if lines[0]["coarse_label"] == "accept_new":
                cases += _read_dialogue(name, lines, labels)
    return cases


def _read_dialogue(name: str, lines: Sequence[dict[str, str]], labels: dict[str, list[int]]) -> list[Case]:
    told: dict[int, str] = {}  # row -> who named it first; in the dialogue's order
    for line in lines:
        for label in (line["movies"] or "").split(";"):
            match = _LABEL.match(label.strip())
            rows = labels.get(label.strip().casefold(), [])
            if match and len(rows) == 1 and match[1] in (line["text"] or ""):
                told.setdefault(rows[0], line["speaker"])
    order = list(told)
    cases = []
    for place, row in enumerate(order):
        accepted = frozenset(other for other in order[place + 1 :] if told[other] == "RECOMMENDER")
        if told[row] == "SEEKER" and accepted:
            cases.append(Case(row, accepted, name))
    return cases


def _hit_3(case: Case, ranked: Sequence[int]) -> float:
    return float(bool(case.accepted & set(ranked[:3])))


def _hit_20(case: Case, ranked: Sequence[int]) -> float:
    return float(bool(case.accepted & set(ranked[:LISTED])))


def _recall(case: Case, ranked: Sequence[int]) -> float:
    return len(case.accepted & set(ranked[:LISTED])) / len(case.accepted)


def _ndcg(case: Case, ranked: Sequence[int]) -> float:
    gained = sum(1 / math.log2(2 + place) for place, row in enumerate(ranked[:LISTED]) if row in case.accepted)
    return gained / sum(1 / math.log2(2 + place) for place in range(min(len(case.accepted), LISTED)))


def _show(ranked: Sequence[tuple[Case, list[int]]], measure: Callable[[Case, Sequence[int]], float]) -> str:
    clusters: dict[str, list[float]] = {}
    for case, rows in ranked:
        clusters.setdefault(case.cluster, []).append(measure(case, rows))
    sums = np.array([sum(values) for values in clusters.values()])
    sizes = np.array([len(values) for values in clusters.values()])
    drawn = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1), [2.5, 97.5])
    return f"{sums.sum() / sizes.sum():.3f} [{low:.3f}, {high:.3f}]"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"fold {text}".encode()).digest()[:8], "big")


if __name__ == "__main__":
    main()
