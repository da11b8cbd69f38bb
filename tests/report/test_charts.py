"""Tests of charts in the report: geometry, tooltips and escaping."""

from xml.etree import ElementTree

import numpy as np
import pytest

from pose_backbones.report import charts
from pose_backbones.report.formatting import count, number, percent

EVIL = '<script>alert("1")</script> & \'x\''


def parse(svg) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def shapes(svg, tag: str) -> list[dict[str, float | str]]:
    """Return attributes (numbers as floats) and tooltips of all shapes with a tag."""
    elements = []
    for element in parse(svg).iter(tag):
        shape = {'tooltip': element.findtext('title')}
        for name, value in element.attrib.items():
            shape[name] = float(value) if name in {*'xyr', 'cx', 'cy', 'width', 'height'} else value
        elements.append(shape)
    return elements


def texts(svg) -> list[str]:
    return [element.text for element in parse(svg).iter('text')]


def test_bar_lengths():
    rows = [('nose', 0.5, '3 labelled'), ('a_very_long_name_of_it', 0.25, ''), ('hip', np.nan, '')]
    svg = charts.bars('Title', 'About it.', rows, maximum=0.5, reference=1)
    bars = shapes(svg, 'rect')
    assert [bar['width'] for bar in bars] == [200, 100, 0]
    assert bars[0]['tooltip'] == 'nose: 0.500. 3 labelled'
    assert texts(svg) == ['nose', '0.500', 'a_very_long_name…', '0.250', 'hip', 'n/a']
    (line,) = shapes(svg, 'line')
    assert float(line['x1']) == float(line['x2']) == bars[1]['x'] + 100
    root = parse(svg)
    assert root.get('aria-label') == 'Title. About it.'
    assert root.get('viewBox') == '0 0 360 72'


def test_stacked_bars():
    svg = charts.stacked_bars(
        '', '', [('a', [3, 0, 1]), ('b', [0, 0, 0])], ['good', 'x', 'not found']
    )
    first, second = shapes(svg, 'rect')
    assert first['width'] == 3 * second['width'] == 183
    assert second['x'] == first['x'] + first['width']
    assert (first['class'], second['class']) == ('k-good', 'k-not-found')
    assert second['tooltip'] == 'a, not found: 1 of 4 (25.0%)'
    assert texts(svg) == ['a', '75%', '25%', 'b']


def test_reliability_and_density_omit_empty_bins():
    scores, oks = np.array([0.2, np.nan]), np.array([0.5, np.nan])
    (bar,) = shapes(charts.reliability('', '', scores, oks, np.array([7, 0])), 'rect')
    assert bar['tooltip'] == '7 detections with a mean score of 0.20: mean OKS 0.50'
    assert bar['height'] == pytest.approx(0.72 * 290 / 2, abs=0.05)
    cells = shapes(charts.density('', '', np.array([[0, 4], [1, 0]])), 'rect')
    assert [cell['fill-opacity'] for cell in cells] == ['1.00', '0.56']
    assert cells[1]['tooltip'] == (
        '1 detections with scores from 0.5 to 1.0 and OKS from 0.0 to 0.5'
    )
    assert cells[0]['x'] < cells[1]['x']
    assert cells[0]['y'] < cells[1]['y']  # higher OKS is higher on the page


def test_curves_without_people_are_omitted():
    recalls = np.linspace(0, 1, 11)
    lines = [('OKS 0.50', np.ones(11)), ('OKS 0.75', np.full(11, np.nan))]
    svg = charts.precision_recall('', '', recalls, lines)
    assert [line['tooltip'] for line in shapes(svg, 'polyline')] == ['OKS 0.50']
    assert [dot['tooltip'] for dot in shapes(svg, 'circle')] == [
        'OKS 0.50: precision 1.000 at a recall of 0.0',
        'OKS 0.50: precision 1.000 at a recall of 1.0',
    ]


def test_training_curve_range():
    svg = charts.training_curve('', '', [10, 20], [4.0, 1.0])
    first, last = shapes(svg, 'circle')
    assert (first['cx'], first['cy']) == (44 + 145, 8)
    assert (last['cx'], last['cy']) == (44 + 290, 120.5)
    assert last['tooltip'] == 'step 20: 1'
    assert texts(svg) == ['4', '2', '0', '0', '20', 'step']


@pytest.mark.parametrize(
    'draw',
    [
        lambda: charts.bars(EVIL, EVIL, [(EVIL, 1, EVIL)]),
        lambda: charts.stacked_bars(EVIL, EVIL, [(EVIL, [1])], [EVIL]),
        lambda: charts.training_curve(EVIL, EVIL, [1, 2], [1, 2]),
        lambda: charts.precision_recall(EVIL, EVIL, np.arange(2), [(EVIL, np.arange(2))]),
    ],
)
def test_text_is_escaped(draw):
    svg = draw()
    assert '<script' not in svg
    root = parse(svg)
    assert root.findtext('title') == EVIL
    assert root.get('aria-label') == f'{EVIL}. {EVIL}'


def test_number_formatting():
    assert [number(0.12345), number(2.5, 1), number(float('nan'))] == ['0.123', '2.5', 'n/a']
    assert [number(0.1, sign='+'), number(-0.1, sign='+')] == ['+0.100', '-0.100']
    assert [percent(1, 3), percent(0, 0)] == ['33.3%', 'n/a']
    assert [count(1, 'image'), count(1234, 'image'), count(0, 'person', 'people')] == [
        '1 image',
        '1,234 images',
        '0 people',
    ]
