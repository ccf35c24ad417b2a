"""The retriever: a sentence encoder, trained on pairs, that ranks the catalogue's documents.

Shapes: B texts, N documents, D embedding, K ranked documents a query, R right documents a query.
"""

import logging
import os
from collections.abc import Sequence
from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torchmetrics import MetricCollection
from transformers import get_linear_schedule_with_warmup

from moviebot.data.pair_batch import NO_GROUP, DocumentBatch, PairBatch, QueryBatch
from moviebot.errors import UserError
from moviebot.modules.encoder import embed, load_encoder
from moviebot.modules.losses import ContrastiveLoss, InBatchNegativesLoss
from moviebot.modules.metrics import RANKED_DEPTH, TunedF1, append_missed, build_pair_metrics, build_rank_metrics
from moviebot.modules.precision import choose_dtype
from moviebot.pretrained import MINILM, resolve_model

logger = logging.getLogger(__name__)

Batch = PairBatch | DocumentBatch | QueryBatch
Stage = Literal["train", "val", "test"]
_UNRANKED = -2.0  # below every cosine: what must not be ranked comes last


class ContrastiveRetriever(LightningModule):
    """Fine-tunes a sentence encoder so that a question, or a movie, lies next to the right movies.

    Validation and test read three loaders in this order: the documents, the queries to rank them for, and labelled
    pairs; see :class:`~moviebot.data.pairs_datamodule.MoviePairsDataModule`. Logged: ``loss``, ``cosine``, ``f1``,
    ``f1_tuned``, ``hit@1``, ``hit@3``, ``hit@10``, ``hit@20``, ``mrr``, ``ndcg@20``, ``recall@20``, each below
    ``val/`` or ``test/``.

    Args:
        base: the encoder to start from: a sentence-transformers folder, or a name on the hub.
        loss: ``contrastive`` is the published one; ``in_batch`` ranks better at a third of the compute (FACTS 18) and
            keeps apart remakes that share a title.
        margin: of the contrastive loss; no effect with ``in_batch``.
        scale: of the in-batch loss, the inverse temperature; no effect with ``contrastive``.
        lr: peak learning rate.
        warmup_share: share of the steps during which the learning rate rises, 0 to 1; it falls linearly after.
        weight_decay: of AdamW, on weight matrices only (not on biases and norms).
        max_seq_length: longer texts are cut to this many tokens; the encoder's own limit (MiniLM: 256) where None.
        encode_chunk: a batch's texts go through the encoder so many at a time, like lengths together, which saves
            padding; all at once where None.
        gradient_cache_chunk: as ``encode_chunk``, and only one chunk's activations are held, so that a batch
            of any size fits (Gao et al.: Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup);
            each text is encoded twice. Same loss, same gradient, dropout included. Not used where None.

    Example:
        >>> retriever = ContrastiveRetriever(base="sentence-transformers/all-MiniLM-L6-v2", loss="in_batch")
        >>> retriever.encoder is None  # nothing is loaded before configure_model()
        True
    """

    threshold: Tensor

    def __init__(
        self,
        base: str = MINILM,
        loss: Literal["contrastive", "in_batch"] = "in_batch",
        margin: float = 0.5,
        scale: float = 20.0,
        lr: float = 2e-5,
        warmup_share: float = 0.1,
        weight_decay: float = 0.01,
        max_seq_length: int | None = None,
        encode_chunk: int | None = None,
        gradient_cache_chunk: int | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.base = base
        self.loss = loss
        self.lr = lr
        self.warmup_share = warmup_share
        self.weight_decay = weight_decay
        self.max_seq_length = max_seq_length
        self.encode_chunk = encode_chunk
        self.gradient_cache_chunk = gradient_cache_chunk
        self.encoder: SentenceTransformer | None = None
        self.contrastive_loss = ContrastiveLoss(margin)
        self.in_batch_loss = InBatchNegativesLoss(scale)
        # The validation's best threshold travels in the checkpoint, for the test pairs; NaN until one is chosen.
        self.register_buffer("threshold", torch.tensor(float("nan")))
        self.val_pair_metrics, self.val_rank_metrics = build_pair_metrics("val/"), build_rank_metrics("val/")
        self.test_pair_metrics, self.test_rank_metrics = build_pair_metrics("test/"), build_rank_metrics("test/")
        self._documents: list[tuple[Tensor, Tensor]] = []

    def configure_model(self) -> None:
        """Load the encoder, once."""
        if self.encoder is not None:
            return
        # On the CPU first: sentence-transformers would put every process's copy on the first GPU.
        self.encoder = load_encoder(resolve_model(self.base), device="cpu")
        if self.max_seq_length is not None:
            self.encoder.max_seq_length = self.max_seq_length
        for name, parameter in self.encoder.named_parameters():
            if "pooler" in name.split("."):  # BERT's own, which sentence embeddings pass by: DDP waits for its gradient
                parameter.requires_grad_(False)
        self.encoder.train()  # it is loaded in eval mode, which Lightning leaves: dropout would silently be off

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Encode texts: ``(B, D)`` float32, each row of length 1."""
        if self.encoder is None:
            raise RuntimeError("configure_model() comes first")
        return embed(self.encoder, texts).float()

    def on_fit_start(self) -> None:
        """Refuse a loss and a datamodule that don't go together, and bfloat16 that would only be emulated."""
        negatives = getattr(getattr(self.trainer, "datamodule", None), "negatives", None)
        wanted = "labelled" if self.loss == "contrastive" else "in_batch"
        if negatives not in (None, wanted):
            raise UserError(
                f"model.init_args.loss={self.loss} with data.init_args.negatives={negatives}: "
                f"set data.init_args.negatives={wanted}"
            )
        device = self.trainer.strategy.root_device
        if str(self.trainer.precision).startswith("bf16") and choose_dtype("auto", device) is not torch.bfloat16:
            raise UserError(
                f"trainer.precision={self.trainer.precision}: this {device.type} only emulates bfloat16, slower "
                f"than float32: set trainer.precision={'32-true' if device.type == 'cpu' else '16-mixed'}"
            )

    def on_train_batch_start(self, batch: PairBatch, batch_idx: int) -> None:
        """Seed dropout by the step, so that a resumed run draws what the uninterrupted one would have drawn."""
        seed = int(os.environ.get("PL_GLOBAL_SEED", "0"))
        step = self.trainer.fit_loop.total_batch_idx * self.trainer.world_size + self.trainer.global_rank
        torch.manual_seed(seed * 1_000_003 + step)

    def _step(self, batch: Batch, stage: Stage) -> Tensor | None:
        if isinstance(batch, DocumentBatch):
            self._documents.append((batch.groups, self(batch.texts)))  # (B,), (B, D)
            return None
        if isinstance(batch, QueryBatch):
            self._rank(batch, stage)
            return None
        return self._score_pairs(batch, stage)

    def _score_pairs(self, batch: PairBatch, stage: Stage) -> Tensor:
        anchors, samples = self._encode_pairs(batch)  # (B, D) each
        judged = len(batch.anchors)  # how many the loss is a mean over: the batch's weight in the epoch's mean
        if self.loss == "contrastive":
            loss: Tensor = self.contrastive_loss(anchors, samples, batch.labels)
        else:
            positive = batch.labels.nonzero().squeeze(1)  # (P,)
            judged = len(positive)
            loss = self._compare_in_batch(anchors[positive], samples, batch.excluded[positive], positive, stage)
        self.log(
            f"{stage}/loss",
            loss,
            batch_size=judged,
            prog_bar=True,
            sync_dist=stage != "train" or self.trainer.world_size > 1,
            add_dataloader_idx=False,
        )
        if stage != "train":
            cosines = (anchors * samples).sum(dim=-1)  # (B,)
            self._get_metrics(stage)[0].update(cosines, batch.labels)
        return loss

    def _compare_in_batch(
        self, anchors: Tensor, samples: Tensor, excluded: Tensor, own: Tensor, stage: Stage
    ) -> Tensor:
        """Return the in-batch loss; in training the negatives are those of all processes.

        Args:
            anchors: ``(P, D)`` of the positive pairs.
            samples: ``(B, D)`` of all pairs of this process.
            excluded: ``(P, N)``; the columns are all processes' samples in training, else ``(P, B)``.
            own: ``(P,)`` the rows of the anchors' own samples.
            stage: validation's batches differ from process to process, and stay apart.
        """
        share = 1.0
        if stage == "train" and self.trainer.world_size > 1:
            samples, first, share = self._gather(samples, len(anchors))
            own = own + first
        if not len(anchors):  # a mean over nothing is NaN; logged at weight 0, so that all processes log
            return 0 * samples.sum()
        loss: Tensor = share * self.in_batch_loss(anchors, samples, excluded, own)
        return loss

    def _gather(self, samples: Tensor, judged: int) -> tuple[Tensor, int, float]:
        """Join the samples of all processes; gradients flow back to each.

        Returns:
            ``(N, D)`` in the processes' order; where this process's begin; and the weight of its loss. DDP takes the
            mean of the processes' gradients, so that the weight makes it the gradient of the mean over all anchors.
        """
        counts = torch.tensor([len(samples), judged], device=samples.device)
        gathered = self.all_gather(counts)  # (W, 2)
        assert isinstance(gathered, Tensor)
        sizes, anchors = gathered.T.tolist()  # W each
        padded = torch.nn.functional.pad(samples, (0, 0, 0, max(sizes) - len(samples)))
        everyone = self.all_gather(padded, sync_grads=True)  # (W, most, D)
        joined = torch.cat([rows[:size] for rows, size in zip(everyone, sizes, strict=True)])
        return joined, sum(sizes[: self.global_rank]), judged * len(sizes) / max(1, sum(anchors))

    def _encode_pairs(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Encode each distinct text of the batch once: a positive and its negatives share their anchor."""
        rows = {text: row for row, text in enumerate(sorted({*batch.anchors, *batch.samples}, key=len))}
        vectors = self._encode_chunks(list(rows))  # (distinct, D)
        return vectors[[rows[text] for text in batch.anchors]], vectors[[rows[text] for text in batch.samples]]

    def _encode_chunks(self, texts: Sequence[str]) -> Tensor:
        """Encode texts, shortest first, so many at a time as is set; in training with or without recomputing."""
        size = self.gradient_cache_chunk or self.encode_chunk or len(texts)
        chunks = [texts[start : start + size] for start in range(0, len(texts), size)]
        if self.gradient_cache_chunk and torch.is_grad_enabled():
            return torch.cat([checkpoint(self.forward, chunk, use_reentrant=False) for chunk in chunks])
        return torch.cat([self.forward(chunk) for chunk in chunks])

    def _rank(self, batch: QueryBatch, stage: Stage) -> None:
        groups = torch.cat([groups for groups, _ in self._documents])  # (N,)
        documents = torch.cat([vectors for _, vectors in self._documents])  # (N, D)
        scores = self.forward(batch.texts) @ documents.T  # (B, N)
        scores = scores.masked_fill((groups == batch.own[:, None]) & (batch.own[:, None] != NO_GROUP), _UNRANKED)
        best, rows = scores.topk(min(RANKED_DEPTH, len(groups)))  # (B, K) each
        target = (groups[rows][:, :, None] == batch.relevant[:, None, :]).any(dim=-1) & (best > _UNRANKED)  # (B, K)
        right = ((batch.relevant != NO_GROUP) & (batch.relevant != batch.own[:, None])).sum(dim=1)  # (B,)
        # Lifted above zero: torchmetrics' MRR passes over documents with a score of zero or less.
        lifted, target = append_missed(best - _UNRANKED, target, right)
        self._get_metrics(stage)[1].update(lifted, target, batch.numbers[:, None].expand_as(lifted))

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor | None:
        """Return the loss of a batch of pairs."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Encode documents, rank them for queries, or score pairs."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Do as in validation."""
        self._step(batch, "test")

    def predict_step(self, batch: DocumentBatch, batch_idx: int, dataloader_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Return the documents' numbers ``(B,)`` and vectors ``(B, D)``."""
        return batch.groups, self(batch.texts)

    def on_validation_epoch_end(self) -> None:
        """Log the metrics, and keep the threshold that is best for F1."""
        tuned = self.val_pair_metrics["f1_tuned"]
        assert isinstance(tuned, TunedF1)
        if tuned.preds:
            with tuned.sync_context():  # the pairs of all processes
                self.threshold.copy_(tuned.find_threshold())
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics; F1 is also taken at the validation's threshold where the checkpoint carries one."""
        tuned = self.test_pair_metrics["f1_tuned"]
        assert isinstance(tuned, TunedF1)
        tuned.threshold = None if self.threshold.isnan() else self.threshold.item()
        self._log_metrics("test")

    def _log_metrics(self, stage: Stage) -> None:
        for metrics in self._get_metrics(stage):
            self.log_dict(metrics.compute())
            metrics.reset()
        self._documents.clear()

    def _get_metrics(self, stage: Stage) -> tuple[MetricCollection, MetricCollection]:
        if stage == "val":
            return self.val_pair_metrics, self.val_rank_metrics
        return self.test_pair_metrics, self.test_rank_metrics

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, linear warm-up and linear decay by the step."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        others = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        # An eighth of the time on a CPU. Lightning refuses to clip gradients before a fused step in mixed precision.
        plain = "mixed" not in str(self.trainer.precision)
        fused = (plain and all(parameter.device.type == "cpu" for parameter in self.parameters())) or None
        optimiser = torch.optim.AdamW(groups, lr=self.lr, fused=fused)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = get_linear_schedule_with_warmup(optimiser, round(self.warmup_share * steps), steps)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
