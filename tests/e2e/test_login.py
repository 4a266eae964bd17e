"""Log in and out."""
import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.browser

def test_a(open_page, contractor):
    page = open_page(contractor)
    expect(page.get_by_role("heading", name="Your projects")).to_be_visible()
def test_b(open_page, contractor):
    page = open_page(contractor)
    expect(page.get_by_role("heading", name="Your projects")).to_be_visible()
def test_c(open_page, contractor, project):
    page = open_page(contractor)
    page.goto("/p/alpha/rank/")
    expect(page.get_by_role("heading", name="Nothing")).to_be_visible()
