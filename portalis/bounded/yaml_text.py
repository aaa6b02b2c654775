"""Parses YAML as data, within bounds; input that YAML accepts but that is most likely a mistake is an error.

Values are built directly from the events of libyaml's parser, because a tree of PyYAML's nodes takes a kilobyte per
value, and minutes for a megabyte.
"""

from __future__ import annotations

import functools
from typing import Any

import yaml

from .bounds import Bounds

_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_MAPPING, _SEQUENCE = "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_LONGEST_WORD = 128  # of a number, a date or a keyword such as true; parsing of 1:1:… takes quadratic time
_UNFINISHED = object()


class _Scalars(yaml.constructor.SafeConstructor, yaml.resolver.Resolver):
    """The types of scalars in YAML 1.1."""

    def __init__(self) -> None:
        yaml.constructor.SafeConstructor.__init__(self)
        yaml.resolver.Resolver.__init__(self)

    @functools.lru_cache(maxsize=1024)  # noqa: B019 (each instance exists for one document)
    def tag(self, text: str) -> str:
        """The tag of an unquoted scalar."""
        resolver: Any = self  # its stubs have no types
        return str(resolver.resolve(yaml.ScalarNode, text, (True, False)))


class _Reader:
    """Builds the only document of a text."""

    def __init__(self, text: str, bounds: Bounds, *, aliases: bool) -> None:
        parser = getattr(yaml, "CParser", None)
        self._events = parser(text) if parser is not None else yaml.SafeLoader(text)
        self._bounds, self._aliases = bounds, aliases
        self._anchors: dict[str, Any] = {}
        self._scalars = _Scalars()
        self._count = 0

    def document(self) -> Any:
        """The value of the document; None if the text is empty."""
        self._events.get_event()  # the stream's start
        if isinstance(self._events.get_event(), yaml.StreamEndEvent):
            return None
        value = self._value(self._events.get_event(), 0)
        self._events.get_event()  # the document's end
        event = self._events.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            raise _error("expected a single document", event)
        return value

    def _value(self, event: Any, depth: int) -> Any:
        self._add(1)
        self._bounds.check_depth(depth)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = _UNFINISHED
        if isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            _check_tag(event, _SEQUENCE)
            value = []
            while not isinstance(each := self._events.get_event(), yaml.SequenceEndEvent):
                value.append(self._value(each, depth + 1))
        else:
            _check_tag(event, _MAPPING)
            value = self._mapping(depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = value
        return value

    def _mapping(self, depth: int) -> dict[Any, Any]:
        merged: dict[Any, Any] = {}
        own: dict[Any, Any] = {}
        while not isinstance(event := self._events.get_event(), yaml.MappingEndEvent):
            if isinstance(event, yaml.ScalarEvent) and self._tag(event) == _MERGE:
                after = self._events.get_event()
                # the first of several tables overrides the later ones
                for table in reversed(_tables(self._value(after, depth + 1), after)):
                    self._add(len(table))
                    merged.update(table)
                continue
            key = self._value(event, depth + 1)
            if isinstance(key, (dict, list)):
                raise _error("a key must be a string", event)
            if key in own:
                raise _error(f"{key!r} is given twice", event)
            own[key] = self._value(self._events.get_event(), depth + 1)
        return merged | own

    def _alias(self, event: Any) -> Any:
        if not self._aliases:
            raise _error("aliases are not allowed here", event)
        value = self._anchors.get(event.anchor, self)
        if value is self:
            raise _error(f"found undefined alias {event.anchor!r}", event)
        if value is _UNFINISHED:
            raise _error(f"the alias {event.anchor!r} refers to a value that contains it", event)
        return value

    def _scalar(self, event: Any) -> Any:
        tag = self._tag(event)
        if tag == _STRING:
            return event.value
        build = self._scalars.yaml_constructors.get(tag)
        if build is None or tag in (_MAPPING, _SEQUENCE) or len(event.value) > _LONGEST_WORD:
            raise _error(f"{event.value[:20]!r} cannot have the tag {tag!r}", event)
        try:
            return build(self._scalars, yaml.ScalarNode(tag, event.value, event.start_mark, event.end_mark))
        except (ValueError, LookupError, OverflowError) as error:
            raise _error(f"{event.value[:20]!r} is not a value of the tag {tag!r}: {error}", event) from None

    def _tag(self, event: Any) -> str:
        if event.tag is not None and event.tag != "!":
            return str(event.tag)
        is_plain = event.implicit[0] and event.tag is None
        return self._scalars.tag(event.value) if is_plain and len(event.value) <= _LONGEST_WORD else _STRING

    def _add(self, count: int) -> None:
        self._count += count
        self._bounds.check_values(self._count)


def _check_tag(event: Any, expected: str) -> None:
    if event.tag not in (None, "!", expected):
        raise _error(f"a table or list cannot have the tag {event.tag!r}", event)


def _tables(found: Any, event: Any) -> list[dict[Any, Any]]:
    tables = found if isinstance(found, list) else [found]
    if not all(isinstance(each, dict) for each in tables):
        raise _error("<< requires a table or a list of tables", event)
    return tables


def _error(problem: str, event: Any) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, event.start_mark)


def parse_yaml(text: str, bounds: Bounds, *, aliases: bool = True) -> Any:
    """The only document in `text`. Raises Excess, and ValueError for invalid YAML."""
    bounds.check_bytes(len(text))
    try:
        return _Reader(text, bounds, aliases=aliases).document()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
