"""After a move by a hypernetwork: train model and network on together with the new tokenizer, then keep the rows.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883), n-shot transfer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tokenry.core.vocab import Vocab
from tokenry.models.batches import Batch, draw, pack
from tokenry.models.lm import LM
from tokenry.models.scoring import is_masked
from tokenry.models.training import FitConfig, FitResult, fit
from tokenry.transplant.hypernet import Hypernetwork
from tokenry.transplant.hypernet_training import RowPlace, auxiliary_loss
from tokenry.transplant.masked import masked_batches
from tokenry.transplant.surface_forms import surface_forms

# Axes: N tokens of the new vocabulary, D width.


@dataclass(frozen=True)
class NshotConfig:
    """How a moved model is trained on; the defaults are the paper's.

    Attributes:
        steps, rate: constant rate, of body and network alike.
        batch, length: sequences of a step, and tokens of one.
        auxiliary: weight of the distance of the rows to those of the move.
        clip, weight_decay: of AdamW.
        seed: of the order of the text, and of masks.
    """

    steps: int = 50_000
    rate: float = 3e-6
    batch: int = 32
    length: int = 512
    auxiliary: float = 0.5
    clip: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0


class Joint(nn.Module):
    """A moved body and what makes its rows, trained as one.

    A row is that of the move plus what the network has changed on it since: so the start is the moved model bit for
    bit, also where rows were copied. Without a network each row is a weight of its own.

    Args:
        lm: the moved model.
        old: the vocabulary the network cuts tokens into; not needed without one.
        network: of the model before the move; it is trained in place.

    Raises:
        ValueError: a network of another width or kind of head.
    """

    def __init__(self, lm: LM, old: Vocab | None = None, network: Hypernetwork | None = None) -> None:
        super().__init__()
        self.body, self.network = lm.model, network
        if not is_masked(lm.model):
            lm.model.get_input_embeddings().padding_idx = None
        self.place = RowPlace.of(lm.model)
        tables = self._tables()
        for what, table in zip(("in", "out", "bias"), tables, strict=True):
            self.register_buffer(f"start_{what}", None if table is None else table.detach().clone(), persistent=False)
        if network is None:
            return
        if network.config.width != self.start_in.shape[1] or (network.source_out is None) != (tables[1] is None):
            raise ValueError(
                f"The hypernetwork makes rows of width {network.config.width} for "
                f"{'one matrix' if network.source_out is None else 'two matrices'}; need those of this model "
                f"({self.start_in.shape[1]}, {'one' if tables[1] is None else 'two'}). Take the network trained for it."
            )
        surface, _ = surface_forms(old, lm.vocab.tokens, pieces=network.config.pieces)
        self.register_buffer("surface", torch.from_numpy(surface).to(lm.device), persistent=False)
        # A special token has no pieces and keeps its row.
        self.register_buffer("is_made", (self.surface >= 0).any(1), persistent=False)
        made = network.embed_all(self.surface)
        for what, rows in zip(("in", "out", "bias"), made, strict=True):
            first = None if rows is None else torch.from_numpy(rows).to(lm.device)
            self.register_buffer(f"first_{what}", first, persistent=False)
        # Their gradients would be those of the rows again.
        for table in tables:
            if table is not None:
                table.requires_grad_(False)

    def rows(self) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Input rows, head rows and bias as they now are; None where the model has none of its own."""
        if self.network is None:
            return self._tables()
        n_made = len(self.surface)
        out = []
        for what, made in zip(("in", "out", "bias"), self.network.make(self.surface), strict=True):
            start = getattr(self, f"start_{what}")
            if start is None or made is None:
                out.append(start)
                continue
            change = made - getattr(self, f"first_{what}")
            at = self.is_made[:, None] if made.ndim == 2 else self.is_made
            out.append(torch.cat([start[:n_made] + torch.where(at, change, 0), start[n_made:]]))
        return tuple(out)

    def settle(self) -> None:
        """Write the rows of the network into the body, which then stands alone."""
        with torch.no_grad():
            for table, rows in zip(self._tables(), self.rows(), strict=True):
                if table is not None:
                    table.copy_(rows)
                    table.requires_grad_(True)

    def _tables(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The body's own input rows, head rows and bias."""
        named, place = dict(self.body.named_parameters()), self.place
        return tuple(None if name is None else named[name] for name in (place.input, place.head, place.bias))


def nshot_loss(weight: float) -> Callable[[Joint, Batch], tuple[Tensor, dict]]:
    """The model's own loss, and `weight` times the distance of its rows to those of the move (see `auxiliary_loss`)."""

    def loss(joint: Joint, batch: Batch) -> tuple[Tensor, dict]:
        rows_in, rows_out, bias = joint.rows()
        told, n_targets = joint.place.nats(batch, (rows_in, rows_out, bias))
        every = torch.arange(len(rows_in), device=rows_in.device)
        extra = auxiliary_loss(rows_in, joint.start_in, every)
        if rows_out is not None:
            extra = (extra + auxiliary_loss(rows_out, joint.start_out, every)) / 2
        facts = {"tokens": n_targets, "lm": float(told.detach()), "auxiliary": float(extra.detach())}
        return told + weight * extra, facts

    return loss


def train_nshot(
    lm: LM,
    texts: list[str],
    *,
    config: NshotConfig,
    network: Hypernetwork | None = None,
    old: Vocab | None = None,
    resume: Path | None = None,
) -> FitResult:
    """Train a moved model on, in place: body and rows, the rows through the network where one is given.

    Args:
        lm: the moved model, causal or masked.
        texts: ordinary text, cut by its new tokenizer.
        network, old: the network that made its rows, and the vocabulary it was made for. Without them the rows
            themselves train: the control, and the paper's other way.
        resume: folder for the state.

    Returns:
        The run; afterwards the rows stand in the model and the network is not needed.

    Raises:
        ValueError: a network without its vocabulary, or for another model.
        KeyboardInterrupt: after the state was saved in `resume`; the model then has its old rows.
    """
    if network is not None and old is None:
        raise ValueError("train_nshot got a network without old=; need the vocabulary that it cuts tokens into.")
    joint = Joint(lm, old, network)
    kept = {"length": config.length, "batch": config.batch, "seed": config.seed}
    if joint.place.predicts_own:
        batches = masked_batches(lm, texts, **kept)
    else:
        packs = pack(lm.vocab.encode(list(texts)), length=config.length, bos=lm.start)
        batches = draw(packs, batch_size=config.batch, seed=config.seed, device=lm.device)
    how = FitConfig(
        rate=config.rate, schedule="constant", clip=config.clip, weight_decay=config.weight_decay, seed=config.seed
    )
    loss = nshot_loss(config.auxiliary)
    result = fit(joint, batches, loss, steps=config.steps, config=how, resume=resume, label="n-shot")
    if network is not None:
        joint.settle()
    return result
