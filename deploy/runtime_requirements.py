"""Print what the system needs at run time, each pinned: `install_requires` of setup.cfg, for `pip --requirement`.

requirements.lock pins every package of the project, those for tests and development as well, so the image uses it as a
constraint: it installs these packages and what they need in turn, all of them at the versions of the lock.
"""

import configparser
import sys
from pathlib import Path

SETUP = Path(__file__).resolve().parent.parent / "setup.cfg"


def runtime_requirements(path: Path = SETUP) -> list[str]:
    """Return the requirements of the system itself, without those of its extras."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    return [line for line in parser["options"]["install_requires"].splitlines() if line.strip()]


if __name__ == "__main__":
    sys.stdout.writelines(f"{requirement}\n" for requirement in runtime_requirements())
