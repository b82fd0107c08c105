"""Damage that knows the format of what it damages: JSON, safetensors, CSV and npz.

Every mutator takes the bytes of a whole file and a `random.Random`, and returns other bytes. What a reader would refuse at once
(a digest that no longer fits) is not mended here: `fuzz.py` does that where a deeper layer is to be reached.
"""

from __future__ import annotations

import copy
import io
import json
import random
import re
import struct
import warnings
import zipfile
from typing import Any, Callable, Iterator

Mutator = Callable[[bytes, random.Random], bytes]

RAW = "@raw {}@"  # a string that stands for text which `json.dumps` would not write
LITERALS = (
    *("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1e-400", "-0.0", "-0", "9" * 5000, "1" + "0" * 400, "0.1" * 3, "01", "+1", "0x10", "1_0"),
    *("'a'", "undefined", "", "[" * 2000 + "]" * 2000, '"\\ud800"', '"\\u0000"', '"\\q"', '"a\nb"', "1.7976931348623157e308", "123456789012345678901234567890"),
)  # fmt: skip
VALUES = (
    *(None, True, False, 0, 1, -1, 2, 3, 0.5, -2.5, 1e300, 2**31, 2**63, -(2**63), 2**64, 10**30, 10_000_000_000),
    *("", "a", "1", "nan", "\x00", "../../x", "é", "a" * 300, [], {}, [1], [[]], [None], {"a": 1}, {"": {}}, [1, "a"], [[0, 1], [1, 2]]),
)  # fmt: skip


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a tree of dictionaries and lists."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(pairs):
        yield tree, key
        yield from places(value)


def changed_tree(tree: Any, generator: random.Random) -> None:
    """Change one place of a tree in one way."""
    inside, key = generator.choice(list(places(tree)))
    value, kind = inside[key], generator.randrange(10)
    if kind <= 3:
        inside[key] = copy.deepcopy(generator.choice(VALUES))
    elif kind == 4:
        del inside[key]
    elif kind == 5:
        inside[key] = RAW.format(generator.randrange(len(LITERALS)))
    elif kind == 6 and isinstance(value, (int, float)) and not isinstance(value, bool):
        inside[key] = generator.choice(
            [-value, value + 1, value - 1, value * 10**9, value / 3, float(value), str(value), [value]]
        )
    elif kind == 7 and isinstance(inside, dict):
        inside[generator.choice(["", str(key) + "x", str(key).upper(), "__class__", *map(str, inside)])] = inside.pop(
            key
        )
    elif kind == 8 and isinstance(inside, list):
        inside.insert(key, copy.deepcopy(generator.choice([value, *inside])))
    else:
        other, place = generator.choice(list(places(tree)))
        inside[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(value)


def json_text(tree: Any) -> str:
    """A tree as JSON, with the literals that stand for themselves put in."""
    return re.sub(r'"@raw (\d+)@"', lambda found: LITERALS[int(found[1])], json.dumps(tree, indent=2))


def json_values(data: bytes, generator: random.Random) -> bytes:
    """Wrong types, huge numbers, missing, doubled and renamed entries, literals that JSON does not know."""
    tree = json.loads(data)
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        if not (isinstance(tree, (dict, list)) and tree):
            break
        changed_tree(tree, generator)
    return json_text(tree).encode("utf-8", "surrogatepass")


def json_keys(data: bytes, generator: random.Random) -> bytes:
    """A key twice, with two values."""
    text = data.decode()
    found = generator.choice(list(re.finditer(r'"(\w[^"]*)": ', text)))
    value = generator.choice(["null", "0", "{}", '"a"', "[[]]", *LITERALS])
    at = generator.choice([found.start(), max(text.rindex("}"), 0)])
    return (
        text[:at] + (f"{found[0]}{value}, " if at == found.start() else f", {found[0]}{value}") + text[at:]
    ).encode()


def json_form(data: bytes, generator: random.Random) -> bytes:
    """Depth, length, encodings, text around and inside."""
    text, at = data.decode(), generator.randrange(len(data))
    deep = generator.choice((50, 900, 1000, 5000, 100_000))
    return generator.choice([
        lambda: b"[" * deep,
        lambda: b"[" * deep + b"]" * deep,
        lambda: b'{"a":' * deep + b"1" + b"}" * deep,
        lambda: data.rstrip()[:-1] + b', "more": ' + b"[" * deep + b"]" * deep + b"}",
        lambda: text.encode("utf-16"),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data[:at] + generator.choice([b"\xff", b"\x00", b"\xed\xa0\x80", b"\xc3", b"//", b",", b'"', b"{", b"}"]) + data[at:],
        lambda: data + generator.choice([data, b"}", b"\x00", b"null"]),
        lambda: b" " * 300_000 + data,
        lambda: generator.choice([b"", b"null", b"[]", b"{}", b"0", b'"a"', b"\n"]),
    ])()  # fmt: skip


def cut(data: bytes, generator: random.Random) -> bytes:
    """The beginning of a file, or the file without a piece."""
    a, b = sorted(generator.randrange(len(data) + 1) for _ in range(2))
    return generator.choice([data[:a], data[a:], data[:a] + data[b:]])


def flips(data: bytes, generator: random.Random) -> bytes:
    """One to eight bits turned over, or a byte doubled."""
    content = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 8)) if content else 0):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(content)


