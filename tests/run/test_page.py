"""The page of a run: its content, its size, and every control of it in a browser."""

import json
import re
import threading
import urllib.error
import urllib.request

import jax
import numpy as np
import pytest
from support import finished_run
from support.browser import opened
from support.random_images import dataset
from support.tiny_run import invoke

import jaxconv as jc
from jaxconv import run
from jaxconv.run import page as pages
from jaxconv.run.attributions import attributions
from jaxconv.run.finished import Member
from jaxconv.run.live import serve
from jaxconv.run.tasks import find_task
from jaxconv.run.timing import layers_of
from jaxconv.training.evaluation import Answers
from jaxconv.viz.page import draw_page, kernel_picture

NASTY = "</script><script>alert(1)</script>&\"'"


def content_of(html):
    [data] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)
    return json.loads(data)


def answers(rng, classes, count):
    """Predictions of which a fifth are wrong."""
    label = rng.integers(classes, size=count)
    wrong = rng.random(count) < 0.2
    answer = np.where(wrong, (label + 1 + rng.integers(classes - 1, size=count)) % classes, label)
    rank = np.where(wrong, 1 + rng.integers(3, size=count), 0)
    return Answers(label, answer, rng.random(count).astype(np.float32), rng.random(count).astype(np.float32), rank)


@pytest.fixture
def finished(tmp_path):
    return finished_run.write(tmp_path / "run")


def test_the_content_is_that_of_the_records(finished):
    content = pages.run_content(finished)
    assert dict(content["facts"])["test accuracy"] == "87.50%"
    assert content["lines"] == finished_run.LINES
    rows = {row["key"]: row for row in content["settings"]}
    assert rows["optim.learning_rate"] == {
        "key": "optim.learning_rate",
        "value": 0.02,
        "default": None,
        "differs": True,
    }
    assert not rows["train.seed"]["differs"]
    assert rows["train.epochs"]["differs"]
    assert content["command"].startswith("jaxconv train ")
    assert content["command"].endswith("run/config.toml")
    assert ("total", "27.1 s") in content["machine"]


def test_an_unfinished_run_has_its_curves(finished):
    (finished / "result.json").unlink()
    content = pages.run_content(finished)
    assert content["facts"] == [("not finished", "step 23")]
    assert len(content["lines"]) == 2


def test_numbers_that_json_lacks_are_left_out(finished):
    with (finished / "metrics.jsonl").open("a") as file:
        file.write('{"step": 24, "loss": null, "gradient_norm": null}\n')
    assert pages.run_content(finished)["lines"][-1] == {"step": 24}
    assert json.loads(json.dumps(pages.run_content(finished), allow_nan=False))


@pytest.mark.parametrize("members", [1, 3])
def test_examples_are_of_as_many_cells_as_possible(rng, members):
    found = answers(rng, 7, 4000)
    if members > 1:
        three = Answers(
            found.label, *(np.stack([v] * 3) for v in (found.answer, found.confidence, found.loss, found.rank))
        )
        found = Answers(
            *(getattr(three, name) for name in ("label", "answer", "confidence", "loss", "rank")), mean=found
        )
    content = find_task("classification").page(found, dataset(rng, list("abcdefg"), 4000, (6, 5, 1)))["classification"]
    together = found.together
    pairs = {(a, b): n for a, b, n in content["pairs"]}
    matrix = together.confusion(7)
    assert all(matrix[a, b] == n for (a, b), n in pairs.items())
    assert sum(pairs.values()) == 4000 == content["count"]
    assert content["wrong"] == (together.rank > 0).sum()
    assert {(label, answer) for label, answer, _ in content["examples"]} == set(pairs)
    assert len(content["examples"]) == 300
    surest = np.sort(together.confidence[together.rank > 0])[::-1][:36]  # as many as the page shows below "Mistakes"
    np.testing.assert_allclose([c for _, _, c in content["examples"][:36]], surest, atol=1e-4)
    first = next(c for label, answer, c in content["examples"] if (label, answer) == (0, 1))
    assert first == pytest.approx(together.confidence[(together.label == 0) & (together.answer == 1)].max(), abs=1e-4)
    for each in content["bins"]:
        inside = (together.confidence >= each["low"]) & (together.confidence < each["high"])
        assert each["count"] == inside.sum()
        assert each["accuracy"] == pytest.approx((together.rank[inside] == 0).mean())


