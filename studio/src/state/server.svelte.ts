/** Whether the server answers, and what it can do. */
import * as api from "../api/client";
import type { Status } from "../api/types";
import { Unreachable } from "../lib/errors";

const RETRY_MS = 1000;

class Server {
  status = $state.raw<Status>();
  lost = $state(false);
  private back: (() => void)[] = [];

  constructor() {
    api.whenUnreachable(() => this.markLost());
  }

  async load(): Promise<void> {
    this.status = await api.status();
  }

  /** Note that the server does not answer, and ask until it does. */
  markLost(): void {
    if (this.lost) return;
    this.lost = true;
    void this.reconnect();
  }

  /** Resolves as soon as the server answers again; at once if it does. */
  whenBack(): Promise<void> {
    return this.lost ? new Promise((resolve) => this.back.push(resolve)) : Promise.resolve();
  }

  /** Do `work`, again if the server was lost meanwhile. */
  async insist<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      await this.whenBack();
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error;
      }
    }
  }

  private async reconnect(): Promise<void> {
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      try {
        // The page itself, for a new cookie: a server that started anew does not know the old one.
        const page = await fetch("/", { cache: "no-store" });
        if (!page.ok) continue;
        this.status = await api.status();
        break;
      } catch {
        continue;
      }
    }
    this.lost = false;
    const waiting = this.back;
    this.back = [];
    for (const resolve of waiting) resolve();
  }
}

export const server = new Server();
