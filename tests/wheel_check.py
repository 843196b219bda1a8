"""Builds the wheel, installs it in a fresh environment, and works with it far from the checkout: `make test-wheel`.

python tests/wheel_check.py [--python=python3.13 | --newest] [--keep=FOLDER]

The wheel is made from the sdist, and the sdist from what git knows. The folder that the commands run in has packages
of its own called configs, launch and studies, which end whatever imports them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from shutil import which

ROOT = Path(__file__).parents[1]
TOP = ("configs", "launch", "studies")
POISON = 'raise SystemExit("this is the package of another project")\n'
# Compiled quickly rather than well: two steps are trained.
FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"


def main() -> None:
    """Builds, compares, installs and runs; any failure ends it with what was said."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the environment")
    parser.add_argument("--newest", action="store_true", help="of 3.13 and 3.12 what is installed, instead")
    parser.add_argument("--keep", default="", help="folder that is not removed at the end")
    arguments = parser.parse_args()
    interpreter = newest() if arguments.newest else arguments.python
    if interpreter is None:
        print("skipped: there is neither Python 3.13 nor 3.12 here")
        return
    with tempfile.TemporaryDirectory(prefix="tal_jax_wheel_") as temporary:
        home = Path(arguments.keep or temporary).absolute()
        home.mkdir(parents=True, exist_ok=True)
        run([interpreter, "-m", "venv", "--clear", home / "venv"])
        python = home / "venv" / "bin" / "python"
        pip = (python, "-m", "pip", "install", "--quiet")
        wheel = build(home, python, pip)
        compare(wheel)
        # The versions of constraints.txt are those of the oldest Python; others get the newest that the bounds admit.
        version = output([python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"])
        run([*pip, *(("--constraint", ROOT / "constraints.txt") if version == "3.11" else ()), wheel])
        use(home / "elsewhere", home / "venv" / "bin")
        print(f"the wheel works with Python {version}: {wheel.name}")


def newest() -> str | None:
    """An interpreter of Python 3.13, or else of 3.12: by its name, or of pyenv."""
    for version in ("3.13", "3.12"):
        prefix = (
            subprocess.run(["pyenv", "prefix", version], capture_output=True, text=True) if which("pyenv") else None
        )
        for path in (f"python{version}", *([f"{prefix.stdout.strip()}/bin/python"] if prefix else ())):
            if which(path) and not subprocess.run([path, "--version"], capture_output=True).returncode:
                return path
    return None


def run(command: list, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    """What a command prints; ends with everything that it said where it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\nended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def output(command: list) -> str:
    """The one line that a command prints."""
    return run(command).strip()


def build(home: Path, python: Path, pip: tuple) -> Path:
    """The wheel of the sdist of the files that git knows: folders of earlier builds have no part in it."""
    source = home / "source"
    source.mkdir()
    names = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    run([*pip, "setuptools>=77"])
    run([python, "-c", BUILD, home / "built"], source)
    (sdist,) = (home / "built").glob("*.tar.gz")
    run([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", home / "built", sdist])
    (wheel,) = (home / "built").glob("*.whl")
    return wheel


def compare(wheel: Path) -> None:
    """The wheel holds the package, configs, studies and commands in it, and nothing beside it."""
    found = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {f"tal_jax/{path.relative_to(ROOT / 'tal_jax').as_posix()}" for path in sources(ROOT / "tal_jax")}
    for room in TOP:
        wanted |= {f"tal_jax/{room}/{path.relative_to(ROOT / room).as_posix()}" for path in sources(ROOT / room)}
    if found != wanted:
        sys.exit(f"{wheel.name} lacks {sorted(wanted - found)} and has {sorted(found - wanted)} beside what it should")


def sources(folder: Path) -> list[Path]:
    """The files of a folder that are installed."""
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def use(folder: Path, binaries: Path) -> None:
    """Prepares, trains two steps, detects, evaluates, exports, and detects with the export, by names alone."""
    folder.mkdir()
    for room in TOP:
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text(POISON)
    write_recordings(folder)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": FAST, "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}

    def tal_jax(*words: str) -> str:
        return run([binaries / "tal-jax", *words], folder, environment)

    listed = tal_jax("--help")
    missing = [path.stem for path in (ROOT / "launch").glob("[a-z]*.py") if f"\n  {path.stem} " not in listed]
    if missing:
        sys.exit(f"tal-jax --help does not list {', '.join(missing)}")
    tal_jax(
        "prepare", "--annotations=annotations.json", "--features=imu=features", "--stride=0.5", "--out=data",
        "--workers=2",
    )  # fmt: skip
    tal_jax(
        "train",
        "--config=configs/weak_watch.py:cas",
        "--workdir=work",
        "--config.data.dir=data",
        "--config.stages.mgfn.steps=2",
    )
    tal_jax("detect", "--workdir=work", "--split=validation", "--out=detections.json")
    for form in ([binaries / "tal-jax"], [binaries / "python", "-m", "tal_jax"]):
        table = run(
            [*form, "evaluate", "--ground_truth=annotations.json", "--detections=detections.json",
             "--subset=validation", "--json=scores.json"], folder, environment,
        )  # fmt: skip
        if "mAP" not in table:
            sys.exit(f"evaluate printed no table:\n{table}")
    tal_jax("export", "--workdir=work", "--out=model")
    tal_jax("detect", "--model=model", "--features=features/r00.npy", "--stride=0.5", "--out=one.json")
    if list(json.loads((folder / "one.json").read_text())["results"]) != ["r00"]:
        sys.exit("the exported model has not detected in r00")
    code = "import numpy, tal_jax; print(len(tal_jax.load('model')(numpy.load('features/r00.npy'))))"
    run([binaries / "python", "-W", "error", "-c", code], folder, environment)


def write_recordings(folder: Path) -> None:
    """Twelve recordings of noise, without NumPy's help: the interpreter at hand may have none."""
    import random
    import struct

    source = random.Random(0)
    (folder / "features").mkdir()
    database = {}
    for i in range(12):
        rows = [[source.gauss(0, 1) for _ in range(8)] for _ in range(60)]
        subset = "validation" if i % 3 == 0 else "training"
        segments = [{"label": "ab"[i % 2], "segment": [2.0, 8.0]}]
        database[f"r{i:02d}"] = {"subset": subset, "duration": 30.0, "annotations": segments}
        head = b"{'descr': '<f4', 'fortran_order': False, 'shape': (60, 8), }"
        head += b" " * (63 - (10 + len(head)) % 64) + b"\n"
        values = b"".join(struct.pack("<8f", *row) for row in rows)
        (folder / "features" / f"r{i:02d}.npy").write_bytes(
            b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + values
        )
    (folder / "annotations.json").write_text(json.dumps({"database": database}))


if __name__ == "__main__":
    main()
