"""Plots as SVG, with nothing but text: bars, and lines over a logarithmic axis. Two shapes are all that the benches need."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

WIDTH = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 44, 52
_COLOURS = ("#1f5fa8", "#c2571a", "#2e7d4f", "#7a3e9d", "#8a6d00")
_STYLE = "font: 12px system-ui, sans-serif; fill: #222"

Points = Sequence[tuple[float, float]]


def bars(path: Path, title: str, values: Mapping[str, float], unit: str, highlight: str = "") -> None:
    """One horizontal bar for each value on a logarithmic scale, as a peer may cost a hundred times another; smallest first."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    row, left = 26, 200
    height = _TOP + row * len(ordered) + 16
    low = math.log10(ordered[0][1] / 2)
    span = max(math.log10(ordered[-1][1]) - low, 1e-9)
    drawn = [_text(16, 24, title, weight="600")]
    for index, (name, value) in enumerate(ordered):
        y = _TOP + row * index
        length = (WIDTH - left - 110) * (math.log10(value) - low) / span
        colour = _COLOURS[1] if name == highlight else _COLOURS[0]
        drawn += [
            _text(left - 8, y + 15, name, anchor="end"),
            f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{row - 8}" fill="{colour}"/>',
            _text(left + length + 6, y + 15, f"{shown(value)} {unit}"),
        ]
    _write(path, height, title, drawn)


def lines(path: Path, title: str, series: Mapping[str, Points], x_label: str, y_label: str) -> None:
    """Lines over a logarithmic x axis. Where values span far, y is logarithmic too."""
    height = 340
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    steep = min(ys) > 0 and max(ys) / min(ys) > 30
    x_of = _scale(min(xs), max(xs), _LEFT, WIDTH - _RIGHT, logarithmic=True)
    low = min(ys) / 2 if steep else 0.0
    y_of = _scale(low, max(ys) * (2 if steep else 1.15) or 1.0, height - _BOTTOM, _TOP + 20, logarithmic=steep)
    drawn = [_text(16, 24, title, weight="600")]
    for x in sorted(set(xs)):
        drawn.append(_text(x_of(x), height - _BOTTOM + 18, count(x), anchor="middle"))
        drawn.append(f'<line x1="{x_of(x):.1f}" x2="{x_of(x):.1f}" y1="{_TOP + 20}" y2="{height - _BOTTOM}" stroke="#e4e4e4"/>')
    for y in _ticks(low, max(ys), logarithmic=steep):
        drawn.append(_text(_LEFT - 8, y_of(y) + 4, shown(y), anchor="end"))
        drawn.append(f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}" stroke="#e4e4e4"/>')
    for index, (name, points) in enumerate(series.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        path_points = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
        drawn.append(f'<polyline points="{path_points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        legend = _LEFT + index * 180
        drawn.append(f'<rect x="{legend}" y="{_TOP - 8}" width="10" height="10" fill="{colour}"/>')
        drawn.append(_text(legend + 15, _TOP + 1, name))
    drawn.append(_text((_LEFT + WIDTH - _RIGHT) / 2, height - 12, x_label, anchor="middle"))
    drawn.append(f'<g transform="translate(16 {height / 2}) rotate(-90)">{_text(0, 0, y_label, anchor="middle")}</g>')
    _write(path, height, title, drawn)


def _scale(low: float, high: float, start: float, end: float, *, logarithmic: bool) -> Callable[[float], float]:
    """From a value to a place on the page."""

    def of(value: float) -> float:
        return math.log10(value) if logarithmic else value

    span = (of(high) - of(low)) or 1.0
    return lambda value: start + (end - start) * (of(value) - of(low)) / span


def _ticks(low: float, high: float, *, logarithmic: bool) -> list[float]:
    if logarithmic:
        return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]
    step = 10.0 ** math.floor(math.log10(high or 1.0))
    step = next(each for each in (step / 5, step / 2, step, step * 2) if high / each <= 6)
    return [number * step for number in range(int(high / step) + 1)]


def shown(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def count(value: float) -> str:
    """A size in as few characters as an axis has room for."""
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "400") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" style="{_STYLE}">{escape(text)}</text>'


def _write(path: Path, height: int, title: str, drawn: Sequence[str]) -> None:
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    ground = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    body = "\n".join(drawn)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img"><title>{escape(title)}</title>\n{ground}\n{body}\n</svg>\n')
