/** Long work on the server, watched until it ends. */
import * as api from "../api/client";
import type { Job } from "../api/types";
import { said } from "../i18n";
import { notices } from "./notices.svelte";
import { server } from "./server.svelte";

const EVERY_MS = 700;

export class Watch {
  job = $state.raw<Job>();
  readonly running = $derived(this.job?.state === "queued" || this.job?.state === "running");
  private gone = false;

  /** Begin, and look how far it is until it is done; resolves with it, or with nothing if it failed. */
  async run(begin: () => Promise<Job>): Promise<Job | undefined> {
    try {
      let job = (this.job = await begin());
      while (!this.gone && (job.state === "queued" || job.state === "running")) {
        await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
        const { id } = job;
        job = this.job = await server.insist(() => api.job(id));
      }
      if (job.state === "failed") notices.refused(said(job.message));
      return job.state === "done" ? job : undefined;
    } catch (error) {
      notices.failed(error);
      return undefined;
    }
  }

  close(): void {
    this.gone = true;
  }
}
