"""The picture of docs/architecture.md: the rooms of the package, and the walks of two images through them."""

from __future__ import annotations

from canvas import INK, LINE, WIDTH, WRITTEN, Box, Picture

FILL, EDGE, GROUND = "#d9e9fb", "#1f5fa6", "#f3f5f8"


class House(Picture):
    """Rooms with arrows between them; each arrow has its step's number beside it."""

    def __init__(self, title: str, subtitle: str, description: str, height: float) -> None:
        self.title, self.description, self.height = title, description, height
        self.parts: list[str] = []
        self.arrows: list[str] = []
        self.text(14, 28, title, "title")
        self.text(14, 49, subtitle)

    def room(self, left: float, top: float, width: float, words: str, lines: int = 3) -> Box:
        box = Box(left, top, left + width, top + 14 + lines * LINE)
        self._rectangle(box, FILL, EDGE)
        for line, text in enumerate(words.split("\n")):
            self.text(left + 9, top + 19 + line * LINE, text, "" if line else "head")
        return box

    def floor(self, top: float, name: str, words: str) -> None:
        """What any room may call, as a band over the whole width."""
        self._rectangle(Box(10, top, WIDTH - 10, top + 32), GROUND, "#c3cad4")
        self.text(20, top + 21, name, "head")
        self.text(190, top + 21, words)

    def step(self, x: float, y: float, number: str, words: str, walk: int) -> None:
        """The number of a step, and what is passed on."""
        colour = WRITTEN if walk == 2 else INK
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="10" fill="{colour}"/>')
        self.parts.append(
            f'<text x="{x:g}" y="{y + 4.5:g}" text-anchor="middle" style="fill: #ffffff">{number}</text>'
        )
        self.lines(x + 15, y + 5, words)


def house() -> House:
    p = House(
        "The rooms of memcore, and the walks of two images",
        "Data goes along the arrows; the table below says what each room may import.",
        "A generated image goes from sampling into a prompt's graph; the audit makes the prompt's row of what the graph "
        "found; runs writes it, and the report reads it. A training image goes from sources through images into the index; "
        "matching "
        "takes a run's cliques, searches the index, which reads the training images that sketches leave undecided from "
        "their source again, and writes the matches to the run.",
        770,
    )
    p.floor(66, "cli, commands", "one module a command; bench, demo, info")
    sources = p.room(20, 124, 236, "sources\nfolder, tar, .npy, Parquet:\nentries in one order, their bytes")
    images = p.room(352, 124, 200, "images\nbytes to pixels, or a\nreason code; resize")
    sampling = p.room(640, 124, 228, "sampling\nsampler, seeds, batches,\nbudgets, screens; diffusers")
    index = p.room(20, 264, 236, "index\nsketch, build, layout; points,\npairs, search, reader")
    graphs = p.room(640, 264, 228, "graphs\na prompt's graph while it grows,\non the CPU or a GPU; findings")
    matching = p.room(20, 404, 236, "matching\nmetric; brute force or index;\nresult: is it a copy?")
    runs = p.room(352, 404, 200, "runs\na run on disk: rows, tables,\npictures, folder, reading")
    audit = p.room(640, 404, 228, "audit\na shard: sampled or stored\nprompts in flight, then finished")
    p.room(20, 524, 236, "duplicates · evaluation\ngroups of near-duplicates;\nscores against the truth")
    report = p.room(352, 524, 200, "report\na run as one page:\nfindings, pictures, sections")
    p.room(
        640,
        524,
        228,
        "annotate · serve · study\nwhat two people judge; a server;\nsmall models with planted truth",
    )
    p.floor(606, "engine", "tasks, scheduler, workers, launchers; knows neither prompts nor images")
    p.floor(644, "storage · system", "where files are; atomic writes, processors, progress, units")
    p.floor(
        682,
        "mathematics",
        "distance, graph, clique, knn over backends: csrc (C++, CUDA) and kernels (Triton)",
    )

    p.arrow((754, sampling.bottom), (754, graphs.top))
    p.step(772, 214, "1", "images of\na prompt", 1)
    p.arrow((754, graphs.bottom), (754, audit.top))
    p.step(772, 354, "2", "cliques and\ntheir pixels", 1)
    p.arrow((audit.left, audit.middle), (runs.right, audit.middle))
    p.step(570, 394, "3", "row, PNG", 1)
    p.arrow((430, runs.bottom), (430, report.top))
    p.step(448, 496, "4", "rows, pictures", 1)

    p.arrow((sources.right, sources.middle - 12), (images.left, sources.middle - 12), written=True)
    p.step(272, 126, "a", "bytes", 2)
    p.arrow((400, images.bottom), (400, 276), (index.right, 276), written=True)
    p.step(282, 262, "b", "pixels", 2)
    p.arrow((runs.left, matching.middle - 10), (matching.right, matching.middle - 10), written=True)
    p.step(270, 404, "c", "cliques", 2)
    p.arrow((500, runs.top), (500, images.bottom), written=True)
    p.arrow((440, images.bottom), (440, 316), (index.right, 316), written=True)
    p.step(516, 340, "d", "PNG of\nmembers", 2)
    p.step(282, 336, "e", "as points", 2)
    p.arrow((100, index.top), (100, sources.bottom), written=True)
    p.step(118, 214, "f", "the undecided are\nread again", 2)
    p.arrow((100, index.bottom), (100, matching.top), written=True)
    p.step(118, 362, "g", "distances", 2)
    p.arrow((matching.right, matching.middle + 16), (runs.left, matching.middle + 16), written=True)
    p.step(270, 468, "h", "matches", 2)
    p.arrow((30, 738), (72, 738))
    p.text(82, 743, "a generated image, from memcore audit (1 to 3) to memcore report (4)")
    p.arrow((30, 758), (72, 758), written=True)
    p.text(82, 763, "a training image, from memcore index (a, b) to its verdict in memcore match (c to h)")
    return p
