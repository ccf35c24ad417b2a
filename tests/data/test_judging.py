import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from moviebot.artefact import read_jsonl
from moviebot.data import judging
from moviebot.data.catalogue import build_catalogue
from moviebot.data.injection import is_injection
from moviebot.data.judging import JudgedReply, ReplyJudge, judge_all
from moviebot.data.prompts import render_follow_up, render_question_prompt, render_recommend_prompt
from moviebot.data.replies import Request
from moviebot.data.schemas import Movie, Topic, read_catalogue
from moviebot.data.support import rate_support
from moviebot.data.teacher_prompts import build_questions_prompt, build_recommend_prompt
from moviebot.data.title_naming import TitleIndex
from moviebot.data.wordings import WORDINGS
from tools.bench_cleaning import GOOD_PAIRS, JUDGED_PAIRS, judge_cases
from tools.corrupt_pairs import ATTACKS, corrupt_movies

DOOR = Movie(
    "tt1", "The Blue Door", "La porte bleue", 1950, 90, ("Drama",), 7.0, 1500, ("Ann Ash", "Bo Birk"),
    ("Di Dahl", "Ed Elm"), "A widow opens a locked door in her late husband's house and finds letters.", "test",
    ("Die blaue Tür",),
)  # fmt: skip
BARE = Movie("tt2", "The Blue Door", year=1951)


@pytest.mark.parametrize(
    ("answer", "topic", "expected"),
    [
        ("It was directed by Ann Ash and Bo Birk.", "director", True),
        ("Ann Ash directed it.", "director", True),
        ("It was directed by Ann Ash and Orson Welles.", "director", False),
        ("It was directed by Orson Welles.", "director", False),
        ("A very good director.", "director", False),
        ("It runs for 90 minutes, or 1 hour 30 minutes.", "runtime", True),
        ("It runs for 95 minutes.", "runtime", False),
        ("It is rated 7 out of 10 by 1,500 voters.", None, True),
        ("It has a rating of 7.0.", "rating", True),
        ("It has a rating of 7.1.", "rating", False),
        ("A widow finds letters behind a door in the house of her husband.", "plot", True),
        ("An astronaut discovers aliens beneath the frozen surface.", "plot", False),
        ("I don't know: the facts don't say.", "director", False),
        ("I don't know: the facts don't say who wrote it.", "unanswerable", True),
        ("It cost 3 million dollars.", "unanswerable", False),
        ("It was made in Paris.", None, False),
    ],
)
def test_support(answer: str, topic: Topic | None, expected: bool) -> None:
    assert (rate_support("What about The Blue Door?", answer, topic, DOOR).fault is None) is expected


def test_decline_is_right_where_the_fact_is_absent() -> None:
    question, decline = "Who directed The Blue Door?", "I don't know who directed it."
    assert rate_support(question, decline, "unanswerable", DOOR).fault == "unsupported_answer"
    assert rate_support(question, decline, None, DOOR).fault == "unsupported_answer"
    assert rate_support(question, decline, "director", BARE).fault is None
    assert rate_support(question, "It was directed by Ann Ash.", "director", BARE).fault == "unsupported_answer"


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Who directed The Blue Door?", True),
        ("who directed blue door", True),
        ("Wer spielt in Die blaue Tür?", True),
        ("Who made La Porte Bleue?", True),
        ("Who directed the movie?", False),
        ("Who painted the door blue?", False),
    ],
)
def test_a_question_names_a_movie_by_any_of_its_titles(question: str, expected: bool) -> None:
    assert TitleIndex([DOOR]).names(question, DOOR) is expected


