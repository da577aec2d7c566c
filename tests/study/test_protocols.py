"""Protocols: every name is checked, and models that several groups ask for are trained once."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from pathlib import Path

import pytest

from memcore.errors import ConfigError
from memcore.study.folder import asked_digest
from memcore.study.protocols.expand import expand, model_id
from memcore.study.protocols.protocol import DataSpec, Factors
from memcore.study.protocols.read import parse_protocol, read_protocol, shipped, with_paths
from memcore.study.units import count_units
from tests.support.study_sets import TINY

TEXT = TINY.format(path="images.npy")


def test_a_model_that_two_groups_ask_for_is_trained_once() -> None:
    specs = expand(parse_protocol(TEXT.encode(), "tiny"))
    assert [(s.groups, s.seed, s.checkpoints) for s in specs] == [
        (("sets", "shared"), 0, (3, 5, 9)),
        (("halves",), 0, (6,)),
        (("halves",), 0, (6,)),
        (("sets",), 1, (5, 9)),
    ]
    assert specs[0].factors.copies == ((2, 3),)
    assert len({s.id for s in specs}) == len(specs)


def test_ids_do_not_depend_on_where_the_data_are_but_on_everything_else() -> None:
    first = model_id(Factors(), DataSpec(path="/a"), 0)
    assert model_id(Factors(), DataSpec(path="/b"), 0) == first
    assert model_id(Factors(data="other"), DataSpec(), 0) == first
    values = {
        "copies": ((1, 2),),
        "labels": "class",
        "schedule": "cosine",
        "prediction": "sample",
        "folder": "x",
        "model": "dcgan",
        "generator": "x",
        "merge": "graph",
        "public": "other",
        "trainable": "small",
    }
    for field in dataclasses.fields(Factors):
        if field.name == "data":
            continue
        now = getattr(Factors(), field.name)
        other = (
            values[field.name]
            if isinstance(now, str | tuple)
            else not now
            if isinstance(now, bool)
            else now + 1
        )
        assert model_id(dataclasses.replace(Factors(), **{field.name: other}), DataSpec(), 0) != first, (
            field.name
        )
    assert model_id(Factors(), DataSpec(block=1), 0) != first
    assert model_id(Factors(), DataSpec(), 1) != first


def test_models_keep_the_ids_that_they_had_before_defences_were_added() -> None:
    assert model_id(Factors(n=32, steps=1500), DataSpec(), 3) == "n32-x1500-s3-008fbf98da"
    laptop = expand(read_protocol("laptop"))
    told = hashlib.sha256("".join(spec.id for spec in laptop).encode()).hexdigest()
    assert (len(laptop), told[:16]) == (170, "89ff6624bf182efc")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("n = 24", 'public = "web", public_steps = 2, n = 24', "public 'web' is not among images"),
        ("n = 24", 'public = "images", n = 24', "public names the data of the first public_steps"),
        ("n = 24", "dp_delta = 0.0, n = 24", "dp_delta must be above 0 and at most 0.5, got 0.0"),
        (
            "n = 24",
            'dp_epsilon = 2.0, labels = "class", n = 24',
            "labels must be 'none' with public, dp_epsilon",
        ),
        ("n = 24", "ambient = 10, n = 24", "ambient needs prediction 'epsilon' and no flips"),
        ("[canaries]", "[filter]\nrefused = 1.0\n[canaries]", "filter.refused must be in [0, 1), got 1.0"),
    ],
)
def test_defences_that_cannot_be_are_refused_by_name(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse_protocol(TEXT.replace(old, new).encode(), "tiny")


def test_the_shipped_defences_have_an_undefended_model_and_six_halves_a_pool() -> None:
    protocol = read_protocol("defences")
    specs = expand(protocol)
    named = {group.defence for group in protocol.groups}
    assert "undefended" in named
    assert len(named) == 10
    pools = Counter(g for spec in specs if spec.factors.half >= 0 for g in spec.groups)
    assert set(pools.values()) == {30}
    assert len({spec.seed for spec in specs}) == 5


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("interval = 4", "intervall = 4", "unknown name 'intervall'; did you mean 'interval'?"),
        (
            "samples = 70\nsteps",
            "sample = 70\nsteps",
            "extraction has an unknown name 'sample'; did you mean 'samples'?",
        ),
        ("n = 24", "m = 24", "groups[1].fixed has an unknown name 'm'"),
        ("half = [0, 1]", "half = []", "grid.half is empty"),
        ("half = [0, 1]", 'half = ["a"]', "groups[1].grid.half[0] is 'a', not int"),
        ('kind = "stored"', 'kind = "mnist"', "data.images.kind is 'mnist', not one of"),
        (
            "width = 8, batch = 4, canaries",
            "width = 9, batch = 4, canaries",
            "width must be divisible by 4, got 9",
        ),
        ("copies = [[2, 3]]", "copies = [[2, 3, 4]]", "copies[0] must be a list of 2, got 3"),
        ("copies = [[2, 3]]", "copies = [[20, 3]]", "plants 20 images of n=12"),
        ("checkpoints = [5]", "checkpoints = [50]", "the checkpoint 50 is not within its 9 steps"),
        ("n = 24, steps", 'labels = "unique", n = 24, steps', "have no unique label"),
        ('name = "halves"', 'name = "sets"', "two groups are called 'sets'"),
        ("seeds = 2", "seeds = 0", "seeds"),
        ("n = 24, steps = 6", 'data = "cifar", n = 24, steps = 6', "data 'cifar' is not among images"),
        ("half = [0, 1]", "n = [1, 2]", "n is in fixed and in grid"),
        ("[[groups]]", "[groups", "Expected"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    assert TEXT.count(old) >= 1
    with pytest.raises(ConfigError) as caught:
        parse_protocol(TEXT.replace(old, new, 1).encode(), "mine.toml")
    assert str(caught.value).startswith("the protocol mine.toml: ")
    assert said in str(caught.value)


def test_a_protocol_that_is_not_there_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'laptop'"):
        read_protocol("laptp")
    with pytest.raises(ConfigError, match="is a folder"):
        read_protocol(tmp_path)


def test_paths_of_data_are_given_by_name() -> None:
    protocol = parse_protocol(TEXT.encode(), "tiny")
    assert with_paths(protocol, {"images": "here"}).data["images"].path == "here"
    with pytest.raises(ConfigError, match="did you mean 'images'"):
        with_paths(protocol, {"image": "here"})


def test_shipped_protocols_have_the_models_that_they_promise() -> None:
    assert shipped() == ["cifar10", "defences", "full", "gan", "gan-cifar10", "laptop", "quick"]
    protocols = {name: read_protocol(name) for name in shipped()}
    models = {name: expand(protocol) for name, protocol in protocols.items()}
    assert len(models["laptop"]) >= 80
    assert len(models["full"]) >= 300
    halves = [s for s in models["cifar10"] if "halves" in s.groups]
    assert len(halves) == 16
    assert {s.factors.n for s in halves} == {50_000}
    assert protocols["cifar10"].extraction.samples == 2**20
    assert sum("hyperparameters" in s.groups for s in models["cifar10"]) >= 200
    for name, letter in (("gan", "j"), ("gan", "k"), ("gan", "l"), ("gan-cifar10", "j")):
        both = [
            s
            for s in models[name]
            if any(letter in g.findings for g in protocols[name].groups if g.name in s.groups)
        ]
        seeds = {
            kind: {s.seed for s in both if s.factors.model == kind}
            for kind in ("diffusion", "dcgan", "stylegan")
        }
        assert len(seeds["diffusion"]) == 5
        assert max(len(seeds["dcgan"]), len(seeds["stylegan"])) == 5
    for name in ("laptop", "full"):
        letters = {letter for group in protocols[name].groups for letter in group.findings}
        assert letters == set("abcdefghi")
        for group in protocols[name].groups:
            if group.findings:
                assert len(group.seeds) >= 5, (name, group.name)
    # a step of width 32 takes 70 ms on a core, of 16 and 24 less: an hour on two cores is 7,200 s of work
    shares = {16: 0.45, 24: 0.75, 32: 1.0}
    passes = [(count_units(protocols["laptop"], s).total, shares[s.factors.width]) for s in models["laptop"]]
    assert sum(units * share for units, share in passes) / 3 * 0.07 < 6_900
    # an hour on two cores is 7,200 s of work
    work = [
        (count_units(protocols["defences"], s).total, shares[s.factors.width]) for s in models["defences"]
    ]
    assert sum(units * share for units, share in work) / 3 * 0.07 < 6_000


def test_full_takes_over_every_model_of_laptop() -> None:
    laptop, full = read_protocol("laptop"), read_protocol("full")
    asked = {spec.id: asked_digest(full, spec) for spec in expand(full)}
    for spec in expand(laptop):
        assert asked[spec.id] == asked_digest(laptop, spec), spec
    assert len(asked) > 2 * len(expand(laptop))


def test_the_seeds_of_laptop_are_none_that_its_analysis_was_chosen_by() -> None:
    assert all(min(group.seeds) >= 10 for group in read_protocol("laptop").groups)
