"""What scoring by skills gave: spread and dominant skills, what of the reference is covered, why a document scores so.

Papers: MASS: Mathematical Data Selection via Skill Graphs for Pretraining Large Language Models (arXiv 2503.14917).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from tokenry.core.numerics import spearman
from tokenry.core.report import Report
from tokenry.core.runs import write_run
from tokenry.corpora.engine import Mapped
from tokenry.corpora.skill_extraction import read_skills
from tokenry.corpora.skill_graph import SkillGraph, graph_report, open_embedder
from tokenry.corpora.skills import BLOCK, COLUMNS, Scorer, Scoring, background_of

__all__ = ["build", "coverage_report", "explain_report", "look", "scores_report"]

# Axes: C chunks, K skills, E pairs.


def scores_report(made: Mapped, scoring: Scoring) -> Report:
    """What scoring gave: spread of each signal, the dominant skills, and how much of the score pairs make."""
    from tokenry.corpora.sidecars import read_signals

    table = read_signals(made.folder)
    names = [name for name, kind in COLUMNS.items() if pa.types.is_floating(kind)]
    columns = {name: table.column(name).drop_null().to_numpy() for name in names}
    rows = [
        {"signal": name, **{f"{q:.0%}": float(np.quantile(values, q)) for q in (0.05, 0.5, 0.95)}}
        for name, values in columns.items() if len(values)
    ]  # fmt: skip
    top = table.column("skills.top").drop_null().value_counts().to_pylist()
    top.sort(key=lambda one: (-one["counts"], one["values"]))
    nodes, edges = columns["skills.nodes"], columns["skills.edges"]
    facts = {
        "documents": made.n_out, "broken rows": made.n_bad, "aggregation": scoring.aggregation,
        "without a text": int(table.column("skills.score").null_count),
        "that match no skill": int(table.column("skills.top").null_count - table.column("skills.score").null_count),
        "dominant skills": len(top), "folder": str(made.folder),
    }  # fmt: skip
    if (total := float(nodes.sum() + edges.sum())) > 0:
        facts["share of the quadratic score that pairs give"] = round(float(edges.sum()) / total, 3)
        facts["rank correlation of nodes and edges"] = round(spearman(nodes, edges), 3)
    tables = {"spread": pa.Table.from_pylist(rows)} if rows else {}
    if top:
        shown = [{"skill": one["values"], "documents": one["counts"]} for one in top[:15]]
        tables["dominant skills"] = pa.Table.from_pylist(shown)
    notes = ["how the graph and the similarities make a score is our reconstruction of MASS; no code was published"]
    title = f"{made.n_out:,} documents scored by skills"
    return Report("corpus skills score", title, facts, tables, notes=notes)


def coverage_report(source: object, scorer: Scorer, *, above: float = 0.5, text: str = "text", n: int = 20) -> Report:
    """How much of what the reference needs is in some document, and what is missing.

    Args:
        source: documents, most of all those that were selected.
        scorer: its similarities without tau decide.
        above: a document has a skill when a piece of it is more similar than this.
        text: the column of the text.
        n: gaps to list.
    """
    from scipy.sparse import csr_array

    from tokenry.core.tables import stream

    graph, first_E, second_E = scorer.graph, *scorer.graph.edges_E2.T
    best_K = np.full(len(graph.skills), -1.0)
    joined_KK = csr_array((len(graph.skills), len(graph.skills)))
    wanted_KK = (scorer.pairs_KK > 0).astype(np.float64)
    n_documents = 0
    for batch in stream(source, text=text, columns=()):
        n_documents += batch.num_rows
        pieces, _ = scorer.chunks(batch.column("text").to_pylist())
        for start in range(0, len(pieces), BLOCK):
            cosines_CK = graph.embedder.units(pieces[start : start + BLOCK]) @ graph.vectors_KD.T
            best_K = np.maximum(best_K, cosines_CK.max(axis=0))
            has_CK = csr_array((cosines_CK > above).astype(np.float64))
            joined_KK = joined_KK + (has_CK.T @ has_CK).multiply(wanted_KK)
    covered_K = best_K > above
    both_E = np.asarray(joined_KK.tocsr()[first_E, second_E]).ravel() > 0 if len(first_E) else np.zeros(0, bool)
    pair_mass = float(graph.together_E[both_E].sum() / graph.together_E.sum()) if len(both_E) else float("nan")
    node_mass = float(scorer.nodes_K[covered_K].sum())
    gaps = np.flatnonzero(~covered_K)[:n]
    gap_table = pa.table({
        "skill": [graph.skills[at] for at in gaps], "problems": graph.counts_K[gaps], "most similar": best_K[gaps],
    })  # fmt: skip
    apart = np.flatnonzero(~both_E)
    apart = apart[np.argsort(-graph.together_E[apart], kind="stable")][:n]
    pair_table = pa.table({
        "skill": [graph.skills[at] for at in first_E[apart]], "with": [graph.skills[at] for at in second_E[apart]],
        "problems": graph.together_E[apart],
    })  # fmt: skip
    facts = {
        "documents": n_documents, "above": above, "skills covered": int(covered_K.sum()), "skills": len(covered_K),
        "share of the needs covered": round(node_mass, 4), "pairs covered": int(both_E.sum()), "pairs": len(both_E),
        "share of the pairs' needs covered": round(pair_mass, 4),
    }  # fmt: skip
    verdict = f"{node_mass:.0%} of the reference's needs are met by some document (cosine above {above:g})."
    return Report("corpus skills coverage", "what of the reference is covered", facts,
                  {"gaps": gap_table, "pairs that no document has": pair_table}, verdict=verdict)  # fmt: skip


def explain_report(source: object, scorer: Scorer, *, ids: Sequence[str], text: str = "text", n: int = 5) -> Report:
    """The skills and pairs that give some documents their score.

    Raises:
        ValueError: a document is not there.
    """
    from tokenry.core.tables import stream

    wanted, rows = dict.fromkeys(ids), []
    for batch in stream(source, text=text, columns=()):
        for name, one in zip(batch.column("id").to_pylist(), batch.column("text").to_pylist(), strict=True):
            if name in wanted:
                wanted[name] = scorer.explain(one or "", n=n)
    if missing := [name for name, found in wanted.items() if found is None]:
        raise ValueError(f"no document {missing[0]!r} there. Take ids from the column id of the signals.")
    for name, found in wanted.items():
        total = found.score if found.score > 0 else float("nan")
        for skill, similarity, given in found.skills:
            rows.append(
                {"document": name, "skill": skill, "with": "", "similarity": similarity, "share": given / total}
            )
        for skill, other, given in found.pairs:
            rows.append({"document": name, "skill": skill, "with": other, "similarity": None, "share": given / total})
    schema = pa.schema([("document", pa.string()), ("skill", pa.string()), ("with", pa.string()),
                        ("similarity", pa.float64()), ("share", pa.float64())])  # fmt: skip
    facts = {f"score.{name}": found.score for name, found in wanted.items()}
    tables = {"contributions": pa.Table.from_pylist(rows, schema=schema)}
    notes = ["the quadratic score; tau 0 unless the scorer was calibrated, so it may differ from the signals'"]
    return Report("corpus skills explain", "where scores come from", facts, tables, notes=notes)


def build(
    skills: str | Path,
    out: str | Path,
    *,
    encoder: object = "words",
    sample: object = None,
    threshold: float = 0.9,
    least: int = 1,
    graphml: str | Path | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Report:
    """Make the graph of a file of skills, save it with a `run.json`, and describe it.

    Args:
        skills: the file, as `skill_extraction.extract` writes it.
        out: folder of the graph.
        encoder: see `skill_graph.open_embedder`.
        sample: documents from which "words" learns besides the reference.
        threshold, least: see `SkillGraph.build`.
        graphml: also write this file.
        seed: of "words" and of the sample.
        overwrite: replace `out`.
    """
    problems, texts, provenance = read_skills(skills)
    texts += background_of(sample, n=len(texts), seed=seed) if sample else []
    embedder = open_embedder(encoder, texts=texts, seed=seed)
    made = SkillGraph.build(problems, embedder, threshold=threshold, least=least, provenance=provenance)
    made.save(out, overwrite=overwrite)
    told = {"encoder": embedder.name, "threshold": threshold, "least": least}
    write_run(
        out, verb="corpus skills graph", arguments=told, seed=seed, inputs=[skills, *([sample] if sample else [])]
    )
    if graphml:
        made.export(graphml)
    return graph_report(made)


def look(
    graph: str | Path,
    *,
    skill: str | None = None,
    docs: object = None,
    above: float = 0.5,
    explain: Sequence[str] = (),
    embedder: object = None,
    text: str = "text",
) -> Report:
    """Look at a saved graph: all of it, around one `skill`, what `docs` cover of it, or why `explain` score so.

    Raises:
        ValueError: ids to explain without documents.
    """
    opened = SkillGraph.load(graph, embedder=embedder)
    if explain and not docs:
        raise ValueError(f"--explain {explain[0]!r} without documents; give those it is among (--docs).")
    if explain:
        return explain_report(docs, Scorer(opened), ids=explain, text=text)
    if docs:
        return coverage_report(docs, Scorer(opened), above=above, text=text)
    return graph_report(opened, skill=skill)
