"""Tests of docs/convert_dataset.md: its commands run on small exports."""

import re
import shlex
from importlib import import_module

import pytest

from pose_backbones.cli.__main__ import COMMANDS
from tests.helpers import annotation_exports as exports
from tests.helpers.tools import ROOT

PAGE = (ROOT / 'docs/convert_dataset.md').read_text()
COMMAND_LINES = [
    shlex.split(line)
    for block in re.findall('```bash\n(.*?)```', PAGE, re.DOTALL)
    for line in block.replace('\\\n', ' ').splitlines()
]


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Directory with the exports that the page names."""
    folder = tmp_path_factory.mktemp('page')
    examples = exports.examples(False)
    exports.write_yolo(folder / 'exports/yolo', examples)
    exports.write_label_studio(folder / 'exports/label-studio', examples)
    exports.write_cvat_xml(folder / 'exports/cvat', examples)
    exports.write_cvat_coco(folder / 'exports/cvat-coco', examples)
    exports.write_deeplabcut(folder / 'exports/deeplabcut', examples)
    return folder


def test_page_has_all_commands():
    assert len(COMMAND_LINES) == 9
    assert {line[0] for line in COMMAND_LINES} == {'pose-backbones'}


@pytest.mark.parametrize('line', COMMAND_LINES, ids=' '.join)
def test_commands(line, written, monkeypatch):
    monkeypatch.chdir(written)
    _, command, *arguments = line
    if 'sleap' in arguments[0]:
        pytest.importorskip('sleap_io')
        if 'analysis' in arguments[0]:
            exports.write_sleap_analysis(
                written / 'exports/sleap-analysis', exports.examples(False)
            )
        else:
            exports.write_sleap(written / 'exports/sleap', exports.examples(False))
    main = import_module(f'pose_backbones.cli.{COMMANDS[command][0]}').main
    assert not main(arguments)
    if command == 'convert-dataset':
        out = written / next(name for name in arguments if name.startswith('data/'))
        assert sorted(path.name for path in (out / 'annotations').iterdir()) == [
            'train.json',
            'val.json',
        ]
