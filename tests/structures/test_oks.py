"""Object keypoint similarity (OKS) of arrays and tensors, and its inverse."""

from math import exp

import numpy as np
import pytest
import torch

from pose_backbones.structures.oks import distance_at, keypoint_similarity

SQUARES = np.array([[0.0, 9.0], [4.0, 25.0]])
AREAS = np.array([100.0, 400.0])
SIGMAS = np.array([0.1, 0.05])


def test_similarity_equals_the_definition():
    similarity = keypoint_similarity(SQUARES, AREAS, SIGMAS)
    expected = [
        [1.0, exp(-9 / (2 * 100 * 0.1**2))],
        [exp(-4 / (2 * 400 * 0.2**2)), exp(-25 / (2 * 400 * 0.1**2))],
    ]
    assert similarity == pytest.approx(np.array(expected), rel=1e-14)


def test_tensors_have_the_same_values_and_correct_gradients():
    squares, areas, sigmas = map(torch.tensor, (SQUARES, AREAS, SIGMAS))
    squares.requires_grad_()
    similarity = keypoint_similarity(squares, areas, sigmas, eps=0.25)
    expected = keypoint_similarity(SQUARES, AREAS, SIGMAS, eps=0.25)
    np.testing.assert_allclose(similarity.detach(), expected, rtol=1e-14)
    similarity.sum().backward()
    denominators = 2 * AREAS[:, None] * (2 * SIGMAS) ** 2 + 0.25
    np.testing.assert_allclose(squares.grad, -expected / denominators, rtol=1e-14)


def test_area_of_zero_with_eps():
    similarity = keypoint_similarity(np.zeros((1, 1)), np.zeros(1), np.ones(1), eps=1e-5)
    assert similarity.tolist() == [[1.0]]


@pytest.mark.parametrize('similarity', [0.3, 0.7, 1.0])
def test_distance_at_is_the_inverse(similarity):
    distances = distance_at(similarity, AREAS, SIGMAS)
    similarities = keypoint_similarity(distances[:, None] ** 2, AREAS, SIGMAS)
    assert np.diag(similarities) == pytest.approx([similarity] * 2, rel=1e-12)
