r"""A Table as LaTeX that needs the package booktabs alone: values, below each its interval, below that the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from changeling.report.tables import Layout, Line, lay_out
from changeling.results.result import Table

HEAD = "% Written by changeling. Needs \\usepackage{booktabs}; put it in place by \\input."
NARROW = 6  # columns of numbers, from which on the type is smaller
TIGHT = 10  # and still smaller
_LACKING = frozenset("«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")  # of Latin's; what LaTeX's own fonts (OT1) do not have
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "#": r"\#", "$": r"\$", "%": r"\%", "&": r"\&", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\texttt{\char34}", "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''",
    "…": r"\ldots{}", "·": r"$\cdot$", "×": r"$\times$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$",
    "→": r"$\to$", "\u00a0": "~", "[": "{[}", "*": "{*}",
}  # fmt: skip
_ARROWS = {"high": r"~$\uparrow$", "low": r"~$\downarrow$", "none": ""}


def latex_table(table: Table, paper: str = "") -> str:
    """A floating table with a caption and the label `tab:<key>`; `paper` is which of the paper's tables it is like."""
    layout = lay_out(table)
    wide = layout.width - len(layout.labels)
    size = r"\footnotesize" if wide < NARROW else r"\scriptsize" if wide < TIGHT else r"\tiny"
    small = r"\scriptsize" if wide < NARROW else r"\tiny"
    parts = [
        HEAD,
        r"\begin{table*}" if wide >= NARROW else r"\begin{table}",
        rf"\caption{{{_caption(table, layout, paper)}}}",
        rf"\label{{tab:{table.key}}}",
        r"\centering",
        rf"{size}\setlength{{\tabcolsep}}{{{3 if wide >= TIGHT else 5}pt}}",
        rf"\begin{{tabular}}{{@{{}}{'l' * len(layout.labels)}{'r' * wide}@{{}}}}",
        r"\toprule",
        *_head(layout, small),
        r"\midrule",
    ]
    for i, block in enumerate(layout.blocks):
        if block.title:
            parts += [r"\addlinespace"] if i else []
            if block.counts:
                counts = [
                    _over(group.span, "c", f"{small} {escape(text)}")
                    for group, text in zip(layout.groups, block.counts, strict=True)
                ]
                parts.append(_row([_over(len(layout.labels), "@{}l", rf"\textbf{{{escape(block.title)}}}"), *counts]))
            else:
                parts.append(_row([_over(layout.width, "@{}l@{}", rf"\textbf{{{escape(block.title)}}}")]))
        for line in block.lines:
            parts += _lines(line, layout, small)
    if layout.chances:
        chances = [
            text
            for group, some in zip(layout.groups, layout.chances, strict=True)
            for text in ([""] if group.counted else []) + list(some)
        ]
        parts += [r"\midrule", _row(["Chance", *[""] * (len(layout.labels) - 1), *chances])]
    parts += [r"\bottomrule", r"\end{tabular}", r"\end{table*}" if wide >= NARROW else r"\end{table}"]
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX sets it, in one line. Letters that its own fonts lack are named by their code points."""
    return "".join(_SPECIAL.get(c) or _plain(c) for c in text)


def _plain(character: str) -> str:
    if character.isspace() or (not character.isprintable() and not 0xD800 <= ord(character) < 0xE000):
        return " "
    there = ord(character) < 0x180 and character not in _LACKING
    return character if there else f"{{[U+{ord(character):04X}]}}"


def _caption(table: Table, layout: Layout, paper: str) -> str:
    parts = [f"{table.title}{f' (as {paper} of the paper)' if paper else ''}."]
    parts.append("Per cent, with the 95\u00a0% interval below each number.")
    if layout.paper:
        parts.append(f"In italics the paper's value, starred where the interval does not hold it. {layout.paper}")
    parts += [layout.warning, table.note]
    return " ".join(escape(part) for part in parts if part)


def _head(layout: Layout, small: str) -> list[str]:
    """The names of spans, of groups, of columns, with rules that are as wide as what they stand above."""
    blank = [""] * len(layout.labels)
    rows = []
    if layout.spans:
        rows.append(_row([*blank, *(_over(span, "c", escape(title)) for title, span in layout.spans)]))
        rows.append(_rules(len(blank), [span for _, span in layout.spans]))
    if any(group.title for group in layout.groups):
        rows.append(_row([*blank, *(_over(group.span, "c", escape(group.title)) for group in layout.groups)]))
    if any(group.count for group in layout.groups):
        counts = [f"{small} {escape(', '.join(group.count))}" if group.count else "" for group in layout.groups]
        rows.append(_row([*blank, *(_over(g.span, "c", text) for g, text in zip(layout.groups, counts, strict=True))]))
    if rows:
        rows.append(_rules(len(blank), [group.span for group in layout.groups]))
    names = [escape(name) for name in layout.labels]
    for group in layout.groups:
        names += ["Clusters"] if group.counted else []
        names += [escape(column.label) + _ARROWS[column.better] for column in group.columns]
    return [*rows, _row(names)]


def _lines(line: Line, layout: Layout, small: str) -> Iterable[str]:
    """A row of values, a row of intervals, and one of the paper's values if there are any."""
    values, below, theirs = list(map(escape, line.labels)), [""] * len(line.labels), [""] * len(line.labels)
    for group, (clusters, images), cells in zip(layout.groups, line.counts, line.cells, strict=True):
        if group.counted:
            values.append(escape(clusters))
            below.append(f"{{{small} {images}}}" if images else "")
            theirs.append("")
        for cell in cells:
            values.append(escape(cell.value))
            below.append(f"{{{small} [{cell.low}, {cell.high}]}}" if cell.low else "")
            star = "" if cell.holds else "*"
            theirs.append(rf"{{{small}\itshape {cell.paper}{star}}}" if cell.paper else "")
    rows = [values, below, theirs] if any(theirs) else [values, below]
    return [_row(row, close=i < len(rows) - 1) for i, row in enumerate(rows)]


def _over(span: int, where: str, text: str) -> str:
    return rf"\multicolumn{{{span}}}{{{where}}}{{{text}}}"


def _rules(start: int, spans: Sequence[int]) -> str:
    rules, column = [], start + 1
    for span in spans:
        rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    return "".join(rules)


def _row(cells: Sequence[str], *, close: bool = False) -> str:
    return " & ".join(cells) + (r" \\[-.5ex]" if close else r" \\")
