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
    return folder


SLOW = (
    "test_sweeps",
    "test_runs",
    "test_notebooks",
    "test_explorer_runs",
    "test_chain",
    "test_endpoint",
    "test_served",
)
SLOW += ("test_key", "test_kernel", "test_browser", "test_annotate_kill", "test_kill", "test_sweep_chain")


def pytest_collection_modifyitems(items):
    """Run fast tests first, so that a mistake shows in seconds; notebooks and kill tests run last."""

    def rank(item) -> int:
        return next((i for i, name in enumerate(SLOW, 1) if item.path.stem.startswith(name)), 0)

    items.sort(key=rank)
