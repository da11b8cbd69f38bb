"""`pose-backbones convert-dataset`: exports of annotation tools with known keypoints."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pose_backbones.cli import check as checker
from pose_backbones.cli.convert_dataset import main
from pose_backbones.errors import ConfigError, DatasetError, WorkDirError
from pose_backbones.structures.annotation_tools.labelled import find_image
from pose_backbones.structures.metainfo import read_metainfo
from tests.helpers import annotation_exports as exports
from tests.helpers.annotation_exports import LIMBS, NAMES, SIZE

#: format → function that writes an export and returns the sources; whether it has visibility 1,
#: boxes, and a split; tolerance of coordinates in pixels
FORMATS: dict[str, tuple[Callable, bool, bool, bool, float]] = {
    'yolo': (lambda *a: [exports.write_yolo(*a)], True, True, True, 1e-4),
    'yolo, two values': (lambda *a: [exports.write_yolo(*a, 2)], False, True, True, 1e-4),
    'label studio': (lambda *a: [exports.write_label_studio(*a)], False, True, False, 1e-9),
    'cvat': (lambda *a: [exports.write_cvat_xml(*a)], True, False, True, 0),
    'cvat with boxes': (lambda *a: [exports.write_cvat_xml(*a, True)], True, True, True, 0),
    'cvat coco': (lambda *a: [exports.write_cvat_coco(*a)], True, True, True, 0),
    'deeplabcut': (lambda *a: [exports.write_deeplabcut(*a)], False, False, False, 0),
    'deeplabcut h5': (
        lambda *a: [exports.write_deeplabcut(*a, hdf=True)], False, False, False, 0
    ),
    'sleap package': (lambda *a: exports.write_sleap(*a), False, False, True, 0),
    'sleap labels': (lambda *a: exports.write_sleap(*a, False), False, False, True, 0),
    'sleap analysis': (
        lambda *a: [exports.write_sleap_analysis(*a)], False, False, False, 0
    ),
}  # fmt: skip
PACKAGES = {'deeplabcut h5': 'tables', 'sleap': 'sleap_io'}


def read_split(out: Path, split: str) -> tuple[dict[str, dict], dict[str, list[dict]]]:
    """Return file name → image, and file name → its annotations."""
    content = json.loads((out / f'annotations/{split}.json').read_text())
    images = {image['id']: image for image in content['images']}
    objects: dict[str, list[dict]] = {image['file_name']: [] for image in images.values()}
    for entry in content['annotations']:
        objects[images[entry['image_id']]['file_name']].append(entry)
    assert content['categories'][0]['keypoints'] == list(NAMES)
    assert len({entry['id'] for entry in content['annotations']}) == len(content['annotations'])
    return {image['file_name']: image for image in images.values()}, objects


def expected_box(points: np.ndarray, padding: float = 0.1) -> np.ndarray:
    """Return the padded box of labelled keypoints, clipped to the image."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    grow = padding * (high - low).max()
    grow = np.maximum(grow, (0.02 * max(SIZE) - (high - low)) / 2)
    low, high = np.maximum(low - grow, 0), np.minimum(high + grow, SIZE)
    return np.concatenate([low, high - low])


def need(name: str) -> None:
    """Skip a format whose reader is not installed."""
    for prefix, package in PACKAGES.items():
        if name.startswith(prefix):
            pytest.importorskip(package)


