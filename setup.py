"""Packaging: every value is read from settings.ini, where nbdev reads it too."""

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).resolve().parent
parser = ConfigParser(delimiters=["="], interpolation=None)
parser.read(here / "settings.ini", encoding="utf-8")
settings = parser["DEFAULT"]

setup(
    name=settings["lib_name"],
    version=settings["version"],
    description=settings["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=settings["author"],
    keywords=settings["keywords"].split(),
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["mage_edu", "mage_edu.*"]),
    package_data={"mage_edu": ["py.typed", "page/*"]},
    python_requires=f">={settings['min_python']}",
    install_requires=settings["requirements"].split(),
    extras_require={
        name: settings[f"{name.replace('-', '_')}_requirements"].split()
        for name in ("dev", "dask", "ray", "dm-control", "minari", "onnx", "otter")
    },
    entry_points={"console_scripts": settings["console_scripts"].split()},
)
