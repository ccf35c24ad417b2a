"""Samples, batches and their order. The tokenizer has one id a byte, so ids are read by eye."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from transformers import AutoTokenizer

from moviebot.artefact import write_jsonl
from moviebot.data.batching import LengthGroupedSampler, ResumableDataLoader, split_evenly
from moviebot.data.prompts import render_follow_up
from moviebot.data.qa_datamodule import MovieQADataModule
from moviebot.data.qa_sample import Sample, balance, join_questions, render_recommendation
from moviebot.data.schemas import Movie, RecommendationList, Split
from moviebot.data.tokenise import (
    IGNORE,
    collate_samples,
    encode_answer,
    encode_follow_up,
    encode_prompt,
    label_answers,
)
from moviebot.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")

EOS = 1


def make_data(folder: Path, base: Path, **settings: Any) -> MovieQADataModule:
    data = MovieQADataModule(data_dir=folder, tokenizer=str(base), **{"max_length": 1500, **settings})
    data.prepare_data()
    data.setup("fit")
    return data


class TestTokens:
    def test_only_the_answer_and_its_end_are_labels(self, tiny_llama: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
        a, b = tokenizer.convert_tokens_to_ids(["a", "b"])
        assert encode_prompt(tokenizer, "aab") == [a, a, b]
        assert encode_answer(tokenizer, " b ") == [b, EOS]
        batch = collate_samples(
            [label_answers([([a, a, b], [b, EOS])]), label_answers([([a], [a, b, b, EOS])])], pad_id=2
        )
        assert batch["input_ids"].tolist() == [[a, a, b, b, EOS], [a, a, b, b, EOS]]
        assert batch["labels"].tolist() == [[IGNORE, IGNORE, IGNORE, b, EOS], [IGNORE, a, b, b, EOS]]

    def test_end_is_a_label_where_it_is_also_the_filler(self) -> None:
        """SmolLM2's filler is its end token: a mask made from ids would hide the end from the loss."""
        batch = collate_samples([label_answers([([5], [7, EOS])]), label_answers([([6, 6, 6], [8, EOS])])], pad_id=EOS)
        assert batch["labels"].tolist() == [[IGNORE, IGNORE, IGNORE, 7, EOS], [IGNORE, IGNORE, IGNORE, 8, EOS]]
        assert batch["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]]

    def test_every_sample_ends_with_a_supervised_end(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        data = make_data(qa_data_dir, tiny_llama)
        data.packing = False
        batches = [*data.train_dataloader(), *data.val_dataloader(), *data.test_dataloader()]
        assert sum(len(batch["labels"]) for batch in batches) == 48
        for batch in batches:
            assert (batch["labels"][:, -1] == EOS).all()
            assert ((batch["labels"] == IGNORE) | (batch["labels"] == batch["input_ids"])).all()

    def test_packed_batches_hold_the_same_samples_without_padding(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        data = make_data(qa_data_dir, tiny_llama)
        wanted = sorted(row["input_ids"] for row in data.samples("val"))
        found = []
        for batch in data.val_dataloader():
            assert "attention_mask" not in batch  # transformers would let the samples see each other
            assert batch["input_ids"].shape == batch["labels"].shape == (1, sum(batch["segments"]))
            parts = [batch[name][0].split(batch["segments"]) for name in ("input_ids", "labels", "position_ids")]
            for ids, labels, positions in zip(*parts, strict=True):
                found.append(ids.tolist())
                assert positions.tolist() == list(range(len(ids)))
                assert labels[-1] == EOS
        assert sorted(found) == wanted

    def test_packing_takes_samples_as_they_come(self) -> None:
        """Sorting by length would save no padding, and make some batches much longer than others."""
        lengths = [1, 9] * 64
        sorted_pool, random_pool = (list(LengthGroupedSampler(lengths, 8, pool_batches=pool)) for pool in (16, 1))
        assert sorted(sorted_pool) == sorted(random_pool) == list(range(128))
        batches = [random_pool[start : start + 8] for start in range(0, 128, 8)]
        assert any(len({lengths[index] for index in batch}) == 2 for batch in batches)
        batches = [sorted_pool[start : start + 8] for start in range(0, 128, 8)]
        assert all(len({lengths[index] for index in batch}) == 1 for batch in batches)

    def test_a_resumed_epoch_wants_the_same_samples_in_the_same_order(
        self, tiny_llama: Path, qa_data_dir: Path
    ) -> None:
        data = make_data(qa_data_dir, tiny_llama)
        next(iter(data.train_dataloader()))
        state = data.state_dict()
        make_data(qa_data_dir, tiny_llama).load_state_dict(state)
        other = make_data(qa_data_dir, tiny_llama)
        other.batch_size = 3
        with pytest.raises(UserError, match=r"samples come in another order now .*batch_size was"):
            other.load_state_dict(state)


class TestSamples:
    def test_training_and_inference_tokenise_alike(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        data = make_data(qa_data_dir, tiny_llama)
        for row in data._datasets["train"]:
            assert row["prompt_ids"] == encode_prompt(data.tokenizer, row["prompt"])

    def test_splits_do_not_mix(self, tiny_llama: Path, qa_data_dir: Path, movies: list[Movie]) -> None:
        data = make_data(qa_data_dir, tiny_llama)
        rows = data.sample_rows("train", 100)
        assert len(rows) == 32
        unseen = [movie.title for movie in movies[8:]]
        assert not [row for row in rows if any(title in row["prompt"] for title in unseen)]

    def test_recommendation_offers_the_list_first_and_answers_its_movies_alone(self, movies: list[Movie]) -> None:
        by_id = {movie.tconst: movie for movie in movies}
        splits: dict[str, Split] = {movie.tconst: "train" if n < 9 else "test" for n, movie in enumerate(movies)}
        row = RecommendationList("tt0000003", ("tt0000004", "tt0000008"), "test", "train")
        sample = render_recommendation(row, by_id, splits)
        offered = sample.prompt.partition("### Input:\n")[2].partition("\n\n")[0].split("\n")
        assert offered[:2] == ["Night Ferry (1962)", "Salt and Thunder (2008)"]
        assert len(offered) == len(set(offered)) == 8  # the nine training movies but the seed
        assert sample.answer.split("\n") == offered[:2]  # never a distractor, though three are asked for
        assert "Harbour Lights (1954)" not in offered
        assert not {"Winter Wheat (2014)", "The Last Beekeeper (2017)", "Unfinished Maps"} & set(offered)
        assert sample == render_recommendation(row, by_id, splits)
        longer = replace(row, recommended=("tt0000004", "tt0000008", "tt0000001", "tt0000002"))
        sample = render_recommendation(longer, by_id, splits)
        assert sample.answer.split("\n") == [by_id[tconst].label for tconst in longer.recommended[:3]]

    def test_limit_balances_topics(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        rows = make_data(qa_data_dir, tiny_llama, limit_train=8).sample_rows("train", 100)
        groups = sorted(row["group"] for row in rows)
        assert groups == ["genre"] * 2 + ["rating"] * 2 + ["recommend"] * 2 + ["unanswerable"] * 2
        assert len({row["tconst"] for row in rows}) == 8  # each movie once, while there are enough
        rows = make_data(qa_data_dir, tiny_llama, limit_train=8, recommend_share=0.5).sample_rows("train", 100)
        assert sum(row["group"] == "recommend" for row in rows) == 4

    def test_balance_keeps_all_without_a_limit(self) -> None:
        assert balance([], None, None) == []

    def test_too_long_a_sample_loses_description_not_answer(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        whole = {row["question"]: row for row in make_data(qa_data_dir, tiny_llama).sample_rows("train", 100)}
        data = make_data(qa_data_dir, tiny_llama, max_length=430)
        rows = list(data._datasets["train"])
        cut = [row for row in rows if row["prompt"] != whole[row["question"]]["prompt"]]
        assert cut
        for row in rows:
            answer_ids = encode_answer(data.tokenizer, row["answer"])
            assert row["answer"] == whole[row["question"]]["answer"]
            assert row["input_ids"] == [*row["prompt_ids"], *answer_ids]
            assert row["labels"] == [*([IGNORE] * len(row["prompt_ids"])), *answer_ids]
            assert row["length"] == len(row["input_ids"]) == len(row["labels"]) <= 430
            assert row["prompt"].endswith("### Response:\n")

    def test_several_questions_share_the_facts(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        single = {row["question"]: row for row in make_data(qa_data_dir, tiny_llama)._datasets["train"]}
        data = make_data(qa_data_dir, tiny_llama, questions_per_sample=3)
        rows = list(data._datasets["train"])
        asked = 0
        for row in rows:
            first = single[row["question"]]
            ids = first["input_ids"]
            assert row["input_ids"][: len(ids)] == ids  # the first question stands as it would alone
            same = [other for other in single.values() if other["tconst"] == row["tconst"] and other["task"] == "qa"]
            found = {
                other["question"]: [
                    *encode_follow_up(data.tokenizer, render_follow_up(other["question"])),
                    *encode_answer(data.tokenizer, other["answer"]),
                ]
                for other in same
                if other is not first
            }
            rest = row["input_ids"][len(ids) :]
            followers = 0
            while rest:
                question = next(q for q, tokens in found.items() if rest[: len(tokens)] == tokens)
                rest = rest[len(found.pop(question)) :]
                followers += 1
            assert followers <= 2
            assert row["labels"].count(EOS) == 1 + followers  # every answer teaches to stop
            labelled = [label for label in row["labels"] if label != IGNORE]
            assert labelled[: len(ids) - len(row["prompt_ids"])] == ids[len(row["prompt_ids"]) :]
            asked += 1 + followers
        assert asked == len(single)  # each question once
        assert len(rows) < len(single)
        assert len(make_data(qa_data_dir, tiny_llama, questions_per_sample=3)._datasets["test"]) == 8

    def test_too_long_a_sample_loses_follow_ups_first(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        single = {row["question"]: row for row in make_data(qa_data_dir, tiny_llama)._datasets["train"]}
        longest = max(row["length"] for row in single.values())
        data = make_data(qa_data_dir, tiny_llama, questions_per_sample=3, max_length=longest)
        for row in data._datasets["train"]:
            assert row["input_ids"][: len(single[row["question"]]["input_ids"])] == single[row["question"]]["input_ids"]
            assert row["length"] <= longest

    def test_each_movie_comes_before_one_comes_again(self) -> None:
        questions = [
            Sample("qa", group, f"tt{movie}", f"{group} of {movie}", "p", group)
            for movie in range(6)
            for group in ("year", "genre", "cast", "plot", "unanswerable")
        ]
        questions += [replace(sample, question="2nd", answer="2nd unanswerable") for sample in questions[4::5]]
        joined = join_questions(questions, 3, limit=6, unanswerable_share=0.34)
        assert sorted(sample.tconst for sample in joined) == [f"tt{movie}" for movie in range(6)]
        for sample in joined:
            answers = [sample.answer, *(turn.answer for turn in sample.follow_ups)]
            assert len(answers) == len(set(answers)) == 3
            assert sum("unanswerable" in answer for answer in answers) == 1
        assert len({sample.group for sample in joined}) > 1  # not always the same kind first
        everything = join_questions(questions, 4, unanswerable_share=0.5)
        assert sum(1 + len(sample.follow_ups) for sample in everything) == len(questions)
        assert everything == join_questions(questions[::-1], 4, unanswerable_share=0.5)

    def test_descriptions_of_training_alone_are_cut(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        plain = make_data(qa_data_dir, tiny_llama)
        short = make_data(qa_data_dir, tiny_llama, train_description_words=2)
        descriptions = [re.findall("Description: (.*)", row["prompt"]) for row in short._datasets["train"]]
        assert {len(found[0].split()) for found in descriptions if found} == {2}
        assert plain._datasets["val"].to_list() == short._datasets["val"].to_list()

    def test_no_question_a_sample_is_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="questions_per_sample: 0 is not allowed"):
            MovieQADataModule(tmp_path, questions_per_sample=0)

    def test_nothing_left_is_one_line(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        with pytest.raises(UserError, match=r"no train sample \(32 were longer than .*max_length 50\)"):
            make_data(qa_data_dir, tiny_llama, max_length=50)

    def test_missing_artefact_is_one_line(self, tiny_llama: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"lacks catalogue.parquet, qa.jsonl, recommendations.jsonl"):
            make_data(tmp_path, tiny_llama)

    def test_cache_follows_the_artefacts(self, tiny_llama: Path, qa_data_dir: Path, tmp_path: Path) -> None:
        for file in qa_data_dir.iterdir():
            if file.is_file():
                (tmp_path / file.name).write_bytes(file.read_bytes())
        make_data(tmp_path, tiny_llama)
        make_data(tmp_path, tiny_llama)
        assert len(list((tmp_path / "cache").iterdir())) == 1
        rows = [json.loads(line) for line in (tmp_path / "qa.jsonl").read_text().splitlines()]
        write_jsonl(tmp_path / "qa.jsonl", [{**row, "answer": "Changed."} for row in rows])
        data = make_data(tmp_path, tiny_llama)
        assert {row["answer"] for row in data.sample_rows("train", 100) if row["task"] == "qa"} == {"Changed."}


class TestOrder:
    def test_batches_are_of_similar_length_and_epochs_differ(self) -> None:
        lengths = [(7 * n) % 100 for n in range(64)]
        sampler = LengthGroupedSampler(lengths, batch_size=4)
        first = list(sampler)
        assert sorted(first) == list(range(64))
        assert list(sampler) == first
        spreads = [max(c) - min(c) for c in ([lengths[i] for i in first[b : b + 4]] for b in range(0, 64, 4))]
        assert max(spreads) <= 10
        sampler.set_epoch(1)
        assert list(sampler) != first

    def test_loader_goes_on_amid_an_epoch(self) -> None:
        loader = ResumableDataLoader(list(range(10)), batch_size=2)  # type: ignore[arg-type]
        batches = [batch.tolist() for batch in loader]
        running = iter(loader)
        next(running), next(running)
        other = ResumableDataLoader(list(range(10)), batch_size=2)  # type: ignore[arg-type]
        other.load_state_dict(loader.state_dict())
        assert [batch.tolist() for batch in other] == batches[2:]
        assert [batch.tolist() for batch in other] == batches  # the next epoch is whole

    @pytest.mark.parametrize("world_size", [1, 2, 3])
    @pytest.mark.parametrize("count", [24, 25, 27, 29, 64])
    def test_processes_share_the_samples(self, count: int, world_size: int) -> None:
        lengths = [(7 * n) % 100 for n in range(count)]
        seen: list[int] = []
        batches: set[int] = set()
        for rank in range(world_size):
            sampler = LengthGroupedSampler(lengths, 4, rank=rank, world_size=world_size)
            mine = list(sampler)
            assert len(mine) == len(sampler)
            seen += mine
            batches.add(-(-len(mine) // 4))
        assert len(batches) == 1  # a process with a batch less would leave the others waiting
        assert len(seen) == len(set(seen))
        left_out = count % (4 * world_size)
        assert set(range(count)) >= set(seen)
        assert len(seen) == count - (left_out if left_out < world_size else 0)

    @pytest.mark.parametrize("world_size", [1, 2, 3, 8])
    def test_processes_share_what_is_measured(self, world_size: int) -> None:
        for count in range(world_size, 40):
            for wanted in (1, 2, 4, 8):
                parts = [split_evenly(count, wanted, rank, world_size) for rank in range(world_size)]
                assert sorted(place for places, _ in parts for place in places) == list(range(count))
                assert len({-(-len(places) // size) for places, size in parts}) == 1
                assert all(size <= wanted + 4 for _, size in parts)

    def test_loaders_are_the_processs_own(self, tiny_llama: Path, qa_data_dir: Path) -> None:
        """The data module reads the rank from the trainer, and a loader's place means the same on each rank."""
        questions: dict[str, list[str]] = {"train": [], "val": [], "predict": []}
        places = set()
        whole = make_data(qa_data_dir, tiny_llama, batch_size=3)
        for rank in range(2):
            data = make_data(qa_data_dir, tiny_llama, batch_size=3)
            data.trainer = cast(Any, SimpleNamespace(global_rank=rank, world_size=2))
            train = data.train_dataloader()
            rows = cast(Any, train.dataset)
            questions["train"] += [rows[index]["prompt"] for index in cast(Any, train.sampler)]
            for _ in train:
                pass
            places.add((len(train), data.state_dict()["batches_seen"]))
            questions["val"] += cast(Any, data.val_dataloader().dataset)["prompt"]
            questions["predict"] += [row["prompt"] for batch in data.predict_dataloader() for row in batch["rows"]]
        assert places == {(6, 6)}  # 32 samples: 5 steps of 6, and one of the last 2
        assert sorted(questions["train"]) == sorted(whole._datasets["train"]["prompt"])
        assert sorted(questions["val"]) == sorted(whole._datasets["val"]["prompt"])
        assert sorted(questions["predict"]) == sorted(whole._datasets["test"]["prompt"])
