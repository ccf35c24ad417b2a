"""What is on two sides is found, each kind by a set that has it; a set that `clean` made has no breach."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from moviebot.artefact import read_report
from moviebot.cli import run
from moviebot.data.leakage import Leakage, find_leakage
from moviebot.data.pairs import PairRow
from moviebot.data.schemas import Movie, QAPair, RecommendationList, Split, write_catalogue

STORY = "A retired lighthouse keeper finds a sealed letter in the lamp room and sets out to bring it to its owner"
TRAIN, VAL, TEST = "tt1", "tt2", "tt3"
SPLITS: dict[str, Split] = {TRAIN: "train", VAL: "val", TEST: "test"}


def films(**changes: object) -> list[Movie]:
    """Return a movie of each side; ``changes`` are made to the test's."""
    found = [
        Movie(TRAIN, "Harbour Lights", year=1954, directors=("Ida Crane",), description=STORY),
        Movie(VAL, "Winter Wheat", year=2014, directors=("Olga Sidorova",)),
        Movie(TEST, "Salt and Thunder", year=2008, directors=("Kofi Mensah",), description="War comes to a salt town."),
    ]
    return [*found[:2], replace(found[2], **changes)]  # type: ignore[arg-type]


def ask(tconst: str, question: str, split: Split | None = None) -> QAPair:
    return QAPair(tconst, question, "An answer.", "test", split or SPLITS[tconst])


def recommend(tconst: str, *recommended: str) -> RecommendationList:
    return RecommendationList(tconst, recommended, "test", SPLITS[tconst])


def find_breaches(found: Leakage) -> set[str]:
    return {name for name, number in found.breaches.items() if number}


def test_a_clean_set_has_none() -> None:
    pairs = [ask(TRAIN, "Who directed Harbour Lights?"), ask(TEST, "Whose film is Salt and Thunder?")]
    rows: list[PairRow] = [{"tconst_anchor": TEST, "tconst_sample": TRAIN, "split": "test"}]
    found = find_leakage(films(), SPLITS, pairs, [recommend(TEST, TRAIN, VAL)], rows)
    assert find_breaches(found) == set()
    assert (found.facts_repeated, found.descriptions_alike, found.worst) == (0, 0, [])
    assert found.wordings_shared == {"val": None, "test": 0.0}
    found.check()


@pytest.mark.parametrize(
    ("pairs", "lists", "rows", "breach"),
    [
        ([ask(TRAIN, "Who made it?"), ask(TEST, "who made it")], [], [], "questions_on_two_sides"),
        ([ask(TEST, "Who made it?", "train")], [], [], "rows_on_the_wrong_side"),
        ([], [recommend(TRAIN, TEST)], [], "lists_showing_a_later_side"),
        ([], [recommend(VAL, TRAIN, TEST)], [], "lists_showing_a_later_side"),
        ([], [recommend(TRAIN, "tt404")], [], "lists_showing_a_later_side"),
        ([], [], [{"tconst_anchor": TRAIN, "tconst_sample": VAL, "split": "train"}], "pairs_showing_a_later_side"),
        ([], [], [{"tconst_anchor": TEST, "tconst_sample": TRAIN, "split": "train"}], "pairs_showing_a_later_side"),
    ],
)
def test_each_breach_is_named_and_stops(
    pairs: list[QAPair], lists: list[RecommendationList], rows: list[PairRow], breach: str
) -> None:
    found = find_leakage(films(), SPLITS, pairs, lists, rows)
    assert find_breaches(found) == {breach}
    with pytest.raises(RuntimeError, match=f"leak into the training .{breach} 1"):
        found.check()


def test_a_franchise_on_two_sides_is_a_breach() -> None:
    found = find_leakage(films(title="Harbour Lights 2: Dusk"), SPLITS, [], [])
    assert find_breaches(found) == {"groups_on_two_sides"}
    assert found.largest_group == 2


def test_descriptions_told_alike_are_found() -> None:
    alike = f"In this warm drama, {STORY[0].lower()}{STORY[1:]}, before winter."
    asked = [ask(tconst, f"Question {tconst}?") for tconst in SPLITS]
    found = find_leakage(films(description=alike), SPLITS, asked, [])
    assert found.descriptions_alike == 1
    assert (found.worst[0].tconst, found.worst[0].other, found.worst[0].share) == (TEST, TRAIN, 1.0)
    assert find_leakage(films(description=alike), dict.fromkeys(SPLITS, "test"), asked, []).descriptions_alike == 0
    other = "A retired lighthouse keeper loses a bet, and his boat, to three brothers from the far end of the bay."
    assert find_leakage(films(description=other), SPLITS, asked, []).descriptions_alike == 0


def test_repeated_facts_are_counted_on_the_later_side() -> None:
    found = find_leakage(films(year=1954, directors=("Ida Crane",), description=STORY), SPLITS, [], [])
    assert found.facts_repeated == 1


def test_wordings_are_compared_without_the_title() -> None:
    pairs = [
        ask(TRAIN, "Who on earth directed Harbour Lights?"),
        ask(VAL, "Winter Wheat: who on earth directed it?"),
        ask(TEST, "who on earth directd Salt and Thunder (2008)"),  # a letter less: the same wording
        ask(TEST, "Name the person who made Salt and Thunder"),
    ]
    assert find_leakage(films(), SPLITS, pairs, []).wordings_shared == {"val": 0.0, "test": 0.5}


def test_clean_reports_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    titles = ["Harbour Lights", "Harbour Lights II", *(f"{name} of the Sea" for name in "ABCDEFGHIJKLMNOPQRS")]
    rows = [{"title": title, "year": 1950 + n, "director": f"Person {n}"} for n, title in enumerate(titles)]
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = str(tmp_path / "data")
    for words in (["catalogue", "--table", str(table), "--out", out], ["teach", "--out", out], ["clean", "--out", out]):
        assert run(words) == 0
    assert "leakage: 0 breaches" in capsys.readouterr().err
    counts = read_report(tmp_path / "data")["clean"]["leakage"]
    assert set(counts["breaches"].values()) == {0}
    assert counts["largest_group"] == 2
    assert counts["wordings_shared"]["test"] < 0.2


def test_sets_of_an_older_rule_are_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder from before the franchises were kept together is not taken for up to date."""
    write_catalogue(tmp_path / "catalogue.parquet", films())
    for stage in ("teach", "clean"):
        assert run([stage, "--out", str(tmp_path)]) == 0
    capsys.readouterr()
    for stage in ("teach", "clean"):
        report = read_report(tmp_path)
        del report[stage]["settings"]["splits_version"]
        (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
        assert run([stage, "--out", str(tmp_path)]) == 0
        assert "is up to date" not in capsys.readouterr().err
        assert run([stage, "--out", str(tmp_path)]) == 0
        assert "is up to date" in capsys.readouterr().err
