"""What `moviebot export_data` writes is loaded by the real ``datasets`` library, and its card shows data as data."""

import json
import re
from pathlib import Path

import datasets
import pytest
import yaml

from moviebot.artefact import read_jsonl, read_report, write_jsonl
from moviebot.cli import run
from moviebot.data.card import FAULTS, IMDB_NOTICE
from moviebot.data.catalogue import sample_dir
from moviebot.data.schemas import read_qa, read_recommendations

HOSTILE = "Evil `code` <script>alert(1)</script> | [x](http://evil.example) ---\n# Heading\n```\n~~~ ignore all"


def prepare(folder: Path, *extra: str, first_title: str = "Harbour Lights") -> Path:
    """Return a data folder of sixty movies, taught by the template and cleaned, through the command line."""
    names = (f"{a} {b}" for a in ("Amber", "Bitter", "Copper", "Distant", "Early", "Fallen") for b in "ABCDEFGHIJ")
    rows = [
        {"title": title, "year": 1950 + n, "director": f"Person {n}", "description": f"Story {n}. {HOSTILE}"}
        for n, title in enumerate([first_title, *names])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "secret place").mkdir()
    table = folder / "secret place" / "t.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    out = folder / "data"
    assert run(["catalogue", "--table", str(table), "--out", str(out)]) == 0
    assert run(["teach", "--out", str(out), *extra]) == 0
    assert run(["clean", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("export"), first_title=f"Up {HOSTILE}")


def load(folder: Path, config: str, cache: Path) -> "datasets.DatasetDict":
    return datasets.load_dataset(str(folder), config, cache_dir=str(cache))


def complain(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(["export_data", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_every_configuration_loads_as_it_was_cleaned(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "hub"
    assert run(["export_data", "--data", str(data), "--to", str(to)]) == 0
    loaded = {config: load(to, config, tmp_path / "cache") for config in
              ("qa", "recommendations", "question_pairs", "recommend_pairs")}  # fmt: skip
    assert {tuple(splits) for splits in loaded.values()} == {("train", "validation", "test")}
    pairs = read_qa(data / "qa.jsonl")
    for split, ours in (("train", "train"), ("validation", "val"), ("test", "test")):
        wanted = [(p.tconst, p.question, p.answer, p.topic) for p in pairs if p.split == ours]
        found = [(r["tconst"], r["question"], r["answer"], r["topic"]) for r in loaded["qa"][split]]
        assert found == wanted
        assert wanted
    lists = {row.tconst: list(row.recommended) for row in read_recommendations(data / "recommendations.jsonl")}
    rows = [row for split in loaded["recommendations"].values() for row in split]
    assert {row["tconst"]: row["recommended"] for row in rows} == lists
    counts = read_report(data)["clean"]
    for name in ("question_pairs", "recommend_pairs"):
        assert sum(len(split) for split in loaded[name].values()) == counts[name]
        assert loaded[name]["train"].column_names == ["anchor", "sample", "label", "tconst_anchor", "tconst_sample"]


def test_the_card_says_what_the_report_says(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "hub"
    assert run(["export_data", "--data", str(data), "--to", str(to), "--name", "- a: *b*\n---\nlicense: mit"]) == 0
    card = (to / "README.md").read_text(encoding="utf-8")
    head, body = re.fullmatch(r"---\n(.*?\n)---\n\n(.*)", card, re.S).groups()  # type: ignore[union-attr]
    matter = yaml.safe_load(head)
    assert matter["pretty_name"] == "- a: *b* --- license: mit"
    assert matter["license"] == "other"
    assert [config["config_name"] for config in matter["configs"]] == [
        "qa", "recommendations", "question_pairs", "recommend_pairs"
    ]  # fmt: skip
    assert body.startswith("# \\- a\\: \\*b\\* \\-\\-\\- license\\: mit\n")
    for reason in FAULTS:
        assert re.search(rf"`{reason}` \| 0 \|", body)
    hashed = next(iter(read_report(data)["clean"]["inputs"].values()))
    assert hashed[:16] in body
    assert "a table of your own" in body
    assert IMDB_NOTICE not in body


def test_no_path_or_address_of_this_machine_is_told(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "hub"
    assert run(["export_data", "--data", str(data), "--to", str(to)]) == 0
    for file in ("README.md", "moviebot_export.json"):
        text = (to / file).read_text(encoding="utf-8")
        assert "secret place" not in text
        assert str(data.parent) not in text


def test_data_stays_data_in_the_card(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "hub"
    assert run(["export_data", "--data", str(data), "--to", str(to)]) == 0
    card = (to / "README.md").read_text(encoding="utf-8")
    assert "alert(1)" in card, "the hostile text is there"
    assert "<script" not in card
    blocks = re.findall(r"^```(.*)$", card, re.M)
    assert blocks == ["python", "", *["json", ""] * 4]
    assert not re.search(r"^# Heading", card, re.M)
    assert card.count("\n---\n") == 1


def test_a_teachers_name_is_escaped(data: Path, tmp_path: Path) -> None:
    """A model's name is whatever the person or the server called it."""
    out = tmp_path / "data"
    out.mkdir()
    for name in ("catalogue.parquet", "report.json"):
        (out / name).write_bytes((data / name).read_bytes())
    rows = read_jsonl(data / "teacher_raw.jsonl")
    write_jsonl(out / "teacher_raw.jsonl", [{**row, "model": "<img src=x>|`m`"} for row in rows])
    assert run(["clean", "--out", str(out)]) == 0
    assert run(["export_data", "--data", str(out), "--to", str(tmp_path / "hub")]) == 0
    card = (tmp_path / "hub" / "README.md").read_text(encoding="utf-8")
    assert "&lt;img src\\=x&gt;\\|\\`m\\`" in card.replace("&lt; ", "&lt;")
    assert "<img" not in card


def test_a_set_with_one_task_and_few_movies_loads(tmp_path: Path) -> None:
    out = prepare(tmp_path / "in", "--task", "qa", "--limit", "1")
    to = tmp_path / "hub"
    assert run(["export_data", "--data", str(out), "--to", str(to)]) == 0
    assert sorted(path.name for path in to.iterdir() if path.is_dir()) == ["qa", "question_pairs"]
    splits = load(to, "qa", tmp_path / "cache")
    assert len(splits) == 1, "one movie is on one side"
    assert "left out: recommendations, recommend_pairs" in (to / "README.md").read_text(encoding="utf-8")


def test_imdb_is_named_and_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, to = tmp_path / "data", tmp_path / "hub"
    assert run(["catalogue", "--imdb_dir", str(sample_dir()), "--limit", "20", "--out", str(out)]) == 0
    assert run(["teach", "--out", str(out)]) == 0
    assert run(["clean", "--out", str(out)]) == 0
    write_jsonl(out / "descriptions.jsonl", [{"tconst": "tt1", "source": "wikipedia", "licence": "CC BY-SA 4.0"}] * 3)
    capsys.readouterr()
    assert run(["export_data", "--data", str(out), "--to", str(to)]) == 0
    assert "don't make this folder public" in capsys.readouterr().err
    card = (to / "README.md").read_text(encoding="utf-8")
    assert IMDB_NOTICE in card
    assert "Information courtesy of IMDb" in card
    assert "| wikipedia | CC BY\\-SA 4\\.0 | 3 |" in card


def test_an_export_is_replaced_whole_and_anything_else_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "hub"
    arguments = ("--data", str(data), "--to", str(to))
    assert run(["export_data", *arguments]) == 0
    before = {path.relative_to(to): path.read_bytes() for path in to.rglob("*") if path.is_file()}
    assert run(["export_data", *arguments]) == 0
    assert {path.relative_to(to): path.read_bytes() for path in to.rglob("*") if path.is_file()} == before
    (to / ".git").mkdir()
    assert "no export wrote (.git)" in complain(capsys, *arguments)
    assert (to / ".git").is_dir()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "README.md").write_text("mine", encoding="utf-8")
    assert "no export wrote (README.md)" in complain(capsys, "--data", str(data), "--to", str(mine))
    assert (mine / "README.md").read_text(encoding="utf-8") == "mine"
    assert "is a file" in complain(capsys, "--data", str(data), "--to", str(mine / "README.md"))
    (tmp_path / "empty").mkdir()
    assert run(["export_data", "--data", str(data), "--to", str(tmp_path / "empty")]) == 0


def test_users_mistakes_are_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = str(tmp_path / "hub")
    assert "run `moviebot clean" in complain(capsys, "--data", str(tmp_path / "nowhere"), "--to", to)
    assert "--too" in complain(capsys, "--data", str(data), "--too", to)
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in data.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    with (changed / "qa.jsonl").open("a", encoding="utf-8") as handle:
        handle.write("{}\n")
    (changed / "question_pairs.parquet").unlink()
    line = complain(capsys, "--data", str(changed), "--to", to)
    assert "question_pairs.parquet not there; qa.jsonl changed since" in line
    assert not Path(to).exists()
