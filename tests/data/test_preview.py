"""`moviebot preview` through the command line: a good set passes, and each kind of damage is named and exits with 1."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from moviebot.artefact import hash_path, read_jsonl, write_jsonl
from moviebot.cli import run
from moviebot.data.preview import mark_sample
from moviebot.data.preview_checks import KINDS
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.schemas import read_catalogue, write_catalogue
from moviebot.data.tokenise import IGNORE

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
    # Lightning 2.6.6 calls jsonargparse 4.53 by names that 5.0 will drop.
    pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / "configs/llm/smollm2_135m_qlora.yaml")
EOS = 1
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def bare_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["moviebot"])


@pytest.fixture
def data(qa_data_dir: Path, tmp_path: Path) -> Path:
    """A copy of the good set's artefacts."""
    folder = tmp_path / "data"
    folder.mkdir()
    for file in qa_data_dir.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def preview(
    data: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, list[str]]]:
    """Preview the data; return the exit code, what was printed, and the lines of complaint."""

    def call(*flags: str) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        code = run(["preview", "--data", str(data), "--base", str(tiny_llama), *flags])
        captured = capsys.readouterr()
        return code, captured.out, [line for line in captured.err.splitlines() if line.startswith("moviebot:")]

    return call


def kinds_of(text: str, severity: str) -> set[str]:
    return set(re.findall(rf"^{severity} (\w+) ", text, re.MULTILINE))


def damage_cache(data: Path, base: Path, damage: Callable[[Row], None]) -> None:
    """Alter the first question of the cached training samples."""
    module = MovieQADataModule(data, str(base))
    module.prepare_data()
    (cache,) = (data / "cache").iterdir()
    rows = datasets.load_from_disk(str(cache / "train")).to_list()
    damage(next(row for row in rows if row["task"] == "qa"))
    datasets.Dataset.from_list(rows).save_to_disk(str(cache / "other"))
    for file in (cache / "train").iterdir():
        file.unlink()
    (cache / "train").rmdir()
    (cache / "other").rename(cache / "train")


def add_row(data: Path, name: str, row: Row, **changes: object) -> None:
    write_jsonl(data / name, [*read_jsonl(data / name), {**row, **changes}])


def first_row(data: Path, name: str, split: str) -> Row:
    return next(row for row in read_jsonl(data / name) if row["split"] == split)


class TestGoodSet:
    def test_passes_and_shows_what_is_supervised(self, preview: Callable[..., Any], data: Path) -> None:
        code, text, complaints = preview("--n", "2")
        assert (code, complaints) == (0, [])
        assert "No problem found" in text
        assert text.count("Sample ") == 4  # two of each task
        shown = re.findall("⟦(.*?)⟧", text, re.DOTALL)
        assert len(shown) == 4
        assert all(answer.endswith("</s>") for answer in shown)
        answers = {row["answer"] for row in read_jsonl(data / "qa.jsonl")}
        assert {answer.removesuffix("</s>") for answer in shown} & answers
        assert re.search(r"│ samples +│ +32 │ +8 │ +8 │", text)
        assert re.search(r"│ +recommendations +│ +8 │ +2 │ +2 │", text)

    def test_nothing_but_the_cache_is_written(self, preview: Callable[..., Any], data: Path) -> None:
        before = {path.name: hash_path(path) for path in data.iterdir()}
        preview()
        after = {path.name: hash_path(path) for path in data.iterdir()}
        cache = after.pop("cache")
        assert after == before
        preview()
        assert hash_path(data / "cache") == cache

    def test_several_turns_are_read(self, preview: Callable[..., Any], data: Path, tiny_llama: Path) -> None:
        settings = [f"--model.init_args.base={tiny_llama}", "--data.init_args.max_length=1500"]
        code, text, _ = preview("--config", CONFIG, *settings, "--data.init_args.limit_train=100", "--n", "8")
        assert code == 0
        assert re.search(r"│ turns \(questions asked in them\) +│ +29 │ +8 │ +8 │", text)  # 24, and 5 lists
        assert text.count("⟧\n\n### Instruction:") == 8 * 2  # three questions about each of eight movies

    def test_text_from_data_can_not_command_the_terminal(self, preview: Callable[..., Any], data: Path) -> None:
        rows = [{**row, "answer": f"\x1b[2J[red]{row['tconst']} \u202ex."} for row in read_jsonl(data / "qa.jsonl")]
        write_jsonl(data / "qa.jsonl", rows)
        code, text, _ = preview("--n", "9")
        assert code == 0
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "⟦\\x1b[2J[red]tt" in text


