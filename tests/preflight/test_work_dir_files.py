"""Files in a work dir that are not of a training run do not stop `--overwrite`."""

import os

from pose_backbones.preflight.work_dir import clear_work_dir


def test_clear_work_dir_keeps_other_files(tmp_path):
    (tmp_path / 'saved.py').write_text("launcher = 'none'\nwork_dir = 'x'\n")
    (tmp_path / 'latin.py').write_bytes(b"work_dir = '\xe4'\n")
    (tmp_path / 'folder.py').mkdir()
    os.mkfifo(tmp_path / 'pipe.py')
    (tmp_path / 'iter_3.pth').write_bytes(b'')
    clear_work_dir(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['folder.py', 'latin.py', 'pipe.py']
