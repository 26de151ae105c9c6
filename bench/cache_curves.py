"""Draws hit rates against shares of wrong answers as an SVG picture, one line a policy."""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 440
LEFT, RIGHT, TOP, BOTTOM = 62, 236, 24, 52  # margins; the legend is on the right
MOST_WRONG: Final = 0.03
STEP_WRONG, STEP_HITS = 0.005, 0.1
COLOURS: Final = ("#5b6470", "#9aa3ad", "#1f6fb2", "#7fb3dc", "#d9822b", "#eec08a", "#a64d9e", "#2f8f4e")
TEXT: Final = 'font-family="sans-serif" font-size="12" fill="#333"'

Curve = list[tuple[float, float]]


def draw(curves: list[tuple[str, Curve]]) -> str:
    """The picture of named curves of (share of wrong answers, hit rate), each in the order of the first."""
    shown = [(name, [point for point in curve if point[0] <= MOST_WRONG]) for name, curve in curves]
    highest = max((hits for _, curve in shown for _, hits in curve), default=0.0)
    most_hits = STEP_HITS * (int(highest / STEP_HITS) + 1)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(wrong: float, hits: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * wrong / MOST_WRONG, bottom - (bottom - TOP) * hits / most_hits

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for i in range(round(most_hits / STEP_HITS) + 1):
        _, y = place(0.0, i * STEP_HITS)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {TEXT}>{i * STEP_HITS:.0%}</text>')
    for i in range(round(MOST_WRONG / STEP_WRONG) + 1):
        x, _ = place(i * STEP_WRONG, 0.0)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" {TEXT}>{i * STEP_WRONG:.1%}</text>')
    middle, side = (LEFT + right) / 2, (TOP + bottom) / 2
    parts.append(
        f'<text x="{middle:.0f}" y="{HEIGHT - 12}" text-anchor="middle" {TEXT}>wrong answers of all prompts</text>'
    )
    turned = f'transform="rotate(-90 16 {side:.0f})"'
    parts.append(f'<text x="16" y="{side:.0f}" text-anchor="middle" {turned} {TEXT}>hit rate</text>')
    for i, (name, curve) in enumerate(shown):
        colour, y = COLOURS[i % len(COLOURS)], TOP + 10 + 20 * i
        points = [place(*point) for point in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(points) <= 6:  # measured at a few settings only
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        parts.append(
            f'<line x1="{right + 14}" y1="{y}" x2="{right + 38}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        )
        parts.append(f'<text x="{right + 44}" y="{y + 4}" {TEXT}>{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])