def test_a_network_with_its_kernels_and_fields(rng):
    net = jc.chain(jc.Conv(4, 3, stride=2, padding=1), jc.MaxPool(2), jc.Conv(8, 1), jc.flatten, jc.Dense(3))
    params, _ = net.init(jax.random.key(0), (1, 16, 16, 3))
    content = pages.network_content(net, params, rng.integers(0, 255, (16, 16, 3)).astype(np.uint8), 255)
    conv, pool, small, *_ = content["layers"]
    assert conv["formula"] == ["out = floor((n + 1 + 1 - 1*(3 - 1) - 1) / 2) + 1 = 8"]
    assert conv["units"] == [8, 8]
    assert conv["field"][0] == {"size": 3, "stride": 2.0, "center": 0.0}
    assert conv["kernel"]["words"] == "4 kernels of 3×3 as red, green and blue; gray is 0"
    assert pool["kernel"] is None
    words = "1×1: the 4 input channels down, the 8 output channels across; blue is negative, red positive"
    assert small["kernel"]["words"] == words
    assert content["measured"] == ""
    assert (conv["formulation"], conv["forward"]) == ("", None)
    assert content["totals"]["parameters"] == 4 * 28 + 8 * 5 + 128 * 3 + 3
    assert content["image"]["height"] == 16


def test_layers_have_their_times_and_formulations(rng, tmp_path):
    net = jc.chain(jc.Conv(4, 3), jax.nn.relu)
    params, _ = net.init(jax.random.key(0), (1, 8, 8, 1))
    chosen = {"y": "winograd", "k": "canonical"}
    layers = [{"path": "conv0", "formulations": chosen, "forward_ms": 0.25, "backward_ms": 0.5},
              {"path": "relu0", "formulations": {}}]  # fmt: skip
    (tmp_path / "layers.json").write_text(json.dumps({"batch": 64, "device": "cpu", "layers": layers}))
    words, times = layers_of(tmp_path)
    assert words == "Milliseconds for 64 images, each layer alone, on cpu"
    conv, relu = pages.network_content(net, params, np.zeros((8, 8, 1)), 255, words, times)["layers"]
    assert (conv["formulation"], conv["forward"], conv["backward"]) == ("winograd", 0.25, 0.5)
    assert conv["formulations"] == ["forward winograd", "kernel gradient XLA"]
    assert (relu["formulation"], relu["formulations"], relu["forward"]) == ("XLA", [], None)
    assert layers_of(tmp_path / "none") == ("", {})
    (tmp_path / "layers.json").write_text('{"batch": 64, "device": "cpu", "layers": [{"path": 3}]}')
    with pytest.raises(jc.DataError, match=r"layers\.json was altered: layers\.0\.path must be text in quotes, got 3"):
        layers_of(tmp_path)


def test_a_net_for_another_input_has_no_table(rng):
    net = jc.chain(jc.Conv(4, (3,)), jc.flatten)
    assert pages.network_content(net, {}, np.zeros((16, 16, 3)), 255) == {}
    assert pages.network_content(net, {}, None, 255) == {}


