"""The retriever trains, resumes exactly, and its metrics rank against the catalogue."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from moviebot.data.pair_batch import DocumentBatch, FixedLoader, PairBatch, QueryBatch
from moviebot.data.pairs_datamodule import MoviePairsDataModule
from moviebot.errors import UserError
from moviebot.modules.losses import InBatchNegativesLoss
from moviebot.modules.retriever import ContrastiveRetriever
from moviebot.pretrained import MINILM

pytestmark = pytest.mark.filterwarnings(
    # Lightning 2.6.6 with torch 2.13: https://github.com/Lightning-AI/pytorch-lightning/issues/21326
    "ignore:.isinstance.treespec, LeafSpec.:FutureWarning",
    # A resumed run goes on in its own folder, which Lightning remarks on.
    "ignore:Checkpoint directory .* exists and is not empty",
)

# A saved state_dict of a module: name -> weights.
Weights = dict[str, torch.Tensor]


def make_trainer(folder: Path, **settings: object) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    return Trainer(default_root_dir=folder, **(quiet | {"num_sanity_val_steps": 0} | settings))  # type: ignore[arg-type]


def make_retriever(base: Path, **settings: object) -> ContrastiveRetriever:
    return ContrastiveRetriever(str(base), **({"lr": 1e-3} | settings))  # type: ignore[arg-type]


def make_data(folder: Path, **settings: object) -> MoviePairsDataModule:
    return MoviePairsDataModule(str(folder), **({"task": "question", "batch_size": 4} | settings))  # type: ignore[arg-type]


def encoder_weights(retriever: ContrastiveRetriever) -> Weights:
    return {name: value.clone() for name, value in retriever.state_dict().items() if name.startswith("encoder")}


def same(one: Weights, other: Weights) -> bool:
    assert one
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_init_loads_nothing_and_configure_model_loads_once(tiny_encoder: Path) -> None:
    assert ContrastiveRetriever("no/such model").encoder is None
    retriever = make_retriever(tiny_encoder, max_seq_length=7)
    retriever.configure_model()
    encoder = retriever.encoder
    retriever.configure_model()
    assert retriever.encoder is encoder
    assert encoder is not None
    assert encoder.max_seq_length == 7
    assert all(module.training for module in encoder.modules()), "loaded in eval mode: dropout would be off"
    assert retriever(["a movie", "b"]).norm(dim=-1).tolist() == pytest.approx([1, 1])


def test_hyperparameters_are_plain(tiny_encoder: Path) -> None:
    assert all(isinstance(v, str | int | float | None) for v in make_retriever(tiny_encoder).hparams.values())


@pytest.mark.parametrize("task", ["question", "recommend"])
@pytest.mark.parametrize(("loss", "negatives"), [("in_batch", "in_batch"), ("contrastive", "labelled")])
def test_fit_validate_test_predict(
    tmp_path: Path, tiny_encoder: Path, pairs_dir: Path, task: str, loss: str, negatives: str
) -> None:
    retriever, data = make_retriever(tiny_encoder, loss=loss), make_data(pairs_dir, task=task, negatives=negatives)
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(retriever, data)
    results = trainer.test(retriever, data, verbose=False)  # one a loader
    names = {"loss", "cosine", "f1", "f1_tuned", "hit@1", "hit@3", "hit@10", "hit@20", "mrr", "ndcg@20", "recall@20"}
    merged = {key: value for result in results for key, value in result.items()}
    assert {f"test/{name}" for name in names} <= merged.keys()
    assert merged["test/hit@20"] == 1, "twelve movies: all are among the first twenty"
    assert 0 < merged["test/mrr"] <= 1
    vectors = trainer.predict(retriever, data)
    assert vectors is not None
    assert sum(len(numbers) for numbers, _ in vectors) == 12


def overfit(base: Path, folder: Path, data_dir: Path, lr: float) -> tuple[float, float]:
    """Return the loss of one batch before and after thirty steps on it."""
    seed_everything(0, verbose=False)
    retriever, data = make_retriever(base, lr=lr, warmup_share=0.0), make_data(data_dir, batch_size=8)
    losses: list[float] = []

    original: Callable[..., torch.Tensor | None] = retriever.training_step

    def record(batch: PairBatch, batch_idx: int) -> torch.Tensor | None:
        loss = original(batch, batch_idx)
        assert loss is not None
        losses.append(loss.item())
        return loss

    retriever.training_step = record  # type: ignore[method-assign]
    trainer = make_trainer(folder, max_steps=30, overfit_batches=1, limit_val_batches=0, enable_checkpointing=False)
    trainer.fit(retriever, data)
    return losses[0], losses[-1]


def test_overfits_one_batch_and_not_without_a_learning_rate(
    tmp_path: Path, tiny_encoder: Path, pairs_dir: Path
) -> None:
    first, last = overfit(tiny_encoder, tmp_path, pairs_dir, lr=3e-3)
    assert last < 0.6 * first
    first, last = overfit(tiny_encoder, tmp_path, pairs_dir, lr=0.0)
    assert last > 0.9 * first


def fit_two_epochs(base: Path, data_dir: Path, folder: Path, keep_step: int, resume: Path | None = None) -> Weights:
    seed_everything(0, verbose=False)
    if resume is not None:
        torch.manual_seed(99)  # a resumed run must not need the luck of the same random state
    saver = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=keep_step, save_top_k=-1)
    trainer = make_trainer(folder, max_epochs=2, callbacks=[saver])
    retriever = make_retriever(base)
    trainer.fit(retriever, make_data(data_dir), ckpt_path=resume, weights_only=True)
    assert trainer.global_step == 12
    return encoder_weights(retriever)


@pytest.mark.parametrize("stop", [1, 6, 10], ids=["mid-first-epoch", "epoch-end", "mid-second-epoch"])
def test_resume_is_exact(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path, stop: int) -> None:
    """Twelve steps in one go equal some steps, a checkpoint, and the rest in another process's place, dropout too."""
    whole = fit_two_epochs(tiny_encoder, pairs_dir, tmp_path / "whole", stop)
    checkpoint = tmp_path / "whole" / f"step={stop}.ckpt"
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    resumed = fit_two_epochs(tiny_encoder, pairs_dir, tmp_path / "whole", stop, checkpoint)
    assert not same({k: v for k, v in saved.items() if k.startswith("encoder")}, whole), "the rest changes the weights"
    assert same(whole, resumed)


