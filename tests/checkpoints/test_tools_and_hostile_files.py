"""Tests of damaged and hostile checkpoints with each tool that loads a checkpoint."""

import os

import pytest
import torch
from mmpose.apis import init_model

from pose_backbones.cli import convert as convert_api
from pose_backbones.cli import infer as infer_api
from pose_backbones.cli import test as test_api
from pose_backbones.cli import train as train_api
from pose_backbones.errors import CheckpointError
from tests.helpers.pickle_cases import Pickle, a_dict, save


def _write_code(path):
    save(
        path,
        a_dict(
            state_dict=Pickle().op(b'}'),
            x=Pickle().call('os.system', f'touch {path.with_name("it_ran")}'),
        ),
    )


def _write_truncated(path):
    torch.save({'state_dict': {'a': torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:3000])


def _write_recursive(path):
    save(path, Pickle().op(b'}q\x00').value('state_dict').op(b'h\x00s'))


FILES = {
    'code': (_write_code, 'contains os.system'),
    'cut': (_write_truncated, 'is truncated or damaged'),
    'contains itself': (_write_recursive, 'contains itself'),
    'html': (lambda path: path.write_text('<html>404</html>'), 'HTML page'),
    'fifo': (os.mkfifo, 'a named pipe'),
    'a list': (lambda path: torch.save([1], path), 'holds a list|No state_dict'),
    'no weights': (
        lambda path: torch.save({'a': 1}, path),
        'no weights|no training state|key|family|missing',
    ),
}


def _train(config, data, folder, *options):
    train_api.main([config, '--data-root', data, '--work-dir', folder, '--no-validate', *options])


ENTRIES = {
    'test': lambda file, config, data, folder: test_api.main(
        [config, file, '--data-root', data, '--work-dir', folder]
    ),
    'resume': lambda file, config, data, folder: _train(config, data, folder, '--resume', file),
    'load-from': lambda file, config, data, folder: _train(
        config, data, folder, '--load-from', file
    ),
    'init_cfg': lambda file, config, data, folder: _train(
        config,
        data,
        folder,
        '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={file}',
    ),
    'convert': lambda file, config, data, folder: convert_api.main([file, f'{folder}.pth']),
    'infer': lambda file, config, data, folder: infer_api.main(
        [f'{data}/val', '--model', config, '--weights', file, '--out', folder]
    ),
    'init_model': lambda file, config, data, folder: init_model(config, file, device='cpu'),
}


@pytest.mark.parametrize('entry', ENTRIES)
def test_tool_raises_one_error_and_leaves_no_files(entry, tiny_config, synthetic, tmp_path):
    for kind, (make, message) in FILES.items():
        file = tmp_path / f'{kind.replace(" ", "-")}.pth'
        make(file)
        folder = tmp_path / f'out of {kind}'
        error = RuntimeError if kind == 'a list' else CheckpointError
        with pytest.raises(error, match=message) as error_info:
            ENTRIES[entry](str(file), str(tiny_config), str(synthetic), str(folder))
        assert '\n' not in str(error_info.value)
        left = (
            [path for path in folder.rglob('*') if path.suffix in ('.pth', '.partial', '.json')]
            if folder.exists()
            else []
        )
        assert not left
    assert not (tmp_path / 'it_ran').exists()
