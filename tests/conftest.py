"""Settings for all tests: no network, one thread, run folders in a temporary directory."""

import os

# must be set before transformers is first imported, which reads them once
for _name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ[_name] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"

import hypothesis
import pytest
import torch

pytest_plugins = ["browser", "small_run", "trained"]  # the fixtures lab and page, folder, folders

torch.set_num_threads(1)
# no deadline: a busy machine or a slow first call is not a failure
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def reports(tmp_path_factory, monkeypatch):
    """A separate reports folder per test, passed to the package and to child processes by MENTOR_KD_REPORTS."""
    folder = tmp_path_factory.mktemp("reports")
    monkeypatch.setenv("MENTOR_KD_REPORTS", str(folder))
    monkeypatch.setenv("MENTOR_KD_SMOKE", "1")
    return folder


SLOW = ("test_endpoint", "test_sweeps", "test_run", "test_wheel", "test_notebooks", "test_explorer_runs", "test_chain")
SLOW += (
    "test_served",
    "test_key",
    "test_kernel",
    "test_browser",
    "test_annotate_kill",
    "test_kill",
    "test_sweep_chain",
)


# What measures time, or watches a process from outside, needs the machine for itself: `make test` runs these last, one
# at a time, and everything else on two cores.
ALONE = ("test_explorer_speed", "test_endpoint", "test_rate_limits", "test_kernel_live", "test_browser")
ALONE += ("test_browser_explorer", "test_browser_lens", "test_browser_live")


def pytest_collection_modifyitems(items):
    """Run fast tests first, so that a mistake shows in seconds; notebooks and kill tests run last."""

    def rank(item) -> int:
        return next((i for i, name in enumerate(SLOW, 1) if (item.path.stem + "_").startswith(name + "_")), 0)

    for item in items:
        if item.path.stem in ALONE:
            item.add_marker("alone")
    items.sort(key=rank)
