/** The project on the page: its history, the recipe under the sliders, and the live picture. */
import * as api from "../api/client";
import { Live, type Frame } from "../api/live";
import type { Preset, Project, Recipe, Step, Tools } from "../api/types";
import { Refused } from "../lib/errors";
import { describe } from "../lib/labels";
import { isOriginal, sameRecipe, withAmount, withPreset } from "../lib/recipe";
import { notices } from "./notices.svelte";
import { Pace } from "./pace";
import { server } from "./server.svelte";

/** A change is a step of the history once nothing followed it for this long: a double-click or held arrow key is one. */
const SETTLE_MS = 350;

export interface Picture {
  bitmap: ImageBitmap;
  kind: "preview" | "full";
  /** When it was wished, as of performance.now(). */
  asked: number;
  /** Milliseconds of it that the server needed. */
  ms: number;
}
interface ChosenPreset {
  preset: Preset;
  strength: number;
  base: Recipe;
}

export class Session {
  project = $state.raw<Project>() as Project;
  steps = $state.raw<Step[]>([]);
  current = $state("");
  recipe = $state.raw<Recipe>() as Recipe;
  picture = $state.raw<Picture>();
  evolving = $state.raw<ImageBitmap>();
  progress = $state.raw({ done: 0, total: 0 });
  rendering = $state(false);
  preset = $state.raw<ChosenPreset>();
  /** How many times the current step changed: what depends on the look listens to it. */
  settled = $state(0);
  saving = $state(0);
  /** Whether the server has refused to keep a change: it waits, with all that came after it, to be sent again. */
  unsaved = $state(false);
  /** How many times the face was learnt again: what is drawn of it depends on that. */
  look = $state(0);
  private unsettled = $state(false);

  /** What the project's model can do, which need not be the model that new projects get. */
  readonly tools = $derived.by<Tools>(() => (server.status?.model.id === this.own.model.id ? server.status : this.own));
  readonly original = $derived(isOriginal(this.recipe));
  readonly step = $derived(this.steps.find((step) => step.id === this.current));
  readonly canUndo = $derived(this.step?.parent != null || this.unsettled);
  readonly redoStep = $derived(this.newestChild(this.current));
  readonly inverting = $derived(this.project.state === "inverting");

  private timer: ReturnType<typeof setTimeout> | undefined;
  private pendingLabel: string | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  private kept: (() => Promise<unknown>)[] = [];
  private readonly serverIds = new Map<string, string>();
  private readonly lastChild = new Map<string, string>();
  private readonly live: Live;
  private readonly pace = new Pace();
  private nextLocal = 1;
  private closed = false;

  /** `own`: what the project's model could do when it was opened. */
  constructor(
    project: Project,
    private readonly own: Tools,
  ) {
    this.take(project);
    this.live = new Live(project.id, {
      frame: (frame) => this.onFrame(frame),
      progress: (done, total) => (this.progress = { done, total }),
      state: () => void this.reload(),
      refused: (code, message) => {
        this.rendering = false;
        notices.failed(new Refused(0, code, message));
      },
      lost: () => void this.onLost(),
    });
    this.live.open();
    if (this.project.state === "ready") this.show();
  }

  /** Make what was done so far a step at once: the page may be about to go. */
  flush(): void {
    this.settle();
  }

  close(): void {
    this.settle();
    this.closed = true;
    this.live.close();
  }

  /** Change one amount; the picture follows at once, the history when it settles. */
  set(direction: string, amount: number): void {
    this.preset = undefined;
    this.change(withAmount(this.recipe, direction, amount));
  }

  setTwin(twin: string): void {
    this.amend({ twin, degree: 1 });
    this.commit();
  }

  setDegree(degree: number): void {
    this.amend({ degree });
  }

  /** Whether an edit takes back what it changes besides its own attribute. */
  setBalance(balance: boolean): void {
    this.amend({ balance });
    this.commit();
  }

  /** Change what stays when the preset that is on is made stronger, or is taken off; a preset with a twin has its own. */
  private amend(part: Partial<Recipe>): void {
    if (this.preset?.preset.twin && "degree" in part) this.preset = undefined;
    else if (this.preset) this.preset = { ...this.preset, base: { ...this.preset.base, ...part } };
    this.change({ ...this.recipe, ...part });
  }

  /** Put a preset on; it takes the place of one that was just put on. The same again takes it off. */
  setPreset(preset: Preset | undefined, strength = preset?.strength ?? 1): void {
    const base = this.preset?.base ?? this.recipe;
    this.preset = preset && { preset, strength, base };
    const { directions } = this.tools;
    const edited = preset ? withPreset(base, preset, strength, directions, this.project.readings ?? {}) : base;
    this.change(preset?.twin ? { ...edited, twin: preset.twin, degree: Math.min(1, strength) } : edited);
  }

