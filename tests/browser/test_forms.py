"""Every form as a user sees it: titles, helps, widgets, defaults, and what is refused."""

from typing import Any

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from playwright.sync_api import Page, expect

from flows.deployments import DEPLOYMENTS
from tests.browser.ui import Form, Server


def schema(server: Server, name: str) -> dict[str, dict[str, Any]]:
    """The fields of a form as the server has them, in the order they are to be shown in."""
    deployment = server.deployment(name)
    definitions = deployment["parameter_openapi_schema"]["definitions"]
    (model,) = [found for found in definitions.values() if "properties" in found]
    return dict(sorted(model["properties"].items(), key=lambda item: item[1]["position"]))


def widget(field: dict[str, Any]) -> str:
    """What the value of a field is to be typed into or chosen from."""
    if field["type"] == "array":
        return ".p-select" if "enum" in field["items"] else "text=Add item"
    kinds = {
        "string": "textarea",
        "integer": "input[type=number]",
        "number": "input[type=number]",
        "boolean": "[role=switch]",
    }
    return ".p-select" if "enum" in field else kinds[field["type"]]


@pytest.mark.parametrize("name", [deployment.name for deployment in DEPLOYMENTS])
def test_every_field_is_shown_in_order_with_its_words_and_a_widget(
    name: str, page: Page, server: Server
) -> None:
    form = Form.opened(page, server=server, deployment=name)
    fields = list(schema(server, name).values())
    expect(form.fields()).to_have_count(len(fields))
    shown = form.fields().all()
    for field, place in zip(fields, shown, strict=True):
        label = place.locator(".schema-form-property__label").inner_text()
        assert label.removesuffix(" (Optional)") == field["title"]
        # As Markdown it must read as it was written: nothing swallowed, nothing turned into markup.
        told = place.locator(".schema-form-property__description")
        expect(told).to_have_text(field["description"].replace("\\", ""))
        assert place.locator(widget(field)).count() == 1, field["title"]
    for number, field in enumerate(fields):
        if field["type"] in ("integer", "number") and "default" in field:
            typed = shown[number].locator("input").input_value()
            assert float(typed) == field["default"], field["title"]


def test_a_form_begins_with_the_lake_of_up(page: Page, server: Server) -> None:
    form = Form.opened(page, server=server, deployment="route")
    assert form.field("Lake").locator("textarea").input_value() == server.lake


def test_what_is_needed_and_missing_is_told_at_its_field(page: Page, server: Server) -> None:
    form = Form.opened(page, server=server, deployment="import")
    form.fill("Path", "/tmp/any.csv")
    form.submit()
    expect(form.field("Format")).to_contain_text("'format' is a required property")
    assert server.runs("import") == []


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("train", {"Folds": 51}, "51 is greater than the maximum of 50"),
        ("train", {"Folds": 1}, "1 should not be valid under"),
        ("calibrate", {"Quality floor": 1.5}, "1.5 is greater than the maximum of 1"),
        ("calibrate", {"Delta": 0}, "0 is less than or equal to the minimum of 0"),
    ],
)
def test_a_number_out_of_bounds_is_refused_and_there_is_no_run(
    name: str, wrong: dict[str, float], words: str, page: Page, server: Server
) -> None:
    form = Form.opened(page, server=server, deployment=name)
    before = len(server.runs(name))
    for title, value in wrong.items():
        form.fill(title, value)
    form.submit()
    expect(page.get_by_text(words).first).to_be_visible()
    assert len(server.runs(name)) == before


def test_a_password_in_an_address_is_refused_and_there_is_no_run(
    page: Page, server: Server
) -> None:
    form = Form.opened(page, server=server, deployment="upkeep")
    before = len(server.runs("upkeep"))
    form.fill("Ray address", "http://me:word@127.0.0.1:8265")
    form.submit()
    words = "no user, password or key in an address"
    expect(page.get_by_text(words).first).to_be_visible()
    assert len(server.runs("upkeep")) == before
