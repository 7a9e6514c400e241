#!/usr/bin/env python3
"""Draws the icons of the installed page: the mark of icon.svg, as PNG. Needs Pillow; the results are committed."""

from pathlib import Path

from PIL import Image, ImageDraw

HERE = Path(__file__).parent
BARS = [(7, 8, 12), (11, 3, 12), (15, 6, 12), (19, 10, 12)]
# Each pixel is the mean of 4 × 4, which makes the edges smooth.
OVERSAMPLING = 4


def bezier(points, steps=48):
    """The points of a cubic Bézier curve."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = points
    for step in range(steps + 1):
        t = step / steps
        u = 1 - t
        a, b, c, d = u**3, 3 * u * u * t, 3 * u * t * t, t**3
        yield a * ax + b * bx + c * cx + d * dx, a * ay + b * by + c * cy + d * dy


def icon(size, share, background):
    """The mark, `share` as wide as the icon, in the middle."""
    canvas = size * OVERSAMPLING
    image = Image.new("RGBA", (canvas, canvas), background)
    draw = ImageDraw.Draw(image)
    unit = canvas * share / 24
    # The mark is between y = 3 and y = 21 of its box of 24.
    offset = (canvas - 24 * unit) / 2

    def at(x, y):
        return offset + x * unit, offset + y * unit

    for x, top, bottom in BARS:
        draw.rectangle([at(x - 1.2, top), at(x + 1.2, bottom)], fill="#3f9fe0")
    right = bezier([(22, 11), (22, 17), (18, 21), (12, 21)])
    left = bezier([(12, 21), (6, 21), (2, 17), (2, 11)])
    draw.polygon([at(*point) for point in [(2, 11), *right, *left]], fill="#9aa6b5")
    return image.resize((size, size), Image.Resampling.BOX)


def save(image, name):
    image.quantize(64, dither=Image.Dither.NONE).save(HERE / name, optimize=True)


save(icon(192, 0.84, (0, 0, 0, 0)), "icon-192.png")
save(icon(512, 0.84, (0, 0, 0, 0)), "icon-512.png")
# A launcher cuts a maskable icon to its own shape; what is in the inner 80 % stays.
save(icon(512, 0.56, "#14181e"), "icon-maskable-512.png")
