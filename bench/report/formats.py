"""Tables as files: Markdown to read, LaTeX to publish, CSV with every metric and full precision to compute with."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from bench.report.layout import Entry, layout
from bench.report.matrix import Matrix
from bench.report.rows import Row
from bench.report.tables import Table

# ---------------------------------------------------------------- Markdown


def markdown(tables: Sequence[Table | Matrix]) -> str:
    """Return tables as one Markdown document (GitHub's tables)."""
    return "\n".join(_markdown_table(table) for table in tables)


def _markdown_table(table: Table | Matrix) -> str:
    content = layout(table)
    lines = [f"## {_markdown(table.title)}", ""]
    lines.append(_piped([_markdown(heading.text) for heading in content.headings]))
    lines.append(_piped(["---:" if heading.numeric else ":---" for heading in content.headings]))
    lines += [_piped([_markdown_entry(entry) for entry in row]) for row in content.rows]
    lines += ["", _markdown(table.caption), ""]
    notes = [f"({letter}) {note}" for letter, note in content.footnotes] + [*table.notes, f"Records: {table.source}."]
    return "\n".join([*lines, *(f"- {_markdown(note)}" for note in notes), ""])


def _piped(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_entry(entry: Entry) -> str:
    text = f"**{_markdown(entry.text)}**" if entry.bold else _markdown(entry.text)
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

_LATEX = {
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
    # after a line break of a table a bare bracket would be read as its argument
    "[": "{[}",
    "]": "{]}",
}


def latex(tables: Sequence[Table | Matrix]) -> str:
    """Return tables as LaTeX `table` environments; they need the package booktabs."""
    return "% \\usepackage{booktabs}\n" + "\n".join(_latex_table(table) for table in tables)


def _latex_table(table: Table | Matrix) -> str:
    content = layout(table)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\footnotesize",
        r"\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{_latex(table.caption)}}}",
        rf"\label{{tab:{re.sub(r'[^A-Za-z0-9]+', '-', table.name)}}}",
        rf"\begin{{tabular}}{{{''.join('r' if heading.numeric else 'l' for heading in content.headings)}}}",
        r"\toprule",
        _latex_row([_latex(heading.text) for heading in content.headings]),
    ]
    for section in content.sections:
        lines.append(r"\midrule")
        for row in section:
            lines.append(_latex_row([_latex_entry(entry) for entry in row]))
            if any(entry.below for entry in row):
                small = [rf"{{\scriptsize {_latex(entry.below)}}}" if entry.below else "" for entry in row]
                lines.append(_latex_row(small))
    lines += [r"\bottomrule", r"\end{tabular}"]
    notes = [rf"\textsuperscript{{{letter}}} {_latex(note)}" for letter, note in content.footnotes]
    notes += [_latex(note) for note in (*table.notes, f"Records: {table.source}.")]
    lines += [r"\par\smallskip", r"\begin{minipage}{\linewidth}", r"\scriptsize", " \\\\\n".join(notes)]
    return "\n".join([*lines, r"\end{minipage}", r"\end{table}", ""])


def _latex_row(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _latex_entry(entry: Entry) -> str:
    text = re.sub(r"^-(?=\d)", "$-$", _latex(entry.text))
    text = rf"\textbf{{{text}}}" if entry.bold else text
    return rf"{text}\textsuperscript{{{entry.marks}}}" if entry.marks else text


def _latex(text: str) -> str:
    """Escape text; what stands between backticks is set as code."""
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    escaped = ["".join(_LATEX.get(character, character) for character in part) for part in parts]
    # two hyphens in code are two hyphens, not a dash
    code = [rf"\texttt{{{part.replace('--', '-{}-')}}}" for part in escaped[1::2]]
    return "".join(a + b for a, b in zip(escaped[::2], [*code, ""], strict=True))


# ---------------------------------------------------------------- CSV

COLUMNS = (
    "dataset",
    "row",
    "kind",
    "strategy",
    "hyper",
    "seeds_planned",
    "seeds_finished",
    "seeds_missing",
    "failed",
    "metric",
    "unit",
    "better",
    "n",
    "mean",
    "lower",
    "upper",
    "interval",
    "published",
    "difference",
    "verdict",
    "baseline",
    "paired_n",
    "paired",
    "paired_lower",
    "paired_upper",
    "bold",
    "notes",
)


def comma_separated(tables: Sequence[Table]) -> str:
    """Return tables as CSV: a line for each row and metric, every metric of the records, at full precision."""
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for row in table.rows:
            writer.writerows({"dataset": table.name} | line for line in _lines(table, row))
        for kind, numbers in (("published", table.others), ("reference", table.references)):
            for number in numbers:
                writer.writerow(
                    {
                        "dataset": table.name,
                        "row": number.model,
                        "kind": kind,
                        "strategy": number.strategy or "",
                        "metric": table.column.metric if table.column else "",
                        "unit": number.unit,
                        "published": number.value,
                        "notes": number.citation,
                    }
                )
    return file.getvalue()


def _lines(table: Table, row: Row) -> Iterator[dict[str, Any]]:
    """Give a row's lines; one without metric where it has no scores."""
    same = {
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
    for metric in table.metrics:
        interval = row.scores.get(metric.name)
        if interval is None:
            continue
        line = same | {
            "metric": metric.name,
            "unit": metric.unit,
            "better": metric.better,
            "n": interval.n,
            "mean": interval.mean,
            "lower": interval.lower,
            "upper": interval.upper,
            "interval": interval.basis,
        }
        if row.comparison and table.column and metric.name == table.column.metric:
            line |= {
                "published": row.comparison.number.value,
                "difference": row.comparison.difference,
                "verdict": row.comparison.verdict,
            }
        difference = row.paired.get(metric.name)
        if difference:
            line |= {
                "baseline": table.baseline,
                "paired_n": difference.n,
                "paired": difference.mean,
                "paired_lower": difference.lower,
                "paired_upper": difference.upper,
                "bold": int(metric.name in row.better),
            }
        yield line
    if not row.scores:
        yield same | ({"published": row.number.value} if row.number else {})
