"""Names and values that appear in the options of the commands.

They are here, and not in the modules that use them, so that `--help` imports neither PyTorch nor
MMPose.
"""

#: what to do after a step with a loss or gradients that are not finite
ACTIONS = ('stop', 'skip')
#: exit status of a run that was saved and stopped because of a signal
SAVED_STATUS = 143
#: value of the CHECKPOINT argument for a model whose config contains its checkpoints
NO_CHECKPOINT = 'none'
#: name of a detector → MMDetection config, which contains the URL of the weights
DETECTORS = {
    f'rtmdet-{size}': f'mmdet::rtmdet/rtmdet_{size}_8xb32-300e_coco.py'
    for size in ('tiny', 's', 'm', 'l')
}
#: first part of the names of torchvision's detectors
TORCHVISION = 'torchvision::'
#: output files of inference: COCO results, one row per person, and what is finished
PREDICTIONS = 'predictions.json'
TABLE = 'predictions.csv'
JOURNAL = 'journal.jsonl'
#: what computes the keypoints in inference
AUTO = 'auto'
TORCH = 'torch'
COMPILE = 'compile'
BACKENDS = (AUTO, TORCH, COMPILE, 'openvino', 'onnx')
