"""What a selector is given, and one measuring by it: where documents come from, where columns and models go.

Paper: A Survey on Data Selection for Language Models (arXiv 2402.16827), section 2.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tokenry.core.hashing import fingerprint
from tokenry.corpora.engine import Engine, Mapped, map_once
from tokenry.corpora.units import Reading

__all__ = ["Job", "Means", "finished", "number", "optional", "stamps", "whole"]


@dataclass(frozen=True)
class Means:
    """What a selector may need besides the documents.

    Attributes:
        targets: documents that the choice shall look like.
        model: a language model, by path.
        reference: a second one (trained on the target).
        encoder: of sentences, by path; "words" learns one from word statistics of the corpus itself.
        classifier: a folder that `tokenry corpus train-classifier` or `LinearClassifier.save` left.
        label: the column of classes.
        options: numbers of a method: {"buckets": 10000}; see what a selector says it takes.
        seed: of everything random in measuring.
    """

    targets: tuple[str, ...] = ()
    model: str | None = None
    reference: str | None = None
    encoder: str | None = None
    classifier: str | None = None
    label: str = "source"
    options: Mapping[str, float | str] = field(default_factory=dict)
    seed: int = 0

    def key(self) -> str:
        """Changes with a setting, or with the files that are named."""
        models = [self.model, self.reference, self.encoder, self.classifier]
        targets = stamps(list(self.targets)) if self.targets else []
        return fingerprint(asdict(self), targets, [None if one is None else stamps_of(one) for one in models])


@dataclass(frozen=True)
class Job:
    """One measuring: what to read, where to write, with which means.

    Attributes:
        source: documents.
        out: the sidecar to make.
        means: see there.
        reading: how documents are read.
        engine: what runs over them.
        key: of the whole job.
        options: the selector's numbers, the user's over the defaults.
    """

    source: object
    out: Path
    means: Means
    reading: Reading
    engine: Engine
    key: str
    options: Mapping[str, object]

    @property
    def model(self) -> Path:
        """Where what is learnt on the way is kept: `OUT.model` in the end. Till then the key is in its name, so that
        what another job left behind is not taken for it."""
        return self.hidden(f"model-{self.key[:16]}")

    @property
    def embedding(self) -> Path:
        """The sidecar of vectors: `OUT.embedding` in the end."""
        return self.hidden(f"embedding-{self.key[:16]}")

    def show(self) -> None:
        """Give what was learnt its name."""
        for hidden, name in ((self.model, "model"), (self.embedding, "embedding")):
            if hidden.exists():
                hidden.rename(f"{self.out}.{name}")

    def map(
        self, function: Callable, out: Path | None = None, *, setup: Callable | None = None, columns: tuple = ()
    ) -> Mapped:
        """Run over all documents (their id, text, source and `columns`); a finished folder of this job is taken."""
        reading = replace(self.reading, columns=columns, sidecars=(), signals=None, schema=None)
        return map_once(
            self.engine, self.source, function, out=out or self.out, key=self.key, setup=setup, reading=reading,
            label=self.out.name,
        )  # fmt: skip

    def hidden(self, name: str) -> Path:
        """A folder beside the output for what is only needed on the way."""
        return self.out.parent / f".{self.out.name}.{name}"

    def texts(self) -> object:
        """All texts of the corpus, as a stream."""
        from tokenry.core.tables import texts

        return texts(self.source, text=self.reading.text, skip_bad=self.reading.skip_bad)

    def target_texts(self) -> object:
        """All texts of the targets."""
        from tokenry.core.tables import texts

        return texts(list(map(Path, self.means.targets)), text=self.reading.text, skip_bad=self.reading.skip_bad)


def stamps(source: object) -> list[object]:
    """Names, sizes and times of the files of documents."""
    from tokenry.core.places import find_places

    return [stamps_of(place.path) for place in find_places(source)]


def stamps_of(path: str) -> list[object]:
    """Names, sizes and times of a file or of the files of a folder; of a hub name itself."""
    place = Path(path)
    files = sorted(one for one in place.rglob("*") if one.is_file()) if place.is_dir() else [place]
    return [str(path), *([str(one), one.stat().st_size, one.stat().st_mtime_ns] for one in files if one.is_file())]


def finished(job: Job, like: Mapped, columns: Mapping[str, object], *hidden: Path) -> Mapped:
    """Write columns of all documents as the sidecar of a job, and remove what was needed on the way."""
    from tokenry.corpora.sidecars import write_sidecar

    made = write_sidecar(like, columns, job.out, key=job.key, engine=job.engine.name)
    for folder in hidden:
        shutil.rmtree(folder, ignore_errors=True)
    return made


def number(job: Job, name: str) -> float:
    """An option as a number.

    Raises:
        ValueError: it is none.
    """
    try:
        return float(job.options[name])
    except (TypeError, ValueError):
        raise ValueError(f"{name}={job.options[name]}; need a number. Give --set {name}=0.5, say.") from None


def whole(job: Job, name: str, least: int = 1) -> int:
    """An option as a whole number.

    Raises:
        ValueError: it is none, or too small.
    """
    value = job.options[name]
    try:
        if float(value) >= least and float(value) == int(float(value)):
            return int(float(value))
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{name}={value}; need a whole number of at least {least}. Give --set {name}={least}, say.")


def optional(job: Job, name: str) -> int | None:
    """An option as a whole number, or none given."""
    return None if job.options[name] in (None, "None") else whole(job, name)
