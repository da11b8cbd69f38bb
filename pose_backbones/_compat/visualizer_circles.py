"""Patch MMPose's visualizer, which converts an array to an integer; NumPy 2.5 does not.

MMPose's registry of visualizers imports this module when a name is looked up for the first time.
"""

import numpy as np
from mmpose.visualization.opencv_backend_visualizer import OpencvBackendVisualizer

_original = OpencvBackendVisualizer.draw_circles


def draw_circles(self, center, radius, *args, **kwargs):
    """Draw a circle, with the radius as a number if it is an array of one."""
    if self.backend == 'opencv':
        radius = np.asarray(radius).item()
    return _original(self, center, radius, *args, **kwargs)


OpencvBackendVisualizer.draw_circles = draw_circles
