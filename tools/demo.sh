#!/usr/bin/env bash
# End-to-end demo: train MogaNet-XT, evaluate it, and draw its predictions.
#   bash tools/demo.sh [COCO_DIRECTORY] [INITIAL_CHECKPOINT]
# Without a directory, the demo first generates a dataset of synthetic people. Outputs are in
# work_dirs/demo (with a directory: work_dirs/demo-<its name>), or in the directory WORK.
# TRAIN_OPTIONS are passed to tools/train.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
data=${1:-} init=${2:-}
configs=configs/moganet/td-hm_moganet-xt_1xb8-demo
started=$SECONDS

step() { printf '\n[demo] %s (%d s)\n' "$1" $((SECONDS - started)); }
# try COMMAND...: print a command and run it.
try() { echo "+ $*" | sed "s#$python#python#"; "$@"; }

if [ -z "$data" ]; then
    config=${configs}_synthetic-128x96.py
    data=data/synthetic work=work_dirs/demo
    val=val
    step "generating synthetic people in $data"
    try "$python" tools/make_synthetic_coco.py "$data" --train 1500 --val 180
else
    config=${configs}_coco-128x96.py
    data=${data%/} work=work_dirs/demo-$(basename "$data")
    val=val2017
fi
truth=$data/annotations/person_keypoints_$val.json
options=()
if [ -n "$init" ]; then
    work=$work-from-$(basename "$init" .pth)
    options=(--load-from "$init")
fi

work=${WORK:-$work}

step "training, with a log line every 20 steps"
# --resume continues a demo that was stopped and skips one that is complete.
try "$python" tools/train.py "$config" --data-root "$data" \
    --work-dir "$work" --no-validate --resume ${options[@]+"${options[@]}"} ${TRAIN_OPTIONS:-}

checkpoint=$("$python" - "$work" <<'END'
import sys

from pose_backbones.engine.checkpoints import latest_checkpoint

path = latest_checkpoint(sys.argv[1])
if path is None:
    sys.exit(f'error: no checkpoint in {sys.argv[1]}')
sys.stdout.write(path)
END
)
step "evaluating $checkpoint on the images of $data/$val"
try "$python" tools/test.py "$config" "$checkpoint" --data-root "$data" \
    --work-dir "$work/test" --out "$work/metrics.json" \
    --cfg-options "test_evaluator.outfile_prefix=$work/predictions"

step "drawing curves and predictions"
try "$python" tools/plot_training.py "$work" --overwrite
try "$python" tools/draw_results.py "$truth" \
    "$work/predictions.keypoints.json" --images "$data/$val" \
    --out "$work/pictures" --overwrite
try "$python" tools/report.py "$work" --out "$work/report.html" --overwrite

step "done; the outputs are in $work"
cat <<END
  $(basename "$checkpoint")          the checkpoint
  metrics.json           AP, AR and related metrics
  predictions.keypoints.json   keypoints in COCO results format
  training.png           loss and accuracy over the training steps
  pictures/overview.jpg  ground truth and predictions side by side
  report.html            report with metrics, error analysis and examples
END
"$python" - "$work/metrics.json" <<'END'
import json
import sys

metrics = json.load(open(sys.argv[1]))
print('\n'.join(f'{name:14} {value:.3f}' for name, value in metrics.items()
                if name.startswith('coco/')))
END
echo "To train again from scratch, remove $work."
