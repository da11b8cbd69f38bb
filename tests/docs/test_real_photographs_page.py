"""Tests of docs/real_photographs.md."""

import json

from benchmarks.real_photographs import ROWS, table
from tests.helpers.tools import ROOT

PAGE = (ROOT / 'docs/real_photographs.md').read_text(encoding='utf-8')
RESULTS = json.loads((ROOT / 'docs/benchmarks/real_photographs.json').read_text(encoding='utf-8'))


def test_page_has_the_tables_of_the_results():
    tables = PAGE.partition('<!-- results -->\n')[2].partition('\n<!-- /results -->')[0]
    assert tables == '\n'.join(table(RESULTS))


def test_page_names_the_settings_of_the_results():
    assert {(result['steps'], result['batch_size'], result['seed']) for result in RESULTS} == {
        (2000, 16, 0)
    }
    assert 'in 2,000 training steps' in PAGE
    assert 'batches of 16' in PAGE
    (steps,) = {result['synthetic_steps'] for result in RESULTS} - {0}
    assert steps == 2000


def test_page_has_all_rows():
    names = {name for name in ROWS if f'| `{name}`' in PAGE or f', `{name}` |' in PAGE}
    assert names == set(ROWS)
