"""Read CVAT's exports `CVAT for images 1.1` and `COCO Keypoints 1.0`.

Source: https://docs.cvat.ai/docs/manual/advanced/xml_format/ and
https://docs.cvat.ai/docs/manual/advanced/formats/format-coco-keypoints/.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ...errors import DatasetError, list_names, shown
from ...utils.files import read_text
from ..coco import CocoFile, has_fields, keypoint_count, one_of, unique, valid_visibility
from .labelled import (
    MISSING,
    OCCLUDED,
    VISIBLE,
    LabelledDataset,
    LabelledImage,
    LabelledObject,
    Point,
    check_names,
    choose_names,
    find_image,
    finite,
    replace_names,
    split_name,
)

_ROUNDED = 0.02  # largest error of boxes that CVAT has rounded to 0.01 pixels


def read_cvat_xml(path: Path, images: Path | None, given: Sequence[str] | None) -> LabelledDataset:
    """Read an export of CVAT in the format `CVAT for images 1.1`.

    A keypoint that is `outside` is not labelled, and one that is `occluded` is occluded. A box in
    the group of one skeleton is its box. Points without a skeleton, one keypoint each, belong to
    the object of their group; without groups, to one object of the image. Other shapes are left
    out.

    Args:
        path: The file, `annotations.xml`.
        images: Folder of the images; None: `images` beside the file.
        given: Names of the keypoints, in order; None: the order of the labels in the file.

    Raises:
        DatasetError: If the file is not valid. The message contains file, image and value.
    """
    root = _parse(path)
    skeletons, limbs, single = _labels(root, path)
    labels = next(iter(skeletons.values())) if skeletons else single
    names = choose_names(labels, given, str(path))
    edges = [(names.index(a), names.index(b)) for a, b in limbs]
    dataset = LabelledDataset(names, [], edges, list(skeletons) or ['object'])
    entries = root.findall('image')
    if not entries:
        raise DatasetError(
            f'{path} has no images: expected the format CVAT for images 1.1, not for video'
        )
    unused = 0
    for entry in entries:
        where = f'{path}, image {shown(entry.get("name"))}'
        name, subset = _attribute(entry, 'name', where), entry.get('subset')
        size = [int(finite(entry.get(field), where, field)) for field in ('width', 'height')]
        folders = [images] if images is not None else [path.parent / 'images', path.parent]
        if subset:
            folders = [folder / subset for folder in folders] + folders
        file = find_image(name, folders, where)
        image = LabelledImage([], where, file, size=(size[0], size[1]), split=split_name(subset))
        image.objects, count = _objects(entry, where, names, skeletons)
        unused += count
        dataset.images.append(image)
    if unused:
        dataset.notes.append(
            f'{path}: {unused} shapes are left out: they are neither keypoints nor the only box in '
            'the group of one object'
        )
    return dataset


def _parse(path: Path) -> Element:
    text = read_text(path, 'annotations')
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise DatasetError(f'{path}: it declares a document type, which CVAT does not write')
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DatasetError(f'{path} is not XML: {error}') from error
    if root.tag != 'annotations':
        raise DatasetError(f'{path} has the element {root.tag}: expected annotations, as of CVAT')
    return root


def _labels(
    root: Element, path: Path
) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, str]], list[str]]:
    """Return skeleton → its keypoints, the limbs by names, and the labels of other points."""
    listed = root.findall('meta//labels/label')
    kinds: dict[str, str] = {}
    parents: dict[str, list[str]] = {}
    limbs: list[tuple[str, str]] = []
    for label in listed:
        name, parent = label.findtext('name'), label.findtext('parent')
        if not name:
            raise DatasetError(f'{path}: a label has no name: expected <name>')
        if parent:
            parents.setdefault(parent, []).append(name)
            continue
        kinds[name] = label.findtext('type') or 'any'
        if kinds[name] == 'skeleton' and not limbs:
            limbs = _limbs(label.findtext('svg') or '', path)
    skeletons = {
        name: check_names(parents.get(name, []), f'{path}, skeleton {name}')
        for name, kind in kinds.items()
        if kind == 'skeleton'
    }
    if len(set(skeletons.values())) > 1:
        raise DatasetError(
            f'{path}: the skeletons {list_names(skeletons)} have different keypoints: expected one '
            'set of keypoints in a dataset'
        )
    used = {points.get('label') for points in root.iterfind('image/points')}
    single = [
        name for name, kind in kinds.items() if kind == 'points' or (kind == 'any' and name in used)
    ]
    if not skeletons and not single:
        raise DatasetError(
            f'{path}: there are no labels of skeletons or points in <meta>: {list_names(kinds)}'
        )
    names = next(iter(skeletons.values()), ())
    return skeletons, [limb for limb in limbs if set(limb) <= set(names)], single


def _limbs(svg: str, path: Path) -> list[tuple[str, str]]:
    """Return the limbs of a skeleton from its drawing, by the names of the keypoints."""
    try:
        drawing = ElementTree.fromstring(f'<svg>{svg}</svg>')
    except ElementTree.ParseError as error:
        raise DatasetError(f'{path}: the <svg> of a skeleton is not XML: {error}') from error
    names = {
        node.get('data-node-id'): node.get('data-label-name') or ''
        for node in drawing.iter('circle')
    }
    return [
        (names.get(line.get('data-node-from'), ''), names.get(line.get('data-node-to'), ''))
        for line in drawing.iter('line')
    ]


def _objects(
    entry: Element, where: str, names: tuple[str, ...], skeletons: dict[str, tuple[str, ...]]
) -> tuple[list[LabelledObject], int]:
    """Return the objects of an image, and the number of shapes that are not used."""
    objects: list[LabelledObject] = []
    by_group: dict[str, list[LabelledObject]] = {}
    boxes: dict[str, list[Element]] = {}
    unused = 0
    for number, element in enumerate(entry):
        place = f'{where}, {element.tag} {number + 1}'
        group = element.get('group_id') or ''
        if element.tag == 'skeleton':
            label = _attribute(element, 'label', place)
            if label not in skeletons:
                raise DatasetError(
                    f'{place}: the label is {shown(label)}: expected {list_names(skeletons)}'
                )
            item = LabelledObject([MISSING] * len(names), place, label)
            for child in element.findall('points'):
                _add_point(item, child, place, names)
            objects.append(item)
            by_group.setdefault(group, []).append(item)
        elif element.tag == 'points' and not skeletons:
            if group not in by_group:
                item = LabelledObject([MISSING] * len(names), place)
                by_group[group] = [item]
                objects.append(item)
            _add_point(by_group[group][0], element, place, names)
        elif element.tag == 'box' and group:
            boxes.setdefault(group, []).append(element)
        elif element.tag != 'tag':  # a label of the whole image
            unused += 1
    for group, elements in boxes.items():
        items = by_group.get(group, [])
        if len(items) == len(elements) == 1:
            items[0].box = _box(elements[0], f'{where}, box in group {group}')
        else:
            unused += len(elements)
    return objects, unused


def _box(element: Element, where: str) -> tuple[float, float, float, float]:
    """Return x, y, width and height of a box."""
    rotation = finite(element.get('rotation') or 0, where, 'rotation')
    if rotation:
        raise DatasetError(f'{where}: the box is rotated by {rotation:g} degrees: expected 0')
    left, top, right, bottom = (
        finite(element.get(field), where, field) for field in ('xtl', 'ytl', 'xbr', 'ybr')
    )
    return left, top, right - left, bottom - top


def _add_point(item: LabelledObject, element: Element, where: str, names: tuple[str, ...]) -> None:
    """Set a keypoint of an object."""
    label = _attribute(element, 'label', where)
    if label not in names:
        raise DatasetError(
            f'{where}: the label of a keypoint is {shown(label)}: expected one of '
            f'{list_names(names)}'
        )
    number = names.index(label)
    if item.points[number] != MISSING:
        raise DatasetError(
            f'{where}: the keypoint {shown(label)} is labelled twice in its object: expected one; '
            'objects without a skeleton need groups'
        )
    item.points[number] = _point(element, f'{where}, {label}')


def _point(element: Element, where: str) -> Point:
    text = _attribute(element, 'points', where)
    values = [finite(word, where, 'a coordinate') for word in text.replace(';', ',').split(',')]
    if len(values) != 2:
        raise DatasetError(f'{where}: points is {shown(text)}: expected x and y of one point')
    if element.get('outside') == '1':
        return MISSING
    return values[0], values[1], OCCLUDED if element.get('occluded') == '1' else VISIBLE


def _attribute(element: Element, name: str, where: str) -> str:
    value = element.get(name)
    if not value:
        raise DatasetError(f'{where}: the attribute {name} is missing')
    return value


def _is_extent(box: tuple[float, float, float, float], points: list[Point]) -> bool:
    """Return whether a box, which CVAT rounds, is the extent of the labelled keypoints."""
    xs = [x for x, _, visibility in points if visibility]
    ys = [y for _, y, visibility in points if visibility]
    if not xs:
        return False
    extent = (min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))
    return all(abs(a - b) <= _ROUNDED for a, b in zip(box, extent))


def read_coco(
    path: Path, file: CocoFile, images: Path | None, given: Sequence[str] | None
) -> LabelledDataset:
    """Read an export of CVAT in the format `COCO Keypoints 1.0`, or another COCO file.

    The visibility is that of the file. A box without an area is replaced, and so is a box that is
    the extent of the labelled keypoints, which CVAT writes for skeletons without a box. An object
    with keypoints may be of a category without keypoints: that of its box in CVAT.

    Args:
        path: The `.json` file. Its name may contain the split, as in `person_keypoints_train.json`.
        file: Its content.
        images: Folder of the images; None: `images` beside the file or its folder.
        given: Names of the keypoints; None: those of the file.

    Raises:
        DatasetError: If the file is not valid. The message contains file, entry and value.
    """
    categories = file.keypoint_categories()
    if not categories or len({tuple(entry['keypoints']) for entry in categories}) > 1:
        raise DatasetError(
            f'{path}: {len(categories)} categories with keypoints: expected one set of keypoints'
        )
    names = replace_names(categories[0]['keypoints'], given, str(path))
    file.check('category', categories, has_fields('id'))
    limbs = [(a - 1, b - 1) for a, b in categories[0].get('skeleton') or []]
    limbs = [limb for limb in limbs if all(0 <= index < len(names) for index in limb)]
    by_id = {entry['id']: str(entry.get('name') or 'object') for entry in categories}
    dataset = LabelledDataset(names, [], limbs)
    dataset.categories = list(by_id.values())
    entries = file.entries('images', empty=False)
    file.check('image', entries, has_fields('id', 'file_name', 'width', 'height'), unique('id'))
    split = split_name(path.stem)
    suffix = path.stem.rpartition('_')[2]
    roots = [images] if images is not None else [path.parent.parent / 'images', path.parent]
    by_image: dict[object, LabelledImage] = {}
    for entry in entries:
        where = f'{path}, image {entry["id"]}'
        found = find_image(entry['file_name'], [*(root / suffix for root in roots), *roots], where)
        size = (int(entry['width']), int(entry['height']))
        by_image[entry['id']] = LabelledImage([], where, found, size=size, split=split)
    annotations = file.entries('annotations')
    file.check('annotation', annotations, has_fields('id', 'image_id', 'category_id'))
    objects = [
        entry for entry in annotations if entry['category_id'] in by_id or entry.get('keypoints')
    ]
    if len(objects) < len(annotations):
        dataset.notes.append(
            f'{path}: {len(annotations) - len(objects)} annotations of categories without '
            'keypoints are left out'
        )
    file.check(
        'annotation',
        objects,
        has_fields('keypoints'),
        one_of('image_id', by_image, 'expected the id of an image of the file'),
        keypoint_count(len(names), 'of the category'),
        valid_visibility,
    )
    for entry in objects:
        values, where = entry['keypoints'], f'{path}, annotation {entry["id"]}'
        points = [
            (float(x), float(y), int(v)) if v else MISSING
            for x, y, v in zip(values[::3], values[1::3], values[2::3])
        ]
        category = by_id.get(entry['category_id'], dataset.categories[0])
        item = LabelledObject(points, where, category)
        item.crowd = bool(entry.get('iscrowd'))
        box = entry.get('bbox')
        if isinstance(box, list) and len(box) == 4:
            x, y, w, h = (finite(value, where, 'a value of the bbox') for value in box)
            if min(w, h) > 0 and not _is_extent((x, y, w, h), points):
                item.box = (x, y, w, h)
                area = entry.get('area')
                if area is not None:
                    item.area = finite(area, where, 'the area')
        by_image[entry['image_id']].objects.append(item)
    dataset.images = list(by_image.values())
    return dataset
