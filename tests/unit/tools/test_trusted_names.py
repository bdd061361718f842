"""Which files are more than text, however their names are spelled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workspace.tools.plain_paths import plain_path
from workspace.tools.trusted_names import TRUSTED_NAMES, why_trusted

MORE_THAN_TEXT = [
    *(".github/workflows/ci.yml", ".gitlab-ci.yml", "sub/.circleci/config.yml", "Jenkinsfile", "azure-pipelines.yml"),
    *("CODEOWNERS", "action.yml", "ci/run"),
    *(".git/config", ".git/hooks/pre-commit", "repository/config", ".husky/pre-push", "husky/x", "hooks/pre-commit"),
    *("Makefile", "src/GNUmakefile", "rules.mk", "CMakeLists.txt", "cmake/x.cmake", "build.gradle", "build.gradle.kts"),
    *("pom.xml", "Cargo.toml", "build.rs", "Gemfile", "Rakefile", "BUILD", "meson.build", "x.csproj", "flake.nix"),
    *("setup.py", "setup.cfg", "pyproject.toml", "tests/conftest.py", "sitecustomize.py", "x.pth", "tox.ini"),
    *("__pycache__/a.bin", "lib/site-packages/x.py", "x.pyc"),
    *("package.json", "webpack.config.js", "vite.config.ts", "Gruntfile.js", "node_modules/a/index.js"),
    *("requirements.txt", "requirements-dev.txt", "package-lock.json", "yarn.lock", "poetry.lock", "go.sum"),
    *("Dockerfile", "Dockerfile.dev", "web.dockerfile", "docker-compose.yml", "docker-compose.override.yaml"),
    *("compose.yaml", "main.tf", "Vagrantfile", "devcontainer.json"),
    *("run.sh", "a/b/deploy.bash", "start.bat", "x.ps1", "bin/tool", "scripts/release.py", "lib.so", "lib.so.1"),
    *(".bashrc", "bashrc", ".profile", "profile", ".zshenv", "x.code-workspace", ".vimrc"),
    *("crontab", "etc/cron.d/x", "app.service", "app.timer", "x.desktop", "x.plist", "init.d/x", "debian/rules"),
    *("authorized_keys", ".ssh/authorized_keys2", "known_hosts", "sudoers", "ca.pem", "hosts", "pip.conf"),
    *("AGENTS.md", "sub/CLAUDE.md", "GEMINI.md", "mcp.json", ".cursorrules"),
    *(".env", ".npmrc", ".vscode/tasks.json", ".envrc", "a/.hidden/notes.md", "a/.x"),
]

TEXT = [
    *("notes.md", "src/app.py", "src/index.js", "README.md", "docs/api.md", "a/b/c.txt", "data.csv", "main.go"),
    *("tests/test_app.py", "static/style.css", "my_setup.py", "makefiles.md", "package.json.md", "hooks/useThing.ts"),
    *("src/src.js", "builder/build.md", "configuration.md", "profile.md", "binary/x.txt", "cicd/x.md"),
]

every_trusted = pytest.mark.parametrize("path", MORE_THAN_TEXT)


@every_trusted
def test_a_file_that_others_execute_or_trust_is_known(path: str) -> None:
    assert why_trusted(path)


@pytest.mark.parametrize("path", TEXT)
def test_a_file_that_is_only_text_is_not(path: str) -> None:
    assert why_trusted(path) is None


@every_trusted
def test_another_spelling_of_the_name_does_not_hide_it(path: str) -> None:
    wide = "".join(chr(ord(each) + 0xFEE0) if each.isalpha() else each for each in path)

    for spelling in (path.upper(), path.lower(), path + " ", path + ".", path + " . ", wide):
        assert plain_path(spelling) is None or why_trusted(spelling), spelling


@every_trusted
def test_a_directory_around_it_does_not_hide_it(path: str) -> None:
    assert why_trusted(f"a/b c/{path}")


@pytest.mark.parametrize("directory", [each for names in TRUSTED_NAMES for each in names.directories])
def test_everything_in_a_directory_that_is_listed_counts(directory: str) -> None:
    name = directory.replace("*", "x").replace("?", "0")

    assert why_trusted(f"{name}/a.md")
    assert why_trusted(f"a/{name.upper()} /b/c.md")


@given(st.text())
def test_any_text_gets_an_answer(text: str) -> None:
    why_trusted(text)


def test_the_names_are_written_as_they_are_compared() -> None:
    for names in TRUSTED_NAMES:
        for pattern in (*names.files, *names.directories):
            assert pattern == pattern.lower().strip()
            assert "/" not in pattern


def test_each_group_tells_why() -> None:
    assert all(names.why.startswith("which ") for names in TRUSTED_NAMES)
    assert len({names.group for names in TRUSTED_NAMES}) == len(TRUSTED_NAMES)
