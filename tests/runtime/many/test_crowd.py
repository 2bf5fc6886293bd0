import pytest

from mrct_runtime.engines.target import Target
from mrct_runtime.errors import EngineError, MrctError, UsageError
from mrct_runtime.many.ray_crew import Crowd

LAPTOP = [{"CPU": 8.0}]
CLUSTER = [{"CPU": 32.0, "GPU": 4.0}, {"CPU": 32.0, "GPU": 4.0}]


@pytest.mark.parametrize(
    ("target", "workers", "nodes", "crowd"),
    [
        (Target(), None, LAPTOP, Crowd(1, 8, 0)),
        (Target(), 2, LAPTOP, Crowd(2, 4, 0)),
        (Target(threads=2), 3, LAPTOP, Crowd(3, 2, 0)),
        (Target(), None, CLUSTER, Crowd(8, 1, 1)),
        (Target("cuda"), 3, CLUSTER, Crowd(3, 1, 1)),
        (Target(threads=4), None, CLUSTER, Crowd(8, 4, 1)),
        (Target("cpu"), None, CLUSTER, Crowd(2, 32, 0)),
        (Target(backend="onnxruntime"), None, CLUSTER, Crowd(2, 32, 0)),
        # a worker has one machine's processors only
        (Target("cpu"), 1, CLUSTER, Crowd(1, 32, 0)),
        (Target("cpu"), 3, CLUSTER, Crowd(3, 16, 0)),
    ],
)
def test_the_machines_are_shared_out_among_the_workers(target, workers, nodes, crowd):
    assert Crowd.fitting(target, workers, nodes) == crowd


@pytest.mark.parametrize(
    ("target", "workers", "nodes", "kind", "word"),
    [
        (Target(), 9, LAPTOP, UsageError, "9 workers of 1 CPUs are more than the Ray cluster has"),
        (Target(threads=8), 2, LAPTOP, UsageError, "lower --workers or --threads"),
        (Target(), 9, CLUSTER, UsageError, "and a GPU are more"),
        (Target("cuda"), None, LAPTOP, EngineError, "has no GPU"),
        (Target("cuda:1"), None, CLUSTER, UsageError, "Ray chooses a worker's GPU"),
    ],
)
def test_more_than_there_is_is_refused(target, workers, nodes, kind, word):
    with pytest.raises(MrctError, match=word) as refused:
        Crowd.fitting(target, workers, nodes)
    assert type(refused.value) is kind
