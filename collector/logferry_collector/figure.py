"""Pictures in files, by matplotlib; the same results make the same bytes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from logferry.cli import printable
from logferry_collector.axes import Axis, Series, height, marks
from logferry_collector.frames import needed

# Names are text, whatever signs they have: a dollar begins no formula.
_STYLE = {"text.parse_math": False, "svg.hashsalt": "logferry", "svg.fonttype": "none", "axes.unicode_minus": False}
_SIZE, _DPI = (7.0, 4.6), 150
# Many lines begin where a label stands.
_BEHIND = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1}
# More entries than this hide what they explain.
_MAX_LEGEND = 12


def save(axes: Sequence[Axis], series: Sequence[Series], rows: Sequence[Sequence[Any]], by: str, path: Path) -> None:
    """Draw points or lines with bands, parallel coordinates where there are no series, and write the picture."""
    matplotlib = needed("matplotlib", "plot")
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a font without some sign draws a box, which is no reason to talk
        figure = _xy(axes, series, by) if series else _parallel(axes, rows)
        figure.savefig(path, dpi=_DPI, bbox_inches="tight", metadata={"Date": None} if path.suffix == ".svg" else None)


def _xy(axes: Sequence[Axis], series: Sequence[Series], by: str) -> Any:
    """Return a figure of points, or of lines with bands."""
    figure, area = _figure()
    x_axis, y_axis = axes
    colours = _colours(len(series))
    for one, colour in zip(series, colours, strict=True):
        places, label = [x_axis.place(x) for x in one.x], " " + printable(one.name)
        if one.low:
            area.plot(places, one.y, color=colour, marker="o", markersize=4, label=label)
            area.fill_between(places, one.low, one.high, color=colour, alpha=0.2, linewidth=0)
        else:
            area.scatter(places, one.y, color=[colour], s=18, alpha=0.7, linewidths=0, label=label)
    _dress(area, "x", x_axis)
    _dress(area, "y", y_axis)
    area.grid(visible=True, alpha=0.3)
    if by and len(series) <= _MAX_LEGEND:
        area.legend(title=printable(by), frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _parallel(axes: Sequence[Axis], rows: Sequence[Sequence[Any]]) -> Any:
    """Return a figure with an axis for each key and a line for each run, coloured by the last key."""
    figure, area = _figure(width=max(_SIZE[0], 1.6 * len(axes)))
    heights = [[height(axis, value) for axis, value in zip(axes, row, strict=True)] for row in rows]
    colours = needed("matplotlib", "plot").colormaps["viridis"]
    for line in sorted(heights, key=lambda line: line[-1]):
        area.plot(range(len(axes)), line, color=colours(line[-1]), alpha=0.6, linewidth=1)
    area.set_xlim(-0.05, len(axes) - 0.95)
    area.set_xticks(range(len(axes)), [printable(axis.name) for axis in axes], rotation=15, ha="right")
    area.set_yticks([])
    for side in ("top", "bottom", "left", "right"):
        area.spines[side].set_visible(False)
    for place, axis in enumerate(axes):
        area.axvline(place, color="black", linewidth=0.8)
        for at, text in marks(axis):
            area.annotate(
                printable(text), (place, at), (4, 0), textcoords="offset points", fontsize=7, va="center", bbox=_BEHIND
            )
    return figure


def _figure(width: float = _SIZE[0]) -> tuple[Any, Any]:
    backend = needed("matplotlib.backends.backend_agg", "plot")
    figure = needed("matplotlib.figure", "plot").Figure(figsize=(width, _SIZE[1]))
    backend.FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _colours(count: int) -> list[Any]:
    maps = needed("matplotlib", "plot").colormaps
    if count <= 10:
        return [maps["tab10"](place) for place in range(count)]
    return [maps["viridis"](place / (count - 1)) for place in range(count)]


def _dress(area: Any, side: str, axis: Axis) -> None:
    """Name an axis and set its scale."""
    getattr(area, f"set_{side}label")(printable(axis.name))
    if axis.labels:
        turned = {"rotation": 30, "ha": "right"} if side == "x" and len(axis.labels) > 4 else {}
        getattr(area, f"set_{side}ticks")(
            range(len(axis.labels)), [printable(text[:24]) for text in axis.labels], **turned
        )
    elif axis.log:
        ticker = needed("matplotlib.ticker", "plot")
        getattr(area, f"set_{side}scale")("log")
        scale = getattr(area, f"{side}axis")
        scale.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
        scale.set_minor_formatter(ticker.NullFormatter())
