"""The pictures of the documentation: one of the rooms (house.py), and one a kernel: what it reads and writes, and where.

    python docs/pictures/draw.py [FOLDER]       writes FOLDER/*.svg, by default beside this file

The same text gives the same bytes.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from itertools import pairwise

from canvas import Box, Picture
from house import house


def tiled_l2() -> Picture:
    p = Picture(
        "tiled_l2: the largest tile of every pair, 128 x 128 pairs a program",
        "500 images of 512 x 512 x 3, tiles of 128 x 128: D = 786,432, K = 49,152 bytes, 16 tiles; sm_90a",
        "tile_norms reads all images once and writes norms. Then a program copies one tile of 128 and 128 images through "
        "the L2 cache into shared memory in steps of 128 bytes, flips bytes in registers, multiplies them into 128 x 128 "
        "int32 sums, adds the norms, and joins out by an atomic maximum.",
        (132, 72, 104, 138),
    )
    l2, shared = p.band["l2"].top, p.band["shared"].top
    images = p.box("hbm", (136, 276, 10, 114), "images, as they stand: 393 MB")
    p.strips(172, images.top + 30, 3, 5)
    p.text(312, images.top + 45, "a: 128 of N")
    p.strips(172, images.top + 64, 3, 5)
    p.text(312, images.top + 79, "b: 128 of N")
    p.text(172, images.top + 108, "tile t: 128 lines of 384 bytes")
    norms = p.box("hbm", (442, 176, 10, 66), "norms\n(tiles, segments, N)\nint32: 32 KiB")
    out = p.box("hbm", (642, 226, 10, 114), "out, whole blocks\n512 x 512 uint32:\n1 MiB; 10 of the")
    p.lines(651, out.top + 70, "16 blocks, on or\nabove the diagonal")
    for row in range(4):
        for column in range(4):
            left, top = 790 + column * 17, out.top + 30 + row * 17
            p.cell("hbm", Box(left, top, left + 15, top + 15), full=column >= row)
    step = [Box(x, shared + 30, x + 46, shared + 66) for x in (172, 220, 278, 326)]
    for cell, name in zip(step, "abab", strict=True):
        p.cell("shared", cell, f"  {name}")
    flipped = Box(384, shared + 30, 440, shared + 66)
    p.cell("shared", flipped, "b - 128")
    p.lines(
        580,
        shared + 32,
        "2 steps of 32 KiB ahead,\nb - 128: 16 KiB; in all\n81,952 bytes (sm_80:\n65,536, no b - 128)",
    )
    flip = p.box("registers", (172, 134, 12, 64), "flip\nxor 0x80: x - 128,\n4 bytes at once")
    dot = p.box("registers", (324, 124, 12, 64), "int8 dot\n128 x 128 int32\n64 a thread")
    join = p.box("registers", (476, 160, 12, 64), "end of a segment\n|a|² + |b|² - 2 ab,\nmodulo 2³²: exact")
    most = p.box(
        "registers",
        (664, 204, 12, 64),
        "largest of its tiles\none large tile, or small\nones of 16 KiB together",
    )
    first = p.box(
        "registers", (136, 304, 86, 44), "before: tile_norms\nsum of (x - 128)² of 393 MB, read once"
    )
    p.text(474, first.middle + 5, "writes 4 bytes an image, tile and segment")
    p.arrow((154, images.bottom), (154, first.top))
    p.arrow((first.right, first.middle), (458, first.middle), (458, norms.bottom), written=True)
    p.arrow((195, images.bottom), (195, step[0].top))
    p.arrow((243, images.bottom), (243, step[1].top))
    p.lines(254, l2 + 22, "each image ⌈N/128⌉ + 1\n= 5 times: 1.97 GB,\nby TMA or pointers")
    p.arrow((195, step[0].bottom), (195, flip.top))
    p.arrow((243, step[1].bottom), (243, flip.top))
    p.arrow((flip.right, flip.middle), (dot.left, flip.middle))
    p.arrow((286, flip.top), (286, shared + 84), (398, shared + 84), (398, flipped.bottom))
    p.arrow((424, flipped.bottom), (424, dot.top))
    p.arrow((dot.right, dot.middle), (join.left, dot.middle))
    p.arrow((554, norms.bottom), (554, join.top))
    p.text(562, l2 + 30, "norms")
    p.arrow((join.right, join.middle), (most.left, join.middle))
    p.arrow((800, most.top), (800, out.bottom), written=True)
    p.lines(664, l2 + 30, "atomic max:\n16 tiles join")
    return p


def small_set() -> Picture:
    p = Picture(
        "tiled_l2 of at most 64 images: one block of rows, each image once",
        "64 images of 512 x 512 x 3, tiles of 128 x 128: 16 programs, one a tile; sm_90a",
        "A program copies one tile of all images through the L2 cache into shared memory once. The same bytes are both "
        "operands of the product, whose diagonal has the norms. Programs join by an atomic maximum.",
        (112, 66, 104, 92),
    )
    l2, shared = p.band["l2"].top, p.band["shared"].top
    images = p.box("hbm", (136, 304, 10, 92), "images, where they stand: 50.3 MB")
    p.strips(160, images.top + 32, 4, 5)
    p.lines(300, images.top + 46, "N ≤ 64, all of\nthem in a block")
    p.text(160, images.top + 86, "tile t: 128 lines of 384 bytes")
    p.text(470, images.top + 40, "no norms in memory")
    out = p.box("hbm", (642, 226, 10, 66), "out, one block\n64 x 64 uint32: 16 KiB\nevery pair of them")
    steps = [Box(x, shared + 30, x + 56, shared + 66) for x in (160, 220, 280)]
    for cell in steps:
        p.cell("shared", cell, "   x")
    p.text(202, shared + 20, "3 steps of 8 KiB ahead")
    flipped = Box(392, shared + 30, 456, shared + 66)
    p.cell("shared", flipped, "x - 128")
    p.text(404, shared + 20, "8 KiB")
    p.lines(470, shared + 45, "in all 32,792 bytes\n(sm_80: 24,576)")
    flip = p.box("registers", (136, 136, 12, 66), "flip\nxor 0x80: x - 128,\nonce, for both")
    dot = p.box("registers", (292, 146, 12, 66), "int8 dot: x xᵀ\n64 x 64 int32,\n32 a thread")
    join = p.box(
        "registers",
        (462, 204, 12, 66),
        "norms: its diagonal\n|x_i|² + |x_j|² - 2 x_i·x_j,\nmodulo 2³²: exact",
    )
    most = p.box(
        "registers", (692, 176, 12, 66), "largest of its tiles\none large tile, or\nsmall ones together"
    )
    p.arrow((190, images.bottom), (190, steps[0].top))
    p.lines(202, l2 + 28, "each image once: 50.3 MB,\nby TMA or pointers")
    p.arrow((188, steps[0].bottom), (188, flip.top))
    p.arrow((flip.right, flip.middle), (dot.left, flip.middle))
    p.arrow((248, flip.top), (248, shared + 84), (406, shared + 84), (406, flipped.bottom))
    p.arrow((426, flipped.bottom), (426, dot.top))
    p.arrow((dot.right, dot.middle), (join.left, dot.middle))
    p.arrow((join.right, join.middle), (most.left, join.middle))
    p.arrow((800, most.top), (800, out.bottom), written=True)
    p.lines(600, l2 + 28, "atomic max: 16 tiles\njoin, 262 kB in all")
    return p


def intake() -> Picture:
    p = Picture(
        "intake: new images into their slots, with means of blocks and norms, in one pass",
        "64 new images of 512 x 512 x 3, tiles of 128 x 128: 1,024 programs of one image x one tile",
        "A program reads one tile of an image, 8 blocks of 8 lines x 128 bytes at a time, straight into registers, and "
        "writes the same bytes to the image's slot. It stores a byte for a block's mean, and at the end 4 bytes each for "
        "the tile's norm and the means' own.",
        (176, 56, 46, 94),
    )
    l2, shared = p.band["l2"].top, p.band["shared"].top
    images = p.box("hbm", (136, 326, 10, 156), "new images: 50.3 MB, and their slots")
    p.strips(150, images.top + 34, 8, 5)
    p.text(150, images.top + 126, "one image")
    p.text(150, images.top + 143, "tile t")
    for block in range(48):
        left, top = 300 + block % 3 * 26, images.top + 32 + block // 3 * 7
        p.cell("hbm", Box(left, top, left + 25, top + 6), full=block != 16)
    p.lines(388, images.top + 60, "48 blocks\nof 8 lines\nx 128\nbytes")
    means = p.box(
        "hbm", (490, 186, 10, 84), "means\n(images, tiles, 64)\nuint8, 48 of the 64\nused: 49 kB written"
    )
    norms = p.box("hbm", (694, 174, 10, 84), "norms, spreads\n(tiles, segments, N)\nint32:\n8 kB written")
    p.lines(600, norms.bottom + 26, "the image itself goes\nto its slot: 50.3 MB\nwritten")
    p.text(240, l2 + 33, "each byte once: 50.3 MB")
    p.lines(240, shared + 19, "64 bytes: warps add up their sums;\nno pixel lies here")
    load = p.box(
        "registers", (136, 222, 12, 68), "8 blocks of an image\n8 x 8 x 128 = 8,192 bytes,\n64 a thread"
    )
    mean = p.box("registers", (490, 180, 12, 68), "⌊sum / 1,024⌋\na byte a block, stored\nafter each step")
    square = p.box(
        "registers", (694, 174, 12, 68), "sum of (x - 128)²\nover all 48 blocks,\nstored at the end"
    )
    p.arrow((226, images.bottom), (226, load.top))
    p.arrow((load.right, load.middle - 10), (mean.left, load.middle - 10))
    p.text(370, load.middle - 16, "sums")
    p.arrow(
        (load.right, load.bottom - 8),
        (mean.left - 16, load.bottom - 8),
        (mean.left - 16, load.bottom + 6),
        (mean.right + 11, load.bottom + 6),
        (mean.right + 11, square.middle),
        (square.left, square.middle),
    )
    p.text(370, load.bottom - 15, "squares")
    p.arrow((560, mean.top), (560, means.bottom), written=True)
    p.arrow((850, square.top), (850, norms.bottom), written=True)
    return p


def threshold_graph() -> Picture:
    p = Picture(
        "threshold_graph: from means to a list of blocks to the graph's bits",
        "prompts of 500 images of 512 x 512 x 3, tiles of 128 x 128; blocks of P x P pairs, P = 128 or 64; sm_90a",
        "intake reads each new image once, writes it to its slot, and norms and means. candidates reads means, writes the "
        "bits of pairs that may be edges, and a list of the blocks that have any. verify reads the images of those blocks "
        "alone and clears the bits of pairs above the threshold by an atomic AND. degrees counts bits.",
        (186, 40, 74, 132),
    )
    l2, shared = p.band["l2"].top, p.band["shared"].top
    images = p.box(
        "hbm", (136, 732, 10, 30), "images (slots, capacity, H, W, C) uint8, D bytes each, kept on the device"
    )
    norms = p.box("hbm", (172, 342, 54, 30), "norms (tiles, segments, N) int32")
    means = p.box("hbm", (204, 126, 100, 70), "means\n64 bytes a tile\nand image")
    todo = p.box("hbm", (344, 154, 100, 70), "list, its length\nblocks that have\na candidate: int32")
    bits = p.box("hbm", (546, 216, 100, 70), "bits\n(slots, capacity, words)\n32 kB at 500 images")
    degrees = p.box("hbm", (776, 92, 100, 70), "degrees\nint32")
    measure = p.box(
        "registers",
        (136, 138, 12, 108),
        "1 intake\neach new image\nonce: D bytes;\nwrites D bytes\nand 56 a tile",
    )
    guess = p.box(
        "registers",
        (290, 180, 12, 108),
        "2 candidates\npairs whose means are\nnear for every tile;\nreads 2 P x 64 bytes\na tile of a block",
    )
    exact = p.box(
        "registers",
        (486, 236, 12, 108),
        "3 verify\nexact ssd, tile by tile, until no\npair of the block is left:\n"
        "at most 2 P x D bytes of a\nblock of the list are read",
    )
    count = p.box(
        "registers", (738, 130, 12, 108), "4 degrees\npopcount: 4\nbytes a word\nread, 4 a row\nwritten"
    )
    near = Box(290, shared + 12, 420, shared + 62)
    p.cell("shared", near)
    p.lines(297, shared + 32, "means: 40,960\nbytes at P = 128")
    tiles = Box(522, shared + 12, 706, shared + 62)
    p.cell("shared", tiles)
    p.lines(530, shared + 32, "images, as in tiled_l2:\n81,952 bytes, P = 128")
    p.arrow((152, images.bottom), (152, measure.top))
    p.arrow((186, measure.top), (186, norms.bottom), written=True)
    p.arrow((236, measure.top), (236, means.bottom), written=True)
    p.arrow((310, means.bottom), (310, near.top))
    p.arrow((330, near.bottom), (330, guess.top))
    p.arrow((440, guess.top), (440, todo.bottom), written=True)
    p.arrow((460, guess.top), (460, l2 + 22), (566, l2 + 22), (566, bits.bottom), written=True)
    p.arrow((492, todo.bottom), (492, exact.top))
    p.arrow((508, norms.bottom), (508, exact.top))
    p.arrow((530, images.bottom), (530, tiles.top))
    p.arrow((600, tiles.bottom), (600, exact.top))
    p.arrow((714, exact.top), (714, bits.bottom), written=True)
    p.text(574, l2 + 26, "2 stores")
    p.text(654, l2 + 26, "3 ANDs")
    p.arrow((750, bits.bottom), (750, count.top))
    p.arrow((850, count.top), (850, degrees.bottom), written=True)
    return p


def knn() -> Picture:
    p = Picture(
        "knn: the k nearest rows, a running list of keys a query",
        "1,001 queries x 50,001 rows of 3,072 bytes, k = 50: 8 x 98 programs of 128 queries x 512 rows; sm_90a",
        "A program takes 128 queries and one part of the corpus, 128 rows at a time: it copies both into shared memory, "
        "multiplies them, and lets each query's smallest key replace the worst one that it keeps. At the end it writes its "
        "keys; the launcher sorts the parts' together.",
        (102, 72, 90, 172),
    )
    l2, shared = p.band["l2"].top, p.band["shared"].top
    queries = p.box("hbm", (136, 122, 10, 66), "queries\n(Q, D) uint8\n3.1 MB")
    p.box("hbm", (274, 138, 10, 66), "corpus\n(N, D) uint8\n154 MB")
    norms = p.box(
        "hbm",
        (428, 176, 10, 82),
        "norms of both\n(segments, rows) int32\nby tile_norms, which\nreads both once",
    )
    keys = p.box(
        "hbm",
        (622, 246, 10, 82),
        "keys (parts, Q, kept) int64\n98 x 1,001 x 64 x 8 = 50 MB,\n"
        "sorted by the launcher:\nk nearest, ties by index",
    )
    cells = [Box(x, shared + 34, x + 36, shared + 70) for x in (140, 178, 240, 278)]
    for cell, name in zip(cells, "qqcc", strict=True):
        p.cell("shared", cell, f" {name}")
    flipped = Box(330, shared + 34, 392, shared + 70)
    p.cell("shared", flipped, "c - 128")
    p.lines(530, shared + 36, "2 steps of 32 KiB ahead,\nc - 128: 16 KiB; in all\n81,952 bytes")
    dot = p.box(
        "registers",
        (136, 260, 12, 66),
        "flip, int8 dot\n128 x 128 int32 sums, as in\ntiled_l2, for 128 rows of the part",
    )
    key = p.box(
        "registers",
        (414, 212, 12, 66),
        "key = ssd 2^s + row\nssd from products and norms;\ns: bits of N, keys differ",
    )
    kept = p.box(
        "registers", (664, 204, 12, 148), "kept: 64 keys a query\nof 64 bits, in any order:\n128 x 64 of them"
    )
    for place in range(8):
        left = 676 + place * 22
        p.cell("registers", Box(left, kept.top + 66, left + 20, kept.top + 86), full=place != 5)
    p.text(676, kept.top + 104, "worst one: replaced")
    loop = p.box(
        "registers",
        (136, 484, 96, 64),
        "again, until no query has a key that enters\n"
        "each query's smallest key replaces the worst of its list if it is\nsmaller; the longer the part, the rarer",
    )
    p.arrow((158, queries.bottom), (158, cells[0].top))
    p.arrow((290, queries.bottom), (290, cells[3].top))
    p.lines(168, l2 + 30, "for each 128\nrows: 1.2 GB")
    p.lines(300, l2 + 30, "⌈Q/128⌉ = 8\ntimes: 1.2 GB")
    p.arrow((196, cells[1].bottom), (196, dot.top))
    p.arrow((258, cells[2].bottom), (258, dot.top))
    p.arrow((322, dot.top), (322, shared + 80), (346, shared + 80), (346, flipped.bottom))
    p.arrow((376, flipped.bottom), (376, dot.top))
    p.arrow((dot.right, dot.middle), (key.left, dot.middle))
    p.arrow((500, norms.bottom), (500, key.top))
    p.arrow((517, key.bottom), (517, loop.top))
    p.arrow((loop.right, loop.middle), (kept.left, loop.middle))
    p.arrow((766, kept.top), (766, keys.bottom), written=True)
    p.text(640, l2 + 42, "once, at the end")
    return p


def max_clique() -> Picture:
    p = Picture(
        "max_clique (CUDA): one warp a graph, sets of vertices as bits",
        "n = 500 vertices, W = 16 words a row; blocks of four warps, n at most 1,024",
        "Warps take the number of the next graph from an atomic counter. A lane holds one word of each set in "
        "registers. Rows of the adjacency come through the caches. The levels of the search lie in "
        "shared memory, deeper ones in the workspace. Members and bounds of a graph are written once.",
        (112, 56, 104, 134),
    )
    l2, shared = p.band["l2"].top, p.band["shared"].top
    ticket = p.box("hbm", (136, 132, 10, 74), "counter\nthe next graph\n8 bytes")
    rows = p.box("hbm", (284, 196, 10, 74), "adjacency\n(G, n, W) words of bits\n32 kB a graph")
    deep = p.box(
        "hbm",
        (494, 170, 10, 92),
        "workspace\nlevels 96 ... n - 1 of\neach warp, 128 bytes\na level: deep searches",
    )
    answer = p.box(
        "hbm",
        (672, 200, 10, 92),
        "answer\nmembers (G, W): 64 bytes\nbounds (G, 4): 32 bytes,\nlower, upper, proven, nodes",
    )
    p.text(208, l2 + 34, "atomic")
    p.lines(390, l2 + 23, "first from HBM,\nthen L1, L2")
    stack = p.box(
        "shared",
        (398, 232, 10, 84),
        "a warp: 14,288 bytes\n96 levels x 2 sets x 64 bytes\n"
        "(candidates, branching), and\nchosen vertex, bound: 4 n bytes",
    )
    p.lines(672, shared + 38, "four warps, a block:\n57,152 bytes")
    take = p.box(
        "registers",
        (136, 132, 12, 108),
        "take a graph\nlane 0 adds 1,\na shuffle tells\nthe others; until\nnone is left",
    )
    warp = p.box("registers", (284, 584, 12, 108), "a warp of 32 lanes: lane l holds word l of every set")
    names = (
        ("peel", "degrees too small"),
        ("greedy", "a first clique"),
        ("colour, branch", "a larger one"),
        ("canonise", "the smallest of them"),
    )
    x = 296.0
    boxes = []
    for (name, what), width in zip(names, (134, 108, 130, 148), strict=True):
        boxes.append(Box(x, warp.top + 34, x + width, warp.top + 92))
        p.cell("registers", boxes[-1])
        p.text(x + 7, warp.top + 57, name, "head")
        p.text(x + 7, warp.top + 77, what)
        x += width + 14
    for one, other in pairwise(boxes):
        p.arrow((one.right, one.middle), (other.left, other.middle))
    p.arrow((200, take.top), (200, ticket.bottom), written=True)
    p.arrow((take.right, warp.middle), (warp.left, warp.middle))
    p.arrow((380, rows.bottom), (380, warp.top))
    p.arrow((480, stack.bottom), (480, warp.top))
    p.arrow((560, warp.top), (560, stack.bottom), written=True)
    p.arrow((641, deep.bottom), (641, warp.top))
    p.arrow((656, warp.top), (656, deep.bottom), written=True)
    p.arrow((850, warp.top), (850, answer.bottom), written=True)
    return p


PICTURES: dict[str, Callable[[], Picture]] = {
    "tiled_l2": tiled_l2,
    "tiled_l2_small": small_set,
    "intake": intake,
    "threshold_graph": threshold_graph,
    "knn": knn,
    "max_clique": max_clique,
    "house": house,
}


def main(folder: pathlib.Path) -> None:
    for name, picture in PICTURES.items():
        (folder / f"{name}.svg").write_text(picture().svg(), "utf-8")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if sys.argv[1:] else pathlib.Path(__file__).parent)
