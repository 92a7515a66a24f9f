"""Decompounding: a small local model that says where compounds are cut, learned from hyphens, for any trainer to use.

`learn_decompounder` makes it from plain text, `decompound` and `compound_cuts` use it. The cuts can shape a tokenizer
(`train(..., boundary="compounds:FOLDER")`) which needs no decompounder afterwards.

Paper: CompoundPiece: Evaluating and Improving Decompounding Performance of Language Models (arXiv 2305.14214).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tokenry.core.choosing import needs
from tokenry.tokenization.boundaries import CutProvider
from tokenry.tokenization.compound_network import (
    LONGEST,
    alphabet_of_words,
    batches,
    build,
    gap_loss,
    numbered,
    symbols,
)
from tokenry.tokenization.hyphens import HYPHENS, Cuts, HyphenExamples, parts_of

if TYPE_CHECKING:
    from torch import nn

WEIGHTS, CARD = "model.safetensors", "decompounder.json"
_FORMAT = 1
_BATCH = 512
_SHORTEST_PART = 2
_MOST_CARD_BYTES = 1 << 20

Rule = tuple[int, str]
"""What makes a part its constituent: characters to take from its end, and letters to put there. "arbeits" is "arbeit"
by (1, ""), "schul" is "schule" by (0, "e")."""


@dataclass(eq=False)
class Decompounder:
    """A trained model. Called with words it gives their cuts, each distinct word being looked at once."""

    network: "nn.Module"
    alphabet: tuple[str, ...]
    sizes: dict[str, int]
    """width and hidden of the network."""
    threshold: float = 0.5
    """Least probability of a cut."""
    notes: dict = field(default_factory=dict)
    """How it was made."""
    rules: tuple[Rule, ...] = ()
    """What the network chooses from at the end of a part, after stage 2 (`compound_tuning.tune_decompounder`)."""
    _known: dict[str, Cuts] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> "Decompounder":
        """Open a folder written by `save`.

        Raises:
            FileNotFoundError: no such folder. ValueError: it holds something else. ImportError: torch is missing.
        """
        folder = Path(folder).expanduser()
        if not (folder / CARD).is_file() or not (folder / WEIGHTS).is_file():
            raise FileNotFoundError(
                f"no decompounder at {folder}; need a folder with {CARD} and {WEIGHTS}. "
                "Make one: tokenry tokenizer decompound train --data TEXT --out FOLDER."
            )
        needs("models", "torch", "safetensors")
        from safetensors.torch import load_file

        card = _checked_card(folder)
        network = build(len(card["alphabet"]), n_rules=len(card["rules"]), **card["sizes"])
        try:
            network.load_state_dict(load_file(folder / WEIGHTS))
        except Exception as error:
            raise ValueError(
                f"{folder / WEIGHTS} does not fit {CARD} beside it ({str(error)[:200]}). Was one of them replaced? "
                "Train it again."
            ) from None
        return cls(network.eval(), tuple(card["alphabet"]), card["sizes"], card["threshold"], card["notes"],
                   card["rules"])  # fmt: skip

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and alphabet (JSON) into a folder."""
        from safetensors.torch import save_file

        from tokenry.core.runs import atomic_write

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous() for name, value in self.network.state_dict().items()}, folder / WEIGHTS)
        card = {"format": _FORMAT, "alphabet": list(self.alphabet), "sizes": self.sizes, "threshold": self.threshold,
                "notes": self.notes, "rules": self.rules}  # fmt: skip
        atomic_write(folder / CARD, json.dumps(card, ensure_ascii=False, indent=1) + "\n")

    def __call__(self, words: Sequence[str]) -> list[Cuts]:
        """Inner offsets of each word; () for a word with anything but letters, and for one over 64 characters."""
        new = [word for word in dict.fromkeys(map(folded, words)) if word not in self._known and may_be_cut(word)]
        new.sort(key=len)
        for start in range(0, len(new), _BATCH):
            batch = new[start : start + _BATCH]
            for word, scores in zip(batch, self._scores(batch), strict=True):
                self._known[word] = _chosen(scores, self.threshold)
        return [self._known.get(folded(word), ()) for word in words]

    def constituents(self, words: Sequence[str]) -> list[list[str]]:
        """What each word is made of, in lower case ("arbeit", "platz"); without stage 2 its surface parts."""
        import torch

        found = [parts_of(folded(word), cuts) for word, cuts in zip(words, self(words), strict=True)]
        cut = [w for w, parts in enumerate(found) if len(parts) > 1]
        if not self.rules:
            return found
        cut.sort(key=lambda w: len(words[w]))
        for start in range(0, len(cut), _BATCH):
            batch = cut[start : start + _BATCH]
            with torch.inference_mode():
                _, rules_BGR = self.network.both(
                    torch.from_numpy(symbols(["".join(found[w]) for w in batch], numbered(self.alphabet)))
                )
            for w, rules_GR in zip(batch, rules_BGR.float().numpy(), strict=True):
                ends = np.cumsum([len(part) for part in found[w]]).tolist()
                found[w] = [self._normalised(part, rules_GR[end]) for part, end in zip(found[w], ends, strict=True)]
        return found

    def _normalised(self, part: str, scores_R: np.ndarray) -> str:
        """The part under the likeliest rule that leaves something of it."""
        for r in np.argsort(-scores_R, kind="stable").tolist():
            drop, add = self.rules[r]
            if drop < len(part):
                return part[: len(part) - drop] + add
        return part

    def _scores(self, words: list[str]) -> list[list[float]]:
        """Probability of a cut before each character."""
        import torch

        with torch.inference_mode():
            logits_BT = self.network(torch.from_numpy(symbols(words, numbered(self.alphabet))))
        rows = torch.sigmoid(logits_BT.float()).tolist()
        return [row[: len(word)] for word, row in zip(words, rows, strict=True)]


