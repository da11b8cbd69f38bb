data_root = 'data/coco/'
codec = dict(type='MSRAHeatmap', input_size=(192, 256), sigma=-2.5)
weights = [1.0] * 17
model: dict = {'type': 'TopdownPoseEstimator', 'head': {'out_channels': 17}}
codec.update(sigma=3)
resume = None or True
