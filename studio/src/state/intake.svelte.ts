/** The way from a file to a project: upload, find the faces, and choose one if there are several. */
import * as api from "../api/client";
import type { PhotoInfo } from "../api/types";
import { fileSize, t } from "../i18n";
import { wasAborted } from "../lib/errors";
import { explain } from "./notices.svelte";
import { route } from "./route.svelte";
import { server } from "./server.svelte";

/** A file's name without its ending: the name of the project, and of what is saved from it. */
const nameOf = (photo: PhotoInfo): string => photo.name.replace(/(.)\.[a-z0-9]{2,5}$/i, "$1");

class Intake {
  busy = $state<string>();
  problem = $state<string>();
  private stop: AbortController | undefined;

  async file(file: Blob, name: string): Promise<void> {
    const limit = server.status?.limits.upload_bytes ?? Infinity;
    if (file.size > limit) {
      this.problem = t("start.toolarge", { size: fileSize(file.size), limit: fileSize(limit) });
      return;
    }
    await this.take((signal) => api.upload(file, name, signal), name);
  }

  async sample(name: string, title: string): Promise<void> {
    await this.take((signal) => api.addSample(name, signal), title);
  }

  cancel(): void {
    this.stop?.abort();
  }

  /** Begin a project with these faces of a photo. */
  async begin(photo: PhotoInfo, faces: "all" | number[]): Promise<void> {
    await this.guarded(photo.name, async () => {
      const project = await api.addProject(photo.id, faces, nameOf(photo));
      route.go({ at: "project", id: project.id }, route.place.at === "photo");
    });
  }

  private async take(get: (signal: AbortSignal) => Promise<PhotoInfo>, name: string): Promise<void> {
    await this.guarded(name, async (signal) => {
      const photo = await get(signal);
      signal.throwIfAborted();
      if (photo.faces.length === 0) this.problem = t("start.noface");
      else if (photo.faces.length === 1) {
        const project = await api.addProject(photo.id, [1], nameOf(photo));
        route.go({ at: "project", id: project.id });
      } else route.go({ at: "photo", id: photo.id });
    });
  }

  private async guarded(name: string, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    if (this.busy !== undefined) return;
    this.busy = name;
    this.problem = undefined;
    this.stop = new AbortController();
    try {
      await work(this.stop.signal);
    } catch (error) {
      if (!wasAborted(error)) this.problem = explain(error);
    } finally {
      this.busy = undefined;
    }
  }
}

export const intake = new Intake();
