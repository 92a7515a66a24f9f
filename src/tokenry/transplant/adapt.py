"""THE MAIN JOB: audit a model's tokens on your data, compose better ones, move the model, heal it, prove it.

Papers: Cabrita (arXiv 2308.11878) for extending a vocabulary and continuing pre-training; Training-Free Tokenizer
Transplantation (arXiv 2506.06607) and Fast Vocabulary Transfer (arXiv 2402.09977) for the new rows.
"""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tokenry.core.hashing import fingerprint
from tokenry.core.intervals import Interval
from tokenry.core.report import Report
from tokenry.core.runs import atomic_folder, describe_input, write_run
from tokenry.core.vocab import Vocab
from tokenry.models.generation import speed
from tokenry.models.lm import LM
from tokenry.models.scoring import Scores
from tokenry.transplant.composing import Composed, compose, least_count
from tokenry.transplant.distilling import Teacher
from tokenry.transplant.documents import general_texts, part_texts, size_of, split, take
from tokenry.transplant.healing import HealConfig, Healed, heal
from tokenry.transplant.planning import Plan, plan
from tokenry.transplant.proof import Evidence
from tokenry.transplant.scoring import measure, prompts_from
from tokenry.transplant.stages import made_rows
from tokenry.transplant.surgery import move
from tokenry.transplant.telling import adaptation_report
from tokenry.transplant.workspace import Workspace

MOST_BYTES_PER_TOKEN = 12
"""Bounds the text kept for healing; what is not read is not stored."""
PROBED = ("pieces", "asymmetric")
"""Methods that `auto` tries."""


@dataclass(frozen=True)
class AdaptConfig:
    """Everything that decides the result of `adapt` besides the model and the data."""

    size: int | None = None
    """entries of the whole vocabulary afterwards; None lets the data choose."""
    add: int | None = None
    """tokens to add, instead of `size`."""
    replace: bool = False
    """train a new vocabulary instead of extending the old one."""
    method: str = "auto"
    """how new rows begin; "auto" probes PROBED on a part of the data used for nothing else."""
    heal: HealConfig = field(default_factory=HealConfig)
    probe_steps: int | None = None
    """training steps of each probed method; None: a fifteenth of the healing, at most 30. They count as compute."""
    control: bool = True
    """train the original on the same text with the same compute, to stand beside the adapted model."""
    replay: float = 0.0
    """share of the training text that is general text, against forgetting; that half of it is then not scored."""
    keep_control: bool = False
    """write the fine-tuned original beside the weights whatever the verdict; else only when it is recommended."""
    segment_bytes: int | None = None
    """documents are scored in segments of this many bytes, the same for every model; None: 1,024, or as many as the
    model has positions, so that a segment always fits."""
    heldout_bytes: int = 40_000
    """most held-out text that is scored; more narrows the intervals and costs a forward pass of each model."""
    general_bytes: int = 40_000
    """most general text that is scored."""
    probe_bytes: int = 16_000
    """most probe text that is scored, at each point of a curve."""
    compose_bytes: int = 1 << 30
    """most text that tokens are learned from."""
    speed_prompts: int = 6
    """prompts that generation speed is measured on."""
    speed_tokens: int = 48
    """tokens generated for each prompt when speed is measured."""
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """What `adapt` made."""

    folder: Path
    """opens with AutoModelForCausalLM and AutoTokenizer; `control/` beside the weights when the verdict asks for it."""
    report: Report
    continuation: dict[str, str]
    """"before", "after": what each model writes after the prompt of the report."""


