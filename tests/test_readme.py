"""What the README promises: its links lead somewhere, its list of notebooks is complete, and its Python works."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_links_lead_to_files():
    links = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_it_fits_on_a_screen_and_leads_to_the_course():
    assert len(README.splitlines()) <= 90
    assert "nbs/course/01_robot.ipynb" in README


def test_its_python_works(tmp_path, monkeypatch):
    """The snippet as it stands, but for a small task, the smallest size and few steps."""
    (snippet,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    smaller = snippet
    for said, instead in (('"HalfCheetah-v5"', '"Pendulum-v1"'), ('"laptop"', '"tiny"'), ("10_000", "100")):
        assert said in smaller
        smaller = smaller.replace(said, instead)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(smaller, "README.md", "exec"), names)
    assert (tmp_path / "runs" / "cheetah" / "config.json").is_file() and (tmp_path / "cheetah").is_dir()
    action, _ = names["agent"].predict(names["obs"], deterministic=True)
    assert (action == names["action"]).all()