@pytest.mark.parametrize('name', FORMATS)
def test_values(name, tmp_path, capsys):
    """Keypoints, visibility, boxes, split, images and skeleton are those of the export."""
    need(name)
    write, occluded, boxes, has_split, tolerance = FORMATS[name]
    examples = exports.examples(occluded)
    sources = write(tmp_path / 'export', examples)
    out = tmp_path / 'mice'
    main([*map(str, sources), str(out), *(['--keypoints', *NAMES] if 'studio' in name else [])])
    found = {split: read_split(out, split) for split in ('train', 'val')}
    sizes = [len(found[split][0]) for split in ('train', 'val')]
    assert sizes == ([4, 2] if has_split else [5, 1])
    for index, example in enumerate(examples):
        stems = {f'{index:06d}', example.name.removesuffix('.png')}
        for split in ('train', 'val'):
            names = [file for file in found[split][0] if Path(file).stem in stems]
            if names:
                break
        (file,) = names
        assert not has_split or split == example.split
        image, objects = found[split][0][file], found[split][1][file]
        assert (image['width'], image['height']) == SIZE
        assert (cv2.imread(str(out / 'images' / file)) == example.pixels).all()
        assert len(objects) == len(example.animals)
        for entry, animal in zip(objects, example.animals):
            points = np.reshape(entry['keypoints'], (-1, 3))
            truth = np.array(animal.points)
            assert points[:, 2].tolist() == truth[:, 2].tolist()
            assert np.abs(points - truth).max() <= tolerance
            box = animal.box if boxes else expected_box(truth[truth[:, 2] > 0])
            assert entry['bbox'] == pytest.approx(box, abs=max(tolerance, 1e-9))
            assert entry['num_keypoints'] == (truth[:, 2] > 0).sum()
            assert entry['area'] > 0.5 * box[2] * box[3]
    info = read_metainfo(out / 'metainfo.py')
    assert list(info['keypoint_name2id']) == list(NAMES)
    assert info['flip_indices'] == [0, 2, 1, 3]
    assert info['dataset_name'] == 'mice'
    has_limbs = not name.startswith(('yolo', 'label'))
    assert info['skeleton_links'] == (list(LIMBS) if has_limbs else [])
    assert f'{out}/metainfo.py: 4 keypoints' in capsys.readouterr().out
    for split in ('train', 'val'):
        files = [str(out / f'annotations/{split}.json'), '--images', str(out / 'images')]
        assert checker.main([*files, '--all-images']) == 0, capsys.readouterr().out


def test_one_animal_and_old_paths_of_deeplabcut(tmp_path):
    """A project for one animal, whose paths are in one cell."""
    examples = exports.examples(False)
    for example in examples:
        del example.animals[1:]
    config = exports.write_deeplabcut(tmp_path / 'project', examples, animals=1)
    file = config.parent / 'labeled-data/clip/CollectedData_me.csv'
    text = file.read_text().replace('labeled-data,clip,', 'labeled-data\\clip\\')
    file.write_text(text.replace(',,,', ',', 3))
    main([str(file), str(tmp_path / 'out'), '--val-share', '0'])
    assert not (tmp_path / 'out/annotations/val.json').exists()
    _, objects = read_split(tmp_path / 'out', 'train')
    for example in examples:
        (entry,) = objects[example.name]
        assert entry['keypoints'] == [v for point in example.animals[0].points for v in point]


def test_images_linked_copied_or_in_place(tmp_path):
    source = exports.write_yolo(tmp_path / 'export', exports.examples())
    image = tmp_path / 'export/images/train/frame_0.png'
    for option, name in (('', 'link'), ('--copy', 'copy'), ('--in-place', 'place')):
        main([str(source), str(tmp_path / name), *([option] if option else [])])
    assert os.readlink(tmp_path / 'link/images/train/frame_0.png') == str(image)
    copied = tmp_path / 'copy/images/train/frame_0.png'
    assert not copied.is_symlink()
    assert copied.read_bytes() == image.read_bytes()
    assert str(image) in read_split(tmp_path / 'place', 'train')[0]
    assert list((tmp_path / 'place/images').iterdir()) == []


def test_validation_share_is_reproducible(tmp_path):
    sources = exports.write_deeplabcut(tmp_path / 'project', exports.examples(False))
    chosen = []
    for name in ('a', 'b'):
        main([str(sources), str(tmp_path / name), '--val-share', '0.5'])
        chosen.append(sorted(read_split(tmp_path / name, 'val')[0]))
        assert not set(chosen[-1]) & set(read_split(tmp_path / name, 'train')[0])
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == 3


def test_box_padding(tmp_path):
    source = exports.write_cvat_xml(tmp_path / 'export', exports.examples())
    main([str(source), str(tmp_path / 'out'), '--box-padding', '0.5'])
    for objects in read_split(tmp_path / 'out', 'train')[1].values():
        for entry in objects:
            points = np.reshape(entry['keypoints'], (-1, 3))
            box = expected_box(points[points[:, 2] > 0], 0.5)
            assert entry['bbox'] == pytest.approx(box)


