"""Draw the contributions of the cells over the picture, with a legend."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from changeling.detect.explanation.contributions import Cell
from changeling.detect.explanation.explain import Explanation
from changeling.detect.explanation.output import describe_contributions, format_cell
from changeling.errors import ChangelingError
from changeling.files import atomic_write

LONG_SIDE = 960  # of the drawn picture, in pixels
MIN_WIDTH = 640  # of the map, for the legend
FAKE, REAL = (230, 97, 1), (33, 102, 172)  # orange and blue, which colour-blind readers can tell apart
MAX_OPACITY = 178  # of 255, of the largest contribution that is drawn
_UNSEEN = (255, 255, 255, 170)  # what the backbone does not see is faded
_BLACK = 64  # what black becomes as the contrast is halved
_TEXT, _BACKGROUND = (20, 20, 20), (255, 255, 255)
_FONT_SIZE, _LINE, _MARGIN = 15, 22, 12
_BAR_WIDTH = 260

Colour = tuple[int, int, int, int]


def write_map(explanation: Explanation, picture: Image.Image, path: Path) -> None:
    """Write the map as a PNG file. Raises ChangelingError if it cannot be written."""
    try:
        with atomic_write(path) as temporary:
            draw_map(explanation, picture).save(temporary, "PNG")
    except OSError as error:
        raise ChangelingError(f"cannot write {path}: {error.strerror or error}") from None


def draw_map(explanation: Explanation, picture: Image.Image) -> Image.Image:
    """Return the picture in grey with a translucent colour in each cell, over a legend.

    `picture` may be smaller than the picture in the file, for which the boxes of the cells are given. Its contrast is
    halved, so that the colours can be seen on black and on white. Orange is toward fake, blue toward real; cells within
    noise have no colour. What the backbone does not see is faded.
    """
    scale = LONG_SIDE / max(explanation.width, explanation.height)
    size = (max(1, round(explanation.width * scale)), max(1, round(explanation.height * scale)))
    grey = picture.resize(size).convert("L").point([_BLACK + value // 2 for value in range(256)])
    drawn = Image.alpha_composite(grey.convert("RGBA"), _draw_overlay(explanation, size, scale))
    lines = _write_legend(explanation)
    height = size[1] + 2 * _MARGIN + _LINE * (len(lines) + 1)
    canvas = Image.new("RGB", (max(size[0], MIN_WIDTH), height), _BACKGROUND)
    canvas.paste(drawn.convert("RGB"), (0, 0))
    _draw_legend(canvas, size[1] + _MARGIN, _find_largest(explanation), lines)
    return canvas


def _draw_overlay(explanation: Explanation, size: tuple[int, int], scale: float) -> Image.Image:
    """Return a transparent picture of this size with the coloured cells."""
    overlay = Image.new("RGBA", size, _UNSEEN)
    draw = ImageDraw.Draw(overlay)
    font = ImageFont.load_default(_FONT_SIZE)
    largest = _find_largest(explanation)
    for cell in explanation.contributions.cells:
        left, top, right, bottom = (round(place * scale) for place in cell.box)
        draw.rectangle((left, top, right - 1, bottom - 1), _choose_colour(cell, largest), (255, 255, 255, 120))
        middle = ((left + right) / 2, (top + bottom) / 2)
        draw.text(
            middle, format_cell(cell), (255, 255, 255, 255), font, "mm", stroke_width=2, stroke_fill=(0, 0, 0, 255)
        )
    return overlay


def _choose_colour(cell: Cell, largest: float) -> Colour:
    if cell.is_noise:
        return 0, 0, 0, 0
    red, green, blue = FAKE if cell.contribution > 0 else REAL
    return red, green, blue, round(MAX_OPACITY * abs(cell.contribution) / largest)


def _find_largest(explanation: Explanation) -> float:
    """Return the largest contribution of the cells that have a colour, or of all if none has."""
    cells = explanation.contributions.cells
    coloured = [cell for cell in cells if not cell.is_noise] or cells
    return max(abs(cell.contribution) for cell in coloured) or 1.0


def _write_legend(explanation: Explanation) -> list[str]:
    return [
        *describe_contributions(explanation),
        "in log-odds; no colour and ~: within noise; faded: not seen by the detector",
    ]


def _draw_legend(canvas: Image.Image, top: int, largest: float, lines: list[str]) -> None:
    """Draw the scale of colours, from toward real to toward fake, and the lines of text below it."""
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(_FONT_SIZE)
    label = f"toward real {-largest:+.2f}"
    left = _MARGIN + round(draw.textlength(label, font)) + _MARGIN
    draw.text((_MARGIN, top), label, _TEXT, font)
    for place in range(_BAR_WIDTH):
        value = 2 * place / (_BAR_WIDTH - 1) - 1
        opacity = abs(value) * MAX_OPACITY / 255
        end = FAKE if value > 0 else REAL
        colour = tuple(round(opacity * a + (1 - opacity) * b) for a, b in zip(end, _BACKGROUND, strict=True))
        draw.line((left + place, top, left + place, top + _FONT_SIZE), colour)
    draw.text((left + _BAR_WIDTH + _MARGIN, top), f"{largest:+.2f} toward fake", _TEXT, font)
    for number, line in enumerate(lines, start=1):
        draw.text((_MARGIN, top + number * _LINE), line, _TEXT, font)
