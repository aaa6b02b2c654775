"""Registers callbacks in Kit's update loop, through either of Kit's two interfaces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

OnFrame = Callable[[float], None]
_EVENTS = {"pre": "PRE_UPDATE", "update": "UPDATE", "post": "POST_UPDATE"}


def each_frame(when: str, name: str, on_frame: OnFrame) -> Any:
    """Call `on_frame` with the seconds since the last frame, before (``pre``), in (``update``) or after (``post``)
    each update, until the returned subscription is deleted.

    Kit 107 and later have events 2.0, and event streams are deprecated; Kit 106 has only event streams.
    """
    import omni.kit.app

    event = getattr(omni.kit.app, f"GLOBAL_EVENT_{_EVENTS[when]}", None)
    if event is not None:
        import carb.eventdispatcher

        return carb.eventdispatcher.get_eventdispatcher().observe_event(
            observer_name=name, event_name=event, on_event=lambda event: on_frame(event["dt"])
        )
    app = omni.kit.app.get_app()
    streams = {
        "pre": app.get_pre_update_event_stream,
        "update": app.get_update_event_stream,
        "post": app.get_post_update_event_stream,
    }
    return streams[when]().create_subscription_to_pop(lambda event: on_frame(event.payload["dt"]), name=name)
