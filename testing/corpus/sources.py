"""Gets packages through the ordinary clients: pip, npm, mvn, apt-get. None of them installs or runs anything of a package."""

import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecapture-corpus"
DEBIAN_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Unavailable(Exception):
    """The file can not be had here; the text says why."""


def fetch(entry, target):
    """Puts the entry's file at `target`."""
    with tempfile.TemporaryDirectory() as directory:
        archive = CLIENTS[entry["source"]](entry, Path(directory))
        extract(archive, entry["path"], target)


def pip(entry, directory):
    machine = entry["machine"]
    tags = [f"manylinux{tag}_{machine}" for tag in ("1", "2010", "2014", *(f"_2_{n}" for n in range(5, 40)))]
    if entry.get("libc") == "musl":
        tags = [f"musllinux_1_{n}_{machine}" for n in range(1, 4)]
    python = entry.get("python", "311")
    command = ["python3", "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--implementation=cp"]
    command += [f"--python-version={python}", *(f"--abi={abi}" for abi in (f"cp{python}", f"cp{python}m", "abi3", "none"))]
    command += [f"--platform={tag}" for tag in tags]
    run([*command, f"{entry['package']}=={entry['version']}"], directory)
    return only_file(directory)


def npm(entry, directory):
    run(["npm", "pack", "--silent", f"{entry['package']}@{entry['version']}"], directory)
    return only_file(directory)


def maven(entry, directory):
    group, name = entry["package"].split(":")
    artifact = [group, name, entry["version"], entry.get("type", "jar"), entry.get("classifier", "")]
    run(["mvn", "-q", "-B", "dependency:copy", "-Dartifact=" + ":".join(artifact).rstrip(":"), "-DoutputDirectory=."], directory)
    return only_file(directory)


def apt(entry, directory):
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[entry["machine"]]
    options = apt_options(entry["suite"], machine)
    run(["apt-get", "-qq", *options, "download", f"{entry['package']}={entry['version']}"], directory)
    return only_file(directory)


def apt_options(suite, machine):
    """Options for an apt of its own: other suites and machines than this system's, from the same mirror."""
    home = CACHE / "apt" / f"{suite}-{machine}"
    options = [
        f"Dir::Etc={home}", f"Dir::Etc::SourceList={home}/sources.list", "Dir::Etc::SourceParts=/dev/null", f"Dir::State={home}", f"Dir::State::status={home}/status",
        f"Dir::Cache={home}", f"APT::Architecture={machine}", f"APT::Architectures={machine}",
        "APT::Sandbox::User=root", "Acquire::Languages=none",
    ]  # fmt: skip
    options = [word for option in options for word in ("-o", option)]
    if not (home / "ready").exists():
        for part in ("lists/partial", "archives/partial"):
            (home / part).mkdir(parents=True, exist_ok=True)
        mirror = debian_mirror() + ("-debug" if suite.endswith("-debug") else "")
        (home / "sources.list").write_text(f"deb [signed-by={DEBIAN_KEYS}] {mirror} {suite} main\n")
        (home / "status").touch()
        run(["apt-get", "-qq", *options, "update"], home)
        (home / "ready").touch()
    return options


def debian_mirror():
    """Where this system has its Debian packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Created-By: Packages"]
    for mirror in run(command, Path("/")).split():
        if mirror.rstrip("/").endswith("/debian"):
            return mirror.rstrip("/")
    raise Unavailable("this system has no mirror of Debian (on Debian: apt-get update)")


def extract(archive, path, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    if archive.suffix in (".whl", ".jar", ".aar"):
        with zipfile.ZipFile(archive) as opened:
            source = opened.open(path) if path in opened.namelist() else None
            keep(source, path, target)
    elif archive.suffix == ".deb":
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE) as packer:
            untar(packer.stdout, "r|", f"./{path}", target)
            packer.stdout.read()
    else:
        with archive.open("rb") as stream:
            untar(stream, "r:gz", f"package/{path}", target)


def untar(stream, mode, path, target):
    with tarfile.open(fileobj=stream, mode=mode) as opened:
        for member in opened:
            if member.name == path:
                return keep(opened.extractfile(member), path, target)
    keep(None, path, target)


def keep(source, path, target):
    """Copies, and appears at once: an interrupted run leaves no half file."""
    if source is None:
        raise Unavailable(f"no {path} in the package")
    part = target.with_suffix(".part")
    with part.open("wb") as out:
        shutil.copyfileobj(source, out)
    part.rename(target)


def only_file(directory):
    [path] = directory.iterdir()
    return path


def run(command, directory):
    if shutil.which(command[0]) is None:
        raise Unavailable(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line.lower() or line.startswith("E:")]
        raise Unavailable(f"{command[0]}: {lines[0] if lines else f'exit code {done.returncode}'}")
    return done.stdout


CLIENTS = {"pip": pip, "npm": npm, "maven": maven, "apt": apt}
