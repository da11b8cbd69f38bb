"""Installation. The verified versions are those of requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r"__version__ = '(.+)'", (HERE / 'pose_backbones/version.py').read_text()
).group(1)

setup(
    name='pose_backbones',
    version=VERSION,
    description='Pose backbones for MMPose that install in a minute',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    packages=find_packages(include=['pose_backbones', 'pose_backbones.*']),
    # Links to the configs and their index; a wheel gets the files.
    package_data={'pose_backbones': ['.mim/*.yml', '.mim/configs/**/*']},
    python_requires='>=3.10,<3.13',
    install_requires=[
        'torch>=2.6',  # add_safe_globals takes names since then
        'torchvision>=0.21',
        'numpy>=1.26,<2',  # xtcocotools' wheels are built for numpy 1
        'opencv-python<4.12',  # later ones want numpy 2
        'mmengine>=0.10.7,<1',
        'timm>=1.0',
        'safetensors',
        'xtcocotools>=1.14.3',
        'matplotlib',
        'pillow>=10.1',  # its default font has sizes since then
        'tqdm',
        'scipy<1.16',
        'six',  # imported by mmpose, not declared there
        'setuptools<81',  # mmengine imports pkg_resources
    ],
    extras_require={
        # Apart, since mmpose wants chumpy, which no current pip can build:
        # install these with --no-deps. mmcv-lite==2.1.0 does in place of
        # mmcv.
        'openmmlab': ['mmpose>=1.3.2,<1.4', 'mmcv>=2.1,<2.2'],
        'detection': ['mmdet>=3.3,<3.4'],
        # Its wheels contain FFmpeg, with x264 under the GPL.
        'video': ['av>=17'],
    },
    classifiers=[
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
    ],
)
