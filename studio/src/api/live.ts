import type { FrameHeader, LiveRequest, LiveText, ProjectState, Recipe } from "./types";

export type FrameKind = FrameHeader["kind"];
export interface Frame {
  kind: FrameKind;
  number: number;
  bitmap: ImageBitmap;
  /** Milliseconds that the server needed. */
  ms: number;
  /** When it was wished, as of performance.now(); NaN for a frame that nobody asked for. */
  asked: number;
}
export interface Listener {
  frame(frame: Frame): void;
  progress(done: number, total: number): void;
  state(state: ProjectState, message: string): void;
  refused(code: string, message: string): void;
  /** The connection broke without our asking. */
  lost(): void;
}

/** A preview that takes longer than this no longer holds up the next one. */
const PATIENCE_MS = 5000;

/**
 * The live preview: numbered recipes go out, pictures come back. At most one preview is under way and one waits; a newer
 * recipe replaces the waiting one, and a picture older than the one on screen is thrown away.
 */
export class Live {
  private socket: WebSocket | undefined;
  private number = 0;
  private shown = 0;
  private waiting: { recipe: Recipe; side: number; asked: number } | undefined;
  private underWay = 0;
  private patience: ReturnType<typeof setTimeout> | undefined;
  private readonly asked = new Map<number, number>();
  private last: { recipe: Recipe } | undefined;
  private closed = false;

  constructor(
    private readonly project: string,
    private readonly listener: Listener,
  ) {}

  open(): void {
    this.closed = false;
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/projects/${this.project}/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.last && this.full(this.last.recipe);
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) =>
      typeof event.data === "string" ? this.text(event.data) : void this.binary(event.data);
    socket.onclose = () => {
      if (this.socket !== socket) return;
      this.forget();
      if (!this.closed) this.listener.lost();
    };
    this.socket = socket;
  }

  close(): void {
    this.closed = true;
    this.socket?.close();
    this.socket = undefined;
    this.forget();
  }

  /** Ask for a small, quick picture. */
  preview(recipe: Recipe, side: number): void {
    this.last = { recipe };
    this.waiting = { recipe, side, asked: performance.now() };
    if (!this.underWay) this.sendWaiting();
  }

  /** Ask for the picture at the photo's resolution; it takes the place of a preview that waits. */
  full(recipe: Recipe): void {
    this.last = { recipe };
    this.waiting = undefined;
    this.send({ type: "full", number: ++this.number, recipe }, performance.now());
  }

  private sendWaiting(): void {
    const next = this.waiting;
    this.waiting = undefined;
    if (!next) return;
    const number = ++this.number;
    if (!this.send({ type: "render", number, recipe: next.recipe, side: next.side }, next.asked)) return;
    this.underWay = number;
    clearTimeout(this.patience);
    this.patience = setTimeout(() => this.finished(number), PATIENCE_MS);
  }

  private send(message: LiveRequest, asked: number): boolean {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.asked.set(message.number, asked);
    this.socket.send(JSON.stringify(message));
    return true;
  }

  private finished(number: number): void {
    if (number < this.underWay) return;
    this.underWay = 0;
    this.sendWaiting();
  }

  private forget(): void {
    clearTimeout(this.patience);
    this.underWay = 0;
    this.waiting = undefined;
    this.asked.clear();
  }

  private text(data: string): void {
    const message = JSON.parse(data) as LiveText;
    if (message.type === "progress") this.listener.progress(message.done, message.total);
    if (message.type === "state") this.listener.state(message.state, message.message);
    if (message.type === "error") {
      this.listener.refused(message.error, message.message);
      this.finished(message.number ?? this.underWay);
    }
  }

  private async binary(data: ArrayBuffer): Promise<void> {
    const length = new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length))) as FrameHeader;
    const picture = new Blob([new Uint8Array(data, 4 + length)], { type: header.mime });
    if (header.kind !== "inversion") this.finished(header.number);
    const bitmap = await createImageBitmap(picture);
    if (header.kind !== "inversion") {
      if (header.number < this.shown) return bitmap.close();
      this.shown = header.number;
    }
    const asked = this.asked.get(header.number) ?? NaN;
    for (const number of this.asked.keys()) if (number <= header.number) this.asked.delete(number);
    this.listener.frame({ kind: header.kind, number: header.number, bitmap, ms: header.ms, asked });
  }
}
