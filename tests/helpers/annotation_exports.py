"""Small exports of annotation tools, with the same images and keypoints in each format."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

NAMES = ('nose', 'left_hand', 'right_hand', 'tail')
LIMBS = ((0, 1), (0, 2), (0, 3))
SIZE = (96, 64)
#: number of images, and which of them are for validation if the format has splits
COUNT, VAL = 6, (4, 5)


@dataclass
class Animal:
    """Keypoints (4, 3) as x, y and visibility, and the box as x, y, width and height."""

    points: list[tuple[float, float, int]]
    box: tuple[float, float, float, float]


@dataclass
class Example:
    """An image, its animals, and its split."""

    name: str
    pixels: np.ndarray
    animals: list[Animal] = field(default_factory=list)
    split: str = 'train'


def examples(occluded: bool = True) -> list[Example]:
    """Return the images: one or two animals each, with coordinates in quarters of a pixel.

    Args:
        occluded: Whether some keypoints have visibility 1; not all formats have this.
    """
    random = np.random.default_rng(3)
    result = []
    for index in range(COUNT):
        pixels = random.integers(0, 255, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        example = Example(f'frame_{index}.png', pixels, split='val' if index in VAL else 'train')
        for number in range(1 + index % 2):
            corner = np.array([4 + 44 * number, 6.0])
            points = corner + random.integers(8, 140, (4, 2)) / 4
            flags = [2, 2, 1 if occluded and index == 2 else 2, 0 if index == 3 else 2]
            labelled = [
                (float(x), float(y), flag) if flag else (0.0, 0.0, 0)
                for (x, y), flag in zip(points, flags)
            ]
            example.animals.append(Animal(labelled, (corner[0], corner[1], 40.0, 48.0)))
        result.append(example)
    return result


def write_images(folder: Path, images: list[Example]) -> None:
    """Write the images as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        assert cv2.imwrite(str(folder / image.name), image.pixels)


def write_yolo(folder: Path, images: list[Example], dimensions: int = 3) -> Path:
    """Write a pose dataset of YOLO with six decimals, and return its `data.yaml`."""
    for split in ('train', 'val'):
        own = [image for image in images if image.split == split]
        write_images(folder / 'images' / split, own)
        labels = folder / 'labels' / split
        labels.mkdir(parents=True)
        for image in own:
            lines = []
            for animal in image.animals:
                x, y, w, h = animal.box
                values = [(x + w / 2) / SIZE[0], (y + h / 2) / SIZE[1], w / SIZE[0], h / SIZE[1]]
                words = [f'{value:.6f}' for value in values]
                for px, py, flag in animal.points:
                    words += [f'{px / SIZE[0]:.6f}', f'{py / SIZE[1]:.6f}', str(flag)][:dimensions]
                lines.append(f'0 {" ".join(words)}\n')
            (labels / image.name).with_suffix('.txt').write_text(''.join(lines))
    (folder / 'data.yaml').write_text(
        f'path: .\ntrain: images/train\nval: images/val\nkpt_shape: [4, {dimensions}]\n'
        'flip_idx: [0, 2, 1, 3]\nnames:\n  0: mouse\n'
        f'kpt_names:\n  0: [{", ".join(NAMES)}]\n'
    )
    return folder / 'data.yaml'


def write_label_studio(folder: Path, images: list[Example], boxes: bool = True) -> Path:
    """Write Label Studio's JSON export; the keypoints are children of the boxes."""
    write_images(folder / 'images', images)
    tasks = []
    for number, image in enumerate(images, 1):
        result = []

        def add(kind: str, label: str, value: dict, parent: str | None = None) -> str:
            region = f'r{len(result)}'  # noqa: B023
            width = {'width': 0.5} if kind == 'keypointlabels' else {}
            entry = dict(
                original_width=SIZE[0],
                original_height=SIZE[1],
                image_rotation=0,
                value={**width, **value, kind: [label]},
                id=region,
                from_name='tag',
                to_name='image',
                type=kind,
                origin='manual',
            )
            result.append(entry | ({'parentID': parent} if parent else {}))  # noqa: B023
            return region

        for animal in image.animals:
            x, y, w, h = (100 * v / SIZE[i % 2] for i, v in enumerate(animal.box))
            box = None
            if boxes:
                box = add('rectanglelabels', 'mouse', dict(x=x, y=y, width=w, height=h, rotation=0))
            for name, (px, py, flag) in zip(NAMES, animal.points):
                if flag:
                    value = dict(x=100 * px / SIZE[0], y=100 * py / SIZE[1])
                    add('keypointlabels', name, value, box)
        tasks.append(
            dict(
                id=number,
                annotations=[
                    dict(id=number, was_cancelled=False, ground_truth=False, result=result)
                ],
                file_upload=f'0a1b2c3d-{image.name}',
                data=dict(image=f'/data/upload/1/0a1b2c3d-{image.name}'),
                project=1,
            )
        )
    (folder / 'export.json').write_text(json.dumps(tasks))
    return folder / 'export.json'


