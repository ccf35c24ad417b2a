"""Play scripted dialogues and count the turns that come out right.

    python tools/bench_dialogues.py BUNDLE [--dialogues tests/rag/dialogues.jsonl]

A line is one dialogue: ``{"id", "turns": [{"say", ...}]}``. Beside what the person says, a turn tells what must hold:

- ``movie``: the tconst of the movie the answer is about; ``movie_shown``: its place in the list shown last, from 0
- ``intent``; ``has``: a text that the answer (or the prompt, where a model is to write it) holds
- ``shown``: how many movies are recommended; ``never``: tconsts that are not
- ``all``: what each of them must be: genre, no_genre, from_year, to_year, longest, shortest, rated, director, actor
- ``beside_last``: newer, older or shorter than every movie of the list shown last

In every turn no movie may be recommended that was recommended before in the dialogue.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moviebot.data.schemas import Movie
from moviebot.rag.answer import Answer, Query
from moviebot.rag.bundle import load_bundle
from moviebot.rag.pipeline import MovieBot

DIALOGUES = Path(__file__).resolve().parents[1] / "tests" / "rag" / "dialogues.jsonl"


def read_dialogues(path: Path = DIALOGUES) -> list[dict[str, Any]]:
    """Return the dialogues of a file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def play(bot: MovieBot, dialogue: Mapping[str, Any]) -> list[tuple[str, list[str], Answer]]:
    """Return each turn's words, what is wrong with its answer (nothing where it is right), and the answer."""
    known: set[str] = set()
    listed: Sequence[Movie] = []
    played = []
    for turn in dialogue["turns"]:
        [answer] = bot.answer([Query(turn["say"], str(dialogue["id"]))])
        played.append((turn["say"], list_faults(turn, answer, listed, known), answer))
        known |= {movie.tconst for movie in answer.recommendations}
        listed = answer.recommendations or listed
    return played


def list_faults(turn: Mapping[str, Any], answer: Answer, listed: Sequence[Movie], known: set[str]) -> list[str]:
    """Return what is wrong with an answer.

    Args:
        turn: what was said, and what must hold.
        answer: the answer to it.
        listed: the movies shown last before it.
        known: tconsts of all movies shown before it.
    """
    shown = answer.recommendations
    meant = None if answer.movie is None else answer.movie.tconst
    wanted = turn.get("movie")
    if "movie_shown" in turn:
        place = turn["movie_shown"]
        wanted = listed[place].tconst if place < len(listed) else "none was shown there"
    faults = []
    if wanted is not None and meant != wanted:
        faults.append(f"movie {meant}, not {wanted}")
    if "intent" in turn and answer.intent != turn["intent"]:
        faults.append(f"intent {answer.intent}")
    if "has" in turn and turn["has"].lower() not in f"{answer.answer}\n{answer.prompt}".lower():
        faults.append(f"the answer lacks {turn['has']!r}")
    if "shown" in turn and len(shown) != turn["shown"]:
        faults.append(f"{len(shown)} shown")
    faults += [f"{movie.label} is not {turn['all']}" for movie in shown if not meets(movie, turn.get("all", {}))]
    faults += [f"{movie.label} must not be shown" for movie in shown if movie.tconst in turn.get("never", ())]
    faults += [f"{movie.label} was shown before" for movie in shown if movie.tconst in known]
    for movie in shown:
        for other in listed:
            if "beside_last" in turn and not _stands(movie, turn["beside_last"], other):
                faults.append(f"{movie.label} is not {turn['beside_last']} than {other.label}")
    return faults


def meets(movie: Movie, conditions: Mapping[str, Any]) -> bool:
    """Say whether a movie is what a turn's ``all`` asks for."""
    checks: dict[str, Callable[[Any], bool]] = {
        "genre": lambda value: value in movie.genres,
        "no_genre": lambda value: value not in movie.genres,
        "from_year": lambda value: (movie.year or 0) >= value,
        "to_year": lambda value: (movie.year or 9999) <= value,
        "longest": lambda value: (movie.runtime_minutes or 9999) <= value,
        "shortest": lambda value: (movie.runtime_minutes or 0) >= value,
        "rated": lambda value: (movie.rating or 0.0) >= value,
        "director": lambda value: value in movie.directors,
        "actor": lambda value: value in movie.cast,
        "no_person": lambda value: value not in (*movie.directors, *movie.cast),
    }
    return all(checks[name](value) for name, value in conditions.items())


def _stands(movie: Movie, comparison: str, other: Movie) -> bool:
    if comparison == "newer":
        return (movie.year or 0) > (other.year or 0)
    if comparison == "older":
        return (movie.year or 9999) < (other.year or 9999)
    return (movie.runtime_minutes or 9999) < (other.runtime_minutes or 9999)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--dialogues", type=Path, default=DIALOGUES)
    args = parser.parse_args()
    bot = MovieBot(load_bundle(args.bundle))
    dialogues = read_dialogues(args.dialogues)
    played = [(dialogue["id"], *turn) for dialogue in dialogues for turn in play(bot, dialogue)]
    right = sum(not faults for _, _, faults, _ in played)
    whole = len(dialogues) - len({name for name, _, faults, _ in played if faults})
    print(f"turns right {right / len(played):.3f} ({right} of {len(played)})")
    print(f"dialogues all right {whole / len(dialogues):.3f} ({whole} of {len(dialogues)})")
    for name, said, faults, answer in played:
        if faults:
            print(json.dumps({"id": name, "say": said, "faults": faults, "answer": answer.answer}, ensure_ascii=False))


if __name__ == "__main__":
    main()
