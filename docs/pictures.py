"""Makes docs/watermark.png: python docs/pictures.py OUT, the finished and audited run of examples/watermark.

It is the first finding of the report as Chromium shows it (launch_scripts/chromium.sh and playwright install that).
"""

from __future__ import annotations

import pathlib
import shutil
import sys

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT, COLOURS = 1000, 900, 128


def first_finding(report: pathlib.Path, picture: pathlib.Path) -> None:
    """A screenshot of it, with a palette: a third of the bytes."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.locator("article.finding").first.screenshot(path=picture)
        browser.close()
    Image.open(picture).convert("RGB").quantize(COLOURS).save(picture, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    first_finding(pathlib.Path(sys.argv[1]) / "_audit/report.html", pathlib.Path(__file__).with_name("watermark.png"))
