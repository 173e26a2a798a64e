"""Pages: whole, by themselves, and safe whatever a clip is called."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from support.scenes import one_clip

from fastpose.data import Layout
from fastpose.drawing.page import format_page
from fastpose.drawing.parts import draw_heatmaps
from fastpose.drawing.takes import make_scene

HOSTILE = (
    "</script><script>alert(1)</script><!-- \"'><img src=x onerror=alert(1)> {{DATA}} {{TITLE}} &amp; \\"
)


class Page(HTMLParser):
    """The elements of a page, and the texts of its title and scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.open = [tag, dict(attributes).get("id")]

    def handle_endtag(self, tag):
        self.open = []

    def handle_data(self, data):
        if self.open and self.open[0] in ("title", "script"):
            key = self.open[1] or self.open[0]
            self.texts[key] = self.texts.get(key, "") + data

    @property
    def data(self):
        return json.loads(self.texts["data"])


@pytest.fixture
def plain():
    return Page(format_page(make_scene(one_clip(num_persons=1)), 25))


def test_the_numbers_of_a_clip_are_in_its_page():
    packed = one_clip(10)
    scene = make_scene(packed, noise=0.2, family="drop_block", clip_len=4)
    data = Page(format_page(scene, 12.5)).data
    clip = packed.clip(0)
    assert (data["name"], data["fps"], data["numFrames"], data["size"]) == ("a clip", 12.5, 10, [240, 320])
    assert data["joints"] == list(packed.layout.joints)
    assert [tuple(limb) for limb in data["limbs"]] == list(packed.layout.limbs)
    clean, noisy = data["takes"]
    points = np.array(clean["points"]).reshape(10, 2, 17, 3).swapaxes(0, 1)
    assert np.array_equal(points[..., 2] > 0, clip.scores > 0)
    present = clip.scores > 0
    np.testing.assert_allclose(points[present][:, :2], clip.keypoints[present], atol=0.051)
    assert clean["sampled"] == scene.takes[0].sampled.tolist()
    assert noisy["leftOut"] == np.flatnonzero(scene.takes[1].left_out).tolist() != []
    assert all(noisy["points"][frame] == [[], []] for frame in noisy["leftOut"])


def test_a_page_needs_no_network():
    scene = make_scene(one_clip(), clip_len=4, input_size=(56, 48), heatmaps=True)
    text = format_page(scene, 25)
    page = Page(text)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert not {"link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    assert not {"src", "href", "action"} & {name for name, _ in page.attributes}
    assert "default-src 'none'" in dict(page.attributes)["content"]


def test_heatmaps_are_images_within_the_page():
    scene = make_scene(one_clip(), clip_len=4, input_size=(56, 48), heatmaps=True)
    url = Page(format_page(scene, 25)).data["takes"][0]["heatmaps"]
    kind, _, content = url.partition(",")
    assert kind == "data:image/png;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert np.array_equal(image.reshape(4, 56, 48, 3), draw_heatmaps(scene, scene.takes[0]))


def test_hostile_names_stay_texts(plain):
    layout = Layout(name=HOSTILE, joints=(HOSTILE, "b", "c"), limbs=((0, 1),))
    page = Page(format_page(make_scene(one_clip(name=HOSTILE, layout=layout, num_persons=1)), 25))
    assert page.tags == plain.tags
    assert page.data["name"] == HOSTILE
    assert page.data["joints"][0] == HOSTILE
    assert HOSTILE in page.data["details"]
    assert page.texts["script"] == plain.texts["script"]
    assert page.texts["title"] == f"{HOSTILE} - fastpose show"


def test_controls_can_be_used_without_a_mouse(plain):
    assert plain.tags.count("button") == 3
    assert ("type", "range") in plain.attributes
    assert ("aria-label", "frame") in plain.attributes
    script = plain.texts["script"]
    for name in re.findall(r'element\("(\w+)"\)', script):
        assert ("id", name) in plain.attributes, name
    assert "prefers-reduced-motion" in script
    assert "innerHTML" not in script
