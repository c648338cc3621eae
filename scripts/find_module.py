"""Find the modules where a change starts, by ordinary words: `python -m scripts.find_module resume a download`.

Every file of the package is ranked with BM25 over weighted texts: its path, its docstring, its public names and their
docstrings, the names of its tests, the rows of docs/module-index.md and of the recipes in docs/architecture.md that
name it, the configuration keys it reads, and the failure codes it raises. A file with more of the request's words ranks
higher. Everything is read from the files at each call, so a new module is found as soon as it has a docstring. The
section "Synonyms" of docs/module-index.md adds words that users have for ours.
"""

from __future__ import annotations

import ast
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
DATA_SUFFIXES = {".json", ".toml", ".j2", ".js", ".css", ".html"}
STOP_WORDS = re.findall(
    r"\w+",
    """a about add after again all also always an and another any are as at be because but by can could do does every
    for from get give had has have how i if in into is it its let make me more my need new no not now of off on one
    only or other our out own please should so some somebody still support tell than that the their them then there
    they this to too try up us use used want was way we what when where which while who why will with work would you
    your""",
)

# The weight of one occurrence of a word in each kind of text.
DOCSTRING, PATH, NAMES, TESTS, KEYS, CODES, ROW, LATER_PATHS_OF_ROW = 2.0, 2.5, 0.2, 0.15, 0.3, 0.5, 4.0, 2.0
SYNONYM = 0.7
# How much it counts that a file has many of the request's words, and not one of them often.
COVERAGE = 0.15
# k1 and b of BM25: how slowly a repeated word saturates, and how much long texts lose.
SATURATION, LENGTH_SHARE = 3.0, 0.4


class Match(NamedTuple):
    """A file of the package, its summary, and how well it matches."""

    path: str
    summary: str
    score: float


class SearchIndex:
    """The weight of each word for each file of a package."""

    def __init__(self, checkout: Path = CHECKOUT) -> None:
        self.package = checkout / "comfywatchman"
        self.tests = checkout / "tests"
        self.weights: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.lengths: defaultdict[str, float] = defaultdict(float)
        self.summaries: dict[str, str] = {}
        self.keys = read_keys(self.package)
        self.codes = read_codes(self.package)
        for path in sorted(self.package.rglob("*")):
            if path.suffix == ".py" or (path.suffix in DATA_SUFFIXES and ".min." not in path.name):
                self.add_file(path)
        index = (checkout / "docs" / "module-index.md").read_text("utf-8")
        recipes = (checkout / "docs" / "architecture.md").read_text("utf-8").partition("\n## To add")[2]
        self.synonyms = dict(read_synonyms(index.partition("\n## Synonyms")[2]))
        self.add_rows(index)
        self.add_rows(recipes.partition("\n## ")[0])

    def add_text(self, name: str, text: str, weight: float) -> None:
        """Add the words of a text that describes a file."""
        for word in split_words(text):
            self.weights[word][name] += weight
            self.lengths[name] += weight

    def add_file(self, path: Path) -> None:
        """Add what a module states; a data file is known by its path and by the rows that name it."""
        name = path.relative_to(self.package).as_posix()
        if path.suffix != ".py":
            self.summaries[name] = ""
            self.add_text(name, name, PATH)
            return
        tree = ast.parse(path.read_text("utf-8"))
        docstring = ast.get_docstring(tree)
        if not docstring:
            return
        self.summaries[name] = docstring.partition("\n")[0]
        self.add_text(name, name.removesuffix(".py"), PATH)
        self.add_text(name, docstring.partition("\n\n")[0], DOCSTRING)
        for public_name, line in read_public_names(tree):
            self.add_text(name, f"{public_name} {line}", NAMES)
        mirrored_test = self.tests / path.relative_to(self.package).with_name(f"test_{path.name}")
        if mirrored_test.exists():
            for test in re.findall(r"(?m)^ *(?:async )?def test_(\w+)", mirrored_test.read_text("utf-8")):
                self.add_text(name, test, TESTS)
        nodes = list(ast.walk(tree))
        for key in self.keys.keys() & {node.attr for node in nodes if isinstance(node, ast.Attribute)}:
            self.add_text(name, f"{key} {self.keys[key]}", KEYS)
        if name != "base/errors.py":  # which names all codes, and raises none
            for code in self.codes.keys() & {node.value for node in nodes if isinstance(node, ast.Constant)}:
                self.add_text(name, f"{code} {self.codes[code]}", CODES)

    def add_rows(self, text: str) -> None:
        """Add the rows of tables whose second cell names files: the first of them is where to start."""
        for words, places in read_table(text):
            weight = ROW
            for name in re.findall(r"`([\w/]+\.\w+)`", places):
                if name in self.summaries:
                    self.add_text(name, words, weight)
                    self.summaries[name] = self.summaries[name] or words
                weight = LATER_PATHS_OF_ROW

    def expand(self, query: str) -> dict[str, float]:
        """Return the words to search for with their weights, the synonyms included."""
        asked = set(split_words(query))
        others = {word for phrase, words in self.synonyms.items() if asked.issuperset(phrase) for word in words}
        return dict.fromkeys(others, SYNONYM) | dict.fromkeys(asked, 1.0)

    def find(self, query: str, count: int = 5) -> list[Match]:
        """Return the best matches for ordinary words, the best one first."""
        mean_length = sum(self.lengths.values()) / len(self.lengths)
        scores: defaultdict[str, float] = defaultdict(float)
        covered: defaultdict[str, float] = defaultdict(float)
        asked = 0.0
        for word, importance in self.expand(query).items():
            names: dict[str, float] = self.weights.get(word, {})
            rarity = math.log(1 + len(self.lengths) / (0.5 + len(names)))
            asked += rarity if importance == 1 else 0
            for name, weight in names.items():
                length = 1 - LENGTH_SHARE + LENGTH_SHARE * self.lengths[name] / mean_length
                scores[name] += importance * rarity * weight / (weight + SATURATION * length)
                covered[name] += importance * rarity
        for name in scores:
            scores[name] *= min(1.0, covered[name] / asked) ** COVERAGE
        best = sorted(scores, key=lambda name: (-scores[name], name))[:count]
        return [Match(name, self.summaries[name], scores[name]) for name in best]


