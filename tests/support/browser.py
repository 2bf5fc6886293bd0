"""A headless browser for tests of pages; a test is skipped where none is installed."""

import html
import json
import re
import shutil
import subprocess

import pytest

# The page's own policy lets no script run, so that a measured copy needs a wider one.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
MEASURE = """<script>
addEventListener("load", () => {
  const found = {
    inner: innerWidth,
    scroll: document.documentElement.scrollWidth,
    dark: getComputedStyle(document.body).backgroundColor,
    images: [...document.images].map(i => [i.naturalWidth, i.naturalHeight, i.clientWidth, i.clientHeight]),
    fetched: performance.getEntriesByType("resource").map(e => e.name.slice(0, 30)),
    first: document.querySelector("strong")?.getBoundingClientRect().bottom ?? null,
    height: innerHeight,
  };
  const said = parent.document.createElement("pre");
  said.id = "measured";
  said.textContent = JSON.stringify(found);
  parent.document.body.append(said);
});
</script>"""


def run_browser(tmp_path, *arguments):
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if program is None:
        pytest.skip("no chromium or chrome is installed")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [program, *flags, profile, "--disable-background-networking", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def measured(page, tmp_path, width, height=900, *, dark=False):
    """What a browser finds of a page's text that it opens from the disk in a window of this size."""
    text, count = POLICY.subn("", page)
    assert count == 1
    text = html.escape(text.replace("</body>", MEASURE + "</body>"))
    # a window is never narrower than 500 pixels, a frame in it is
    size = f"width: {width}px; height: {height}px"
    copy = tmp_path / "measured.html"
    copy.write_text(
        f'<!doctype html><meta name="color-scheme" content="light dark">'
        f'<body><iframe style="{size}; border: 0" srcdoc="{text}"></iframe>',
        "utf-8",
    )
    scheme = ("--blink-settings=preferredColorScheme=0",) if dark else ()
    dom = run_browser(tmp_path, *scheme, "--window-size=1400,1000", "--dump-dom", copy.as_uri())
    said = re.search(r'<pre id="measured">(.*?)</pre>', dom, re.DOTALL)
    assert said, dom[-500:]
    return json.loads(said[1].replace("&amp;", "&").replace("&lt;", "<"))
