/** Long work on the server, watched until it ends. */
import * as api from "../api/client";
import type { Job } from "../api/types";
import { said } from "../i18n";
import { notices } from "./notices.svelte";
import { server } from "./server.svelte";

const EVERY_MS = 700;

export class Watch {
  job = $state.raw<Job>();
  cancelling = $state(false);
  readonly running = $derived(this.job?.state === "queued" || this.job?.state === "running");

  /** Begin, and look how far it is until it is done; resolves with it, or with nothing if it failed or was cancelled. */
  async run(begin: () => Promise<Job>): Promise<Job | undefined> {
    this.cancelling = false;
    try {
      let job = (this.job = await begin());
      while (job.state === "queued" || job.state === "running") {
        await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
        const { id } = job;
        job = this.job = await server.insist(() => api.job(id));
      }
      if (job.state === "failed") notices.refused(said(job.message));
      return job.state === "done" ? job : undefined;
    } catch (error) {
      this.job = undefined; // the server began anew, and knows of none
      notices.failed(error);
      return undefined;
    }
  }

  /** Have it end as soon as it can. */
  async cancel(): Promise<void> {
    if (!this.job) return;
    this.cancelling = true;
    try {
      await api.cancelJob(this.job.id);
    } catch (error) {
      this.cancelling = false;
      notices.failed(error);
    }
  }
}

/** What the workshop has begun; it goes on, and is told when done, while somebody looks at a photo. */
export const watches = { style: new Watch(), discover: new Watch(), models: new Watch() };
