"""`python -m bench.page`: how long one move takes on a dial's page."""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path

FRAME = 16.7  # ms
MOVES = 400
MOVE = """
const t = [], {low, high} = JSON.parse(document.getElementById("data").textContent);
for (let i = 0; i < arguments[0]; i++) {
  window.dial.move(low + (high - low) * ((i * 37) % arguments[0]) / arguments[0], "slider");
  const from = performance.now(); window.dial.update(); document.body.offsetHeight;
  t.push(performance.now() - from);
}
return t;
"""


def main() -> None:
    """Move the slider about in headless Chromium; print milliseconds."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("page", nargs="?", type=Path, default=Path("docs/temperature.html"), help="of poise dial")
    page = parser.parse_args().page
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--window-size=1280,800"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver") or "chromedriver"))
    try:
        browser.get(page.resolve().as_uri())
        times = sorted(browser.execute_script(MOVE, MOVES))
    finally:
        browser.quit()
    print(f"{page}: {MOVES} moves, median {statistics.median(times):.1f} ms, one in twenty above", end=" ")
    print(f"{times[-MOVES // 20]:.1f} ms (a frame has {FRAME} ms)")


if __name__ == "__main__":
    main()
