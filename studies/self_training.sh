#!/bin/sh
# Labels only, twice: three weak trainings label the training recordings, and BMN + TCANet learn from that.
#
#   sh studies/self_training.sh SESSIONS DATA OUT SEED
#
# SESSIONS holds annotations.json and features/, DATA is what launch.prepare made of them and of the clips. Weak trainings
# of seeds 3 SEED to 3 SEED + 2, a supervised one of seed SEED; started again, it goes on. Measured on the validation people;
# the threshold was chosen on held-out training sessions (docs/accuracy.md).
set -e
sessions=$1 data=$2 out=$3 seed=$4
python=${PYTHON:-python}
runs=
for n in 0 1 2; do
    run=$out/weak$((3 * seed + n))
    $python -m tal_jax train --config=weak_watch:full --workdir="$run" --config.data.dir="$data" \
        --config.seed=$((3 * seed + n))
    runs=$runs${runs:+,}$run
done
for split in training validation; do
    $python -m tal_jax ensemble --runs="$runs" --weights=uniform --split=$split --out="$out/teachers$seed-$split.json"
done
$python -m tal_jax pseudo --annotations="$sessions/annotations.json" --detections="$out/teachers$seed-training.json" \
    --out="$out/pseudo$seed.json"
$python -m tal_jax prepare --annotations="$out/pseudo$seed.json" --features=imu="$sessions/features" --stride=0.2 \
    --out="$out/data$seed"
$python -m tal_jax train --config=supervised_watch --workdir="$out/student$seed" \
    --config.data.dir="$out/data$seed" --config.seed="$seed"
$python -m tal_jax detect --workdir="$out/student$seed" --split=validation --out="$out/student$seed.json"
for found in teachers$seed-validation student$seed; do
    for tiou in 0.5:0.95:0.05 0.1:0.7:0.1; do
        echo "$found, $tiou"
        $python -m tal_jax evaluate --ground_truth="$sessions/annotations.json" --detections="$out/$found.json" \
            --subset=validation --tiou=$tiou
    done
done
