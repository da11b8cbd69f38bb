"""Tests of error types, matching, AP and calibration in the report."""

import contextlib
import io
import json

import numpy as np
import pycocotools.coco
import pycocotools.cocoeval
import pytest
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from pose_backbones.report.average_precision import average_precision
from pose_backbones.report.calibration import calibrate
from pose_backbones.report.diagnosis import (
    BACKGROUND,
    DUPLICATE,
    GOOD,
    INVERSION,
    JITTER,
    MISS,
    NOT_FOUND,
    SWAP,
    diagnose,
)
from pose_backbones.report.matching import all_oks
from pose_backbones.report.measures import label_ranges, measure
from pose_backbones.report.poses import read_poses
from pose_backbones.report.results import read_run
from pose_backbones.report.run_files import find_sources
from tests.helpers.evaluation_cases import FIGURES, PART_APS, write_case
from tests.helpers.report_cases import AREA, NAMES, POSE, SIGMAS, Case, at_similarity, crowded_case

FAR = (450, 0)  # offset of the second person
JOINT = {name: index for index, name in enumerate(NAMES)}


def measured(case: Case, folder):
    results, truth = case.write(folder)
    return measure(read_run(find_sources(results, truth)))


def pair_of_people():
    """Create a case with two people, to move joints of the first."""
    case = Case()
    image = case.image()
    first = case.person(image, POSE + 50)
    second = case.person(image, POSE + 50 + FAR)
    case.predict(image, second, 0.8)
    return case, image, first.copy(), second


def kinds_of_first(case, folder):
    """Return {joint: error type} for the joints of the first person that are not good."""
    joints = measured(case, folder).diagnosis.joints
    row = list(joints.person).index(0)
    kinds = joints.kinds[row]
    assert (joints.kinds[1 - row] == GOOD).all()
    return {
        NAMES[joint]: kind for joint, kind in enumerate(kinds) if kind != GOOD
    }, joints.similarity[row]


@pytest.mark.parametrize(
    ('value', 'kind'),
    [
        (0.999, GOOD),
        (0.851, GOOD),
        (0.849, JITTER),
        (0.7, JITTER),
        (0.501, JITTER),
        (0.499, MISS),
        (0.01, MISS),
    ],
)
def test_error_type_by_distance(tmp_path, value, kind):
    case, image, points, _ = pair_of_people()
    knee = JOINT['left_knee']
    points[knee, 1] += at_similarity(value, SIGMAS[knee])
    case.predict(image, points)
    kinds, similarity = kinds_of_first(case, tmp_path)
    assert kinds == ({} if kind == GOOD else {'left_knee': kind})
    assert similarity[knee] == pytest.approx(value)
    assert np.delete(similarity, knee) == pytest.approx(1)


def test_inversion(tmp_path):
    case, image, points, _ = pair_of_people()
    points[JOINT['left_ankle']] = POSE[JOINT['right_ankle']] + 52
    points[JOINT['nose']] = POSE[JOINT['left_hip']] + 50  # not a flip pair
    case.predict(image, points)
    kinds, _ = kinds_of_first(case, tmp_path)
    assert kinds == {'left_ankle': INVERSION, 'nose': MISS}


def test_swap(tmp_path):
    case, image, points, other = pair_of_people()
    points[JOINT['left_elbow']] = other[JOINT['left_elbow']] + 1
    points[JOINT['right_wrist']] = other[JOINT['left_wrist']] - 1
    points[JOINT['left_knee']] = other[JOINT['left_hip']]  # another joint
    case.predict(image, points)
    kinds, _ = kinds_of_first(case, tmp_path)
    assert kinds == {'left_elbow': SWAP, 'right_wrist': SWAP, 'left_knee': MISS}


@pytest.mark.parametrize(
    ('gap', 'pixels', 'kind'),
    [
        (8, 3, GOOD),  # similarities .86 and .66
        (8, 5, INVERSION),  # .66 and .86
        (5, 3, GOOD),  # .86 and .94
        (8, 3.9, JITTER),  # .78 and .76
    ],
)
def test_error_type_between_two_labels(tmp_path, gap, pixels, kind):
    """The nearer label determines the error type, but near predictions are good."""
    case = Case()
    image = case.image()
    eye = JOINT['left_eye']
    points = POSE + 50
    points[JOINT['right_eye']] = points[eye] - (gap, 0)
    case.person(image, points)
    other = case.person(image, POSE + 50 + FAR)
    case.predict(image, other, 0.8)
    points[eye] -= (pixels, 0)
    case.predict(image, points)
    kinds, _ = kinds_of_first(case, tmp_path)
    assert kinds == ({} if kind == GOOD else {'left_eye': kind})


