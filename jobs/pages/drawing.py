"""The look of all figures: size, colours, markers; the same figure gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH = 6.4
DPI = 100
"""640 px: what the note of a run shows without scaling."""

BLUE, VERMILLION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#AA4499", "#B8860B"
SERIES = (
    (BLUE, "o"),
    (VERMILLION, "s"),
    (GREEN, "D"),
    (PURPLE, "^"),
    (ORANGE, "v"),
    ("#444444", "P"),
)
"""Colour and marker of each series; after Okabe and Ito, darkened for thin lines on white."""

INK, QUIET, FAINT = "#222222", "#666666", "#DDDDDD"

_STYLE = {
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": "#999999",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "grid.color": "#E8E8E8",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "text.color": INK,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in the house style, whatever the user's own settings of matplotlib are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def sheet(height: float) -> Figure:
    """An empty figure, 640 px wide and `height` inches high."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png(figure: Figure) -> bytes:
    """The figure's bytes: no date and no software version among them."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def rows_axis(axes: Axes, labels: list[str]) -> None:
    """A vertical axis of named rows, the first on top."""
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
