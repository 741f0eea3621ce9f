"""The soft-label lens in JupyterLab: mouse, keys and sliders, and nothing of them reaches the notebook."""

import re

import nbformat
from browser import HEIGHT, THEMES, WIDTH, needs_browser, unreadable

pytestmark = needs_browser


def numbers(page):
    """What the bars say, column by column: the text that people read."""
    heads = page.locator(".lens-column b").all_text_contents()
    cells = page.locator(".lens-number").all_text_contents()
    return {head: cells[i :: len(heads)] for i, head in enumerate(heads)}


def title(page):
    return page.locator(".lens-title").text_content().replace("\u00a0", " ")


def place(page):
    return int(re.match(r"Token (\d+) of \d+", title(page)).group(1))


def slide(page, name, key, times):
    slider = page.get_by_label(name)
    slider.focus()
    for _ in range(times):
        page.keyboard.press(key)


def test_the_lens_by_mouse_keys_and_sliders(lab, page, reports):
    book = lab.open(page, "05_look_inside_soft_labels")
    cells = book.cells()
    book.run_all()
    page.locator(".lens-bars").scroll_into_view_if_needed()
    assert list(numbers(page)) == [
        "hard label",
        "mentor",
        "target",
        "before",
        "after",
        "push on before",
        "push on after",
    ]
    assert page.locator(".lens-strip").count() == 1

    # both themes, and every column within a narrow window
    page.set_viewport_size({"width": 1000, "height": HEIGHT})
    for theme in THEMES:
        book.theme(theme)
        assert unreadable(page, ".lens") == [], theme
        page.locator(".lens").screenshot(path=reports / f"lens-{theme.split()[1]}.png")
    room = page.locator(".lens-bars").bounding_box()
    for box in [one.bounding_box() for one in page.locator(".lens-column, .lens-number").all()]:
        assert room["x"] <= box["x"] and box["x"] + box["width"] <= room["x"] + room["width"] + 1
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    book.theme(THEMES[0])

    # a token by mouse, then by keys
    page.locator(".lens-token").nth(4).click()
    page.wait_for_function("() => document.querySelector('.lens-title').textContent.includes('5\\u00a0of')")
    first = numbers(page)
    page.keyboard.press("Tab")  # off the strip and back on it: it needs no mouse
    page.locator(".lens-strip").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('.lens-title').textContent.includes('6\\u00a0of')")
    second = numbers(page)
    assert second != first and page.locator(".lens-chosen").count() == 1
    page.keyboard.press("Home")
    page.wait_for_function("() => document.querySelector('.lens-title').textContent.includes('Token\\u00a01\\u00a0of')")
    page.keyboard.press("ArrowRight")
    for key in ("d", "d", "x", "b", "a", "Enter"):  # delete, cut, add below, add above, edit
        page.keyboard.press(key)
    page.wait_for_function("() => document.querySelector('.lens-title').textContent.includes('2\\u00a0of')")
    assert book.cells() == cells

    # the sliders change what the student is told, and only what they should
    before = numbers(page)
    slide(page, "temperature", "ArrowRight", 8)
    page.get_by_text("at τ = 4").first.wait_for()
    hot = numbers(page)
    assert hot["hard label"].count("1.00") == 1 and hot["mentor"] != before["mentor"]
    slide(page, "weight", "Home", 1)
    page.get_by_text("λ = 0", exact=True).wait_for()
    assert numbers(page)["target"] == numbers(page)["hard label"]
    slide(page, "weight", "End", 1)
    page.get_by_text("λ = 1", exact=True).wait_for()
    assert numbers(page)["target"] == numbers(page)["mentor"]
    page.keyboard.press("d")
    page.keyboard.press("d")
    assert book.cells() == cells

    # before and after, side by side, and another rationale
    page.get_by_label("colour").select_option("divergence")
    page.wait_for_function("() => document.querySelectorAll('.lens-strip').length === 2")
    assert page.locator(".lens-head b").all_text_contents() == ["before", "after"]
    left, right = (page.locator(".lens-strip").nth(i).bounding_box() for i in (0, 1))
    assert left["y"] == right["y"] and left["x"] + left["width"] <= right["x"]
    page.locator(".lens-question").scroll_into_view_if_needed()
    page.screenshot(path=reports / "lens.png")
    number = page.get_by_role("spinbutton", name="rationale")
    number.fill("3")
    number.press("Enter")
    page.locator(".lens-busy").wait_for(state="detached")
    asked = page.locator(".lens-question").text_content()
    page.get_by_role("button", name="next rationale").click()
    page.wait_for_function("asked => document.querySelector('.lens-question').textContent !== asked", arg=asked)
    assert number.input_value() == "4"
    assert page.locator(".lens-error").is_hidden()
    assert book.cells() == cells


HOSTILE = """
from mentor_kd import Lens
from mentor_kd.models import loading
from mentor_kd.data.rationales import new_question, new_rationale

mark = "<script>window.ran = 1</script><img src=x onerror='window.ran = 2'>"
question = new_question("sandbox-letters", f"{mark} \\u202eabc?", "a")
sampler = {"model": mark, "temperature": 0.7, "top_k": 50, "seed": 0, "index": 0}
texts = [f"{mark} \\x00 \\u202ecba \\U0001f600 \\u05e9\\u05dc\\u05d5\\u05dd", "x" * 1_000_000]
rows = [new_rationale(question, text, "teacher", sampler, prediction="a", correct=True) for text in texts]
small = loading.load("sandbox-small")
Lens(rows, small, {mark: small, "after": small})
"""


def test_what_models_and_data_write_is_shown_as_text(lab, page):
    cell = nbformat.v4.new_code_cell(HOSTILE)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(book, lab.notebooks / "hostile.ipynb")
    book = lab.open(page, "hostile")
    book.run_all()
    page.locator(".lens-token").first.wait_for()
    text = "".join(page.locator(".lens-token").all_text_contents())
    assert "<script>window.ran" in text.replace("\u2423", " ").replace("\u2400", "") and "\u202e" not in text
    assert "<script>window.ran = 1</script>" in page.locator(".lens-question").text_content()
    page.get_by_label("colour").select_option("loss")
    page.wait_for_function("() => document.querySelectorAll('.lens-strip').length === 2")
    assert page.locator(".lens-head b").first.text_content().startswith("<script>")
    page.get_by_role("button", name="next rationale").click()
    page.get_by_text("longer than 512 tokens").wait_for()
    assert page.locator(".lens-token").count() == 0
    assert page.evaluate("() => window.ran") is None
    assert page.locator(".lens script, .lens img").count() == 0
