import sys

import pytest

from mrct_runtime.errors import EngineError
from mrct_runtime.itk import simple_itk


def test_a_missing_simpleitk_names_its_extra_and_what_wanted_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    told = r"bias correction needs SimpleITK, which is not installed: pip install 'mrct\[itk\]'"
    with pytest.raises(EngineError, match=told):
        simple_itk("bias correction")
