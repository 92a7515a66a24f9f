"""Routers: which tokens of the small model the large one should write instead, as a score from 0 to 1 a row.

`HiddenStateRouter` is the trained one: it reads the small model's last hidden state, its largest logits and the
embedding of the proposed token. The others need no training: entropy, aleatoric uncertainty, chance, and the oracle
that runs the large model at every step to see whether it differs.

Papers: R2R (arXiv 2505.21600), section 4; the uncertainty from logits is LogTokU's (arXiv 2502.00290).
"""

# Axes: B rows, D width of the small model, V vocabulary, K largest logits.

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tokenry.models.lm import LM

N_LOGITS = 100
INPUTS = ("hidden", "logits", "embedding")
PAPER_ENTROPY, PAPER_ALEATORIC = 0.45, 2.275
"""Thresholds of the paper's code, in nats."""
EMBEDDING_TOLERANCE = 0.01
"""How far the mean size of the embedding may be from the one trained on: far more than rounding, far less than another
training run."""


@dataclass(frozen=True)
class RoutingStep:
    """What a router may look at: the small model has just proposed a token for each row.

    Attributes:
        hidden_BD: the small model's last hidden state where it proposed.
        logits_BV: its raw logits there.
        tokens_B: the proposed ids.
        embedding_BD: their rows of the small model's input embedding.
        rows: number of each row in the call, which stays when other rows have ended.
        position: tokens written so far.
        contexts: ids of each row's text, without the proposal.
        large: runs the large model over the same text and gives its raw logits (B, V); the loop uses them again.
    """

    hidden_BD: Tensor
    logits_BV: Tensor
    tokens_B: Tensor
    embedding_BD: Tensor
    rows: Sequence[int] = ()
    position: int = 0
    contexts: Sequence[list[int]] = ()
    large: Callable[[], Tensor] | None = None


class Router(Protocol):
    """Scores from 0 (the small model's token is good) to 1; optional: `threshold`, `n_parameters`, `check(small)`."""

    def __call__(self, step: RoutingStep) -> Tensor:
        """Scores (B,)."""


def top_logits(logits_BV: Tensor, k: int) -> Tensor:
    """The `k` largest logits (B, k), descending, float32; fewer where the vocabulary is smaller."""
    return logits_BV.float().topk(min(k, logits_BV.shape[-1]), dim=-1).values


def entropy_nats(logits_BV: Tensor) -> Tensor:
    """Entropy (B,) of the law after a softmax, in nats."""
    log_p_BV = logits_BV.double().log_softmax(-1)
    return -(log_p_BV.exp() * log_p_BV.nan_to_num(neginf=0.0)).sum(-1)


def aleatoric_nats(top_BK: Tensor) -> Tensor:
    """Expected entropy (B,) of a Dirichlet whose evidence is the positive part of the largest logits, in nats.

    Paper: LogTokU (arXiv 2502.00290), as R2R's code takes it: -sum a_k/a_0 (psi(a_k + 1) - psi(a_0 + 1)).
    """
    evidence_BK = top_BK.double().clamp_min(0)
    total_B = evidence_BK.sum(-1, keepdim=True).clamp_min(1e-12)
    terms_BK = evidence_BK / total_B * (torch.digamma(evidence_BK + 1) - torch.digamma(total_B + 1))
    return -terms_BK.sum(-1)


@dataclass
class EntropyRouter:
    """Routes where the small model is unsure: score 1 - exp(-entropy); default threshold: the paper's 0.45 nats."""

    threshold: float = field(default=float(1 - np.exp(-PAPER_ENTROPY)))

    def __call__(self, step: RoutingStep) -> Tensor:
        """Scores (B,)."""
        return 1 - (-entropy_nats(step.logits_BV)).exp()


@dataclass
class AleatoricRouter:
    """Routes by the uncertainty in the ten largest logits; the default threshold is the paper's 2.275 nats."""

    n_logits: int = 10
    threshold: float = field(default=float(1 - np.exp(-PAPER_ALEATORIC)))

    def __call__(self, step: RoutingStep) -> Tensor:
        """Scores (B,)."""
        return 1 - (-aleatoric_nats(top_logits(step.logits_BV, self.n_logits))).exp()


