"""Tables as files: Markdown to read, LaTeX to publish, CSV with every metric and full precision to compute with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from bench import words
from bench.protocol import Metric
from bench.report.layout import OTHER, SIGNS, Entry, Layout
from bench.report.rows import Row
from bench.report.statistics import Interval
from bench.report.tables import Table

# ---------------------------------------------------------------- Markdown


def markdown(tables: Sequence[Layout], terms: Sequence[tuple[str, str]] = ()) -> str:
    """Return tables as one Markdown document (GitHub's tables), with the glossary at its end."""
    parts = [_markdown_table(table) for table in tables]
    if terms:
        lines = [f"- **{_markdown(term)}**: {_markdown(words)}" for term, words in terms]
        parts.append("\n".join(["## Terms", "", *lines, ""]))
    return "\n".join(parts)


def _markdown_table(table: Layout) -> str:
    notes = [f"({letter}) {note}" for letter, note in table.footnotes] + [*table.notes, *_ended(table)]
    findings = [f"- {SIGNS.get(finding.kind, OTHER)} {_markdown(finding.sentence)}" for finding in table.findings]
    lines = [
        f"## {_markdown(table.title)}",
        "",
        *([*findings, ""] if findings else []),
        _piped([_markdown(heading.text) for heading in table.headings]),
        _piped([":---", *["---:"] * (len(table.headings) - 1)]),
        *(_piped([_markdown_entry(entry) for entry in row]) for row in table.rows),
        "",
        _markdown(table.caption),
        "",
        *(f"- {_markdown(note)}" for note in notes),
    ]
    return "\n".join([*lines, ""] if notes else lines)


def _ended(table: Layout) -> list[str]:
    """Return how the models were made, as sentences with their full stop."""
    return [f"{sentence}." for sentence in (*table.conditions, *([f"Records: {table.source}"] if table.source else ()))]


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_entry(entry: Entry) -> str:
    text = f"{SIGNS[entry.sign]} {entry.text}" if entry.sign else entry.text
    text = f"**{_markdown(text)}**" if entry.bold else _markdown(text)
    text += f"<sup>{entry.marks}</sup>" if entry.marks else ""
    return f"{text}<br>{_markdown(entry.below)}" if entry.below else text


def _markdown(text: str) -> str:
    """Escape text; what stands between backticks is code and stays."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    escaped = [part.replace("|", "\\|") if index % 2 else _escaped(part) for index, part in enumerate(parts)]
    return "".join(escaped)


def _escaped(text: str) -> str:
    # a sign or number at the start of a list item would begin another list
    return re.sub(r"^([-+#]|\d+[.)])(?=\s)", r"\\\1", re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", text))


# ---------------------------------------------------------------- LaTeX

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        "±": r"$\pm$",
        "=": r"=\allowbreak{}",
        # after a line break of a table a bare bracket would be read as its argument
        "[": r"\allowbreak{}{[}",
        "]": "{]}",
    }
)


_MANY = 5  # columns, from which on a table is set smaller
_LABELS = r">{\raggedright\arraybackslash}X"
_LATEX_SIGNS = {"better": r"$\uparrow$", "worse": r"$\downarrow$"}


def latex(tables: Sequence[Layout], notes: Sequence[str] = ()) -> str:
    """Return tables as LaTeX, each as wide as a line of text; they need the packages booktabs and tabularx.

    Args:
        tables: one a metric, and those of cost and stability.
        notes: how the models were made and what casts doubt on them, one sentence each, for below the tables.
    """
    parts = [_latex_table(table) for table in tables if table.rows]
    if notes:
        parts.append(
            "\n".join([r"\begingroup\footnotesize\raggedright", *(rf"\noindent {_latex(note)}\par" for note in notes)])
        )
        parts.append("\\endgroup\n")
    return "% \\usepackage{booktabs, tabularx}\n" + "\n".join(parts)


def _latex_table(table: Layout) -> str:
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\small" if len(table.headings) < _MANY else r"\footnotesize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{_latex(f'{table.title}. {table.caption}')}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.name)}}}",
        rf"\begin{{tabularx}}{{\linewidth}}{{@{{}}{_LABELS}{'r' * (len(table.headings) - 1)}@{{}}}}",
        r"\toprule",
        _latex_row([_latex_heading(heading.text, index) for index, heading in enumerate(table.headings)]),
    ]
    for section in table.sections:
        lines.append(r"\midrule")
        for row in section:
            lines.append(_latex_row([_latex_entry(entry) for entry in row]))
            if any(entry.below for entry in row):
                small = [rf"{{\scriptsize {_latex(entry.below)}}}" if entry.below else "" for entry in row]
                lines.append(_latex_row(small))
    return "\n".join([*lines, r"\bottomrule", r"\end{tabularx}", r"\end{table}", ""])


def _latex_heading(text: str, index: int) -> str:
    """Return a heading; above figures a word a line."""
    words = [_latex(word) for word in text.split()]
    if not index or len(words) < 2:
        return " ".join(words)
    stack = r" \\ ".join(words)
    return rf"\shortstack[r]{{{stack}}}"


def _latex_row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _latex_entry(entry: Entry) -> str:
    text = re.sub(r"^-(?=\d)", "$-$", _latex(entry.text))
    text = f"{_LATEX_SIGNS[entry.sign]} {text}" if entry.sign else text
    text = rf"\textbf{{{text}}}" if entry.bold else text
    return rf"{text}\textsuperscript{{{entry.marks}}}" if entry.marks else text


def _latex(text: str) -> str:
    """Escape text; what stands between backticks is set as code."""
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    escaped = [part.translate(_LATEX) for part in parts]
    # two hyphens in code are two hyphens, not a dash
    code = [rf"\texttt{{{part.replace('--', '-{}-')}}}" for part in escaped[1::2]]
    joined = "".join(a + b for a, b in zip(escaped[::2], [*code, ""], strict=True))
    return joined.removeprefix(r"\allowbreak{}")


# ---------------------------------------------------------------- CSV

_ROW = ("dataset", "row", "kind", "strategy", "hyper", "seeds_planned", "seeds_finished", "seeds_missing", "failed")
_SCORE = ("metric", "unit", "better", "n", "mean", "lower", "upper", "interval", "items_lost")
_PUBLISHED = ("published", "published_difference", "published_verdict")
_INTERVAL = ("lower", "upper", "n", "interval", "items_lost")
_COMPARED = ("baseline", "difference", *(f"difference_{name}" for name in _INTERVAL), "verdict", "p")
_TUNED = ("trials", "tuning_seconds", "study")
_GAINED = ("gain", *(f"gain_{name}" for name in _INTERVAL))
COLUMNS = [*_ROW, *_SCORE, *_PUBLISHED, *_COMPARED, *_TUNED, *_GAINED, "notes"]


def comma_separated(tables: Sequence[Table]) -> str:
    """Return tables as CSV: a line for each row and metric, every metric of the records, at full precision."""
    lines = [{"dataset": table.name} | line for table in tables for line in _lines(table)]
    # as they are: pandas would make decimals of a column of integers that has gaps
    lines = [{name: words.comma_separated(value) for name, value in line.items()} for line in lines]
    return pd.DataFrame(lines, columns=COLUMNS, dtype=object).to_csv(index=False, lineterminator="\n")


def _lines(table: Table) -> Iterator[dict[str, Any]]:
    """Give the lines of a table; one without metric where a row has no scores."""
    for row in table.rows:
        shared = {
            "row": row.label,
            "kind": "ours",
            "strategy": row.setting.strategy,
            "hyper": row.setting.hyper,
            "seeds_planned": row.planned,
            "seeds_finished": len(row.finished),
            "seeds_missing": " ".join(map(str, row.missing)),
            "failed": " ".join(f"{status}={count}" for status, count in row.failed.items()),
            "notes": "; ".join(row.marks),
        }
        if row.ledger:
            shared |= {"trials": row.ledger.trials, "tuning_seconds": row.ledger.seconds, "study": row.ledger.study}
        scored = [metric for metric in table.metrics if metric.name in row.scores]
        yield from (shared | _scores(table, row, metric) for metric in scored)
        if not scored:
            yield shared | _published(row) | _verdict(row)
        elif table.headline and table.headline not in scored:
            yield shared | _of(table.headline) | _verdict(row)
    for kind, numbers in (("published", table.others), ("reference", table.references)):
        for number in numbers:
            yield {
                "row": number.model,
                "kind": kind,
                "strategy": number.strategy,
                "metric": table.column.metric if table.column else "",
                "unit": number.unit,
                "published": number.value,
                "notes": number.citation,
            }


def _scores(table: Table, row: Row, metric: Metric) -> dict[str, Any]:
    """Return the columns of one metric of a row."""
    line = _of(metric) | _interval(row.scores[metric.name])
    if row.comparison and table.column and metric.name == table.column.metric:
        line |= _published(row) | {f"published_{name}": value for name, value in row.comparison._asdict().items()}
    if difference := row.differences.get(metric.name):
        compared = _interval(difference)
        line |= {"baseline": table.baseline, "difference": compared.pop("mean")}
        line |= {f"difference_{name}": value for name, value in compared.items()}
    if gain := row.gains.get(metric.name):
        compared = _interval(gain)
        line |= {"gain": compared.pop("mean")} | {f"gain_{name}": value for name, value in compared.items()}
    return line | (_verdict(row) if metric == table.headline else {})


def _of(metric: Metric) -> dict[str, Any]:
    return {"metric": metric.name, "unit": metric.unit, "better": metric.better}


def _verdict(row: Row) -> dict[str, Any]:
    return {"verdict": row.verdict.words, "p": row.verdict.p} if row.verdict else {}


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "n": " ".join(map(str, interval.n)),
        "mean": interval.mean,
        "lower": interval.lower,
        "upper": interval.upper,
        "interval": interval.basis,
        "items_lost": int(interval.lost),
    }


def _published(row: Row) -> dict[str, float]:
    return {"published": row.number.value} if row.number else {}
