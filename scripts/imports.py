"""Who may import whom: the rules of ARCHITECTURE.md, read off the source text.

Four rules. Inside src/relay a table sees the shared modules below and its own children, never another table and
never its parent; `state` puts the tables together, the files of `flow` move things between them and never see each
other, and only relay/mod.rs sees all. Nothing in src/relay sees the rest of the crate. Inside src/net the worlds never
import each other; only the driver joins them. src/client sees nothing of hosts.

This reads `use` statements and written-out paths, not the compiler's mind. That is enough: a path into another module
of ours has to begin with `crate::` or `super::`, or to follow such a `use`.
"""

import re
from pathlib import Path

# Inside the machine: what every table may see, and why. None of these has a state that two tables could share.
RELAY_SHARED = {
    "bucket": "the token bucket, a type; each table keeps its own buckets",
    "by_host": "a table of hosts, a type; each table keeps its own rows",
    "hashing": "where ids belong in hash tables; the numbers it takes are drawn once",
    "io": "the contract: what happened, what to do",
    "limits": "every tunable number",
    "planted": "what tests make a machine do wrong; a constant in the program",
    "prefix": "what counts as one address, a type",
    "roster": "one host's roster, a type; the directory keeps them, and catching up keeps a copy on its way",
    "scope": "how far an address reaches; no state",
    "setup": "what the operator chose, fixed at the start",
    "timers": "the one queue of deadlines",
    "view": "what an operator is shown; each table fills its rows",
}
# Inside the machine: tables that are part of another table, and which.
RELAY_PARTS = {
    ("sessions", "signals"): "a session keeps the signals that it has sent",
    ("sessions", "broadcasts"): "and the broadcasts",
    ("broadcasts", "signals"): "a broadcast goes to each host by such a path as a signal",
    ("directory", "counters"): "the directory shows no peer where an older claim of it stands",
}
# Inside the machine: what joins the tables. It sees them all, but not relay/mod.rs above it.
RELAY_JOINERS = {"state", "flow"}
# Crates that a table may name, and why. What leaves the process is encoded by aldis-wire alone.
RELAY_CRATES = {
    "std": "collections, durations, addresses",
    "aldis_wire": "every message",
    "bytes": "payloads without copies",
    "ed25519_dalek": "the host signs its announcements",
    "hashbrown": "tables whose keys stand elsewhere; looked up, never walked",
    "rand_chacha": "the generator that is seeded from outside",
}
# Inside the driver: modules that join the worlds, and may see them all.
NET_JOINERS = {"driver"}
# Inside the driver: modules without a world of their own, which every world may see, and why.
NET_SHARED = {
    "dual_stack": "sockets that take IPv6 and IPv4: each world binds its own",
    "tls": "certificates and who is trusted: a part of QUIC that can be read alone",
    "places": "what is known of our own addresses, a type; the driver fills it, operators see it",
    "hub": "the machine behind its lock: whoever learns that something happened calls it",
}

TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(#!?\[[^\]]*\]\s*)*mod\s+\w+\s*(\{|;)")
NOISE = re.compile(r"""//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?'(?:\\.[^']*|[^\\'])'""", re.DOTALL)
USE = re.compile(r"\buse\s+([^;]+);")
WRITTEN_PATH = re.compile(r"\b(?:crate|super)(?:\s*::\s*\w+)+")


def violations(root: Path) -> list[str]:
    """Every breach of the rules in the tree at `root`, one sentence each."""
    modules = {module_path(file, root): file for file in sorted((root / "src").rglob("*.rs"))}
    found = []
    for module, file in modules.items():
        judge = JUDGES.get(module[:1])
        if judge is None or "tests" in module:
            continue
        source = without_noise(file.read_text())
        for path in sorted(set(paths_in(source))):
            complaint = judge(module, resolve(path, module, modules), path)
            if complaint:
                found.append(f"{file.relative_to(root)}: `{'::'.join(path)}`: {complaint}")
    return found


def judge_relay(module: tuple, target, path: tuple) -> str | None:
    """Why a module of the machine may not name `path`; None when it may."""
    if target is None:
        foreign = path[0]
        if len(module) == 1 or foreign in RELAY_CRATES or not re.fullmatch(r"[a-z]\w*", foreign):
            return None
        return f"a table may use {', '.join(sorted(RELAY_CRATES))}; add `{foreign}` to scripts/imports.py with a reason"
    if target[:1] != ("relay",):
        return "the machine knows nothing of the rest of the crate"
    if module == ("relay",) or target[: len(module)] == module:
        return None
    if module[: len(target)] == target:
        return "a child never imports its parent"
    if module[1] == "flow" and target[1] == "flow":
        return "a flow never imports another flow: what both need belongs to a table or to state"
    if module[1] == "flow" or module[1] in RELAY_JOINERS and target[1] != "flow":
        return None
    if target[1] in RELAY_SHARED or target[:2] == module[:2] or (module[1], target[1]) in RELAY_PARTS:
        return None
    return f"a table sees {', '.join(sorted(RELAY_SHARED))} and its own children; only relay/mod.rs sees all"


def judge_net(module: tuple, target, path: tuple) -> str | None:
    """Why a module of the driver may not name `path`; None when it may."""
    if target is None or len(module) == 1:
        return None
    if target[:1] == ("cli",):
        return "the driver knows nothing of the command line"
    if target[:1] != ("net",) or target[:2] == module[:2] or module[1] in NET_JOINERS:
        return None
    if len(target) > 1 and target[1] in NET_SHARED:
        return None
    if len(target) == 1:
        return "a child never imports its parent"
    return "worlds never import each other; the driver joins them, and NET_SHARED lists what they share"


def judge_client(module: tuple, target, path: tuple) -> str | None:
    """Why a module of the client may not name `path`; None when it may."""
    if target is None or target[:1] in (("client",), ("system",)):
        return None
    return "the client knows nothing of hosts: it is used without them"


JUDGES = {("relay",): judge_relay, ("net",): judge_net, ("client",): judge_client}


def module_path(file: Path, root: Path) -> tuple:
    """src/relay/roster.rs -> ("relay", "roster"); src/relay/mod.rs -> ("relay",); src/lib.rs -> ()."""
    parts = list(file.relative_to(root / "src").with_suffix("").parts)
    if parts[-1] == "mod" or parts in (["lib"], ["main"]):
        parts.pop()
    return tuple(parts)


def without_noise(source: str) -> str:
    """The source without comments, strings and what follows its test module, which may see everything."""
    source = NOISE.sub(" ", source)
    test = TEST_MODULE.search(source)
    while test and test.group(2) == ";":
        source = source[: test.start()] + source[test.end() :]
        test = TEST_MODULE.search(source)
    return source[: test.start()] if test else source


def paths_in(source: str) -> list[tuple]:
    """All paths that the source imports or writes out, as tuples of names."""
    paths = [path for statement in USE.findall(source) for path in expand(statement)]
    written = WRITTEN_PATH.findall(USE.sub(" ", source))
    return paths + [tuple(re.split(r"\s*::\s*", path)) for path in written]


def expand(tree: str) -> list[tuple]:
    """`a::{b, c::d as e}` -> [(a, b), (a, c, d)]."""
    tree = re.sub(r"\s+as\s+\w+", "", tree).strip().removeprefix("::")
    head, brace, rest = tree.partition("{")
    prefix = tuple(name.strip() for name in head.split("::") if name.strip())
    if not brace:
        return [prefix]
    return [prefix + path for part in split_outside_braces(rest.rsplit("}", 1)[0]) for path in expand(part)]


def split_outside_braces(text: str) -> list[str]:
    """Split at the commas that are in no inner braces."""
    parts, depth, start = [], 0, 0
    for position, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [part for part in [*parts, text[start:]] if part.strip()]


def resolve(path: tuple, module: tuple, modules: dict):
    """The module of ours that `path`, written in `module`, leads into; None for another crate's."""
    place, names = list(module), list(path)
    if names[0] == "crate":
        place, names = [], names[1:]
    elif names[0] in ("self", "super"):
        while names and names[0] in ("self", "super"):
            if names.pop(0) == "super" and place:
                place.pop()
    elif (*module, names[0]) not in modules:
        return None
    while names and (*place, names[0]) in modules:
        place.append(names.pop(0))
    return tuple(place)