TOKENS: dict[str, Callable[[Row], None]] = {
    "misaligned": lambda row: row["labels"].__setitem__(-2, row["labels"][-2] + 1),
    "text_differs": lambda row: cut(row, 4, 9),
    "too_long": lambda row: insert(row, 5, row["prompt_ids"][5:6] * 2000, masked=True),
    "nothing_supervised": lambda row: row.update(labels=[IGNORE] * row["length"]),
    "end_masked": lambda row: row["labels"].__setitem__(-1, IGNORE),
    "no_end": lambda row: cut(row, row["length"] - 1, row["length"]),
    "empty_answer": lambda row: cut(row, len(row["prompt_ids"]), row["length"] - 1),
    "special_in_prompt": lambda row: insert(row, 30, [EOS], masked=True),
    "special_in_answer": lambda row: insert(row, row["length"] - 3, [EOS], masked=False),
}


def cut(row: Row, start: int, end: int) -> None:
    row.update(
        input_ids=row["input_ids"][:start] + row["input_ids"][end:],
        labels=row["labels"][:start] + row["labels"][end:],
        length=row["length"] - (end - start),
    )


def insert(row: Row, place: int, ids: list[int], *, masked: bool) -> None:
    labels = [IGNORE] * len(ids) if masked else ids
    row.update(
        input_ids=[*row["input_ids"][:place], *ids, *row["input_ids"][place:]],
        labels=[*row["labels"][:place], *labels, *row["labels"][place:]],
        length=row["length"] + len(ids),
    )


class TestBadTokens:
    @pytest.mark.parametrize("kind", TOKENS)
    def test_are_named(self, kind: str, preview: Callable[..., Any], data: Path, tiny_llama: Path) -> None:
        damage_cache(data, tiny_llama, TOKENS[kind])
        code, text, complaints = preview()
        assert code == 1
        assert complaints == [f"moviebot: {data} holds a bad set: {kind} 1; mend it before training"]
        assert kinds_of(text, "BAD") == {kind}
        assert kinds_of(text, "WARNING") == set()
        assert f"BAD {kind} 1 samples (train 1) {KINDS[kind].meaning}." in text
        assert f"what to do: {KINDS[kind].advice}" in text

    def test_a_wrong_length_is_misaligned(self, preview: Callable[..., Any], data: Path, tiny_llama: Path) -> None:
        damage_cache(data, tiny_llama, lambda row: row.update(length=row["length"] + 1))
        assert kinds_of(preview()[1], "BAD") == {"misaligned"}

    def test_a_masked_end_amid_several_turns_is_found_once(
        self, preview: Callable[..., Any], data: Path, tiny_llama: Path
    ) -> None:
        """As masks made from a padding token's id do it where that is the end token: every end is lost."""

        def mask_ends(row: Row) -> None:
            ids = [*row["input_ids"], *row["prompt_ids"][-20:], *row["input_ids"][-4:]]
            labels = [*row["labels"], *([IGNORE] * 20), *row["labels"][-4:]]
            labels = [IGNORE if token == EOS else label for token, label in zip(ids, labels, strict=True)]
            row.update(input_ids=ids, labels=labels, length=len(ids))

        damage_cache(data, tiny_llama, mask_ends)
        assert kinds_of(preview()[1], "BAD") == {"end_masked"}


class TestBadSets:
    def test_contradiction(self, preview: Callable[..., Any], data: Path) -> None:
        row = first_row(data, "qa.jsonl", "train")
        add_row(data, "qa.jsonl", row, question=row["question"].upper(), answer="It is a Western.")
        self.expect("contradiction", preview)

    def test_movie_on_two_sides(self, preview: Callable[..., Any], data: Path) -> None:
        row = first_row(data, "qa.jsonl", "train")
        add_row(data, "qa.jsonl", row, question="Which films are like it?", split="test")
        text = self.expect("movie_on_two_sides", preview)
        assert f"for example {row['tconst']} is in train, test" in text

    def test_question_of_later_side(self, preview: Callable[..., Any], data: Path) -> None:
        row = first_row(data, "qa.jsonl", "train")
        add_row(data, "qa.jsonl", row, question=first_row(data, "qa.jsonl", "test")["question"])
        self.expect("question_of_later_side", preview)

    def test_candidate_of_later_side(self, preview: Callable[..., Any], data: Path) -> None:
        rows = read_jsonl(data / "recommendations.jsonl")
        later = first_row(data, "recommendations.jsonl", "test")["tconst"]
        rows[0]["recommended"].append(later)
        write_jsonl(data / "recommendations.jsonl", rows)
        text = self.expect("candidate_of_later_side", preview)
        assert "The Last Beekeeper (2017)" in text

    def test_val_may_show_train_but_not_test(self, preview: Callable[..., Any], data: Path) -> None:
        rows = read_jsonl(data / "recommendations.jsonl")
        row = next(row for row in rows if row["split"] == "val")
        row["recommended"][0] = first_row(data, "recommendations.jsonl", "test")["tconst"]
        write_jsonl(data / "recommendations.jsonl", rows)
        assert "(val 1)" in self.expect("candidate_of_later_side", preview)

    @staticmethod
    def expect(kind: str, preview: Callable[..., Any]) -> str:
        code, text, complaints = preview()
        assert code == 1
        assert len(complaints) == 1
        assert f"bad set: {kind} " in complaints[0]
        assert kinds_of(text, "BAD") == {kind}
        return str(text)


