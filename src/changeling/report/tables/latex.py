r"""Tables as LaTeX that needs only booktabs: below each value its interval, and the paper's value if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from changeling.report.tables.layout import Block, Layout, Line, lay_out
from changeling.results.result import Table

AUTHOR_COMMENT = "% Written by changeling."  # by which files of earlier studies are recognised
HEAD = f"{AUTHOR_COMMENT} Needs \\usepackage{{booktabs}}; include this file with \\input."
SMALL_TYPE_WIDTH = 6  # columns of numbers from which the type is smaller
TINY_TYPE_WIDTH = 10  # columns of numbers from which it is smaller still
_UNSUPPORTED = frozenset("«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ")  # Latin letters that LaTeX's default fonts (OT1) lack
_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "#": r"\#", "$": r"\$", "%": r"\%", "&": r"\&", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\texttt{\char34}", "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''",
    "…": r"\ldots{}", "·": r"$\cdot$", "×": r"$\times$", "±": r"$\pm$", "≤": r"$\leq$", "≥": r"$\geq$",
    "→": r"$\to$", "−": "$-$", "\u00a0": "~", "[": "{[}", "*": "{*}",
}  # fmt: skip
_PAPER_MARKS = {"differs": "*", "cannot tell": "?"}
_ARROWS = {"high": r"~$\uparrow$", "low": r"~$\downarrow$", "none": ""}


def format_latex(table: Table, paper: str = "") -> str:
    """Return a floating table with a caption and the label `tab:<key>`; `paper` names the paper's table, if any."""
    layout = lay_out(table)
    width = layout.width - len(layout.labels)
    environment = "table*" if width >= SMALL_TYPE_WIDTH else "table"
    size, small = _choose_type_sizes(width)
    parts = [
        HEAD,
        rf"\begin{{{environment}}}",
        rf"\caption{{{_format_caption(table, layout, paper)}}}",
        rf"\label{{tab:{table.key}}}",
        r"\centering",
        rf"{size}\setlength{{\tabcolsep}}{{{3 if width >= TINY_TYPE_WIDTH else 5}pt}}",
        rf"\begin{{tabular}}{{@{{}}{'l' * len(layout.labels)}{'r' * width}@{{}}}}",
        r"\toprule",
        *_format_header(layout, small),
        r"\midrule",
    ]
    for i, block in enumerate(layout.blocks):
        if block.title:
            parts += [r"\addlinespace"] if i else []
            parts.append(_format_block_title(block, layout, small))
        for line in block.lines:
            parts += _format_line(line, layout, small)
    if layout.chances:
        parts += [r"\midrule", _format_chance_row(layout)]
    parts += [r"\bottomrule", r"\end{tabular}", rf"\end{{{environment}}}"]
    return "\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text as one line of LaTeX. Letters that its default fonts lack become their code points, "[U+65E5]"."""
    return "".join(_SPECIAL.get(character) or _replace_unsupported(character) for character in text)


def _replace_unsupported(character: str) -> str:
    if character.isspace() or (not character.isprintable() and not 0xD800 <= ord(character) < 0xE000):
        return " "
    is_supported = ord(character) < 0x180 and character not in _UNSUPPORTED
    return character if is_supported else f"{{[U+{ord(character):04X}]}}"


def _choose_type_sizes(width: int) -> tuple[str, str]:
    """Return the type sizes of values and of intervals, for a number of columns."""
    if width < SMALL_TYPE_WIDTH:
        return r"\footnotesize", r"\scriptsize"
    return (r"\scriptsize" if width < TINY_TYPE_WIDTH else r"\tiny"), r"\tiny"


def _format_caption(table: Table, layout: Layout, paper: str) -> str:
    parts = [f"{table.title}{f' (as {paper} of the paper)' if paper else ''}."]
    parts.append("Per cent, with the 95\u00a0% interval below each value.")
    if layout.paper:
        parts.append(f"In italics the paper's value: * differs from ours, ? cannot tell, else agrees. {layout.paper}")
    parts += [layout.warning, table.note]
    return " ".join(escape(part) for part in parts if part)


