"""Train ten iterations on a converted dataset of each annotation tool, with `tools/train.py`."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pose_backbones.cli.convert_dataset import main
from tests.helpers import annotation_exports as exports
from tests.helpers.tools import ROOT, TINY, run_tool

BASE = 'td-hm_moganet-xt_1xb8-demo_synthetic-128x96.py'
#: the config of the page, of which only the model is replaced by a smaller one
(CONFIG,) = re.findall(
    '```python\n(.*?)```', (ROOT / 'docs/convert_dataset.md').read_text(), re.DOTALL
)
FORMATS: dict[str, tuple[Callable, str | None]] = {
    'yolo': (lambda *a: [exports.write_yolo(*a)], None),
    'label-studio': (lambda *a: [exports.write_label_studio(*a)], None),
    'cvat-xml': (lambda *a: [exports.write_cvat_xml(*a)], None),
    'cvat-coco': (lambda *a: [exports.write_cvat_coco(*a)], None),
    'deeplabcut': (lambda *a: [exports.write_deeplabcut(*a)], None),
    'deeplabcut-h5': (lambda *a: [exports.write_deeplabcut(*a, hdf=True)], 'tables'),
    'sleap-package': (exports.write_sleap, 'sleap_io'),
    'sleap-analysis': (lambda *a: [exports.write_sleap_analysis(*a)], 'sleap_io'),
}


def write_config(folder: Path, out: Path) -> Path:
    """Write the config of a small model: ten iterations and one validation."""
    base = TINY.format(root=ROOT, base=BASE, iters=10)
    (folder / 'base.py').write_text(base.replace('val_interval=1000', 'val_interval=10'))
    text = re.sub("_base_ = '.*'", "_base_ = 'base.py'", CONFIG)
    assert text.count("'data/mice/") == 2
    (folder / 'config.py').write_text(text.replace("'data/mice/", f"'{out}/"))
    return folder / 'config.py'


@pytest.mark.slow
@pytest.mark.parametrize('name', FORMATS)
def test_ten_iterations(name, tmp_path):
    write, package = FORMATS[name]
    if package is not None:
        pytest.importorskip(package)
    sources = write(tmp_path / 'export', exports.examples(False))
    out = tmp_path / 'mice'
    main([*map(str, sources), str(out)])
    done = run_tool('train.py', write_config(tmp_path, out), '--work-dir', tmp_path / 'work')
    assert done.returncode == 0, done.stdout
    (file,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    losses = [line['loss_kpt'] for line in lines if 'loss_kpt' in line]
    assert len(losses) == 10
    assert 0 < min(losses) < losses[0]
    assert [line['coco/AP'] >= 0 for line in lines if 'coco/AP' in line] == [True]
