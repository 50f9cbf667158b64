/** What travels between the page and the server: names for the shapes generated from the OpenAPI schema. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Recipe = Schemas["RecipeBody"] & { edits: Edit[] };
export type Edit = Schemas["EditBody"];
export type Direction = Schemas["DirectionInfo"];
export type Twin = Schemas["TwinInfo"];
export type Preset = Schemas["PresetInfo"];
export type Features = Schemas["Features"];
export type Status = Schemas["Status"];
export type Tools = Schemas["Tools"];
export type Sample = Schemas["Sample"];
export type PhotoInfo = Schemas["PhotoInfo"];
export type Project = Schemas["Project"];
export type ProjectBrief = Schemas["ProjectBrief"];
export type ProjectState = Project["state"];
export type Step = Omit<Schemas["StepInfo"], "recipe"> & { recipe: Recipe };
export type ExportRequest = Schemas["ExportRequest"];
export type ExportFormat = ExportRequest["format"];
export type Job = Schemas["Job"];
export type CatalogModel = Schemas["CatalogModel"];
export type FrameHeader = Schemas["LiveFrame"];
export type LiveText = Schemas["LiveProgress"] | Schemas["LiveState"] | Schemas["LiveError"] | Schemas["LiveInverting"];
export type LiveRequest = Schemas["LiveRender"] | Schemas["LiveFull"];
