"""What the figures share: type, colours by name, and how a drawing becomes part of a page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

FONT = 9.5
INK, MUTED, RULE, PAPER = "#1c1e21", "#5b6270", "#d5d9df", "#fffffe"
SERIES = ("#2b6cb0", "#c2410c", "#2f7d4f", "#7c4dab", "#946200", "#0e7490", "#b0307a", "#4b5563")
_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {c: f"s{i}" for i, c in enumerate(SERIES)}


def render(width: float, height: float, salt: str, paint: Callable[[Figure], None]) -> str:
    """Paint a figure of so many points, as SVG that can stand in a page; the same paint gives the same bytes.

    Colours are CSS variables (`--ink`, `--paper`, `--s0` ...) with a fallback, so that a page's scheme holds for
    its figures.
    """
    settings: dict[str, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": clean(salt),
        "font.size": FONT,
        "font.family": ["DejaVu Sans"],
        "text.parse_math": False,
        "lines.scale_dashes": False,  # dashes are as long as a legend draws them
    }
    text = StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has other fonts
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        paint(figure)
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    return _themed(text.getvalue())


def bare(axes: Axes) -> None:
    """Take off the frame and the tick marks, and write the ticks' labels small."""
    axes.spines[:].set_visible(False)
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelcolor=MUTED, labelsize=FONT - 0.5, pad=5)


def shares(axes: Axes, axis: str) -> None:
    """Label an axis of shares with few, round numbers of per cent."""
    one = axes.xaxis if axis == "x" else axes.yaxis
    one.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    one.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))


def zoomed(low: float, high: float) -> tuple[float, float]:
    """The whole range of shares from 0 to 1, or what holds `low` to `high` with some air if that is much less."""
    if high - low > 0.6:
        return -0.01, 1.01
    pad = max(0.08 * (high - low), 0.01)
    return max(low - pad, -0.01), min(high + pad, 1.01)


def colour(index: int) -> str:
    """A colour for CSS: the page's own of the series, or the one that it has by day."""
    return f"var(--s{index % len(SERIES)}, {SERIES[index % len(SERIES)]})"


def wrapped(text: str, width: int = 24) -> str:
    """Break a text between its words; a word that is longer than a line also at its own joints."""
    lines = [""]
    for word in re.findall(r"[^ ]* ?", text):
        parts = [word] if len(word.rstrip()) <= width else re.findall(r"[^-_/:@]*[-_/:@]?", word)
        for part in parts:
            if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def clean(text: str) -> str:
    """Text that any font and any file can hold: one line, no halves of surrogate pairs, no control characters."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in text)


def _themed(svg: str) -> str:
    """Make Matplotlib's SVG fit to stand inside a page: no prolog, no ids or rules that leak, colours by name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("font-family: 'DejaVu Sans'", "font-family: var(--sans, system-ui, sans-serif)")
    colours = "|".join(_NAMES)
    return re.sub(rf"(fill|stroke): ({colours})", lambda m: f"{m[1]}: var(--{_NAMES[m[2]]}, {m[2]})", svg).strip()
