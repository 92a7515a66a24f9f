"""A target and a draft with one tokenizer, both trained here on the same source code, kept between runs.

    python bench/draft_pair.py         # about 12 CPU minutes the first time, after bench/base_lm.py
    from draft_pair import code_prompts, draft_model, target_model

The target is the English base model of bench/base_lm.py (2.1 M parameters) trained on with code; the draft one layer of
width 64 (0.3 M) trained on the same. Documents held out by bench/base_lm.py are held out here. All lies in
`~/.cache/tokenry-bench/draft-pair`.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import time
from pathlib import Path

from base_lm import base_model, heldout, training_texts
from corpus import cache_folder

TARGET_STEPS, DRAFT_STEPS, BATCH, LENGTH = 600, 700, 16, 128


def draft_model() -> Path:
    """Folder of the draft, trained at the first call."""
    folder = cache_folder() / "draft-pair" / "draft"
    if (folder / "config.json").is_file():
        return folder
    from tokenry.core.vocab import Vocab
    from tokenry.models.tiny import trained_tiny

    shape = {"width": 64, "layers": 1}
    lm = trained_tiny(
        training_texts("code"), Vocab.open(str(base_model())), steps=DRAFT_STEPS, length=LENGTH, batch_size=BATCH,
        rate=1e-2, **shape,
    )  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    return lm.save(folder)


def target_model() -> Path:
    """Folder of the target, trained at the first call."""
    folder = cache_folder() / "draft-pair" / "target"
    if (folder / "config.json").is_file():
        return folder
    from tokenry.models.batches import draw, pack, tokenise
    from tokenry.models.lm import LM
    from tokenry.models.training import FitConfig, fit

    lm = LM.open(str(base_model()))
    ids = tokenise(lm.vocab, training_texts("code"))
    packs = pack(ids, length=LENGTH, bos=lm.bos, eos=lm.vocab.specials.get("eos"))
    config = FitConfig(rate=2e-3, warmup=TARGET_STEPS // 10, seed=1)
    fit(lm.model, draw(packs, batch_size=BATCH, seed=1), steps=TARGET_STEPS, config=config, label="code target")
    folder.parent.mkdir(parents=True, exist_ok=True)
    return lm.save(folder)


def code_prompts(lm: object, *, n: int, length: int = 64, skip: int = 0, apart: int = 600) -> list[list[int]]:
    """Ids of stretches of held-out code documents, `length` each after the start token, at least `apart` apart.

    The first stretch of every document comes first, then every second one, and so on; `skip` leaves out the first.
    """
    found = []
    for ids in lm.encode(heldout("code", n_bytes=1_000_000)):
        starts = range(0, len(ids) - length - 1, apart)
        head = [] if lm.bos is None else [lm.bos]
        found += [(number, [*head, *ids[start + len(head) :][:length].tolist()]) for number, start in enumerate(starts)]
    found.sort(key=lambda pair: pair[0])
    return [prompt for _, prompt in found[skip : skip + n]]


def main() -> None:
    """Train both and say how well they predict held-out code."""
    from tokenry.models.lm import LM
    from tokenry.transplant.scoring import measure

    for make in (draft_model, target_model):
        started = time.process_time()
        lm = LM.open(make())
        seconds = time.process_time() - started
        scores = measure(lm, heldout("code"), segment_bytes=512)
        n_parameters = sum(weight.numel() for weight in lm.model.parameters())
        print(f"{make.__name__}: {n_parameters / 1e6:.2f} M parameters, {seconds:.0f} CPU s, held-out code "
              f"{scores.bits_per_byte()} bits per byte", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
