/** Chooses how large live previews are, so that they arrive in time. */
const SIDES = [256, 384, 512, 768, 1024];
const SLOW_MS = 70;
const FAST_MS = 25;
const SAMPLES = 6;

export class Pace {
  private index = 2;
  private recent: number[] = [];

  /** The longer side to ask for, in pixels. */
  get side(): number {
    return SIDES[this.index] ?? 512;
  }

  /** Note how long the server took for a preview; larger ones than the photo gain nothing. */
  note(ms: number, photoSide: number): void {
    if (Number.isNaN(ms)) return;
    this.recent.push(ms);
    if (this.recent.length < SAMPLES) return;
    const median = this.recent.toSorted((one, other) => one - other)[SAMPLES / 2] ?? 0;
    this.recent = [];
    if (median > SLOW_MS && this.index > 0) this.index -= 1;
    else if (median < FAST_MS && this.index < SIDES.length - 1 && this.side < photoSide) this.index += 1;
  }
}
