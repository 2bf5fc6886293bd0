#!/bin/sh
# Everything that needs an NVIDIA GPU, within nine minutes: the tests marked gpu, and all measurements of speed.
#
#   sh benchmarks/gpu.sh [OUT [BUNDLE]]
#
# OUT is a folder for JSON and logs, benchmarks/results/gpu-NAME where it is not given. BUNDLE is a bundle of the paper's
# network; without one it is made of random weights. Nothing is installed and no network is used: what is missing is told.
# PYTHON names the interpreter, MINUTES another limit. A part that fails or takes too long leaves the others' results.
# Ends with 0, with 1 where a part failed, with 7 where there is no GPU.
set -u
# absolute PATH: the same path as seen from the folder that this was called in
absolute() { case $1 in /*) echo "$1" ;; *) echo "$called/$1" ;; esac; }
called=$(pwd)
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
root=$(pwd)
PYTHONPATH="$root/runtime:$root/train:$root/export:$root/cli${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH
mrct='import sys; from mrct_cli.main import main; main()'

gpu=$("$python" benchmarks/gpu_name.py) || exit 7
out=${1:+$(absolute "$1")}
out=${out:-benchmarks/results/gpu-$gpu}
mkdir -p "$out" || exit 6
scratch=$(mktemp -d) || exit 6
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
deadline=$(($(date +%s) + ${MINUTES:-9} * 60))
failed=0
: >"$out/parts.jsonl"

# part NAME SECONDS COMMAND...: runs the command for so many seconds at the most, its output in OUT/NAME.log
part() {
  name=$1 most=$2
  shift 2
  left=$((deadline - $(date +%s)))
  [ "$left" -ge "$most" ] || most=$left
  began=$(date +%s)
  if [ "$most" -lt 5 ]; then
    code=124
    echo "no time was left" >"$out/$name.log"
  else
    timeout -k 5 "$most" "$@" >"$out/$name.log" 2>&1 </dev/null
    code=$?
  fi
  printf '{"part": "%s", "code": %d, "seconds": %d}\n' "$name" "$code" "$(($(date +%s) - began))" >>"$out/parts.jsonl"
  printf '%s: %s after %d s\n' "$name" "$([ "$code" = 0 ] && echo done || echo "FAILED with $code, see $out/$name.log")" \
    "$(($(date +%s) - began))"
  [ "$code" = 0 ] || failed=1
  return "$code"
}

echo "measuring on $gpu, until $(date -d "@$deadline" +%T 2>/dev/null || echo "${MINUTES:-9} minutes are over")"
part doctor 60 "$python" -c "$mrct" doctor --json "$out/doctor.json"

bundle=${2:+$(absolute "$2")}
if [ -z "$bundle" ]; then
  bundle=$scratch/paper.mrct
  part bundle-fp16 150 "$python" benchmarks/paper_bundle.py "$bundle" --fp16 --checkpoint "$scratch/run" ||
    part bundle-fp32 120 "$python" benchmarks/paper_bundle.py "$bundle" --checkpoint "$scratch/run"
fi
checkpoint=
[ ! -d "$scratch/run" ] || checkpoint="--checkpoint $scratch/run"

# The batch that the targets are about first, with compiled rivals; then the others without, for a compiler takes minutes.
# shellcheck disable=SC2086
part bench 200 "$python" -c "$mrct" bench "$bundle" --device cuda --batches 10 --steps 25 --minutes 2.8 --warm-up 3 \
  --json "$out/bench.json" --png "$out/bench.png" $checkpoint
part targets 30 "$python" benchmarks/gpu_targets.py "$out/bench.json" --json "$out/targets.json"
cat "$out/targets.log"
part tests 120 "$python" -m pytest -m gpu -p no:cacheprovider --continue-on-collection-errors --junitxml "$out/tests.xml"
part training 60 "$python" benchmarks/training_speed.py --network paper --size 512 --batch 2 --precision bf16 \
  --device cuda --rounds 3 --steps 5 --json "$out/training.json"
part noise 30 "$python" benchmarks/noise_speed.py --device cuda --json "$out/noise.json"
# shellcheck disable=SC2086
part batches 120 "$python" -c "$mrct" bench "$bundle" --device cuda --batches 1,2,4,8,16 --compile none --steps 5 \
  --rounds 5 --turn 0.5 --warm-up 2 --minutes 1.6 --json "$out/batches.json" --png "$out/batches.png" $checkpoint

echo "results are in $out"
exit "$failed"