@pytest.mark.slow
def test_the_largest_page_is_small(rng, finished):
    """10,000 steps, 1,000 classes, 20,000 images, 60 kernels of 1×1, 12 explained predictions."""
    lines = [json.dumps({"step": i, "loss": rng.random(), "accuracy": rng.random()}) for i in range(1, 10_001)]
    (finished / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    names = [f"class number {i}" for i in range(1000)]
    found, images = answers(rng, 1000, 20_000), dataset(rng, names, 20_000, (40, 48, 3))
    net = jc.chain(*[jc.Conv(512, 1) for _ in range(62)], jc.global_avg_pool, jc.Dense(1000))
    params, _state = jax.jit(lambda: net.init(jax.random.key(0), (1, 40, 48, 3)))()
    task = find_task("classification")
    content = pages.run_content(finished) | task.page(found, images)
    content |= pages.network_content(net, params, images.test[0][0], 255)
    assert sum(layer["kernel"] is not None for layer in content["layers"]) == 60
    small = jc.chain(jc.Conv(8, 3), jc.global_avg_pool, jc.Dense(1000))
    own = small.init(jax.random.key(0), (1, 40, 48, 3))
    explained = attributions(task.cases(found, images, None), images, Member(small, *own, ""))
    assert len(explained["attributions"]["items"]) == 12
    assert len(pages.page(content | explained)) < 5e6


def test_text_cannot_leave_the_data(finished):
    html = draw_page([pages.run_content(finished) | {"name": NASTY}])
    assert html.count("</script>") == 2
    assert content_of(html)[0]["name"] == NASTY


def test_kernels_without_weights():
    assert kernel_picture(np.zeros([3, 3, 1, 2]))["src"].startswith("data:image/png;base64,")


# ---------------------------------------------------------------- commands


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "net.toml").write_text(finished_run.CONFIG)
    run.train(run.config.read(folder / "net.toml", ["train.log_every=5"]), folder / "run")
    return folder / "run"


@pytest.mark.slow
def test_the_page_of_a_run_and_the_one_of_report_agree(trained):
    before = content_of((trained / "report.html").read_text())[0]
    result = invoke("report", trained, "--out", trained.parent / "again.html")
    assert (result.exit_code, result.stdout) == (0, f"wrote {trained.parent / 'again.html'}\n")
    after = content_of((trained.parent / "again.html").read_text())[0]
    assert before["classification"]["pairs"] == after["classification"]["pairs"]
    assert [row["path"] for row in before["layers"]] == [row["path"] for row in after["layers"]]
    assert before["facts"] == after["facts"]
    assert before["layers"] == after["layers"]
    assert before["measured"] == after["measured"] != ""
    assert before["attributions"]["names"] == after["attributions"]["names"]


@pytest.mark.slow
def test_layers_are_not_timed_if_that_is_switched_off(trained, tmp_path):
    settings = run.config.read(trained.parent / "net.toml", ["log.layer_times=false"])
    run.train(settings, tmp_path / "run")
    assert not (tmp_path / "run" / "layers.json").exists()
    assert content_of((tmp_path / "run" / "report.html").read_text())[0]["measured"] == ""


def test_several_runs_on_one_page(tmp_path, finished):
    other = finished_run.write(tmp_path / "other", "train.seed=3")
    result = invoke("report", finished, other, "--out", tmp_path / "two.html")
    assert result.exit_code == 0
    names = [content["name"] for content in content_of((tmp_path / "two.html").read_text())]
    assert names == ["run", "other"]


def test_a_folder_that_is_no_run(tmp_path):
    for words in (["report", tmp_path / "none"], ["watch", tmp_path, "--no-browser"]):
        result = invoke(*words)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert not (tmp_path / "report.html").exists()


