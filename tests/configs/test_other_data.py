"""Tests of configs for other datasets, on small datasets in their formats."""

import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, MODELS
from mmpose.utils import register_all_modules
from scipy.io import savemat

from pose_backbones import preflight as checks
from pose_backbones.cli import flops
from pose_backbones.cli.options import set_data_root
from pose_backbones.configs import as_list, load_config
from tests.helpers.half_precision import check_bfloat16
from tests.helpers.tools import ROOT

#: config → number of keypoints, input size (height, width), metric
ROWS = {
    'crowdpose-256x192': (14, (256, 192), 'crowdpose/AP'),
    'mpii-256x256': (16, (256, 256), 'PCKh/Mean'),
    'coco-wholebody-256x192': (133, (256, 192), 'coco-wholebody/AP'),
    'ap10k-256x256': (17, (256, 256), 'coco/AP'),
}
#: parts that COCO-WholeBody annotates separately → number of keypoints
PARTS = {
    'keypoints': 17,
    'foot_kpts': 6,
    'face_kpts': 68,
    'lefthand_kpts': 21,
    'righthand_kpts': 21,
}
SIZE = (240, 320)  # height and width of the images
SPECIES = (4, 11)  # AP-10K has a category for each


@pytest.fixture(autouse=True, scope='module')
def _host():
    register_all_modules()
    init_default_scope('mmpose')


def load(name: str):
    return load_config(str(ROOT / f'configs/moganet/td-hm_moganet-s_8xb32-210e_{name}.py'))


def draw_figures(count: int) -> list[np.ndarray]:
    """Return keypoints, each (count, 2), of two instances per image on three images."""
    rng = np.random.default_rng(count)
    boxes = np.array([[20, 30, 120, 190], [180, 40, 110, 170]], float)
    return [
        [box[:2] + rng.uniform(0.05, 0.95, (count, 2)) * box[2:] for box in boxes] for _ in range(3)
    ]


def write_images(folder, figures):
    folder.mkdir(parents=True)
    for number, people in enumerate(figures, 1):
        image = np.full((*SIZE, 3), 90, np.uint8)
        for points in people:
            for k, (x, y) in enumerate(points):
                cv2.circle(
                    image,
                    (round(x), round(y)),
                    4,
                    (40 + 12 * (k % 17), 255 - 9 * (k % 17), 128),
                    -1,
                )
        cv2.imwrite(str(folder / f'{number:09d}.jpg'), image)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def box_of(points) -> list[float]:
    low, high = points.min(0) - 5, points.max(0) + 5
    return [float(v) for v in (*low, *(high - low))]


def coco_annotations(name, figures) -> dict:
    """Return annotations in the format of the dataset.

    CrowdPose has crowd indices and no areas, COCO-WholeBody has separate parts, and AP-10K has one
    category per species.
    """
    categories = SPECIES if name.startswith('ap10k') else (1,)
    images, annotations = [], []
    for number, people in enumerate(figures, 1):
        images.append(dict(id=number, file_name=f'{number:09d}.jpg', height=SIZE[0], width=SIZE[1]))
        if name.startswith('crowdpose'):
            images[-1]['crowdIndex'] = 0.3 * number
        for points in people:
            flat = np.column_stack([points, np.full(len(points), 2)])
            entry = dict(
                id=len(annotations) + 1,
                image_id=number,
                iscrowd=0,
                category_id=categories[len(annotations) % len(categories)],
                num_keypoints=len(points),
                bbox=box_of(points),
                segmentation=[],
                keypoints=flat.ravel().tolist(),
            )
            if not name.startswith('crowdpose'):
                entry['area'] = entry['bbox'][2] * entry['bbox'][3] / 2
            if 'wholebody' in name:
                cuts = np.cumsum(list(PARTS.values()))[:-1]
                entry.update(
                    {
                        part: piece.ravel().tolist()
                        for part, piece in zip(PARTS, np.split(flat, cuts))
                    }
                )
            annotations.append(entry)
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=c, name=f'class {c}') for c in categories],
    )


