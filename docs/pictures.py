"""Makes the pictures of the README's stories: python docs/pictures.py STORY OUT

OUT is a finished and audited run of the example, STORY `watermark`, `reviews` or `tumours`. Each picture is a part of
the report as Chromium shows it (launch_scripts/chromium.sh and playwright install that).
"""

from __future__ import annotations

import pathlib
import shutil
import sys

from PIL import Image
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT, COLOURS, MOST_CARDS = 1000, 900, 128, 4
PARTS = {
    "watermark": "article.finding >> nth=0",
    "reviews": "#rows .group:has-text('Most typical') .cards >> nth=0",
    "tumours": "#importances .plots",
}


def picture(report: pathlib.Path, part: str, file: pathlib.Path) -> None:
    """A screenshot of the part, with a palette: a third of the bytes."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(report.resolve().as_uri())
        page.eval_on_selector_all(
            f".card:nth-child(n+{MOST_CARDS + 1})", "(cards) => cards.forEach((one) => one.remove())"
        )
        page.locator(part).screenshot(path=file)
        browser.close()
    Image.open(file).convert("RGB").quantize(COLOURS).save(file, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in PARTS:
        sys.exit(__doc__)
    story, out = sys.argv[1:]
    picture(pathlib.Path(out) / "_audit/report.html", PARTS[story], pathlib.Path(__file__).with_name(f"{story}.png"))
