"""Tests of drawing boxes and IDs."""

import numpy as np
import pytest

from pose_backbones.visualization.labels import draw_box, draw_tags, identity_colour
from pose_backbones.visualization.overlay import RIM

GREY = 90


def ground(height=480, width=640):
    return np.full((height, width, 3), GREY, np.uint8)


def tagged(image, *places, numbers=None):
    draw_tags(image, np.array(places, float), range(len(places)) if numbers is None else numbers)
    return image


def extent(image, number=0):
    """Return left, top, right, bottom of the pixels with the colour of an ID."""
    rows, columns = np.nonzero((image == identity_colour(number)).all(2))
    return columns.min(), rows.min(), columns.max(), rows.max()


def test_box_position():
    image = ground()
    draw_box(image, np.array([100, 50, 200, 300]), 4)
    colour, rim = identity_colour(4), round((GREY + RIM[0]) / 2)
    assert extent(image, 4) == (100, 50, 200, 300)
    for y, x in ((50, 150), (300, 150), (170, 100), (170, 200)):
        assert tuple(image[y, x]) == colour
    for y, x in ((49, 150), (301, 150), (170, 99), (170, 201), (49, 99)):
        assert tuple(image[y, x]) == (rim,) * 3  # blended once, also at corners
    outside = image.copy()
    outside[48:303, 98:203] = GREY
    assert (outside == GREY).all()
    assert (image[60:290, 110:190] == GREY).all()


def test_box_lines_are_wider_in_large_images():
    widths = []
    for height, width in ((96, 128), (480, 640), (3000, 4000)):
        image = ground(height, width)
        draw_box(image, np.array([20, 20, 90, 80]), 0)
        widths.append((image[50, 15:45] == identity_colour(0)).all(1).sum())
    assert widths == [1, 2, 7]


def test_boxes_outside_the_image():
    image = ground()
    draw_box(image, np.array([-1e9, 40, 1e9, 1e30]), 0)
    assert extent(image)[:3] == (0, 40, 639)
    assert (image[60:] == GREY).all()
    for box in ([np.nan, 0, 50, 50], [0, 0, np.inf, 9], [700, 9, 800, 60]):
        image = ground()
        draw_box(image, np.array(box), 0)
        assert (image == GREY).all()
    for empty in ([30, 30, 30, 30], [0, 0, 0, 0]):
        image = ground()
        draw_box(image, np.array(empty), 0)
        assert tuple(image[empty[1], empty[0]]) == identity_colour(0)


def test_nearby_ids_have_different_colours():
    colours = np.array([identity_colour(k) for k in range(12)], int)
    apart = abs(colours[:, None] - colours[None]).max(2)
    assert apart[~np.eye(12, dtype=bool)].min() > 20
    assert (colours @ (0.114, 0.587, 0.299) > 150).all()  # light enough for dark text


def test_id_position_at_its_box():
    image = tagged(ground(), (100, 80, 200, 300))
    left, top, right, bottom = extent(image)
    assert (left, bottom) == (100, 79)
    tag = image[top:80, 100 : right + 1].astype(int)
    assert 12 <= tag.shape[0] <= 40
    text = abs(tag - RIM).max(2) < 60  # dark text on a light background
    rows, columns = np.nonzero(text)
    assert text.sum() > 10
    assert not text[0].any()
    assert not text[:, 0].any()
    assert abs((rows.min() + rows.max() - tag.shape[0] + 1) / 2) <= 1.5
    assert abs((columns.min() + columns.max() - tag.shape[1] + 1) / 2) <= 1.5
    image[top:80, left : right + 1] = GREY
    assert (image == GREY).all()


@pytest.mark.parametrize('size', [(128, 96), (640, 480), (4000, 3000)])
@pytest.mark.parametrize(
    'place', [(-0.2, -0.3, 0.4, 0.7), (0.8, 0.6, 1.4, 2), (0, 0, 1, 1), (0.97, 0.97, 1.2, 1.2)]
)
def test_ids_are_inside_the_image_and_readable(size, place):
    image = ground(*size[::-1])
    tagged(image, np.multiply(place, size * 2), numbers=[3])
    left, top, right, bottom = extent(image, 3)
    height = bottom - top + 1
    assert max(12, size[1] / 60) <= height <= max(22, size[1] / 20)
    # The tag is complete: as wide as one without neighbours.
    free_tag = tagged(
        ground(*size[::-1]),
        np.multiply((0.3, 0.3, 0.3 + place[2] - place[0], 0.3 + place[3] - place[1]), size * 2),
        numbers=[3],
    )
    box = extent(free_tag, 3)
    assert (right - left, bottom - top) == (box[2] - box[0], box[3] - box[1])


def test_ids_do_not_overlap():
    place = (100, 80, 200, 300)
    image = tagged(ground(), place, place, place, place)
    extents = [extent(image, number) for number in range(4)]
    for a in range(4):
        for b in range(a):
            (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = extents[a], extents[b]
            assert ax1 < bx0 or bx1 < ax0 or ay1 < by0 or by1 < ay0
    # If no position is free, the last tag covers the first.
    tagged(image, *[place] * 9)


def test_people_without_an_id_tag():
    for place in (
        [np.nan] * 4,
        (-90, 0, -10, 50),
        (641, 0, 700, 50),
        (0, 500, 90, 600),
        (0, -50, 20, -4),
    ):
        assert (tagged(ground(), place) == GREY).all()
    assert (tagged(ground(1, 1), (0, 0, 1, 1)) == GREY).all()
    # A small image has space only for a short ID.
    small = tagged(ground(14, 14), (0, 0, 9, 9), (0, 0, 9, 9), numbers=[12345, 7])
    assert not (small == identity_colour(12345)).all(2).any()
    assert (small == identity_colour(7)).all(2).any()
