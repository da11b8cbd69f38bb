"""Tests of the report page in a real browser, on a synthetic dataset.

See `start_browser` for what they require.
"""

import contextlib
import io
import json
import re

import numpy as np
import pytest
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from pose_backbones.cli.report import main
from tests.helpers.browser import start_browser
from tests.helpers.report_cases import SIGMAS

pytestmark = pytest.mark.browser

ROWS = ('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)', 'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)')


@pytest.fixture(scope='module')
def browser():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope='module')
def run(synthetic, tmp_path_factory):
    """Return a directory with a report page, annotations, results and training logs.

    The results are the annotations with noise, left and right exchanged for some people, some
    people missing, and some false detections.
    """
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp('report')
    truth = synthetic / 'annotations/person_keypoints_val.json'
    results = []
    for person in json.loads(truth.read_text())['annotations']:
        points = np.reshape(person['keypoints'], (-1, 3)).astype(float)
        noise = rng.choice([0.01, 0.03, 0.1]) * np.sqrt(person['area'])
        points[:, :2] += rng.normal(0, noise, (17, 2))
        points[:, 2] = rng.uniform(0.1, 1, 17)
        if rng.random() < 0.2:
            points[1:] = points[1:].reshape(8, 2, 3)[:, ::-1].reshape(16, 3)
        if rng.random() < 0.15:
            points[:, 0] += 150
        if rng.random() < 0.9:
            results.append(
                dict(
                    image_id=person['image_id'],
                    category_id=1,
                    keypoints=points.ravel().tolist(),
                    score=rng.random(),
                )
            )
    folder.joinpath('results.json').write_text(json.dumps(results))
    logs = folder / 'run/20240101_000000/vis_data'
    logs.mkdir(parents=True)
    logs.joinpath('scalars.json').write_text(
        '\n'.join(json.dumps(dict(step=step, loss=1 / step)) for step in range(1, 40))
    )
    main(
        [
            str(folder / 'results.json'),
            '--ann',
            str(truth),
            '--images',
            str(synthetic / 'val'),
            '--logs',
            str(folder / 'run'),
            '--out',
            str(folder / 'report.html'),
            '--examples',
            '3',
        ]
    )
    return folder, truth


def show(browser, run, width: int, scheme: str) -> None:
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        dict(width=width, height=800, deviceScaleFactor=1, mobile=width < 600),
    )
    browser.execute_cdp_cmd(
        'Emulation.setEmulatedMedia',
        dict(features=[dict(name='prefers-color-scheme', value=scheme)]),
    )
    browser.get((run[0] / 'report.html').as_uri())


def cells(browser, name: str) -> list[list[str]]:
    return browser.execute_script(
        'return [...document.querySelectorAll(`#${arguments[0]} tr`)].map('
        'row => [...row.cells].map(cell => cell.textContent))',
        name,
    )


def test_table_matches_the_evaluator(browser, run):
    folder, truth = run
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(truth))
        evaluation = COCOeval(coco, coco.loadRes(str(folder / 'results.json')), 'keypoints', SIGMAS)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    show(browser, run, 1280, 'light')
    rows = [(row[0], row[1]) for row in cells(browser, 'coco')[1:]]
    assert rows == [
        (name, f'{value:.3f}' if value >= 0 else 'n/a')
        for name, value in zip(ROWS, evaluation.stats)
    ]
    assert 0 < evaluation.stats[0] < 1
    tile = browser.execute_script('return document.querySelector(".tiles dd").innerText')
    assert tile == f'{evaluation.stats[0]:.3f}'
    inversions = [float(row[5]) for row in cells(browser, 'keypoints')[1:]]
    assert inversions[0] == 0  # the nose has no flip pair
    assert max(inversions) > 5


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('width', [320, 360, 1280])
def test_page_fits_the_window(browser, run, width, scheme):
    show(browser, run, width, scheme)
    wide = browser.execute_script(
        'const page = document.documentElement;'
        'return [innerWidth, page.scrollWidth - page.clientWidth]'
    )
    assert wide == [width, 0]
    if width >= 360:  # tables fit without scrolling
        scrolling = browser.execute_script(
            'document.querySelectorAll("details").forEach(d => d.open=true);'
            'return [...document.querySelectorAll(".scroll")].filter('
            'e => e.scrollWidth > e.clientWidth).map(e => e.ariaLabel)'
        )
        assert scrolling == []
    images = browser.execute_script(
        'return [...document.images].map(i => [i.complete, i.naturalWidth, '
        'i.naturalHeight, i.width > 0, i.alt !== ""])'
    )
    assert len(images) == 12
    for complete, w, h, shown, described in images:
        assert complete
        assert max(w, h) <= 560
        assert min(w, h) > 0
        assert shown
        assert described
    assert browser.get_log('browser') == []
    loaded = browser.execute_script(
        'return performance.getEntriesByType("resource").map(e => e.name)'
    )
    assert [name for name in loaded if not name.startswith('data:')] == []


COLOURS = """
const style = getComputedStyle(document.documentElement);
const colours = {};
for (const name of arguments[0])
  colours[name] = style.getPropertyValue('--' + name).trim();
const chart = document.querySelector('rect.bar');
colours.shown = [document.body, document.querySelector('section'),
               document.querySelector('svg text'), chart].map(
  e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color,
        getComputedStyle(e).fill]);
return colours;
"""
KINDS = ('good', 'jitter', 'inversion', 'swap', 'miss', 'duplicate', 'background', 'not-found')
NAMES = ('ground', 'card', 'ink', 'soft', 'accent', 'bar', 'on', *KINDS)


def luminance(colour: str) -> float:
    """Return the WCAG relative luminance of '#rrggbb' or 'rgb(r, g, b)'."""
    if colour.startswith('#'):
        values = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    else:
        values = list(map(int, re.findall(r'\d+', colour)))[:3]
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in np.array(values) / 255
    ]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_colours_match_the_scheme_and_have_contrast(browser, run, scheme):
    show(browser, run, 1280, scheme)
    colours = browser.execute_script(COLOURS, NAMES)
    body, card, words, bar = colours['shown']
    for ground in (body[0], card[0]):
        assert (luminance(ground) < 0.05) == (scheme == 'dark')
        assert contrast(body[1], ground) >= 7
    assert contrast(words[2], card[0]) >= 7
    assert contrast(bar[2], card[0]) >= 3
    for ground in (colours['ground'], colours['card']):
        for name in ('ink', 'soft', 'accent'):
            assert contrast(colours[name], ground) >= 4.5, name
    for kind in KINDS:
        assert contrast(colours[kind], colours['card']) >= 3, kind
        assert contrast(colours['on'], colours[kind]) >= 4.5, kind


def test_chart_values_are_accessible(browser, run):
    show(browser, run, 360, 'light')
    marks = browser.execute_script(
        'return [...document.querySelectorAll("svg")].map(s => ['
        's.ariaLabel, s.querySelectorAll("rect, circle").length, '
        '[...s.querySelectorAll("rect, circle")].filter('
        'r => !r.querySelector("title")).length, '
        's.closest("section").querySelectorAll("table").length])'
    )
    assert len(marks) == 11
    for name, number, silent, tables in marks:
        assert number > 0, name
        assert silent == 0, name
        assert tables > 0, name
    smallest = browser.execute_script(
        'return Math.min(...[...document.querySelectorAll("svg text")].map('
        't => parseFloat(getComputedStyle(t).fontSize) * '
        't.closest("svg").clientWidth / 360))'
    )
    assert smallest >= 9