@pytest.mark.parametrize('link', ['parent', 'relation', 'inside', 'single'])
def test_objects_of_label_studio(link, tmp_path):
    """A keypoint belongs to its parent, its relation, the box around it, or the only object."""
    examples = exports.examples(False)
    if link == 'single':
        for example in examples:
            del example.animals[1:]
    path = exports.write_label_studio(tmp_path / 'export', examples, boxes=link != 'single')
    tasks = json.loads(path.read_text())
    for task in tasks:
        result = task['annotations'][0]['result']
        for region in list(result):
            parent = region.pop('parentID', None) if link != 'parent' else None
            if parent and link == 'relation':
                result.append(
                    dict(type='relation', from_id=region['id'], to_id=parent, direction='right')
                )
    path.write_text(json.dumps(tasks))
    main([str(path), str(tmp_path / 'out'), '--keypoints', *NAMES, '--val-share', '0'])
    _, objects = read_split(tmp_path / 'out', 'train')
    for example in examples:
        for entry, animal in zip(objects[example.name], example.animals, strict=True):
            assert entry['keypoints'] == pytest.approx([v for p in animal.points for v in p])


@pytest.mark.parametrize('kind', ['rectangle', 'any'])
def test_points_of_cvat_without_skeletons(kind, tmp_path):
    """Labels of single points, which belong together by their groups.

    Labels of `any` type, the default of CVAT, are keypoints if there are points with them.
    """
    examples = exports.examples()
    path = exports.write_cvat_xml(tmp_path / 'export', examples, True)
    text = path.read_text()
    for name in NAMES:
        text = text.replace(f'<name>{name}</name>', f'<name>{name}</name><!-- -->')
    text = text.replace('<parent>mouse</parent>', '').replace('<type>skeleton</type>', '')
    if kind == 'any':
        text = text.replace('<type>points</type>', '<type>any</type>')
    text = text.replace('<name>mouse</name>', f'<name>mouse</name><type>{kind}</type>')
    lines, group = [], ''
    for line in text.splitlines():
        if '<skeleton' in line:
            group = line.partition('group_id="')[2].partition('"')[0]
        elif '<points' in line:
            lines.append(line.replace('<points ', f'<points group_id="{group}" '))
        elif '</skeleton' not in line:
            lines.append(line)
    path.write_text('\n'.join(lines))
    main([str(path), str(tmp_path / 'out')])
    _, objects = read_split(tmp_path / 'out', 'train')
    for example in examples[:4]:
        for entry, animal in zip(objects[f'Train/{example.name}'], example.animals, strict=True):
            assert entry['keypoints'] == [v for point in animal.points for v in point]
            assert entry['bbox'] == list(animal.box)


def test_unnamed_keypoints_of_yolo(tmp_path, capsys):
    """Without names, keypoints are numbered; flip pairs are those of `flip_idx`."""
    path = exports.write_yolo(tmp_path / 'export', exports.examples())
    path.write_text(path.read_text().partition('kpt_names')[0])
    (tmp_path / 'export/labels/train/frame_0.txt').unlink()
    line = tmp_path / 'export/labels/train/frame_1.txt'
    line.write_text(line.read_text() + line.read_text().splitlines()[0] + '\n')
    main([str(path), str(tmp_path / 'out')])
    printed = capsys.readouterr().out
    assert 'are called keypoint_1 to keypoint_4: set them with --keypoints' in printed
    assert '1 images have no label file' in printed
    assert '1 lines that repeat a line' in printed
    info = read_metainfo(tmp_path / 'out/metainfo.py')
    assert info['flip_indices'] == [0, 2, 1, 3]
    main([str(path), str(tmp_path / 'named'), '--keypoints', 'a', 'b', 'c', 'd'])
    assert list(read_metainfo(tmp_path / 'named/metainfo.py')['keypoint_name2id']) == list('abcd')


