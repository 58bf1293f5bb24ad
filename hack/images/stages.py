"""Execute the stages of a Dockerfile in chroots on overlays; what they add becomes layers."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile import Stage, Step
from layers import Layer, mark_removals

# What a build on this machine needs to reach package servers.
PASSED = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "PIP_CERT",
          "PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "UV_HTTP_TIMEOUT")  # fmt: skip
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYSTEM = (
    "./dev",
    "./proc",
    "./tmp",
    "./run",
    "./root",
    "./var/log",
    "./var/cache",
    "./etc/resolv.conf",
    "./etc/ssl/certs",
)


@dataclass
class Builder:
    """`context` is the repository; `replaced` has other contents for some of its files."""

    target: str  # of its layers' names
    context: Path
    base: Path
    store: Path
    cache: Path  # of uv, kept between builds
    replaced: dict[str, str] = field(default_factory=dict)

    def layers(self, stages: list[Stage]) -> list[Layer]:
        """The layers of the last stage, those that are there already left as they are."""
        named = {stage.name: stage for stage in stages}
        last = stages[-1]
        base = Layer(self.store / f"base-{self._base_key()}.tar.zst")
        if not base.exists():
            base.write(self.base, excluded=("./dev/*", "./proc/*", "./sys/*"))
        made = [base]
        runs = [step for step in last.steps if step.kind == "RUN"]
        if runs:
            layer = Layer(self.store / f"{self.target}-system-{self._key(last, runs)}.tar.zst")
            if not layer.exists():
                with self._execute(runs) as (_, upper):
                    mark_removals(upper)
                    layer.write(upper, excluded=SYSTEM)
            made.append(layer)
        for step in last.steps:
            if step.kind == "COPY":
                made.append(self._copied(named[step.options["from"]], step))
        for file in self.store.glob(f"{self.target}-*"):  # of an older checkout
            if file not in {path for layer in made for path in (layer.file, layer.note)}:
                file.unlink()
        return made

    def _copied(self, stage: Stage, step: Step) -> Layer:
        (source, target) = step.words
        layer = Layer(self.store / f"{self.target}-{stage.name}-{self._key(stage, [*stage.steps, step])}.tar.zst")
        if not layer.exists():
            with self._execute(stage.steps) as (root, _):
                layer.write(root / source.strip("/"), place=target)
        return layer

    @contextlib.contextmanager
    def _execute(self, steps: list[Step]) -> Iterator[tuple[Path, Path]]:
        """A system after `steps`: its root, and the folder with what they added."""
        with tempfile.TemporaryDirectory(dir=self.store, prefix="work-") as name, contextlib.ExitStack() as mounts:
            work = Path(name)
            root, upper, scratch = (work / part for part in ("root", "upper", "scratch"))
            for folder in (root, upper, scratch):
                folder.mkdir()
            options = f"lowerdir={self.base},upperdir={upper},workdir={scratch}"
            _mount(mounts, root, "-t", "overlay", "-o", options, "overlay")
            for path in ("dev", "proc"):
                _mount(mounts, root / path, "--rbind", "--make-rslave", f"/{path}")
            (root / "etc/resolv.conf").touch()
            _mount(mounts, root / "etc/resolv.conf", "--bind", "/etc/resolv.conf")
            _mount(mounts, root / "etc/ssl/certs", "--bind", "/etc/ssl/certs")
            for step in steps:
                if step.kind == "COPY":
                    self._copy(root, step)
                else:
                    self._run(root, step)
            yield root, upper

    def _copy(self, root: Path, step: Step) -> None:
        *sources, target = step.words
        place = root / target.strip("/")
        for source in sources:
            path = self.context / source
            if path.is_dir():
                shutil.copytree(path, place, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
            else:
                place.mkdir(parents=True, exist_ok=True)
                (place / path.name).write_bytes(self._content(source))
        subprocess.run(["chmod", "-R", "a+rX,u+w,go-w", str(place)], check=True)

    def _run(self, root: Path, step: Step) -> None:
        environment = {name: os.environ[name] for name in PASSED if name in os.environ} | step.environment
        environment |= {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
        with contextlib.ExitStack() as mounts:
            if "mount" in step.options:
                place = root / step.options["mount"].rpartition("target=")[2].strip("/")
                place.mkdir(parents=True, exist_ok=True)
                self.cache.mkdir(parents=True, exist_ok=True)
                _mount(mounts, place, "--bind", str(self.cache))
            done = subprocess.run(["chroot", str(root), "/bin/sh", "-ec", step.words[0]], env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"failed with {done.returncode}: RUN {step.words[0]}")

    def _content(self, path: str) -> bytes:
        return self.replaced[path].encode() if path in self.replaced else (self.context / path).read_bytes()

    def _base_key(self) -> str:
        return hashlib.sha256((self.base / "etc/mora-base").read_bytes()).hexdigest()[:12]

    def _key(self, stage: Stage, steps: list[Step]) -> str:
        """Names what comes out: the base, the steps, and the contents of the files that they copy."""
        digest = hashlib.sha256(self._base_key().encode())
        for step in steps:
            digest.update(repr((stage.base, step)).encode())
            for source in step.words[:-1] if step.kind == "COPY" and "from" not in step.options else ():
                path = self.context / source
                for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                    if file.is_file() and "__pycache__" not in file.parts:
                        name = str(file.relative_to(self.context))
                        digest.update(f"{name}\0{hashlib.sha256(self._content(name)).hexdigest()}\0".encode())
        return digest.hexdigest()[:16]


def _mount(mounts: contextlib.ExitStack, place: Path, *arguments: str) -> None:
    subprocess.run(["mount", *arguments, str(place)], check=True)
    mounts.callback(subprocess.run, ["umount", "-R", "-l", str(place)], check=False)
