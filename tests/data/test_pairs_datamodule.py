"""What the datamodule reads, what its loaders hold, and what it says of broken artefacts."""

import shutil
from pathlib import Path

import pytest
import torch

from moviebot.artefact import write_jsonl
from moviebot.data.documents import movie_text
from moviebot.data.pairs_datamodule import MoviePairsDataModule, limit_pairs, read_pairs
from moviebot.data.schemas import SPLITS, Movie, Split, write_catalogue
from moviebot.errors import UserError


def open_data(folder: Path, stage: str = "fit", task: str = "question", **settings: object) -> MoviePairsDataModule:
    data = MoviePairsDataModule(str(folder), task, **settings)  # type: ignore[arg-type]
    data.setup(stage)
    return data


def test_init_reads_nothing() -> None:
    assert MoviePairsDataModule("/nowhere", "question").movies == []


def test_in_batch_trains_on_positives_and_labelled_on_all(pairs_dir: Path) -> None:
    positives = list(open_data(pairs_dir, batch_size=4).train_dataloader())
    assert all(batch.labels.all() for batch in positives)
    labelled = torch.cat([batch.labels for batch in open_data(pairs_dir, negatives="labelled").train_dataloader()])
    assert labelled.tolist().count(1) == labelled.tolist().count(0) == 24


def test_only_train_movies_are_trained_on(pairs_dir: Path, movies: list[Movie]) -> None:
    unseen = [movie.label for movie in movies[8:]]
    for task in ("question", "recommend"):
        data = open_data(pairs_dir, task=task, batch_size=4, hard_negatives=True)
        texts = [text for batch in data.train_dataloader() for text in (*batch.anchors, *batch.samples)]
        assert texts
        assert not [text for text in texts if any(title in text for title in unseen)]


def test_hard_negatives_are_the_remake_and_near_spellings(pairs_dir: Path) -> None:
    data = open_data(pairs_dir, batch_size=8, hard_negatives=True)
    (part,) = data._build_parts(data.rows["train"])
    found = {data.documents[int(tconst[2:]) - 1]: {row.sample for row in rows} for tconst, rows in part.rivals.items()}
    assert found == {
        "The Red Lantern (1931)": {"The Red Lantern (1987)"},
        "The Red Lantern (1987)": {"The Red Lantern (1931)"},
    }
    assert any((batch.labels == 0).any() for batch in data.train_dataloader())


@pytest.mark.slow
def test_mined_negatives_are_training_movies_other_than_the_movie(pairs_dir: Path, movies: list[Movie]) -> None:
    data = open_data(pairs_dir, batch_size=8, mined_negatives=3, hard_negatives_drawn=2)
    (part,) = data._build_parts(data.rows["train"])
    assert len(part.rivals) == 8
    for tconst, rows in part.rivals.items():
        assert 1 <= len(rows) <= 3
        assert tconst not in {row.tconst_sample for row in rows}
        assert {row.tconst_sample for row in rows} <= {movie.tconst for movie in movies[:8]}
    moons = {row.sample for row in part.rivals["tt0000006"]}
    assert "Return to Paper Moons (2003)" in moons


def test_typos_are_drawn_anew_in_the_title_alone(pairs_dir: Path, movies: list[Movie]) -> None:
    data = open_data(pairs_dir, batch_size=8, typo_share=0.5)
    loader = data.train_dataloader()
    written = {row.anchor for row in data.rows["train"]}
    typed = []
    for epoch in range(4):
        loader.set_epoch(epoch)  # type: ignore[union-attr]
        typed.append([anchor for batch in loader for anchor in batch.anchors])
    misspelt = [[anchor for anchor in anchors if anchor not in written] for anchors in typed]
    assert 0.3 < sum(map(len, misspelt)) / sum(map(len, typed)) < 0.7
    assert not set(misspelt[0]) & set(misspelt[1])
    assert all(anchor.startswith(("who directed ", "how long is ", "What year did ")) for anchor in misspelt[0])
    clean = open_data(pairs_dir, batch_size=8)
    assert {anchor for batch in clean.train_dataloader() for anchor in batch.anchors} <= written