def test_boxes_of_cvat(tmp_path, capsys):
    """The label of a box differs from that of the skeleton; other shapes are left out."""
    examples = exports.examples()
    path = exports.write_cvat_xml(tmp_path / 'export', examples, True)
    text = path.read_text().replace('<box label="mouse"', '<box label="mouse box"')
    first, rest = text.split('</image>', 1)
    first = first.replace(' group_id="1"', '')  # frame_0: its box is in no group
    second, rest = rest.split('</image>', 1)
    second = second.replace('group_id="2"', 'group_id="1"')  # frame_1: two animals in a group
    path.write_text('</image>'.join([first, second, rest]))
    main([str(path), str(tmp_path / 'out')])
    assert '3 shapes are left out: they are neither' in capsys.readouterr().out
    _, objects = read_split(tmp_path / 'out', 'train')
    for index, example in enumerate(examples[:4]):
        for entry, animal in zip(objects[f'Train/{example.name}'], example.animals, strict=True):
            points = np.array(animal.points)
            box = animal.box if index > 1 else expected_box(points[points[:, 2] > 0])
            assert entry['bbox'] == pytest.approx(box)


def test_boxes_and_categories_of_cvat_coco(tmp_path, capsys):
    """Boxes that CVAT computes are replaced; objects have the category of their box."""
    examples = exports.examples()
    folder = exports.write_cvat_coco(tmp_path / 'export', examples)
    path = folder / 'annotations/person_keypoints_train.json'
    content = json.loads(path.read_text())
    content['categories'].append(dict(id=2, name='mouse box', supercategory=''))
    for entry in content['annotations']:
        points = np.reshape(entry['keypoints'], (-1, 3))
        points = points[points[:, 2] > 0, :2]
        entry['bbox'] = np.round([*points.min(0), *np.ptp(points, 0)], 2).tolist()
        entry['category_id'] = 2
    box = dict(id=99, image_id=1, category_id=2, bbox=[1, 2, 3, 4], area=12, iscrowd=0)
    content['annotations'].append(box)
    path.write_text(json.dumps(content))
    main([str(folder), str(tmp_path / 'out')])
    assert '1 annotations of categories without keypoints are left out' in capsys.readouterr().out
    _, objects = read_split(tmp_path / 'out', 'train')
    for example in examples[:4]:
        for entry, animal in zip(objects[f'train/{example.name}'], example.animals, strict=True):
            points = np.array(animal.points)
            assert entry['keypoints'] == points.ravel().tolist()
            assert entry['category_id'] == 1
            assert entry['bbox'] == pytest.approx(expected_box(points[points[:, 2] > 0]))


def test_several_files_with_different_keypoints(tmp_path):
    paths = [exports.write_yolo(tmp_path / name, exports.examples()) for name in 'ab']
    text = paths[1].read_text()
    for changed, message in (
        (text.replace('[0, 2, 1, 3]', '[0, 1, 2, 3]'), 'b/data.yaml has other flip pairs than'),
        (text.replace('tail', 'back'), 'b/data.yaml has the keypoints nose, .*, back: expected'),
    ):
        paths[1].write_text(changed)
        with pytest.raises(DatasetError, match=message):
            main([*map(str, paths), str(tmp_path / 'out')])
    paths[1].write_text(text)
    main([*map(str, paths), str(tmp_path / 'out')])
    assert len(read_split(tmp_path / 'out', 'train')[0]) == 8
    paths[1].write_text(text.replace('flip_idx: [0, 2, 1, 3]\n', ''))
    main([*map(str, reversed(paths)), str(tmp_path / 'pairs of one')])
    info = read_metainfo(tmp_path / 'pairs of one/metainfo.py')
    assert info['flip_indices'] == [0, 2, 1, 3]


def test_images_in_several_splits(tmp_path, capsys):
    """A note if images are for training and validation; an error if one is listed twice."""
    path = exports.write_yolo(tmp_path / 'export', exports.examples())
    text = path.read_text()
    path.write_text(text.replace('val: images/val', 'val: images/train'))
    main([str(path), str(tmp_path / 'out')])
    assert '4 images are for training and for validation' in capsys.readouterr().out
    path.write_text(text.replace('val: images/val', '').replace('images/train', '[images, images]'))
    with pytest.raises(DatasetError, match='the same image as'):
        main([str(path), str(tmp_path / 'other')])


