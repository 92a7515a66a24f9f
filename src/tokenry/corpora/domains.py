"""Find the domains of a corpus that has no labels: embed, cluster, drop bad clusters, merge near ones, label documents.

Three steps, each kept, so that the next one can be changed without the one before: `OUT.model` (the embedder and the
centroids, from a sample: one pass to count, one to draw), `OUT.clusters` (the cluster of every document: the pass that
embeds all text) and `OUT` (the domain of every document, decided from the clusters and from signals scored before).

Papers: CLIMB: CLustering-based Iterative Data Mixture Bootstrapping (arXiv 2504.13161), section 2.1.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.clustering import agglomerate
from tokenry.core.hashing import fingerprint
from tokenry.core.report import Report
from tokenry.core.runs import atomic_write, check_folder, write_run
from tokenry.corpora.domain_model import DomainModel, Settings, assign, learn_clusters
from tokenry.corpora.domains_report import domains_report
from tokenry.corpora.engine import Engine, Mapped, open_engine
from tokenry.corpora.sidecars import columns_of, read_signals, write_sidecar
from tokenry.corpora.units import Reading

__all__ = ["Domains", "build_domains", "domain_sizes", "label_documents", "sizes_of"]

# Axes: N documents, C clusters, D width, K domains.


@dataclass(frozen=True)
class Domains:
    """The domains of a corpus.

    Attributes:
        labels: the sidecar: `domains.label` (null where the document is empty or in no domain) and `domains.cluster`.
        sizes: domain -> bytes, the largest first.
        domain_C: number of the domain of each cluster, -1 for dropped ones.
        model: finds the cluster of other texts.
        report: counts.
    """

    labels: Mapped
    sizes: dict[str, float]
    domain_C: np.ndarray
    model: DomainModel
    report: Report


def build_domains(
    source: object,
    out: str | Path,
    *,
    settings: Settings = Settings(),  # noqa: B008 - frozen
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Domains:
    """Find domains and label every document.

    Args:
        source: documents, as `core.tables.stream` reads them.
        out: folder of the labels; `OUT.model` and `OUT.clusters` are made beside it, or used when they are there from
            the same settings.
        settings: how.
        reading: how the documents are read; its sidecars hold the signals of `settings.keep`.
        engine: an engine or its name.

    Raises:
        ValueError: an unknown signal, no document left, `OUT.model` of other settings or documents. FileExistsError:
            `out` is there.

    Paper: CLIMB (arXiv 2504.13161), section 2.1.
    """
    engine, target = open_engine(engine), Path(out)
    check_folder(target.parent)
    if target.exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    rule = _rule(settings.keep, reading)
    plain = replace(reading, columns=(), sidecars=(), signals=None, schema=None)
    model = learn_clusters(source, Path(f"{out}.model"), settings, reading=plain, engine=engine)
    clusters = assign(source, Path(f"{out}.clusters"), model, folder=Path(f"{out}.model"), reading=plain, engine=engine)
    table = read_signals(clusters.folder, ["domains.cluster", "domains.bytes"])
    cluster_N, bytes_N = (table.column(name).to_numpy() for name in ("domains.cluster", "domains.bytes"))
    n_clusters = len(model.centroids_CD)
    good_C, good_N, means, removed = _judged(rule, table, n_clusters, (settings, reading))
    good_N = good_N & (bytes_N > 0)
    good_C = good_C & (np.bincount(cluster_N, good_N, n_clusters) > 0)
    if not (good_C[cluster_N] & good_N).any():
        raise ValueError(f"no document is left by the rule {settings.keep!r}. Look at the signals, and lower it.")
    domain_C = _merged(model.centroids_CD, good_C, settings)
    domain_N = np.where(good_N, domain_C[cluster_N], -1)
    order = np.argsort(-np.bincount(domain_N[domain_N >= 0], bytes_N[domain_N >= 0], domain_C.max() + 1), kind="stable")
    place = np.append(np.argsort(order), -1)
    domain_C, domain_N = place[domain_C], place[domain_N]
    names = [f"d{number:02d}" for number in range(len(order))]
    labels = pa.array(names).take(pa.array(domain_N, mask=domain_N < 0))
    columns = {"domains.label": labels, "domains.cluster": pa.array(cluster_N)}
    key = fingerprint("domains", 1, clusters.key, domain_C, domain_N)
    sizes = np.bincount(domain_N[domain_N >= 0], bytes_N[domain_N >= 0], len(names))
    sizes_of = dict(zip(names, map(float, sizes), strict=True))
    mapped = write_sidecar(clusters, columns, target, key=key, engine=engine.name)
    record = {"format": 1, "unit": "bytes", "sizes": sizes_of, "clusters": domain_C.tolist()}
    atomic_write(target / "domains.json", json.dumps(record, indent=1) + "\n")
    arguments = {**settings.__dict__, "encoder": str(settings.encoder)}
    write_run(target, verb="corpus domains build", arguments=arguments, seed=settings.seed, inputs=[source])
    report = domains_report(
        model, (cluster_N, bytes_N, domain_N), domain_C, means=means, removed=removed, settings=settings
    )
    return Domains(mapped, sizes_of, domain_C, model, report)


def label_documents(
    source: object,
    out: str | Path,
    domains: str | Path,
    *,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    engine: str | Engine = "embedded",
) -> Mapped:
    """Label other documents with the domains of an earlier corpus: the same sidecar as `build_domains` writes.

    Clusters that were dropped give no label; a rule over single documents (`Settings.by_document`) is not applied.

    Args:
        domains: the folder that `build_domains` wrote; its `.model` lies beside it.

    Raises:
        FileExistsError: `out` is there. FileNotFoundError, ValueError: no domains there, or none of ours.
    """
    if Path(out).exists():
        raise FileExistsError(f"{out} exists already. Give another --out, or remove it first.")
    engine, model = open_engine(engine), DomainModel.load(f"{domains}.model")
    domain_C = np.array(_record(domains)["clusters"], np.int64)
    if len(domain_C) != len(model.centroids_CD):
        raise ValueError(
            f"{domains} has {len(domain_C)} clusters, {domains}.model has {len(model.centroids_CD)}: of two "
            "runs. Build the domains again."
        )
    clusters = assign(source, f"{out}.clusters", model, folder=Path(f"{domains}.model"), reading=reading, engine=engine)
    table = read_signals(clusters.folder, ["domains.cluster", "domains.bytes"])
    cluster_N, bytes_N = (table.column(name).to_numpy() for name in ("domains.cluster", "domains.bytes"))
    domain_N = np.where(bytes_N > 0, domain_C[cluster_N], -1)
    names = pa.array([f"d{number:02d}" for number in range(int(domain_C.max()) + 1)])
    columns = {
        "domains.label": names.take(pa.array(domain_N, mask=domain_N < 0)),
        "domains.cluster": pa.array(cluster_N),
    }
    key = fingerprint("domains", 1, clusters.key, domain_C, domain_N)
    made = write_sidecar(clusters, columns, Path(out), key=key, engine=engine.name)
    write_run(out, verb="corpus domains label", arguments={"domains": domains}, seed=None, inputs=[source])
    return made


def domain_sizes(folder: str | Path) -> dict[str, float]:
    """Domain -> bytes, as `build_domains` counted them.

    Raises:
        FileNotFoundError, ValueError: no such folder, or none of ours.
    """
    return {str(name): float(size) for name, size in _record(folder)["sizes"].items() if size > 0}


def sizes_of(domains: str | Path | None, sizes: str | None) -> dict[str, float]:
    """The sizes that were typed, `web=3B,books=1B`, or those of a folder of domains.

    Raises:
        ValueError: neither or both are given, or a file in place of sizes.
    """
    if (domains is None) == (sizes is None) or (sizes or "").endswith(".json"):
        raise ValueError("need the domains with their sizes, once: --domains FOLDER, or --sizes web=3B,books=1B.")
    if sizes is None:
        return domain_sizes(domains)
    from tokenry.corpora.choices import weights_of

    return weights_of(sizes)


def _record(folder: str | Path) -> dict:
    path = Path(folder) / "domains.json"
    if not path.is_file():
        raise FileNotFoundError(f"no domains.json in {folder}. Give the --out of tokenry corpus domains build.")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        whole = isinstance(record["clusters"], list) and all(isinstance(one, int) for one in record["clusters"])
        if not isinstance(record["sizes"], dict) or not whole or not record["clusters"]:
            raise ValueError("a field is of the wrong kind")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no record of domains ({error}). Make it again.") from error
    return record


def _rule(keep: str | None, reading: Reading) -> object:
    """The rule, parsed, with its columns among the signals that are given."""
    if keep is None:
        return None
    from tokenry.corpora.expressions import parse

    rule, known = parse(keep), columns_of(reading.sidecars)
    rule.check(known)
    kinds = (pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    for name in rule.columns:
        if not any(kind(known[name].type) for kind in kinds):
            raise ValueError(
                f"{name} of {keep!r} holds {known[name].type}, which has no mean. Give a signal of numbers, or leave "
                "such documents out before: tokenry corpus select --where."
            )
    return rule


def _judged(
    rule: object, clusters: pa.Table, n_clusters: int, given: tuple[Settings, Reading]
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], tuple[float, float]]:
    """Clusters and documents that hold the rule, means of the signals by cluster, and what it removes either way."""
    settings, reading = given
    cluster_N = clusters.column("domains.cluster").to_numpy()
    good_C, good_N = np.ones(n_clusters, bool), np.ones(len(cluster_N), bool)
    if rule is None:
        return good_C, good_N, {}, (0.0, 0.0)
    columns = {}
    for folder in reading.sidecars:
        mine = [name for name in rule.columns if name in columns_of([folder])]
        table = read_signals(folder, mine)
        if not table.column("id").equals(clusters.column("id")):
            raise ValueError(f"the signals in {folder} are those of other documents than these. Score these again.")
        columns |= {name: table.column(name) for name in mine}
    means = {}
    for name, values in columns.items():
        values_N = values.cast(pa.float64()).to_numpy()
        there_N = np.isfinite(values_N)
        counts_C = np.bincount(cluster_N[there_N], minlength=n_clusters)
        sums_C = np.bincount(cluster_N[there_N], values_N[there_N], n_clusters)
        means[name] = np.divide(sums_C, counts_C, out=np.full(n_clusters, np.nan), where=counts_C > 0)
    by_cluster = pa.table({name: pa.array(mean_C, from_pandas=True) for name, mean_C in means.items()})
    fine_C = np.asarray(rule.holds(by_cluster), bool)
    fine_N = np.asarray(rule.holds(pa.table(columns)), bool)
    removed = float((~fine_C[cluster_N]).mean()), float((~fine_N).mean())
    return (good_C, fine_N, means, removed) if settings.by_document else (fine_C, good_N, means, removed)


def _merged(centroids_CD: np.ndarray, good_C: np.ndarray, settings: Settings) -> np.ndarray:
    """The domain of each cluster, -1 for dropped ones."""
    kept = np.flatnonzero(good_C)
    distance, count = settings.merge_distance, settings.n_domains
    if settings.merge_quantile is not None:
        from scipy.spatial.distance import pdist

        pairs = pdist(centroids_CD[kept].astype(np.float64))
        distance = float(np.quantile(pairs, settings.merge_quantile)) if len(pairs) else 0.0
    if distance is None:
        count = min(20 if count is None else count, len(kept))
    domain_C = np.full(len(good_C), -1, np.int64)
    domain_C[kept] = agglomerate(
        centroids_CD[kept],
        distance=distance,
        n_clusters=None if distance is not None else count,
        linkage=settings.linkage,
    )
    return domain_C
