"""Run the tests of `export_cases.py` and `bottom_up_export_cases.py` in other processes.

OpenVINO and ONNX Runtime start threads in the process that imports them. A process of pytest-xdist
that had run many other tests ended without a message in these tests; a new process does not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tools import ROOT

CASES = ('export_cases.py', 'bottom_up_export_cases.py')


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('cases', CASES)
def test_exported_models(cases: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith('PYTEST_')}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:xdist', '-p', 'no:cacheprovider']
    done = subprocess.run(
        [*command, str(Path(__file__).with_name(cases))],
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
