"""A price has a day, and the day is of its content: a file's own time says nothing."""

from __future__ import annotations

import os
from datetime import date, datetime, timezone
from pathlib import Path

import pytest

from cvl_ci import wiring
from cvl_ci.clouds.catalogue import sources
from cvl_ci.clouds.catalogue.prices import CataloguePrices
from cvl_ci.errors import RequestError
from cvl_ci.model.location import Location
from cvl_ci.model.resource_request import ResourceRequest, Spot
from tests import golden
from tests.clouds.catalogue import files

MESSAGES = golden.Messages(__name__)


def test_the_day_is_that_of_the_download_and_not_of_the_file(tmp_path: Path) -> None:
    """SkyPilot sets a file's time to now when it could not fetch a newer one."""
    file = files.write(tmp_path, "aws", files.AWS, fetched=date(2026, 9, 21))
    os.utime(file)
    prices = CataloguePrices(tmp_path, today=date(2026, 10, 1))
    assert prices.date_of(["aws"]) == "SkyPilot's catalogue of 2026-09-21 (aws)"
    assert prices.age_warning(["aws"]) == ""


@pytest.mark.parametrize("change", ["edited", "no digest"])
def test_a_file_that_a_person_changed_has_no_day(tmp_path: Path, change: str) -> None:
    file = files.write(tmp_path, "aws", files.AWS, digest=change != "no digest")
    if change == "edited":
        file.write_text(files.AWS.replace("0.7", "0.8"))
    prices = CataloguePrices(tmp_path, today=date(2026, 9, 22))
    MESSAGES.check("an unknown day", prices.date_of(["aws"]))
    assert "of an unknown day" in prices.age_warning(["aws"])


@pytest.mark.parametrize(("today", "days", "is_old"), [((2026, 10, 21), 30, False), ((2026, 10, 22), 30, True),
                                                       ((2026, 10, 22), 31, False)])  # fmt: skip
def test_old_prices_have_a_warning(tmp_path: Path, today: tuple[int, int, int], days: int, is_old: bool) -> None:
    files.write(tmp_path, "aws", files.AWS, fetched=date(2026, 9, 21))
    prices = CataloguePrices(tmp_path, today=date(*today), oldest_days=days)
    warning = prices.age_warning(["aws"])
    assert bool(warning) is is_old
    if is_old:
        MESSAGES.check("old prices", warning)


def test_the_newest_of_two_folders_counts_for_each_cloud(tmp_path: Path) -> None:
    own, image = tmp_path / "own", tmp_path / "image"
    files.write(own, "aws", files.AWS, fetched=date(2026, 9, 1))
    files.write(image, "aws", files.AWS.replace("0.7", "0.8"), fetched=date(2026, 9, 21))
    files.write(own, "gcp", files.GCP, fetched=date(2026, 9, 30))
    prices = CataloguePrices(own, image, today=date(2026, 10, 1))
    MESSAGES.check("two days", prices.date_of(["aws", "gcp"]))
    (l4,) = prices.offers(ResourceRequest(accelerators={"L4": 1}), locations=[Location(cloud="aws")], spot=Spot.NEVER)
    assert l4.hourly_usd == 0.8


def test_the_table_of_the_program_has_the_bounds_of_its_days_and_is_as_old_as_it_may_be() -> None:
    prices = CataloguePrices(today=date(2026, 11, 29))
    assert prices.date_of(["aws"]) == "SkyPilot's catalogue between 2025-04-28 and 2026-11-28 (aws 00148f2)"
    MESSAGES.check("the table", prices.age_warning(["aws", "sandbox"]))
    MESSAGES.check("the older of two tables", prices.age_warning(["aws", "azure"]))
    assert prices.age_warning(["sandbox"]) == "", "the sandbox bills nothing"
    assert "unknown" not in prices.date, "every cloud of the table has bounds"


def test_a_table_an_old_file_and_a_file_of_an_unknown_day_have_a_sentence_each(tmp_path: Path) -> None:
    files.write(tmp_path, "aws", files.AWS, fetched=date(2026, 9, 21))
    files.write(tmp_path, "gcp", files.GCP, digest=False)
    warning = CataloguePrices(tmp_path, today=date(2026, 11, 29)).age_warning(["lambda", "aws", "gcp"])
    MESSAGES.check("a sentence for each", warning)


@pytest.mark.parametrize("is_empty", [False, True])
def test_a_named_folder_that_is_not_there_is_a_mistake(tmp_path: Path, is_empty: bool) -> None:
    folder = tmp_path / "typo"
    if is_empty:
        folder.mkdir()
    with pytest.raises(RequestError) as raised:
        wiring.prices({"CVL_CI_CATALOGUE": str(folder)})
    assert ("holds no catalogue" if is_empty else "is not there") in str(raised.value)


def test_the_folder_of_the_command_comes_before_the_one_of_the_environment(tmp_path: Path) -> None:
    folder, other = tmp_path / "folder", tmp_path / "other"
    files.write(folder, "aws", files.AWS, fetched=date(2026, 9, 1))
    files.write(other, "aws", files.AWS, fetched=date(2026, 9, 2))
    prices = wiring.prices({"CVL_CI_CATALOGUE": str(other)}, folder=str(folder))
    assert prices.date_of(["aws"]) == "SkyPilot's catalogue of 2026-09-01 (aws)"


def test_with_the_catalogue_of_a_fresh_image_a_quote_has_a_day_and_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "image"
    files.write(image, "aws", files.AWS, fetched=datetime.now(tz=timezone.utc).date())
    monkeypatch.setattr(sources, "IMAGE_FOLDER", image)
    prices = wiring.prices({"HOME": str(tmp_path)})
    assert prices.age_warning(["aws"]) == ""
    assert "between" not in prices.date_of(["aws"])


def test_skypilots_own_folder_is_taken_without_a_word(tmp_path: Path) -> None:
    files.write(tmp_path / ".sky/catalogs/v8", "aws", files.AWS)
    assert "2026-09-21 (aws)" in wiring.prices({"HOME": str(tmp_path)}).date
    assert "aws 00148f2" in wiring.prices({"HOME": str(tmp_path / "other")}).date


def test_the_number_of_days_is_a_setting(tmp_path: Path) -> None:
    files.write(tmp_path / ".sky/catalogs/v8", "aws", files.AWS, fetched=date(2020, 1, 1))
    home = {"HOME": str(tmp_path)}
    assert "days old" in wiring.prices(home).age_warning(["aws"])
    assert wiring.prices({**home, "CVL_CI_PRICE_DAYS": "99999"}).age_warning(["aws"]) == ""
    with pytest.raises(RequestError):
        wiring.prices({**home, "CVL_CI_PRICE_DAYS": "a month"})
