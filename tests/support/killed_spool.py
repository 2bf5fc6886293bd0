"""A node's spool worked by a process that is killed before its n-th change of the disk, for every n; run as a program.

Prints what each of these stories ended with, as JSON. The peer, the translation and the destination are pretended: a
peer sends again what was not acknowledged, every translation makes other UIDs, a destination keeps files by their UID.
"""

import json
import os
import random
import secrets
import shutil
import signal
import sys
from pathlib import Path

from mrct_runtime.node.configuration import Retries
from mrct_runtime.node.incoming import Incoming
from mrct_runtime.node.jobs import jobs
from mrct_runtime.node.pipeline import Outcome, Pipeline
from mrct_runtime.node.spool import JOB_STATES, claimed
from mrct_runtime.output_folder import OutputFolder

STUDY = "1.2.3"
INSTANCES = {f"1.2.3.{k}": f"instance {k}".encode() for k in range(3)}
LATER = {"1.2.3.9": b"an instance that comes when the others are through"}
RETRIES = Retries(attempts=2, first_s=1e-3, longest_s=1e-3)
CHANGES = {"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"}
IMAGES = 2


def work(root, place):
    """One life of the node: it goes on until nothing is left to do."""
    with claimed(root) as spool:
        pipeline = Pipeline(spool, lambda event, **facts: None)
        pipeline.recover()
        incoming = Incoming(spool, 100)
        for instances in (INSTANCES, {**INSTANCES, **LATER}):
            receive(incoming, instances, place / "acknowledged")
            for study in incoming.complete(0, 0):
                incoming.close(study)
            while pipeline.translate_next(translate, RETRIES):
                pass
            while pipeline.send_next(lambda job: send(job, place / "destination"), RETRIES):
                pass


def receive(incoming, instances, acknowledged):
    """What a peer does: it sends what it has not been told to be stored."""
    for uid, content in instances.items():
        if not (acknowledged / uid).exists():
            received = incoming.spool["receiving"] / "file"
            received.write_bytes(content)
            assert incoming.take(received, STUDY, uid) in {"stored", "known"}
            (acknowledged / uid).touch()


def translate(job):
    with OutputFolder.claim(job.result) as folder:
        for k in range(IMAGES):
            (folder.partial / f"{k}.dcm").write_text(secrets.token_hex(8))
        folder.commit()
    return Outcome("done")


def send(job, destination):
    for path in sorted(job.result.glob("*.dcm")):
        if path.name not in job.sent():
            shutil.copyfile(path, destination / path.read_text())
            job.note_sent(path.name)
    return Outcome("done")


def life(root, place, changes):
    """True if a life that is killed before so many changes of the disk came to its end."""
    child = os.fork()
    if child == 0:
        left = [changes]

        def count(event, arguments):
            if event in CHANGES or (event == "open" and "w" in str(arguments[1])):
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        if changes:
            sys.addaudithook(count)
        try:
            work(root, place)
        except BaseException:  # noqa: BLE001 - a fork must never go on as its parent
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in {0, signal.SIGKILL}, status
    return status == 0


def story(place, lives):
    """What is there after lives that were killed, a last one that was not, and one more that finds nothing to do."""
    root = place / "spool"
    for name in ("acknowledged", "destination"):
        (place / name).mkdir(parents=True)
    ended = [life(root, place, changes) for changes in [*lives, 0, 0]]
    with claimed(root) as spool:
        found = list(jobs(spool, *JOB_STATES))
        return {
            "lives": list(lives),
            "first_killed": not ended[0],
            "states": [job.state for job in found],
            "instances": [len(list(job.instances.iterdir())) for job in found],
            "destination": len(list((place / "destination").iterdir())),
            "left": sum(len(list(spool[name].iterdir())) for name in ("incoming", "receiving")),
        }


def main(place, seed):
    draw = random.Random(seed)
    stories = []
    while not stories or stories[-1]["first_killed"]:
        n = len(stories) + 1
        stories.append(story(place / str(n), (n, draw.randint(1, 40))))
        shutil.rmtree(place / str(n))
    sys.stdout.write(json.dumps(stories))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