def test_unlabelled_joints_have_no_error_type(tmp_path):
    case = Case()
    image = case.image()
    visible = np.full(17, 2)
    visible[JOINT['nose']] = 0
    points = case.person(image, POSE + 50, visible)
    case.predict(image, points)
    joints = measured(case, tmp_path).diagnosis.joints
    assert joints.kinds.tolist() == [[-1] + [GOOD] * 16]
    assert np.isnan(joints.similarity[0, 0])
    assert joints.distance[0, 1:] == pytest.approx(0)


def test_false_detections_and_missed_people(tmp_path):
    case = Case()
    mirrored = [
        JOINT[name.replace('left', 'x').replace('right', 'left').replace('x', 'right')]
        for name in NAMES
    ]
    image = case.image()  # detected twice
    first = case.person(image, POSE + 50)
    case.predict(image, first, 0.9)
    case.predict(image, first + 1, 0.7)
    image = case.image()  # a detection without a person
    case.predict(image, POSE + 50, 0.6)
    image = case.image()  # a person without detections
    case.person(image, POSE + 50)
    image = case.image()  # left and right exchanged, except for the face
    turned = case.person(image, POSE + 50)
    turned[5:] = turned[mirrored][5:]
    case.predict(image, turned, 0.5)
    image = case.image()  # all joints except the face far off
    missed_person = case.person(image, POSE + 50)
    missed_person[5:] += 2000
    case.predict(image, missed_person, 0.4)
    image = case.image()  # an ignored person
    crowd = case.person(image, POSE + 50, crowd=1)
    case.predict(image, crowd, 0.3)
    case.predict(image, crowd, 0.2)
    diagnosis = measured(case, tmp_path).diagnosis
    assert diagnosis.error.tolist() == [-1, DUPLICATE, BACKGROUND, INVERSION, MISS, -1, -1]
    assert diagnosis.missed.tolist() == [-1, NOT_FOUND, INVERSION, MISS, -1]
    assert diagnosis.counted.tolist() == [True] * 5 + [False] * 2
    assert diagnosis.correct.tolist() == [True] + [False] * 6
    assert diagnosis.oks == pytest.approx([1, 0, 0, 5 / 17, 5 / 17, 0, 0], abs=0.02)


def test_detections_of_crowds_are_not_errors(tmp_path):
    case, image, points, _ = pair_of_people()
    crowd = points.copy()
    crowd[5:] += 1000
    case.person(image, crowd, crowd=1)
    case.predict(image, crowd, 0.9)  # OKS 1 to the crowd, .29 to the person
    diagnosis = measured(case, tmp_path).diagnosis
    assert diagnosis.counted.tolist() == [False, True]
    assert diagnosis.error.tolist() == [-1, -1]
    assert diagnosis.joints.person.tolist() == [1]
    assert diagnosis.oks.tolist() == [0, 1]


def test_swap_of_half_a_body(tmp_path):
    case, image, points, other = pair_of_people()
    points[:7] = other[:7]
    points[7:9] += 3000
    case.predict(image, points, 0.9)
    diagnosis = measured(case, tmp_path).diagnosis
    # The best score first, since both are in one image.
    assert diagnosis.error.tolist() == [SWAP, -1]
    assert diagnosis.missed.tolist() == [SWAP, -1]


@pytest.mark.parametrize('seed', range(4))
def test_ap_matches_xtcocotools(tmp_path, seed):
    case = crowded_case(seed, categories=1 + seed % 2)
    measured_run = measured(case, tmp_path)
    poses = measured_run.poses
    oks = all_oks(poses)
    stats, curves = xtcocotools(*case.write(tmp_path), curves=True)
    assert measured_run.overall.curves == pytest.approx(curves, abs=1e-12)
    assert list(measured_run.table.values()) == [
        value if value >= 0 else pytest.approx(np.nan, nan_ok=True) for value in stats
    ]
    medium = average_precision(poses, oks, areas=(32**2, 96**2))
    large = average_precision(poses, oks, areas=(96**2, 1e10))
    everyone = measured_run.overall
    assert [
        everyone.ap,
        everyone.ap50,
        everyone.ap75,
        medium.ap,
        large.ap,
        everyone.ar,
        medium.ar,
        large.ar,
    ] == pytest.approx(np.array(stats)[[0, 1, 2, 3, 4, 5, 8, 9]], abs=1e-12)
    assert 0 < everyone.ap < 1


