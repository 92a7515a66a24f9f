"""Every way to make new rows on one pair of model and tokenizer, ranked by bits per byte after equal training.

Two controls stand beside them: the original untouched, and the original trained with the same compute.

Papers: Training-Free Tokenizer Transplantation via OMP (arXiv 2506.06607); the comparison is ours.
"""

import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, describe_input, log, write_run
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores
from tokenry.transplant.documents import part_texts, split, take
from tokenry.transplant.healing import HealConfig, heal
from tokenry.transplant.materials import Materials, options_for, record
from tokenry.transplant.script_scores import measure_scripts, whole
from tokenry.transplant.verbs import Measured, Target
from tokenry.transplant.workspace import Workspace

UNTOUCHED, TRAINED = "original, untouched", "original, same compute"
_BY_NAME, _BY_NAME_AND_SCRIPT = ("before", "after"), ("scripts_before", "scripts_after")


@dataclass(frozen=True)
class CompareConfig:
    """How methods are compared."""

    methods: tuple[str, ...] | None = None
    """names as in `transplant.METHODS`; None: all of them."""
    heal: HealConfig = field(default_factory=lambda: HealConfig(steps=50))
    """the training every method gets: same batches, same steps."""
    seeds: int = 1
    """orders of the training text; every method runs once for each."""
    reference: str = "pieces"
    """the method whose paired difference every other one is told by, where it is among them."""
    heldout_bytes: int = 40_000
    """most held-out text scored of each domain."""
    probe_bytes: int = 16_000
    """most text, of all domains together, that the curves are scored on."""
    segment_bytes: int = 512
    """texts are scored in segments of this many bytes."""


@dataclass(frozen=True)
class Texts:
    """What is trained and scored on."""

    domains: dict[str, object]
    """name -> what `core.tables.stream` takes; split by document into training text and text that is scored."""
    general: dict[str, object] = field(default_factory=dict)
    """scored only."""
    reading: dict = field(default_factory=dict)
    """`text`, `limit`, `skip_bad` of the reader."""


@dataclass(frozen=True, eq=False)
class Trial:
    """One method and one order of the text."""

    method: str
    seed: int
    before: dict[str, Scores]
    """by domain, before any training."""
    after: dict[str, Scores]
    curve: list[dict]
    flops: float
    plan_seconds: float
    scripts_before: dict[tuple[str, str], Scores] = field(default_factory=dict)
    """by domain and script."""
    scripts_after: dict[tuple[str, str], Scores] = field(default_factory=dict)

    def to_record(self) -> dict:
        """Plain data, for a stage."""
        scores = {when: {name: s.to_record() for name, s in getattr(self, when).items()} for when in _BY_NAME}
        scripts = {
            when: [[*key, s.to_record()] for key, s in getattr(self, when).items()] for when in _BY_NAME_AND_SCRIPT
        }
        plain = replace(self, **{key: {} for key in (*_BY_NAME, *_BY_NAME_AND_SCRIPT)})
        return {**asdict(plain), **scores, **scripts}

    @classmethod
    def from_record(cls, stored: dict) -> "Trial":
        """What `to_record` gave."""
        scores = {when: {n: Scores.from_record(entry) for n, entry in stored[when].items()} for when in _BY_NAME}
        scripts = {
            when: {(name, script): Scores.from_record(entry) for name, script, entry in stored[when]}
            for when in _BY_NAME_AND_SCRIPT
        }
        return cls(**{**stored, **scores, **scripts})


