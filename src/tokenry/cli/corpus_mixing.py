"""Verbs that find domains in a corpus, and the shares in which to sample them."""

from pathlib import Path
from typing import Annotated

import typer

from tokenry.cli.corpus import app
from tokenry.cli.corpus_select import Docs, EngineOption, Signals, Workers
from tokenry.cli.output import JsonFlag, QuietFlag, SeedOption, SkipBadFlag, TextColumn, folder_to_be, quiet, show

domains_app = typer.Typer(help="Find the domains of a corpus that has no labels.", no_args_is_help=True)
app.add_typer(domains_app, name="domains")

Out = Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of the labels.")]


@domains_app.command(
    epilog="Example:  `tokenry corpus domains build crawl/ --embed ./minilm --k 1000 --signals quality/ "
    "--keep 'quality.score >= 3' --domains 20 --out domains/`"
)
def build(
    docs: Docs,
    out: Out,
    embed: Annotated[str, typer.Option("--embed", help="tfidf (words), or a sentence encoder.")] = "tfidf",
    k: Annotated[int, typer.Option("--k", min=1, help="Clusters of k-means.")] = 1000,
    signals: Signals = None,
    keep: Annotated[str | None, typer.Option("--keep", help="Rule over the mean signals of a cluster.")] = None,
    by_document: Annotated[bool, typer.Option("--by-document", help="Apply --keep to documents instead.")] = False,
    merge_distance: Annotated[float | None, typer.Option("--merge-distance", help="Merge nearer centroids.")] = None,
    merge_quantile: Annotated[float | None, typer.Option("--merge-quantile", help="Or this share of pairs.")] = None,
    domains: Annotated[int | None, typer.Option("--domains", min=1, help="Or until so many are left (20).")] = None,
    linkage: Annotated[str, typer.Option("--linkage", help="average, complete, single or ward.")] = "average",
    prefix: Annotated[int, typer.Option("--prefix", min=1, help="Characters of a document that are read.")] = 2000,
    sample: Annotated[int | None, typer.Option("--sample", min=2, help="Documents to learn from: 256 x k.")] = None,
    seed: SeedOption = 0,
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Embed, cluster, drop bad clusters, merge near ones, and label every document with its domain."""
    from tokenry.corpora.domain_model import Settings
    from tokenry.corpora.domains import build_domains
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    settings = Settings(embed, k, prefix, sample=sample, keep=keep, by_document=by_document, seed=seed,
                        merge_distance=merge_distance, merge_quantile=merge_quantile, n_domains=domains,
                        linkage=linkage)  # fmt: skip
    reading = Reading(text=text_column, skip_bad=skip_bad, sidecars=tuple(map(str, signals or ())))
    made = build_domains(docs, out, settings=settings, reading=reading, engine=open_engine(engine, workers=workers))
    show(made.report, json=as_json, out=Path(f"{out}.report"))


@domains_app.command(epilog="Example:  `tokenry corpus domains label new-crawl/ --domains domains/ --out new-domains/`")
def label(
    docs: Docs,
    out: Out,
    domains: Annotated[Path, typer.Option("--domains", help="What domains build wrote.")],
    text_column: TextColumn = "text",
    skip_bad: SkipBadFlag = False,
    engine: EngineOption = "embedded",
    workers: Workers = None,
    no_progress: QuietFlag = False,
) -> None:
    """Label other documents with the domains of an earlier corpus."""
    from tokenry.corpora.domains import label_documents
    from tokenry.corpora.engine import open_engine
    from tokenry.corpora.units import Reading

    quiet(no_progress)
    reading = Reading(text=text_column, skip_bad=skip_bad, columns=())
    made = label_documents(docs, out, domains, reading=reading, engine=open_engine(engine, workers=workers))
    typer.echo(f"{made.n_out:,} documents labelled: {out}")


@app.command(
    epilog="Example:  `tokenry corpus search-mixture --domains domains/ --proxy ./proxy.py:train_eval "
    "--rounds 64,32,16 --budget 10B --out search/`"
)
def search_mixture(
    proxy: Annotated[str, typer.Option("--proxy", help="pkg.module:function or ./file.py:function of weights, seed.")],
    out: Annotated[Path, typer.Option("--out", callback=folder_to_be, help="Folder of runs.jsonl and mixture.json.")],
    domains: Annotated[Path | None, typer.Option("--domains", help="What domains build wrote.")] = None,
    sizes: Annotated[str | None, typer.Option("--sizes", help="Or the sizes: web=3B,books=1B.")] = None,
    rounds: Annotated[str, typer.Option("--rounds", help="Proxies in each round; one number is RegMix.")] = "64,32,16",
    predictor: Annotated[str, typer.Option("--predictor", help="lightgbm, gp, linear, or your function.")] = (
        "lightgbm"
    ),
    lower: Annotated[bool, typer.Option("--lower", help="Lower scores are better (a loss).")] = False,
    average: Annotated[int, typer.Option("--average", min=1, help="Mean of so many best candidates.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", min=0, help="Measure the result and the best proxy again.")] = 0,
    pool: Annotated[int, typer.Option("--pool", min=2, help="Candidates drawn.")] = 20_000,
    budget: Annotated[str | None, typer.Option("--budget", help="Of the real run, in bytes as the sizes.")] = None,
    epochs: Annotated[float, typer.Option("--epochs", help="Passes over a domain at most.")] = 4.0,
    parallel: Annotated[int, typer.Option("--parallel", min=1, help="Proxies at a time (threads).")] = 1,
    seed: SeedOption = 0,
    as_json: JsonFlag = False,
    no_progress: QuietFlag = False,
) -> None:
    """Find the shares of domains with the best score, by small proxies and a predictor, in rounds."""
    from tokenry.core.runs import write_run
    from tokenry.corpora.choices import amount, counts_of
    from tokenry.corpora.domains import sizes_of
    from tokenry.corpora.mixing import Search, search_mixture
    from tokenry.corpora.mixing_report import mixture_report, next_line, write_mixture

    quiet(no_progress)
    search = Search(counts_of(rounds), predictor, "lower" if lower else "higher", pool,
                    average=average, repeats=repeats, seed=seed)  # fmt: skip
    found = search_mixture(proxy, sizes_of(domains, sizes), search=search, epochs=epochs, workers=parallel,
                           budget=amount(budget) if budget else None, runs=out / "runs.jsonl")  # fmt: skip
    line = next_line(write_mixture(found, out / "mixture.json"), domains)
    arguments = {**search.__dict__, "proxy": proxy, "domains": domains, "sizes": sizes, "budget": budget,
                 "epochs": epochs}  # fmt: skip
    write_run(out, verb="corpus search-mixture", arguments=arguments, seed=seed, inputs=[domains] if domains else [])
    show(mixture_report(found, line=line), json=as_json, out=out / "report")
