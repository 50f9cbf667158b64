#!/usr/bin/env bash
# Draw the README's pictures again, from the repository's root: bash docs/pictures/make.sh
set -euo pipefail
faceloom=${FACELOOM:-faceloom}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$faceloom" edit examples/portrait.jpg --age +2 -o "$folder/age.png"
"$faceloom" edit examples/portrait.jpg --smile +2 -o "$folder/smile.png"
"$faceloom" edit examples/portrait.jpg --hair-colour -2 -o "$folder/fair.png"
"$faceloom" edit examples/portrait.jpg --age +1 --smile +1 --hair-colour -1 -o "$folder/all.png" --sheet docs/pictures/strip.jpg
"$faceloom" sample -o docs/pictures/samples.jpg --count 16
python - "$folder" <<'PYTHON'
import sys
from pathlib import Path

from faceloom import Photo, open_photo, save_photo
from faceloom.imaging.sheets import strip

folder = Path(sys.argv[1])
names = {"photo": Path("examples/portrait.jpg")} | {
    caption: folder / f"{name}.png"
    for caption, name in {"older": "age", "smiling": "smile", "fair hair": "fair"}.items()
}
sheet = strip([open_photo(path).pixels for path in names.values()], list(names), cell=320)
save_photo(Photo(sheet), "docs/pictures/edits.jpg")
PYTHON
