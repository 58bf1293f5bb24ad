"""The report in a real browser: it loads without a complaint, shows all pictures, and fits a screen and a telephone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from headless_chromium import Browser, find_browser
from invented import PROMPTS, Experiment

from mora_jobs.report import write

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no chromium is installed (apt-get install chromium)")
WIDTHS = [1280, 390]
LONG = "concise-and-clear-in-every-language-there-is"
PICTURES = """
Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth, () => 0)))
"""


def sticking_out(browser: Browser, width: int) -> list[str]:
    """Elements that reach beyond `width`, unless they lie in a box that scrolls by itself.

    Not window.innerWidth: a telephone zooms out when the page is too wide, and that grows with it.
    """
    return list(
        browser.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => "
            f"e.getBoundingClientRect().right > {width} + 0.5 && !e.closest('.scroll, pre'))"
            ".map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))"
        )
    )


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser(find_browser() or "") as browser:
        yield browser


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that can make a page too wide or make it run something."""
    made = Experiment(tmp_path_factory.mktemp("hostile") / ("w" * 120))
    texts = [
        "x" * 3000,
        "<script>console.error('ran')</script><img src=http://example.invalid/x onerror=console.error(1)>",
    ]
    prompts = [texts[1], "y" * 2000, "‮turned round", "https://example.invalid/" + "z" * 400, "<svg onload=alert(1)>"]
    made.rollout(prompts, ("helpful", LONG, "c", "d", "e"), texts=texts, isolation={"criterion": "Both"})
    made.rewrite()
    made.alignment(("helpful", LONG, "c", "d", "e"), 40, names=["p" * 63], prompts=3, steps=0)
    made.rollout(PROMPTS[:3], name="failed", until="Scores")
    return write(made.folder)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", ["whole", "hostile"])
def test_loads_fits_and_shows_every_picture(
    chromium: Browser, page: str, width: int, request: pytest.FixtureRequest
) -> None:
    chromium.open(request.getfixturevalue(page), width)
    pictures = chromium.evaluate(PICTURES)
    assert len(pictures) > 10
    assert all(natural > 0 for natural in pictures)
    assert chromium.evaluate("window.innerWidth") == width
    # With everything unfolded, too.
    chromium.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert sticking_out(chromium, width) == []
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.said("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded") == []
    requested = {each["request"]["url"] for each in chromium.said("Network.requestWillBeSent")}
    assert [url for url in requested if not url.startswith(("data:", "file:"))] == []
    assert sum(url.startswith("file:") for url in requested) == 1


def test_text_is_dark_and_large_enough(chromium: Browser, whole: Path) -> None:
    chromium.open(whole, 1280)
    sizes = chromium.evaluate(
        "[...document.querySelectorAll('p, td, th, li, summary, dd, small')].filter(e => e.textContent.trim())"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(sizes) >= 12
    colours = chromium.evaluate(
        "[...new Set([...document.querySelectorAll('p, td, th, dd')].map(e => getComputedStyle(e).color))]"
    )
    for colour in colours:
        red, green, blue = (float(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(", "))
        luminance = sum(w * _linear(c) for w, c in ((0.2126, red), (0.7152, green), (0.0722, blue)))
        assert 1.05 / (luminance + 0.05) >= 4.5, colour  # WCAG 2.2 AA on white


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def test_a_page_with_a_fault_would_be_noticed(chromium: Browser, tmp_path: Path) -> None:
    """The checks above can fail: a broken picture, a request, a message and a box that is too wide are seen."""
    page = tmp_path / "faulty.html"
    page.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'><img src='data:image/svg+xml;base64,AAAA'>"
        "<div style='width:700px'>wide</div><script>console.error('seen')</script><img src='missing.png'>"
    )
    chromium.open(page, 390)
    assert 0 in chromium.evaluate(PICTURES)
    assert any("wide" in each for each in sticking_out(chromium, 390))
    assert chromium.said("Runtime.consoleAPICalled")
    assert any(each["request"]["url"].endswith("missing.png") for each in chromium.said("Network.requestWillBeSent"))
