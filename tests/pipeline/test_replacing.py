"""A finished step is repeated with other settings only with permission, and the old result is kept."""

import pytest

from mentor_kd.files import InputError
from mentor_kd.manifests import finish, read
from mentor_kd.pipeline.replacing import make_way


def finished(place, **inputs):
    place.mkdir(exist_ok=True)
    (place / "result.txt").write_text("result")
    finish(place, inputs, ["result.txt"])


def test_other_settings_are_refused_with_what_differs(tmp_path):
    place = tmp_path / "mentor"
    finished(place, base="a", settings={"epochs": 8, "seed": 0}, data="x")
    with pytest.raises(InputError, match=r"epochs was 8, is now 2; set replace to true"):
        make_way(place, {"base": "a", "settings": {"epochs": 2, "seed": 0}, "data": "x"}, replace=False)
    assert read(place)


def test_with_permission_the_old_one_is_kept(tmp_path, capsys):
    place = tmp_path / "mentor"
    for epochs in (8, 2):
        make_way(place, {"settings": {"epochs": epochs}}, replace=True)
        finished(place, settings={"epochs": epochs})
    make_way(place, {"settings": {"epochs": 1}}, replace=True)
    assert not place.exists() and "kept in mentor-earlier-2" in capsys.readouterr().out
    kept = [read(tmp_path / f"mentor-earlier-{n}")["inputs"]["settings"]["epochs"] for n in (1, 2)]
    assert kept == [8, 2]


def test_replaced_data_need_no_permission(tmp_path):
    place = tmp_path / "mentor"
    finished(place, settings={"epochs": 8}, data="x")
    make_way(place, {"settings": {"epochs": 8}, "data": "y"}, replace=False)
    assert not place.exists() and (tmp_path / "mentor-earlier-1" / "result.txt").exists()


def test_the_same_and_the_unfinished_stay(tmp_path):
    place = tmp_path / "mentor"
    finished(place, settings={"epochs": 8})
    make_way(place, {"settings": {"epochs": 8}}, replace=False)
    (tmp_path / "work").mkdir()
    make_way(tmp_path / "work", {"settings": 1}, replace=False)
    assert place.exists() and (tmp_path / "work").exists()
