"""The style that all figures share: type, colours, axes, and how a drawing becomes SVG inside the page."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

FONT_SIZE = 9.5  # points
INK, MUTED, RULE, PAPER = "#1c1e21", "#5b6270", "#d5d9df", "#fffffe"
SERIES = ("#2b6cb0", "#c2410c", "#2f7d4f", "#7c4dab", "#946200", "#0e7490", "#b0307a", "#4b5563")
_NAMES = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"} | {c: f"s{i}" for i, c in enumerate(SERIES)}


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot with its title."""

    title: str
    svg: str


def render_svg(width: float, height: float, salt: str, paint: Callable[[Figure], None]) -> str:
    """Return what `paint` draws on a figure of `width` by `height` points as SVG for a page, reproducible by the byte.

    Colours are CSS variables (`--ink`, `--paper`, `--s0` ...) with a fallback, so that figures follow the colour scheme
    of the page. `salt` makes the ids of two figures in one page differ.
    """
    settings: dict[str, object] = {
        "svg.fonttype": "none",
        "svg.hashsalt": clean_text(salt),
        "font.size": FONT_SIZE,
        "font.family": ["DejaVu Sans"],
        "text.parse_math": False,
        "lines.scale_dashes": False,  # as in the legends of the page
    }
    text = StringIO()
    with mpl.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser has more fonts
        figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        paint(figure)
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(text, format="svg", transparent=True, metadata=metadata)
    return _adapt_svg(text.getvalue())


def hide_frame(axes: Axes) -> None:
    """Hide the frame and the tick marks, and make the tick labels small."""
    axes.spines[:].set_visible(False)
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, labelcolor=MUTED, labelsize=FONT_SIZE - 0.5, pad=5)


def format_share_axis(axis: Axis) -> None:
    """Label an axis of shares, or of differences of shares, with a few round numbers of per cent."""
    axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %".replace("-", "−")))


def choose_limits(low: float, high: float) -> tuple[float, float]:
    """Return the limits of an axis of shares: 0 and 1, or `low` and `high` with padding if they are much closer.

    Differences of shares can be negative: then they are `low` and `high` with padding.
    """
    if high - low > 0.6 and low >= 0:
        return -0.01, 1.01
    pad = max(0.08 * (high - low), 0.01)
    return low - pad if low < 0 else max(low - pad, -0.01), min(high + pad, 1.01)


def format_css_colour(index: int) -> str:
    """Return a colour of the series for CSS: the page's variable, with the light scheme's colour as its fallback."""
    return f"var(--s{index % len(SERIES)}, {SERIES[index % len(SERIES)]})"


def wrap_text(text: str, width: int = 24) -> str:
    """Break a text into lines between words; a word longer than a line also after its hyphens, slashes and the like."""
    lines = [""]
    for word in re.findall(r"[^ ]* ?", text):
        parts = [word] if len(word.rstrip()) <= width else re.findall(r"[^-_/:@]*[-_/:@]?", word)
        for part in parts:
            if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
                lines.append("")
            lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def clean_text(text: str) -> str:
    """Return text as one line without control characters, with lone surrogates escaped."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else " " for c in text)


def _adapt_svg(svg: str) -> str:
    """Return Matplotlib's SVG without its prolog, style rules, ids and size, with CSS variables for its colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("font-family: 'DejaVu Sans'", "font-family: var(--sans, system-ui, sans-serif)")
    colours = "|".join(_NAMES)
    return re.sub(rf"(fill|stroke): ({colours})", lambda m: f"{m[1]}: var(--{_NAMES[m[2]]}, {m[2]})", svg).strip()