def write_cvat_xml(folder: Path, images: list[Example], boxes: bool = False) -> Path:
    """Write CVAT's export for images 1.1, with skeletons and two decimals."""
    root = ElementTree.Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    task = ElementTree.SubElement(ElementTree.SubElement(root, 'meta'), 'task')
    labels = ElementTree.SubElement(task, 'labels')

    def label(name: str, kind: str, **more: str) -> None:
        element = ElementTree.SubElement(labels, 'label')
        for key, text in dict(name=name, color='#ff0000', type=kind, **more).items():
            ElementTree.SubElement(element, key).text = text

    svg = ''.join(
        f'<line x1="1" y1="1" x2="2" y2="2" data-type="edge" data-node-from="{a + 1}" '
        f'data-node-to="{b + 1}"></line>'
        for a, b in LIMBS
    ) + ''.join(
        f'<circle r="1" cx="1" cy="1" data-type="element node" data-element-id="{k}" '
        f'data-node-id="{k}" data-label-name="{name}"></circle>'
        for k, name in enumerate(NAMES, 1)
    )
    label('mouse', 'skeleton', svg=svg)
    for name in NAMES:
        label(name, 'points', parent='mouse')
    for number, image in enumerate(images):
        subset = {'train': 'Train', 'val': 'Validation'}[image.split]
        write_images(folder / 'images' / subset, [image])
        entry = ElementTree.SubElement(
            root,
            'image',
            dict(
                id=str(number),
                name=image.name,
                subset=subset,
                width=str(SIZE[0]),
                height=str(SIZE[1]),
            ),
        )
        for group, animal in enumerate(image.animals, 1):
            common = dict(label='mouse', source='manual', z_order='0')
            common |= {'group_id': str(group)} if boxes else {}
            if boxes:
                x, y, w, h = animal.box
                corners = dict(xtl=x, ytl=y, xbr=x + w, ybr=y + h)
                attributes = {key: f'{value:.2f}' for key, value in corners.items()}
                ElementTree.SubElement(entry, 'box', {**common, **attributes, 'occluded': '0'})
            skeleton = ElementTree.SubElement(entry, 'skeleton', common)
            for name, (px, py, flag) in zip(NAMES, animal.points):
                ElementTree.SubElement(
                    skeleton,
                    'points',
                    dict(
                        label=name,
                        source='manual',
                        outside=str(int(flag == 0)),
                        occluded=str(int(flag == 1)),
                        points=f'{px:.2f},{py:.2f}',
                    ),
                )
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / 'annotations.xml', 'utf-8', True)
    return folder / 'annotations.xml'


