"""The shapes of everything that travels between the studio's page and its server; the OpenAPI schema is made of them.

Times are ISO 8601 in UTC. Ids are 16 hexadecimal digits. Boxes are (left, top, right, bottom) in photo pixels.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from faceloom.recipe import MAX_AMOUNT

ID_PATTERN = "^[0-9a-f]{16}$"
NAME_PATTERN = "^[a-z0-9][a-z0-9._-]{0,63}$"

Id = Annotated[str, Field(pattern=ID_PATTERN, examples=["00c0ffee00c0ffee"])]
Slug = Annotated[str, Field(pattern=NAME_PATTERN)]
Title = Annotated[str, Field(min_length=1, max_length=200)]
Fidelity = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Time = Annotated[str, Field(examples=["2026-01-31T12:00:00.000000Z"])]

Group = Literal["age", "hair", "face", "expression", "pose", "style", "other"]
ProjectState = Literal["inverting", "ready", "failed", "cancelled"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
ExportFormat = Literal["png", "jpeg", "webp", "sticker", "pair", "mp4", "avatar", "recipe"]


class Body(BaseModel):
    """Base of what the page sends: an unknown entry is an error, not a surprise."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(BaseModel):
    """Every answer of 400 and above."""

    error: str = Field(description="A code for programs.", examples=["no_face"])
    message: str = Field(description="One line for people: what happened, and what to do next.")


class EditBody(Body):
    """One step along one direction."""

    direction: str = Field(min_length=1, max_length=100)
    amount: float = Field(ge=-MAX_AMOUNT, le=MAX_AMOUNT, allow_inf_nan=False)


class RecipeBody(Body):
    """What to do to a face; `faceloom.recipe.Recipe` as JSON."""

    version: Literal[1] = 1
    model: str = Field(default="default", min_length=1, max_length=200)
    paste: Literal["transfer", "replace"] = "transfer"
    edits: list[EditBody] = Field(default_factory=list, max_length=200)
    twin: str = Field(default="", max_length=100)
    degree: float = Field(default=1.0, ge=0.0, le=1.0, allow_inf_nan=False)
    balance: bool = Field(default=False, description="Take back what edits add to each other's attributes.")


class ModelInfo(BaseModel):
    """The model that faces are inverted with."""

    id: str
    resolution: int = Field(description="Side of what it draws, in pixels.")
    fingerprint: str


class DirectionInfo(BaseModel):
    """A slider."""

    name: str
    label_key: str = Field(description="Key of its name in the page's catalogues.", examples=["direction.age"])
    group: Group
    unit: str = Field(description="What an amount of 1 is: one standard deviation of the attribute.", examples=["σ"])
    range: tuple[float, float] = Field(description="Amounts within which faces stay faces.")
    low: str
    high: str
    rough: bool = Field(default=False, description="Whether it moves more than its name says.")


class TwinInfo(BaseModel):
    """A cartoon twin of the model."""

    name: str
    title: str


class PresetInfo(BaseModel):
    """A recipe with a name; its edits are scaled by the strength that a person chooses."""

    name: str
    title: str
    edits: list[EditBody]
    twin: str = ""
    strength: float = Field(default=1.0, description="The share that is used where nothing else is asked for.")
    mirror: str = Field(
        default="",
        description="This direction's amount changes its sign where the project's reading of it is above 0.",
    )


class Limits(BaseModel):
    """What an upload may hold."""

    upload_bytes: int
    pixels: int


class Formats(BaseModel):
    """Which photo formats depend on what is installed."""

    heic: bool


class Features(BaseModel):
    """What this installation can do; what is false answers 501."""

    discover: bool
    styles: bool
    models: bool
    avatar: bool
    mp4: bool
    sticker: bool


class Tools(BaseModel):
    """What a model can do to a face."""

    model: ModelInfo
    directions: list[DirectionInfo]
    twins: list[TwinInfo]
    presets: list[PresetInfo]


class Status(Tools):
    """Everything the page needs to draw itself; the tools are those of new projects."""

    version: str
    device: str
    limits: Limits
    formats: Formats
    features: Features
    provenance: Literal["credentials", "metadata"] = Field(
        description="How exports say that they were edited: signed Content Credentials and metadata, or these alone."
    )


class Sample(BaseModel):
    """A face to start with."""

    name: Slug
    title: str
    width: int
    height: int


class FaceInfo(BaseModel):
    """A face in a photo."""

    index: int = Field(ge=1, description="From 1, largest first.")
    box: tuple[float, float, float, float]


class PhotoInfo(BaseModel):
    """An uploaded photo."""

    id: Id
    name: str
    width: int
    height: int
    faces: list[FaceInfo]


class NewProject(Body):
    """A photo, and whose faces in it to edit."""

    photo: Id
    faces: Literal["all"] | Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(min_length=1, max_length=100)]
    fidelity: Fidelity | None = Field(default=None, description="Of the dial; its default for the model if left out.")
    name: Title | None = None


