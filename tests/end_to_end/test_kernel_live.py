"""Training watched live in a kernel without a front-end, as papermill has it: interrupts, errors, what stays."""

import pytest
from jupyter_client.manager import start_new_kernel

BEGIN = """
import time
from mentor_kd.widgets import live

def train(stop, watch):
    for step in range(1, 2000):
        watch({"step": step, "loss": 1 / step, "ce": 1 / step})
        time.sleep(0.01)
        if stop():
            raise KeyboardInterrupt(f"it was stopped at step {step}; run the same again to go on from there")

def breaks(stop, watch):
    watch({"step": 1, "loss": 1.0, "ce": 1.0})
    print("said in the thread")
    raise ValueError("the milk is sour")
"""


@pytest.fixture
def kernel():
    manager, client = start_new_kernel()
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def outputs(client, code, on_picture=lambda: None):
    """Execute code; the reply, and every output as a front-end without widgets keeps it, by display."""
    kept, reply = [], None

    def hook(message):
        content, kind = message["content"], message["msg_type"]
        if kind in ("stream", "error"):
            kept.append((kind, content))
        elif kind == "display_data":
            kept.append([content["transient"].get("display_id"), content["data"]])
        elif kind == "update_display_data":
            for one in kept:
                if one[0] == content["transient"]["display_id"]:
                    one[1] = content["data"]
        if "image/png" in content.get("data", {}):
            on_picture()

    reply = client.execute_interactive(code, output_hook=hook, timeout=60)
    return reply["content"], kept


def test_an_interrupt_ends_the_training_and_not_the_kernel(kernel):
    manager, client = kernel
    assert outputs(client, BEGIN)[0]["status"] == "ok"
    said, kept = outputs(client, "await live.Live('One').train(train)", manager.interrupt_kernel)
    assert said["ename"] == "Stopped" and "it was stopped at step" in said["evalue"]
    assert said["traceback"] == [said["evalue"]]
    control, picture, error = kept
    assert control[1]["text/html"] == "<pre style='margin:0'></pre>"
    assert "image/png" in picture[1] and error[0] == "error"
    assert outputs(client, "print(6 * 7)")[1][0][1]["text"] == "42\n"


def test_an_error_fails_the_cell_with_the_place_where_it_happened(kernel):
    _, client = kernel
    outputs(client, BEGIN)
    said, kept = outputs(client, "await live.Live('One').train(breaks)")
    assert (said["ename"], said["evalue"]) == ("ValueError", "the milk is sour")
    assert any("breaks" in line for line in said["traceback"])
    assert "image/png" in next(one[1] for one in kept if isinstance(one, list) and "image/png" in one[1])
    assert "said in the thread\n" in [content.get("text") for kind, content in kept if kind == "stream"]
