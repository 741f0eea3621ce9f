"""Training watched live in JupyterLab: what it shows while it trains, its stop button, and going on."""

import re

import nbformat
from browser import THEMES, needs_browser, unreadable

from mentor_kd.files import read_json, read_jsonl

pytestmark = needs_browser
TRAINING = "await show.train(train_mentor"


def with_parameters(lab, name, **values):
    """Give the copy of a notebook other parameters, as a user would type them into its cell."""
    path = lab.notebooks / f"{name}.ipynb"
    book = nbformat.read(path, as_version=4)
    cell = next(cell for cell in book.cells if "parameters" in cell.metadata.get("tags", []))
    for key, value in values.items():
        cell.source, found = re.subn(rf"(?m)^({key}: \w+ = )\S+", rf"\g<1>{value}", cell.source)
        assert found == 1, key
    nbformat.write(book, path)


def outputs(page):
    """How many outputs the training's cell has."""
    cells = "window.jupyterapp.shell.currentWidget.content.model.toJSON().cells"
    return page.evaluate(f"() => {cells}.find(c => [].concat(c.source).join('').includes('{TRAINING}')).outputs.length")


def test_training_is_stopped_by_the_button_and_goes_on(lab, page, reports):
    with_parameters(lab, "02_train_mentor", mentor_epochs=60, mentor_batch_size=4)
    book = lab.open(page, "02_train_mentor")
    cells = book.cells()
    book.start()
    stop = page.get_by_role("button", name="Stop", exact=True)
    stop.wait_for(timeout=90e3)
    work = reports / "smoke" / "sandbox-letters" / "mentor" / "work"
    page.get_by_text(re.compile(r"mentor sandbox-small: [1-9]\d*/\d+ steps, about .* left")).wait_for()
    picture = page.locator("img[src^='data:image/png']").first
    picture.wait_for()
    seen, shown = picture.get_attribute("src"), outputs(page)
    page.wait_for_function("seen => !document.querySelector(`img[src='${seen}']`)", arg=seen)  # drawn afresh ...
    assert outputs(page) == shown == 3  # ... in the same place
    picture.scroll_into_view_if_needed()
    for theme in reversed(THEMES):
        book.theme(theme)
        assert unreadable(page, ".jp-OutputArea-output") == [], theme  # the button, the time left, tables
        page.screenshot(path=reports / f"live-{theme.split()[1]}.png")

    stop.focus()
    for key in "ddxb":  # in command mode: delete the cell, cut it, add another below
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    message = page.get_by_text(re.compile(r"mentor sandbox-small was stopped at step \d+; run it again"))
    message.wait_for()
    assert book.cells() == cells
    stopped = int(re.search(r"at step (\d+)", message.text_content()).group(1))
    assert (work / f"checkpoint-{stopped}" / "trainer_state.json").exists()
    counts = {cell["source"]: cell["count"] for cell in book.code_cells()}
    assert not counts[next(source for source in counts if "mentor_learning_curve" in source)]  # nothing below ran
    assert stop.count() == 0

    page.evaluate(
        f"""() => {{const b = window.jupyterapp.shell.currentWidget.content;
        b.activeCellIndex = b.widgets.findIndex(w => w.model.toJSON().source.includes({TRAINING!r}))}}"""
    )
    book.command("notebook:run-cell")
    page.get_by_text(re.compile(rf"\({stopped} already done\)")).wait_for(timeout=90e3)
    book.run_all()
    manifest = read_json(work.parent / "manifest.json")
    logged = [row["step"] for _, row in read_jsonl(work.parent / "metrics.jsonl")]
    assert manifest["training"]["steps"] == logged[-1] > stopped
    assert logged == sorted(logged)
    assert page.get_by_text("Mentor from sandbox-small: already trained").is_visible()