def test_validation_is_misspelt_as_well_and_the_test_is_not(pairs_dir: Path) -> None:
    def asked(split: Split) -> list[str]:
        data = open_data(pairs_dir, "validate" if split == "val" else "test", typo_share=0.5)
        queries = (data.val_dataloader() if split == "val" else data.test_dataloader())[1]
        return sorted(text for batch in queries for text in batch.texts)

    path = pairs_dir / "question_pairs.parquet"
    written = {split: sorted({row.anchor for row in read_pairs(path, split) if row.label}) for split in SPLITS}
    assert asked("test") == written["test"]
    assert asked("val") == asked("val") != written["val"]
    assert len(asked("val")) == len(written["val"])


def test_settings_that_do_nothing_or_harm_are_refused_at_once(pairs_dir: Path) -> None:
    with pytest.raises(UserError, match=r"typo_share=1\.5: give 0 to 1; hard_negatives_drawn=0: give 1 or more"):
        open_data(pairs_dir, typo_share=1.5, hard_negatives_drawn=0)
    with pytest.raises(UserError, match="described_pairs goes with task=question alone"):
        open_data(pairs_dir, task="recommend", described_pairs=4)
    with pytest.raises(UserError, match="mined_negatives goes with negatives=in_batch alone"):
        open_data(pairs_dir, negatives="labelled", mined_negatives=4)


def test_described_pairs_are_batches_of_their_own_of_training_movies(pairs_dir: Path, movies: list[Movie]) -> None:
    data = open_data(pairs_dir, batch_size=4, described_pairs=100)
    labels = {movie.label for movie in movies}
    texts = {movie_text(movie).partition(" (")[0] for movie in movies[:8]}
    plots = [batch for batch in data.train_dataloader() if not set(batch.samples) <= labels]
    assert len(plots) == 2
    for batch in plots:
        assert not set(batch.samples) & labels
        assert all(any(sample.startswith(title) for title in texts) for sample in batch.samples)
        assert all("In " not in anchor or movies[0].title not in anchor for anchor in batch.anchors)


def test_another_sources_text_is_what_is_told(tmp_path: Path, pairs_dir: Path, movies: list[Movie]) -> None:
    shutil.copytree(pairs_dir, tmp_path, dirs_exist_ok=True)
    told = "A mason carves a hidden door, and nobody in the harbour remembers who asked him to."
    rows = [
        {
            "tconst": movie.tconst,
            "description": told,
            "source": "elsewhere",
            "retrieved_at": "2026-01-01T00:00:00+00:00",
        }
        for movie in movies
    ]
    write_jsonl(tmp_path / "descriptions.jsonl", rows)
    data = open_data(tmp_path, batch_size=4, described_pairs=100)
    batches = list(data.train_dataloader())
    anchors = [anchor for batch in batches for anchor in batch.anchors]
    assert any("mason" in anchor or "harbour remembers" in anchor for anchor in anchors)
    whole = {movie_text(movie) for movie in movies}
    for batch in batches:
        for anchor, sample in zip(batch.anchors, batch.samples, strict=True):
            assert "mason" not in anchor or sample in whole, "nothing of the text is told, so nothing is left out"


def test_evaluation_ranks_the_whole_catalogue(pairs_dir: Path, movies: list[Movie]) -> None:
    documents, queries, pairs = open_data(pairs_dir).val_dataloader()
    assert sorted(text for batch in documents for text in batch.texts) == sorted(movie.label for movie in movies)
    assert sum(len(batch.texts) for batch in queries) == 6
    for batch in queries:
        for text, relevant, own in zip(batch.texts, batch.relevant, batch.own, strict=True):
            assert movies[int(relevant[0])].label in text
            assert own == -1
    assert sum(len(batch.anchors) for batch in pairs) == 12


def test_recommend_queries_leave_themselves_out(pairs_dir: Path, movies: list[Movie]) -> None:
    _, queries, _ = open_data(pairs_dir, "test", "recommend").test_dataloader()
    (batch,) = queries.batches
    assert len(batch.texts) == 2
    for text, relevant, own in zip(batch.texts, batch.relevant, batch.own, strict=True):
        assert text.startswith(movies[int(own)].label)
        assert own not in relevant


