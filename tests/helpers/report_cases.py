"""Build test runs for the tests of the report."""

import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

NAMES = (
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)
SIGMAS = (
    np.array(
        [
            0.26,
            0.25,
            0.25,
            0.35,
            0.35,
            0.79,
            0.79,
            0.72,
            0.72,
            0.62,
            0.62,
            1.07,
            1.07,
            0.87,
            0.87,
            0.89,
            0.89,
        ]
    )
    / 10
)
#: standing pose, 100 wide and 300 high, in which all keypoints are far from each other
POSE = np.array(
    [
        (50, 10),
        (62, 0),
        (38, 0),
        (74, 12),
        (26, 12),
        (85, 60),
        (15, 60),
        (98, 110),
        (2, 110),
        (100, 160),
        (0, 160),
        (75, 165),
        (25, 165),
        (80, 230),
        (20, 230),
        (85, 300),
        (15, 300),
    ],
    float,
)
AREA = 12_000.0


class Case:
    """A test run to which images, people and predictions are added."""

    def __init__(self, names=NAMES):
        self.names = names
        self.images, self.people, self.results = [], [], []

    def image(self, name: str | None = None, **more) -> int:
        number = len(self.images) + 1
        self.images.append(
            dict(id=number, width=900, height=500, file_name=name or f'{number}.jpg', **more)
        )
        return number

    def person(
        self, image: int, points, visible=None, area=AREA, crowd=0, category=1
    ) -> np.ndarray:
        points = np.array(points, float)
        visible = np.full(len(points), 2) if visible is None else visible
        points = points * (np.asarray(visible) > 0)[:, None]
        low, size = points.min(axis=0), np.ptp(points, axis=0)
        self.people.append(
            dict(
                id=len(self.people) + 1,
                image_id=image,
                category_id=category,
                iscrowd=crowd,
                area=area,
                bbox=[*low.tolist(), *size.tolist()],
                num_keypoints=int((np.asarray(visible) > 0).sum()),
                keypoints=np.c_[points, visible].ravel().tolist(),
            )
        )
        return points

    def predict(self, image: int, points, score=0.9, category=1) -> None:
        points = np.array(points, float)
        self.results.append(
            dict(
                image_id=image,
                category_id=category,
                score=score,
                keypoints=np.c_[points, np.full(len(points), 0.8)].ravel().tolist(),
            )
        )

    @property
    def truth(self) -> dict:
        categories = sorted({p['category_id'] for p in self.people} | {1})
        return dict(
            images=self.images,
            annotations=self.people,
            categories=[
                dict(id=number, name=f'c{number}', keypoints=list(self.names), skeleton=[[1, 2]])
                for number in categories
            ],
        )

    def write(self, folder: Path) -> tuple[str, str]:
        """Write the results and the annotations, and return their paths."""
        files = {'results.json': self.results, 'truth.json': self.truth}
        for name, content in files.items():
            folder.joinpath(name).write_text(json.dumps(content))
        return tuple(str(folder / name) for name in files)


def at_similarity(value: float, sigma, area: float = AREA):
    """Return the distance in pixels from a label at which the OKS is `value`."""
    return np.sqrt(-2 * np.log(value) * area) * 2 * sigma


def crowded_case(
    seed: int, images: int = 12, categories: int = 1, crowd_index: bool = False
) -> Case:
    """Build a test run with people of all sizes.

    It has crowds, occluded and unlabelled people, false positives, duplicate predictions, and many
    predictions with the same score.
    """
    rng = np.random.default_rng(seed)
    case = Case()
    for number in range(images):
        more = dict(crowdIndex=float(rng.random())) if crowd_index else {}
        image = case.image(**more)
        truths = []
        for _ in range(number % 5):
            scale = rng.uniform(0.1, 1.4)
            points = POSE * scale + rng.uniform(0, 300, 2)
            visible = rng.choice([0, 1, 2], 17, p=[0.3, 0.2, 0.5])
            kind = rng.random()
            if kind < 0.15:
                visible[:] = 0
            category = int(rng.integers(categories)) + 1
            case.person(
                image,
                points,
                visible,
                area=AREA * scale**2 * rng.uniform(0.8, 1.2),
                crowd=int(0.15 < kind < 0.25),
                category=category,
            )
            if not visible.any():  # A person without visible keypoints still has a bounding box.
                case.people[-1]['bbox'] = [*points.min(axis=0).tolist(), 100 * scale, 300 * scale]
            truths.append((points, scale, category))
        for _ in range(int(rng.integers(0, 27))):
            points, category = rng.uniform(0, 400, (17, 2)), 1
            if truths and rng.random() < 0.8:
                truth, scale, category = truths[rng.integers(len(truths))]
                spread = rng.exponential(9) * scale
                points = truth + rng.normal(0, spread, (17, 2))
            case.predict(image, points, round(rng.random(), 1), category)
    return case


class Page(HTMLParser):
    """Content of an HTML page: tables by ID, texts, and attributes of elements."""

    VOID = ('meta', 'link', 'img', 'br')

    def __init__(self, html: str):
        super().__init__()
        self.open, self.elements, self.words = [], [], []
        self.tables, self.table = {}, None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == 'table':
            self.table = self.tables.setdefault(attributes.get('id'), [])
        if tag == 'tr':
            self.table.append([])
        if tag in ('td', 'th'):
            self.table[-1].append('')

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if self.open and self.open[-1] in ('td', 'th'):
            self.table[-1][-1] += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return ' '.join(self.words)
