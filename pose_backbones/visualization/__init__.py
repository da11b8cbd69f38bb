"""Draw keypoints, skeletons, bounding boxes and track IDs on images.

The annotators of supervision were considered. They have no opacity by score, no rings for occluded
keypoints and no line widths that adapt to the size of each person, so drawing is done with OpenCV.
"""
