#!/usr/bin/env bash
# Draw the README's pictures again, from the repository's root: bash docs/pictures/make.sh
# (The studio's: npm run pictures --prefix studio.)
set -euo pipefail
faceloom=${FACELOOM:-faceloom}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$faceloom" edit examples/portrait.jpg --age +1.5 --grey-hair +1 -o "$folder/age.png"
"$faceloom" edit examples/portrait.jpg --smile +2 -o "$folder/smile.png"
"$faceloom" edit examples/portrait.jpg --hair-colour -1.5 -o "$folder/fair.png"
"$faceloom" edit examples/beard.jpg --age -1.5 -o "$folder/younger.png"
"$faceloom" edit examples/beard.jpg --beard -1.5 -o "$folder/shaven.png"
"$faceloom" edit examples/beard.jpg --gender +1.5 -o "$folder/masculine.png"
"$faceloom" edit examples/portrait.jpg --age +1 --smile +1 --beard +1 -o "$folder/all.png" --sheet docs/pictures/strip.jpg
for name in portrait beard; do
  for twin in toon comic sketch; do
    "$faceloom" edit "examples/$name.jpg" --twin "$twin" -o "$folder/$name-$twin.png"
  done
done
python - "$folder" <<'PYTHON'
import sys
from pathlib import Path

import numpy as np

from faceloom import Claim, Photo, open_photo, save_picture
from faceloom.imaging.sheets import grid, strip

folder = Path(sys.argv[1])
examples = {
    "portrait": {"older": "age", "smiling": "smile", "fair hair": "fair"},
    "beard": {"younger": "younger", "less beard": "shaven", "more masculine": "masculine"},
}
sheets = []
for name, edits in examples.items():
    paths = [Path(f"examples/{name}.jpg"), *(folder / f"{edit}.png" for edit in edits.values())]
    sheets.append(strip([open_photo(path).pixels for path in paths], ["photo", *edits], cell=320))
save_picture(Photo(np.concatenate(sheets)), "docs/pictures/edits.jpg", Claim())
twins = ["toon", "comic", "sketch"]
rows = [
    [open_photo(f"examples/{name}.jpg").pixels, *(open_photo(folder / f"{name}-{twin}.png").pixels for twin in twins)]
    for name in ("portrait", "beard")
]
save_picture(Photo(grid(rows, None, ["photo", *twins], cell=320)), "docs/pictures/cartoon.jpg", Claim())
PYTHON
