"""The data published by the paper's authors: downloaded, or copied from a local folder, and verified.

Source: github.com/2hojae/mentor-kd (Apache-2.0) at the commit below. `upstream.tsv` pins the git blob hash of every
data file. The folder (`files.official_root()`) has upstream's layout, `data/main/...`, so that a checkout of the
repository, even a partial one, can be used in place. The underlying data sets have separate licences (paper, table 6).
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx
import tenacity

from ..files import InputError, official_root, read_bytes, write_bytes

COMMIT = "ec9ea1118ef1ef71152b61c0768220011ac58e52"
ACCEPT = "MENTOR_KD_OFFICIAL_CHANGED"  # environment variable: "accept" reads files that differ from the published ones
BASE_URL = f"https://raw.githubusercontent.com/2hojae/mentor-kd/{COMMIT}"


@dataclass(frozen=True)
class FetchReport:
    """Result of `fetch`: paths installed, already present, missing at the source, and failed (path -> reason)."""

    installed: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return not self.missing and not self.failed

    def __str__(self) -> str:
        done = f"{len(self.installed)} installed, {len(self.present)} already present"
        lines = [f"missing: {path}" for path in self.missing]
        lines += [f"failed: {path}: {why}" for path, why in self.failed.items()]
        return "\n  ".join([f"{done}, {len(self.missing)} missing, {len(self.failed)} failed", *lines])


@cache
def upstream() -> dict[str, str]:
    """Path -> git blob hash of every data file at the pinned commit."""
    text = (Path(__file__).parent / "upstream.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines() if line and not line.startswith("#"))
    return {path: value for value, path in pairs}


def blob_hash(content: bytes) -> str:
    """The hash by which git identifies a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def hashes(root: Path | None = None) -> dict[str, str]:
    """Path -> git blob hash of the official files that exist."""
    root = Path(official_root() if root is None else root)
    return {path: blob_hash((root / path).read_bytes()) for path in upstream() if (root / path).is_file()}


def verify(root: Path | None = None, remedy: str = "`python -m mentor_kd data fetch` replaces such files") -> None:
    """Raise InputError if a file differs from upstream's; it names each one, with the hash found and expected."""
    root = Path(official_root() if root is None else root)
    lines = [
        f"{root / path}: not the published file: git blob hash {found}, expected {upstream()[path]}"
        for path, found in hashes(root).items()
        if found != upstream()[path]
    ]
    if lines:
        raise InputError("\n".join([*lines, remedy]))


def require_published(path: str, root: Path | None = None) -> None:
    """Raise InputError if an official file differs from the published one.

    With MENTOR_KD_OFFICIAL_CHANGED=accept, a changed copy is read, with one warning per file.
    """
    place = Path(official_root() if root is None else root) / path
    found, expected = blob_hash(read_bytes(place)), upstream().get(path)
    if found == expected:
        return
    if os.environ.get(ACCEPT) == "accept":
        _warn(f"{place}: not the published file; results are not comparable with the paper's")
        return
    raise InputError(
        f"{place}: not the published file: git blob hash {found}, expected {expected}. `python -m mentor_kd data fetch "
        f"--to DIR` installs the published one; for a copy that you changed on purpose, set {ACCEPT}=accept"
    )


@cache
def _warn(message: str) -> None:
    print(f"warning: {message}")


def fetch(
    destination: Path | None = None,
    source: Path | None = None,
    base_url: str = BASE_URL,
    *,
    say: Callable[[str], None] = print,
    attempts: int = 4,
    wait: float = 0.5,
    timeout: float = 30.0,
) -> FetchReport:
    """Install the official files, each verified by its git blob hash and put in place atomically.

    A file with the right hash is kept and one with a wrong hash is replaced, so an interrupted fetch can be run again.
    With `source`, a local copy with upstream's layout (complete or partial), nothing is downloaded, and nothing is
    installed unless every file in it has the right hash. `say` receives one line per file. After a dropped connection
    or from a busy server, a file is requested up to `attempts` times, at first `wait` seconds apart, then twice as
    long each time.

    Raises InputError for a source without data or with a wrong file, for an invalid URL, and for a destination that
    cannot be written. Files that could not be downloaded are listed in the report.
    """
    destination = Path(official_root() if destination is None else destination)
    found = hashes(destination)
    wanted = [path for path, expected in upstream().items() if found.get(path) != expected]
    if source is not None:
        return _install(destination, found, _take(Path(source), wanted), say)
    if not base_url.startswith(("http://", "https://")):
        raise InputError(f"base_url must start with http:// or https://, got {base_url!r}")
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        return _install(destination, found, _download(client, base_url.rstrip("/"), wanted, attempts, wait), say)


def _take(source: Path, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None, str]]:
    """Like `_download`, from a local copy; InputError up front if it has no official file, or a wrong one."""
    found = hashes(source)
    if not found:
        raise InputError(f"{source}: contains none of the official files; give the folder that contains data/main/")
    verify(source, "nothing was installed; take the file from the pinned commit, or remove it and download it")
    return ((path, (source / path).read_bytes() if path in found else None, "") for path in paths)


def _download(
    client: httpx.Client, base_url: str, paths: Iterable[str], attempts: int, wait: float
) -> Iterator[tuple[str, bytes | None, str]]:
    """Yield (path, content or None, reason for None); the reason is "" for a file that the server does not have."""
    busy = tenacity.retry_if_result(lambda response: response.status_code in (429, 500, 502, 503, 504))
    retry = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=wait, max=30),
        retry=busy | tenacity.retry_if_exception_type(httpx.TransportError),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    unreachable = ""
    for path in paths:
        if unreachable:  # do not wait for the same host again for every file
            yield path, None, f"not tried: {unreachable}"
            continue
        try:
            response = retry(client.get, f"{base_url}/{path}")
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            unreachable = f"{base_url} cannot be reached ({error or type(error).__name__})"
            yield path, None, unreachable
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            yield path, None, f"{type(error).__name__}: {error}"
        else:
            if response.status_code == 200:
                yield path, response.content, ""
            else:
                yield path, None, "" if response.status_code == 404 else f"HTTP status {response.status_code}"


def _install(
    destination: Path, found: dict[str, str], contents: Iterable[tuple[str, bytes | None, str]], say: Callable
) -> FetchReport:
    """Write the files with the right hash, and report on all; `found` has the hashes of the existing files."""
    present = tuple(path for path, value in found.items() if value == upstream()[path])
    installed, missing, failed = [], [], {}
    for number, (path, content, why) in enumerate(contents, start=len(present) + 1):
        if content is not None and blob_hash(content) != upstream()[path]:
            why = f"git blob hash {blob_hash(content)}, expected {upstream()[path]}; not installed"
        elif content is None and not why and path in found:
            why = "the existing file has a wrong hash and is not in the source; remove it or use another source"
        outcome = f"failed: {why}"
        if why:
            failed[path] = why
        elif content is None:
            missing.append(path)
            outcome = "missing"
        else:
            try:
                write_bytes(destination / path, content)
            except OSError as error:
                raise InputError(f"{destination / path}: cannot be written ({error.strerror})") from None
            installed.append(path)
            outcome = "installed"
        say(f"[{number}/{len(upstream())}] {path}: {outcome}")
    return FetchReport(tuple(installed), present, tuple(missing), failed)