def _format_header(layout: Layout, small: str) -> list[str]:
    """Return the rows of the header, with rules below the headers that span columns."""
    blank = [""] * len(layout.labels)
    rows = []
    if layout.spans:
        rows.append(_join_row([*blank, *(_span_columns(span, "c", escape(title)) for title, span in layout.spans)]))
        rows.append(_draw_rules(len(blank), [span for _, span in layout.spans]))
    group_rows = []
    if any(group.title for group in layout.groups):
        group_rows.append([escape(group.title) for group in layout.groups])
    if any(group.count for group in layout.groups):
        counts = [", ".join(group.count) for group in layout.groups]
        group_rows.append([f"{small} {escape(text)}" if text else "" for text in counts])
    for texts in group_rows:
        cells = [_span_columns(group.span, "c", text) for group, text in zip(layout.groups, texts, strict=True)]
        rows.append(_join_row([*blank, *cells]))
    if rows:
        rows.append(_draw_rules(len(blank), [group.span for group in layout.groups]))
    names = [escape(name) for name in layout.labels]
    for group in layout.groups:
        names += ["Clusters"] if group.counted else []
        names += [escape(column.label) + _ARROWS[column.better] for column in group.columns]
    return [*rows, _join_row(names)]


def _format_block_title(block: Block, layout: Layout, small: str) -> str:
    title = rf"\textbf{{{escape(block.title)}}}"
    if not block.counts:
        return _join_row([_span_columns(layout.width, "@{}l@{}", title)])
    counts = [
        _span_columns(group.span, "c", f"{small} {escape(text)}")
        for group, text in zip(layout.groups, block.counts, strict=True)
    ]
    return _join_row([_span_columns(len(layout.labels), "@{}l", title), *counts])


def _format_line(line: Line, layout: Layout, small: str) -> Iterable[str]:
    """Return a row of values, a row of intervals, and rows of the paper's values and of chance if there are any."""
    blank = [""] * len(line.labels)
    values, intervals, paper_values, chances = list(map(escape, line.labels)), [*blank], [*blank], [*blank]
    for group, (clusters, images), cells in zip(layout.groups, line.counts, line.cells, strict=True):
        if group.counted:
            values.append(escape(clusters))
            intervals.append(f"{{{small} {images}}}" if images else "")
            paper_values.append("")
            chances.append("")
        for cell in cells:
            values.append(escape(cell.value))
            intervals.append(f"{{{small} [{escape(cell.low)}, {escape(cell.high)}]}}" if cell.low else "")
            mark = _PAPER_MARKS.get(cell.verdict, "")
            paper_values.append(rf"{{{small}\itshape {cell.paper}{mark}}}" if cell.paper else "")
            chances.append(f"{{{small} chance {cell.chance}}}" if cell.chance else "")
    *upper_rows, last_row = [row for row in (values, intervals, paper_values, chances) if any(row) or row is intervals]
    return [*(_join_row(row, r" \\[-.5ex]") for row in upper_rows), _join_row(last_row)]


def _format_chance_row(layout: Layout) -> str:
    cells = ["Chance", *[""] * (len(layout.labels) - 1)]
    for group, chances in zip(layout.groups, layout.chances, strict=True):
        cells += [""] if group.counted else []
        cells += chances
    return _join_row(cells)


def _span_columns(span: int, alignment: str, text: str) -> str:
    return rf"\multicolumn{{{span}}}{{{alignment}}}{{{text}}}"


def _draw_rules(start: int, spans: Sequence[int]) -> str:
    rules, column = [], start + 1
    for span in spans:
        rules.append(rf"\cmidrule(lr){{{column}-{column + span - 1}}}")
        column += span
    return "".join(rules)


def _join_row(cells: Sequence[str], end: str = r" \\") -> str:
    return " & ".join(cells) + end
