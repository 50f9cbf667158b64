/** The server's API, typed by its OpenAPI schema. Every function throws `Refused` or `Unreachable`. */
import createClient from "openapi-fetch";
import { Refused, Unreachable, wasAborted } from "../lib/errors";
import type { paths } from "./schema";
import type * as T from "./types";

let onUnreachable: () => void = () => undefined;

/** Have `callback` called whenever the server does not answer. */
export function whenUnreachable(callback: () => void): void {
  onUnreachable = callback;
}

async function guardedFetch(request: Request): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(request);
  } catch (error) {
    if (wasAborted(error)) throw error;
    onUnreachable();
    throw new Unreachable("the studio's server does not answer");
  }
  // A server that started anew does not know this page's cookie; asking for the page again gets a new one.
  if (response.status === 403) {
    onUnreachable();
    throw new Unreachable("the studio's server started anew");
  }
  return response;
}

const client = createClient<paths>({ baseUrl: location.origin, fetch: guardedFetch });

/** What a call answered. Its type is said by each function below: openapi-fetch turns the schema's pairs into arrays. */
async function answer<Body>(promise: Promise<{ data?: unknown; error?: unknown; response: Response }>): Promise<Body> {
  const { data, error, response } = await promise;
  if (!response.ok) {
    const body = (error ?? {}) as { error?: string; message?: string };
    throw new Refused(response.status, body.error ?? "unknown", body.message ?? `${response.status} ${response.statusText}`);
  }
  return data as Body;
}

const on = (project_id: string) => ({ params: { path: { project_id } } });
const asBlob = { parseAs: "blob" } as const;
// The schema types binary bodies as strings; what goes out is the file itself.
const raw = (body: Blob | null) => ({ body: body as unknown as string, bodySerializer: (it: unknown) => it as Blob });
const octets = { "Content-Type": "application/octet-stream" };

export const imageUrl = (photo: string, side: number): string => `/api/photos/${photo}/image?side=${side}`;
export const sampleUrl = (name: string): string => `/api/samples/${name}`;
export const thumbnailUrl = (project: T.ProjectBrief): string =>
  `/api/projects/${project.id}/thumbnail?changed=${encodeURIComponent(project.changed)}`;
export const jobPictureUrl = (job: string, number: number): string => `/api/jobs/${job}/picture/${number}`;

export const status = () => answer<T.Status>(client.GET("/api/status"));
export const samples = () => answer<T.Sample[]>(client.GET("/api/samples"));
export const photo = (photo_id: string) =>
  answer<T.PhotoInfo>(client.GET("/api/photos/{photo_id}", { params: { path: { photo_id } } }));
export const addSample = (sample: string, signal: AbortSignal) =>
  answer<T.PhotoInfo>(client.POST("/api/photos", { params: { query: { sample } }, signal }));

const HEADER_LETTERS = 1000;

/** A file's name, percent-encoded; one that is too long for the server loses its middle. */
function inHeader(name: string): string {
  const letters = [...name];
  let encoded = encodeURIComponent(letters.join(""));
  while (encoded.length > HEADER_LETTERS) {
    letters.splice(letters.length >> 1, 1);
    encoded = encodeURIComponent(letters.join(""));
  }
  return encoded;
}

export const upload = (file: Blob, name: string, signal: AbortSignal) =>
  answer<T.PhotoInfo>(
    client.POST("/api/photos", {
      params: { header: { "x-file-name": inHeader(name) } },
      headers: octets,
      signal,
      ...raw(file),
    }),
  );

export const projects = () => answer<T.ProjectBrief[]>(client.GET("/api/projects"));
export const tools = (id: string) => answer<T.Tools>(client.GET("/api/projects/{project_id}/tools", on(id)));
export const project = (id: string) => answer<T.Project>(client.GET("/api/projects/{project_id}", on(id)));
export const addProject = (photoId: string, faces: "all" | number[], name: string) =>
  answer<T.Project>(client.POST("/api/projects", { body: { photo: photoId, faces, name } }));
export const changeProject = (id: string, body: { name?: string; current?: string }) =>
  answer<T.Project>(client.PATCH("/api/projects/{project_id}", { ...on(id), body }));
export const deleteProject = (id: string) =>
  answer<unknown>(client.DELETE("/api/projects/{project_id}", { ...on(id), parseAs: "text" }));
export const addStep = (id: string, body: { parent: string; label: string; recipe: T.Recipe }) =>
  answer<T.Step>(client.POST("/api/projects/{project_id}/steps", { ...on(id), body, keepalive: true }));
export const invert = (id: string, fidelity: number) =>
  answer<T.Project>(client.POST("/api/projects/{project_id}/invert", { ...on(id), body: { fidelity } }));
export const cancel = (id: string) => answer<T.Project>(client.POST("/api/projects/{project_id}/cancel", on(id)));

export const strip = (id: string, recipe: T.Recipe, direction: string, cells: number, size: number, signal: AbortSignal) =>
  answer<Blob>(
    client.POST("/api/projects/{project_id}/strip", {
      ...on(id),
      ...asBlob,
      signal,
      body: { recipe, direction, cells, size },
    }),
  );
export const twins = (id: string, recipe: T.Recipe, size: number, signal: AbortSignal) =>
  answer<Blob>(
    client.POST("/api/projects/{project_id}/twins", { ...on(id), ...asBlob, signal, body: { recipe, size } }),
  );

/** A file to keep, and the name that the server gives it. */
export async function exportFile(id: string, body: T.ExportRequest, signal: AbortSignal): Promise<[Blob, string]> {
  const sent = client.POST("/api/projects/{project_id}/export", { ...on(id), ...asBlob, signal, body });
  const blob = await answer<Blob>(sent);
  const disposition = (await sent).response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=UTF-8''([^;]+)/i.exec(disposition)?.[1];
  const plain = /filename="([^"]+)"/i.exec(disposition)?.[1];
  return [blob, encoded ? decodeURIComponent(encoded) : (plain ?? "faceloom")];
}

export const discover = (count: number) => answer<T.Job>(client.POST("/api/discover", { body: { count } }));
export const job = (job_id: string) => answer<T.Job>(client.GET("/api/jobs/{job_id}", { params: { path: { job_id } } }));
export const cancelJob = (job_id: string) =>
  answer<T.Job>(client.POST("/api/jobs/{job_id}/cancel", { params: { path: { job_id } } }));
export const nameDirection = (job_id: string, index: number, name: string) =>
  answer<T.Status>(client.POST("/api/jobs/{job_id}/name", { params: { path: { job_id } }, body: { index, name } }));
export const learnStyle = (picture: Blob, name: string) =>
  answer<T.Job>(
    client.POST("/api/styles", {
      params: { header: { "x-name": inHeader(name) } },
      headers: octets,
      ...raw(picture),
    }),
  );
export const models = () => answer<T.CatalogModel[]>(client.GET("/api/models"));
export const getModel = (model_id: string) =>
  answer<T.Job>(client.POST("/api/models/{model_id}/get", { params: { path: { model_id } } }));
export const importModel = (file: Blob, name: string) =>
  answer<T.Job>(
    client.POST("/api/models/import", {
      params: { header: { "x-file-name": inHeader(name) } },
      headers: octets,
      ...raw(file),
    }),
  );
export const switchModel = (model_id: string) =>
  answer<T.Status>(client.POST("/api/models/{model_id}/use", { params: { path: { model_id } } }));
