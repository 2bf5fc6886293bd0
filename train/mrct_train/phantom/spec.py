"""What to generate: the grid of the images and the members of a data set. Light, so that a command can show the defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrct_runtime.errors import UsageError


@dataclass(frozen=True)
class GridSpec:
    """Square images of `size` pixels, `spacing` mm apart; slices in mm, centred on the femoral heads."""

    size: int = 512
    spacing: float = 0.875
    slices: int = 84
    slice_spacing: float = 2.5
    slice_thickness: float = 2.5

    def __post_init__(self) -> None:
        """Reject grids that hold no image."""
        if self.size < 8:
            raise UsageError(f"size {self.size}: at least 8 pixels are needed")
        if self.slices < 1:
            raise UsageError(f"slices {self.slices}: at least 1 is needed")
        for name in ("spacing", "slice_spacing", "slice_thickness"):
            if not 0 < getattr(self, name) < 1000:
                raise UsageError(f"{name} {getattr(self, name)} mm: must lie between 0 and 1000")


@dataclass(frozen=True)
class DatasetSpec:
    """How many subjects, on which grid, from which seed; `only` writes that single one of them."""

    subjects: int = 19
    seed: int = 0
    grid: GridSpec = field(default_factory=GridSpec)
    only: int | None = None

    def __post_init__(self) -> None:
        """Reject counts and numbers that select nothing."""
        if not 1 <= self.subjects <= 9999:
            raise UsageError(f"subjects {self.subjects}: choose from 1 to 9999")
        if self.seed < 0:
            raise UsageError(f"seed {self.seed}: must not be negative")
        if self.only is not None and not 1 <= self.only <= self.subjects:
            raise UsageError(f"only {self.only}: choose a subject from 1 to {self.subjects}")

    def split(self) -> dict[str, list[int]]:
        """Subject numbers to train and to test on: the last tenth, at least one of two, is for tests."""
        held = 0 if self.subjects < 2 else max(1, round(self.subjects / 10))
        numbers = list(range(1, self.subjects + 1))
        cut = self.subjects - held
        return {"train": numbers[:cut], "test": numbers[cut:]}
