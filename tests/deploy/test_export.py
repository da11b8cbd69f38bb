"""Run the tests of the files `*_cases.py` in other processes.

OpenVINO and ONNX Runtime start threads in the process that imports them. A process of pytest-xdist
that had run many other tests ended without a message in these tests; a new process does not.
"""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.helpers.tools import ROOT

FOLDER = Path(__file__).parent


NNCF = pytest.mark.skipif(
    find_spec('nncf') is None,
    reason='nncf is not installed: its current version requires a version of NumPy below 2.5',
)


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize(
    'name',
    [
        'export_cases.py',
        'bottom_up_export_cases.py',
        'cache_cases.py',
        'onnx_cases.py',
        pytest.param('quantization_cases.py', marks=NNCF),
    ],
)
def test_cases(name: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith('PYTEST_')}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:xdist', '-p', 'no:cacheprovider']
    command += ['--timeout', '900']  # an export takes a minute, and several on a busy machine
    done = subprocess.run(
        [*command, str(FOLDER / name)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r'\d+ passed', done.stdout)
    assert not re.search(r'\d+ skipped', done.stdout)
