"""The page: a report as one HTML file that needs nothing else, no network either.

Names and texts of records may be anybody's: the template escapes whatever it prints, signs that cannot be printed are
replaced, and the page's own policy forbids any script but its own and any request.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from bench import words
from bench.report.page.content import Part

_HERE = Path(__file__).parent


def render(title: str, parts: Sequence[Part], terms: Sequence[tuple[str, str]]) -> str:
    """Return the page.

    Args:
        title: of the whole.
        parts: one a grid.
        terms: the glossary.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["code"] = _code
    style, script = (Own((_HERE / name).read_text()) for name in ("page.css", "page.js"))
    policy = "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src {style.source}",
            f"script-src {script.source}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return environment.get_template("page.html.jinja").render(
        title=title,
        parts=parts,
        terms=terms,
        policy=policy,
        style=Markup(style.text),
        script=Markup(script.text),
    )


@dataclass(frozen=True)
class Own:
    """A text of ours that stands in the page as it is."""

    text: str

    @property
    def source(self) -> str:
        """Its digest, by which a browser knows it."""
        return f"'sha256-{base64.b64encode(hashlib.sha256(self.text.encode()).digest()).decode()}'"


def _code(text: str) -> Markup:
    """Return a text, escaped, in which what stands between backticks is code."""
    parts = re.split(r"`([^`]*)`", _printable(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)
    )


def _printable(value: Any) -> Any:
    """Return a text without signs that cannot be printed or that turn the direction of writing."""
    return words.plain(value, keep="\n") if type(value) is str else value  # what is Markup is ours
