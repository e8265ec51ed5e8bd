"""Tables of results, in percent: per class, beside papers, the ablation."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from data_pipelines.names import printable
from kanoclip_jax.engine.reporting import paper

COLUMNS = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1max",
    "pixel_aupro": "AUPRO@0.3",
    "pixel_aupro_200": "AUPRO (200)",
}
# What the paper reports,
PAPER = ("image_auroc", "pixel_auroc")
# and what tells rows apart besides.
BEYOND = ("image_ap", "pixel_ap", "pixel_aupro")
Result = Mapping[str, Any]
Values = Mapping[str, float | int | None]
# Rows of cells, the head first.
Table = list[list[str]]
Shown = Callable[[object], str]


def by_class(result: Result, spread: Result | None = None) -> Table:
    """Every metric of each class, and their mean.

    Args:
        result: `classes` and `mean` of a dataset.
        spread: their standard deviations over seeds, in the same form.
    """
    rows = [["class", "normal", "anomalous", *COLUMNS.values()]]
    for name, values in (*result["classes"].items(), ("mean", result["mean"])):
        spreads: Values = {}
        if spread is not None:
            spreads = spread["mean"] if name == "mean" else spread["classes"][name]
        cells = (percent(values[key], spreads.get(key)) for key in COLUMNS)
        rows.append([name, str(values["normal"]), str(values["anomalous"]), *cells])
    return rows


def beside_paper(
    results: Mapping[str, Result], titles: Mapping[str, str], theirs: Result
) -> Table:
    """Our rows of one dataset below the paper's, each beside its own method's.

    Args:
        results: our results by row.
        titles: of the rows' methods.
        theirs: the dataset's published figures by method.
    """
    rows = [["method", *(COLUMNS[key] for key in PAPER), "image Δ", "pixel Δ"]]
    for method, cell in theirs.items():
        rows.append(
            [f"{method} (paper)", *(percent(cell[key]) for key in PAPER), "", ""]
        )
    for name, result in results.items():
        mean, own = result["mean"], theirs.get(titles[name], {})
        rows.append(
            [
                f"{named(name, titles[name])} (here)",
                *(percent(mean[key]) for key in PAPER),
                *(_difference(mean[key], own.get(key)) for key in PAPER),
            ]
        )
    return rows


def beside_other(
    results: Mapping[str, Result],
    titles: Mapping[str, str],
    theirs: Mapping[str, Values],
    name: str,
) -> Table:
    """Our rows of one dataset below another paper's, in the metrics that it has.

    Args:
        results: our results by row.
        titles: of the rows' methods.
        theirs: the dataset's published figures by method, then by metric.
        name: by which the paper is known.
    """
    metrics = list(next(iter(theirs.values())))
    rows = [["method", *(COLUMNS[key] for key in metrics)]]
    for method, cell in theirs.items():
        rows.append(
            [f"{method} ({name}'s paper)", *(percent(cell[key]) for key in metrics)]
        )
    for row, result in results.items():
        mean, own = result["mean"], theirs.get(titles[row])
        called = named(row, titles[row])
        rows.append([f"{called} (here)", *(percent(mean[key]) for key in metrics)])
        if own is not None:
            rows.append(
                [f"{called}, Δ", *(_difference(mean[k], own[k]) for k in metrics)]
            )
    return rows


def named(row: str, title: str) -> str:
    """A row as readers know it: by its method, and what it changes of that."""
    plain = title.lower().replace("-", "_").replace(" ", "_").replace("+", "_plus")
    own = row in (plain, plain.replace("_", "")) or plain.endswith(f"_{row}")
    return title if own else f"{title}: {row}"


def as_in_paper(datasets: Mapping[str, Result], title: str, called: str = "") -> Table:
    """The paper's Tables 1 and 2: a line a dataset, a column a method, image / pixel.

    Empty where no dataset is one of the paper's.

    Args:
        datasets: our results.
        title: of our method, with whose column it is compared.
        called: the name of our column, where it is not the title.
    """
    known = {name: r for name, r in datasets.items() if "published" in r}
    if not known:
        return []
    methods = list(next(iter(known.values()))["published"])
    rows = [["image / pixel AUROC", *methods, f"{called or title}, here", "Δ"]]
    for name, result in known.items():
        theirs, mean = result["published"], result["mean"]
        own = theirs.get(title, {})
        rows.append(
            [
                name,
                *(_pair(percent(theirs[m][key]) for key in PAPER) for m in methods),
                _pair(percent(mean[key]) for key in PAPER),
                _pair(_difference(mean[k], own.get(k)) for k in PAPER),
            ]
        )
    return rows


def ablation(rows: Mapping[str, Any]) -> Table:
    """A line for each row of a suite, image / pixel AUROC for each dataset.

    Args:
        rows: of the report, each with `datasets`, `std` and its method's `title`. Where
            the paper has the row, in Table 3 or as a method, its figures and the
            difference stand behind ours.

    Images per second and trained parameters close a line.
    """
    names = _datasets_of(rows)
    cited = {n for n in names if any(_published(row, rows[row], n) for row in rows)}
    head = ["image / pixel AUROC"]
    for name in names:
        head += [name, "paper", "Δ"] if name in cited else [name]
    table = [[*head, "img/s", "parameters"]]
    for row, content in rows.items():
        line = [named(row, content["title"])]
        for name in names:
            mean, spread = _mean_of(content, name)
            line.append(_pair(percent(mean.get(k), spread.get(k)) for k in PAPER))
            if name in cited:
                figures = _published(row, content, name)
                facts = {} if figures is None else figures._asdict()
                line.append(_pair(percent(facts.get(key)) for key in PAPER))
                line.append(
                    _pair(_difference(mean.get(k), facts.get(k)) for k in PAPER)
                )
        rate = content.get("images_per_second")
        line.append("–" if rate is None else f"{rate:.3g}")
        line.append(f"{content.get('parameters', 0):,}")
        table.append(line)
    return table


def beyond_auroc(rows: Mapping[str, Any]) -> Table:
    """A line for each row of a suite, AP and AUPRO for each dataset.

    Args:
        rows: as of `ablation`.
    """
    names = _datasets_of(rows)
    table = [[" / ".join(COLUMNS[key] for key in BEYOND), *names]]
    for row, content in rows.items():
        line = [named(row, content["title"])]
        for name in names:
            result, spread = _mean_of(content, name)
            line.append(_pair(percent(result.get(k), spread.get(k)) for k in BEYOND))
        table.append(line)
    return table


def class_by_row(rows: Mapping[str, Any], dataset: str) -> Table:
    """A line for each class of a dataset and their mean, image / pixel AUROC by row.

    Args:
        rows: as of `ablation`, those that have the dataset.
        dataset: its id.
    """
    results = {row: content["datasets"][dataset] for row, content in rows.items()}
    head = [named(row, rows[row]["title"]) for row in rows]
    table = [["image / pixel AUROC", *head]]
    for name in dict.fromkeys(
        c for result in results.values() for c in result["classes"]
    ):
        found = [result["classes"].get(name, {}) for result in results.values()]
        table.append([name, *(_pair(percent(f.get(k)) for k in PAPER) for f in found)])
    means = [result["mean"] for result in results.values()]
    return [*table, ["mean", *(_pair(percent(m[k]) for k in PAPER) for m in means)]]


def _datasets_of(rows: Mapping[str, Any]) -> list[str]:
    return list(
        dict.fromkeys(name for row in rows.values() for name in row["datasets"])
    )


def _mean_of(content: Mapping[str, Any], dataset: str) -> tuple[Values, Values]:
    """A row's mean of a dataset and its deviation, empty where it lacks it."""
    if dataset not in content["datasets"]:
        return {}, {}
    spread = content["std"][dataset]["mean"]
    return content["datasets"][dataset]["mean"], spread


