"""The training batches: no movie twice, no false negatives, the same again when resumed."""

import random
from itertools import islice

import pytest

from moviebot.data.pair_batch import PairPart, PairRow, TrainLoader, collate_pairs, plan_labelled, plan_unique
from moviebot.errors import UserError


def ask(movie: int, wording: int = 0, *, label: int = 1, about: int | None = None) -> PairRow:
    sample = movie if about is None else about
    return PairRow(f"question {wording} about {movie}", f"title {sample}", label, f"tt{movie}", f"tt{sample}")


QUESTIONS = [ask(movie, wording) for movie in range(20) for wording in range(5)]
POSITIVES = {f"tt{movie}": {f"tt{movie}"} for movie in range(20)}


def test_no_movie_is_twice_in_a_batch() -> None:
    plan = plan_unique(QUESTIONS, 8, "0:0")
    assert len(plan) == len(QUESTIONS) // 8
    assert sum(map(len, plan)) >= 0.9 * len(QUESTIONS)
    for batch in plan:
        assert len({row.tconst_anchor for row in batch}) == len(batch)
    assert any(len({row.tconst_anchor for row in batch}) < len(batch) for batch in plan_labelled(QUESTIONS, 8, "0:0"))


@pytest.mark.parametrize("rows", [QUESTIONS[:1], QUESTIONS[:5], QUESTIONS[:12], QUESTIONS])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_plan_has_the_announced_length_and_no_empty_batch(rows: list[PairRow], batch_size: int) -> None:
    loader = TrainLoader([PairPart(rows)], POSITIVES, batch_size, unique=True)
    sizes = [len(batch.anchors) for batch in loader]
    assert len(sizes) == len(loader)
    assert all(1 <= size <= batch_size for size in sizes)


def test_labelled_plan_holds_each_row_once() -> None:
    rows = [*QUESTIONS, *(ask(movie, label=0, about=movie + 1) for movie in range(10))]
    plan = plan_labelled(rows, 32, "0:0")
    assert sorted(row for batch in plan for row in batch) == sorted(rows)


def test_a_movie_is_never_its_own_negative() -> None:
    """Two questions about movie 1, one about movie 2, and a seed (3) whose list holds movie 1."""
    rows = [ask(1, 0), ask(1, 1), ask(2), PairRow("movie 3", "title 4", 1, "tt3", "tt4")]
    batch = collate_pairs(rows, {"tt1": {"tt1"}, "tt2": {"tt2"}, "tt3": {"tt4", "tt1"}})
    assert batch.excluded.int().tolist() == [
        [1, 1, 0, 0],  # the other question's title is this movie's too
        [1, 1, 0, 0],
        [0, 0, 1, 0],
        [1, 1, 0, 1],  # movie 1 is recommended for movie 3 as well
    ]


def test_the_seed_movie_and_a_same_named_movie_are_no_negatives() -> None:
    rows = [PairRow("movie 5", "title 6", 1, "tt5", "tt6"), PairRow("movie 7", "title 5", 1, "tt7", "tt5")]
    assert collate_pairs(rows, {"tt5": {"tt6"}, "tt7": {"tt5"}}).excluded[0].tolist() == [True, True]
    twins = [PairRow("q1", "Twins (1988)", 1, "tt8", "tt8"), PairRow("q2", "Twins (1988)", 1, "tt9", "tt9")]
    assert collate_pairs(twins, {"tt8": {"tt8"}, "tt9": {"tt9"}}).excluded.all()


def test_rivals_join_the_batch_unless_they_are_right() -> None:
    rivals = {"tt1": [PairRow("", f"title {number}", 0, "tt1", f"tt{number}") for number in (2, 4, 5)]}
    (batch,) = TrainLoader([PairPart([ask(1), ask(3)], None, rivals, 2)], POSITIVES, 2, unique=True)
    assert batch.labels.tolist() == [1, 1, 0, 0]
    assert set(batch.samples[2:]) < {"title 2", "title 4", "title 5"}
    assert set(batch.anchors[2:]) == {"question 0 about 1"}, "no text is encoded for nothing"
    row = batch.anchors.index("question 0 about 1")
    assert not batch.excluded[row, 2:].any()


def test_rivals_and_texts_are_drawn_anew_each_epoch_and_the_same_again() -> None:
    rivals = {
        f"tt{n}": [PairRow("", f"title {m}", 0, f"tt{n}", f"tt{m}") for m in range(20) if m != n] for n in range(20)
    }
    part = PairPart(QUESTIONS, lambda row, rng: row._replace(anchor=f"{row.anchor} {rng.random()}"), rivals, 2)
    loader = TrainLoader([part], POSITIVES, 8, unique=True)
    first = [(batch.anchors, batch.samples) for batch in loader]
    assert [(batch.anchors, batch.samples) for batch in loader] == first
    loader.set_epoch(1)
    second = [(batch.anchors, batch.samples) for batch in loader]
    assert not {text for anchors, _ in first for text in anchors} & {text for anchors, _ in second for text in anchors}
    resumed = TrainLoader([part], POSITIVES, 8, unique=True)
    resumed.set_epoch(1)
    resumed.load_state_dict({"batches_done": 4})
    assert [(batch.anchors, batch.samples) for batch in resumed] == second[4:]


