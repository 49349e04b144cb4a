"""Headless Chromium for tests of HTML pages, which are skipped if it is not installed."""

import contextlib
import shutil

import pytest

HOSTILE = "</script><script>alert(1)</script>"


@contextlib.contextmanager
def opened(path, **options):
    """Yield a browser page showing a file, and its console messages, errors and requests."""
    sync = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        except sync.Error as error:
            pytest.skip(f"no Chromium: {error.message.splitlines()[0]}")
        page = browser.new_context(**options).new_page()
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on(
            "request",
            lambda r: said.append(r.url) if not r.url.startswith(("file:", "data:")) else None,
        )
        page.goto(path.as_uri())
        yield page, said
        browser.close()