def split_words(text: str) -> list[str]:
    """Return the stemmed words of a text or of an identifier, without stop words."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", text)
    words = re.findall(r"[a-z0-9]{2,}", text.replace("'s ", " ").lower())
    return [stem(word) for word in words if word not in STOP_WORDS]


def stem(word: str) -> str:
    """Return a word without its ending, so that `downloads`, `downloaded` and `downloading` are one word."""
    word = re.sub(r"(?<=\w\w)ies$", "y", word)
    word = re.sub(r"(?<=\w\w)(?<![sui])s$", "", word)
    word = re.sub(r"(?<=\w\w\w)(ing|ed|er|or|ion|ly)$", "", word)
    word = re.sub(r"(?<=\w\w)([^aeiouls])\1$", r"\1", word)  # stopped is stop, call stays call
    return re.sub(r"(?<=\w\w\w)e$", "", word)


def read_table(text: str) -> Iterator[tuple[str, str]]:
    """Yield the rows of Markdown tables with two columns."""
    for row in re.findall(r"(?m)^\| (.+) \|$", text):
        first, _, second = row.partition(" | ")
        yield first, second


def read_synonyms(section: str) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield each phrase of the first column with the words of the second; commas separate the phrases."""
    for phrases, words in read_table(section):
        for phrase in phrases.split(","):
            yield tuple(split_words(phrase)), split_words(words)


def read_public_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the public functions and classes of a module, each with the first line of its docstring."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, (ast.get_docstring(node) or "").partition("\n")[0]


def read_keys(package: Path) -> dict[str, str]:
    """Return each configuration key with the comment above it, without keys of one word, which code has as names."""
    texts = [path.read_text("utf-8") for path in sorted(package.rglob("default.toml"))]
    found = re.findall(r"(?m)((?:^#.*\n)*)^([a-z]+_\w+) =", "\n".join(texts))
    return {key: comment for comment, key in found}


def read_codes(package: Path) -> dict[str, str]:
    """Return each failure code with its meaning."""
    for node in ast.parse((package / "base" / "errors.py").read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "CODES":
            codes: dict[str, str] = ast.literal_eval(node.value) if node.value else {}
            return codes
    return {}


def main(words: Sequence[str]) -> int:
    """Print the five files that match best, each with its summary."""
    matches = SearchIndex().find(" ".join(words))
    for match in matches:
        print(f"comfywatchman/{match.path}  {match.summary}")
    return 0 if matches else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