def test_layouts_of_yolo(tmp_path):
    """The key `validation`, lists of images, linked folders, hidden files, decimal classes."""
    path = exports.write_yolo(tmp_path / 'export', exports.examples())
    text = path.read_text().replace('val: images/val', 'validation: val.txt')
    path.write_text(text)
    lines = [f'{start}images/val/frame_{k}.png' for k, start in ((4, 'data/'), (5, './'))]
    path.with_name('val.txt').write_text('\n'.join(lines))
    for name in ('images', 'labels'):
        shutil.move(tmp_path / 'export' / name / 'train', tmp_path / name)
        (tmp_path / 'export' / name / 'train').mkdir()
        (tmp_path / 'export' / name / 'train/linked').symlink_to(tmp_path / name)
    (tmp_path / 'images/._frame_0.png').write_bytes(b'of macOS')
    label = tmp_path / 'labels/frame_0.txt'
    label.write_text(label.read_text().replace('0 ', '0.0 ', 1))
    main([str(path), str(tmp_path / 'out')])
    images, objects = read_split(tmp_path / 'out', 'train')
    assert sorted(images) == [f'train/linked/frame_{number}.png' for number in range(4)]
    assert sum(map(len, objects.values())) == 6
    assert len(read_split(tmp_path / 'out', 'val')[0]) == 2


@pytest.mark.parametrize('embed', [True, False])
def test_splits_of_sleap(embed, tmp_path):
    """Files of `Labels.make_training_splits`."""
    need('sleap')
    sources = exports.write_sleap(tmp_path / 'export', exports.examples(False), embed)
    sources = [path.rename(path.with_name(path.name.removeprefix('mice.'))) for path in sources]
    assert [path.name.partition('.')[0] for path in sources] == ['train', 'val']
    main([*map(str, sources), str(tmp_path / 'out')])
    sizes = [len(read_split(tmp_path / 'out', split)[0]) for split in ('train', 'val')]
    assert sizes == [4, 2]
    with pytest.raises(DatasetError, match='the same image as'):
        main([*map(str, sources), str(sources[1]), str(tmp_path / 'other')])


def test_hidden_video_of_sleap(tmp_path):
    """The names of frames are inside of the output."""
    need('sleap')
    import sleap_io

    path = exports.write_sleap_analysis(tmp_path / 'export', exports.examples(False))
    video = path.with_name('clip.avi').rename(path.with_name('.clip.avi'))
    labels = sleap_io.load_analysis_h5(str(path), video=str(video))
    for frame in labels:
        frame.instances = [
            sleap_io.Instance.from_numpy(x.numpy(), skeleton=labels.skeleton)
            for x in frame.instances
        ]
    labels.save(str(tmp_path / 'export/mice.slp'), embed=False, verbose=False)
    main([str(tmp_path / 'export/mice.slp'), str(tmp_path / 'out'), '--val-share', '0'])
    images, _ = read_split(tmp_path / 'out', 'train')
    assert sorted(images) == [f'clip/{number:06d}.png' for number in range(6)]


def test_longest_path_of_an_image(tmp_path):
    """An image with the whole path is preferred to one with the same name in another folder."""
    for name in ('images/frame.png', 'other/clip/frame.png'):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    folders = [tmp_path / 'images', tmp_path / 'other']
    assert find_image('clip/frame.png', folders, '') == tmp_path / 'other/clip/frame.png'
    assert find_image('a/frame.png', folders, '') == tmp_path / 'images/frame.png'


def replaced(path: str, old: str, new: str) -> Callable[[Path], None]:
    """Return a function that replaces the first occurrence of a text in a file of an export."""

    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new, 1))

    return change


def removed(path: str) -> Callable[[Path], None]:
    return lambda folder: (folder / path).unlink()


