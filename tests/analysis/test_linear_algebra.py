"""No threads of the linear algebra beside those of a fit, whatever the processor and whoever imported NumPy first."""

from __future__ import annotations

import subprocess
import sys

import pytest

THREADS = """
from threadpoolctl import threadpool_info
print(sorted({each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"}))
"""


@pytest.mark.parametrize("first", ["", "import numpy; numpy.ones((500, 500)) @ numpy.ones((500, 500))"])
@pytest.mark.parametrize("module", ["exporter.analysis.scoring.seasonal", "exporter.app"])
def test_matrix_products_stay_in_the_thread_that_asks_for_them(first: str, module: str) -> None:
    code = f"{first}\nimport {module}\n{THREADS}"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout  # noqa: S603
    assert told.strip() == "[1]"
