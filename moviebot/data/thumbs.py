"""What people thought of answers, as the cleaning reads it: the log of thumbs that `moviebot serve` writes.

A thumb up is one more teacher's word, and is judged like any other teacher's: people's queries are untrusted text. A
thumb down takes a pair with the same question and the same answer out. Of several thumbs on one answer the last counts.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from moviebot.data.replies import Reply
from moviebot.data.schemas import Movie, Task
from moviebot.data.splits import normalise_title
from moviebot.errors import UserError

PEOPLE = "people"
"""The name of the teacher that people's thumbs up stand for."""
Liked = tuple[str, str, str]


@dataclass(frozen=True)
class Thumbs:
    """What a log of thumbs comes to.

    Attributes:
        replies: what people liked, a reply for each movie and task.
        disliked: movie, question and answer, normalised, that they did not.
        counts: lines by what became of them.
    """

    replies: list[Reply]
    disliked: frozenset[Liked]
    counts: dict[str, int]


def read_thumbs(path: Path) -> Thumbs:
    """Read a log of thumbs; lines that are none are counted and passed over.

    Args:
        path: what ``moviebot serve --feedback`` wrote.

    Raises:
        UserError: it can't be read.
    """
    try:
        whole = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"--feedback {path} can't be read ({error.strerror}): give what `moviebot serve` wrote"
        ) from error
    counts = Counter(up=0, down=0, taken_back=0, no_movie=0, bad_line=0)
    last: dict[tuple[str, str, str], dict[str, object]] = {}
    for line in whole.splitlines():
        row = _parse(line)
        if row is None:
            counts["bad_line"] += 1
        else:
            last[str(row["conversation"]), str(row["query"]), str(row["answer"])] = row
    liked: dict[tuple[Task, str], list[object]] = defaultdict(list)
    disliked: set[Liked] = set()
    for row in last.values():
        movie, shown = row["movie"], row["shown"]
        kind = {"up": "up", "down": "down"}.get(str(row["thumb"]), "taken_back")
        counts["no_movie" if kind != "taken_back" and not isinstance(movie, str) else kind] += 1
        if not isinstance(movie, str):
            continue
        if kind == "down" and not shown:
            disliked.add(make_key(movie, str(row["query"]), str(row["answer"])))
        elif kind == "up" and not shown:
            liked["qa", movie].append({"question": row["query"], "answer": row["answer"]})
        elif kind == "up":
            liked["recommend", movie] += shown if isinstance(shown, list) else []
    return Thumbs(
        [_make_reply(task, movie, some) for (task, movie), some in liked.items()], frozenset(disliked), counts
    )


def name_shown(replies: Sequence[Reply], movies: Sequence[Movie]) -> list[Reply]:
    """Put titles and years in the place of the ids that people were shown, as a teacher names movies."""
    labels = {movie.tconst: movie.label for movie in movies}
    named = []
    for reply in replies:
        if reply.task == "recommend":
            shown = json.loads(reply.reply)["recommended"]
            content = {"recommended": [labels.get(tconst, tconst) for tconst in shown]}
            named.append(replace(reply, reply=json.dumps(content, ensure_ascii=False)))
        else:
            named.append(reply)
    return named


def make_key(tconst: str, question: str, answer: str) -> Liked:
    """Return what a thumb down and a pair are compared by: case, accents and punctuation do not matter."""
    return tconst, normalise_title(question), normalise_title(answer)


def _make_reply(task: Task, tconst: str, liked: list[object]) -> Reply:
    content = {"pairs": liked} if task == "qa" else {"recommended": list(dict.fromkeys(map(str, liked)))}
    text = json.dumps(content, ensure_ascii=False)
    return Reply(f"{PEOPLE}-{task}-{tconst}", task, tconst, PEOPLE, "", text)


def _parse(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict) or not {"conversation", "query", "answer", "movie", "shown", "thumb"} <= row.keys():
        return None
    texts = all(isinstance(row[name], str) for name in ("conversation", "query", "answer"))
    return (
        row if texts and isinstance(row["shown"], list) and all(isinstance(one, str) for one in row["shown"]) else None
    )