def compare_methods(
    base: object,
    texts: Texts,
    *,
    tokenizer: str | None = None,
    donor: str | None = None,
    materials: Materials | None = None,
    config: CompareConfig | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    command: str = "",
) -> Report:
    """Move a model by every method, train each for the same steps on the same batches, and rank them.

    Args:
        base: folder or hub name of a causal language model, or what `LM.open` takes.
        texts: each domain is split by document: methods and training see one part, the scores another.
        tokenizer, donor: as for the move; donor rows serve the methods that need a donor.
        materials: what the methods may take; text for them is the training part of the domains.
        out: folder for the report (JSON, Markdown, HTML) and run.json; without it nothing is kept to resume from.
        resume, command: go on with an interrupted run of the same arguments; what was typed.

    Returns:
        Report of kind "transplant-compare" (see compare_report): methods ranked by bits per byte after training.

    Raises:
        ValueError: an unknown method, no method that can be used, too few documents.
        FileExistsError: `out` exists and `overwrite` is off, or an unfinished run is there and `resume` is off.
        KeyboardInterrupt: after a state that `resume` continues was saved, where `out` is given.
    """
    from tokenry.transplant.compare_report import compare_report

    config, materials = config or CompareConfig(), materials or Materials()
    names = _checked(texts, config, out, overwrite)
    sources = [base, tokenizer, donor, *texts.domains.values(), *texts.general.values()]
    given = [source for source in sources if isinstance(source, (str, Path, list))]
    settings = (asdict(config), texts.reading, list(texts.domains), list(texts.general), materials.sources())
    # Opened first: a model that is refused leaves no state behind.
    lm, target = LM.open(base, device=materials.device), Target.open(tokenizer, donor)
    with ExitStack() as stack:
        place = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "compare"
        key = fingerprint(repr([describe_input(source) for source in sources]), repr(settings))
        run = _Run(lm, target, texts, materials, config, space := Workspace.open(place, key, resume=resume))
        try:
            trials, skipped = run.all(names)
        except (ValueError, FileNotFoundError):
            # Bad input shows before training; then there is nothing worth resuming.
            if not any(stage.startswith("trial") for stage in space.done):
                space.close()
            raise
        report = compare_report(trials, skipped, config=config, name=run.lm.name, target=target.vocab.name)
        report.command = command
        if out is not None:
            with atomic_folder(out, overwrite=overwrite) as folder:
                report.save(folder)
                arguments = asdict(config) | record(materials)
                write_run(folder, verb="transplant compare", inputs=given, arguments=arguments, seed=config.heal.seed)
        space.close()
    return report


def _checked(texts: Texts, config: CompareConfig, out: Path | None, overwrite: bool) -> list[str]:
    """The methods, once the rest of what was asked makes sense."""
    if not texts.domains or config.seeds < 1 or config.heal.steps < 1:
        raise ValueError("need at least one domain of text (--data), one seed and one step.")
    if out is not None and Path(out).exists() and not overwrite:
        raise FileExistsError(f"{out} exists already. Give another folder, or replace it with --overwrite.")
    return method_names(config.methods)


def method_names(asked: tuple[str, ...] | None) -> list[str]:
    """The methods to compare, each once; unknown ones are refused before anything runs."""
    from tokenry.core.choosing import resolve
    from tokenry.transplant import METHODS

    names = list(dict.fromkeys(METHODS if asked is None else asked))
    if not names:
        raise ValueError("no method was named; need --methods a,b or all.")
    for name in names if asked is not None else []:
        resolve(name, METHODS, kind="transplant method")
    return names


