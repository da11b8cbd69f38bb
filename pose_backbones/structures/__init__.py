"""What sets of keypoints have in common: COCO files, dataset descriptions, symmetry, and OKS."""
