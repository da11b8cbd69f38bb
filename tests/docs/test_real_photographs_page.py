"""Tests of docs/real_photographs.md."""

import json

import numpy as np

from benchmarks import _photographs
from benchmarks.real_photographs import BATCH_SIZE, ROWS, table
from tests.helpers.tools import ROOT

PAGE = (ROOT / 'docs/real_photographs.md').read_text(encoding='utf-8')
RESULTS = json.loads((ROOT / 'docs/benchmarks/real_photographs.json').read_text(encoding='utf-8'))


def test_page_has_the_tables_of_the_results():
    tables = PAGE.partition('<!-- results -->\n')[2].partition('\n<!-- /results -->')[0]
    assert tables == '\n'.join(table(RESULTS))


def test_page_names_the_settings_of_the_results():
    settings = [(result['size'], result['steps'], result['frozen_stages']) for result in RESULTS]
    assert set(settings) == {('128x96', 2000, -1), ('192x144', 7000, -1), ('256x192', 13000, 1)}
    text = ' '.join(PAGE.split())
    assert 'default number of steps is 2,000' in text
    assert {result['batch_size'] for result in RESULTS} == {16}
    assert f'batches of {BATCH_SIZE}' in text
    padding = RESULTS[0]['padding']
    assert all(result['padding'] == padding for result in RESULTS)
    assert f'LSPET are {padding["lspet"]} times as large as the boxes' in text
    assert f'have no margin, are {padding["others"]} times as large' in text
    assert f'`GetBBoxCenterScale` in the test pipeline to {padding["others"]}.' in text
    assert f'a margin of {_photographs._MARGIN:.0%}'.replace('%', ' %') in text
    (steps,) = {result['synthetic_steps'] for result in RESULTS} - {0}
    assert f'start with {steps:,} steps on' in text


def test_values_in_the_text():
    text = PAGE.partition('What the rows show:')[2].partition('The [report]')[0]
    runs = {(result['row'], result['size']): result for result in RESULTS if result['seed'] == 0}
    small = {name: runs[name, '128x96'] for name in ('a', 'b', 'c', 'd', 'moganet-a', 'moganet-b')}
    large, best = runs['c', '192x144'], runs['c', '256x192']
    values = [
        small['b']['before']['PCK/PCK'],
        *(run['metrics']['PCK/PCK'] for run in (*small.values(), large, best)),
        dict(best['curve'])[1300],
    ]
    for value in values:
        assert f'{value:.1f}' in text
    c, d = (
        [result for result in RESULTS if (result['row'], result['size']) == (row, '128x96')]
        for row in 'cd'
    )
    first, second = (
        '{:.1f}, {:.1f} and {:.1f}'.format(*(run['metrics']['PCK/PCK'] for run in seeds))
        for seeds in (c, d)
    )
    assert f'{first} with three seeds' in text
    assert f'between the seeds: {second}.' in text
    first, second = (
        f'{100 * np.mean([run["metrics"]["coco/AP"] for run in seeds]):.1f}' for seeds in (c, d)
    )
    words = ' '.join(text.split())
    assert f'The mean AP is {first} without and {second} with them.' in words
    everyday = runs['d-everyday', '128x96']
    for key, rest in (('metrics', ' with the same seed'), ('before', ' without any photograph')):
        values = [f'{run[key]["PCK/PCK"]:.1f}' for run in (everyday, small['d'])]
        assert f'{" instead of ".join(values)}{rest}' in words
    without, synthetic = (
        f'{100 * runs[row, "128x96"]["metrics"]["coco/AP"]:.1f}' for row in ('coco-c', 'coco-d')
    )
    assert f'AP is {without} without and\n  {synthetic} with synthetic people' in text
    assert max(run['metrics']['PCK/PCK'] for run in RESULTS) == best['metrics']['PCK/PCK'] >= 70
    assert f'instead of {100 * best["metrics"]["coco/AP"]:.1f}; with' in PAGE
    assert small['moganet-b']['before'] == {}
    width, height = best['size'].split('x')[::-1]
    options = f'--input-size {width} {height} --steps {best["steps"]}'
    assert f'`{best["row"]} {options} --frozen-stages {best["frozen_stages"]}`' in PAGE


def test_page_has_all_rows():
    names = {name for name in ROWS if f'| `{name}`' in PAGE or f', `{name}` |' in PAGE}
    assert names == set(ROWS)
