"""Pictures with masks: rendered ones and folders, verified, split as elsewhere, image and mask moved together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgelane.data import decode, load
from edgelane.data.scenes import Scene, render
from edgelane.data.scenes.surfaces import SURFACES, surface_mask
from edgelane.data.split import split_of
from edgelane.errors import EdgelaneError
from edgelane.tasks import IGNORED

COUNT = 30


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Dark pictures of 40x30 with a white block, which is class 1 in the mask; the upper left corner is unknown."""
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for number in range(COUNT):
        mask = np.zeros((30, 40), np.uint8)
        mask[5 + number % 10 : 17 + number % 10, 4 + number % 16 : 20 + number % 16] = 1
        pixels = np.repeat(mask[..., None] * np.uint8(250), 3, axis=2)
        mask[:3, :3] = IGNORED
        Image.fromarray(pixels).save(root / "images" / f"p{number:02d}.{'jpg' if number % 2 else 'png'}", quality=95)
        Image.fromarray(mask).save(root / "masks" / f"p{number:02d}.png")
    (root / "classes.txt").write_text("ground\nblock\n")
    return root


def test_scenes_show_every_class_where_it_is():
    scene = render(3)
    mask = surface_mask(scene)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1, 2}
    assert (mask[scene.objects == 1] == 0).all(), "what an object hides is background"
    for line in scene.lanes:
        for x, y in line:
            if not scene.objects[int(y), int(x)]:
                assert mask[int(y), int(x)] == SURFACES.index("lane")
    road = scene.drivable == 1
    assert ((mask == 1) <= road).all()
    assert ((mask == 0) & road).sum() == 0


@pytest.mark.parametrize(("size", "pixels"), [((384, 640), 8), ((96, 160), 2), ((64, 64), 1)])
def test_lane_lines_are_a_share_of_the_width_and_stop_at_objects(size, pixels):
    height, width = size
    line = np.array([[width / 2, height - 9], [width / 2, height - 18], [width / 2, 0]], np.float32)
    objects = np.zeros(size, np.uint8)
    objects[:10] = 1
    nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    mask = surface_mask(Scene(np.zeros((*size, 3), np.uint8), *nothing, [line], 1 - objects, objects))
    assert ((mask == 2).sum(axis=1)[10:] == pixels).all()
    assert (mask[:10] == 0).all()


def test_scenes_as_data():
    bundle = load("scenes", task="segmentation", image_size=(48, 80), limit=20)
    assert bundle.classes == SURFACES
    assert (bundle.task, bundle.train.task) == ("segmentation", "segmentation")
    assert [len(bundle.train), len(bundle.val), len(bundle.test)] == [14, 2, 4]
    image, mask = bundle.test[0]
    assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)
    assert (image.shape, mask.shape) == ((3, 48, 80), (48, 80))
    counts = bundle.test.pixel_counts(3)
    assert sum(counts) == 4 * 48 * 80
    assert counts == [sum(int((mask == label).sum()) for _, mask in bundle.test) for label in range(3)]
    assert min(counts) > 0
    assert bundle.train.image(0).size == (640, 384)
    assert bundle.train.mask(0).shape == (384, 640)
    assert load("scenes", task="segmentation", image_size=(48, 80), limit=20).test is bundle.test, "rendered once"


def test_a_folder_is_split_by_name_and_read_as_it_lies(folder):
    bundle = load(str(folder), task="segmentation", image_size=(30, 40))
    assert bundle.classes == ("ground", "block")
    assert not bundle.skipped
    for split in ("train", "val", "test"):
        assert all(split_of(Path(record.path).stem) == split for record in getattr(bundle, split).records)
    image, mask = bundle.val[0]
    stem = Path(bundle.val.records[0].path).stem
    np.testing.assert_array_equal(mask, np.asarray(Image.open(folder / "masks" / f"{stem}.png")))
    bright = image.mean(0) > 0
    assert (bright == (mask == 1))[mask != IGNORED].float().mean() > 0.98
    assert bundle.class_counts() == (len(bundle.train), len(bundle.train)), "pictures that show the class"


def test_split_folders_are_kept(folder):
    for kind in ("images", "masks"):
        for split in ("train", "val", "test"):
            (folder / kind / split).mkdir()
        for number, path in enumerate(sorted((folder / kind).glob("p*"))):
            path.rename(folder / kind / ("train", "val", "test")[number % 3] / path.name)
    bundle = load(str(folder), task="segmentation", image_size=16)
    assert [len(bundle.train), len(bundle.val), len(bundle.test)] == [10, 10, 10]
    assert all("/val/" in record.path for record in bundle.val.records)


