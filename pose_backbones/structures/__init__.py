"""COCO files, dataset metainfo, flip pairs and OKS of keypoints."""
