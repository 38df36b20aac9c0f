"""XML documents as trees of elements, of which a CIB needs tags, attributes and order, but no text.

A small part of the standard library's ElementTree, by the same names and from the same parser (expat). Of its own
because importing ElementTree takes twice as long as reading a usual CIB, and because it does not keep line numbers.
"""

from __future__ import annotations

import pyexpat  # what xml.parsers.expat hands on, without the three modules that it takes to get there

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import overload


class DocumentError(ValueError):
    """The text is no XML document, or one that is not to be read; the message is half a sentence."""


class Element:
    """An element: its tag, attributes and child elements, and the line on which it starts."""

    __slots__ = ("attrib", "children", "line", "tag")

    def __init__(self, tag: str, attrib: dict[str, str], line: int) -> None:
        self.tag = tag
        self.attrib = attrib
        self.line = line
        self.children: list[Element] = []

    if TYPE_CHECKING:

        @overload
        def get(self, name: str) -> str | None: ...
        @overload
        def get(self, name: str, default: str) -> str: ...

    def get(self, name: str, default: str | None = None) -> str | None:
        """An attribute's value."""
        return self.attrib.get(name, default)

    def __iter__(self) -> Iterator[Element]:
        return iter(self.children)

    def iterfind(self, path: str) -> Iterator[Element]:
        """The descendants that a path of tags ("lrm/lrm_resources") leads to."""
        found = [self]
        for tag in path.split("/"):
            found = [child for element in found for child in element.children if child.tag == tag]
        return iter(found)

    def find(self, path: str) -> Element | None:
        """The first of those."""
        return next(self.iterfind(path), None)

    def iter(self) -> Iterator[Element]:
        """This element and everything in it, in the document's order."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting += reversed(element.children)


def parse(document: bytes) -> Element:
    """The root element of a document; raises `DocumentError`.

    A document type declaration is refused: it is what entity bombs and references to files are made of.
    """
    if not document.strip():
        raise DocumentError("is empty")
    above = Element("", {}, 0)
    unfinished = [above]
    parser = pyexpat.ParserCreate()

    def start(tag: str, attrib: dict[str, str]) -> None:
        element = Element(tag, attrib, parser.CurrentLineNumber)
        unfinished[-1].children.append(element)
        unfinished.append(element)

    def end(_tag: str) -> None:
        unfinished.pop()

    def refuse(*_declaration: object) -> None:
        raise DocumentError("has a document type declaration; a CIB needs none: remove it")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(document, True)
    except DocumentError:
        raise
    except (pyexpat.ExpatError, LookupError, ValueError) as error:  # the last two: encodings that cannot be read
        raise DocumentError(f"is not well-formed XML: {error}") from None
    # Taken out, since the parser and what it calls hold on to each other, and to all that they can reach.
    return above.children.pop()
