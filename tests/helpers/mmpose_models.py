"""Table of MMPose's models: the configs that `tests/integration/test_mmpose_models.py` runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A config of MMPose.

    Attributes:
        config: Its name.
        kind: Method and backbone.
        data: What it is trained on.
        sizes: Sizes in the config → smaller sizes with which it runs in the test.
        trains: Whether a training step is run.
        flops: Whether `pose-backbones flops` counts its FLOPs.
        initial: Whether the initial weights predict; with others, boxes become infinitely large.
        size: Height and width of the input in the test, if the config does not state it.
        atol: Maximum difference to MMPose in pixels.
        share: Share of the keypoints that may differ more: with random weights, two cells of a map
            can have almost the same value.
    """

    config: str
    kind: str
    data: str
    sizes: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    trains: bool = True
    flops: bool = True
    initial: bool = False
    size: tuple[int, int] | None = None
    atol: float = 0.01
    share: float = 0.01


@dataclass(frozen=True)
class Refused:
    """A config of MMPose that raises an error.

    Attributes:
        config: Its name.
        kind: What it is.
        by: `'build'`, `'PoseInferencer'`, `'tools/train.py'` or `'pose-backbones flops'`, which
            raises the error.
        message: A part of the message.
        instead: What to use, for the documentation.
    """

    config: str
    kind: str
    by: str
    message: str
    instead: str


_BOTTOM_UP = {(512, 512): (128, 128), (128, 128): (32, 32)}
_HALF = {(416, 416): (224, 224)}

