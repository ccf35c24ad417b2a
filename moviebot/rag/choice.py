"""Which of the candidates does a query mean, or none? A conditional logit, fitted on queries whose movie is known.

Each candidate has a utility; "none of them" has one of its own. The softmax over both is the probability of each, so
that one model ranks and abstains, and its score is a probability as far as people's queries are like those it was
fitted on. A candidate's utility is linear in its features and in a small hidden layer of them and the query's, because
what tells a named movie (capitals, a comma) says nothing of one that is described.

Shapes: Q queries, C candidates, F features of a candidate, E features of a query, H hidden units.

Source:
    McFadden: Conditional logit analysis of qualitative choice behavior, 1974, equation 12.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moviebot.artefact import write_whole
from moviebot.errors import UserError

NONE = -1
_HIDDEN = 12
_STEPS, _BATCH, _LR = 1000, 384, 0.02
_PENALTY = 5e-3  # on the squares of the weights of standardised features
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A query with what is known of its candidates.

    Attributes:
        candidates: ``(C, F)`` features, C of any size, also 0.
        query: ``(E,)`` features of the query.
        chosen: the candidate that is meant, or :data:`NONE`.
    """

    candidates: Floats
    query: Floats
    chosen: int


@dataclass(frozen=True)
class ChoiceModel:
    """Probabilities of candidates and of none.

    Attributes:
        centre: ``(F,)`` taken from a candidate's features.
        scale: ``(F,)`` by which they are then divided; infinite for one that never varied.
        linear: ``(F,)``.
        hidden: ``(F + E, H)``, from both kinds of features.
        hidden_bias: ``(H,)``.
        out: ``(H,)``.
        none: ``(E + 1,)``, the last for "none" itself.
        threshold: ``()``, the least probability with which a candidate is named.
    """

    centre: Floats
    scale: Floats
    linear: Floats
    hidden: Floats
    hidden_bias: Floats
    out: Floats
    none: Floats
    threshold: Floats

    def weigh(self, candidates: Floats, query: Floats) -> Floats:
        """Return each candidate's probability, ``(C,)``; what is left to 1 is that of none."""
        standard = (candidates - self.centre) / self.scale  # (C, F)
        both = np.concatenate([standard, np.broadcast_to(query, (len(standard), len(query)))], axis=1)  # (C, F + E)
        utilities = standard @ self.linear + np.tanh(both @ self.hidden + self.hidden_bias) @ self.out  # (C,)
        utilities = np.append(utilities, query @ self.none[:-1] + self.none[-1])  # (C + 1,)
        shares = np.exp(utilities - utilities.max())
        found: Floats = (shares / shares.sum())[:-1].astype(np.float32)
        return found

    @classmethod
    def fit(
        cls, examples: Sequence[Example], seed: int = 0, importance: Sequence[float] | None = None
    ) -> "ChoiceModel":
        """Fit by maximum likelihood, in about ten seconds for 4,000 queries.

        Args:
            examples: queries, those that mean none of their candidates among them.
            seed: of the first weights and the order.
            importance: how much each query counts, 0 to 1; all alike where None.
        """
        import torch
        from torch.nn import functional
        from torch.nn.utils.rnn import pad_sequence

        stacked = np.concatenate([example.candidates for example in examples])
        centre, scale = stacked.mean(axis=0), stacked.std(axis=0)
        scale[scale < 1e-6] = np.inf  # a feature that never varies gets no weight
        padded = pad_sequence(
            [torch.from_numpy((example.candidates - centre) / scale).float() for example in examples], batch_first=True
        )  # (Q, C, F)
        width = padded.shape[1]
        sizes = torch.tensor([len(example.candidates) for example in examples])
        absent = torch.arange(width)[None, :] >= sizes[:, None]  # (Q, C)
        chosen = torch.tensor([width if example.chosen == NONE else example.chosen for example in examples])
        queries = torch.from_numpy(np.stack([example.query for example in examples])).float()  # (Q, E)
        counts = torch.ones(len(examples)) if importance is None else torch.tensor(importance, dtype=torch.float32)
        mean_count = counts.mean().clamp(min=1e-6)
        draw = torch.Generator().manual_seed(seed)
        features, asked = padded.shape[2], queries.shape[1]
        linear = torch.zeros(features, requires_grad=True)
        spread = (features + asked) ** -0.5
        hidden = (torch.randn(features + asked, _HIDDEN, generator=draw) * spread).requires_grad_()
        hidden_bias = torch.zeros(_HIDDEN, requires_grad=True)
        out = torch.zeros(_HIDDEN, requires_grad=True)
        none = torch.zeros(asked + 1, requires_grad=True)
        penalised = (linear, hidden, out, none)

        def weigh(rows: torch.Tensor) -> torch.Tensor:
            candidates, query = padded[rows], queries[rows]  # (B, C, F), (B, E)
            both = torch.cat([candidates, query[:, None].expand(-1, width, -1)], dim=-1)  # (B, C, F + E)
            found = candidates @ linear + torch.tanh(both @ hidden + hidden_bias) @ out  # (B, C)
            found = found.masked_fill(absent[rows], -torch.inf)
            return torch.cat([found, (query @ none[:-1] + none[-1])[:, None]], dim=1)  # (B, C + 1)

        optimiser = torch.optim.Adam([linear, hidden, hidden_bias, out, none], lr=_LR)
        schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.01, _STEPS)
        with _run_on_one_thread():
            for _ in range(_STEPS):
                rows = torch.randint(len(examples), (_BATCH,), generator=draw)
                losses = functional.cross_entropy(weigh(rows), chosen[rows], reduction="none")  # (B,)
                loss = (losses * counts[rows]).mean() / mean_count
                loss = loss + _PENALTY * sum(weights.square().sum() for weights in penalised)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
        with torch.no_grad():
            blocks = torch.split(torch.arange(len(examples)), _BATCH)
            shares = torch.cat([weigh(rows).softmax(dim=1) for rows in blocks])  # (Q, C + 1)
            best, place = shares[:, :-1].max(dim=1)
        threshold = _choose_threshold(best.numpy(), (place == chosen).numpy())
        arrays = [tensor.detach().numpy() for tensor in (linear, hidden, hidden_bias, out, none)]
        return cls(*(np.asarray(array, dtype=np.float32) for array in (centre, scale, *arrays, threshold)))

    def save(self, path: Path) -> None:
        """Write the arrays (numpy's ``.npz``, no pickle), whole or not at all."""
        with write_whole(path) as temporary, temporary.open("wb") as handle:
            np.savez(handle, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path, features: int, query_features: int) -> "ChoiceModel":
        """Read what :meth:`save` wrote.

        Args:
            path: the file.
            features: F, as the reader of evidence gives them.
            query_features: E.

        Raises:
            UserError: the file is absent, damaged or of other features.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                model = cls(*(arrays[field.name] for field in fields(cls)))
            if model.linear.shape != (features,) or model.none.shape != (query_features + 1,):
                raise ValueError("it weighs other features")
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} holds no weights of the resolver ({error}): build the bundle again with `moviebot bundle`"
            ) from error
        return model


@contextmanager
def _run_on_one_thread() -> Iterator[None]:
    """Keep torch to one thread: small steps gain nothing by a second one.

    Where processes share the cores, its threads wait for each other twenty times as long as they work.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _choose_threshold(best: Floats, right: NDArray[np.bool_]) -> float:
    """Return the least score to name a movie with, where a wrong one costs as much as a right one is worth.

    Args:
        best: ``(Q,)`` the likeliest candidates' probabilities.
        right: ``(Q,)`` whether they are meant.
    """
    order = np.argsort(-best)
    worth = np.cumsum(np.where(right[order], 1, -1))
    return float(best[order][int(worth.argmax())]) if worth.max(initial=0) > 0 else 0.5
