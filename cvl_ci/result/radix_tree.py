"""Many words looked for at one place of a text, in time that does not grow with their number: a radix tree."""

from __future__ import annotations

from collections.abc import Iterator


class RadixTree:
    """Words by their common beginnings. Each node holds the letters of its edge, and whether a word ends there."""

    __slots__ = ("children", "is_end", "label")

    def __init__(self, label: str = "", *, is_end: bool = False) -> None:
        self.label, self.is_end = label, is_end
        self.children: dict[str, RadixTree] = {}

    def add(self, word: str) -> None:
        """Take a word in."""
        node, rest = self, word
        while rest:
            child = node.children.get(rest[0])
            if child is None:
                node.children[rest[0]] = RadixTree(rest, is_end=True)
                return
            common = _common(child.label, rest)
            if common < len(child.label):
                upper = RadixTree(child.label[:common])
                child.label = child.label[common:]
                upper.children[child.label[0]] = child
                node.children[rest[0]] = child = upper
            node, rest = child, rest[common:]
        node.is_end = True

    def longest_at(self, text: str, at: int) -> int:
        """Return the length of the longest word that stands in a text at this place; 0: none does."""
        node, place, longest = self, at, 0
        while True:
            child = node.children.get(text[place : place + 1])
            if child is None or not text.startswith(child.label, place):
                return longest
            place += len(child.label)
            node = child
            if node.is_end:
                longest = place - at

    def rests_after(self, beginning: str) -> Iterator[str]:
        """Yield the missing end of each longer word with this beginning."""
        node, place = self, 0
        above = ""
        while place < len(beginning):
            child = node.children.get(beginning[place])
            if child is None:
                return
            if not beginning.startswith(child.label, place):
                remaining = beginning[place:]
                if not child.label.startswith(remaining):
                    return
                above = child.label[len(remaining) :]
            place += len(child.label)
            node = child
        waiting = [(node, above)]
        while waiting:
            node, so_far = waiting.pop()
            if node.is_end and so_far:
                yield so_far
            waiting += [(child, so_far + child.label) for child in node.children.values()]


def _common(one: str, other: str) -> int:
    """Return how many letters two texts have in common at their beginnings."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (one_sign, other_sign) in pairs if one_sign != other_sign), min(len(one), len(other)))
