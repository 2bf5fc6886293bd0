"""SimpleITK, which is an extra: imported where it is needed, and named where it is missing."""

from __future__ import annotations

from typing import Any

from mrct_runtime.errors import EngineError


def simple_itk(purpose: str) -> Any:
    """The module SimpleITK; EngineError says what it was wanted for."""
    try:
        import SimpleITK
    except ImportError as error:
        raise EngineError(
            f"{purpose} needs SimpleITK, which is not installed: pip install 'mrct[itk]'"
        ) from error
    return SimpleITK