def test_a_title_of_punctuation_is_named() -> None:
    movie = Movie("tt1", "???")
    assert TitleIndex([movie]).names("Who directed ???", movie)
    assert not TitleIndex([movie]).names("Who directed it", movie)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"pairs": []}', JudgedReply((), mended=False)),
        ('```json\n{"pairs": []}\n```', JudgedReply((), mended=True)),
        ('{"pairs": {}}', JudgedReply(None, mended=False)),
        ('```json\n{"pairs": {}}\n```', JudgedReply(None, mended=True)),
        ("[]", JudgedReply(None, mended=False)),
        ('```json\n["pairs"]\n```', JudgedReply(None, mended=False)),
        ("I'm sorry, I can't do that.", JudgedReply(None, mended=False)),
        ("", JudgedReply(None, mended=False)),
    ],
)
def test_a_reply_is_an_object_with_a_list_of_pairs(text: str, expected: JudgedReply) -> None:
    assert ReplyJudge([DOOR]).judge(DOOR, Request("qa", DOOR.tconst, "m", "p").answer(text)) == expected


def test_broken_json_is_mended() -> None:
    text = '{"pairs": [{"question": "a", "answer": "b.",}]}'
    judged = ReplyJudge([DOOR]).judge(DOOR, Request("qa", DOOR.tconst, "m", "p").answer(text))
    assert judged.mended
    assert [(pair.question, pair.answer) for pair in judged.pairs or ()] == [("a", "b.")]


ROLES = Movie(
    "tt3", "15 Minutes", None, 2001, 120, ("Action", "Crime"), 6.1, 900, ("John Herzfeld", "Vera Elm"),
    ("Robert De Niro", "Ada Elm", "Edward Burns"),
    "Two men from Japan come to New York in 1999 and do not stop filming their crimes, while a detective and a fire "
    "marshal follow them through the city.",
)  # fmt: skip