class TestWarnings:
    """They are shown, and the set passes."""

    def test_duplicate(self, preview: Callable[..., Any], data: Path) -> None:
        add_row(data, "qa.jsonl", first_row(data, "qa.jsonl", "train"))
        self.expect("duplicate", *preview())

    def test_mention_of_later_side(self, preview: Callable[..., Any], data: Path) -> None:
        movies = read_catalogue(data / "catalogue.parquet")
        object.__setattr__(movies[0], "description", "After The Last Beekeeper (2017), a quieter story (2018).")
        write_catalogue(data / "catalogue.parquet", movies)
        self.expect("mention_of_later_side", *preview())

    def test_dropped_and_cut(self, preview: Callable[..., Any], data: Path, tiny_llama: Path) -> None:
        flags = ["--config", CONFIG, f"--model.init_args.base={tiny_llama}", "--data.init_args.questions_per_sample=1"]
        text = self.expect("cut", *preview(*flags, "--data.init_args.max_length=400", "--data.init_args.seed=1"))
        assert kinds_of(text, "WARNING") == {"cut", "dropped"}

    def test_unknown_token(self, preview: Callable[..., Any], data: Path, tiny_llama: Path, tmp_path: Path) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers

        known = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"Q"})
        vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2} | {char: n for n, char in enumerate(known, start=3)}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
        PreTrainedTokenizerFast(tokenizer_object=backend, **special).save_pretrained(tmp_path / "unk")
        row = first_row(data, "qa.jsonl", "train")
        add_row(data, "qa.jsonl", row, question="What of the Queen?", answer="The Queen reigns.")
        text = self.expect("unknown_token", *preview("--base", str(tmp_path / "unk")))
        assert "WARNING unknown_token 1 samples" in text

    @staticmethod
    def expect(kind: str, code: int, text: str, complaints: list[str]) -> str:
        assert (code, complaints) == (0, [])
        assert kind in kinds_of(text, "WARNING")
        assert kinds_of(text, "BAD") == set()
        return text


def test_every_kind_has_its_test() -> None:
    named = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in KINDS if f'"{kind}"' not in named] == []


class TestConfigs:
    def test_the_later_wins(self, preview: Callable[..., Any], tiny_llama: Path, tmp_path: Path) -> None:
        overlay = tmp_path / "overlay.yaml"
        values = {"max_length": 1500, "limit_train": 5, "limit_test": 3, "questions_per_sample": 1}
        overlay.write_text(
            yaml.safe_dump({"model": {"init_args": {"base": str(tiny_llama)}}, "data": {"init_args": values}})
        )
        gpu = str(ROOT / "configs/hardware/h100.yaml")  # is previewed on any machine
        code, text, _ = preview("--config", CONFIG, "--config", gpu, f"--config={overlay}")
        assert code == 0
        assert re.search(r"│ samples +│ +5 │ +8 │ +3 │", text)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ([], "give --config FILE, as for `moviebot fit`, or --data DIR"),
            (["--data", "x", "--n", "-1"], "--n -1: give 0 or more"),
            (["--data", "x"], "x lacks catalogue.parquet"),
            (["--data", "x", "--data.init_args.seed=1"], "belongs to a config: give --config too"),
            (["--config", CONFIG, "--data.init_args.sed=1"], "sed is no setting.*seed"),
            (["--config"], "--config is given no value"),
            (["--config", str(ROOT / "configs/retriever/question_minilm.yaml")], "which has no prompts"),
            (["--config", "nowhere.yaml"], "nowhere.yaml"),
        ],
    )
    def test_a_mistake_is_one_line(
        self,
        arguments: list[str],
        message: str,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert run(["preview", *arguments]) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("moviebot:")]
        assert len(lines) == 1
        assert re.search(message, lines[0])
        assert list(tmp_path.iterdir()) == []


def test_marks_stand_without_colour(tiny_llama: Path) -> None:
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_llama)
    ids = [*tokenizer("ab", add_special_tokens=False)["input_ids"], EOS]
    text = mark_sample(ids, [IGNORE, *ids[1:]], tokenizer)
    assert text.plain == "a⟦b</s>⟧"
    assert [str(span.style) for span in text.spans] == ["dim", "bold green"]