def test_movies_that_read_the_same_are_one_document(tmp_path: Path, pairs_dir: Path, movies: list[Movie]) -> None:
    twin = Movie("tt9999999", movies[8].title, year=movies[8].year)
    shutil.copytree(pairs_dir, tmp_path, dirs_exist_ok=True)
    write_catalogue(tmp_path / "catalogue.parquet", [twin, *movies])
    documents, queries, _ = open_data(tmp_path).val_dataloader()
    texts = [text for batch in documents for text in batch.texts]
    assert len(texts) == len(set(texts)) == len(movies)
    numbers = {int(n) for batch in documents for n in batch.groups}
    assert all(int(n) in numbers for batch in queries for n in batch.relevant.flatten())


def test_max_documents_keeps_the_right_ones(pairs_dir: Path) -> None:
    documents, queries, _ = open_data(pairs_dir, max_documents=4).val_dataloader()
    numbers = {int(n) for batch in documents for n in batch.groups}
    assert len(numbers) == 4
    assert {int(n) for batch in queries for n in batch.relevant.flatten()} <= numbers


def test_predict_gives_the_catalogue_in_order(pairs_dir: Path, movies: list[Movie]) -> None:
    batches = open_data(pairs_dir, "predict", eval_batch_size=5).predict_dataloader()
    assert [text for batch in batches for text in batch.texts] == [movie.label for movie in movies]
    assert [int(n) for batch in batches for n in batch.groups] == list(range(len(movies)))


def test_limit_keeps_the_negatives_of_the_kept_anchors(pairs_dir: Path) -> None:
    rows = read_pairs(pairs_dir / "question_pairs.parquet", "train")
    kept = limit_pairs(rows, 5, seed=0)
    assert [row.label for row in kept].count(1) == 5
    assert {row.anchor for row in kept if row.label == 0} == {row.anchor for row in kept if row.label == 1}
    assert limit_pairs(rows, 5, seed=0) == kept != limit_pairs(rows, 5, seed=1)


def test_a_limit_hides_no_right_answer(pairs_dir: Path) -> None:
    """Each movie is recommended two: a limit that leaves one out makes it neither a negative nor a miss."""
    path = pairs_dir / "recommend_pairs.parquet"
    right = {(row.anchor, row.sample) for row in read_pairs(path, "train") if row.label}
    data = open_data(pairs_dir, task="recommend", batch_size=5, limit_train=9)
    assert len(data.rows["train"]) < len(read_pairs(path, "train"))
    cases = hidden = 0
    for epoch in range(5):
        loader = data.train_dataloader()
        loader.set_epoch(epoch)  # type: ignore[union-attr]
        for batch in loader:
            for line, anchor in enumerate(batch.anchors):
                for column, sample in enumerate(batch.samples):
                    if line != column and (anchor, sample) in right:
                        cases += 1
                        hidden += bool(batch.excluded[line, column])
    assert cases == hidden > 0
    (query,) = open_data(pairs_dir, task="recommend", limit_train=1)._build_eval_loaders("train")[1]
    assert len(query.texts) == 1
    assert query.relevant.shape == (1, 2), "validation's gold, on the split whose movies are recommended two"


def test_absent_and_broken_artefacts_are_named(tmp_path: Path, movies: list[Movie]) -> None:
    with pytest.raises(UserError, match=r"catalogue\.parquet is not there: run `moviebot catalogue"):
        open_data(tmp_path)
    write_catalogue(tmp_path / "catalogue.parquet", movies)
    with pytest.raises(UserError, match=r"question_pairs\.parquet is not there: run `moviebot clean"):
        open_data(tmp_path)
    (tmp_path / "question_pairs.parquet").write_bytes(b"PAR1 cut short")
    with pytest.raises(UserError, match="not a whole Parquet file"):
        open_data(tmp_path)
    shutil.copy(tmp_path / "catalogue.parquet", tmp_path / "question_pairs.parquet")
    with pytest.raises(UserError, match=r"lacks the column\(s\) anchor, sample, label"):
        open_data(tmp_path)


def test_a_split_without_positives_is_named(tmp_path: Path, pairs_dir: Path) -> None:
    import pyarrow.parquet as pq

    shutil.copy(pairs_dir / "catalogue.parquet", tmp_path)
    table = pq.read_table(pairs_dir / "question_pairs.parquet")
    keep = [split != "val" for split in table.column("split").to_pylist()]
    pq.write_table(table.filter(keep), tmp_path / "question_pairs.parquet")
    with pytest.raises(UserError, match="no positive pair of the split val"):
        open_data(tmp_path)