def test_a_batch_is_of_one_part() -> None:
    texts = [PairRow(f"plot {n}", f"text {n}", 1, f"tt{n}", f"tt{n}") for n in range(20)]
    loader = TrainLoader([PairPart(QUESTIONS), PairPart(texts)], POSITIVES, 8, unique=True)
    kinds = [{anchor.split()[0] for anchor in batch.anchors} for batch in loader]
    assert len(kinds) == len(loader) == 12 + 2
    assert sorted(map(tuple, kinds)) == [("plot",)] * 2 + [("question",)] * 12


def test_length_buckets_save_padding_and_keep_the_rules() -> None:
    rng = random.Random(0)
    rows = [ask(movie)._replace(anchor="x" * rng.randint(1, 200)) for movie in range(20)] * 10
    plans = {buckets: plan_unique(rows, 8, "0:0", buckets) for buckets in (False, True)}

    def padded(plan: list[list[PairRow]]) -> int:
        return sum(len(batch) * max(len(row.anchor) for row in batch) for batch in plan)

    assert padded(plans[True]) < 0.9 * padded(plans[False])
    assert [len(plan) for plan in plans.values()] == [25, 25]
    assert all(len({row.tconst_anchor for row in batch}) == len(batch) for batch in plans[True])
    mean = [sum(len(row.anchor) for row in batch) for batch in plans[True]]
    assert mean != sorted(mean), "short texts do not all come first"


def test_epochs_differ_and_repeat() -> None:
    loader = TrainLoader([PairPart(QUESTIONS)], POSITIVES, 8, unique=True)
    first = [batch.anchors for batch in loader]
    assert [batch.anchors for batch in loader] == first
    loader.set_epoch(1)
    assert [batch.anchors for batch in loader] != first


def test_a_resumed_loader_hands_out_the_rest() -> None:
    loader = TrainLoader([PairPart(QUESTIONS)], POSITIVES, 8, unique=True)
    whole = [batch.anchors for batch in loader]
    interrupted = TrainLoader([PairPart(QUESTIONS)], POSITIVES, 8, unique=True)
    assert [batch.anchors for batch in islice(interrupted, 5)] == whole[:5]
    resumed = TrainLoader([PairPart(QUESTIONS)], POSITIVES, 8, unique=True)
    resumed.load_state_dict(interrupted.state_dict())
    assert [batch.anchors for batch in resumed] == whole[5:]
    assert [batch.anchors for batch in resumed] == whole, "the next epoch is whole again"
    resumed.load_state_dict(resumed.state_dict())
    assert [batch.anchors for batch in resumed] == whole, "an epoch saved at its end begins anew"


def test_processes_share_each_batch() -> None:
    """Two processes with 4 rows each see what one process with 8 sees, and each knows of the other's samples."""
    rivals = {"tt1": [PairRow("", "title 2", 0, "tt1", "tt2")]}
    parts = [PairPart(QUESTIONS, None, rivals)]
    whole = list(TrainLoader(parts, POSITIVES, 8, unique=True))
    shares = [list(TrainLoader(parts, POSITIVES, 4, unique=True, rank=rank, world_size=2)) for rank in range(2)]
    assert len(whole) == len(shares[0]) == len(shares[1])
    for one, *pieces in zip(whole, *shares, strict=True):
        samples = [sample for piece in pieces for sample in piece.samples]
        assert sorted(one.samples) == sorted(samples)
        assert len({*one.anchors}) == sum(len({*piece.anchors}) for piece in pieces)
        for line, anchor in enumerate(one.anchors):
            (piece,) = [piece for piece in pieces if anchor in piece.anchors]
            hidden = piece.excluded[piece.anchors.index(anchor)].tolist()
            theirs = {sample for sample, is_hidden in zip(samples, hidden, strict=True) if is_hidden}
            ours = {
                sample for sample, is_hidden in zip(one.samples, one.excluded[line].tolist(), strict=True) if is_hidden
            }
            assert theirs == ours


def test_more_processes_than_movies_are_refused() -> None:
    loader = TrainLoader([PairPart(QUESTIONS[:5])], POSITIVES, 4, unique=True, world_size=2)
    with pytest.raises(UserError, match="too few different movies for 2 processes"):
        next(iter(loader))


def test_labelled_processes_share_the_batches() -> None:
    parts = [
        [
            batch.anchors
            for batch in TrainLoader([PairPart(QUESTIONS)], POSITIVES, 8, unique=False, rank=r, world_size=2)
        ]
        for r in range(2)
    ]
    assert len(parts[0]) == len(parts[1]) == 6
    anchors = [anchor for part in parts for batch in part for anchor in batch]
    assert len(set(anchors)) == len(anchors)