@dataclass
class RandomRouter:
    """Routes by chance: the baseline at an equal rate. A row's scores do not depend on the rows beside it."""

    seed: int = 0
    threshold: float = 0.5

    def __call__(self, step: RoutingStep) -> Tensor:
        """Scores (B,), uniform."""
        drawn = [np.random.default_rng([self.seed, row, step.position]).random() for row in step.rows]
        return torch.tensor(drawn, dtype=torch.float64)

    def threshold_for(self, share: float) -> float:
        """The threshold that routes this share."""
        return 1 - share


@dataclass
class OracleRouter:
    """Routes where the large model would write another token; runs it at every step, so it saves nothing.

    Greedy text is then exactly the large model's: the law that the loop is held to.
    """

    threshold: float = 0.5

    def __call__(self, step: RoutingStep) -> Tensor:
        """1 where the likeliest tokens differ, else 0 (B,)."""
        n_tokens = step.logits_BV.shape[-1]
        return (step.large()[..., :n_tokens].argmax(-1) != step.tokens_B).double()


ROUTERS = {
    "entropy": "tokenry.decoding.routers:EntropyRouter",
    "aleatoric": "tokenry.decoding.routers:AleatoricRouter",
    "random": "tokenry.decoding.routers:RandomRouter",
    "oracle": "tokenry.decoding.routers:OracleRouter",
}
"""Routers without training: name -> what makes one."""


@dataclass(frozen=True)
class RouterShape:
    """Size of the network; the defaults are the paper's (56 million parameters at a width of 1,536).

    Attributes:
        width: D of the small model.
        n_logits: K.
        inner: width of the residual blocks, each with a hidden layer four times as wide.
        blocks: how many.
        inputs: which of INPUTS it reads.
        dropout: in the blocks.
    """

    width: int
    n_logits: int = N_LOGITS
    inner: int = 1024
    blocks: int = 6
    inputs: tuple[str, ...] = INPUTS
    dropout: float = 0.1

    def __post_init__(self) -> None:
        odd = [name for name in self.inputs if name not in INPUTS]
        if odd or not self.inputs:
            raise ValueError(f"inputs {list(self.inputs)} of a router; need some of {', '.join(INPUTS)}.")
        for name in ("width", "n_logits", "inner"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} of a router; need at least 1.")


class RouterNet(nn.Module):
    """concat(hidden, Linear(logits), embedding) -> Linear -> pre-norm residual blocks -> LayerNorm -> Linear -> logit.

    Each input is first shifted and scaled by the mean and spread of the training set (buffers; the paper does not:
    with thousands instead of millions of labels the first layer would spend them on the scale).
    """

    def __init__(self, shape: RouterShape) -> None:
        super().__init__()
        self.shape = shape
        sizes = {"hidden": shape.width, "logits": shape.n_logits, "embedding": shape.width}
        for name in shape.inputs:
            self.register_buffer(f"{name}_shift", torch.zeros(sizes[name]))
            self.register_buffer(f"{name}_scale", torch.ones(sizes[name]))
        self.from_logits = nn.Linear(shape.n_logits, shape.width) if "logits" in shape.inputs else None
        self.entry = nn.Linear(shape.width * len(shape.inputs), shape.inner)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(shape.inner),
                nn.Linear(shape.inner, 4 * shape.inner),
                nn.GELU(),
                nn.Dropout(shape.dropout),
                nn.Linear(4 * shape.inner, shape.inner),
            )
            for _ in range(shape.blocks)
        )
        self.norm, self.exit = nn.LayerNorm(shape.inner), nn.Linear(shape.inner, 1)

    @torch.no_grad()
    def standardise(self, **inputs: Tensor) -> None:
        """Take shift and scale of each input from examples (N, ...)."""
        for name in self.shape.inputs:
            values = inputs[name].float()
            spread = values.std(0, correction=0)
            getattr(self, f"{name}_shift").copy_(values.mean(0))
            getattr(self, f"{name}_scale").copy_(torch.where(spread > 1e-6, 1 / spread, 1.0))

    def forward(self, **inputs: Tensor) -> Tensor:
        """Logits (B,) of "the large model should write this token"; inputs (B, ...) by the names in INPUTS."""
        parts = []
        for name in self.shape.inputs:
            values = (inputs[name].float() - getattr(self, f"{name}_shift")) * getattr(self, f"{name}_scale")
            parts.append(self.from_logits(values) if name == "logits" else values)
        state = self.entry(torch.cat(parts, -1))
        for block in self.blocks:
            state = state + block(state)
        return self.exit(self.norm(state))[..., 0]


