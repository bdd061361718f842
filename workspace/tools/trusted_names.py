"""Files that are more than text: other programs execute them, or trust what they say, without asking anybody.

Whoever may write such a file may soon run a program, as another user, at another time or on another machine. The names
are compared as the most lenient disk would (`workspace.tools.plain_paths.folded`): `MAKEFILE` and `Makefile.` are one.
"""

import re
from collections.abc import Callable
from fnmatch import translate
from typing import NamedTuple

from workspace.tools.plain_paths import folded


class TrustedNames(NamedTuple):
    """A group of names, with what a person is told of them."""

    group: str
    why: str
    files: tuple[str, ...]
    """Patterns of the last name of a path, in lower case."""
    directories: tuple[str, ...] = ()
    """Patterns of every other name of it."""


_EXECUTED = "which other programs execute"
_TRUSTED = "which other programs trust"

_GIT_HOOKS = (
    *("applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-applypatch", "post-checkout", "post-commit"),
    *("post-merge", "post-receive", "post-rewrite", "post-update", "pre-applypatch", "pre-auto-gc", "pre-commit"),
    *("pre-merge-commit", "pre-push", "pre-rebase", "pre-receive", "prepare-commit-msg", "proc-receive"),
    *("push-to-checkout", "reference-transaction", "sendemail-validate", "update"),
)