def adapt(
    model: object,
    data: object,
    out: Path,
    *,
    general: object = None,
    config: AdaptConfig | None = None,
    reading: dict | None = None,
    prompt: str | None = None,
    device: str | None = None,
    command: str = "",
    overwrite: bool = False,
    resume: bool = False,
) -> Adapted:
    """Move `model` onto tokens composed from `data`, heal it, and prove in bits per byte what was gained and lost.

    Args:
        model: folder or hub name of a causal language model.
        data: the text it should fit, as `core.tables.stream` takes it; split by document into parts to learn tokens
            from, to train on, to choose the method on, and to prove on.
        out: folder to write; refused when it exists unless `overwrite`.
        general: text of another kind, to measure what was forgotten.
        config: see AdaptConfig.
        reading: `text`, `limit`, `skip_bad` of the reader.
        prompt: what both models continue in the report; default: the start of a held-out document.
        device: where the models run.
        command: what was typed, to be printed in the report.
        resume: continue an interrupted run of the same arguments.

    Returns:
        Adapted; its report holds the verdict, the facts with intervals and the healing curves.

    Raises:
        ValueError, FileNotFoundError, FileExistsError: bad input, before anything is written.
        KeyboardInterrupt: after saving a state that `resume` continues.

    Papers: arXiv 2308.11878, 2506.06607; the comparison at equal compute is ours.
    """
    config = config or AdaptConfig()
    if not 0 <= config.replay < 1 or (config.replay and general is None):
        raise ValueError(
            f"replay={config.replay} with {'no ' if general is None else ''}general text; need a share from 0 to below "
            "1, and general text to take it from (--eval)."
        )
    out = Path(out)
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; need a new folder. Choose another --out, or add --overwrite.")
    run = _Run(model, data, out, general, config, reading or {}, prompt, device, command)
    run.begin(resume)
    try:
        return run.all(overwrite)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted; finished stages are kept in {run.space.folder}: add --resume") from None
    except (ValueError, FileNotFoundError):
        # Bad input shows before training; then there is nothing worth resuming.
        if not run.space.path("healed").exists():
            run.space.close()
        raise
    except OSError as problem:
        told = f"{problem}; finished stages are kept in {run.space.folder}: put it right and add --resume"
        raise type(problem)(told) from problem


