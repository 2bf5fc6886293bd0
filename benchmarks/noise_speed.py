"""How fast a device makes its noise, ten 512 x 512 images at once, beside a copy of as many numbers."""

from __future__ import annotations

from machine import parser, report

from mrct_runtime.bench.engine_subject import clock_of
from mrct_runtime.bench.timing import durations, percentile, warm_up
from mrct_runtime.bundle import Bundle
from mrct_runtime.demonstration import demonstration_bundle
from mrct_runtime.device import HOST, Device
from mrct_runtime.engines.target import Target


def seconds_a_draw(device: Device, batch: int, size: int, seconds: float) -> dict[str, float]:
    """Of one draw for the batch, and of a copy of it: the medians."""
    clock, xp = clock_of(device), device.xp
    draw = device.normals((1, 2), [(0, k) for k in range(batch)], size * size)
    step = iter(range(1 << 30))
    source = draw(next(step)).copy()
    target = xp.empty_like(source)
    works = {"draw": lambda: draw(next(step)), "copy": lambda: xp.copyto(target, source)}
    found = {}
    for name, work in works.items():
        last = warm_up(work, clock, seconds).last
        found[name] = percentile(durations(work, clock, seconds, last), 50) or 0.0
    return found


def main() -> None:
    made = parser(__doc__ or "")
    made.add_argument("--device", default="cpu")
    made.add_argument("--batch", type=int, default=10)
    made.add_argument("--size", type=int, default=512)
    made.add_argument(
        "--seconds", type=float, default=3.0, help="of a warm-up and of a measurement"
    )
    arguments = made.parse_args()
    device: Device = HOST
    if arguments.device != "cpu":
        # a device comes with an engine
        bundle = Bundle.load(demonstration_bundle("em"))
        device = bundle.open_engine(Target(arguments.device)).device
    found = seconds_a_draw(device, arguments.batch, arguments.size, arguments.seconds)
    values = arguments.batch * arguments.size**2
    figures = {
        "device": device.name,
        "values": values,
        "draw_ms": 1e3 * found["draw"],
        "copy_ms": 1e3 * found["copy"],
        "values_a_second": values / found["draw"],
    }
    print(figures)
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