@pytest.mark.parametrize(
    ("question", "answer", "topic", "fault"),
    [
        ("Who directed 15 Minutes?", "It was directed by Robert De Niro.", "director", "unsupported_answer"),
        ("Who directed 15 Minutes?", "John Herzfeld, with Robert De Niro in the lead.", "director", None),
        ("Who directed 15 Minutes?", "Herzfeld did.", "director", None),
        ("Who directed 15 Minutes?", "It was directed by John Herzfeld and Vera Elm.", "director", None),
        ("Who directed 15 Minutes?", "It was directed by John De Niro.", "director", "unsupported_answer"),
        ("Who directed 15 Minutes?", "John Herzfeld did not direct it.", "director", "unsupported_answer"),
        ("Who stars in 15 Minutes?", "It stars John Herzfeld.", "cast", "unsupported_answer"),
        ("Who stars in 15 Minutes?", "15 Minutes stars Robert De Niro.", None, None),
        ("Who wrote 15 Minutes?", "John Herzfeld wrote it.", None, "unsupported_answer"),
        ("Who plays the detective in 15 Minutes?", "Robert De Niro plays him.", "cast", "unsupported_answer"),
        ("What year is 15 Minutes from?", "1999.", "year", "unsupported_answer"),
        ("What year is 15 Minutes from?", "2001.", "year", None),
        ("When did it open, 15 Minutes?", "It was released in 1999.", None, "unsupported_answer"),
        ("How long is 15 Minutes?", "120 minutes.", "runtime", None),
        ("How long is 15 Minutes?", "It lasts 2 hours and 0 minutes.", "runtime", None),
        ("How long is 15 Minutes?", "It lasts 1 hour and 20 minutes.", "runtime", "unsupported_answer"),
        ("How long is 15 Minutes?", "It runs for 1200 minutes.", "runtime", "unsupported_answer"),
        ("What genre is 15 Minutes?", "An action movie about crime.", "genre", None),
        ("What genre is 15 Minutes?", "An action comedy.", "genre", "unsupported_answer"),
        ("How is 15 Minutes rated?", "It has 6.1 out of 10.", "rating", None),
        ("How is 15 Minutes rated?", "It has 6 out of 10.", "rating", "unsupported_answer"),
        ("Did John Herzfeld direct 15 Minutes?", "Yes.", None, None),
        ("Did Robert De Niro direct 15 Minutes?", "Yes.", None, "unsupported_answer"),
        ("Did Robert De Niro direct 15 Minutes?", "No, John Herzfeld did.", None, None),
        ("What is 15 Minutes about?", "Two Japanese men film their crimes in New York.", "plot", None),
        ("Who directed 15 Minutes?", ROLES.description, "director", "repeats_description"),
        ("Who directed 15 Minutes?", f"John Herzfeld. {ROLES.description}", None, "repeats_description"),
        ("What is 15 Minutes about?", ROLES.description, "plot", None),
        ("What is 15 Minutes about?", "The facts do not mention the plot.", "plot", "unsupported_answer"),
        ("What did 15 Minutes cost?", "The facts do not mention the budget.", None, None),
        ("What did 15 Minutes cost?", "That isn't stated.", None, None),
        ("What did 15 Minutes cost?", "There's nothing about money in the facts.", None, None),
        ("Which awards did 15 Minutes win?", "I can't tell from this; no awards are mentioned.", None, None),
        ("Who directed 15 Minutes?", "The director isn't named in the facts.", None, "unsupported_answer"),
        ("What's the rating of 15 Minutes?", "No rating is given for it.", None, "unsupported_answer"),
        ("How long is 15 Minutes?", "Two hours.", "runtime", None),
        ("How long is 15 Minutes?", "Just under two hours.", "runtime", None),
        ("How long is 15 Minutes?", "Over two hours.", "runtime", "unsupported_answer"),
        ("How long is 15 Minutes?", "Three hours.", "runtime", "unsupported_answer"),
        ("Is 15 Minutes longer than two hours?", "No, exactly two hours.", None, None),
        ("Is 15 Minutes longer than two hours?", "Yes.", None, "unsupported_answer"),
        ("Is 15 Minutes shorter than 2 and a half hours?", "Yes, it runs 120 minutes.", None, None),
        ("Was 15 Minutes (2001) made for children?", "No, it is a crime movie.", None, None),
        ("Was 15 Minutes released before 2000?", "No, in 2001.", None, None),
        ("Was 15 Minutes released before 2000?", "Yes.", None, "unsupported_answer"),
        ("Is 15 Minutes rated above 7?", "No, it has 6.1.", None, None),
        ("Is 15 Minutes rated above 7?", "Yes.", None, "unsupported_answer"),
        ("Did the director of 15 Minutes act in it?", "No.", None, None),
        ("Does Tom Hanks star in 15 Minutes?", "Yes.", None, "unsupported_answer"),
        ("Who's in 15 Minutes?", "Robert De Niro.", None, None),
        ("Who's in 15 Minutes?", "John Herzfeld.", None, "unsupported_answer"),
        ("How many men film their crimes in 15 Minutes?", "Two men.", None, None),
        ("How many men film their crimes in 15 Minutes?", "Seven men.", None, "unsupported_answer"),
    ],
)
def test_each_fact_has_its_role(question: str, answer: str, topic: Topic | None, fault: str | None) -> None:
    assert rate_support(question, answer, topic, ROLES).fault == fault


def test_a_description_that_denies_nothing_is_not_denied() -> None:
    plain = "A widow finds letters behind a door in the house of her husband."
    assert rate_support("What is The Blue Door about?", plain, "plot", DOOR).fault is None
    denied = plain.replace("finds", "does not find")
    assert rate_support("What is The Blue Door about?", denied, "plot", DOOR).fault == "unsupported_answer"


def test_a_letter_that_folds_to_two_hides_no_name() -> None:
    answer = "It was directed by Susanne Sachße and Ann Ash."
    assert rate_support("Who directed The Blue Door?", answer, "director", DOOR).fault == "unsupported_answer"


