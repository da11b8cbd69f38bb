"""The table of tested versions: docs/scripts/make_matrix.py."""

import json

import make_matrix

JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" errors="1" failures="2"
skipped="3" tests="20" time="61.6" timestamp="2026-11-27T20:00:00.0"><testcase name="a">
<skipped message="no GPU"/></testcase><testcase name="b"><skipped message="no GPU"/></testcase>
<testcase name="c"><skipped message="no browser"/></testcase></testsuite></testsuites>"""


def test_junit_file(tmp_path):
    path = tmp_path / 'oldest.xml'
    path.write_text(JUNIT)
    assert make_matrix.read_junit(path) == dict(
        passed=14,
        failed=3,
        skipped=3,
        seconds=62,
        date='2026-11-27',
        reasons={'no GPU': 2, 'no browser': 1},
    )
    entry = make_matrix.record(path)
    assert entry == json.loads((tmp_path / 'oldest.json').read_text())
    assert entry['session'] == 'oldest'


def test_environment():
    import numpy
    import torch

    versions = make_matrix.environment()
    assert versions['torch'] == torch.__version__.partition('+')[0]
    assert versions['NumPy'] == numpy.__version__
    assert versions['mmcv'].endswith(('lite', 'with operators'))


def test_sessions_without_a_run_are_named():
    lines = make_matrix.table({'oldest': dict(session='oldest', Python='3.10.1', passed=9)})
    rows = {row.split(' | ')[0].strip('| '): row for row in lines.splitlines()}
    assert rows['oldest'].startswith('| oldest | 3.10.1 | ')
    assert '| not run |' in rows['compiled']
    assert list(rows)[2:] == list(make_matrix.SESSIONS)


def test_page_has_the_table_of_the_records():
    text = make_matrix.PAGE.read_text()
    assert make_matrix.page(text, make_matrix.read_records()) == text
