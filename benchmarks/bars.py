"""A bar chart as SVG, by hand: no plotting library for six bars."""

from __future__ import annotations

from html import escape

_LEFT, _WIDE, _ROW = 210, 480, 30
_OURS, _OTHERS = "#2a6f97", "#adb5bd"
_STYLE = "text{font:13px system-ui,sans-serif;fill:#222}@media(prefers-color-scheme:dark){text{fill:#ddd}}"


class Bars:
    """Horizontal bars with a line to a second, larger value each.

    Args:
        title: what is shown, with its unit.
    """

    def __init__(self, title: str) -> None:
        self._title = title
        self._rows: list[tuple[str, float, float, bool, str]] = []

    def add(self, name: str, value: float, upto: float, *, ours: bool, note: str = "") -> None:
        """Another bar, below the others; the note stands behind its values."""
        self._rows.append((name, value, upto, ours, note))

    def svg(self) -> str:
        """The drawing."""
        scale = _WIDE / max(row[2] for row in self._rows)
        width, height = (
            _LEFT + _WIDE + 80 + 7 * max(len(row[4]) for row in self._rows),
            40 + _ROW * len(self._rows),
        )
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
            f"<title>{escape(self._title)}</title><style>{_STYLE}</style>",
            f'<text x="8" y="20" font-weight="bold">{escape(self._title)}</text>',
        ]
        for number, row in enumerate(self._rows):
            parts.append(_row(40 + _ROW * number, scale, *row))
        return "\n".join([*parts, "</svg>", ""])


def _row(top: int, scale: float, name: str, value: float, upto: float, ours: bool, note: str) -> str:
    end, far, middle = _LEFT + value * scale, _LEFT + upto * scale, top + 10
    colour = _OURS if ours else _OTHERS
    return (
        f'<text x="{_LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{_LEFT}" y="{top}" width="{value * scale:.1f}" height="20" fill="{colour}"/>'
        f'<path d="M{end:.1f} {middle}H{far:.1f}M{far:.1f} {top + 5}v10" stroke="#868e96" fill="none"/>'
        f'<text x="{far + 6:.1f}" y="{top + 14}">{value:.0f} / {upto:.0f}{note}</text>'
    )