TRUSTED_NAMES = (
    TrustedNames(
        "continuous integration and deployment",
        _EXECUTED,
        (
            *(".gitlab-ci.yml", ".gitlab-ci.yaml", ".travis.yml", ".drone.yml", ".woodpecker.yml", ".cirrus.yml"),
            *("jenkinsfile", "jenkinsfile.*", "*.jenkinsfile", "azure-pipelines*.yml", "azure-pipelines*.yaml"),
            *("bitbucket-pipelines.yml", "appveyor.yml", "cloudbuild.y*ml", "cloudbuild.json", "buildspec.y*ml"),
            *("circle.yml", "codemagic.yaml", "bitrise.yml", "wercker.yml", "action.yml", "action.yaml"),
            *("procfile", "fly.toml", "netlify.toml", "vercel.json", "render.yaml", "heroku.yml", "app.json"),
            *("serverless.y*ml", "wrangler.toml", "skaffold.y*ml", "tiltfile", "renovate.json*", "codeowners"),
        ),
        (
            *(".github", ".gitlab", ".gitea", ".forgejo", ".circleci", ".buildkite", ".woodpecker", ".teamcity"),
            *(".azure-pipelines", ".ci", "ci"),
        ),
    ),
    TrustedNames(
        "git's hooks and settings",
        _EXECUTED,
        ("config", "lefthook.y*ml", ".pre-commit-config.y*ml", "pre-commit-hooks.y*ml", *_GIT_HOOKS),
        (".git", ".husky", "husky", ".githooks", "githooks", "git-hooks"),
    ),
    TrustedNames(
        "builds",
        _EXECUTED,
        (
            *("makefile", "makefile.*", "gnumakefile", "bsdmakefile", "*.mk", "*.mak", "*.make", "justfile", "*.just"),
            *("cmakelists.txt", "*.cmake", "cmakepresets.json", "meson.build", "meson_options.txt", "meson.options"),
            *("build.ninja", "*.ninja", "sconstruct", "sconscript", "wscript", "configure", "configure.ac"),
            *("configure.in", "*.m4", "*.am", "build", "build.bazel", "workspace", "workspace.bazel"),
            *("module.bazel", "*.bzl", "buck", "taskfile.y*ml", "earthfile", "magefile.go", "rakefile", "*.rake"),
            *("gemfile", "gems.rb", "*.gemspec", "capfile", "guardfile", "fastfile", "podfile", "*.podspec"),
            *("build.gradle", "*.gradle", "*.gradle.kts", "gradle.properties", "gradle-wrapper.*", "gradlew"),
            *("pom.xml", "mvnw", "build.xml", "ivy.xml", "*.sbt", "build.sc", "project.clj", "deps.edn"),
            *("cargo.toml", "build.rs", "rust-toolchain", "rust-toolchain.toml", "go.mod", "go.work"),
            *("package.swift", "mix.exs", "rebar.config", "*.cabal", "cabal.project*", "stack.yaml", "setup.hs"),
            *("*.csproj", "*.fsproj", "*.vbproj", "*.vcxproj", "*.proj", "*.props", "*.targets", "*.sln", "*.slnx"),
            *("nuget.config", "global.json", "dub.json", "dune", "dune-project", "*.nix", "flake.lock"),
            *("composer.json", "makefile.pl", "build.pl", "*.pro", "*.gyp", "*.gypi"),
        ),
    ),
    TrustedNames(
        "Python's start, build and tests",
        _EXECUTED,
        (
            *("setup.py", "setup.cfg", "pyproject.toml", "conftest.py", "sitecustomize.py", "usercustomize.py"),
            *("*.pth", "*._pth", "*.egg-link", "*.pyc", "*.pyo", "pyvenv.cfg", "tox.ini", "pytest.ini", "noxfile.py"),
            *("fabfile.py", "dodo.py", "manage.py", "pipfile"),
        ),
        ("__pycache__", "site-packages", "dist-packages", "venv"),
    ),
    TrustedNames(
        "JavaScript's packages and tools",
        _EXECUTED,
        (
            *("package.json", "package.json5", "package.yaml", "deno.json*", "lerna.json", "nx.json", "turbo.json"),
            *("pnpm-workspace.yaml", "gruntfile.*", "gulpfile.*", "*.config.js", "*.config.cjs", "*.config.mjs"),
            *("*.config.ts", "*.config.cts", "*.config.mts", "*.conf.js", "*.conf.ts"),
        ),
        ("node_modules",),
    ),
    TrustedNames(
        "which packages are installed",
        "which decides what other programs install",
        (
            *("requirements*.txt", "requirements*.in", "constraints*.txt", "*.lock", "*-lock.json", "*-lock.yaml"),
            *("npm-shrinkwrap.json", "bun.lockb", "go.sum", "environment.y*ml", "conda*.y*ml", "brewfile", "aptfile"),
            *("package.resolved", "*.lockfile"),
        ),
    ),
    TrustedNames(
        "containers and infrastructure",
        _EXECUTED,
        (
            *("dockerfile", "dockerfile.*", "*.dockerfile", "containerfile", "containerfile.*", "docker-compose*.y*ml"),
            *("compose.y*ml", "compose.*.y*ml", "docker-bake.*", "devcontainer.json", "vagrantfile", "chart.yaml"),
            *("kustomization.y*ml", "helmfile.y*ml", "*.tf", "*.tf.json", "*.tfvars", "*.hcl", "ansible.cfg"),
            *("web.config", "httpd.conf", "nginx.conf", "php.ini", "*.cgi", "*.wsgi"),
        ),
    ),
    TrustedNames(
        "scripts and programs",
        _EXECUTED,
        (
            *("*.sh", "*.bash", "*.zsh", "*.ksh", "*.csh", "*.tcsh", "*.fish", "*.nu", "*.bat", "*.cmd", "*.btm"),
            *("*.ps1", "*.psm1", "*.psd1", "*.ps1xml", "*.vbs", "*.vbe", "*.wsf", "*.wsh", "*.hta", "*.jse", "*.scr"),
            *("*.reg", "*.inf", "*.lnk", "*.url", "*.msi", "*.exe", "*.com", "*.dll", "*.so", "*.so.*", "*.dylib"),
            *("*.jar", "*.war", "*.node", "*.whl", "*.egg", "*.appimage", "*.command", "*.tool", "*.applescript"),
            *("*.scpt", "*.workflow", "*.action", "*.run", "autorun.inf", "*.xlsm", "*.docm", "*.pptm"),
        ),
        ("bin", "sbin", "script", "scripts", "libexec"),
    ),
    TrustedNames(
        "shells' and editors' settings",
        _EXECUTED,
        (
            *("profile", "bashrc", "bash_profile", "bash_login", "bash_logout", "bash_aliases", "zshrc", "zshenv"),
            *("zprofile", "zlogin", "zlogout", "kshrc", "cshrc", "tcshrc", "inputrc", "xinitrc", "xprofile"),
            *("xsession", "envrc", "vimrc", "_vimrc", "gvimrc", "init.vim", "init.el", "*.code-workspace"),
            *("*.sublime-project", "*.sublime-build", "tmux.conf", "screenrc", "gdbinit", "lldbinit", "irbrc"),
            *("gitconfig", "gitattributes", "gitmodules", "npmrc", "netrc", "_netrc"),
        ),
        ("profile.d", "xinitrc.d"),
    ),
    TrustedNames(
        "what the system starts",
        _EXECUTED,
        (
            *(
                "crontab",
                "anacrontab",
                "*.cron",
                "*.service",
                "*.socket",
                "*.timer",
                "*.path",
                "*.mount",
                "*.automount",
            ),
            *("*.desktop", "*.plist", "rc.local", "inittab", "inetd.conf", "ld.so.preload", "ld.so.conf"),
            *("supervisord.conf", "*.rules"),
        ),
        (
            *("cron.d", "cron.hourly", "cron.daily", "cron.weekly", "cron.monthly", "init.d", "rc?.d", "systemd"),
            *("autostart", "launchagents", "launchdaemons", "modprobe.d", "udev", "ld.so.conf.d", "debian"),
        ),
    ),
    TrustedNames(
        "keys and rights",
        _TRUSTED,
        (
            *("authorized_keys", "authorized_keys2", "authorized_principals", "known_hosts", "ssh_config"),
            *("sshd_config", "id_rsa*", "id_ed25519*", "id_ecdsa*", "*.pem", "*.crt", "*.cer", "*.p12", "*.pfx"),
            *("*.keystore", "*.jks", "sudoers", "passwd", "shadow", "group", "hosts", "hosts.allow", "hosts.equiv"),
            *("resolv.conf", "nsswitch.conf", "krb5.conf", "pip.conf", "pip.ini", "kubeconfig", "htaccess"),
        ),
        ("sudoers.d", "pam.d", "ca-certificates", "ssh", "polkit-1"),
    ),
    TrustedNames(
        "instructions of other agents",
        "which other agents obey",
        (
            *("agents.md", "agent.md", "claude.md", "claude.local.md", "gemini.md", "copilot-instructions.md"),
            *("*.instructions.md", "*.prompt.md", "*.mdc", "skill.md", "mcp.json", "*.mcp.json", "llms.txt"),
        ),
    ),
    TrustedNames("hidden files and directories", "which is hidden: programs keep settings there", (".*",), (".*",)),
)
"""The first group that has the name counts."""


def why_trusted(path: str) -> str | None:
    """Return what a person is told of a file that is more than text, `None` for others.

    Args:
        path: in its shortest spelling, as `plain_path` returns it.
    """
    *directories, file = [folded(name) for name in path.split("/")]
    for why, is_such_file, is_such_directory in _MATCHERS:
        if is_such_file(file) or any(is_such_directory(name) for name in directories):
            return why
    return None


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], object]:
    """All patterns as one expression: `fnmatch` keeps too few compiled for this many. Without patterns: nothing."""
    return re.compile("|".join(map(translate, patterns)) or r"(?!)").match


_MATCHERS = [(names.why, _matcher(names.files), _matcher(names.directories)) for names in TRUSTED_NAMES]