ROWS = (
    Row('td-hm_res50_8xb64-210e_coco-256x192', 'heatmap, ResNet', 'body'),
    Row('td-hm_hrnet-w32_8xb64-210e_coco-256x192', 'heatmap, HRNet', 'body'),
    Row(
        'td-hm_hrnet-w32_udp-regress-8xb64-210e_coco-256x192',
        'heatmap with offsets (UDP), HRNet',
        'body',
    ),
    Row('td-hm_litehrnet-18_8xb64-210e_coco-256x192', 'heatmap, Lite-HRNet', 'body'),
    Row('td-hm_scnet50_8xb64-210e_coco-256x192', 'heatmap, SCNet', 'body'),
    Row('td-hm_vipnas-mbv3_8xb64-210e_coco-256x192', 'heatmap, ViPNAS', 'body'),
    Row('td-hm_hrformer-small_8xb32-210e_coco-256x192', 'heatmap, HRFormer', 'body'),
    Row('td-hm_swin-t-p4-w7_8xb32-210e_coco-256x192', 'heatmap, Swin', 'body'),
    Row('td-hm_pvt-s_8xb64-210e_coco-256x192', 'heatmap, PVT', 'body'),
    Row('td-hm_pvtv2-b2_8xb64-210e_coco-256x192', 'heatmap, PVTv2', 'body'),
    Row('td-hm_cpm_8xb64-210e_coco-256x192', 'heatmap, CPM', 'body'),
    Row('td-hm_hourglass52_8xb32-210e_coco-256x256', 'heatmap, Hourglass', 'body'),
    Row('td-hm_mspn50_8xb32-210e_coco-256x192', 'heatmap, MSPN', 'body'),
    Row('td-hm_rsn18_8xb32-210e_coco-256x192', 'heatmap, RSN', 'body'),
    Row('td-hm_mobilenetv2_8xb64-210e_coco-256x192', 'heatmap, MobileNetV2', 'body'),
    Row('td-hm_shufflenetv1_8xb64-210e_coco-256x192', 'heatmap, ShuffleNetV1', 'body'),
    Row('td-hm_shufflenetv2_8xb64-210e_coco-256x192', 'heatmap, ShuffleNetV2', 'body'),
    Row('td-hm_alexnet_8xb64-210e_coco-256x192', 'heatmap, AlexNet', 'body'),
    Row('td-hm_vgg16-bn_8xb64-210e_coco-256x192', 'heatmap, VGG', 'body'),
    Row('td-hm_ViTPose-small_8xb64-210e_coco-256x192', 'heatmap (UDP), ViTPose', 'body', atol=0.05),
    Row(
        'td-hm_ViTPose-small-simple_8xb64-210e_coco-256x192',
        'heatmap (UDP), ViTPose with the simple head',
        'body',
        atol=0.05,
    ),
    Row(
        'td-hm-vis_res50_8xb64-210e_coco-aic-256x192-merge',
        'heatmap and visibility, ResNet',
        'body, merged datasets',
    ),
    Row(
        'td-hm_hrnet-w32_8xb64-210e_coco-aic-256x192-combine',
        'heatmap, HRNet',
        'body, merged datasets (19 keypoints)',
    ),
    Row(
        'cspnext-s_udp_8xb256-210e_aic-coco-256x192',
        'heatmap (UDP), CSPNeXt',
        'body, merged datasets',
    ),
    Row('rtmpose-t_8xb256-420e_coco-256x192', 'SimCC, RTMPose', 'body'),
    Row('rtmpose-t_8xb256-420e_body8-256x192', 'SimCC, RTMPose', 'body, merged datasets'),
    Row(
        'rtmpose-t_8xb1024-700e_body8-halpe26-256x192',
        'SimCC, RTMPose',
        'body and feet, merged datasets',
    ),
    Row('rtmpose-m_8xb64-210e_mpii-256x256', 'SimCC, RTMPose', 'body (MPII)'),
    Row('rtmw-m_8xb1024-270e_cocktail14-256x192', 'SimCC, RTMW', 'whole body, merged datasets'),
    Row('simcc_mobilenetv2_wo-deconv-8xb64-210e_coco-256x192', 'SimCC, MobileNetV2', 'body'),
    Row('simcc_res50_8xb64-210e_coco-256x192', 'SimCC, ResNet', 'body'),
    Row('td-reg_res50_8xb64-210e_coco-256x192', 'coordinate regression, ResNet', 'body'),
    Row('td-reg_res50_rle-8xb64-210e_coco-256x192', 'RLE regression, ResNet', 'body'),
    Row('ipr_res50_8xb64-210e_coco-256x256', 'integral regression, ResNet', 'body'),
    Row('ipr_res50_dsnt-8xb64-210e_coco-256x256', 'integral regression (DSNT), ResNet', 'body'),
    Row(
        'ae_hrnet-w32_8xb24-300e_coco-512x512',
        'bottom-up, associative embedding, HRNet',
        'body',
        sizes=_BOTTOM_UP,
        trains=False,
    ),
    Row('cid_hrnet-w32_8xb20-140e_coco-512x512', 'bottom-up, CID, HRNet', 'body', sizes=_BOTTOM_UP),
    Row(
        'dekr_hrnet-w32_8xb10-140e_coco-512x512',
        'bottom-up, DEKR, HRNet',
        'body',
        sizes=_BOTTOM_UP,
        atol=0.05,
    ),
    Row(
        'yoloxpose_tiny_4xb64-300e_coco-416',
        'bottom-up, YOLOX-Pose',
        'body',
        sizes=_HALF,
        initial=True,
    ),
    Row(
        'rtmo-t_8xb32-600e_body7-416x416',
        'bottom-up, RTMO',
        'body, merged datasets',
        sizes=_HALF,
        initial=True,
        share=0.05,
    ),
    Row(
        'edpose_res50_8xb2-50e_coco-800x1333',
        'bottom-up, ED-Pose, ResNet',
        'body',
        sizes={(800, 1333): (256, 320), (1333, 800): (320, 256)},
        size=(256, 320),
        trains=False,
        flops=False,
    ),
    Row('td-hm_res50_8xb64-210e_zebra-160x160', 'heatmap, ResNet', 'animal (zebra)'),
    Row('td-hm_hrnet-w32_8xb64-210e_ap10k-256x256', 'heatmap, HRNet', 'animal'),
    Row('rtmpose-m_8xb64-210e_ap10k-256x256', 'SimCC, RTMPose', 'animal'),
    Row('td-hm_hrnetv2-w18_8xb64-60e_wflw-256x256', 'heatmap, HRNetV2', 'face'),
    Row('td-hm_hrnetv2-w18_awing-8xb64-60e_wflw-256x256', 'heatmap (AWing loss), HRNetV2', 'face'),
    Row(
        'td-reg_res50_softwingloss_8xb64-210e_wflw-256x256',
        'coordinate regression (soft wing loss), ResNet',
        'face',
    ),
    Row('rtmpose-t_8xb256-120e_face6-256x256', 'SimCC, RTMPose', 'face, merged datasets'),
    Row('td-hm_res50_8xb64-100e_freihand2d-224x224', 'heatmap, ResNet', 'hand'),
    Row('rtmpose-m_8xb256-210e_hand5-256x256', 'SimCC, RTMPose', 'hand, merged datasets'),
    Row('td-hm_mobilenetv2_8xb64-210e_onehand10k-256x256', 'heatmap, MobileNetV2', 'hand'),
    Row('td-hm_res50_8xb64-210e_deepfashion_upper-256x192', 'heatmap, ResNet', 'fashion'),
    Row('td-hm_res50_1xb64-210e_deepfasion2-skirt-256x192', 'heatmap, ResNet', 'fashion'),
    Row('td-hm_vipnas-mbv3_8xb64-210e_coco-wholebody-256x192', 'heatmap, ViPNAS', 'whole body'),
    Row(
        'rtmpose-t_8xb64-270e_coco-ubody-wholebody-256x192',
        'SimCC, RTMPose',
        'whole body, merged datasets',
    ),
)