  /** Every change so far is one step; the full picture is drawn. */
  commit(label?: string): void {
    this.pendingLabel = label ?? this.pendingLabel;
    this.unsettled = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), SETTLE_MS);
  }

  resetAll(): void {
    this.preset = undefined;
    this.change({ ...this.recipe, edits: [], twin: "", degree: 1 });
    this.commit();
  }

  undo(): void {
    this.settle();
    const parent = this.step?.parent;
    if (parent) {
      this.lastChild.set(parent, this.current);
      this.select(parent);
    }
  }

  redo(): void {
    this.settle();
    const next = this.redoStep;
    if (next) this.select(next.id);
  }

  /** Go to any step of the history. */
  select(id: string): void {
    this.settle();
    const step = this.steps.find((one) => one.id === id);
    if (!step || id === this.current) return;
    this.current = id;
    this.preset = undefined;
    this.recipe = step.recipe;
    this.settled += 1;
    if (step.parent) this.lastChild.set(step.parent, id);
    this.show();
    this.save(() => api.changeProject(this.project.id, { current: this.serverId(id) }));
  }

  async rename(name: string): Promise<void> {
    const before = this.project;
    this.project = { ...before, name };
    this.save(() => api.changeProject(before.id, { name }));
  }

  async invertAgain(fidelity: number): Promise<void> {
    this.settle();
    await this.queue;
    await this.guarded(async () => this.take(await api.invert(this.project.id, fidelity)));
  }

  /** Send again what the server has refused. */
  retry(): void {
    const works = this.kept;
    this.kept = [];
    this.unsaved = false;
    this.saving -= works.length;
    for (const work of works) this.save(work);
  }

  async cancel(): Promise<void> {
    try {
      this.take(await api.cancel(this.project.id));
    } catch (error) {
      // It may have come to its end in this very moment.
      if (error instanceof Refused && error.status === 409) await this.reload();
      else notices.failed(error);
    }
  }

  /** Look again what the server has: after it was lost, and when another tab may have changed it. */
  async reload(): Promise<void> {
    await this.queue;
    await this.guarded(async () => {
      const project = await server.insist(() => api.project(this.project.id));
      if (this.closed || this.unsettled || this.saving) return;
      const wasReady = this.project.state === "ready";
      const before = this.recipe;
      this.take(project);
      if (project.state === "ready" && (!wasReady || !sameRecipe(before, this.recipe))) this.show();
    });
  }

  private take(project: Project): void {
    const mine = this.steps.filter((step) => step.id.startsWith("local-") && !this.serverIds.has(step.id));
    const fresh = this.project === undefined || (this.project.current !== project.current && mine.length === 0);
    if (project.state === "ready" && this.project?.state === "inverting") this.look += 1;
    this.project = project;
    this.steps = [...(project.steps as Step[]).toSorted((one, other) => one.at.localeCompare(other.at)), ...mine];
    if (project.state !== "inverting") this.evolving = undefined;
    if (fresh || !this.steps.some((step) => step.id === this.current)) {
      this.current = project.current;
      this.preset = undefined;
    }
    const step = this.steps.find((one) => one.id === this.current);
    if (!step) throw new Error("the project has no such step");
    if (!this.unsettled) this.recipe = step.recipe;
    this.settled += 1;
  }

  private change(recipe: Recipe): void {
    this.recipe = recipe;
    this.unsettled = true;
    if (this.original) return this.showPhoto();
    this.rendering = true;
    this.live.preview(recipe, this.pace.side);
  }

  /** Have the recipe drawn at the photo's size; a quick picture first if there is none of it yet. */
  private show(quickFirst = true): void {
    if (this.original) return this.showPhoto();
    this.rendering = true;
    if (quickFirst) this.live.preview(this.recipe, this.pace.side);
    this.live.full(this.recipe);
  }

  /** Without edits the photo itself is the picture. */
  private showPhoto(): void {
    this.rendering = false;
    this.picture?.bitmap.close();
    this.picture = undefined;
  }

  private settle(): void {
    clearTimeout(this.timer);
    if (!this.unsettled) return;
    this.unsettled = false;
    const from = this.step;
    if (!from || sameRecipe(from.recipe, this.recipe)) {
      this.show(false);
      return;
    }
    const label = this.pendingLabel ?? describe(from.recipe, this.recipe);
    this.pendingLabel = undefined;
    const id = `local-${this.nextLocal++}`;
    const recipe = $state.snapshot(this.recipe) as Recipe;
    this.steps = [...this.steps, { id, parent: from.id, label, recipe, at: new Date().toISOString() }];
    this.lastChild.set(from.id, id);
    this.current = id;
    this.settled += 1;
    this.show(false);
    this.save(async () => {
      const step = await api.addStep(this.project.id, { parent: this.serverId(from.id), label, recipe });
      this.serverIds.set(id, step.id);
    });
  }

  private newestChild(id: string): Step | undefined {
    const children = this.steps.filter((step) => step.parent === id);
    return children.find((step) => step.id === this.serverId(this.lastChild.get(id) ?? "")) ?? children.at(-1);
  }

  private serverId(id: string): string {
    return this.serverIds.get(id) ?? id;
  }

  /** Send changes one after the other; those made while the server is lost, or refuses one before them, wait. */
  private save(work: () => Promise<unknown>): void {
    this.saving += 1;
    this.queue = this.queue.then(async () => {
      if (!this.unsaved) {
        try {
          await server.insist(work);
          this.saving -= 1;
          return;
        } catch (error) {
          notices.failed(error);
          this.unsaved = true;
        }
      }
      this.kept.push(work);
    });
  }

  private async guarded(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      notices.failed(error);
    }
  }

  private onFrame(frame: Frame): void {
    if (frame.kind === "inversion") {
      this.evolving?.close();
      this.evolving = frame.bitmap;
      return;
    }
    if (this.original) return frame.bitmap.close();
    const old = this.picture;
    this.picture = { bitmap: frame.bitmap, kind: frame.kind, asked: frame.asked, ms: frame.ms };
    old?.bitmap.close();
    if (frame.kind === "full") this.rendering = false;
    else this.pace.note(frame.ms, Math.max(this.project.width, this.project.height));
  }

  private async onLost(): Promise<void> {
    if (this.closed) return;
    server.markLost();
    await server.whenBack();
    if (this.closed) return;
    this.live.open();
    await this.reload();
    this.show();
  }
}