def test_an_answer_that_says_the_question_again_says_nothing(movies: list[Movie]) -> None:
    judge = ReplyJudge(movies)
    rows = [("What is the film Harbour Lights called?", "Harbour Lights."), ("What is Harbour Lights?", "The movie."),
            ("Is Harbour Lights a thriller or a musical?", "A thriller.")]  # fmt: skip
    reply = json.dumps({"pairs": [{"question": question, "answer": answer} for question, answer in rows]})
    judged = judge.judge(movies[2], Request("qa", movies[2].tconst, "m", "p").answer(reply))
    assert [pair.reason for pair in judged.pairs or ()] == ["empty", "empty", None]


def test_the_fuller_answer_scores_higher() -> None:
    both = rate_support("Who directed The Blue Door?", "It was directed by Ann Ash and Bo Birk.", "director", DOOR)
    one = rate_support("Who directed The Blue Door?", "It was directed by Ann Ash.", "director", DOOR)
    assert both.fault is one.fault is None
    assert both.score > one.score


CATALOGUE = [
    DOOR, Movie("tt4", "Harbour Lights"), Movie("tt5", "Harbor Lights"), Movie("tt6", "Aliens", year=1986),
    Movie("tt7", "Alien", year=1979), Movie("tt8", "Jaws"), Movie("tt9", "Airplane!"), Movie("tt10", "Night Train 2"),
    Movie("tt11", "Night Train 3"), Movie("tt12", "It"), Movie("tt13", "The Godfather"), Movie("tt14", "Alien Nation"),
    Movie("tt16", "Blues, The"), Movie("tt17", "Mice & Men"),
    Movie("tt15", "Dentists", description="A jaw aches, and the night is long. The train is late."),
]  # fmt: skip
INDEX = TitleIndex(CATALOGUE)
BY_TITLE = {movie.title: movie for movie in CATALOGUE}


@pytest.mark.parametrize(
    ("title", "question", "expected"),
    [
        ("The Godfather", "Who directed The Godfahter?", "Who directed The Godfather?"),
        ("The Blue Door", "Wer spielt in Die blaue Tuer?", "Wer spielt in Die blaue Tür?"),
        ("Airplane!", "Who is in Aiprlane!?", "Who is in Airplane!?"),
        ("Night Train 2", "Who is in Nihgt Train 2?", "Who is in Night Train 2?"),
        ("Night Train 2", "Who is in Night Train 3?", None),  # a digit is no slip
        ("Harbour Lights", "Who made Habor Lights?", None),  # Harbor Lights is as near
        ("Night Train 2", "Who is in Night Tusk 2?", None),  # two slips in a short word are another word
        ("Alien", "Who is in Aliens?", None),  # another movie
        ("Jaws", "Who has a jaw?", None),  # too short, and a word
        ("The Godfather", "Who made that film?", None),
    ],
)
def test_misspelt_titles_are_fixed_where_that_is_safe(title: str, question: str, expected: str | None) -> None:
    assert INDEX.fix(question, BY_TITLE[title]) == expected


@pytest.mark.parametrize(
    ("title", "question", "expected"),
    [
        ("Alien", "Who directed Alien?", True),
        ("Alien", "Who directed Alien Nation?", False),  # the longer title is another movie
        ("Alien", "Is Alien better than Alien Nation?", True),
        ("Alien", "Who directed Alien (1979)?", True),
        ("Alien", "Who directed Alien (1980)?", True),  # off by one
        ("Alien", "Who directed Alien (1992)?", False),
        ("It", "Who directed it?", False),
        ("It", "Who directed It?", True),
        ("It", "It is good, who directed this?", False),
        ("Blues, The", "Who is in The Blues?", True),
        ("Blues, The", "Who is in Blues, The?", True),
        ("Mice & Men", "Who is in Mice and Men?", True),
        ("The Godfather", "Can you name the Godfather's director?", True),
        ("Jaws", "Who lies in the jawsome sea?", False),
    ],
)
def test_a_question_names_this_movie_and_no_other(title: str, question: str, expected: bool) -> None:
    assert INDEX.names(question, BY_TITLE[title]) is expected