def line_of(path: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    """Return a function that changes the words of the first line of a label file."""

    def apply(folder: Path) -> None:
        first, *others = (folder / path).read_text().splitlines()
        (folder / path).write_text('\n'.join([' '.join(change(first.split())), *others]))

    return apply


TRAIN = 'labels/train/frame_1.txt'
#: a list of 10^10 values
ALIASES = (
    'a0: &a0 x\n'
    + ''.join(f'a{k}: &a{k} [{", ".join([f"*a{k - 1}"] * 10)}]\n' for k in range(1, 11))
    + 'kpt_shape: *a10\n'
)
CSV = 'labeled-data/clip/CollectedData_me.csv'


def with_first_cell(text: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / CSV).read_text().splitlines()
        cells = lines[4].split(',')
        lines[4] = ','.join([*cells[:3], text, *cells[4:]])
        (folder / CSV).write_text('\n'.join(lines))

    return change


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('yolo', line_of(TRAIN, lambda w: w[:-1]), r'frame_1.txt:1: 16 values: expected 17'),
        ('yolo', line_of(TRAIN, lambda w: ['7', *w[1:]]), r':1: the class is .7.: expected one of'),
        ('yolo', line_of(TRAIN, lambda w: ['9' * 5000, *w[1:]]), 'the class is .999.*a finite'),
        ('yolo', replaced('data.yaml', '[4, 3]', '[999999999, 3]'), 'kpt_shape is .999999999, 3.'),
        ('yolo', replaced('data.yaml', 'kpt_shape: [4, 3]', ALIASES), 'not YAML: its aliases'),
        ('yolo', replaced('data.yaml', '[4, 3]', '&a [*a]'), r'kpt_shape is \[\[...\]\]'),
        ('yolo', line_of(TRAIN, lambda w: [*w[:5], 'nan', *w[6:]]), ':1: a coordinate is .nan.'),
        ('yolo', line_of(TRAIN, lambda w: [*w[:5], '40.5', *w[6:]]), 'is 40.5: expected a number'),
        ('yolo', line_of(TRAIN, lambda w: [*w[:7], '3', *w[8:]]), 'the visibility is 3: expected'),
        ('yolo', line_of(TRAIN, lambda w: [*w[:3], '0', *w[4:]]), 'expected positive numbers'),
        ('yolo', replaced('data.yaml', 'kpt_shape', 'shape'), 'kpt_shape is None: expected'),
        ('yolo', replaced('data.yaml', '[0, 2, 1, 3]', '[0, 2, 3, 1]'), 'is not symmetric'),
        ('yolo', replaced('data.yaml', 'images/val', 'images/no'), 'val is .images/no., and there'),
        (
            'yolo',
            replaced('data.yaml', '[0, 2, 1, 3]', '[0, 2, 1]'),
            'flip_idx is .0, 2, 1.: expected',
        ),
        (
            'yolo',
            replaced('data.yaml', 'images/val', 'v' * 5000),
            'val is .vv.*, and there is no such folder or file',
        ),
        ('yolo', replaced('data.yaml', 'nose', 'tail'), "two keypoints are called 'tail'"),
        ('label studio', removed('images/frame_2.png'), 'task 3: the image .* does not exist'),
        ('label studio', replaced('export.json', '"nose"', '"nase"'), "'nase' is not in --key"),
        ('label studio', replaced('export.json', '"x": ', '"u": '), 'x is None: expected a finite'),
        (
            'label studio',
            replaced('export.json', '"annotations"', '"other"'),
            'has no annotations: expected .* JSON, not JSON-MIN',
        ),
        ('label studio', replaced('export.json', '"y": ', '"y": NaN, "z": '), 'contains NaN'),
        (
            'label studio',
            replaced('export.json', '"original_width": 96', '"original_width": 90'),
            'the image has another size',
        ),
        ('cvat', replaced('annotations.xml', 'outside="0"', 'points=""'), 'is not XML'),
        (
            'cvat',
            replaced('annotations.xml', '<points label="tail"', '<points label="tall"'),
            "skeleton 1: the label of a keypoint is 'tall'",
        ),
        ('cvat', replaced('annotations.xml', 'width="96"', 'width="97"'), 'size is 97 x 64'),
        (
            'cvat with boxes',
            replaced('annotations.xml', '<box ', '<box rotation="30.00" '),
            'box in group 1: the box is rotated by 30 degrees',
        ),
        ('cvat', replaced('annotations.xml', 'width="96"', ''), 'width is None: expected a finite'),
        ('cvat', removed('images/Train/frame_1.png'), "image 'frame_1.png': the image"),
        (
            'cvat coco',
            replaced('annotations/person_keypoints_val.json', '"keypoints": [', '"points": ['),
            '0 categories with keypoints',
        ),
        ('cvat coco', removed('images/val/frame_5.png'), 'image 2: the image'),
        ('deeplabcut', replaced(CSV, 'frame_0', 'f' * 5000), ':5: the image .*ff.* does not exist'),
        ('deeplabcut', with_first_cell(''), ':5: the keypoint .nose. has x .. and y'),
        ('deeplabcut', with_first_cell('1e400'), ':5: a coordinate of nose is .1e400.'),
        ('deeplabcut', with_first_cell('4,5'), ':5: 17 coordinates: expected 16'),
        ('deeplabcut', with_first_cell('4' * 200_000), 'not a table in CSV: field larger than'),
        ('deeplabcut', with_first_cell('4000'), ":5: the keypoint 'nose' is at .4000, .*64 pixels"),
        ('deeplabcut', replaced(CSV, 'bodyparts', 'parts'), 'expected scorer, bodyparts, coords'),
        ('deeplabcut', replaced(CSV, 'x,y', 'x,likelihood'), 'labels and not of predictions'),
        ('deeplabcut', removed('labeled-data/clip/frame_0.png'), ':5: the image'),
    ],
)
def test_invalid_exports(name, change, message, tmp_path):
    """The message names the file and the line or entry, and nothing is written."""
    write, occluded, *_ = FORMATS[name]
    (source,) = write(tmp_path / 'export', exports.examples(occluded))
    change(tmp_path / 'export')
    names = ['--keypoints', *NAMES] if 'studio' in name else []
    with pytest.raises(DatasetError, match=message) as error:
        main([str(source), str(tmp_path / 'out'), *names])
    assert len(str(error.value).splitlines()) == 1
    assert str(tmp_path / 'export') in str(error.value)
    assert os.listdir(tmp_path) == ['export']


