"""A study's workers on the nodes of a cluster: the same jobs, threads and files as on this machine."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from keeptune.core.errors import ConfigError, ResourceError
from keeptune.core.files import write_whole
from keeptune.launch.ray import RayCluster, RayLauncher, Resources
from keeptune.study.manifest import PACKAGES
from keeptune.study.schedule.worker import JobServer, Start
from keeptune.study.workplace import Workplace

TOKEN = "seen-by-all.txt"  # in the run folder, while nodes are checked


def check_nodes(cluster: RayCluster, folder: Path) -> None:
    """Refuse a cluster whose nodes would do other work than this machine, or leave it where nobody finds it.

    Args:
        cluster: where the study is to run.
        folder: of the run; every node has to see what is written to it here.

    Raises:
        ConfigError: a node has another keeptune, Python or library, or does not see the folder.
        ResourceError: the folder cannot be written.
    """
    token, file = uuid.uuid4().hex, folder.absolute() / TOKEN
    write_whole(file, token)
    try:
        look = looking(str(Path.cwd()), str(file), token, PACKAGES)
        here = look()
        for node, there in cluster.on_every_node(look).items():
            other = [f"{name} {there[name]} (here: {here[name]})" for name in here if there[name] != here[name]]
            if other:
                raise ConfigError(
                    ", ".join(other),
                    where=node,
                    remedy="install the same versions on every node, and start in a folder that all of them share",
                )
    finally:
        file.unlink(missing_ok=True)


def looking(place: str, file: str, token: str, packages: tuple[str, ...]) -> Callable[[], dict[str, str]]:
    """A function that says what has to be the same on all nodes; it uses nothing of keeptune (see `on_every_node`)."""

    def look() -> dict[str, str]:
        import hashlib
        import platform
        import time
        from importlib import import_module, metadata
        from pathlib import Path

        def version(name: str) -> str:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                return "not installed"

        def keeptune() -> str:
            try:
                module = import_module("keeptune")
            except ImportError:
                return "not installed"
            sources = sorted(Path(str(module.__file__)).parent.rglob("*.py"))
            digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
            return f"{module.__version__} with sources {digest[:8]}"

        def sees() -> bool:
            for _ in range(5):  # network file systems remember for some seconds that a file was not there
                if Path(file).is_file() and Path(file).read_text(encoding="utf-8") == token:
                    return True
                time.sleep(1)
            return False

        return {
            "Python": platform.python_version(),
            "keeptune": keeptune(),
            **{name: version(name) for name in packages},
            f"working directory {place}": "there" if Path(place).is_dir() else "not there",
            f"run folder {Path(file).parent}": "seen" if sees() else "not seen",
        }

    return look


def cluster_launcher(cluster: RayCluster, workplace: Workplace, start: Start, most: int) -> RayLauncher:
    """Workers that do what a process on this machine would, at most ``most`` of them.

    Raises:
        ResourceError: the cluster has no room for one.
    """
    device = workplace.lm.device.type
    gpus = int(device == "cuda")
    if device not in ("cpu", "cuda"):
        raise ResourceError(f"Ray has no '{device}' devices", where="--on", remedy="set device=cpu")
    if not gpus and any(node["Resources"].get("GPU") for node in cluster.nodes()):
        workplace.messages.warn("this machine has no GPU, so those of the cluster are not used")
    start = start.on(device)  # what auto would find there is not asked
    return cluster.launcher(partial(JobServer, start), Resources(1 if gpus else start.threads, gpus), most)
