/** The cartoon strip: this person as each twin draws them, kept up with the edits. */
import * as api from "../api/client";
import type { Recipe } from "../api/types";
import { wasAborted } from "../lib/errors";

const SIZE = 160;
const SETTLE_MS = 500;

export class TwinPictures {
  url = $state<string>();
  failed = $state(false);
  private drawn = "";
  private timer: ReturnType<typeof setTimeout> | undefined;
  private stop: AbortController | undefined;

  constructor(private readonly project: string) {}

  /** Draw the strip for these edits, once they rest; the first time at once. `drawers`: whom, and by which twins. */
  want(recipe: Recipe, drawers: string): void {
    const edits = { ...recipe, twin: "", degree: 1 };
    const key = JSON.stringify([edits, drawers]);
    clearTimeout(this.timer);
    if (key === this.drawn) return;
    this.timer = setTimeout(() => void this.load(edits, key), this.timer === undefined ? 0 : SETTLE_MS);
  }

  close(): void {
    clearTimeout(this.timer);
    this.stop?.abort();
    if (this.url) URL.revokeObjectURL(this.url);
  }

  private async load(recipe: Recipe, key: string): Promise<void> {
    this.stop?.abort();
    this.stop = new AbortController();
    try {
      const blob = await api.twins(this.project, recipe, SIZE, this.stop.signal);
      const old = this.url;
      this.url = URL.createObjectURL(blob);
      if (old) URL.revokeObjectURL(old);
      this.drawn = key;
      this.failed = false;
    } catch (error) {
      this.failed = !wasAborted(error);
    }
  }
}