def test_invalid_options(tmp_path):
    source = str(exports.write_yolo(tmp_path / 'export', exports.examples()))
    out = tmp_path / 'out'
    for options, message in (
        (['--val-share', '0.3'], 'has 2 images for validation; remove the option'),
        (['--val-share', '1'], 'expected a number from 0 to below 1'),
        (['--box-padding', '-1'], '--box-padding -1: expected'),
        (['--keypoints', 'a', 'b'], 'expected 4 names'),
        (['--images', str(tmp_path / 'none')], 'there is no such folder'),
    ):
        with pytest.raises((ConfigError, DatasetError), match=message):
            main([source, str(out), *options])
    with pytest.raises(DatasetError, match=r"has the suffix '.png': expected data.yaml"):
        main([str(tmp_path / 'export/images/train/frame_0.png'), str(out)])
    with pytest.raises(DatasetError, match='expected the folder of an export'):
        main([str(tmp_path / 'export/labels'), str(out)])
    assert os.listdir(tmp_path) == ['export']
    out.mkdir()
    (out / 'mine').touch()
    with pytest.raises(WorkDirError, match='already exists: choose another name'):
        main([source, str(out)])
    assert os.listdir(out) == ['mine']


def test_sleap_without_its_images(tmp_path):
    need('sleap')
    sources = exports.write_sleap(tmp_path / 'export', exports.examples(False), embed=False)
    frames = tmp_path / 'export/frames'
    shutil.move(frames, tmp_path / 'moved')
    with pytest.raises(DatasetError, match='frame 0 of video 1: the image .* does not exist'):
        main([*map(str, sources), str(tmp_path / 'out')])
    main([*map(str, sources), str(tmp_path / 'out'), '--images', str(tmp_path / 'moved')])
    assert len(read_split(tmp_path / 'out', 'train')[0]) == 4
    (tmp_path / 'export/a.slp').write_bytes(b'no HDF5')
    with pytest.raises(DatasetError, match='cannot read the labels .*a.slp'):
        main([str(tmp_path / 'export/a.slp'), str(tmp_path / 'other')])


def test_missing_reader(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'sleap_io', None)
    (tmp_path / 'a.slp').touch()
    message = r"needs sleap_io: pip install 'pose_backbones\[datasets\]'"
    with pytest.raises(ConfigError, match=message):
        main([str(tmp_path / 'a.slp'), str(tmp_path / 'out')])
