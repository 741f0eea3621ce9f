"""Malformed files: seeded mutations of valid ones, and paths that are not regular files."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

BOMB = "[&a [x], " + ", ".join(f"&{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")) + "]"  # noqa: B905
DEEP = "[" * 3000 + "]" * 3000
DIGITS = "9" * 5000
# raw JSON values; those in REFUSED must be refused by a strict reader, wherever they are
JSON_VALUES = ("null", "true", "0", "-1", "1.5", "1e308", "9" * 30, '""', '"x"', '"\\u0000"', '"../../etc/passwd"')
JSON_VALUES += ("[]", "{}", "[[1]]", '{"a": 1}', '"=1+1"', '"\\u001b[31mred"', '"\\u202e"', '"%s"' % ("long " * 20_000))
REFUSED = ("NaN", "-Infinity", "1e999", DIGITS, '"\\ud800"', DEEP, '{"a": 1, "a": 2}')
YAML_VALUES = (
    "~",
    "true",
    "0",
    "-1",
    "1.5",
    "1e3",
    "''",
    "x",
    "[]",
    "{}",
    "[1, x]",
    "2024-13-45",
    "2024-01-01",
    "0x1f",
)
YAML_VALUES += ("1:30", '"\\U0001F600"', '"\\e[31m"', "../../etc/passwd", "'=1+1'", "10" * 20, "no", "x" * 20_000)
YAML_REFUSED = ("!!timestamp x", "!!bool maybe", "!!float abc", "!!int x", "!!python/object/apply:os.abort []", DIGITS)
YAML_REFUSED += (".nan", "-.inf", '"\\uD800"', DEEP, BOMB, "*nowhere", "&a [*a]", "{a: 1, a: 2}", "{1: x}", "!!set {x}")
YAML_REFUSED += ("!!binary '@'", "[", '"', "\x00")
CSV_VALUES = ("", "x", "0", "-1", "1e999", "NaN", "=1+1", '"', '"x', "a,b", "\x1b[31m", "\u202e", "x" * 200_000, DIGITS)


@dataclass(frozen=True)
class Harm:
    """What was done to a file: a name, the new content, and whether every strict reader must refuse it."""

    name: str
    content: bytes
    refused: bool = False


def harm(content: bytes, grammar: str, random: Random) -> Harm:
    """One random mutation of a valid file of a grammar: json, jsonl, yaml, csv, text or binary."""
    structured = {"json": _json, "jsonl": _jsonl, "yaml": _yaml, "csv": _csv, "binary": _binary}.get(grammar)
    if structured is None or random.random() < 0.3:
        return _bytes(content, random)
    return structured(content, random)


def _bytes(content: bytes, random: Random) -> Harm:
    at, to = sorted(random.randrange(len(content) + 1) for _ in range(2))
    made = {
        "cut": content[:at],
        "empty": b"",
        "blank": b" \n\n",
        "mark": b"\xef\xbb\xbf" + content,
        "utf-16": content.decode("utf-8", "replace").encode("utf-16"),
        "latin-1": content[:at] + b"\xe9" + content[at:],
        "cr": content.replace(b"\n", b"\r"),
        "crlf": content.replace(b"\n", b"\r\n"),
        "nul": content[:at] + b"\0" + content[at:],
        "flip": content[:at] + bytes([random.randrange(256)]) + content[at + 1 :],
        "lost": content[:at] + content[to:],
        "again": content[:to] + content[at:],
        "twice": content * 2,
        "tail": content + random.choice([b"}", b"]", b"\x1b[31m", b"x", b"\xff", b"\n\n\n"]),
        "head": random.choice([b"{", b"[", b"\xff", b"x", b"\n", b"%", b"---\n"]) + content,
        "null": b"null",
        "array": b"[]",
        "object": b"{}",
        "number": b"7",
        "string": b'"x"',
        "noise": random.randbytes(200),
        "long": b"a" * 300_000,
    }
    name = random.choice(list(made))
    return Harm(name, made[name])


def _places(value: object, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, one in inner for found in _places(one, (*path, key))]


def _changed(value: object, random: Random, strict: bool = True) -> tuple[str, str, bool]:
    """The JSON of a value with one place changed; a name of the change; whether it must be refused."""
    places = _places(value)
    if not places:
        return json.dumps(value), "same", False
    path = random.choice(places[:4000])
    value = json.loads(json.dumps(value))
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    kind, last = random.choice(["value", "value", "refused", "drop", "more", "repeat"]), path[-1]
    if kind == "drop":
        del inside[last]
    elif kind == "more" and isinstance(inside, dict):
        inside[random.choice(["unknown", "", "é", "__class__", "self"])] = 1
    elif kind == "repeat" and isinstance(inside, dict):
        inside["@@"] = inside[last]
        return json.dumps(value).replace('"@@"', json.dumps(last)), f"repeat {last}", True
    else:
        raw = random.choice(REFUSED if kind == "refused" else JSON_VALUES)
        inside[last] = "@@"
        return json.dumps(value).replace('"@@"', raw), f"{path[-1]} = {raw[:20]}", kind == "refused"
    return json.dumps(value), f"{kind} {last}", False


def _json(content: bytes, random: Random) -> Harm:
    text, name, refused = _changed(json.loads(content), random)
    return Harm(name, text.encode("utf-8"), refused)


def _jsonl(content: bytes, random: Random) -> Harm:
    lines = content.decode().split("\n")[:-1]
    at = random.randrange(len(lines))
    name, refused = random.choice(["row", "row", "row", "twice", "shuffled", "array", "cut", "blank"]), False
    if name == "row":
        lines[at], name, refused = _changed(json.loads(lines[at]), random)
    elif name == "twice":
        lines.insert(random.randrange(len(lines)), lines[at])
    elif name == "shuffled":
        random.shuffle(lines)
    elif name == "array":
        lines[at] = "[1]"
    elif name == "cut":
        lines[at] = lines[at][: random.randrange(1, len(lines[at]))]
    else:
        lines.insert(at, "  ")
    return Harm(name, "\n".join([*lines, ""]).encode(), refused)


def _yaml(content: bytes, random: Random) -> Harm:
    lines = content.decode().split("\n")
    at = random.choice([i for i, line in enumerate(lines) if re.match(r" *[\w-]+: *\S", line)])
    indent, key, value = re.match(r"( *)([\w-]+): *(.*)", lines[at]).groups()
    kind = random.choice(["value", "value", "refused", "key", "repeat", "drop", "more", "shape"])
    if kind in ("value", "refused"):
        value = random.choice(YAML_REFUSED if kind == "refused" else YAML_VALUES)
        lines[at] = f"{indent}{key}: {value}"
        return Harm(f"{key} = {value[:20]}", "\n".join(lines).encode(), kind == "refused")
    if kind == "repeat":
        lines.insert(at, f"{indent}{key}: 1")
        return Harm(f"repeat {key}", "\n".join(lines).encode(), True)
    if kind == "key":
        other = random.choice(["1", "? x", "~", "[a]", "{a: b}", "*x", "<<", "2024-01-01", "é"])
        lines[at] = f"{indent}{other}: {value}"
    elif kind == "drop":
        del lines[at]
    elif kind == "more":
        lines.insert(at, f"{indent}{random.choice(['unknown', 'Epochs', key + ' ', key.upper()])}: {value}")
    else:
        lines[at] = random.choice(
            [f"{indent}{key}", f"{indent}- {value}", f"\t{key}: {value}", "---", "...", "%YAML 9.9"]
        )
    return Harm(f"{kind} {key}", "\n".join(lines).encode())


def _csv(content: bytes, random: Random) -> Harm:
    lines = content.decode().split("\n")[:-1]
    at, kind = (
        random.randrange(1, len(lines)),
        random.choice("value value column more less header separator drop".split()),
    )
    cells = lines[at].split(",")
    if kind == "value":
        cells[random.randrange(len(cells))] = random.choice(CSV_VALUES)
        lines[at] = ",".join(cells)
    elif kind == "column":
        lines[0] = lines[0].replace(",", f",{lines[0].split(',')[0]},", 1)
        lines[1:] = [line.replace(",", ",7,", 1) for line in lines[1:]]
        return Harm(kind, "\n".join([*lines, ""]).encode(), True)
    elif kind == "more":
        lines[at] += ",7"
    elif kind == "less":
        lines[at] = cells[0]
    elif kind == "header":
        lines[0] = random.choice(
            ["", ",", "a,b", lines[0].upper(), lines[0] + ",", f" {lines[0]} ", f"{lines[0]},unknown"]
        )
    elif kind == "separator":
        lines = [line.replace(",", random.choice(";\t|")) for line in lines]
    else:
        del lines[0]
    return Harm(kind, "\n".join([*lines, ""]).encode())


def _binary(content: bytes, random: Random) -> Harm:
    """Half of the harms hit the first 2 kB, where formats keep what they say about themselves."""
    at = random.randrange(min(2000, len(content)) if random.random() < 0.5 else len(content))
    made = {
        "flip": content[:at] + bytes([random.randrange(256)]) + content[at + 1 :],
        "cut": content[:at],
        "zeros": content[:at] + bytes(50) + content[at + 50 :],
        "size": random.randbytes(8) + content[8:],
        "digit": re.sub(rb"\d", lambda one: b"%d" % random.randrange(10), content[:2000], count=random.randrange(1, 9))
        + content[2000:],
        "lost": content[:at] + content[at + random.randrange(1, 99) :],
    }
    name = random.choice(list(made))
    return Harm(f"{name} at {at}", made[name])


# paths that are not regular files; each must be refused at once, except by a reader for which a missing file is fine

PLACES = ("missing", "folder", "pipe", "device", "broken link", "loop", "null device")


def put(path: Path, place: str) -> None:
    """Replace a file by something that is not a regular file."""
    path.unlink()
    if place == "folder":
        path.mkdir()
    elif place == "pipe":
        os.mkfifo(path)
    elif place != "missing":
        path.symlink_to({"device": "/dev/zero", "null device": "/dev/null", "loop": path.name}.get(place, "nowhere"))


def copy(source: Path, target: Path) -> Path:
    """A fresh copy of a folder, whatever was at its place before."""
    if target.exists():
        shutil.rmtree(target)
    return shutil.copytree(source, target)


def restore(source: Path, target: Path, name: str) -> None:
    """Make a file or a folder in a copied folder again what it is in the source."""
    if (source / name).is_dir():
        copy(source / name, target / name)
        return
    if (target / name).is_dir() and not (target / name).is_symlink():
        (target / name).rmdir()
    (target / name).unlink(missing_ok=True)
    shutil.copyfile(source / name, target / name)
