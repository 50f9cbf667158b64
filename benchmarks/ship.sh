#!/usr/bin/env bash
# What a new version of the embedded model wants after `faceloom train --start default --out RUN`, from the repository's
# root:
#
#     bash benchmarks/ship.sh RUN PHOTOS
#
# It carries the directions over, trains the twins, measures the model against the embedded one, puts it in the
# embedded one's place, and measures again what the documents say: about an hour on two cores. Look at the sheets in
# RUN/ship before you commit; the model card, docs/training.md, docs/gallery.md and README's table are yours to write.
set -euo pipefail
run=$1 photos=$2
model=$run/model faces=$run/faces.npz notes=$run/ship home=src/faceloom/assets/default
mkdir -p "$notes"
export OMP_NUM_THREADS=1

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }

say "directions"
faceloom directions carry --from default --model "$model" --faces "$faces" >"$notes/carry.txt" 2>&1
say "twins, evaluation"
faceloom domain train --illustrator toon --illustrator comic --illustrator sketch --faces "$faces" \
  --model "$model" --out "$model/twins" --replace >"$notes/twins.txt" 2>&1 &
twins=$!
faceloom evaluate "$model" --faces "$faces" --out "$notes/evaluation" >"$notes/evaluation.txt" 2>&1
faceloom benchmark likeness --model "$model" --photos "$photos" --out "$model/likeness.json" >"$notes/likeness.txt" 2>&1
python benchmarks/subgroups.py default "$model" --photos "$photos" >"$notes/subgroups.txt" 2>&1
wait "$twins"
say "in its place"
cp "$model"/{generator,encoder,directions}.safetensors "$model/likeness.json" "$home/"
cp "$model"/twins/{toon,comic,sketch}.safetensors "$home/twins/"
say "directions report, inversion"
(
  faceloom directions report --photos "$photos" --limit 60 --out docs/directions-report.md \
    --picture docs/directions-report.png >"$notes/report.txt" 2>&1
  python benchmarks/gallery.py --photos "$photos" --out "$notes/gallery" >"$notes/gallery.txt" 2>&1
  bash docs/pictures/make.sh >"$notes/pictures.txt" 2>&1
  python benchmarks/twins.py --photos "$photos" --out "$notes/twins-report" >"$notes/twins-report.txt" 2>&1
) &
report=$!
faceloom benchmark inversion --photos "$photos" --limit 40 --few 6 >"$notes/inversion.txt" 2>&1
wait "$report"
say "done"