def write_mpii(config, folder, figures):
    """Return the JSON list of HRNet, whose pixel coordinates start at 1, and the head boxes."""
    entries = []
    for number, people in enumerate(figures, 1):
        for points in people:
            x, y, w, h = box_of(points)
            entries.append(
                dict(
                    image=f'{number:09d}.jpg',
                    scale=max(w, h) / 200,
                    center=[x + w / 2, y + h / 2],
                    joints=(points + 1).tolist(),
                    joints_vis=[1] * len(points),
                )
            )
    for split in ('train', 'val'):
        dataset = config[f'{split}_dataloader'].dataset
        write_json(folder / dataset.ann_file, entries)
    heads = np.zeros((2, 2, len(entries)))
    heads[1] = np.array([[30.0], [40.0]])  # boxes with a diagonal of 50 pixels
    savemat(config.val_dataloader.dataset.headbox_file, dict(headboxes_src=heads))


def prepare(name, config, folder) -> dict[int, list]:
    """Write the dataset to the paths of the config.

    Returns image ID → keypoints of its instances.
    """
    figures = draw_figures(ROWS[name][0])
    set_data_root(config, str(folder))
    if name.startswith('mpii'):
        write_mpii(config, folder, figures)
    else:
        for split in ('train', 'val', 'test'):
            dataset = config[f'{split}_dataloader'].dataset
            content = coco_annotations(name, figures)
            write_json(folder / dataset.ann_file, content)
            if dataset.get('bbox_file'):
                write_json(
                    type(folder)(dataset.bbox_file),
                    [
                        dict(image_id=a['image_id'], category_id=1, bbox=a['bbox'], score=0.9)
                        for a in content['annotations']
                    ],
                )
    for split in ('train', 'val'):
        prefix = config[f'{split}_dataloader'].dataset.data_prefix['img']
        if not (folder / prefix).exists():
            write_images(folder / prefix, figures)
    return dict(enumerate(figures, 1))


def evaluate(config, dataset, figures, move: float) -> dict:
    """Return the metric of the config for the annotated keypoints, shifted to the right."""
    metric = Evaluator(as_list(config.val_evaluator))
    metric.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples'].to_dict()
        # The instance with this box is the one with the nearest center.
        x1, y1, x2, y2 = sample['gt_instances']['bboxes'][0]
        middle = np.array([x1 + x2, y1 + y2]) / 2
        points = min(figures[sample['img_id']], key=lambda p: np.linalg.norm(p.mean(0) - middle))
        sample['pred_instances'] = dict(
            keypoints=points[None] + [move, 0], keypoint_scores=np.ones((1, len(points)))
        )
        metric.process([sample])
    return metric.evaluate(len(dataset))