@pytest.mark.parametrize("flip", [False, True])
def test_augmentation_moves_image_and_mask_together(folder, flip):
    bundle = load(str(folder), task="segmentation", image_size=(60, 80), flip=flip)
    torch.manual_seed(0)
    plain = torch.stack([torch.from_numpy(item.mask.astype(np.int64)) for item in bundle.train._items])
    moved = unknown = 0
    for index in range(len(bundle.train)):
        image, mask = bundle.train[index]
        assert type(image) is type(mask) is torch.Tensor
        assert mask.dtype == torch.int64
        assert set(mask.unique().tolist()) <= {0, 1, IGNORED}
        level = image.mean(0)
        # The border that a shift leaves is grey and unknown; in what is known the block is what is bright.
        middle = (level[mask == 1].mean() + level[mask == 0].mean()) / 2
        right = (level > middle) == (mask == 1)
        assert right[mask != IGNORED].float().mean() > 0.97
        moved += not torch.equal(mask, plain[index])
        unknown += bool((mask == IGNORED).sum() > (plain[index] == IGNORED).sum())
    assert moved == len(bundle.train)
    assert unknown > 0


def test_what_exceeds_the_cache_is_decoded_again(folder, monkeypatch):
    cached = load(str(folder), task="segmentation", image_size=16)
    monkeypatch.setattr(decode, "CACHE_BYTES", 10_000)
    fresh = load(str(folder), task="segmentation", image_size=16)
    assert any(item.mask is None for item in fresh.train._items + fresh.val._items + fresh.test._items)
    for a, b in zip(cached.test, fresh.test, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])
    assert cached.train.pixel_counts(2) == fresh.train.pixel_counts(2)


def test_palettes_and_bilevel_masks_are_indices_too(folder):
    for path in (folder / "masks").iterdir():
        values = np.asarray(Image.open(path)) == 1
        if int(path.stem[1:]) % 2:
            Image.fromarray(values).save(path)  # mode 1
        else:
            palette = Image.fromarray(values.astype(np.uint8), "P")
            palette.putpalette([0, 0, 0, 255, 0, 0])
            palette.save(path)
    bundle = load(str(folder), task="segmentation", image_size=(30, 40))
    assert not bundle.skipped
    assert sum(bundle.test.pixel_counts(2)) == len(bundle.test) * 30 * 40


def test_what_is_wrong_is_left_out_and_named(folder):
    images, masks = folder / "images", folder / "masks"
    (masks / "p00.png").unlink()
    (images / "p01.jpg").unlink()
    (images / "p02.png").write_bytes(b"no picture")
    (masks / "p03.png").write_bytes(b"no picture")
    Image.new("L", (39, 30)).save(masks / "p04.png")
    Image.new("L", (40, 30), 7).save(masks / "p05.png")
    Image.new("RGB", (40, 30)).save(masks / "p06.png")
    Image.new("L", (40, 30), IGNORED).save(masks / "p07.png")
    Image.new("RGB", (40, 30)).save(images / "p08.bmp")
    bundle = load(str(folder), task="segmentation", image_size=16)
    assert bundle.skipped == {
        "image without a mask": 1,
        "mask without an image": 1,
        "corrupt image or mask": 4,
        "mask of another size than its image": 1,
        "mask without a label": 1,
        "image of the same name as another": 1,
    }
    named = " ".join(bundle.skipped_examples["corrupt image or mask"])
    assert "p05.png: expected values below 2 (classes.txt) or 255 (unknown), found 7" in named
    assert "p06.png: expected a PNG of class indices (grey or with a palette), found mode RGB" in named
    assert "p04.png: 39x30 for 40x30" in " ".join(bundle.skipped_examples["mask of another size than its image"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"cannot read .*classes.txt: expected a text file with one class name per line"),
        ("", "expected 1 to 255 class names, one per line, found 0 lines"),
        ("a\n\nb\n", "found an empty line 2"),
        ("a\na\n", "two classes are called 'a'"),
    ],
)
def test_class_names_are_checked(folder, text, message):
    (folder / "classes.txt").unlink()
    if text is not None:
        (folder / "classes.txt").write_text(text)
    with pytest.raises(EdgelaneError, match=message):
        load(str(folder), task="segmentation")


def test_sources_of_another_kind_are_refused(folder, tmp_path):
    with pytest.raises(EdgelaneError, match=r"holds no data for segmentation: expected images/ with pictures, masks/"):
        load(str(tmp_path), task="segmentation")
    with pytest.raises(EdgelaneError, match="gtsrb has no masks: for segmentation give scenes"):
        load("gtsrb", task="segmentation")
    with pytest.raises(EdgelaneError, match="they are for the task segmentation, not classification"):
        load(str(folder))
