"""The id of a data directory: one for all processes, for ever."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.support.ground import names_in
from workspace.files import data_dir_id
from workspace.files.marker import NAME


def test_the_id_is_made_once_and_read_ever_after(tmp_path: Path) -> None:
    data_dir = tmp_path / "some" / "data"
    made = data_dir_id(data_dir)
    assert data_dir_id(data_dir) == made
    assert (data_dir / NAME).read_text() == f"{made}\n"
    assert names_in(data_dir) == [NAME]
    assert data_dir_id(tmp_path / "another") != made


def test_all_who_ask_at_once_get_the_same_answer(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for number in range(20):
            data_dir = tmp_path / str(number)
            assert len(set(pool.map(data_dir_id, [data_dir] * 8))) == 1
            assert names_in(data_dir) == [NAME]


@pytest.mark.parametrize("damage", ["", "x", "0" * 1_000, "{0}x", "A{0}", "{0:X}"])
def test_a_damaged_id_is_an_error_and_stays_as_it_is(tmp_path: Path, damage: str) -> None:
    text = damage.replace("{0}", str(data_dir_id(tmp_path))).replace("{0:X}", data_dir_id(tmp_path).hex.upper())
    (tmp_path / NAME).write_text(text)
    with pytest.raises(ValueError):
        data_dir_id(tmp_path)
    assert (tmp_path / NAME).read_text() == text


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        data_dir_id(tmp_path / "file" / "data")
