"""Show the domains of a corpus: how large, of how many clusters, what stands in them, what was dropped.

Papers: CLIMB: CLustering-based Iterative Data Mixture Bootstrapping (arXiv 2504.13161), section 2.1.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tokenry.core.report import Figure, Report
from tokenry.corpora.domain_model import DomainModel, Settings

__all__ = ["domains_report"]

# Axes: N documents, C clusters, K domains.


def domains_report(
    model: DomainModel,
    documents: tuple[np.ndarray, np.ndarray, np.ndarray],
    domain_C: np.ndarray,
    *,
    means: Mapping[str, np.ndarray],
    removed: tuple[float, float],
    settings: Settings,
) -> Report:
    """What was made.

    Args:
        model: with an example of each cluster.
        documents: cluster, bytes and domain of each.
        domain_C: domain of each cluster, -1 for dropped ones.
        means: signal -> its mean in each cluster.
        removed: share of the documents that the rule removes by clusters, and one by one.
        settings: of the domains.
    """
    cluster_N, bytes_N, domain_N = documents
    n_clusters, total = len(domain_C), max(1, int(bytes_N.sum()))
    docs_C = np.bincount(cluster_N, minlength=n_clusters)
    rows = []
    for domain in range(int(domain_C.max()) + 1):
        mine = domain_N == domain
        own = np.flatnonzero(domain_C == domain)
        largest = own[docs_C[own].argmax()]
        row = {"domain": f"d{domain:02d}", "documents": int(mine.sum()), "bytes": int(bytes_N[mine].sum()),
               "share": float(bytes_N[mine].sum() / total), "clusters": len(own)}  # fmt: skip
        for name, mean_C in means.items():
            there = own[np.isfinite(mean_C[own])]
            row[name] = float(np.average(mean_C[there], weights=docs_C[there])) if len(there) else None
        rows.append({**row, "for_example": model.examples[largest][:60]})
    n_out = int((domain_N < 0).sum())
    facts: dict[str, object] = {
        "documents": len(domain_N), "documents.in_no_domain": n_out, "clusters": n_clusters,
        "clusters.empty": int((docs_C == 0).sum()), "clusters.dropped": int(((domain_C < 0) & (docs_C > 0)).sum()),
        "domains": len(rows),
    }  # fmt: skip
    if settings.keep is not None:
        facts |= {"rule.removes_by_clusters": removed[0], "rule.removes_one_by_one": removed[1]}
    return Report(
        kind="domains",
        title="Domains",
        facts=facts,
        tables={"domains": pa.Table.from_pylist(rows)},
        figures=[
            Figure(
                "bar",
                "Size of the domains",
                "domain",
                "share of bytes",
                {"share": [(row["domain"], row["share"]) for row in rows]},
            )
        ],
        verdict=f"{len(rows)} domains from {n_clusters} clusters hold {1 - n_out / max(1, len(domain_N)):.1%} of the "
        f"documents; the largest has {rows[0]['share']:.1%} of the text.",
        warnings=_warnings(model, settings, shares=[row["share"] for row in rows]),
        notes=["'for example' is the beginning of the text nearest to the centroid of the domain's largest cluster."],
    )


def _warnings(model: DomainModel, settings: Settings, *, shares: list[float]) -> list[str]:
    warnings = []
    lengths = np.linalg.norm(model.centroids_CD, axis=1)
    if settings.merge_distance is not None and settings.merge_distance >= 1.4 and lengths.max() <= 1 + 1e-6:
        warnings.append(
            f"this encoder's vectors have length 1, where {settings.merge_distance:g} is farther than most pairs are: "
            "nearly all merges. Use --merge-quantile, or --domains."
        )
    if len(shares) == 1:
        warnings.append("all documents are in one domain; there is nothing to mix. Merge less.")
    elif len(shares) >= 10 and shares[0] > 5 / len(shares) and settings.linkage != "ward":
        warnings.append(
            f"d00 holds {shares[0]:.0%} of the text: linkage {settings.linkage} sets outliers apart, joins the rest. "
            "For domains of more even size: --linkage ward, or more --domains."
        )
    return warnings
