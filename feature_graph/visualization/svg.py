"""A scene as static SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from feature_graph.terminal import visible
from feature_graph.visualization.scene import LABEL_SIZE, EdgeMark, NodeMark, Scene, TextMark
from feature_graph.visualization.style import FONT, INK, MUTED, PAPER, SEED, SIGN_NAMES


def svg_text(scene: Scene) -> str:
    """The picture as an SVG document; what its notes say stands in its ``desc``."""
    top = 34 if scene.title else 0
    width, height = round(scene.width), round(scene.height + top + 30)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family={quoteattr(FONT)} font-size="{LABEL_SIZE}" fill="{INK}">',
        f"<desc>{_clean(' '.join(scene.notes))}</desc>",
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
    ]
    if scene.title:
        parts.append(f'<text x="24" y="30" font-size="19" font-weight="600">{_clean(scene.title)}</text>')
    parts.append(f'<g transform="translate(0 {top})">')
    parts += [
        f'<text x="{t.x:.0f}" y="{t.y + 4:.0f}" text-anchor="middle" font-size="12" fill="{MUTED}">{_clean(t.text)}</text>'
        for t in scene.columns
    ]
    parts.append('<g fill="none">')
    parts += [_edge(scene.nodes[e.source], scene.nodes[e.target], e) for e in scene.edges]
    parts.append("</g>")
    parts += [_node(n) for n in scene.nodes]
    parts += [_label(t) for t in scene.labels]
    if not scene.nodes:
        parts.append(
            f'<text x="50%" y="{scene.height / 2:.0f}" text-anchor="middle" font-size="14" fill="{MUTED}">{_clean(scene.notes[0])}</text>'
        )
    parts += ["</g>", _legend(scene, height - 16), "</svg>"]
    return "\n".join(parts) + "\n"


def _edge(a: NodeMark, b: NodeMark, e: EdgeMark) -> str:
    bend = (b.x - a.x) * 0.45
    dash = ' stroke-dasharray="2 4"' if e.dashed else ""
    path = f"M{a.x:.1f} {a.y:.1f}C{a.x + bend:.1f} {a.y:.1f} {b.x - bend:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}"
    return f'<path d="{path}" stroke="{e.color}" stroke-width="{e.width:.2f}" stroke-opacity="{e.opacity:.2f}"{dash}/>'


def _node(n: NodeMark) -> str:
    ring = (
        f'<circle cx="{n.x:.1f}" cy="{n.y:.1f}" r="{n.radius + 3.5:.1f}" fill="none" stroke="{SEED}" stroke-width="2.2"/>' if n.seed else ""
    )
    title = _clean(" ".join(part for part in (n.id, n.label) if part))
    place = f'cx="{n.x:.1f}" cy="{n.y:.1f}" r="{n.radius:.1f}"'
    return f'{ring}<circle {place} fill="{n.color}" stroke="{PAPER}" stroke-width="1.2"><title>{title}</title></circle>{_twin(n)}'


def _twin(n: NodeMark) -> str:
    if not n.twin_radius:
        return ""
    return f'<circle cx="{n.twin_x:.1f}" cy="{n.y:.1f}" r="{n.twin_radius:.1f}" fill="{n.twin_color}" stroke="{INK}" stroke-width="1.6"/>'


def _label(t: TextMark) -> str:
    halo = f'stroke="{PAPER}" stroke-width="3.2" stroke-linejoin="round" paint-order="stroke"'
    return f'<text x="{t.x:.1f}" y="{t.y + 3.8:.1f}" {halo}>{_clean(t.text)}</text>'


def _legend(scene: Scene, y: float) -> str:
    present = [c for c in SIGN_NAMES if any(e.color == c for e in scene.edges)]
    items = []
    for i, color in enumerate(present):
        x = 24 + 130 * i
        items.append(f'<path d="M{x} {y}h22" stroke="{color}" stroke-width="3"/><text x="{x + 28}" y="{y + 4}">{SIGN_NAMES[color]}</text>')
    return "".join(items)


def _clean(text: str) -> str:
    """Escaped; control characters are shown, other characters that XML cannot hold or nobody can see are left out."""
    return escape("".join(c for c in visible(text) if c.isprintable()))
