"""A sheet to draw on: traces, shapes and notes are put down, and become one plotly figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from dashboard import words
from dashboard.parts import FONT

if TYPE_CHECKING:
    from collections.abc import Sequence

AMOUNT, REST, TREATMENT, EVENT, TREND, NADIR = "#2F7FC1", "#8A939C", "#C98A00", "#B5557F", "#8A6D3B", "#009E73"
"""Mid tones after Okabe and Ito: 3 to 1 and more on the light and on the dark page."""

INK, PALE = "#1c2126", "#e3e6e9"
"""Text and grid as a saved file has them; on the page the style sheet sets both, light or dark."""

LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 82, 18, 14, 46
"""Margins of a figure."""

EMPTY_PX = 110
"""Height of a figure that has nothing to show but words."""


@dataclass
class Sheet:
    """What is drawn so far; ``layout`` holds the axes."""

    data: list[dict[str, Any]] = field(default_factory=list)
    shapes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    layout: dict[str, Any] = field(default_factory=dict)

    def trace(self, **more: Any) -> None:
        """Put a trace down."""
        self.data.append({"type": "scatter", "hoverinfo": "skip", "showlegend": False, **more})

    def note(self, text: str, **more: Any) -> None:
        """Put a text down."""
        self.notes.append({"text": text, "showarrow": False, "font": {"size": 12}, **more})

    def figure(self, *, height: int, above: int = 0) -> go.Figure:
        """Return the figure, ``above`` pixels free at its top; unchecked, which saves most of the time it takes."""
        layout = {
            "template": {},
            "height": height,
            "margin": {"l": LEFT_PX, "r": RIGHT_PX, "t": TOP_PX + above, "b": BOTTOM_PX},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": INK},
            "separators": f".{words.THIN}",
            "hoverlabel": {"font": {"family": FONT}, "align": "left"},
            "hovermode": "closest",
            "hoverdistance": 24,
            "showlegend": False,
            "shapes": self.shapes,
            "annotations": self.notes,
            **self.layout,
        }
        return go.Figure(self.data, layout, _validate=False)


def time_axis(title: str, span: Sequence[Any], anchor: str, *, dates: bool, **more: Any) -> dict[str, Any]:
    """Return a horizontal axis of time."""
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 8},
        "range": list(span),
        "anchor": anchor,
        "type": "date" if dates else "linear",
        "showgrid": False,
        "zeroline": False,
        "showline": True,
        "linecolor": REST,
        "tickcolor": REST,
        "ticks": "outside",
        "ticklen": 4,
        **more,
    }


def amount_axis(title: str, domain: Sequence[float], **more: Any) -> dict[str, Any]:
    """Return a vertical axis of amounts."""
    return {
        "title": {"text": title, "font": {"size": 13}, "standoff": 8},
        "domain": list(domain),
        "showgrid": True,
        "gridcolor": PALE,
        "zeroline": False,
        "showline": False,
        "tickformat": ",~r",
        "ticks": "",
        **more,
    }


def words_alone(text: str) -> go.Figure:
    """Return a figure that says why there is nothing to see."""
    sheet = Sheet(layout={"xaxis": {"visible": False}, "yaxis": {"visible": False}})
    sheet.note(text, x=0.5, y=0.5, xref="paper", yref="paper", font={"size": 14})
    return sheet.figure(height=EMPTY_PX)


def numbers(values: Any) -> list[float | None]:
    """Return numbers for a browser: what is not finite is None.

    >>> numbers([1.0, float("nan")])
    [1.0, None]
    """
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values, float)]