def learn_decompounder(
    examples: HyphenExamples,
    *,
    steps: int = 2000,
    batch_size: int = 128,
    rate: float = 3e-3,
    width: int = 48,
    hidden: int = 96,
    seed: int = 0,
    resume: str | Path | None = None,
) -> Decompounder:
    """Train a decompounder on words whose hyphens were removed, and as many without (stage 1 of the paper).

    The paper's model rewrites a word byte by byte (ByT5, 580 million parameters); this one scores the gaps between
    characters (0.3 million), so it cuts and does not normalise. Case is folded, where the paper equalises it around the
    removed hyphen.

    Args:
        examples: from `hyphens.mine_hyphens`.
        steps, batch_size, rate: of the training (AdamW, linear to zero).
        width, hidden: of the network.
        seed: of weights, order and dropout.
        resume: folder for the state of an interrupted training.

    Raises:
        ImportError: torch is not installed. ValueError: no example that is short enough.

    Paper: CompoundPiece (arXiv 2305.14214), section 3.1.
    """
    needs("models", "torch", "safetensors")
    from tokenry.models.training import FitConfig, fit

    pairs = [(word, cuts) for word, cuts in ((folded(w), c) for w, c in examples.pairs) if may_be_cut(word)]
    if not any(cuts for _, cuts in pairs):
        raise ValueError(f"none of {len(examples.positives)} hyphenated words can be learned from; give more text.")
    alphabet = alphabet_of_words(word for word, _ in pairs)
    sizes = {"width": width, "hidden": hidden}
    network = build(len(alphabet), **sizes, seed=seed)
    config = FitConfig(rate=rate, warmup=max(1, steps // 20), seed=seed, weight_decay=0.01)
    take = batches(pairs, numbered(alphabet), size=batch_size, seed=seed)
    result = fit(network, take, gap_loss, steps=steps, config=config, resume=resume, label="learning to decompound")
    notes = {"positives": len(examples.positives), "negatives": len(examples.negatives), "steps": result.steps,
             "seed": seed, "last_loss": round(result.history[-1]["loss"], 4)}  # fmt: skip
    return Decompounder(network.eval(), alphabet, sizes, notes=notes)


def compound_cuts(model: "str | Path | Decompounder") -> CutProvider:
    """A provider of compound boundaries for `boundaries.apply_cuts`, `train(..., boundary="compounds:...")`.

    Args:
        model: a Decompounder, its folder, or "freq:FILE": the frequency-based splitter over a list of words and counts
            (see `compound_frequency.read_counts`), which needs no torch.

    Raises:
        FileNotFoundError, ValueError: as for opening either.
    """
    if isinstance(model, Decompounder):
        return model
    if not str(model) or model == "freq:":
        raise ValueError(f"compounds {str(model)!r} names no file; need the folder of a decompounder, or freq:FILE.")
    if isinstance(model, str) and model.startswith("freq:"):
        from tokenry.tokenization.compound_frequency import FrequencySplitter, read_counts

        return FrequencySplitter.of(read_counts(model.removeprefix("freq:")))
    return Decompounder.open(model)


def decompound(words: Sequence[str], model: "str | Path | Decompounder | CutProvider") -> list[list[str]]:
    """Cut words into their parts.

    Args:
        words: without spaces around.
        model: what `compound_cuts` takes, or any provider of cuts.

    Returns:
        The surface parts of each word, linking elements kept ("Arbeits", "platz"); joined they are the word.
    """
    provider = model if callable(model) else compound_cuts(model)
    return [parts_of(word, cuts) for word, cuts in zip(words, provider(words), strict=True)]


def folded(word: str) -> str:
    """Lower case, character by character, so that offsets stay."""
    lower = word.lower()
    return lower if len(lower) == len(word) else "".join(c.lower() if len(c.lower()) == 1 else c for c in word)


def may_be_cut(word: str) -> bool:
    return 2 * _SHORTEST_PART <= len(word) <= LONGEST and word.isalpha() and not any(h in word for h in HYPHENS)


def _chosen(scores: list[float], threshold: float) -> Cuts:
    """The likely cuts, the likeliest first, as long as every part keeps two characters."""
    chosen: list[int] = []
    for at in sorted(range(_SHORTEST_PART, len(scores) - _SHORTEST_PART + 1), key=lambda i: (-scores[i], i)):
        if scores[at] < threshold:
            break
        if all(abs(at - other) >= _SHORTEST_PART for other in chosen):
            chosen.append(at)
    return tuple(sorted(chosen))


def _checked_card(folder: Path) -> dict:
    """The content of the card.

    Raises:
        ValueError: when it is not one, or asks for an absurd network.
    """
    path = folder / CARD
    if path.stat().st_size > _MOST_CARD_BYTES:
        raise ValueError(f"{path} holds {path.stat().st_size:,} bytes; a card has at most {_MOST_CARD_BYTES:,}.")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        sizes = {name: int(card["sizes"][name]) for name in ("width", "hidden")}
        alphabet, threshold = card["alphabet"], float(card["threshold"])
        sound = card["format"] == _FORMAT and all(1 <= size <= 4096 for size in sizes.values()) and 0 < threshold < 1
        sound = sound and all(isinstance(c, str) and len(c) == 1 for c in alphabet) and len(alphabet) <= 10_000
        rules = tuple((drop, add) for drop, add in card.get("rules", ()))
        sound = sound and all(type(drop) is int and drop >= 0 and isinstance(add, str) for drop, add in rules)
        sound = sound and len(rules) <= 10_000
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the card of a decompounder ({error}); train it again.") from None
    if not sound:
        raise ValueError(f"{path} is the card of another kind or version; train it again.")
    notes = dict(card.get("notes") or {})
    return {"alphabet": alphabet, "sizes": sizes, "threshold": threshold, "notes": notes, "rules": rules}