def xtcocotools(
    results: str, truth: str, kind='keypoints', use_area=True, sigmas=SIGMAS, curves=False
):
    """Return the ten metrics, and on request precision by threshold and recall."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        evaluation = COCOeval(coco, coco.loadRes(results), kind, sigmas, use_area)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = evaluation.stats.tolist()
    if not curves:
        return stats
    precision = evaluation.eval['precision'][..., 0, 0]  # of all areas
    return stats, precision[..., (precision > -1).all((0, 1))].mean(axis=2)


def test_oks_matches_pycocotools(tmp_path):
    case = crowded_case(7, images=6)
    results, truth = case.write(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = pycocotools.coco.COCO(truth)
        detected = coco.loadRes(results)
        evaluation = pycocotools.cocoeval.COCOeval(coco, detected, 'keypoints')
        evaluation.params.kpt_oks_sigmas = SIGMAS
        evaluation.evaluate()
    poses = read_poses(coco.dataset, detected.dataset['annotations'], SIGMAS, True)
    expected_ious = [np.ravel(evaluation.ious[image, 1]) for image in range(1, 7)]
    assert all_oks(poses) == pytest.approx(np.concatenate(expected_ious), abs=1e-12)


def test_crowdpose_uses_box_areas(tmp_path):
    case = crowded_case(5, crowd_index=True)
    for person in case.people:
        del person['area']
    results, truth = case.write(tmp_path)
    run = read_run(find_sources(results, truth))
    assert (run.iou_type, run.use_area) == ('keypoints_crowd', False)
    measured_run = measure(run)
    stats = xtcocotools(results, truth, 'keypoints_crowd', False)
    assert list(measured_run.table) == [
        'AP',
        'AP .5',
        'AP .75',
        'AR',
        'AR .5',
        'AR .75',
        'AP (E)',
        'AP (M)',
        'AP (H)',
    ]
    assert list(measured_run.table.values()) == stats
    assert measured_run.overall.ap == pytest.approx(stats[0], abs=1e-12)


@pytest.mark.parametrize('name', FIGURES)
def test_metrics_of_other_datasets(tmp_path, name):
    """Only the body keypoints of COCO-WholeBody results are evaluated."""
    figures = {key.replace('AP(', 'AP ('): value for key, value in FIGURES[name].items()}
    if name == 'wholebody':
        figures = {'AP': PART_APS['body']}
    measured_run = measure(read_run(find_sources(*write_case(name, tmp_path))))
    assert {key: measured_run.table[key] for key in figures} == pytest.approx(figures, abs=5e-7)
    assert measured_run.overall.ap == pytest.approx(figures['AP'], abs=5e-7)


def test_subsets_by_labels_and_size(tmp_path):
    case = Case()
    image = case.image()
    few = np.zeros(17, int)
    few[5:10] = 2
    case.person(image, POSE + 50, few, area=40.0**2)
    case.predict(image, POSE + 50, 0.9)
    case.person(image, POSE + 50 + FAR, area=100.0**2)
    case.predict(image, POSE + 5000, 0.1)
    measured_run = measured(case, tmp_path)
    assert {name: (p.people, p.ap, p.ar) for name, p in measured_run.by_labels.items()} == {
        '1 to 5': (1, pytest.approx(1), 1),
        '16 to 17': (1, 0, 0),
    }
    assert {name: (p.people, p.ap) for name, p in measured_run.by_size.items()} == {
        '32 to 64': (1, pytest.approx(1)),
        '96 to 192': (1, 0),
    }
    assert measured_run.overall.ap == pytest.approx(51 / 101)  # recalls up to .5


@pytest.mark.parametrize(
    ('count', 'ranges'),
    [
        (17, [(1, 5), (6, 10), (11, 15), (16, 17)]),
        (14, [(1, 4), (5, 8), (9, 13), (14, 14)]),
        (4, [(1, 1), (2, 2), (3, 4)]),
        (1, [(1, 1)]),
    ],
)
def test_label_ranges(count, ranges):
    assert label_ranges(count) == ranges


def test_ap_after_repairs(tmp_path):
    case = Case()
    knee = JOINT['left_knee']
    for kind in range(3):
        image = case.image()
        points = case.person(image, POSE + 50)
        if kind == 0:  # jitter of all joints: OKS .7
            points[:, 1] += at_similarity(0.7, SIGMAS)
        if kind == 1:  # OKS 16 / 17
            points[knee] = points[JOINT['right_knee']]
        if kind == 2:  # 10 of 17
            points[:7] += 3000
        case.predict(image, points, 0.9 - kind / 10)
    case.predict(image, POSE + 5000, 0.95)
    measured_run = measured(case, tmp_path)
    repairs, ap = measured_run.repairs, measured_run.overall.ap

    def after(*oks):
        """Return the AP of detections with the given OKS, best score first; 0: no person."""
        return np.mean(
            [
                precision_of([value >= level for value in oks])
                for level in np.linspace(0.5, 0.95, 10)
            ]
        )

    assert ap == pytest.approx(after(0, 0.7, 16 / 17, 10 / 17))
    assert repairs == pytest.approx(
        {
            'no jitter': after(0, 1, 16 / 17, 10 / 17),
            'no inversion': after(0, 0.7, 1, 10 / 17),
            'no swap': ap,
            'no miss': after(0, 0.7, 16 / 17, 1),
            'no background': after(0.7, 16 / 17, 10 / 17),
            'optimal scores': after(16 / 17, 0.7, 10 / 17, 0),
        }
    )


def precision_of(is_correct, people=3):
    num_correct = np.cumsum(is_correct)
    precision = num_correct / np.arange(1, len(num_correct) + 1)
    return np.mean(
        [
            max(precision[num_correct / people >= recall - 1e-12], default=0)
            for recall in np.linspace(0, 1, 101)
        ]
    )


def test_calibration(tmp_path):
    case = Case()
    image = case.image()
    points = case.person(image, POSE + 50)
    case.person(image, POSE + 50 + FAR)
    case.predict(image, points, 0.92)
    case.predict(image, POSE + 5000, 0.31)
    case.predict(image, POSE + 6000, 0.35)
    calibration = measured(case, tmp_path).calibration
    assert calibration.counts.tolist() == [0, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert calibration.score[[3, 9]] == pytest.approx([0.33, 0.92])
    assert calibration.oks[[3, 9]] == pytest.approx([0, 1])
    assert calibration.correct[[3, 9]] == pytest.approx([0, 1])
    assert np.isnan(calibration.oks[0])
    assert calibration.error == pytest.approx((2 * 0.33 + 0.08) / 3)
    assert (calibration.threshold, calibration.precision, calibration.recall) == (0.92, 1, 0.5)
    assert calibration.table[3, 0] == 2
    assert calibration.table[9, 9] == 1
    assert calibration.table.sum() == 3


def test_scores_above_one_are_rescaled(tmp_path):
    case = Case()
    image = case.image()
    points = case.person(image, POSE + 50)
    case.predict(image, points, 4.0)
    case.predict(image, POSE + 5000, -1.0)
    calibration = measured(case, tmp_path).calibration
    assert calibration.scale == 4
    assert calibration.counts.tolist() == [1] + [0] * 8 + [1]
    assert calibration.error == 0


def test_threshold_includes_equal_scores(tmp_path):
    case = Case()
    image = case.image()
    case.predict(image, case.person(image, POSE + 50), 0.5)
    case.predict(image, POSE + 5000, 0.5)
    calibration = measured(case, tmp_path).calibration
    assert (calibration.threshold, calibration.precision, calibration.recall) == (0.5, 0.5, 1)


def test_warnings_about_results_are_notes(tmp_path):
    case = Case()
    for number in range(3):
        image = case.image()
        points = case.person(image, POSE + 50)
        for _ in range(0 if number else 2):
            case.predict(image, points, 0.8)
    results, truth = case.write(tmp_path)
    repeated, missing, _ = read_run(find_sources(results, truth)).notes
    assert 'result at index 1, of image 1, has the image and keypoints of an earlier' in repeated
    assert 'has annotated people but no result (2 of 3 are like this): expected' in missing


def test_no_predictions(tmp_path):
    case = Case()
    case.person(case.image(), POSE + 50)
    measured_run = measured(case, tmp_path)
    assert measured_run.table['AP'] == measured_run.table['AR'] == 0
    assert measured_run.overall.ap == 0
    assert measured_run.diagnosis.missed.tolist() == [NOT_FOUND]
    assert np.isnan(measured_run.calibration.error)


def test_similarity_depends_on_area():
    """For four times the area, the weight of squared distances is a quarter."""
    for factor in (1, 4):
        case = Case()
        image = case.image()
        points = case.person(image, POSE + 50, area=AREA * factor)
        points[0, 0] += at_similarity(0.6, SIGMAS[0])
        case.predict(image, points)
        coco = json.loads(json.dumps(case.truth))
        entries = [{**entry, 'area': 1.0} for entry in case.results]
        poses = read_poses(coco, entries, SIGMAS, True)
        diagnosis = diagnose(poses, all_oks(poses), np.arange(17))
        assert diagnosis.joints.similarity[0, 0] == pytest.approx(0.6 ** (1 / factor))
        assert calibrate(poses, diagnosis).counts.sum() == 1
