"""Skeletons, left/right symmetry, data set descriptions, COCO annotations."""
