"""The width of lines: Markdown, and what rustfmt leaves alone in Rust, end at column 110.

What cannot be broken may be longer: tables, code blocks, headings, and a word, link or code span that is too
long by itself. `wrap` breaks paragraphs and items of lists that have a line beyond it, and touches nothing else.
"""

import re
from collections.abc import Iterator

WIDTH = 110
FENCE = re.compile(r"\s*(?:```|~~~)")
ITEM = re.compile(r"(\s*)((?:[-*+]|\d+[.)])\s+)?(.*)")
# Lines that are no prose: headings, tables, comments, quotations, addresses of links.
OTHER = re.compile(r"\s*(?:#{1,6} |\||<!--|>|\[[^\]]+\]: |<\w)")
# A code span or the text of a link is not broken, nor what follows it without a space, nor a dot between two.
TOKEN = re.compile(r"(?:`[^`]+`|\[[^\]]{1,60}\](?=\()|\S)+(?: ·)?")
# At the beginning of a line they would be more than text.
SYNTAX = re.compile(r"[-+*]$|\d+[.)]$|#{1,6}$|>|[|=]|-{2,}$")
# A word in Rust that nobody can break: a pattern, a token, an address.
UNBROKEN = 70


def too_wide(text: str) -> Iterator[int]:
    """The numbers of the lines of Markdown that could be broken and are too long."""
    for start, block in blocks(text):
        if not is_prose(block):
            continue
        for at, line in enumerate(block, start):
            if len(line) > WIDTH and len(TOKEN.findall(ITEM.match(line)[3])) > 1:
                yield at


def too_wide_rust(text: str) -> Iterator[int]:
    """The numbers of the lines of Rust that are too long."""
    for at, line in enumerate(text.splitlines(), 1):
        if len(line) > WIDTH and max(map(len, line.split())) <= UNBROKEN:
            yield at


def wrap(text: str) -> str:
    """The same Markdown, in which no line is too long that could be broken."""
    lines: list[str] = []
    for _, block in blocks(text):
        is_wide = is_prose(block) and any(len(line) > WIDTH for line in block)
        lines += filled(block) if is_wide else block
    return "\n".join(lines) + "\n"


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Paragraphs and items of lists; each other line, and each block of code, is a block of its own."""
    block: list[str] = []
    start, fence = 1, ""
    for at, line in enumerate(text.splitlines(), 1):
        opens = FENCE.match(line)
        if fence:
            block.append(line)
            if line.strip() == fence:
                yield start, block
                block, fence = [], ""
            continue
        begins = not line.strip() or opens or OTHER.match(line) or ITEM.match(line)[2]
        if begins and block:
            yield start, block
            block = []
        if opens:
            start, block, fence = at, [line], line.strip()[:3]
        elif not line.strip() or OTHER.match(line):
            yield at, [line]
        else:
            start = start if block else at
            block.append(line)
    if block:
        yield start, block


def is_prose(block: list[str]) -> bool:
    first = block[0]
    is_code = FENCE.match(first) or first.startswith("    ") and not ITEM.match(first)[2] and len(block) == 1
    has_breaks = any(line.endswith(("  ", "\\")) for line in block[:-1])
    return bool(first.strip()) and not OTHER.match(first) and not is_code and not has_breaks


def filled(block: list[str]) -> list[str]:
    indent, mark, rest = ITEM.match(block[0]).groups()
    hanging = indent + " " * len(mark or "")
    tokens = TOKEN.findall("\n".join([rest, *(line.strip() for line in block[1:])]).replace("\n", " "))
    lines, line = [], [tokens[0]]
    for token in tokens[1:]:
        if len(hanging) + len(" ".join([*line, token])) <= WIDTH:
            line.append(token)
        elif SYNTAX.match(token) and len(line) > 1:
            lines.append(line[:-1])
            line = [line[-1], token]
        else:
            lines.append(line)
            line = [token]
    texts = [" ".join(line) for line in [*lines, line]]
    return [indent + (mark or "") + texts[0], *(hanging + text for text in texts[1:])]


def planted() -> list[str]:
    """Lines that were planted and not found, and what wrapping changed and should not have."""
    words, cow = "a cow and " * 12, "a" * 120
    wide = {
        "prose": words,
        "an item": f"- one\n- {words}\n",
        "the second line of an item": f"1. one\n   {words}",
        "a paragraph in an item": f"- one\n\n  {words}",
        "a code span and words": f"`{'cow ' * 26}` is {words}",
    }
    fine = {
        "a table": f"| {words} |",
        "a block of code": f"```sh\n{words}\n```",
        "a block of code in an item": f"- one\n\n  ```sh\n  {words}\n  ```",
        "a heading": f"## {words}",
        "a link": f"- [{cow}]({cow})",
        "a code span": f"`{'cow ' * 30}`",
        "an address": f"[cow]: {cow}",
    }
    rust = {"a comment": f"// {words}", "a string": f'let cow = "{words}";', "an attribute": f'#[doc = "{words}"]'}
    missed = [f"{what} beyond {WIDTH} columns was not found" for what, text in wide.items() if not [*too_wide(text)]]
    missed += [f"{what} in Rust was not found" for what, text in rust.items() if not [*too_wide_rust(text)]]
    missed += [f"{what} was called too long" for what, text in fine.items() if [*too_wide(text)]]
    missed += [f"{what} was changed" for what, text in fine.items() if wrap(text) != text + "\n"]
    missed += ["a long pattern was called too long"] if [*too_wide_rust(f'r"{cow}"')] else []
    missed += [f"{what} is too long when wrapped" for what, text in wide.items() if [*too_wide(wrap(text))]]
    missed += [f"wrapping lost words of {what}" for what, text in wide.items() if wrap(text).split() != text.split()]
    missed += ["wrapping is not done at once"] if any(wrap(wrap(text)) != wrap(text) for text in wide.values()) else []
    syntax = wrap("\n".join([f"{'x' * 105} and + is no list, {'y' * 104} and 1. is none either, {'z' * 100} so # is"]))
    if re.search(r"(?m)^(?:\+|1\.|#) ", syntax):
        missed.append("wrapping made a list or a heading")
    return missed
