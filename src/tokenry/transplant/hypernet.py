"""A network that makes the rows of any token from the rows of its pieces: learn it once for a model, then any tokenizer
costs one pass.

Each token is computed by itself, from its bytes alone: neither the other tokens nor their order matter.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenry.core.tokenmap import RowKind
from tokenry.core.vocab import Kind, Vocab
from tokenry.transplant.hypernet_layers import SPREAD, HypernetConfig, Layer, Projector, Rescaler, fresh
from tokenry.transplant.matching import rows_fingerprint
from tokenry.transplant.planning import Gap, Rows
from tokenry.transplant.surface_forms import N_BYTES, PADDING, spell, surface_matrix

__all__ = ["HypernetConfig", "Hypernetwork", "hypernet", "piece_rows"]

# Axes: N tokens, M pieces (and a place for the language), S width of what is read, H hidden width, D model width.

BATCH = 4096


class Hypernetwork(nn.Module):
    """Rows of tokens from their surface forms (see `surface_forms`).

    Args:
        source_in: (V_old, D) input rows of the model the network belongs to; they never train.
        source_out: the same of a head of its own; None for a model with one matrix for both.
        source_bias: (V_old,) bias of the head, as masked models have it; None for a model without.
        config: its shape.
        excluded: ids whose rows the rescalers leave out: specials, holes. Rows of zeros are left out always.
        fingerprint: `matching.rows_fingerprint` of the source vocabulary; `for_vocab` fills both in.
        seed: of the fresh weights; the global generator is left alone.

    Raises:
        ValueError: rows that do not fit the configuration or each other, or no row to learn the scale of.
    """

    def __init__(
        self,
        source_in: Tensor,
        source_out: Tensor | None,
        config: HypernetConfig,
        *,
        source_bias: Tensor | None = None,
        excluded: Sequence[int] = (),
        fingerprint: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__()
        source_in, source_out = _source(source_in, config.width), _source(source_out, config.width)
        if source_out is not None and len(source_out) != len(source_in):
            raise ValueError(f"{len(source_in)} input rows and {len(source_out)} head rows; need one of each an id.")
        self.config, self.fingerprint = config, fingerprint
        self.register_buffer("source_in", source_in)
        self.register_buffer("source_out", source_out)
        self.register_buffer("source_bias", _source_bias(source_bias, len(source_in)))
        width = config.width if source_out is None else 2 * config.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.fallback = nn.Embedding(N_BYTES, width)
            self.project = nn.Sequential(nn.Linear(width, config.hidden), Projector(config))
            self.positions = nn.Embedding(config.pieces, config.hidden)
            self.language = nn.Embedding(config.languages, config.hidden) if config.languages else None
            self.norm = nn.LayerNorm(config.hidden, eps=config.encoder_eps)
            self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
            self.head_in = _head(config)
            self.head_out = None if source_out is None else _head(config)
            self.head_bias = nn.Linear(config.hidden, 1) if config.bias else None
            self.apply(fresh)
        self.read = Rescaler(width)
        self.write_in = Rescaler(config.width)
        self.write_out = None if source_out is None else Rescaler(config.width)
        self.register_buffer("ordinary", self._ordinary(excluded))
        self._calibrate()

    @classmethod
    def for_vocab(
        cls,
        vocab: Vocab,
        source_in: np.ndarray | Tensor,
        source_out: np.ndarray | Tensor | None,
        *,
        config: HypernetConfig,
        source_bias: np.ndarray | Tensor | None = None,
        seed: int = 0,
    ) -> "Hypernetwork":
        """A fresh network for the rows of a vocabulary; padding rows behind it are cut off."""
        if len(source_in) < vocab.size:
            raise ValueError(f"{len(source_in)} rows for the {vocab.size} ids of {vocab.name}; need one an id.")
        given = (source_in, source_out, source_bias)
        *rows, bias = [None if rows is None else torch.as_tensor(rows)[: vocab.size] for rows in given]
        excluded = np.flatnonzero(vocab.kinds >= Kind.SPECIAL).tolist()
        return cls(*rows, config, source_bias=bias, excluded=excluded, fingerprint=rows_fingerprint(vocab), seed=seed)

    @property
    def n_old(self) -> int:
        """Ids of the source vocabulary."""
        return len(self.source_in)

    def forward(self, surface_NM: Tensor, *, language: int | None = None) -> tuple[Tensor, Tensor | None]:
        """Rows of tokens.

        Args:
            surface_NM: int64 piece ids, -1 behind the last; ids from `n_old` on are bytes. A token without pieces
                gets a row, but it means nothing.
            language: number of the language vector, where the network has them.

        Returns:
            Input rows (N, D), and head rows where the model has a head of its own.

        Raises:
            ValueError: more pieces than the network has positions, ids out of range, or a wrong language.
        """
        return self.make(surface_NM, language=language)[:2]

    def make(self, surface_NM: Tensor, *, language: int | None = None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The same rows, and biases (N,) of the head: made ones, those of the pieces, or None where nothing is known.

        Without a bias of its own (`HypernetConfig.bias`) a network gives the mean bias of the pieces; with one, the
        residual form adds to that, and the paper's form stands for itself.
        """
        surface_NM = self._checked(surface_NM)
        hidden_NH = self._hidden(surface_NM, language)
        bias_N = None if self.head_bias is None else self.head_bias(hidden_NH)[:, 0]
        if self.source_bias is not None and (bias_N is None or self.config.residual):
            of_pieces_N = self._mean(surface_NM, self.source_bias[:, None])[:, 0]
            bias_N = of_pieces_N if bias_N is None else of_pieces_N + bias_N
        rows_in = self.write_in(self.head_in(hidden_NH))
        rows_out = None if self.head_out is None else self.write_out(self.head_out(hidden_NH))
        if self.config.residual:
            rows_in = self._mean(surface_NM, self.source_in) + rows_in
            rows_out = None if rows_out is None else self._mean(surface_NM, self.source_out) + rows_out
        return rows_in, rows_out, bias_N

    def biases(self, surface_NM: Tensor, *, language: int | None = None) -> Tensor:
        """Biases (N,) of the head.

        Raises:
            ValueError: the network has none.
        """
        made_N = self.make(surface_NM, language=language)[2]
        if made_N is None:
            raise ValueError("This hypernetwork makes no bias; train it with HypernetConfig(bias=True).")
        return made_N

    def language_number(self, language: int | str | None) -> int | None:
        """The number of a language vector given by number or by name.

        Raises:
            ValueError: a name this network does not know.
        """
        if not isinstance(language, str) or language.isdecimal():
            return None if language is None else int(language)
        names = self.config.language_names
        if language not in names:
            from tokenry.core.choosing import suggest

            listed = ", ".join(names) or "none: give its number"
            raise ValueError(
                f"language {language!r} has no vector here.{suggest(language, names)} The network names: {listed}."
            )
        return names.index(language)

    def embed(
        self, surface: np.ndarray | Tensor, *, batch: int = BATCH, language: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The same rows as float32 numpy arrays, without gradients, `batch` tokens at a time."""
        return self.embed_all(surface, batch=batch, language=language)[:2]

    def embed_all(
        self, surface: np.ndarray | Tensor, *, batch: int = BATCH, language: int | None = None
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Rows and biases (see `make`) as float32 numpy arrays, without gradients, `batch` tokens at a time."""
        surface = torch.as_tensor(surface, dtype=torch.int64, device=self.source_in.device)
        with torch.no_grad():
            # At least one part, so that no token still has the right width.
            starts = range(0, max(1, len(surface)), batch)
            parts = [self.make(surface[start : start + batch], language=language) for start in starts]
        columns = zip(*parts, strict=True)
        return tuple(None if column[0] is None else torch.cat(column).float().cpu().numpy() for column in columns)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write weights, source rows and shape to a folder, which appears whole or not at all."""
        from tokenry.transplant.hypernet_files import save

        save(self, folder, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path, *, vocab: Vocab | None = None) -> "Hypernetwork":
        """Open what `save` wrote.

        Args:
            vocab: of the model it shall serve; refused where the network was made for another one.

        Raises:
            FileNotFoundError: no such folder. ValueError: another vocabulary, or damaged files.
        """
        from tokenry.transplant.hypernet_files import load

        return load(folder, vocab=vocab)

    def _checked(self, surface_NM: Tensor) -> Tensor:
        if surface_NM.ndim != 2:
            raise ValueError(f"Surface forms of shape {tuple(surface_NM.shape)}; need (tokens, pieces).")
        used = int((surface_NM != PADDING).sum(1).max()) if len(surface_NM) else 0
        if used > self.config.pieces:
            raise ValueError(
                f"A token of {used} pieces for a network that reads {self.config.pieces}; "
                f"cut them with surface_forms(..., pieces={self.config.pieces})."
            )
        if len(surface_NM) and not PADDING <= int(surface_NM.min()) <= int(surface_NM.max()) < self.n_old + N_BYTES:
            raise ValueError(
                f"Piece ids {int(surface_NM.min())} to {int(surface_NM.max())}; need -1 to {self.n_old + N_BYTES - 1}: "
                f"this network knows {self.n_old} tokens and {N_BYTES} bytes. Cut tokens with its source vocabulary."
            )
        # Columns of padding alone are dropped, so that the width that came in does not matter.
        return surface_NM[:, : max(1, used)]

    def _pieces(self, surface_NM: Tensor) -> Tensor:
        """What is read of each piece (N, M, S): scaled source rows, or the learned row of a byte."""
        ids_NM = surface_NM.clamp(0, self.n_old - 1)
        rows_NMS = functional.embedding(ids_NM, self.source_in)
        if self.source_out is not None:
            rows_NMS = torch.cat([rows_NMS, functional.embedding(ids_NM, self.source_out)], dim=-1)
        bytes_NMS = self.fallback((surface_NM - self.n_old).clamp(0, N_BYTES - 1))
        return torch.where((surface_NM >= self.n_old)[..., None], bytes_NMS, self.read(rows_NMS))

    def _hidden(self, surface_NM: Tensor, language: int | None) -> Tensor:
        known = range(self.config.languages) if self.language is not None else (None,)
        if language not in known:
            raise ValueError(f"language={language} for a network with {self.config.languages} language vectors.")
        x_NMH = self.project(self._pieces(surface_NM)) + self.positions.weight[: surface_NM.shape[1]]
        mask_NM = surface_NM != PADDING
        # A token without pieces looks at its first place, else attention would divide by zero.
        mask_NM = torch.cat([torch.ones_like(mask_NM[:, :1]), mask_NM[:, 1:]], dim=1)
        if language is not None:
            # It has no position: its place must not depend on the width of the matrix.
            vector_N1H = self.language.weight[language].expand(len(surface_NM), 1, -1)
            x_NMH = torch.cat([x_NMH, vector_N1H], dim=1)
            mask_NM = torch.cat([mask_NM, torch.ones_like(mask_NM[:, :1])], dim=1)
        x_NMH = self.norm(x_NMH)
        for i, layer in enumerate(self.layers):
            x_NMH = layer(x_NMH, mask_NM, first_only=i + 1 == len(self.layers))
        return x_NMH[:, 0]

    def _mean(self, surface_NM: Tensor, rows: Tensor) -> Tensor:
        """Mean row of the pieces that are tokens, summed in their order; of no piece the mean of the rows."""
        is_token_NM = (surface_NM >= 0) & (surface_NM < self.n_old)
        number_N = is_token_NM.sum(1)
        weights_N = 1 / number_N.clamp(min=1).to(rows.dtype)
        out_ND = rows.new_zeros(len(surface_NM), rows.shape[1])
        for ids_N, is_token_N in zip(surface_NM.unbind(1), is_token_NM.unbind(1), strict=True):
            scale_N = torch.where(is_token_N, weights_N, 0)
            out_ND = out_ND + scale_N[:, None] * functional.embedding(ids_N.clamp(0, self.n_old - 1), rows)
        return torch.where((number_N == 0)[:, None], rows[self.ordinary].mean(0), out_ND)

    def _ordinary(self, excluded: Sequence[int]) -> Tensor:
        """Ids whose rows tell the scale: neither excluded nor zero."""
        keep = self.source_in.abs().sum(1) > 0
        if self.source_out is not None:
            keep &= self.source_out.abs().sum(1) > 0
        keep[torch.as_tensor(list(excluded), dtype=torch.int64)] = False
        if int(keep.sum()) < 2:
            raise ValueError(
                f"{int(keep.sum())} of {self.n_old} source rows are neither excluded nor zero; need at least 2. "
                "Are these the rows of the model?"
            )
        return torch.nonzero(keep)[:, 0]

    def _calibrate(self) -> None:
        """Set the rescalers: in to mean 0 and SPREAD, out to mean and spread of the true rows."""
        sources = [rows[self.ordinary] for rows in (self.source_in, self.source_out) if rows is not None]
        self.read.fit(torch.cat(sources, dim=1), mean=0.0, spread=SPREAD)
        heads = [(self.head_in, self.write_in), (self.head_out, self.write_out)][: len(sources)]
        if self.config.residual:
            if self.head_bias is not None:
                nn.init.zeros_(self.head_bias.weight)
            for head, rescaler in heads:
                nn.init.zeros_(head[1].weight)
                rescaler.scale.fill_(self.config.alpha / self.config.width**0.5)
            return
        with torch.no_grad():
            if self.head_bias is not None and self.source_bias is not None:
                self.head_bias.bias.fill_(self.source_bias[self.ordinary].mean())
            sample = self.ordinary[:: max(1, len(self.ordinary) // BATCH)]
            # Any language will do: only the scale of fresh weights is looked at.
            hidden_NH = self._hidden(sample[:, None], None if self.language is None else 0)
            for (head, rescaler), rows_ND in zip(heads, sources, strict=True):
                rescaler.fit(head(hidden_NH), mean=rows_ND.mean(0), spread=rows_ND.std(0))


def hypernet(gap: Gap, *, hypernet: str, language: int | str | None = None, batch: int = BATCH) -> Rows:
    """Rows by a trained hypernetwork (`tokenry hypernet train`), from the pieces of each token.

    The bias of a masked model's head is made too: by the network, or as the mean of the pieces' biases.

    Args:
        hypernet: folder of the network; it must be of the vocabulary that is moved.
        language: number or name of the language vector, where the network has them.
        batch: tokens in one pass.

    Raises:
        ValueError: the network is of another vocabulary or width, or has no rows for the model's own head.
    """
    network = Hypernetwork.load(hypernet, vocab=gap.old)
    if gap.base is not None and gap.base.shape[1] != network.config.width:
        raise ValueError(
            f"The hypernetwork makes rows of width {network.config.width}, the model's have {gap.base.shape[1]}. "
            "Take the network that was trained for this model."
        )
    if gap.base is not None and (gap.base_head is None) != (network.source_out is None):
        theirs, ours = ("one matrix", "two") if gap.base_head is None else ("two matrices", "one")
        raise ValueError(
            f"The model has {theirs} for embedding and head, the hypernetwork was made for {ours}. "
            "Take the network that was trained for this model."
        )
    tokens = [gap.new.tokens[i] for i in gap.ids.tolist()]
    spelled = [ids or (spell(gap.old, token) if token else []) for ids, token in zip(gap.pieces, tokens, strict=True)]
    surface, truncated = surface_matrix(spelled, pieces=network.config.pieces)
    made_in, made_out, made_bias = network.embed_all(surface, batch=batch, language=network.language_number(language))
    is_empty = np.array([not ids for ids in spelled], dtype=bool)
    for table in (made_in, made_out, made_bias):
        if table is not None:
            table[is_empty] = np.nan
    info = {
        "truncated_surface_forms": truncated,
        "pieces_per_new_token": float(np.mean([len(ids) for ids in spelled])) if spelled else 0.0,
    }
    kinds = np.full(gap.ids.size, RowKind.MEAN, dtype=np.uint8)
    rows = {"dense": made_in, "dense_head": made_out, "dense_bias": made_bias}
    return Rows([([], [])] * gap.ids.size, kinds, info=info, **rows)


def piece_rows(network: Hypernetwork, vocab: Vocab) -> Callable[[Sequence[bytes]], tuple[Tensor, Tensor | None]]:
    """A maker of rows for merged pieces, as dynamic tokenization takes it (`dynamic_rows.MakeRows`).

    A piece of more tokens than the network reads gets the mean of their rows. A model with one matrix for both gets
    its input rows as output rows too.
    """

    def make(pieces: Sequence[bytes]) -> tuple[Tensor, Tensor | None]:
        spelled = [spell(vocab, piece) for piece in pieces]
        surface, _ = surface_matrix(spelled, pieces=network.config.pieces)
        with torch.no_grad():
            made = network(torch.as_tensor(surface, device=network.source_in.device))
            for n in [n for n, ids in enumerate(spelled) if len(ids) > network.config.pieces]:
                known = [i for i in spelled[n] if i < network.n_old] or network.ordinary
                for rows, source in zip(made, (network.source_in, network.source_out), strict=True):
                    if rows is not None:
                        rows[n] = source[known].mean(0)
        return made[0], made[0] if made[1] is None else made[1]

    return make


def _source(rows: Tensor | None, width: int) -> Tensor | None:
    if rows is None:
        return None
    rows = torch.as_tensor(rows).detach().to(torch.float32).clone()
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"Source rows of shape {tuple(rows.shape)}; need (ids, {width}), as the configuration says.")
    if not bool(torch.isfinite(rows).all()):
        raise ValueError("Source rows hold NaN or infinite numbers; need finite ones. Check the model's weights.")
    return rows


def _source_bias(bias: Tensor | None, n_rows: int) -> Tensor | None:
    if bias is None:
        return None
    bias = torch.as_tensor(bias).detach().to(torch.float32).clone()
    if bias.shape != (n_rows,) or not bool(torch.isfinite(bias).all()):
        raise ValueError(f"A head bias of shape {tuple(bias.shape)} for {n_rows} rows; need a finite number for each.")
    return bias


def _head(config: HypernetConfig) -> nn.Sequential:
    return nn.Sequential(Projector(config), nn.Linear(config.hidden, config.width))