def _published(
    row: str, content: Mapping[str, Any], dataset: str
) -> paper.Figures | None:
    """Published figures for a row: as a part of the ablation, or as a method."""
    found = paper.ablation(row, dataset)
    return found or paper.figures_of(content["title"], dataset)


def percent(value: float | None, spread: float | None = None) -> str:
    """A fraction in percent, with its deviation if there is one; a dash for None."""
    if value is None:
        return "–"
    around = "" if spread is None else f" ± {100 * spread:.1f}"
    return f"{100 * value:.1f}{around}"


def to_markdown(rows: Table, shown: Shown = printable) -> list[str]:
    """Markdown lines, whose columns also line up in a terminal.

    Args:
        rows: cells, whose names may be anybody's.
        shown: how a name is shown: for a terminal, or by `names.markdown` for a file.
    """
    rows = [[shown(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = [f":{'-' * (widths[0] - 1)}", *(f"{'-' * (w - 1)}:" for w in widths[1:])]
    return [_line(rows[0], widths), f"| {' | '.join(rule)} |"] + [
        _line(row, widths) for row in rows[1:]
    ]


def _pair(cells: Iterable[str]) -> str:
    return " / ".join(cells)


def _difference(ours: float | None, theirs: float | None) -> str:
    if ours is None or theirs is None:
        return "–"
    return f"{100 * (ours - theirs):+.1f}".replace("-", "−")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = (c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))
    return f"| {' | '.join([first, *rest])} |"
