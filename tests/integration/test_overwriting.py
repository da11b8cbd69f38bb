"""Tests that no tool overwrites inputs, or other files without --overwrite."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_backbones.cli import draw_results as compare
from pose_backbones.cli import image_demo, inferencer_demo, make_dataset_info, report
from pose_backbones.cli import plot_training as curves
from pose_backbones.errors import ConfigError, DatasetError, PoseBackbonesError, WorkDirError
from pose_backbones.synthetic import SyntheticDataError, make_synthetic_coco
from tests.helpers.pose_cases import make_image
from tests.helpers.tools import small_disk


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def case(tmp_path) -> Path:
    """Directory with photographs, annotations, results, and logs of a run."""
    folder = tmp_path / 'case'
    (folder / 'photographs').mkdir(parents=True)
    names = ['nose', 'left_eye', 'right_eye']
    images, people, results = [], [], []
    for number in range(1, 4):
        cv2.imwrite(str(folder / f'photographs/{number}.jpg'), make_image(number))
        images.append(dict(id=number, file_name=f'{number}.jpg', width=80, height=60))
        points = [20, 20, 2, 30, 20, 2, 40, 30, 2]
        people.append(
            dict(
                id=number,
                image_id=number,
                category_id=1,
                iscrowd=0,
                area=400.0,
                bbox=[10, 10, 40, 40],
                num_keypoints=3,
                keypoints=points,
            )
        )
        results.append(dict(image_id=number, category_id=1, score=0.9, keypoints=points))
    truth = dict(
        images=images,
        annotations=people,
        categories=[dict(id=1, name='person', keypoints=names, skeleton=[[1, 2]])],
    )
    (folder / 'truth.json').write_text(json.dumps(truth))
    (folder / 'results.json').write_text(json.dumps(results))
    logs = folder / 'run/20240101_000000/vis_data'
    logs.mkdir(parents=True)
    (logs / 'scalars.json').write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    return folder


def draw(case: Path, out, *more: str) -> None:
    compare.main(
        [
            str(case / 'truth.json'),
            str(case / 'results.json'),
            '--images',
            str(case / 'photographs'),
            '--out',
            str(out),
            *more,
        ]
    )


def test_photographs_are_not_overwritten(case, monkeypatch):
    """For any name of their directory."""
    photographs = case / 'photographs'
    before = content(case)
    (case / 'link').symlink_to(photographs)
    (case / 'linked').mkdir()
    os.link(photographs / '2.jpg', case / 'linked/2.jpg')
    (case / 'soft').mkdir()
    (case / 'soft/3.jpg').symlink_to('../photographs/3.jpg')
    monkeypatch.chdir(case / 'linked')
    for out in (
        photographs,
        '../photographs',
        case / 'run/../photographs',
        case / 'link',
        case / 'linked',
        case / 'soft',
    ):
        for more in ((), ('--overwrite',)):
            with pytest.raises(WorkDirError, match=(r'--out: .*\.jpg is an input of this command')):
                draw(case, out, *more)
    after = content(case)
    assert after.pop('linked/2.jpg') == before['photographs/2.jpg']
    assert after == before


def test_other_images_are_kept(case):
    """This includes a photograph in the image directory that is not in the annotations."""
    out = case / 'out'
    draw(case, out)
    before = content(out)
    assert sorted(before) == ['1.jpg', '2.jpg', '3.jpg', 'overview.jpg']
    (out / '2.jpg').write_bytes(b'mine')
    with pytest.raises(
        WorkDirError,
        match='1.jpg already exists, and more: choose another folder, or replace the files with',
    ):
        draw(case, out)
    assert (out / '2.jpg').read_bytes() == b'mine'
    draw(case, out, '--overwrite')
    assert content(out) == before
    shutil.move(out / 'overview.jpg', case / 'photographs/overview.jpg')
    (case / 'new').symlink_to('photographs')
    for name in ('1.jpg', '2.jpg', '3.jpg'):
        (case / 'photographs' / name).rename(case / 'photographs' / f'{name}.png')
    truth = json.loads((case / 'truth.json').read_text())
    for image in truth['images']:
        image['file_name'] += '.png'
    (case / 'truth.json').write_text(json.dumps(truth))
    with pytest.raises(WorkDirError, match=r'overview\.jpg is an input'):
        draw(case, case / 'new', '--overwrite')


def test_images_with_different_suffixes_have_separate_outputs(case):
    truth = json.loads((case / 'truth.json').read_text())
    shutil.move(case / 'photographs/2.jpg', case / 'photographs/1.png')
    (case / 'photographs/a').mkdir()
    shutil.move(case / 'photographs/3.jpg', case / 'photographs/a/b.jpg')
    for image, name in zip(truth['images'], ('1.jpg', '1.png', 'a/b.jpg')):
        image['file_name'] = name
    (case / 'truth.json').write_text(json.dumps(truth))
    draw(case, case / 'out')
    assert sorted(content(case / 'out')) == ['1-2.jpg', '1.jpg', 'a_b.jpg', 'overview.jpg']


def outputs(case: Path):
    """Tool → function that calls it with an output, and its inputs."""
    truth, results = case / 'truth.json', case / 'results.json'
    return {
        'report': (
            lambda out, *more: report.main(
                [str(results), '--ann', str(truth), '--out', str(out), *more]
            ),
            '.html',
            (truth, results),
        ),
        'plot_training': (
            lambda out, *more: curves.main([str(case / 'run'), '--out', str(out), *more]),
            '.png',
            (),
        ),
        'make_dataset_info': (
            lambda out, *more: make_dataset_info.main([str(truth), str(out), *more]),
            '.py',
            (truth,),
        ),
    }


@pytest.mark.parametrize('tool', ['report', 'plot_training', 'make_dataset_info'])
def test_overwrite_replaces_outputs_but_not_inputs(case, tool, tmp_path, capsys):
    call, suffix, inputs = outputs(case)[tool]
    out = tmp_path / f'new/out{suffix}'
    call(out)
    written = out.read_bytes()
    assert len(written) > 500
    out.write_text('mine')
    with pytest.raises(WorkDirError, match='already exists'):
        call(out)
    assert out.read_text() == 'mine'
    call(out, '--overwrite')
    assert len(out.read_bytes()) == pytest.approx(len(written), abs=50)
    assert list(out.parent.iterdir()) == [out]
    before = content(case)
    for number, source in enumerate(inputs):
        for link in (os.symlink, os.link):
            alias = tmp_path / f'{link.__name__}{number}{suffix}'
            link(source, alias)
            with pytest.raises(WorkDirError, match='is an input of this'):
                call(alias, '--overwrite')
    assert content(case) == before


@pytest.mark.parametrize('tool', ['report', 'plot_training', 'make_dataset_info', 'draw_results'])
def test_unwritable_outputs_raise(case, tool, tmp_path, monkeypatch):
    """The error is raised before any file is read."""
    if tool == 'draw_results':
        call, suffix = (lambda out: draw(case, out)), ''
    else:
        call, suffix, _ = outputs(case)[tool]
    (tmp_path / 'file').write_text('mine')
    os.symlink(tmp_path / f'loop{suffix}', tmp_path / f'loop{suffix}')
    os.mkfifo(tmp_path / f'fifo{suffix}')
    before = sorted(tmp_path.rglob('*'))
    monkeypatch.setattr(json, 'loads', None)  # no file is read
    for out, message in (
        (tmp_path / f'file/x{suffix}', 'file is not a directory'),
        (tmp_path / f'loop{suffix}', 'symbolic links|already exists'),
        (f'/proc/none/x{suffix}', 'cannot create a directory in /proc'),
        (
            tmp_path
            / ('n' * 250 + '/' * (not suffix) + 'nnnnnn' + suffix if suffix else 'n' * 256),
            'File name too long',
        ),
        (tmp_path / f'fifo{suffix}', 'named pipe|is a file|already exists'),
    ):
        with pytest.raises(WorkDirError, match=message):
            call(out)
    assert sorted(tmp_path.rglob('*')) == before


@pytest.fixture
def disk(tmp_path):
    """Directory on a disk of 64 KiB with 8 KiB of free space."""
    with small_disk(tmp_path / 'small', '64k') as folder:
        yield folder


@pytest.mark.parametrize('tool', ['report', 'plot_training', 'draw_results'])
def test_full_disk_keeps_earlier_files(case, tool, disk):
    if tool == 'draw_results':
        out = disk / 'out'
        out.mkdir()
        (out / 'overview.jpg').write_text('old')

        def call(out, *more):
            draw(case, out, *more)
    else:
        call, suffix, _ = outputs(case)[tool]
        out = disk / f'out{suffix}'
        out.write_text('old')
    (disk / 'filler').write_bytes(bytes(48 << 10))
    before = content(disk)
    with pytest.raises(WorkDirError, match='cannot be written: No space left on device'):
        call(out, '--overwrite')
    after = content(disk)
    assert not [name for name in after if 'part' in name]
    assert {name: after[name] for name in before} == before


def test_image_demo_keeps_inputs(case, tmp_path):
    out = tmp_path / 'out'
    options = [
        'none.py',
        'none.pth',
        '--json-file',
        str(case / 'truth.json'),
        '--img-root',
        str(case / 'photographs'),
        '--out-img-root',
    ]
    for folder, message in (
        (case / 'truth.json/x', 'is not a directory'),
        ('/proc/x', 'cannot create a directory'),
    ):
        with pytest.raises(WorkDirError, match=message):
            image_demo.main([*options, str(folder)])
    with pytest.raises(PoseBackbonesError, match=r'none\.p'):
        image_demo.main([*options, str(out)])
    assert not out.exists()


@pytest.mark.parametrize('option', ['--vis-out-dir', '--pred-out-dir'])
@pytest.mark.parametrize('single', [False, True])
def test_mmpose_demo_keeps_inputs(case, tmp_path, option, single):
    photographs = case / 'photographs'
    if option == '--pred-out-dir':
        (photographs / '2.json').write_text('mine')
    source = photographs / '2.jpg' if single else photographs
    (tmp_path / 'link').symlink_to(photographs)
    for folder in (photographs, tmp_path / 'link'):
        with pytest.raises(WorkDirError, match='already exists and would be overwritten'):
            inferencer_demo.check_outputs([str(source), '--pose2d', 'x', f'{option}={folder}'])
    inferencer_demo.check_outputs([str(source), option, str(tmp_path / 'new'), '--pose2d', 'x'])
    with pytest.raises(WorkDirError, match='is not a directory'):
        inferencer_demo.check_outputs([str(source), option, str(case / 'truth.json/x')])


def test_synthetic_data_set_does_not_follow_links(tmp_path):
    """Its image directory was replaced by a link to a directory of photographs."""
    out, photographs = tmp_path / 'set', tmp_path / 'photographs'
    make_synthetic_coco(out, 1, 1, image_size=(64, 64))
    shutil.move(out / 'val', photographs)
    (out / 'val').symlink_to(photographs)
    before = content(photographs)
    with pytest.raises(SyntheticDataError, match='val is a link'):
        make_synthetic_coco(out, 1, 1, seed=1, image_size=(64, 64), overwrite=True)
    assert content(photographs) == before


def test_unknown_figure_format_raises(case, tmp_path):
    with pytest.raises(ConfigError, match=r'--out .*\.jpg: expected a name'):
        curves.main([str(case / 'run'), '--out', str(tmp_path / 'a.jpg')])
    for suffix in ('.svg', '.pdf'):
        curves.main([str(case / 'run'), '--out', str(tmp_path / f'a{suffix}')])
    assert b'<svg' in (tmp_path / 'a.svg').read_bytes()
    assert (tmp_path / 'a.pdf').read_bytes().startswith(b'%PDF')
    assert np.ptp(cv2.imread(str(case / 'photographs/1.jpg'))) > 0


@pytest.mark.parametrize(
    'line',
    [
        '[]',
        '7',
        'null',
        '{"loss": 1}',
        '{"step": "a", "loss": 1}',
        '{"step": 1, "loss": "x"}',
        '{"step": [1]}',
        '[' * 5000,
        '{"step',
    ],
)
def test_logs_of_other_programs_raise(case, line):
    log = case / 'run/20240101_000000/vis_data/scalars.json'
    log.write_text(f'{log.read_text()}{line}\n')
    with pytest.raises(
        DatasetError,
        match=r'scalars\.json has the line .*: '
        "expected an entry of MMEngine's log",
    ):
        curves.main([str(case / 'run')])
    assert not (case / 'run/training.png').exists()