@pytest.mark.parametrize('name', ROWS)
def test_config_trains_predicts_and_evaluates(name, tmp_path, monkeypatch):
    """The model trains and predicts, and the metric separates correct and wrong predictions."""
    monkeypatch.chdir(tmp_path)  # this directory has no configs
    config = load(name)
    folder = tmp_path / 'data'
    figures = prepare(name, config, folder)
    checks.check_types(config)
    checks.check_datasets(config, ['train', 'val', 'test'])
    count, shape, watched = ROWS[name]
    assert flops.input_shape(config) == shape
    train, val = (
        DATASETS.build(config[f'{split}_dataloader'].dataset) for split in ('train', 'val')
    )
    for dataset, split in ((train, 'train'), (val, 'val')):
        assert len(dataset) == 6
        assert dataset.metainfo['num_keypoints'] == count
        checks.check_keypoints(config, dataset, split)

    # The head of the config on a small backbone; test_configs.py tests the full model.
    config.model.backbone.update(
        arch=dict(embed_dims=(16, 32, 64, 512), depths=(1, 1, 1, 1), ffn_ratios=(2, 2, 2, 2)),
        drop_path_rate=0,
        init_cfg=None,
    )
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.train()
    batch = pseudo_collate([train[0], train[1]])
    data = model.data_preprocessor(batch, training=True)
    assert data['inputs'].shape == (2, 3, *shape)
    loss = model(**data, mode='loss')['loss_kpt']
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    optimizer.step()
    with torch.no_grad():
        assert model(**data, mode='loss')['loss_kpt'] < loss

    model.eval()
    (result,) = model.val_step(pseudo_collate([val[0]]))
    points = result.pred_instances.keypoints
    assert points.shape == (1, count, 2)
    # Inside of the crop, or one heatmap pixel outside where a heatmap has no maximum.
    middle, extent = result.input_center, result.input_scale
    assert (abs(points[0] - middle) <= 0.53 * extent).all()
    check_bfloat16(model, data, pseudo_collate([val[0]]))

    right = evaluate(config, val, figures, 0)
    shifted = evaluate(config, val, figures, 60)
    assert watched == config.default_hooks.checkpoint.save_best
    full = 100 if name.startswith('mpii') else 1
    assert right[watched] == pytest.approx(full)
    assert shifted[watched] < 0.05 * full


def test_crowd_index_is_read_from_the_images(tmp_path):
    """Images with crowd index .3, .6 and .9: easy or medium, and hard."""
    config = load('crowdpose-256x192')
    figures = prepare('crowdpose-256x192', config, tmp_path)
    val = DATASETS.build(config.val_dataloader.dataset)
    figures[3] = [points + 60 for points in figures[3]]
    metrics = evaluate(config, val, figures, 0)
    assert metrics['crowdpose/AP(M)'] == pytest.approx(1)
    assert metrics['crowdpose/AP(H)'] < 0.05


def test_pckh_threshold_is_half_the_head_size(tmp_path):
    """The head size is .6 of the diagonal of the head box, 50 pixels."""
    config = load('mpii-256x256')
    figures = prepare('mpii-256x256', config, tmp_path)
    val = DATASETS.build(config.val_dataloader.dataset)
    near, far = (evaluate(config, val, figures, move) for move in (14.9, 15.1))
    assert near['PCKh/Mean'] == pytest.approx(100)
    assert far['PCKh/Mean'] == 0
    assert near['PCKh/Mean@0.1'] == 0


def test_ap10k_averages_over_species(tmp_path):
    """AP is averaged over the categories, which are part of the results."""
    config = load('ap10k-256x256')
    figures = prepare('ap10k-256x256', config, tmp_path)
    val = DATASETS.build(config.val_dataloader.dataset)
    # Each image has an instance of each species; the second species is not detected.
    shifted = {number: [first, second + 60] for number, (first, second) in figures.items()}
    assert evaluate(config, val, figures, 0)['coco/AP'] == pytest.approx(1)
    half = evaluate(
        config, val, {number: [first, second] for number, (first, second) in shifted.items()}, 0
    )
    assert half['coco/AP'] == pytest.approx(0.5, abs=0.03)


def test_mpii_augmentation_equals_mmpose():
    """No half bodies, and no shift of the boxes."""
    steps = load('mpii-256x256').train_dataloader.dataset.pipeline
    kinds = [step.type for step in steps]
    assert 'RandomHalfBody' not in kinds
    assert steps[kinds.index('pose_backbones.RandomBBoxTransform')].shift_prob == 0
    others = load('ap10k-256x256').train_dataloader.dataset.pipeline
    assert [step.type for step in others if step.type != 'RandomHalfBody'] == kinds


def test_ap10k_has_a_separate_test_split():
    config = load('ap10k-256x256')
    for part in (config.test_dataloader.dataset, config.test_evaluator):
        assert re.search('ap10k-test-split1.json$', part.ann_file)
    for part in (config.val_dataloader.dataset, config.val_evaluator):
        assert re.search('ap10k-val-split1.json$', part.ann_file)
