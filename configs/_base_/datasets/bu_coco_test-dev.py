# COCO test-dev 2017, for a bottom-up config of COCO: a list of images without labels. No detections
# are needed (docs/coco_test_dev.md).
test_dev_dataset = dict(
    ann_file='annotations/image_info_test-dev2017.json', data_prefix=dict(img='test2017/')
)
test_dev_evaluator = dict(ann_file='data/coco/annotations/image_info_test-dev2017.json')
