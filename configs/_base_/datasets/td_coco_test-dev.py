# COCO test-dev 2017, for a top-down config of COCO: a list of images without labels, and person
# detections for them (docs/coco_test_dev.md).
test_dev_dataset = dict(
    ann_file='annotations/image_info_test-dev2017.json',
    bbox_file='data/coco/person_detection_results/'
    'COCO_test-dev2017_detections_AP_H_609_person.json',
    data_prefix=dict(img='test2017/'),
)
test_dev_evaluator = dict(ann_file='data/coco/annotations/image_info_test-dev2017.json')
