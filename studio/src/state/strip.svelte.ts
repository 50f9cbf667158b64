/** The variation strip: this person over the range of one slider. */
import * as api from "../api/client";
import type { Direction, Recipe } from "../api/types";
import { withAmount } from "../lib/recipe";
import { notices } from "./notices.svelte";

export const CELLS = 7;
const SIZE = 128;
const KEPT = 40;
/** A pointer that only passes over a slider does not ask for its strip. */
const DWELL_MS = 220;

export class Strip {
  direction = $state.raw<Direction>();
  url = $state<string>();
  loading = $state(false);

  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked = "";
  private stop: AbortController | undefined;
  private readonly cache = new Map<string, string>();

  /** `look` tells when the face has been learnt again. */
  constructor(
    private readonly project: string,
    private readonly look: () => number,
  ) {}

  readonly amounts = $derived.by(() => {
    const [low, high] = this.direction?.range ?? [0, 0];
    return Array.from({ length: CELLS }, (_, cell) => Math.round((low + (cell * (high - low)) / (CELLS - 1)) * 100) / 100);
  });

  /** Show a direction's strip: soon for a pointer, at once for the keyboard or a press. */
  want(direction: Direction, recipe: () => Recipe, atOnce: boolean): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.load(direction, recipe()), atOnce ? 0 : DWELL_MS);
  }

  unwant(): void {
    clearTimeout(this.timer);
  }

  close(): void {
    this.unwant();
    this.stop?.abort();
    for (const url of this.cache.values()) URL.revokeObjectURL(url);
    this.cache.clear();
  }

  /** Draw again what is shown, after the other edits changed. */
  refresh(recipe: Recipe): void {
    if (this.direction) void this.load(this.direction, recipe);
  }

  private async load(direction: Direction, recipe: Recipe): Promise<void> {
    const others = withAmount(recipe, direction.name, 0);
    const key = JSON.stringify([direction.name, others, this.look()]);
    const sameDirection = this.direction?.name === direction.name;
    this.direction = direction;
    const known = this.cache.get(key);
    if (this.loading && key === this.asked) return;
    this.stop?.abort();
    this.asked = key;
    if (known) {
      this.url = known;
      this.loading = false;
      return;
    }
    const stop = (this.stop = new AbortController());
    if (!sameDirection) this.url = undefined;
    this.loading = true;
    try {
      const blob = await api.strip(this.project, others, direction.name, CELLS, SIZE, stop.signal);
      this.url = URL.createObjectURL(blob);
      this.keep(key, this.url);
    } catch (error) {
      notices.failed(error);
    } finally {
      if (this.stop === stop) this.loading = false;
    }
  }

  private keep(key: string, url: string): void {
    this.cache.set(key, url);
    const oldest = this.cache.keys().next().value;
    if (this.cache.size <= KEPT || oldest === undefined) return;
    URL.revokeObjectURL(this.cache.get(oldest) ?? "");
    this.cache.delete(oldest);
  }
}