def write_cvat_coco(folder: Path, images: list[Example]) -> Path:
    """Write CVAT's export COCO Keypoints 1.0: a file and a folder for each subset."""
    (folder / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        own = [image for image in images if image.split == split]
        write_images(folder / 'images' / split, own)
        entries, annotations = [], []
        for image in own:
            entries.append(
                dict(id=len(entries) + 1, width=SIZE[0], height=SIZE[1], file_name=image.name,
                     license=0, flickr_url='', coco_url='', date_captured=0)
            )  # fmt: skip
            for animal in image.animals:
                annotations.append(
                    dict(id=len(annotations) + 1, image_id=len(entries), category_id=1,
                         segmentation=[], area=animal.box[2] * animal.box[3],
                         bbox=list(animal.box), iscrowd=0, attributes={'occluded': False},
                         keypoints=[value for point in animal.points for value in point],
                         num_keypoints=sum(flag > 0 for _, _, flag in animal.points))
                )  # fmt: skip
        content = dict(
            licenses=[dict(name='', id=0, url='')],
            info=dict(contributor='', date_created='', description='', url='', version='', year=''),
            categories=[
                dict(
                    id=1,
                    name='mouse',
                    supercategory='',
                    keypoints=list(NAMES),
                    skeleton=[[a + 1, b + 1] for a, b in LIMBS],
                )
            ],
            images=entries,
            annotations=annotations,
        )
        (folder / f'annotations/person_keypoints_{split}.json').write_text(json.dumps(content))
    return folder


def deeplabcut_rows(images: list[Example], animals: int) -> tuple[list[list[str]], list[list]]:
    """Return the columns (scorer, individual, body part, coordinate) and the values of the rows."""
    columns = [
        ['me', f'animal{number + 1}', name, axis]
        for number in range(animals)
        for name in NAMES
        for axis in 'xy'
    ]
    rows = []
    for image in images:
        values: list[float | None] = []
        for number in range(animals):
            points = (
                image.animals[number].points if number < len(image.animals) else [(0, 0, 0)] * 4
            )
            for x, y, flag in points:
                values += [x, y] if flag else [None, None]
        rows.append(values)
    return columns, rows


def write_deeplabcut(
    folder: Path, images: list[Example], animals: int = 2, hdf: bool = False
) -> Path:
    """Write a DeepLabCut project with one video, and return its `config.yaml`.

    Args:
        folder: Output directory.
        images: The images.
        animals: Number of animals; 1: a project for one animal.
        hdf: Whether to write the `.h5` file with pandas, in place of the `.csv` file.
    """
    video = folder / 'labeled-data/clip'
    write_images(video, images)
    columns, rows = deeplabcut_rows(images, animals)
    levels = ['scorer', 'individuals', 'bodyparts', 'coords']
    if animals == 1:
        levels.remove('individuals')
        columns = [[scorer, part, axis] for scorer, _, part, axis in columns]
    (folder / 'config.yaml').write_text(
        'Task: mice\nscorer: me\nbodyparts: MULTI!\n'
        'skeleton:\n- - nose\n  - left_hand\n- - nose\n  - right_hand\n- - nose\n  - tail\n'
    )
    if hdf:
        import pandas as pd

        index = pd.MultiIndex.from_tuples([('labeled-data', 'clip', x.name) for x in images])
        header = pd.MultiIndex.from_tuples([tuple(column) for column in columns], names=levels)
        frame = pd.DataFrame(np.array(rows, float), index=index, columns=header)
        frame.to_hdf(video / 'CollectedData_me.h5', key='df_with_missing', mode='w')
        return folder / 'config.yaml'
    with open(video / 'CollectedData_me.csv', 'w', newline='') as file:
        writer = csv.writer(file)
        for level, name in enumerate(levels):
            writer.writerow([name, '', '', *(column[level] for column in columns)])
        for image, values in zip(images, rows):
            cells = ['' if value is None else repr(value) for value in values]
            writer.writerow(['labeled-data', 'clip', image.name, *cells])
    return folder / 'config.yaml'


def write_sleap(folder: Path, images: list[Example], embed: bool = True) -> list[Path]:
    """Write SLEAP packages, one for each split, with sleap-io, and return their paths."""
    import sleap_io

    write_images(folder / 'frames', images)
    skeleton = sleap_io.Skeleton(
        nodes=list(NAMES), edges=[(NAMES[a], NAMES[b]) for a, b in LIMBS], name='mouse'
    )
    video = sleap_io.Video.from_filename([str(folder / 'frames' / x.name) for x in images])
    paths = []
    for split in ('train', 'val'):
        frames = []
        for index, image in enumerate(images):
            if image.split == split:
                instances = [sleap_instance(sleap_io, skeleton, x) for x in image.animals]
                frames.append(
                    sleap_io.LabeledFrame(video=video, frame_idx=index, instances=instances)
                )
        path = folder / (f'mice.{split}.pkg.slp' if embed else f'mice.{split}.slp')
        labels = sleap_io.Labels(frames)
        labels.save(str(path), embed='user' if embed else False, verbose=False)
        paths.append(path)
    return paths


def sleap_instance(sleap_io, skeleton, animal: Animal, track=None):
    """Return an instance of SLEAP."""
    points = [(x, y) if flag else (np.nan, np.nan) for x, y, flag in animal.points]
    return sleap_io.Instance.from_numpy(np.array(points), skeleton=skeleton, track=track)


def write_sleap_analysis(folder: Path, images: list[Example]) -> Path:
    """Write an analysis file of SLEAP and its video (lossless), and return the file."""
    import sleap_io

    folder.mkdir(parents=True, exist_ok=True)
    video_file = folder / 'clip.avi'
    writer = cv2.VideoWriter(str(video_file), cv2.VideoWriter_fourcc(*'FFV1'), 5, SIZE)
    assert writer.isOpened()
    for image in images:
        writer.write(image.pixels)
    writer.release()
    skeleton = sleap_io.Skeleton(
        nodes=list(NAMES), edges=[(NAMES[a], NAMES[b]) for a, b in LIMBS], name='mouse'
    )
    video = sleap_io.Video.from_filename(str(video_file))
    tracks = [sleap_io.Track('a'), sleap_io.Track('b')]
    frames = [
        sleap_io.LabeledFrame(
            video=video,
            frame_idx=index,
            instances=[
                sleap_instance(sleap_io, skeleton, animal, track)
                for animal, track in zip(image.animals, tracks)
            ],
        )
        for index, image in enumerate(images)
    ]
    path = folder / 'clip.analysis.h5'
    sleap_io.save_analysis_h5(sleap_io.Labels(frames), str(path))
    return path