@dataclass
class _Run:
    """One comparison: every trial is a stage that is skipped when the workspace already holds its result."""

    lm: LM
    target: Target
    texts: Texts
    materials: Materials
    config: CompareConfig
    space: Workspace

    def all(self, names: list[str]) -> tuple[list[Trial], dict[str, str]]:
        self._read()
        own = self._score(self.lm)
        trials, skipped = [Trial(UNTOUCHED, 0, own[0], own[0], [], 0.0, 0.0, own[1], own[1])], {}
        for seed in range(self.config.seeds):
            compute = 0.0
            for name in names:
                if name in skipped:
                    continue
                found = self.space.stage(f"trial {name} {seed}", lambda name=name, seed=seed: self._trial(name, seed))
                if "skipped" in found:
                    skipped[name] = found["skipped"]
                    log(f"skipped {name}: {found['skipped']}")
                    continue
                trials.append(Trial.from_record(found))
                compute = compute or trials[-1].flops
            if not compute:
                raise ValueError("no method could be used: " + "; ".join(f"{n}: {why}" for n, why in skipped.items()))
            stage = f"trial control {seed}"
            found = self.space.stage(stage, lambda seed=seed, compute=compute: self._control(seed, compute, own))
            trials.append(Trial.from_record(found))
        return trials, skipped

    def _read(self) -> None:
        """Split each domain; training text, text of the curves, text that is scored."""
        config, folder = self.config, self.space.path("parts")
        self.training, probe, self.scored = [], [], {}
        for n, (name, source) in enumerate(self.texts.domains.items()):
            place, options = folder / str(n), {"caps": {}, "reading": self.texts.reading}
            self.space.stage(f"split {n}", lambda s=source, p=place, o=options: split(s, p, seed=config.heal.seed, **o))
            self.training += part_texts(place, "compose") + part_texts(place, "heal")
            probe.append(take(part_texts(place, "probe"), config.probe_bytes // len(self.texts.domains)))
            self.scored[name] = take(part_texts(place, "heldout"), config.heldout_bytes)
        self.probe = [text for some in probe for text in some]
        general = {f"{name} (general)": source for name, source in self.texts.general.items()}
        self.scored |= Measured(general, self.texts.reading, config.heldout_bytes).texts()

    def _score(self, lm: LM) -> tuple[dict[str, Scores], dict[tuple[str, str], Scores]]:
        """By domain, and by domain and script, of one pass over the scored text."""
        found = {
            part: measure_scripts(lm, some, segment_bytes=self.config.segment_bytes)
            for part, some in self.scored.items()
        }
        by_script = {(part, script): s for part, scripts in found.items() for script, s in scripts.items()}
        return {part: whole(scripts) for part, scripts in found.items()}, by_script

    def _trial(self, name: str, seed: int) -> dict:
        """Plan, move, score, train, score; or why the method cannot be used."""
        import time

        from tokenry.transplant.planning import plan
        from tokenry.transplant.surgery import move

        materials = replace(self.materials, texts=self.training)
        base = self.lm.model.get_input_embeddings().weight.detach().float().cpu().numpy()
        own_head = self.lm.model.get_output_embeddings().weight
        tied = own_head is self.lm.model.get_input_embeddings().weight
        rows = {"base": base, "base_head": None if tied else own_head.detach().float().cpu().numpy()}
        began = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                options = options_for(name, materials, refuse=False)
                to, own = self.target.vocab, {"seed": self.config.heal.seed + seed, **self.target.rows()}
                made = plan(self.lm.vocab, to, method=name, **rows, **own, **options)
        except (ValueError, ImportError) as error:
            return {"skipped": str(error)}
        seconds = time.process_time() - began
        moved = move(self.lm, self.target.vocab, plan=made).lm
        return self._trained(name, seed, moved, self._score(moved), seconds).to_record()

    def _control(self, seed: int, compute: float, before: tuple[dict, dict]) -> dict:
        from tokenry.transplant.adapt import replace_model

        return self._trained(TRAINED, seed, replace_model(self.lm), before, 0.0, compute=compute).to_record()

    def _trained(
        self, name: str, seed: int, lm: LM, before: tuple[dict, dict], seconds: float, *, compute: float | None = None
    ) -> Trial:
        config = replace(self.config.heal, seed=self.config.heal.seed + seed)
        lm.name = name
        file = f"{name}-{seed}".translate({ord(c): "-" for c in " ,:/."})
        healed = heal(
            lm, self.training, config=config, validation=self.probe, compute=compute, folder=self.space.path(file),
            segment_bytes=self.config.segment_bytes, label=f"training: {name}",
        )  # fmt: skip
        after, by_script = self._score(lm)
        return Trial(name, seed, before[0], after, healed.curve, healed.flops, seconds, before[1], by_script)


def pooled(trials: list[Trial], when: str, parts: list[str]) -> Scores:
    """Scores over the documents of several domains, nats averaged over the seeds: what is paired over documents."""
    per_seed = [np.concatenate([getattr(trial, when)[part].nats for part in parts]) for trial in trials]
    first = [getattr(trials[0], when)[part] for part in parts]
    return Scores(
        np.mean(per_seed, axis=0),
        *(np.concatenate([getattr(s, key) for s in first]) for key in ("n_bytes", "n_tokens")),
    )
