"""Names in the documentation that are no longer in the sources: functions, types, constants, files.

What is checked are code spans and links to files. A word of a code span must stand in the sources outside
of comments; `Type::name` must be defined where `Type` is; and names that are placed in a file, as in
"`hold` and `confirm` in [rules.rs](…)", must be defined in that very file.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

# Where the word of a code span may stand.
SOURCES = [
    "crates/*/src/**/*.rs",
    "crates/*/tests/**/*.rs",
    "crates/*/Cargo.toml",
    "migrations/**/*.sql",
    "tests/**/*.txt",
    "scripts/*",
    "deploy/*",
    "Cargo.toml",
    "clippy.toml",
    ".env.example",
]
WORD = r"[A-Za-z_][A-Za-z0-9_]+"
PATH = r"[\w.*-]+(?:/[\w.*-]+)+|[\w-]+\.(?:rs|md|toml|sql|txt|json|yaml)"
ENDPOINT = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) /|/")
SPAN = r"`([^`]+)`"
# `a`, `b` and `c` in [file.rs](path), or `a` ([file.rs](path)).
PLACED = re.compile(rf"((?:{SPAN}(?:,\s|\sand\s|,\sand\s)?)+)\s(?:in\s|\()\[[^\]]+\]\(([^)#\s]+\.rs)\)")
DEFINES = r"\b(?:fn|struct|enum|trait|type|const|static|mod|macro_rules!)\s+{0}\b|^\s+{0}(?=[,({{]| \{{|: )"


class Sources:
    """The files of the project, as far as names are looked up in them."""

    def __init__(self, root: Path, files: dict[str, str] | None = None):
        self.root = root
        if files is None:
            found = [path for pattern in SOURCES for path in sorted(root.glob(pattern)) if path.is_file()]
            files = {str(path.relative_to(root)): path.read_text(errors="replace") for path in found}
        self.files = {path: without_comments(path, text) for path, text in files.items()}
        self.words = {word for text in self.files.values() for word in re.findall(WORD, text)}

    def defines(self, called: str, where: Callable[[str], bool]) -> bool:
        pattern = re.compile(DEFINES.format(re.escape(called)), re.M)
        return any(pattern.search(text) for text in self.files.values() if where(text))


def without_comments(path: str, text: str) -> str:
    return re.sub(r"(?m)^\s*//.*$|\s// .*$", "", text) if path.endswith(".rs") else text


def gone(text: str, folder: Path, sources: Sources) -> Iterator[str]:
    """What a document in `folder` names and nobody has."""
    prose = re.sub(r"(?ms)^```.*?^```$", "", text)
    for span in dict.fromkeys(re.findall(SPAN, prose)):
        yield from missing(" ".join(span.split()), sources)
    for names, _, target in PLACED.findall(prose):
        path = (folder / target).resolve()
        inside = sources.files.get(str(path.relative_to(sources.root)), "") if path.exists() else ""
        for span in re.findall(SPAN, names):
            called = span.removesuffix("()").split("::")[-1]
            if inside and re.fullmatch(WORD, called) and not re.search(DEFINES.format(called), inside, re.M):
                yield f"{target} does not define `{span}`"


def missing(span: str, sources: Sources) -> Iterator[str]:
    if ENDPOINT.match(span):
        return
    if re.fullmatch(PATH, span):
        places = [*sources.root.glob(span), *sources.root.glob(f"**/{span}" if "/" not in span else span)]
        if not places:
            yield f"there is no file `{span}`"
        return
    for word in re.findall(WORD, span):
        if word not in sources.words:
            yield f"nothing in the sources is called {word}" + ("" if word == span else f", as in `{span}`")
            return
    for owner, called in re.findall(rf"\b([A-Z]\w+)::({WORD})", span):
        owns = re.compile(rf"\b(?:struct|enum|trait|type) {owner}\b|\bimpl\b[^{{]*\b{owner}\b")
        if not sources.defines(called, lambda text: owns.search(text) is not None):
            yield f"no `{owner}` has a `{called}`"


def planted(root: Path) -> list[str]:
    """Mistakes that were planted and not found, and truths that were taken for one."""
    files = {
        "crates/engine/src/lib.rs": "/// Not `ghost`.\npub struct Cow;\nimpl Cow {\n    pub fn milk(&self) {}\n}\nfn feed() {}\n",
        "crates/engine/src/error.rs": "pub enum Milk {\n    Sour,\n}\nimpl Calf {\n    fn moo() {}\n}\n",
    }
    sources = Sources(root, files)
    told = lambda text: list(gone(text, root / "docs", sources))
    true = [
        "`Cow::milk` and `feed()` in [lib.rs](../crates/engine/src/lib.rs); `Milk::Sour` and `Cow`",
        "`README.md`, `scripts/docs-check` and `crates/*/src`; `GET /ghosts/{id}`",
        "```text\n`ghost`\n```",
    ]
    false = [
        "`ghost`",
        "`Ghost`",
        "`feed` a `ghost(&mut self)`",
        "`Cow::moo`",
        "`Milk::Sweet`",
        "`scripts/ghost`",
        "`ghost.rs`",
        "`crates/ghost/*`",
        "`milk`, and `feed` in [error.rs](../crates/engine/src/error.rs)",
        "the `Sour`\n([lib.rs](../crates/engine/src/lib.rs))",
    ]
    missed = [f"a name that is gone was not found: {text!r}" for text in false if not told(text)]
    return missed + [f"a name that is there was not found: {found}" for text in true for found in told(text)]
