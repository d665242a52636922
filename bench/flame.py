"""A flame graph of stacks as SVG: width is work, colour the layer; a click makes a frame wide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

from bench.layers import LAYERS, OTHER, is_waiting, layer_of_name
from bench.stacks import Stack

WIDTH, ROW, TOP = 1600.0, 17, 48
SHOWN_MIN = 0.4  # pixels; narrower frames are left out
PIXELS_PER_LETTER = 6.2

_SCRIPT = """
const boxes=[...document.querySelectorAll('g')];
const W=%d;
function show(at,wide){for(const g of boxes){const x=(+g.dataset.x-at)*W/wide,w=+g.dataset.w*W/wide;
const on=x+w>0.5&&x<W-0.5&&w>0.3;g.style.display=on?'':'none';if(!on)continue;
const l=Math.max(x,0),r=Math.min(x+w,W),b=g.querySelector('rect'),t=g.querySelector('text');
b.setAttribute('x',l);b.setAttribute('width',Math.max(r-l-0.3,0.1));t.setAttribute('x',l+3);
const n=Math.floor((r-l-4)/%s);t.textContent=n>2?g.dataset.n.slice(0,n):'';}}
for(const g of boxes)g.addEventListener('click',()=>show(+g.dataset.x,+g.dataset.w));
"""


@dataclass(slots=True)
class _Node:
    count: int = 0
    below: dict[str, _Node] = field(default_factory=dict)


def _tree(stacks: Iterable[Stack]) -> _Node:
    root = _Node()
    for stack in stacks:
        if is_waiting(stack.frames):
            continue
        root.count += stack.count
        at = root
        for name in (stack.thread_name.rstrip("0123456789").rstrip("-_"), *stack.frames):
            at = at.below.setdefault(name, _Node())
            at.count += stack.count
    return root


def colour(layer: str) -> str:
    """Each layer has its own hue; what is in none is grey."""
    if layer == OTHER:
        return "#cccccc"
    names = list(LAYERS)
    return f"hsl({names.index(layer) * 360 // (len(names) - 1)},65%,72%)"


def svg(stacks: Iterable[Stack], title: str) -> str:
    """The whole picture, the outermost frames on top."""
    root, boxes = _tree(stacks), []
    depth_max = 0
    total = max(root.count, 1)
    scale = WIDTH / total
    waiting = [(root, "all", OTHER, 0.0, 0)]
    while waiting:
        node, name, above, x, depth = waiting.pop()
        layer = layer_of_name(name) or above
        boxes.append(_box(name, layer, x, node.count * scale, depth, node.count / total))
        depth_max = max(depth_max, depth)
        for inner, child in sorted(node.below.items()):
            if child.count * scale >= SHOWN_MIN:
                waiting.append((child, inner, layer, x, depth + 1))
            x += child.count * scale
    height = TOP + (depth_max + 2) * ROW
    legend = "".join(
        f'<rect x="{8 + at * 118}" y="26" width="12" height="12" fill="{colour(layer)}"/>'
        f'<text x="{24 + at * 118}" y="36">{escape(layer)}</text>'
        for at, layer in enumerate(LAYERS)
    )
    script = _SCRIPT % (WIDTH, PIXELS_PER_LETTER)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height}" '
        'font-family="monospace" font-size="11">'
        f'<text x="8" y="16">{escape(title)}</text>{legend}{"".join(boxes)}'
        f"<script><![CDATA[{script}]]></script></svg>\n"
    )


def _box(name: str, layer: str, x: float, width: float, depth: int, share: float) -> str:
    letters = int((width - 4) / PIXELS_PER_LETTER)
    shown = escape(name[:letters]) if letters > 2 else ""
    y = TOP + depth * ROW
    full = escape(name, quote=True)
    return (
        f'<g data-x="{x:.2f}" data-w="{width:.2f}" data-n="{full}">'
        f"<title>{full} · {layer} · {share * 100:.2f} %</title>"
        f'<rect x="{x:.2f}" y="{y}" width="{max(width - 0.3, 0.1):.2f}" height="{ROW - 1}" '
        f'fill="{colour(layer)}"/><text x="{x + 3:.2f}" y="{y + 12}">{shown}</text></g>'
    )
