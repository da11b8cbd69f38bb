"""A headless browser for tests of pages."""

import os
import shutil
from typing import Any

import pytest

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')


def start_browser() -> Any:
    """Start a headless browser; skip the test if there is none.

    It requires the Python package selenium, and Chromium or Chrome with its chromedriver, on the
    PATH or at the paths in CHROME_BIN and CHROMEDRIVER.

    Returns:
        A `selenium.webdriver.Chrome`, which the caller has to quit.
    """
    webdriver = pytest.importorskip(
        'selenium.webdriver', reason='the package selenium is not installed'
    )
    from selenium.webdriver.chrome.service import Service

    binary = os.environ.get('CHROME_BIN') or next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = os.environ.get('CHROMEDRIVER') or shutil.which('chromedriver')
    if binary is None or driver is None:
        pytest.skip(
            'no Chromium with its chromedriver is on the PATH; '
            'CHROME_BIN and CHROMEDRIVER say where they are'
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    for argument in (
        '--headless=new',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-sync',
        '--disable-component-update',
        '--disable-quic',
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument('--no-sandbox')
    return webdriver.Chrome(options=options, service=Service(driver))
