"""A command run again and again on a disk that fails from the n-th change on, for every n: one JSON line a run.

python on_a_failing_disk.py FOLDER ERRNO COMMAND...; failing_writes.c is preloaded. The command's module is imported once,
each run is a fork. FOLDER is put back to what it was at first before each run.
"""

import ctypes
import json
import os
import shutil
import sys
from pathlib import Path

folder, error, argv = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
before = folder.with_name(f"{folder.name}-before")
shim = ctypes.CDLL(None)


def run(n: int) -> dict:
    """The exit code, what was told, how many changes there were, and what is left in the folder."""
    shutil.rmtree(folder)
    shutil.copytree(before, folder, symlinks=True)
    told = folder.with_name("told")
    child = os.fork()
    if child == 0:
        with told.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        from mrct_cli import boundary, main

        shim.fail_under(str(folder).encode(), n, error)
        code = boundary.run(main.load(argv[0]), f"mrct-{argv[0]}", argv[1:])
        sys.stderr.flush()
        sys.stdout.flush()
        done = shim.changes()
        shim.fail_under(b"", 0, 0)
        folder.with_name("changes").write_text(str(done))
        os._exit(code)
    _, status = os.waitpid(child, 0)
    left = {
        path.relative_to(folder).as_posix(): path.stat().st_size if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
    return {
        "n": n,
        "code": os.waitstatus_to_exitcode(status),
        "told": told.read_text().splitlines(),
        "changes": int(folder.with_name("changes").read_text()),
        "left": left,
    }


def warm_up() -> None:
    """Imports what a run imports, in this process, so that no run has to."""
    import highdicom  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import nibabel  # noqa: F401
    import onnxruntime  # noqa: F401

    from mrct_cli import main
    from mrct_runtime import translate  # noqa: F401

    main.load(argv[0])


warm_up()
shutil.copytree(folder, before, symlinks=True)
# the run without a fault says how many changes there are
whole = run(0)
for found in (whole, *map(run, range(1, whole["changes"] + 1))):
    sys.stdout.write(json.dumps(found) + "\n")
