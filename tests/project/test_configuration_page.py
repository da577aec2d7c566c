"""docs/configuration.md has every name of a configuration, as the code has it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

from memcore.runs.config import Config
from memcore.runs.config_file import from_mapping, read_toml
from memcore.runs.options import declared

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"


def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "configuration", ROOT / "docs" / "site" / "configuration.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_that_of_the_code() -> None:
    page = PAGE.read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == list(declared(Config))
    assert writer().with_table(page) == page, "run python docs/site/configuration.py"


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (tmp_path / "audit.toml").write_text(block)
    config = from_mapping(read_toml(tmp_path / "audit.toml"))
    assert (config.model, config.guidance_scale, config.dtype) == ("my-model", 7.5, "float16")
