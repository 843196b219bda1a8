"""The page in a real browser: no errors, nothing executes, the list, the time line, hovering, sorting, menus."""

import json
import shutil
import time

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from support.report_files import HOSTILE, HOSTILE_ID, HOSTILE_UNKNOWN, write_files

from tal_jax.data import annotations
from tal_jax.evaluation import detection_files as submission
from tal_jax.evaluation.detection import parse_tiou
from tal_jax.report import Curve, Material, analyse, compose, timeline
from tal_jax.report.inputs import Point

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-dev-shm-usage", "--window-size=1300,1000",
)  # fmt: skip
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="no Chromium: apt-get install chromium chromium-driver"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield started
    started.quit()


def make(folder, *, materials=(), runs=1, **options):
    truth, first = write_files(folder, **options)
    files = {"first": first}
    if runs > 1:
        files["second"] = write_files(folder, **{**options, "seed": 1, "name": "second"})[1]
    recordings = annotations.read(truth)
    tiou = parse_tiou("0.5:0.95:0.05")
    found = [analyse(n, recordings, submission.read(f), "validation", tiou) for n, f in files.items()]
    path = folder / "index.html"
    path.write_text(compose(found, recordings, materials, title="A page", shown=10).html)
    return path, found


def load(driver, path, *, seconds=120):
    """Opens a page and waits until everything is drawn; how long that took."""
    driver.get("about:blank")
    driver.get_log("browser")
    begun = time.monotonic()
    driver.get(path.as_uri())
    WebDriverWait(driver, seconds, 0.02).until(lambda d: d.execute_script("return document.body.dataset.ready"))
    return time.monotonic() - begun


def content(driver):
    return json.loads(driver.execute_script("return document.getElementById('data-recordings').textContent"))


def rows(driver):
    """The rows of the list that exist, from top to bottom, as lists of cells."""
    return driver.execute_script(
        "return [...document.querySelectorAll('#list .rows .row')].map(r => [...r.children].map(c => c.textContent))"
    )


