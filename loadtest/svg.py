"""The few shapes of which all plots are made: SVG, by hand.

Some dots, lines and bars are a few lines of XML: no library has to be installed, and the same
result gives the same text, so that a difference of two reports can be read.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

# Of Okabe and Ito's palette, which colour-blind people tell apart.
BLACK, BLUE, SKY, GREEN = "#000000", "#0072B2", "#56B4E9", "#009E73"
YELLOW, ORANGE, RED, PINK = "#F0E442", "#E69F00", "#D55E00", "#CC79A7"
INK, PALE, GREY, WHITE = "#222222", "#DDDDDD", "#999999", "white"
EDGE = 16
LETTER = 6.6
"""The width of a letter, on average."""

Point = tuple[float, float]


def image(title: str, width: float, height: float) -> Element:
    """A white picture with its title."""
    made = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width:.0f} {height:.0f}",
            "width": f"{width:.0f}",
            "height": f"{height:.0f}",
            "font-family": "DejaVu Sans, Verdana, sans-serif",
            "font-size": "12",
            "role": "img",
        },
    )
    SubElement(made, "title").text = title
    add(made, "rect", width="100%", height="100%", fill=WHITE)
    text(made, EDGE, 24, title, size="15", weight="bold")
    return made


def group(parent: Element, name: str, tip: str) -> Element:
    """What belongs together, with a text that is shown where one points at it."""
    made = SubElement(parent, "g", {"class": name})
    SubElement(made, "title").text = tip
    return made


def line(
    parent: Element, start: Point, end: Point, colour: str, width: int = 1, dash: str = "none"
) -> None:
    """A straight one."""
    (x1, y1), (x2, y2) = start, end
    options = {"stroke": colour, "stroke-width": width, "stroke-dasharray": dash}
    add(parent, "line", x1=x1, y1=y1, x2=x2, y2=y2, **options)


def text(
    parent: Element,
    x: float,
    y: float,
    words: str,
    *,
    anchor: str = "start",
    size: str = "12",
    weight: str = "normal",
    colour: str = INK,
) -> None:
    """One line of it, standing on ``y``."""
    options = {"text-anchor": anchor, "font-size": size, "font-weight": weight, "fill": colour}
    add(parent, "text", x=round(x, 1), y=round(y, 1), **options).text = words


def add(parent: Element, tag: str, **attributes: object) -> Element:
    """Any element; underscores in names stand for hyphens."""
    named = {name.replace("_", "-"): str(value) for name, value in attributes.items()}
    return SubElement(parent, tag, named)


def written(made: Element) -> str:
    """The picture as the text of a file."""
    indent(made)
    return tostring(made, encoding="unicode") + "\n"
