# One way to do each thing, here and in continuous integration. `just --list` shows the verbs.

venv := env("VIRTUAL_ENV", justfile_directory() / ".venv")
export PATH := venv / "bin:" + env("PATH")

# Lint, types and tests: what continuous integration runs.
check: lint types test

# Make the virtual environment and install Faceloom into it, editable, with the tools to work on it.
setup:
    test -d {{venv}} || python3 -m venv {{venv}}
    pip install -c constraints.txt -e '.[dev]'

# Style, layout of the code, and the layers between its packages.
lint:
    ruff check
    ruff format --check
    lint-imports

# Static types, strict.
types:
    mypy

# The tests, in as many processes as there are cores, up to four; pass a path or pytest's options to run some of them.
test *options:
    python -m pytest -n auto --maxprocesses 4 --dist loadfile {{options}}

# The studio's page: types, build, and whether the committed build is the one that its sources give.
studio:
    npm ci --silent --no-audit --no-fund --prefix studio
    npm run --silent check --prefix studio
    npm run --silent build --prefix studio
    test -z "$(git status --porcelain -- src/faceloom/server/web)"

# The tests that need minutes or real weights.
test-slow *options:
    python -m pytest -m slow {{options}}

# Edit a set of photos into contact sheets, to be looked at.
gallery *options:
    python benchmarks/gallery.py {{options}}

# Remake the embedded model's twins from faces: a folder, a zip, or the faces.npz of the model's training run.
twins faces:
    faceloom domain train --illustrator toon --illustrator comic --illustrator sketch --faces {{faces}} --out src/faceloom/assets/default/twins --replace

# Sheets and figures of the twins, on photos.
twins-report *options:
    python benchmarks/twins.py {{options}}

# Put the code in its standard layout.
fmt:
    ruff check --fix
    ruff format
