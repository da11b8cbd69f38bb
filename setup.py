"""Add `pose_backbones.pth` to the wheels; everything else is declared in pyproject.toml.

The interpreter reads the `.pth` files of `site-packages` when it starts; this one installs the
finder of `pose_backbones_env/finder.py`. setuptools has no option that puts a file there, neither
for a wheel nor for an editable installation, so the file is added to the wheel that it has built.
"""

import base64
import hashlib
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.editable_wheel import editable_wheel

NAME = 'pose_backbones.pth'
CONTENT = b'import pose_backbones_env.finder; pose_backbones_env.finder.install()\n'


def add_file(wheel: Path) -> None:
    """Add the file to a wheel and to its list of files, unless it has the file."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(CONTENT).digest()).rstrip(b'=').decode()
    changed = wheel.with_suffix('.changed')
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(changed, 'w', zipfile.ZIP_DEFLATED) as new:
        if NAME in old.namelist():
            changed.unlink()
            return
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith('.dist-info/RECORD'):
                data += f'{NAME},sha256={digest},{len(CONTENT)}\n'.encode()
            new.writestr(item, data)
        new.writestr(NAME, CONTENT)
    changed.replace(wheel)


class WithFile:
    """Mixin for the commands that build a wheel."""

    def run(self) -> None:
        super().run()
        for wheel in Path(self.dist_dir).glob('pose_backbones-*.whl'):
            add_file(wheel)


class Wheel(WithFile, bdist_wheel):
    pass


class EditableWheel(WithFile, editable_wheel):
    pass


setup(cmdclass={'bdist_wheel': Wheel, 'editable_wheel': EditableWheel})