@pytest.mark.parametrize("text", ATTACKS)
def test_injections_are_told(text: str) -> None:
    assert is_injection(text)


@pytest.mark.parametrize(
    "text",
    [
        "Who ignores the orders of the captain in Crimson Tide?",
        "Does the spy in Ronin forget his previous life?",
        "What instructions does the spy get in Mission: Impossible?",
        "What is the prompt for the murders in Se7en?",
        "Is the operating system: Samantha in love in Her?",
        "Who plays the system analyst in The Net?",
    ],
)
def test_questions_about_orders_are_no_injection(text: str) -> None:
    assert not is_injection(text)


def test_no_wording_of_the_template_is_an_injection() -> None:
    texts = [text for by_split in WORDINGS.values() for found in by_split.values() for text in found]
    assert len(texts) > 1000
    assert [text for text in texts if is_injection(text)] == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_injected_text_stays_data_in_every_prompt(attack: str) -> None:
    """One instruction, one input, one response; in the teacher's prompt one block of facts: nothing closes them."""
    hostile = Movie(
        "tt1", f"Up {attack}", attack, 2009, 96, (attack,), 8.0, 9, (attack,), (f"A {attack}",), f"Plot.\n{attack}",
        "test", (attack,),
    )  # fmt: skip
    marks = ("### Instruction:", "### Input:", "### Response:")
    for prompt in (
        render_question_prompt(attack, hostile),
        render_question_prompt(attack, hostile) + render_follow_up(attack),
        render_recommend_prompt(hostile, [hostile, DOOR]),
    ):
        first, *_ = render_question_prompt("q", BARE).split("\n### Input:")
        follow_ups = prompt.count("\n\n### Instruction:") - 1
        assert [prompt.count(mark) for mark in marks] == [1 + follow_ups, 1, 1 + follow_ups]
        assert prompt.startswith(first.split("### Instruction:")[0])
        assert not re.search(r"<\||\[/?INST\]|</?s>|<<SYS", prompt)
        assert all(line.startswith("### ") or "###" not in line for line in prompt.splitlines())
    for prompt in (
        build_questions_prompt(hostile, 8, ambiguous=False),
        build_recommend_prompt(hostile, [hostile, DOOR], 3),
    ):
        assert f"\n{prompt}".count("\n<facts>\n") == 1 == len(re.findall(r"</facts>", prompt))
        before, facts, after = re.split(r"</?facts>", prompt)
        assert not re.search(r"<\||\[/?INST\]|###", facts)
        assert not re.search(r"\bUp\b", before + after)
        assert "Plot." in facts
        assert "Plot." not in before + after


def test_two_processes_judge_as_one(movies: list[Movie], monkeypatch: pytest.MonkeyPatch) -> None:
    replies = []
    for movie in movies:
        for n in range(3):
            text = json.dumps(
                {"pairs": [{"question": f"Who directed {movie.title}{'!' * n}?", "answer": "Ida Crane."}]}
            )
            replies.append((movie, Request("qa", movie.tconst, f"m{n}", "p").answer(text[: len(text) - n])))
    alone = list(judge_all(movies, replies))
    monkeypatch.setattr(judging, "ALONE_UP_TO", 0)
    monkeypatch.setattr(judging, "_CHUNK", 2)
    assert list(judge_all(movies, replies)) == alone
    assert {pair.reason or pair.fault for judged in alone for pair in judged.pairs or ()} >= {None, "ambiguous_title"}