@dataclass
class _Run:
    """One adaptation: each method is a stage that is skipped when the workspace already holds its result."""

    model: object
    data: object
    out: Path
    general: object
    config: AdaptConfig
    reading: dict
    prompt: str | None
    device: str | None
    command: str

    def begin(self, resume: bool) -> None:
        self.lm = LM.open(self.model, device=self.device)
        self.old = self.lm.vocab
        self.segment_bytes = self.config.segment_bytes or min(1024, self.lm.context)
        inputs = [describe_input(source) for source in (self.model, self.data, self.general)]
        settings = (asdict(self.config), self.reading, self.prompt, self.old.fingerprint)
        self.space = Workspace.open(self.out, fingerprint(repr(inputs), repr(settings)), resume=resume)

    def all(self, overwrite: bool) -> Adapted:
        config, stage = self.config, self.space.stage
        parts = stage("split", self._split)
        texts, general = self._texts(parts)
        composed = self._compose(parts)
        before = self._scored("before", self.lm, texts["heldout"], general)
        probe = stage("probe", lambda: self._probe(composed, texts))
        moved, made = self._move(composed, probe["method"])
        scored_move = self._scored("moved", moved, texts["heldout"], [])
        speeds = {"before": self._timed("before", self.lm, texts["heldout"])}
        speeds["moved"] = self._timed("moved", moved, texts["heldout"])
        healed = self._heal(moved, "healed", texts, composed, rows=made_rows(made))
        after = self._scored("healed", healed.lm, texts["heldout"] if healed.steps else [], general)
        after = {**({} if healed.steps else scored_move), **after}
        control, scored_control = None, {}
        if config.control and healed.steps:
            twin = replace_model(self.lm)
            control = self._heal(twin, "control", texts, None, compute=healed.flops + probe["flops"])
            scored_control = self._scored("control", control.lm, texts["heldout"], general)
        speeds["after"] = self._timed("healed", healed.lm, texts["heldout"]) if healed.steps else speeds["moved"]
        scores = {"before": before, "moved": scored_move, "healed": after, "control": scored_control}
        evidence = _evidence(scores, speeds, {"before": self.lm, "moved": healed.lm, "after": healed.lm})
        report = adaptation_report(
            evidence, old=self.old, composed=composed, parts=parts, probe=probe, healed=healed, control=control,
            texts=texts["heldout"], name=self.lm.name,
        )  # fmt: skip
        report.facts["healing.objective"] = config.heal.objective
        report.command = self.command
        continuation = self._continuations(healed.lm, texts["heldout"], report)
        self._write(healed.lm, made, control, report, overwrite)
        self.space.close()
        return Adapted(self.out, report, continuation)

    def _split(self) -> dict:
        caps = {
            "compose": self.config.compose_bytes,
            "heal": max(1 << 20, self.config.heal.tokens * MOST_BYTES_PER_TOKEN),
            "heldout": 4 * self.config.heldout_bytes,
        }
        return split(self.data, self.space.path("parts"), seed=self.config.seed, caps=caps, reading=self.reading)

    def _texts(self, parts: dict) -> tuple[dict[str, list[str]], list[str]]:
        """Texts of the parts, and the general text that is scored; replayed text is mixed into the healing part."""
        config, folder = self.config, self.space.path("parts")
        texts = {name: part_texts(folder, name) for name in ("heal", "probe", "heldout")}
        texts["heldout"] = take(texts["heldout"], config.heldout_bytes)
        texts["probe"] = take(texts["probe"], config.probe_bytes)
        if self.general is None:
            return texts, []
        wanted = round(size_of(texts["heal"]) * config.replay / (1 - config.replay)) if config.replay else 0
        scored, replayed = general_texts(self.general, config.general_bytes, wanted, seed=config.seed)
        parts["general"] = {"documents": len(scored), "bytes": size_of(scored)}
        if replayed:
            texts["heal"] = texts["heal"] + replayed
            parts["replay"] = {"documents": len(set(replayed)), "bytes": size_of(set(replayed))}
        return texts, scored

    def _compose(self, parts: dict) -> Composed:
        config, folder = self.config, self.space.path("vocab")

        def work() -> dict:
            read = config.heal.tokens * self.lm_bytes_per_token
            least = least_count(parts["compose"]["bytes"], read)
            made = compose(
                self.old, self.space.path("parts") / "compose.parquet",
                size=config.size, add=config.add, replace=config.replace, least=least,
            )  # fmt: skip
            made.vocab.to_hf(folder)
            return {"pieces": made.pieces, "least_count": made.least_count}

        record = self.space.stage("compose", work)
        return Composed(Vocab.open(folder), record["pieces"], record["least_count"])

    @property
    def lm_bytes_per_token(self) -> float:
        """Rough bytes a new token will carry; only the least count of a new token rests on it."""
        return 4.0

    def _move(self, composed: Composed, method: str) -> tuple[LM, Plan]:
        rows = self.lm.model.get_input_embeddings().weight.detach().float().cpu().numpy()
        options = {"base": rows, "seed": self.config.seed}
        if method == "omp":
            options |= self._donor(composed)
        made = plan(self.old, composed.vocab, method=method, pieces=composed.pieces, **options)
        return move(self.lm, composed.vocab, plan=made).lm, made

    def _donor(self, composed: Composed) -> dict:
        from tokenry.transplant.donors import donor_rows_from_text

        texts = part_texts(self.space.path("parts"), "compose")
        return {"donor": donor_rows_from_text(composed.vocab, texts, seed=self.config.seed)}

    def _probe(self, composed: Composed, texts: dict) -> dict:
        """Train each method a little on the same batches; the least bits per byte on the probe part wins."""
        config = self.config
        if config.method != "auto":
            return {"method": config.method, "flops": 0.0, "tried": []}
        if not config.heal.steps:
            return {"method": PROBED[0], "flops": 0.0, "tried": []}
        steps = config.probe_steps or min(30, max(1, config.heal.steps // 15))
        rows_first = round(config.heal.rows_first * steps / config.heal.steps)
        short = replace(
            config.heal, steps=steps, rows_first=max(rows_first, bool(config.heal.rows_first)), evaluations=1
        )
        tried, spent = [], 0.0
        for method in PROBED:
            lm, made = self._move(composed, method)
            result = heal(
                lm, texts["heal"], config=short, validation=texts["probe"], label=f"probing {method}",
                segment_bytes=self.segment_bytes, teacher=self._teacher(composed), rows=made_rows(made),
            )  # fmt: skip
            spent += result.flops
            first, last = (point["bits_per_byte"] for point in (result.curve[0], result.curve[-1]))
            tried.append({"method": method, "steps": result.steps, "at the move": first, "after the probe": last})
        best = min(tried, key=lambda row: row["after the probe"])
        return {"method": best["method"], "flops": spent, "tried": tried}

    def _teacher(self, composed: Composed | None) -> Teacher | LM | None:
        """The original, where the objective needs it; with its pieces where the vocabulary was extended."""
        objective = self.config.heal.objective
        if composed is None or objective == "next-token":
            return None
        if objective == "distil" and composed.pieces is not None:
            return Teacher(self.lm.model, composed.pieces, self.old.size)
        return self.lm

    def _heal(
        self, lm: LM, name: str, texts: dict, composed: Composed | None, *, compute: float | None = None,
        rows: Sequence[int] | None = None,
    ) -> Healed:  # fmt: skip
        config = self.config.heal
        if composed is None:  # the control has no new rows and no teacher
            plain = {"objective": "next-token", "rows_first": 0, "next_token": 0.0, "alm_hidden": 0.0}
            config = replace(config, balanced=False, **plain)
        lm.name = name
        return heal(
            lm, texts["heal"], config=config, validation=texts["probe"], compute=compute,
            teacher=self._teacher(composed), folder=self.space.path(name), segment_bytes=self.segment_bytes,
            label=f"training the {name} model", rows=rows,
        )  # fmt: skip

    def _scored(self, name: str, lm: LM, texts: list[str], general: list[str]) -> dict[str, Scores]:
        def work() -> dict:
            found = {where: some for where, some in (("domain", texts), ("general", general)) if some}
            return {
                where: measure(lm, some, segment_bytes=self.segment_bytes).to_record() for where, some in found.items()
            }

        record = self.space.stage(f"score {name}", work)
        return {where: Scores.from_record(scores) for where, scores in record.items()}

    def _timed(self, name: str, lm: LM, texts: list[str]) -> dict:
        def work() -> dict:
            prompts = prompts_from(texts, n=self.config.speed_prompts)
            timed = speed(lm, prompts, max_new_tokens=self.config.speed_tokens)
            each = timed.per_cpu_second if lm.device.type == "cpu" else timed.per_wall_second
            return {"speed": asdict(each), "per_token": timed.per_token.value}

        return self.space.stage(f"speed {name}", work)

    def _continuations(self, adapted: LM, texts: list[str], report: Report) -> dict[str, str]:
        prompt = self.prompt or prompts_from(texts, n=1, n_bytes=80)[0]
        written = {
            name: lm.generate(prompt, max_new_tokens=self.config.speed_tokens)
            for name, lm in (("before", self.lm), ("after", adapted))
        }
        report.facts["prompt"] = prompt
        for name, text in written.items():
            report.facts[f"continuation.{name}"] = text
        return written

    def _write(self, adapted: LM, made: Plan, control: Healed | None, report: Report, overwrite: bool) -> None:
        from tokenry.transplant.undoing import keep_original
        from tokenry.transplant.verifying import verify

        with atomic_folder(self.out, overwrite=overwrite) as folder:
            adapted.save(folder, overwrite=True)
            keep_original(self.lm, made, folder)
            checked = verify(folder)
            if not checked.facts["ok"]:
                problems = "; ".join(checked.tables["problems"].column("problem").to_pylist())
                raise ValueError(f"{self.out}: the adapted model does not verify, so it was not kept: {problems}.")
            wanted = self.config.keep_control or report.facts["recommended"] == "control"
            if control is not None and wanted:
                control.lm.save(folder / "control")
            report.save(folder / "report")
            arguments = {"model": self.model, "data": self.data, "eval": self.general, **asdict(self.config)}
            inputs = [source for source in (self.model, self.data, self.general) if source is not None]
            write_run(folder, verb="adapt", arguments=arguments, seed=self.config.seed, inputs=inputs)


def replace_model(lm: LM) -> LM:
    """The same model in weights of its own, to be trained while the original stays."""
    return LM(copy.deepcopy(lm.model), lm.tokenizer, lm.vocab, lm.name)


def _evidence(scores: dict, speeds: dict, models: dict[str, LM]) -> Evidence:
    """Gather the stages; the context in bytes is the model's positions times the bytes a token carries here."""
    domain = {name: found["domain"] for name, found in scores.items() if found}
    general = {name: found["general"] for name, found in scores.items() if "general" in found}
    per_token = {"before": domain["before"], "moved": domain["moved"], "after": domain["healed"]}
    context = {n: round(models[n].context * per_token[n].bytes_per_token().value) for n in models}
    speed_of = {name: Interval(**found["speed"]) for name, found in speeds.items()}
    ratio = speeds["after"]["per_token"] / speeds["before"]["per_token"]
    return Evidence(domain, general, speed_of, ratio, context)
