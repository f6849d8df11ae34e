"""Templates as the bridge returns them, and the text of an event that is not sent."""

from typing import Annotated, Any

from pydantic import BaseModel

from services.contracts.fields import about


class TemplatesView(BaseModel):
    """The templates in use."""

    folder: Annotated[
        str | None, about("TEMPLATES_DIR; null: there is none, and all texts are built in", "/etc/cctelegram")
    ]
    names: Annotated[
        list[str], about("event types that have a template, and `default`", ["build_failed", "default"])
    ]
    error: Annotated[
        str | None,
        about("why a changed template is not in use; the templates of before are", "default.txt, line 2: …"),
    ]


class PreviewPart(BaseModel):
    """A message in the chat."""

    text: Annotated[str, about("its text, or the caption of its file", "✅ Build finished")]
    entities: Annotated[
        list[dict[str, Any]],
        about("formatting as Telegram takes it", [{"type": "bold", "offset": 2, "length": 14}]),
    ]
    file: Annotated[str | None, about("name of the file that it has", None)] = None


class Preview(BaseModel):
    """What people would get of an event."""

    template: Annotated[
        str | None, about("the template that makes the text; null: the built-in text", "default")
    ]
    error: Annotated[
        str | None, about("why the template fails for this event; the built-in text is sent then", None)
    ] = None
    parts: Annotated[list[PreviewPart], about("the messages, in order")]
