#!/usr/bin/env bash
# From data to pictures: train MogaNet-XT, evaluate it, draw what it sees.
#   bash tools/demo.sh [COCO_FOLDER] [CHECKPOINT_TO_START_FROM]
# Without a folder, synthetic people are drawn first. Everything that is
# made lies in work_dirs/demo (with a folder: work_dirs/demo-<its name>), or
# where WORK says. TRAIN_OPTIONS are handed to tools/train.py.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
data=${1:-} init=${2:-}
configs=configs/moganet/td-hm_moganet-xt_1xb8-demo
started=$SECONDS

step() { printf '\n[demo] %s (%d s)\n' "$1" $((SECONDS - started)); }
# try COMMAND...: show it, run it.
try() { echo "+ $*" | sed "s#$python#python#"; "$@"; }

if [ -z "$data" ]; then
    config=${configs}_synthetic-128x96.py
    data=data/synthetic work=work_dirs/demo
    val=val
    step "drawing synthetic people into $data"
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
# --resume: a demo that was stopped goes on; a finished one is not repeated.
try "$python" tools/train.py "$config" --data-root "$data" \
    --work-dir "$work" --no-validate --resume ${options[@]+"${options[@]}"} ${TRAIN_OPTIONS:-}

checkpoint=$("$python" - "$work" <<'END'
import sys

from pose_backbones.engine.checkpoints import latest_checkpoint

found = latest_checkpoint(sys.argv[1])
sys.exit(f'error: there is no checkpoint in {sys.argv[1]}') if (
    found is None) else sys.stdout.write(str(found))
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

step "done; in $work"
cat <<END
  $(basename "$checkpoint")          the checkpoint
  metrics.json           AP and its kin
  predictions.keypoints.json   key points, COCO results format
  training.png           loss and accuracy over the steps
  pictures/overview.jpg  ground truth beside predictions
  report.html            what went right and wrong, for a browser
END
"$python" - "$work/metrics.json" <<'END'
import json
import sys

metrics = json.load(open(sys.argv[1]))
print('\n'.join(f'{name:14} {value:.3f}' for name, value in metrics.items()
                if name.startswith('coco/')))
END
echo "To train anew, remove $work."
