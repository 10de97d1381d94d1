"""Training items: different every time, still the same object, fast, and boxes that follow the pixels."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from data_makers import Maker, photo, voc_xml
from PIL import Image
from torch.utils.data import DataLoader, WeightedRandomSampler

from edgelane.data import decode, load


def test_training_items_vary_and_repeat_with_the_seed(maker: Maker):
    bundle = load(str(maker.voc()), image_size=32)
    torch.manual_seed(1)
    first, second = bundle.train[0][0], bundle.train[0][0]
    torch.manual_seed(1)
    again = bundle.train[0][0]
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_val_items_never_vary(maker: Maker):
    bundle = load(str(maker.voc()), image_size=32)
    assert torch.equal(bundle.val[0][0], bundle.val[0][0])


def test_signs_are_not_mirrored_unless_asked(maker: Maker):
    """A photo that is dark on the left stays dark on the left; with flip, about half of the items turn round."""
    maker.photos(maker.root / "a")
    maker.photos(maker.root / "b")
    for path in maker.root.rglob("*.png"):
        pixels = np.asarray(photo(0, (128, 128, 128))).copy()
        pixels[:, : pixels.shape[1] // 2] //= 4
        pixels[:, pixels.shape[1] // 2 :] += 60
        Image.fromarray(pixels).save(path)

    def mirrored(bundle):
        items = [bundle.train[index][0] for index in range(len(bundle.train))]
        return sum(bool(item[:, :, :10].mean() > item[:, :, -10:].mean()) for item in items) / len(items)

    torch.manual_seed(0)
    assert mirrored(load(str(maker.root), image_size=32)) == 0
    assert 0.25 < mirrored(load(str(maker.root), image_size=32, flip=True)) < 0.75


@pytest.mark.parametrize("flip", [False, True])
def test_augmented_boxes_follow_the_pixels(maker: Maker, flip):
    """A white block on black: wherever augmentation moves it, the box must still enclose it."""
    maker.voc()
    for number in range(maker.count):
        pixels = np.zeros((48, 64, 3), dtype=np.uint8)
        x, y = 4 + number % 30, 3 + number % 20
        pixels[y : y + 16, x : x + 20] = 255
        Image.fromarray(pixels).save(maker.root / "JPEGImages" / f"p{number:03d}.jpg", quality=95)
        text = voc_xml(f"p{number:03d}", [("red", (x, y, x + 20, y + 16))])
        (maker.root / "Annotations" / f"p{number:03d}.xml").write_text(text)
    bundle = load(str(maker.root), task="detection", image_size=(96, 128), flip=flip)
    torch.manual_seed(0)
    moved = 0
    for index in range(len(bundle.train)):
        image, target = bundle.train[index]
        assert type(image) is torch.Tensor
        assert type(target["boxes"]) is torch.Tensor
        if len(target["boxes"]) == 0:
            continue  # pushed out of the picture
        x0, y0, x1, y1 = target["boxes"][0].tolist()
        # The border that a shift leaves is filled with a middle grey: the block is what is much brighter.
        bright = (image.mean(dim=0) > image.mean(dim=0).max() - 0.5).nonzero()
        top, left = bright.min(dim=0).values.tolist()
        bottom, right = (bright.max(dim=0).values + 1).tolist()
        assert (left, top, right, bottom) == pytest.approx((x0, y0, x1, y1), abs=3)
        plain = bundle.train._items[index].labels[0].box
        moved += abs(plain[0] * 2 - x0) > 1
    assert moved > len(bundle.train) / 2


def test_what_exceeds_the_cache_is_decoded_again(maker: Maker, monkeypatch):
    maker.voc()
    cached = load(str(maker.root), image_size=32)
    monkeypatch.setattr(decode, "CACHE_BYTES", 20_000)
    fresh = load(str(maker.root), image_size=32)
    assert any(item.pixels is None for item in fresh.train._items + fresh.val._items + fresh.test._items)
    for a, b in zip(cached.test, fresh.test, strict=True):
        assert torch.equal(a[0], b[0])
        assert a[1] == b[1]
    assert fresh.train[0][0].shape == (3, 32, 32)


def test_data_loader_and_weighted_sampler(maker: Maker):
    bundle = load(str(maker.voc()), image_size=16)
    sampler = WeightedRandomSampler(bundle.sample_weights(), 64)
    batches = list(DataLoader(bundle.train, batch_size=16, sampler=sampler, num_workers=1))
    assert [tuple(images.shape) for images, _ in batches] == [(16, 3, 16, 16)] * 4


def test_data_sets_can_be_sent_to_a_worker(maker: Maker):
    bundle = load(str(maker.yolo()), image_size=16)
    copy = pickle.loads(pickle.dumps(bundle.val))
    assert torch.equal(copy[0][0], bundle.val[0][0])


def test_training_crops_show_more_than_test_crops():
    # The middle 1/ENLARGE of a training crop is what a test crop shows.
    width = 100.0
    training, test = width * (1 + 2 * decode.train_margin()), width * (1 + 2 * decode.MARGIN)
    assert training / decode.ENLARGE == pytest.approx(test)