JSON: tuple[Mutator, ...] = (json_values, json_values, json_values, json_values, json_keys, json_form, cut, flips)


def split_tensors(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and data of a safetensors file."""
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join_tensors(header: Any, content: bytes, size: int | None = None) -> bytes:
    """A safetensors file, with the length of the header as it is or as `size` says."""
    text = (header if isinstance(header, str) else json_text(header)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if size is None else size) + text + content


def tensors_length(data: bytes, generator: random.Random) -> bytes:
    """Another length of the header."""
    header, content = split_tensors(data)
    true = struct.unpack("<Q", data[:8])[0]
    return data[:8].replace(data[:8], struct.pack("<Q", generator.choice([0, 1, 7, true - 1, true + 1, true + len(content), 10**8, 10**8 + 1, 10**10, 2**63 - 1, 2**63, 2**64 - 1]))) + data[8:]  # fmt: skip


def tensors_entries(data: bytes, generator: random.Random) -> bytes:
    """Offsets that overlap, gape or lead out; types against shapes; claims of 10 GB; names doubled, lost or new."""
    header, content = split_tensors(data)
    names = [name for name in header if name != "__metadata__"]
    name, other = generator.choice(names), generator.choice(names)
    entry = header[name]
    begin, end = entry["data_offsets"]
    kind = generator.randrange(14)
    if kind == 0:
        entry["data_offsets"] = generator.choice([[begin + 4, end + 4], [begin, end + 4], [end, begin], [begin, begin], [-4, end], [0, len(content)], [begin, 10**10], [2**63, 2**64], [begin], [], [begin, end, 0], None, ["0", "4"], [0.0, 4.0]])  # fmt: skip
    elif kind == 1:
        entry["data_offsets"] = header[other]["data_offsets"]  # overlapping
    elif kind == 2:
        header[name], header[other] = header[other], header[name]
    elif kind == 3:
        entry["dtype"] = generator.choice(["F64", "F16", "BF16", "I8", "U8", "BOOL", "I64", "U64", "F8_E4M3", "F8_E5M2", "F4", "C64", "X", "", None, 1, "f32"])  # fmt: skip
    elif kind == 4:  # the same number of bytes in another type
        entry["dtype"] = generator.choice(["I32", "U32", "F32"])
    elif kind == 5:
        entry["shape"] = generator.choice([entry["shape"][::-1], [1, *entry["shape"]], [*entry["shape"], 1], [(end - begin) // 4], [], [0], [-1], [2**32, 2**32], [2**63], [10**10 // 4], [1.5], ["3"], None, [[3]], [1] * 80])  # fmt: skip
    elif kind == 6:  # a claim of 10 GB that agrees with itself
        entry["shape"], entry["data_offsets"] = [10**10 // 4], [begin, begin + 10**10]
    elif kind == 7:  # a gap, and the bytes for it
        for each in names:
            if header[each]["data_offsets"][0] >= end:
                header[each]["data_offsets"] = [place + 8 for place in header[each]["data_offsets"]]
        content = content[:end] + b"\x00" * 8 + content[end:]
    elif kind == 8:
        del header[name]
        content = content[:begin] + content[end:] if generator.random() < 0.5 else content
        for each in names:
            if each != name and len(content) < len(data) and header[each]["data_offsets"][0] >= end:
                header[each]["data_offsets"] = [place - (end - begin) for place in header[each]["data_offsets"]]
    elif kind == 9:
        header[generator.choice(["", "x", name + "0", other, "actor.weights.9", "a" * 500])] = header.pop(name)
    elif kind == 10:
        header["__metadata__"] = generator.choice([{"a": "b"}, {"a": 1}, [], None, "x", {"format": "pt"}])
    elif kind == 11:  # one more tensor, empty or not
        header["more"] = {"dtype": "F32", "shape": [0], "data_offsets": [len(content), len(content)]}
        if generator.random() < 0.5:
            header["more"] = {"dtype": "U8", "shape": [6], "data_offsets": [len(content), len(content) + 6]}
            content += b"abcdef"
    elif kind == 12:  # numbers that are none, in a type of four bytes
        content = (
            content[:begin]
            + generator.choice([b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff" * 4])
            + content[begin + 4 :]
        )
    else:  # a name twice
        text = json.dumps(header)
        return join_tensors(text[:-1] + f", {json.dumps(name)}: {json.dumps(header[other])}}}", content)
    return join_tensors(header, content)


def tensors_header(data: bytes, generator: random.Random) -> bytes:
    """The header as any other JSON."""
    header, content = split_tensors(data)
    text = generator.choice(JSON)(json.dumps(header).encode(), generator)
    return struct.pack("<Q", len(text)) + text + content


TENSORS: tuple[Mutator, ...] = (
    tensors_entries,
    tensors_entries,
    tensors_entries,
    tensors_header,
    tensors_length,
    cut,
    flips,
)

CELLS = ("", " ", "nan", "inf", "-inf", "1e999", "1e308", "-0", "0x10", "1_000", "１２", " 5 ", "True", "None", "a", "é", "\x00", '"', '""', "a,b", "1;2", "9" * 400, "-1", "0.5", "2", "\ufeff")  # fmt: skip


def csv_cells(data: bytes, generator: random.Random) -> bytes:
    """Cells of another type, too many, too few, in other places; other columns."""
    rows = [line.split(",") for line in data.decode().splitlines()]
    for _ in range(generator.choice((1, 1, 2, 5))):
        row = generator.choice(rows)
        place = generator.randrange(len(row)) if row else 0
        kind = generator.randrange(9)
        if kind <= 2 and row:
            row[place] = generator.choice(CELLS)
        elif kind == 3 and row:
            del row[place]
        elif kind == 4:
            row.insert(place, generator.choice(CELLS))
        elif kind == 5:
            rows.insert(generator.randrange(len(rows) + 1), list(generator.choice(rows)))
        elif kind == 6 and len(rows) > 1:
            rows.remove(row)
        elif kind == 7 and len(rows[0]) > 1:  # a column less, everywhere
            for each in rows:
                del each[min(place, len(each) - 1) : place + 1]
        elif row and rows[0]:
            rows[0][min(place, len(rows[0]) - 1)] = generator.choice(rows[0])  # a column twice
    return "".join(",".join(row) + "\n" for row in rows).encode()


def csv_form(data: bytes, generator: random.Random) -> bytes:
    """Quotes, line ends, encodings, bytes that are no text, fields and rows that are huge."""
    at, line_end = generator.randrange(len(data) + 1), generator.choice([i for i, c in enumerate(data) if c == 10])
    put = lambda what: data[:at] + what + data[at:]
    return generator.choice([
        lambda: put(generator.choice([b'"', b'""', b'"\n', b"\x00", b"\n", b"\r", b"\r\n", b",", b"\xff", b"\xef\xbb\xbf"])),
        lambda: put(b"9" * generator.choice([131_072, 131_073, 300_000])),
        lambda: put(b'"' + b"a\n" * generator.choice([10, 70_000]) + b'"'),
        lambda: data + b"," * 100_000 + b"\n",
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b",", b";"),
        lambda: data.rstrip(b"\n"),
        lambda: data[: line_end + 1],
        lambda: data[line_end + 1 :],
        lambda: data + data,
        lambda: data + b"\n" * generator.choice([1, 3]),
        lambda: b"\n" + data,
        lambda: data.decode().encode("utf-16"),
        lambda: generator.choice([b"", b"\n", b"\n\n", b",\n", b'"\n', b'""\n', b"\x00\n", b"step\n", b"a" * 200_000 + b"\n"]),
    ])()  # fmt: skip


CSV: tuple[Mutator, ...] = (csv_cells, csv_cells, csv_form, cut, flips)


def split_npz(data: bytes) -> dict[str, bytes]:
    """The members of an npz file."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def join_npz(members: list[tuple[str, bytes]], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An npz file of these members; a name may come twice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name twice
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            archive.writestr(info, content)
    return stream.getvalue()


def npy_header(content: bytes, text: str, version: bytes = b"\x01\x00", size: int | None = None) -> bytes:
    """The content of a .npy file under another header."""
    old = 10 + struct.unpack("<H", content[8:10])[0]
    line = text.encode("latin1", "replace") + b"\n"
    form = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + version + struct.pack(form, len(line) if size is None else size) + line + content[old:]


def npz_header(data: bytes, generator: random.Random) -> bytes:
    """An array that says another shape or type than it has, claims 10 GB, or holds Python objects."""
    members = split_npz(data)
    name = generator.choice(list(members))
    text = members[name][10 : 10 + struct.unpack("<H", members[name][8:10])[0]].decode("latin1").strip()
    shape = re.search(r"\([^)]*\)", text)[0]
    descr = re.search(r"'[<|>][^']*'", text)[0]
    shapes = ["()", "(0,)", "(1,)", "(-1,)", "(10000000000,)", "(2500000000, 1)", "(4611686018427387904, 4)", f"({'9' * 30},)", "(3.0,)", "None", "[3]", "('a',)", "(0, 10000000000)", "(True,)", f"({'1, ' * 40})"]  # fmt: skip
    types = ["'|O'", "'<f4'", "'>f8'", "'<f8'", "'|S5'", "'<U3'", "'<M8[s]'", "'<c16'", "'|V8'", "'<i8'", "'|b1'", "'<f2'", "'x'", "[('a', '<f8')]", "None", "'<f99'", "('<f8', (1000000, 1000000))"]  # fmt: skip
    changed = generator.choice([
        lambda: text.replace(shape, generator.choice(shapes)),
        lambda: text.replace(shape, generator.choice(shapes)).replace(descr, generator.choice(types)),
        lambda: text.replace(descr, generator.choice(types)),
        lambda: text.replace("False", generator.choice(["True", "0", "None", "'a'"])),
        lambda: generator.choice(["", "{", "{}", "[]", "__import__('os')", "(" * 5000, "{'descr': '<f8'}", text + " 1", "\x00", "9" * 5000, "-" * 3000 + "1", text.replace("'shape'", "'shape', 'x'")]),
    ])()  # fmt: skip
    version = generator.choice([b"\x01\x00"] * 6 + [b"\x02\x00", b"\x03\x00", b"\x09\x09"])
    size = generator.choice([None] * 9 + [0, 1, 65_000])
    return join_npz(list((members | {name: npy_header(members[name], changed, version, size)}).items()))


def npz_members(data: bytes, generator: random.Random) -> bytes:
    """Arrays that are missing, doubled, exchanged, cut, damaged, or no arrays; other ways to compress."""
    members = list(split_npz(data).items())
    i, j = generator.randrange(len(members)), generator.randrange(len(members))
    name, content = members[i]
    kind = generator.randrange(7)
    if kind == 0:
        del members[i]
    elif kind == 1:
        members.append((name, members[j][1]))
    elif kind == 2:
        members[i], members[j] = (name, members[j][1]), (members[j][0], content)
    elif kind == 3:
        members[i] = (generator.choice(["x.npy", "obs", "../obs.npy", "", "obs.npy/", "é.npy", "action.npy"]), content)
    elif kind == 4:
        members[i] = (name, generator.choice([cut, flips])(content, generator))
    elif kind == 5:
        members[i] = (
            name,
            generator.choice([b"", b"\x80\x04K\x01.", b"\x93NUMPY", b"PK\x05\x06", b"a" * 100, content + b"more"]),
        )
    return join_npz(
        members, generator.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    )


def npz_archive(data: bytes, generator: random.Random) -> bytes:
    """The directory of the archive: sizes, methods, flags, offsets."""
    content = bytearray(data)
    marks = [found.start() for found in re.finditer(b"PK\x01\x02", data)]
    at = generator.choice(marks)
    place, form = generator.choice([(8, "<H"), (10, "<H"), (16, "<I"), (20, "<I"), (24, "<I"), (28, "<H"), (30, "<H"), (42, "<I")])  # fmt: skip
    value = generator.choice([0, 1, 8, 9, 12, 14, 99, 0xFFFF, 10**9, 0xFFFFFFFF, 4_000_000_000])
    struct.pack_into(form, content, at + place, value % (0x10000 if form == "<H" else 0x100000000))
    return bytes(content)


NPZ: tuple[Mutator, ...] = (npz_header, npz_header, npz_members, npz_archive, cut, flips)

OF_KIND: dict[str, tuple[Mutator, ...]] = {".json": JSON, ".safetensors": TENSORS, ".csv": CSV, ".npz": NPZ}