_LIFTING = 'MMPoseInferencer(pose3d=...) of MMPose, which lifts 2D poses'

REFUSED = (
    Refused(
        'image-pose-lift_tcn_8xb64-200e_h36m',
        '3D lifting of an image',
        'PoseInferencer',
        'image-pose-lift_tcn_8xb64-200e_h36m predicts keypoints in 3D (ImagePoseLifting)',
        _LIFTING,
    ),
    Refused(
        'video-pose-lift_tcn-27frm-supv_8xb128-160e_h36m',
        '3D lifting of a video',
        'PoseInferencer',
        'predicts keypoints in 3D (VideoPoseLifting)',
        _LIFTING,
    ),
    Refused(
        'motionbert_dstformer-243frm_8xb32-240e_h36m',
        '3D lifting of a video, MotionBERT',
        'PoseInferencer',
        'predicts keypoints in 3D (MotionBERTLabel)',
        _LIFTING,
    ),
    Refused(
        'internet_res50_4xb16-20e_interhand3d-256x256',
        '3D hands, InterNet',
        'PoseInferencer',
        'predicts keypoints in 3D (Hand3DHeatmap)',
        'MMPoseInferencer(pose3d=...) of MMPose',
    ),
    Refused(
        'edpose_res50_8xb2-50e_coco-800x1333',
        'training of ED-Pose',
        'tools/train.py',
        'MMPose has no loss for EDPoseHead',
        'RTMO; ED-Pose predicts',
    ),
    Refused(
        'edpose_res50_8xb2-50e_coco-800x1333',
        'FLOPs of ED-Pose',
        'pose-backbones flops',
        'BottomupPoseEstimator with EDPoseHead cannot be counted',
        '',
    ),
    Refused(
        'dwpose_l-ll_coco-384x288',
        'distillation, DWPose',
        'build',
        'such as that of the student, mmpose::rtmpose-l_8xb32-270e_coco-wholebody-384x288',
        'the config of the student, which the error names',
    ),
)