@dataclass
class HiddenStateRouter:
    """The trained router of one small model.

    Attributes:
        net: the network, in evaluation mode.
        threshold: chosen in training.
        facts: what it was trained on: vocabulary, embedding_size (mean absolute number), quantiles of its scores, ...
    """

    net: RouterNet
    threshold: float = 0.5
    facts: dict = field(default_factory=dict)

    @property
    def n_parameters(self) -> int:
        """Of the network."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    @torch.inference_mode()
    def __call__(self, step: RoutingStep) -> Tensor:
        """Scores (B,)."""
        top_BK = top_logits(step.logits_BV, self.net.shape.n_logits)
        return self.net(hidden=step.hidden_BD, logits=top_BK, embedding=step.embedding_BD).double().sigmoid()

    def threshold_for(self, share: float) -> float:
        """The threshold that routed this share of the validation tokens."""
        quantiles = self.facts.get("score_quantiles")
        if not quantiles:
            raise ValueError("this router holds no quantiles of its scores; give a threshold instead of a share.")
        return float(np.interp(1 - share, np.linspace(0, 1, len(quantiles)), quantiles))

    def check(self, small: LM) -> None:
        """Refuse a small model it was not trained on: its hidden states would mean nothing.

        Raises:
            ValueError: another width, vocabulary or embedding.
        """
        expected = self.facts | {"width": self.net.shape.width}
        found = facts_of(small)
        wrong = [key for key in ("width", "vocabulary") if key in expected and expected[key] != found[key]]
        size, ours = expected.get("embedding_size"), found["embedding_size"]
        if wrong or (size and abs(size - ours) > EMBEDDING_TOLERANCE * size):
            raise ValueError(
                f"the router was trained on another small model ({self.facts.get('small', 'unnamed')}) than "
                f"{small.name}: {', '.join(wrong) or 'the embedding'} differ(s). A router reads the states of one "
                "model: train one for this model (tokenry route label, tokenry route train)."
            )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write `router.safetensors` and `router.json`."""
        from safetensors.torch import save_file

        from tokenry.core.runs import atomic_folder

        about = {"shape": asdict(self.net.shape), "threshold": self.threshold, "facts": self.facts}
        with atomic_folder(Path(folder), overwrite=overwrite) as beside:
            save_file({key: value.contiguous() for key, value in self.net.state_dict().items()},
                      beside / "router.safetensors")  # fmt: skip
            (beside / "router.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        return Path(folder)

    @classmethod
    def open(cls, folder: str | Path, *, device: str | torch.device = "cpu") -> "HiddenStateRouter":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: no router there. ValueError: weights that do not fit the shape.
        """
        from safetensors.torch import load_file

        folder = Path(folder)
        missing = [name for name in ("router.json", "router.safetensors") if not (folder / name).is_file()]
        if missing:
            from tokenry.core.choosing import suggest

            raise FileNotFoundError(
                f"{folder} is no router: no {missing[0]}.{suggest(str(folder), ROUTERS)} Train one "
                f"(tokenry route train), or name one without training: {', '.join(ROUTERS)}."
            )
        try:
            about = json.loads((folder / "router.json").read_text(encoding="utf-8"))
            shape = RouterShape(**{**about["shape"], "inputs": tuple(about["shape"]["inputs"])})
            threshold, facts = float(about["threshold"]), dict(about["facts"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{folder}/router.json is damaged ({error}). Train the router again.") from None
        net = RouterNet(shape)
        try:
            net.load_state_dict(load_file(folder / "router.safetensors"))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise ValueError(f"{folder}: weights and router.json differ ({reason}). Train it again.") from None
        return cls(net.to(device).eval(), threshold, facts)


def facts_of(small: LM) -> dict:
    """What identifies the small model of a router: width, vocabulary, mean size of the embedding's numbers."""
    weight = small.model.get_input_embeddings().weight[: small.vocab.size]
    return {
        "width": int(small.model.config.get_text_config().hidden_size),
        "vocabulary": small.vocab.fingerprint,
        "embedding_size": float(weight.detach().abs().float().mean()),
    }


def open_router(source: "str | Path | Router", *, device: str | torch.device = "cpu") -> Router:
    """A router from a name in ROUTERS, a folder, `pkg.module:maker`, or one that is made already."""
    if not isinstance(source, str | Path):
        return source
    if str(source) in ROUTERS or (":" in str(source) and not Path(source).exists()):
        from tokenry.core.choosing import resolve

        return resolve(str(source), ROUTERS, kind="router")()
    return HiddenStateRouter.open(source, device=device)