def test_remake_is_ranked_and_seed_left_out(tiny_encoder: Path) -> None:
    """By hand: three documents; the query is the first one's own text."""
    retriever = make_retriever(tiny_encoder)
    retriever.configure_model()
    retriever.eval()  # after loading, which turns dropout on
    texts = ["the red lantern (1931)", "the red lantern (1987)", "salt and thunder (2008)"]
    retriever._step(DocumentBatch(texts, torch.tensor([0, 1, 2])), "val")
    query = QueryBatch([texts[0]], torch.tensor([0]), torch.tensor([[0, -1]]), torch.tensor([-1]))
    retriever._step(query, "val")
    assert retriever.val_rank_metrics.compute()["val/hit@1"] == 1
    own = query._replace(numbers=torch.tensor([1]), own=torch.tensor([0]))
    retriever._step(own, "val")
    found = retriever.val_rank_metrics.compute()
    assert found["val/hit@3"] == 0.5 == found["val/mrr"], "a query's own movie is never a hit"


def test_a_document_opposite_to_the_query_has_a_rank(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchmetrics' MRR takes a cosine of zero or less for 'not retrieved': scores are lifted before."""
    retriever = make_retriever(tiny_encoder)
    vectors = {"query": [1.0, 0.0], "near": [0.0, 1.0], "far": [-1.0, 0.0]}
    monkeypatch.setattr(retriever, "forward", lambda texts: torch.tensor([vectors[text] for text in texts]))
    retriever._step(DocumentBatch(["near", "far"], torch.tensor([0, 1])), "test")
    retriever._step(QueryBatch(["query"], torch.tensor([0]), torch.tensor([[1]]), torch.tensor([-1])), "test")
    assert retriever.test_rank_metrics.compute()["test/mrr"] == 0.5


def test_loss_and_batches_must_go_together(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    trainer = make_trainer(tmp_path, max_steps=1)
    with pytest.raises(UserError, match=r"loss=contrastive with data\.init_args\.negatives=in_batch: set"):
        trainer.fit(make_retriever(tiny_encoder, loss="contrastive"), make_data(pairs_dir))


@pytest.mark.parametrize("has_bf16", [False, True])
def test_emulated_bfloat16_is_refused(
    tmp_path: Path, tiny_encoder: Path, pairs_dir: Path, monkeypatch: pytest.MonkeyPatch, has_bf16: bool
) -> None:
    monkeypatch.setattr("moviebot.modules.precision.cpu_has_bf16", lambda: has_bf16)
    trainer = make_trainer(tmp_path, max_steps=1, precision="bf16-mixed", limit_val_batches=0)
    if has_bf16:
        trainer.fit(make_retriever(tiny_encoder), make_data(pairs_dir))
        assert trainer.global_step == 1
        return
    with pytest.raises(UserError, match=r"precision=bf16-mixed: this cpu only emulates bfloat16.*=32-true"):
        trainer.fit(make_retriever(tiny_encoder), make_data(pairs_dir))


def test_optimiser_steps_its_schedule_by_the_step(tmp_path: Path, tiny_encoder: Path, pairs_dir: Path) -> None:
    retriever = make_retriever(tiny_encoder, warmup_share=0.5)
    trainer = make_trainer(tmp_path, max_epochs=2, limit_val_batches=0, enable_checkpointing=False)
    trainer.fit(retriever, make_data(pairs_dir))
    (optimiser,) = trainer.optimizers
    assert optimiser.param_groups[0]["lr"] == 0, "twelve steps: up for six, down to nothing for six"
    held = {id(p) for group in optimiser.param_groups for p in group["params"]}
    assert held == {id(p) for name, p in retriever.named_parameters() if ".pooler." not in name}
    assert all(p.ndim <= 1 for p in optimiser.param_groups[1]["params"])


def test_every_trained_weight_gets_a_gradient(tiny_encoder: Path) -> None:
    """DDP waits for all of them: BERT's pooler, which gets none, must not be among them."""
    retriever = make_retriever(tiny_encoder)
    retriever.configure_model()
    retriever(["night ferry (1962)", "winter wheat (2014)"])[:, 0].sum().backward()
    idle = [name for name, p in retriever.named_parameters() if p.requires_grad and p.grad is None]
    assert idle == []


def gradients(base: Path, batch: PairBatch, dropout: bool, **settings: object) -> tuple[float, Weights]:
    """Return a training batch's loss and its gradients, from one random state."""
    retriever = make_retriever(base, **settings)
    retriever.configure_model()
    if not dropout:
        for module in retriever.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    torch.manual_seed(7)
    anchors, samples = retriever._encode_pairs(batch)
    loss = retriever.in_batch_loss(anchors, samples, batch.excluded)
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in retriever.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("dropout", [False, True], ids=["no dropout", "dropout replayed"])
def test_a_cached_gradient_is_the_plain_large_batchs(tiny_encoder: Path, pairs_dir: Path, dropout: bool) -> None:
    """With dropout the plain side goes through in the same chunks, so that both draw the same masks."""
    data = make_data(pairs_dir, batch_size=8)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    plain = gradients(tiny_encoder, batch, dropout, encode_chunk=3 if dropout else None)
    cached = gradients(tiny_encoder, batch, dropout, gradient_cache_chunk=3)
    assert cached[0] == pytest.approx(plain[0], rel=1e-5)
    assert plain[1].keys() == cached[1].keys()
    for name, gradient in plain[1].items():
        torch.testing.assert_close(cached[1][name], gradient, rtol=1e-3, atol=1e-6)
    # Not vacuous: the gradients are there, and the mean over small batches is another thing.
    assert max(float(gradient.abs().max()) for gradient in plain[1].values()) > 1e-3
    small = [
        PairBatch(batch.anchors[part], batch.samples[part], batch.labels[part], batch.excluded[part, part])
        for part in (slice(0, 4), slice(4, 8))
    ]
    apart = [gradients(tiny_encoder, piece, dropout)[1] for piece in small]
    weight = max(plain[1], key=lambda name: float(plain[1][name].abs().max()))
    mean = (apart[0][weight] + apart[1][weight]) / 2
    assert (mean - plain[1][weight]).abs().max() > 10 * (cached[1][weight] - plain[1][weight]).abs().max() + 1e-5


def test_a_cached_gradient_holds_one_chunk_at_a_time(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the graph keeps of the encoder: with the cache nothing but the vectors."""
    texts = [f"night ferry number {number}" for number in range(24)]

    def count_saved(**settings: object) -> int:
        retriever = make_retriever(tiny_encoder, **settings)
        retriever.configure_model()
        saved: list[int] = []

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            saved.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            retriever._encode_chunks(texts)
        return sum(saved)

    assert count_saved(gradient_cache_chunk=4) < 0.05 * count_saved(encode_chunk=4)


def test_a_batch_without_positives_does_not_count(
    tiny_encoder: Path, tmp_path: Path, pairs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epoch's loss is the mean over the positives, wherever they fall; a mean over none would be NaN."""
    texts = ["night ferry (1962)", "winter wheat (2014)", "salt and thunder (2008)", "unfinished maps"]
    shown = torch.zeros(4, 4, dtype=torch.bool)
    batches = [PairBatch(texts, texts[::-1], torch.tensor(labels), shown) for labels in ([1, 1, 1, 0], [1, 0, 0, 0])]
    none = PairBatch(texts, texts[::-1], torch.zeros(4, dtype=torch.long), shown)
    data = make_data(pairs_dir)
    data.setup("validate")
    documents, queries, _ = data.val_dataloader()
    loaders = documents, queries, FixedLoader([none, *batches])
    monkeypatch.setattr(data, "val_dataloader", lambda: loaders)
    in_batch, losses = InBatchNegativesLoss(), []
    retriever = make_retriever(tiny_encoder)
    results = make_trainer(tmp_path).validate(retriever, data, verbose=False)
    (logged,) = [result["val/loss"] for result in results if "val/loss" in result]
    retriever.eval()
    for batch in batches:  # the positives come first
        with torch.no_grad():
            anchors, samples = retriever._encode_pairs(batch)
        losses.append(float(in_batch(anchors[: int(batch.labels.sum())], samples)))
    assert logged == pytest.approx((3 * losses[0] + losses[1]) / 4, rel=1e-4)


@pytest.mark.slow
def test_minilm_learns_and_not_without_a_learning_rate(tmp_path: Path, pairs_dir: Path) -> None:
    """The real MiniLM: a few steps lower the loss on what it trains on; with lr=0 they don't."""
    falls = []
    for lr in (2e-4, 0.0):
        seed_everything(0, verbose=False)
        retriever, data = (
            make_retriever(Path(MINILM), lr=lr, max_seq_length=48),
            make_data(pairs_dir, task="recommend", batch_size=8),
        )
        trainer = make_trainer(tmp_path, max_steps=4, limit_val_batches=0, enable_checkpointing=False)
        data.setup("fit")
        batch = next(iter(data.train_dataloader()))
        retriever.configure_model()

        def measure(retriever: ContrastiveRetriever = retriever, batch: PairBatch = batch) -> float:
            retriever.eval()
            with torch.no_grad():
                anchors, samples = retriever._encode_pairs(batch)
                loss = retriever.in_batch_loss(anchors, samples, batch.excluded)
            retriever.train()
            return float(loss)

        before = measure()
        trainer.fit(retriever, data)
        falls.append(before - measure())
    assert falls[0] > 0.05, falls
    assert falls[1] == 0