class ProjectChange(Body):
    """What may be changed of a project; what is left out stays."""

    name: Title | None = None
    current: Id | None = None


class NewStep(Body):
    """A step of the history; it becomes the current one."""

    parent: Id
    label: Title
    recipe: RecipeBody


class Again(Body):
    """Invert anew."""

    fidelity: Fidelity


class StepInfo(BaseModel):
    """A step of a project's history, which is a tree; the root has the empty recipe."""

    id: Id
    parent: Id | None
    label: str
    recipe: RecipeBody
    at: Time


class ProjectBrief(BaseModel):
    """A project without its history."""

    id: Id
    name: str
    photo: Id
    width: int
    height: int
    faces: Literal["all"] | list[int]
    fidelity: float
    state: ProjectState
    message: str = Field(description="Why it failed; empty where it has not.")
    created: Time
    changed: Time
    current: Id
    warning: str = Field(default="", description="A word on why edits may fail on this face; empty for most.")
    readings: dict[str, float] = Field(
        default_factory=dict, description="What the first face is, by attribute, in standard deviations."
    )


class Project(ProjectBrief):
    """A photo being edited."""

    steps: list[StepInfo]


class StripRequest(Body):
    """A row of this person's face over the range of a direction, the recipe's other edits held."""

    recipe: RecipeBody
    direction: str = Field(min_length=1, max_length=100)
    cells: int = Field(default=7, ge=2, le=15)
    size: int = Field(default=96, ge=16, le=512)


class TwinsRequest(Body):
    """A row of this person as each twin draws them."""

    recipe: RecipeBody
    size: int = Field(default=128, ge=16, le=512)


class ExportRequest(Body):
    """A file to keep."""

    recipe: RecipeBody
    format: ExportFormat
    quality: int = Field(default=95, ge=1, le=100, description="Of JPEG and WebP.")
    provenance: bool = Field(default=True, description="Say that it was edited with AI, and how; off only knowingly.")


class DiscoverRequest(Body):
    """How many directions to look for."""

    count: int = Field(default=10, ge=1, le=100)


class NameRequest(Body):
    """A name for a discovered direction."""

    index: int = Field(ge=0, le=999)
    name: str = Field(min_length=1, max_length=60, description="In letters and digits; made into one word.")


class Job(BaseModel):
    """Long work beside the projects."""

    id: Id
    kind: Literal["discover", "style", "model"]
    state: JobState
    done: int
    total: int
    message: str
    result: dict[str, str | int | float | list[str]] = Field(default_factory=dict)


class CatalogModel(BaseModel):
    """A model that can be used or got."""

    id: str
    title: str
    size: int = Field(description="Bytes to get; 0 where it is here already.")
    licence: str
    installed: bool
    verified: bool = Field(description="Whether its checksum was compared.")
    current: bool = Field(default=False, description="Whether it is the one in use.")


class LiveRender(Body):
    """Page to server: draw this recipe; of several waiting, only the one with the highest number is drawn."""

    type: Literal["render"]
    number: int = Field(ge=0, le=2**53)
    recipe: RecipeBody
    side: int = Field(default=960, ge=32, le=4096, description="Longer side of the preview in pixels.")


class LiveFull(Body):
    """Page to server: draw this recipe at the photo's own size."""

    type: Literal["full"]
    number: int = Field(ge=0, le=2**53)
    recipe: RecipeBody


class LiveFrame(BaseModel):
    """Server to page, binary: 4 bytes little-endian length, this as JSON of that length, then the picture."""

    number: int = Field(description="Of the request; 0 for a picture of an inversion.")
    kind: Literal["preview", "full", "inversion"]
    width: int
    height: int
    ms: float = Field(description="Milliseconds from taking the request to having the picture.")
    mime: Literal["image/jpeg", "image/webp"]


class LiveProgress(BaseModel):
    """Server to page: how far the inversion is."""

    type: Literal["progress"] = "progress"
    done: int
    total: int
    loss: float | None
    state: ProjectState


class LiveInverting(BaseModel):
    """Server to page: the next binary frame shows how the generator draws the face by now."""

    type: Literal["inverting-picture"] = "inverting-picture"


class LiveState(BaseModel):
    """Server to page: the project has changed its state; also sent first on every connection."""

    type: Literal["state"] = "state"
    state: ProjectState
    message: str


class LiveError(BaseModel):
    """Server to page: a request of the page failed."""

    type: Literal["error"] = "error"
    number: int | None
    message: str
    error: str


LIVE_SCHEMAS: tuple[type[BaseModel], ...] = (
    LiveRender,
    LiveFull,
    LiveFrame,
    LiveProgress,
    LiveInverting,
    LiveState,
    LiveError,
)
"""What travels on the websocket, which OpenAPI cannot say by itself."""
