"""The shape of a hypernetwork and the layers it is built of: projectors, an encoder as RoBERTa's, fixed rescalers.

Paper: Zero-Shot Tokenizer Transfer (arXiv 2405.07883).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokenry.transplant.surface_forms import PIECES

# Axes: N tokens, M pieces, H hidden width, D model width.

SPREAD = 0.02
"""Standard deviation of fresh weights, and of source rows as the network reads them."""


@dataclass(frozen=True)
class HypernetConfig:
    """The shape of a hypernetwork. A 0 is settled from the width of the model, as in the paper.

    Attributes:
        width: of the rows of the model.
        layers: of the encoder.
        hidden: width inside; 0 means that of the model.
        heads: of attention; 0 means one for each 64 of `hidden`, at least one.
        inner: width of feed-forward parts; 0 means twice `hidden`.
        pieces: most pieces of a token.
        residual: start from the mean of the pieces' rows and learn a correction (tokenkit's form).
        alpha: the correction counts alpha / sqrt(width).
        bias: learn a bias of the head for each token too; lost where the model has no such bias.
        languages: number of language vectors, one of which is an extra position; 0 means none.
        language_names: what they are called, as far as it is known.
        projector_eps, encoder_eps: of the layer norms, as in the published networks.
    """

    width: int
    layers: int = 3
    hidden: int = 0
    heads: int = 0
    inner: int = 0
    pieces: int = PIECES
    residual: bool = False
    alpha: float = 1.0
    bias: bool = False
    languages: int = 0
    language_names: tuple[str, ...] = ()
    projector_eps: float = 1e-6
    encoder_eps: float = 1e-5

    def __post_init__(self) -> None:
        least = {"width": 1, "layers": 0, "pieces": 1, "hidden": 0, "heads": 0, "inner": 0, "languages": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}={getattr(self, name)} of a hypernetwork; need at least {low}.")
        if self.language_names and len(self.language_names) != self.languages:
            raise ValueError(f"{len(self.language_names)} names for {self.languages} language vectors; need one each.")
        hidden = self.hidden or self.width
        heads = self.heads or next(n for n in range(max(1, hidden // 64), 0, -1) if hidden % n == 0)
        if hidden % heads:
            raise ValueError(f"heads={heads} do not divide the hidden width {hidden}; need a divisor of it.")
        for name, value in (("hidden", hidden), ("heads", heads), ("inner", self.inner or 2 * hidden)):
            object.__setattr__(self, name, value)


class Rescaler(nn.Module):
    """A fixed scale and shift for each dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("shift", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift

    def fit(self, rows_ND: Tensor, *, mean: float | Tensor, spread: float | Tensor) -> None:
        """Set it so that these rows come out with this mean and standard deviation in each dimension."""
        now_D = rows_ND.std(0)
        # A dimension that never moves is not blown up.
        self.scale.copy_(torch.where(now_D > 1e-12, spread / now_D.clamp(min=1e-12), 1.0))
        self.shift.copy_(mean - self.scale * rows_ND.mean(0))


class Projector(nn.Module):
    """Two dense layers with a skip around them and a layer norm behind."""

    def __init__(self, config: HypernetConfig) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(config.hidden, config.inner), nn.Linear(config.inner, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.projector_eps)

    def forward(self, x: Tensor) -> Tensor:
        inside = functional.gelu(self.up(x), approximate="tanh")
        return self.norm(functional.gelu(self.down(inside), approximate="tanh") + x)


class Layer(nn.Module):
    """An encoder layer as RoBERTa's: attention and a feed-forward part, each with a layer norm behind."""

    def __init__(self, config: HypernetConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv, self.out = nn.Linear(config.hidden, 3 * config.hidden), nn.Linear(config.hidden, config.hidden)
        self.norm = nn.LayerNorm(config.hidden, eps=config.encoder_eps)
        self.up, self.down = nn.Linear(config.hidden, config.inner), nn.Linear(config.inner, config.hidden)
        self.last_norm = nn.LayerNorm(config.hidden, eps=config.encoder_eps)

    def forward(self, x_NMH: Tensor, mask_NM: Tensor, *, first_only: bool = False) -> Tensor:
        """The layer's output; with `first_only` that of the first place alone, all that is read in the end."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x_NMH).chunk(3, dim=-1))
        if first_only:
            x_NMH, q = x_NMH[:, :1], q[:, :, :1]
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask_NM[:, None, None, :])
        x_NMH = self.norm(x_NMH + self.out(seen.transpose(1, 2).flatten(-2)))
        return self.last_norm(x_NMH + self.down(functional.gelu(self.up(x_NMH))))


def fresh(module: nn.Module) -> None:
    """Draw the weights of a linear layer or a table anew; biases are 0."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=SPREAD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