def test_processes_that_die_at_their_start_are_no_hang(tmp_path: Path) -> None:
    """A script without ``if __name__ == "__main__"``: its workers run it again and end before they read a reply."""
    build_catalogue(tmp_path, sample=True)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from moviebot.data import judging\n"
        "from moviebot.data.replies import Request\n"
        "from moviebot.data.schemas import read_catalogue\n"
        "judging.ALONE_UP_TO = 0\n"
        "movies = read_catalogue(Path(__file__).with_name('catalogue.parquet'))\n"
        "replies = [(movie, Request('qa', movie.tconst, 'm', 'p').answer('{}')) for movie in movies]\n"
        "list(judging.judge_all(movies, replies))\n"
    )
    root = Path(__file__).resolve().parents[2]
    process = subprocess.run(
        [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert process.returncode == 1
    assert "UserError: a process that judges replies was ended from outside" in process.stderr


def test_corrupted_pairs_are_told(tmp_path: Path) -> None:
    """`tools/bench_cleaning.py` on thirty movies of the sample, the half that no threshold was chosen on."""
    build_catalogue(tmp_path, sample=True)
    movies = read_catalogue(tmp_path / "catalogue.parquet")
    cases = [case for case in corrupt_movies(movies[::7], movies, GOOD_PAIRS) if case.half == 1]
    verdicts = judge_cases(movies, cases)
    for reason in sorted({case.expected for case in cases}):
        right = sum(case.expected == verdict == reason for case, verdict in zip(cases, verdicts, strict=True))
        expected = sum(case.expected == reason for case in cases)
        assert expected >= 20, reason
        assert right / expected >= 0.95, f"recall of {reason}"
        assert right / verdicts.count(reason) >= 0.95, f"precision of {reason}"
    assert len({case.kind for case in cases}) >= 20


def test_replies_of_a_small_model_as_a_person_judges_them(tmp_path: Path) -> None:
    """200 verbatim replies of SmolLM2-135M-Instruct, judged by hand before the code was run on them.

    Nearly all are bad (494 of 496 pairs): what is measured is what slips through. Replies in odd places were not
    looked at when the judge was mended.
    """
    build_catalogue(tmp_path, sample=True)
    movies = read_catalogue(tmp_path / "catalogue.parquet")
    by_id = {movie.tconst: movie for movie in movies}
    judge = ReplyJudge(movies)
    found: dict[tuple[int, str], list[bool]] = {}
    for number, row in enumerate(read_jsonl(Path(__file__).parent / "smollm2_judged.jsonl")):
        movie = by_id[row["tconst"]]
        judged = judge.judge(movie, Request("qa", movie.tconst, "m", "p").answer(row["reply"]))
        for pair, by_hand in zip(judged.pairs or (), row["pairs"], strict=True):
            kept = not pair.reason and not pair.fault
            found.setdefault((number % 2, by_hand["verdict"]), []).append(kept)
    assert {key: (sum(kept), len(kept)) for key, kept in found.items()} == {
        (0, "good"): (2, 2), (0, "bad"): (0, 222), (1, "bad"): (2, 272),
    }  # fmt: skip


def test_pairs_as_their_writers_judge_them(tmp_path: Path) -> None:
    """Pairs written and judged by those who had not seen the rules; see `tools/bench_cleaning.py`.

    False claims in words that all stand in the facts pass. The encoder, not asked here, saves 4 % of the good ones.
    """
    build_catalogue(tmp_path, sample=True)
    movies = read_catalogue(tmp_path / "catalogue.parquet")
    by_id = {movie.tconst: movie for movie in movies}
    judge = ReplyJudge(movies)
    right: dict[tuple[str, str], list[bool]] = {}
    for row in read_jsonl(JUDGED_PAIRS):
        movie = by_id[row["tconst"]]
        text = json.dumps({"pairs": [{"question": row["question"], "answer": row["answer"]}]})
        (pair,) = judge.judge(movie, Request("qa", movie.tconst, "m", "p").answer(text)).pairs or ()
        kept = not pair.reason and not pair.fault
        right.setdefault((row["set"], row["verdict"]), []).append(kept == (row["verdict"] == "good"))
    assert all(len(found) >= 100 for found in right.values())
    assert {key: round(sum(found) / len(found), 2) for key, found in right.items()} == {
        ("seen", "good"): 0.80, ("seen", "bad"): 0.85, ("unseen", "good"): 0.74, ("unseen", "bad"): 0.88,
    }  # fmt: skip
