"""Pages of images: taken when images come, given back, moved to a larger store, and refused as a whole where memory ends."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from memcore_kernels.pages import ImagePages  # noqa: E402

SHAPE = (2, 2, 1)


def fill(pages: ImagePages, slot: int, count: int) -> None:
    """Write numbers of its slot and position into each image."""
    for position in range(count):
        pages.image(slot, position)[:] = 16 * slot + position


def check(pages: ImagePages, slot: int, count: int) -> None:
    images = pages.images(slot, count)
    assert images.shape == (count, *SHAPE)
    assert [int(image[0, 0, 0]) for image in images] == [16 * slot + i for i in range(count)]


def test_pages_come_with_images_and_go_to_other_slots() -> None:
    pages = ImagePages(4, 4, SHAPE, "cpu")
    pages.reserve({0: 4, 1: 1})
    pages.reserve({0: 5})
    assert [list(pages.of(slot)) for slot in (0, 1, 2)] == [[0, 2], [1], []]
    for slot, count in ((0, 5), (1, 1)):
        fill(pages, slot, count)
        check(pages, slot, count)
    assert pages.images(2, 0).shape == (0, *SHAPE)
    pages.release(0)
    pages.release(7)
    pages.reserve({2: 9, 1: 2})
    assert list(pages.of(2)) == [0, 2, 3]
    assert len(pages.store) == 4, "no more memory was taken"
    check(pages, 1, 1)


def test_a_view_where_pages_follow_each_other() -> None:
    pages = ImagePages(3, 4, SHAPE, "cpu")
    pages.reserve({0: 9})
    fill(pages, 0, 9)
    images = pages.images(0, 9)
    images[8] = 99
    assert int(pages.image(0, 8)[0, 0, 0]) == 99


def test_the_store_grows_to_twice_its_size_and_keeps_what_it_holds() -> None:
    pages = ImagePages(2, 4, SHAPE, "cpu")
    pages.reserve({0: 3, 1: 4})
    fill(pages, 0, 3)
    fill(pages, 1, 4)
    pages.reserve({0: 6})
    fill(pages, 0, 6)
    assert len(pages.store) == 4
    pages.reserve({0: 16, 1: 16})
    assert len(pages.store) == 8
    check(pages, 0, 6)
    check(pages, 1, 4)
    everything = [*pages.of(0), *pages.of(1)]
    assert sorted(everything) == list(range(8))


def test_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many pages as are needed are tried where twice as many are too many; where these are, nothing has changed."""
    pages = ImagePages(4, 4, SHAPE, "cpu")
    pages.reserve({0: 16})
    fill(pages, 0, 16)
    right, most = torch.empty, 6

    def empty(*shape: int, **more: object) -> torch.Tensor:
        if shape[0] > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return right(*shape, **more)

    monkeypatch.setattr(torch, "empty", empty)
    pages.reserve({1: 5})
    assert len(pages.store) == 6
    with pytest.raises(torch.OutOfMemoryError):
        pages.reserve({1: 8, 2: 4})
    assert (len(pages.of(1)), len(pages.of(2)), len(pages.store)) == (2, 0, 6)
    check(pages, 0, 16)
    pages.release(0)
    pages.reserve({2: 16})
    assert len(pages.store) == 6
