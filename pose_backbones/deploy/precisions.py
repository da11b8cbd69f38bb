"""Precisions of exported models, and how much they may change the results."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Precision:
    """A precision of an exported model.

    Args:
        name: Name on the command line.
        openvino: OpenVINO's name of the precision of operators that are not quantized.
        noise: Largest change of the outputs of the network, relative to their range.
        pixels: Largest distance of keypoints that do not depend on changes of this size.
    """

    name: str
    openvino: str
    noise: float
    pixels: float


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision('fp32', 'f32', noise=1e-4, pixels=0.05),
        Precision('fp16', 'f16', noise=5e-3, pixels=0.25),
        Precision('bf16', 'bf16', noise=4e-2, pixels=1.0),
        # Compared with fp32 by its OKS, see `quantization`.
        Precision('int8', 'bf16', noise=math.inf, pixels=math.inf),
    )
}
