"""Django's tutorial in a browser: the admin with its styles, forms with CSRF, an upload. LONG=1; needs selenium, chromium and chromedriver."""

import os
import shutil

import pytest
from test_frameworks import base, django  # noqa: F401: a fixture

pytestmark = pytest.mark.skipif(not (os.environ.get("LONG") and shutil.which("chromedriver")), reason="LONG=1 runs it, with chromedriver")


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(word)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    browser.implicitly_wait(20)
    browser.set_page_load_timeout(120)
    yield browser
    browser.quit()


def test_djangos_admin_in_a_browser(serve, django, browser, tmp_path):  # noqa: F811
    from selenium.webdriver.common.by import By

    server = serve("--chdir", str(django), "--static", "/static=static", "mysite.wsgi")
    url = base(server)

    def fill(**fields):
        for name, text in fields.items():
            element = browser.find_element(By.NAME, name.replace("__", "-"))
            element.clear() if element.get_attribute("type") in ("text", "password", "number") else None
            element.send_keys(text)

    def submit(name=None):
        browser.find_element(By.CSS_SELECTOR, f'[name="{name}"]' if name else '[type="submit"]').click()

    browser.get(url + "/admin/")
    fill(username="admin", password="secret")
    submit()
    assert "Site administration" in browser.page_source
    # The styles, scripts and icons come from --static.
    header = browser.find_element(By.ID, "header")
    assert header.value_of_css_property("background-color") != "rgba(0, 0, 0, 0)"
    browser.get(url + "/admin/polls/question/add/")
    fill(question_text="What's ûp?", choice_set__0__choice_text="Not much", choice_set__1__choice_text="The sky",
         choice_set__0__votes="0", choice_set__1__votes="0")
    submit("_save")
    assert "was added successfully" in browser.page_source
    browser.get(url + "/polls/")
    assert "What's ûp?" in browser.find_element(By.TAG_NAME, "body").text
    browser.get(url + "/polls/1/")
    browser.find_element(By.CSS_SELECTOR, 'input[type="radio"]').click()
    submit()
    assert "Not much -- 1" in browser.page_source
    (tmp_path / "upload.bin").write_bytes(os.urandom(2_000_000))
    browser.get(url + "/admin/polls/document/add/")
    fill(file=str(tmp_path / "upload.bin"))
    submit("_save")
    assert "was added successfully" in browser.page_source
    failed = [entry for entry in server.log if entry and (" 500 " in entry or " 404 " in entry and "favicon" not in entry)]
    assert not failed, failed
    assert any("/static/admin/css/base.css" in entry for entry in server.log if entry)