def shown(driver, recording):
    WebDriverWait(driver, 120, 0.02).until(
        lambda d: d.find_element(By.ID, "timeline").get_attribute("data-recording") == str(recording)
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    curve = np.linspace(0, 1, 30)
    sequences = {HOSTILE_ID: {"simple": Curve(0.7, {HOSTILE: curve}), "cascade": Curve(0.7, {HOSTILE: curve[::-1]})}}
    history = tuple(Point("mgfn", "loss", step, None if step == 3 else 1 / (1 + step)) for step in range(9))
    losses = {f"video_{i:05d}": float(i % 7) for i in range(1, 12)}
    material = Material("work", history, losses, "mgfn", sequences)
    return make(tmp_path_factory.mktemp("hostile"), materials=[material], runs=2, hostile=True)


@pytest.fixture
def page(driver, hostile):
    load(driver, hostile[0])
    yield driver
    assert [entry["message"] for entry in driver.get_log("browser")] == []
    assert driver.execute_script("return document.body.dataset.hacked") is None


def test_files_that_the_page_saves_hold_no_formulas(page):
    rows = [{"a": "=1+1", "b": -1.5, "c": None, "d": '@"a"'}, {"a": "走る", "b": 2, "c": "-2", "d": ""}]
    text = page.execute_script("return tal.csv(arguments[0])", rows)
    assert text.splitlines() == ["a,b,c,d", """'=1+1,-1.5,,"'@""a""\"""", "走る,2,-2,"]


def test_figures_are_drawn_without_errors(page):
    figures = page.find_elements(By.CSS_SELECTOR, "figure[data-figure]")
    assert len(figures) == 9
    for figure in figures:
        assert figure.find_elements(By.CSS_SELECTOR, ".chart svg")
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_numbers_shown_are_those_of_the_evaluator(page, hostile):
    for row, run in zip(page.find_elements(By.CSS_SELECTOR, "#table-map tbody tr"), hostile[1], strict=True):
        cells = [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        expected = [*run.detection.mAP, run.detection.average]
        assert cells == [run.name, *(f"{100 * value:.1f}" for value in expected)]


def test_html_in_ids_and_labels_is_text(page):
    find = page.find_element(By.ID, "find")
    find.send_keys("<script>")
    assert [row[:2] for row in rows(page)] == [[HOSTILE_ID, HOSTILE]]
    shown(page, 0)
    assert page.find_element(By.ID, "chosen").text == HOSTILE_ID
    labels = page.execute_script("return [...document.querySelectorAll('#timeline svg text')].map(t => t.textContent)")
    assert any(label.startswith("<img src=x") for label in labels)
    bars = page.execute_script(
        "return [...document.querySelectorAll('#timeline .mark-rect path')].map(b => b.__data__?.datum.class)"
    )
    assert {HOSTILE, HOSTILE_UNKNOWN} <= set(bars)
    hover(page, bars.index(HOSTILE_UNKNOWN))
    assert HOSTILE_UNKNOWN in page.find_element(By.ID, "tooltip").text
    assert not page.find_elements(By.CSS_SELECTOR, "img, #tooltip b")


def hover(driver, place):
    bar = driver.find_elements(By.CSS_SELECTOR, "#timeline .mark-rect path")[place]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", bar)
    ActionChains(driver).move_to_element(bar).perform()
    WebDriverWait(driver, 120, 0.02).until(lambda d: d.find_element(By.ID, "tooltip").is_displayed())


def test_hovering_shows_score_and_overlap(page):
    data = content(page)
    first = data["detections"][0]
    choose(page, "id")
    page.find_element(By.CSS_SELECTOR, "#recording-5").click()
    shown(page, 5)
    j = first["offset"][5]
    hover(page, data["truth"]["offset"][6] - data["truth"]["offset"][5])  # the best detection of the first run
    names = [e.text for e in page.find_elements(By.CSS_SELECTOR, "#tooltip dt")]
    values = [e.text for e in page.find_elements(By.CSS_SELECTOR, "#tooltip dd")]
    found = dict(zip(names, values, strict=True))
    assert found["what"] == "first"
    assert float(found["score"].replace(",", "")) == pytest.approx(first["score"][j], rel=1e-3)
    assert found["tIoU with its class"] == f"{first['own'][j]:.2f}"
    assert found["kind"] == data["kinds"][first["kind"][j]]
    assert found["class"] == data["labels"][first["label"][j]]


def choose(driver, name):
    Select(driver.find_element(By.ID, "sort")).select_by_visible_text(name)


def test_sorting_and_filters(page):
    data = content(page)
    by_loss = sorted(
        range(12), key=lambda i: (data["losses"][0]["values"][i] is None, -(data["losses"][0]["values"][i] or 0), i)
    )
    assert [row[0] for row in rows(page)] == [data["ids"][i] for i in by_loss]  # recordings without a loss come last
    choose(page, "AP %: first, lowest first")
    value = data["precision"][0]
    order = sorted(range(12), key=lambda i: (value[i] is None, value[i] or 0, i))
    assert [row[0] for row in rows(page)] == [data["ids"][i] for i in order]
    choose(page, "class")
    names = [row[1] for row in rows(page)]
    assert names[:-1] == sorted(names[:-1], key=lambda n: n.split(", ")[0])
    assert names[-1] == "-"
    Select(page.find_element(By.ID, "class")).select_by_visible_text("class 1")
    assert rows(page)
    assert all("class 1" in row[1] for row in rows(page))
    page.find_element(By.ID, "find").send_keys("no such thing")
    assert rows(page) == []
    assert page.find_element(By.ID, "count").text == "0 of 12 recordings"


def test_keys_go_through_the_list(page):
    choose(page, "id")
    order = [row[0] for row in rows(page)]
    ids = content(page)["ids"]
    box = page.find_element(By.ID, "list")
    for key, place in ((Keys.END, 11), (Keys.UP, 10), (Keys.HOME, 0), (Keys.DOWN, 1), (Keys.DOWN, 2)):
        box.send_keys(key)
        shown(page, ids.index(order[place]))
        assert page.find_element(By.CSS_SELECTOR, "[aria-selected=true] span").text == order[place]
        assert box.get_attribute("aria-activedescendant") == f"recording-{ids.index(order[place])}"


def test_menus_change_the_figure(page):
    def bars():
        selector = "#figure-error_cost .mark-rect path"
        return page.execute_script(
            f"return [...document.querySelectorAll('{selector}')].map(b => b.__data__.datum.cost)"
        )

    before = bars()
    Select(page.find_element(By.CSS_SELECTOR, "#figure-error_cost .choice")).select_by_visible_text("0.75")
    WebDriverWait(page, 120, 0.02).until(lambda d: bars() != before)


def test_tables_sort(page):
    def column(i):
        cells = page.find_elements(By.CSS_SELECTOR, f"#table-classes tbody tr > :nth-child({i})")
        return [cell.text for cell in cells]

    head = page.find_elements(By.CSS_SELECTOR, "#table-classes thead th")
    head[2].click()
    assert [float(x) for x in column(3)] == sorted(map(float, column(3)), reverse=True)
    head[2].send_keys(Keys.ENTER)
    assert [float(x) for x in column(3)] == sorted(map(float, column(3)))
    head[0].click()
    assert column(1)[0] == HOSTILE


def test_the_page_lays_out_a_recording_as_the_pictures_do(page):
    data = content(page)
    template = timeline.template()
    for i in range(12):
        theirs = page.execute_script("return tal.layout(tal.read('data-recordings'), arguments[0])", i)
        datasets, tall, classes = timeline.layout(data, i)
        filled = page.execute_script("return tal.filled(arguments[0], tal.read('data-recordings'), arguments[1], 800)",
                                     template, i)  # fmt: skip
        scale = filled["layer"][0]["encoding"]["color"]["scale"]
        assert scale == timeline.filled(template, data, i)["layer"][0]["encoding"]["color"]["scale"]
        assert (theirs["tall"], theirs["classes"]) == (tall, classes)
        for name, ours in datasets.items():
            assert len(theirs["datasets"][name]) == len(ours)
            for a, b in zip(theirs["datasets"][name], ours, strict=True):
                assert a == pytest.approx(b) if name == "bounds" else a.keys() == b.keys()
                for key, value in b.items():
                    assert a[key] == (pytest.approx(value) if isinstance(value, float) else value)


def test_a_page_as_large_as_activitynet(driver, tmp_path):
    """6,000 recordings; measured on an idle machine this takes a small part of what is allowed here."""
    path, _ = make(tmp_path, recordings=6000, classes=200, per_recording=10)
    assert load(driver, path) < 60
    assert driver.get_log("browser") == []
    assert driver.find_element(By.ID, "count").text == "6000 of 6000 recordings"
    assert len(rows(driver)) < 60
    driver.find_element(By.ID, "list").send_keys(Keys.END)
    assert len(rows(driver)) < 60


def test_a_page_of_one_recording(driver, tmp_path):
    path, _ = make(tmp_path, recordings=1, classes=1)
    load(driver, path)
    assert driver.get_log("browser") == []
    assert [row[0] for row in rows(driver)] == ["video_00000"]
    shown(driver, 0)
