"""Check of a model in mixed precision."""

import torch
from mmengine.model import BaseModel

from pose_backbones.inference.optimize import half_precision

CPU = torch.device('cpu')


def check_bfloat16(model: BaseModel, batch: dict, samples: dict) -> None:
    """Check that losses, gradients and predictions are finite in bfloat16 on the CPU.

    Args:
        model: The model. Its gradients are replaced.
        batch: Inputs and targets of a training step, from the data preprocessor.
        samples: A batch for `test_step`.
    """
    model.train()
    model.zero_grad()
    with torch.autocast('cpu', torch.bfloat16):
        losses = model(**batch, mode='loss')
    total, logged = model.parse_losses(losses)
    assert total.dtype == torch.float32
    assert all(value.isfinite().all() for value in logged.values()), logged
    total.backward()
    invalid = [
        name
        for name, value in model.named_parameters()
        if value.grad is not None and not value.grad.isfinite().all()
    ]
    assert invalid == []
    model.eval()
    # as `PoseInferencer(half=True)`, and as a user of the model
    for context in (half_precision(model, CPU), torch.autocast('cpu', torch.bfloat16)):
        with torch.no_grad(), context:
            results = model.test_step(samples)
        for result in results:
            found = result.pred_instances
            for values in (found.keypoints, found.keypoint_scores):
                assert torch.as_tensor(values).isfinite().all()
