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


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_exported_models() -> None:
    run_cases('export_cases.py')


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_bottom_up_models() -> None:
    run_cases('bottom_up_export_cases.py')


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_cache() -> None:
    run_cases('cache_cases.py')


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_onnx_of_all_families() -> None:
    run_cases('onnx_cases.py')


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    find_spec('nncf') is None,
    reason='nncf is not installed: its current version requires a version of NumPy below 2.5',
)
def test_quantized_models() -> None:
    run_cases('quantization_cases.py')


def run_cases(name: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith('PYTEST_')}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:xdist', '-p', 'no:cacheprovider']
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