def test_the_server_shows_its_run_to_who_has_the_token(finished):
    server, address = serve(finished)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address) as answer:
            assert content_of(answer.read().decode())[0]["live"] == "data.json"
        with urllib.request.urlopen(f"{address}data.json") as answer:
            assert json.load(answer)[0]["lines"] == finished_run.LINES
        for wrong in ("", "data.json", "wrong/", "../etc/passwd"):
            with pytest.raises(urllib.error.HTTPError, match="404") as caught:
                urllib.request.urlopen(address.rsplit("/", 2)[0] + "/" + wrong)
            caught.value.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# ---------------------------------------------------------------- in a browser


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1600])
def test_every_control(browser, trained, width, scheme):
    viewport = {"width": width, "height": 900}
    page, errors = opened(browser, f"file://{trained}/report.html", viewport=viewport, color_scheme=scheme)
    chart = page.locator(".chart").first
    box = chart.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    assert "(step " in chart.locator(".said").text_content()
    whole = chart.locator("svg").inner_html()
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 50)
    page.mouse.up()
    page.mouse.move(1, 1)
    assert chart.locator("svg").inner_html() != whole
    page.get_by_role("button", name="Whole run").click()
    assert page.locator(".confusion .row, .confusion .column").all_text_contents() == [
        d for d in "0123456789" for _ in "rc"
    ]
    canvas = page.locator("canvas.matrix")
    canvas.scroll_into_view_if_needed()
    canvas.hover(position={"x": 4, "y": 4})
    said = page.locator(".scroll:has(canvas.matrix) + .said")
    assert re.fullmatch(r"0 → 0: \d+ of \d+ images", said.text_content())
    canvas.click(position={"x": 4, "y": 4})
    assert page.locator(".scroll:has(canvas.matrix) ~ .thumbs figure").first.text_content().startswith("0, ")
    assert page.locator("th", has_text="formulation").count() == 1
    described = "all => all.every((each) => (each.alt ?? each.getAttribute('aria-label')))"
    page.locator("tr.link").first.click()
    assert page.locator("img, canvas, [role=img]").evaluate_all(described)
    assert page.locator(".attributions figure").count() > 0
    assert "out = floor((n + 1 + 1" in page.locator(".panel").text_content()
    page.locator(".panel canvas").hover(position={"x": 3, "y": 3})
    assert "unit (0, 0) of 8×8: receptive field rows 0 to 1, columns 0 to 1" in page.locator(".panel").text_content()
    page.locator("tr.link").nth(1).focus()
    page.keyboard.press("Enter")
    rows = page.locator("#all-keys ~ *, label + div tbody tr")
    before = rows.count()
    page.get_by_label("also keys at their defaults").check()
    assert rows.count() > before
    page.get_by_role("button", name="Copy").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not errors


@pytest.mark.slow
def test_classes_and_names_are_text(browser, rng, finished, tmp_path):
    found = find_task("classification").page(answers(rng, 3, 60), dataset(rng, [NASTY, "b", "c"], 60))
    found["attributions"] = {
        "names": ["image", NASTY],
        "layer": NASTY,
        "items": [{"words": NASTY, "src": ["data:,"] * 2}],
    }
    (tmp_path / "page.html").write_bytes(pages.page(pages.run_content(finished) | found | {"name": NASTY}))
    page, errors = opened(browser, f"file://{tmp_path}/page.html")
    assert page.locator("h1").text_content() == NASTY
    page.locator("canvas.matrix").click(position={"x": 3, "y": 3})
    assert NASTY in page.locator(".scroll:has(canvas.matrix) + .said").text_content()
    assert page.locator(".confusion .row").first.text_content() == NASTY
    assert not errors


@pytest.mark.slow
def test_a_thousand_classes_stay_smooth(browser, rng, finished, tmp_path):
    lines = [json.dumps({"step": i, "loss": rng.random(), "accuracy": rng.random()}) for i in range(1, 10_001)]
    (finished / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    names = [f"class {i}" for i in range(1000)]
    found = find_task("classification").page(answers(rng, 1000, 20_000), dataset(rng, names, 20_000, (8, 8, 1)))
    (tmp_path / "page.html").write_bytes(pages.page(pages.run_content(finished) | found))
    page, errors = opened(browser, f"file://{tmp_path}/page.html")
    assert page.locator(".confusion .row").count() == 0
    page.locator("canvas.matrix").hover(position={"x": 300, "y": 200})
    assert "class " in page.locator(".scroll:has(canvas.matrix) + .said").text_content()
    drawn = page.locator("polyline").evaluate_all("all => all.map((line) => line.points.length)")
    assert max(drawn) <= 900
    assert not errors


@pytest.mark.slow
def test_the_page_follows_a_run(browser, finished):
    (finished / "result.json").unlink()
    server, address = serve(finished)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        page, errors = opened(browser, address)
        assert "step 23" in page.locator(".facts").text_content()
        with (finished / "metrics.jsonl").open("a") as file:
            file.write('{"step": 40, "loss": 0.4}\n')
        page.wait_for_function("document.querySelector('.facts').textContent.includes('step 40')")
        assert not errors
        page.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
