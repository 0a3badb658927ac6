"""What one can see, in numbers: contrast of a text, and what axe-core finds wrong."""

import os
from pathlib import Path

import pytest

CONTRAST = """(element) => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number)
  const over = (above, below) => {
    const alpha = above[3] ?? 1
    return above.slice(0, 3).map((value, i) => alpha * value + (1 - alpha) * below[i])
  }
  const layers = []
  for (let at = element; at; at = at.parentElement)
    layers.push(channels(getComputedStyle(at).backgroundColor))
  const behind = layers.reduceRight((below, above) => over(above, below), [255, 255, 255])
  const front = over(channels(getComputedStyle(element).color), behind)
  const luminance = (rgb) => rgb
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, i) => sum + value * [0.2126, 0.7152, 0.0722][i], 0)
  const [high, low] = [luminance(front), luminance(behind)].sort((a, b) => b - a)
  return (high + 0.05) / (low + 0.05)
}"""
"""The contrast ratio of WCAG 2, 1 to 21; 4.5 is asked of a text."""

AXE = """(element) => axe.run(element, {resultTypes: ['violations']}).then((found) =>
  found.violations
    .filter(({impact}) => impact === 'serious' || impact === 'critical')
    .map(({id, help, nodes}) => `${id}: ${help}: ${nodes.map((node) => node.html).join(' | ')}`))
"""


def contrast(locator):
    """Return the contrast of a text to what is behind it."""
    return locator.evaluate(CONTRAST)


def faults(locator):
    """Return what axe-core calls serious or critical in a part of the page."""
    modules = os.environ.get("HYPERLLAMA_TEST_NODE_MODULES")
    if not modules:
        pytest.fail("HYPERLLAMA_TEST_NODE_MODULES is not set. Run the tests with `make test`.")
    page = locator.page
    if not page.evaluate("'axe' in window"):
        page.evaluate(Path(modules, "axe-core", "axe.min.js").read_text("utf-8"))
    return locator.evaluate(AXE)
