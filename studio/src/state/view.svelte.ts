/** How the photo is looked at: zoom, place, and comparison. */
export type Compare = "off" | "split" | "difference";

const LARGEST = 12;

export class View {
  compare = $state<Compare>("off");
  /** The photo as it was, as long as a key or button is held. */
  holding = $state(false);
  split = $state(0.5);
  zoom = $state(1);
  x = $state(0);
  y = $state(0);
  width = $state(0);
  height = $state(0);
  private photoWidth = $state(1);
  private photoHeight = $state(1);

  /** CSS pixels per photo pixel when the whole photo is shown. */
  readonly fit = $derived.by(() => {
    const margin = this.width < 600 ? 16 : 48;
    const scale = Math.min((this.width - margin) / this.photoWidth, (this.height - margin) / this.photoHeight);
    return Math.max(0.01, scale);
  });
  readonly sheetWidth = $derived(Math.round(this.photoWidth * this.fit));
  readonly sheetHeight = $derived(Math.round(this.photoHeight * this.fit));
  readonly scale = $derived(this.fit * this.zoom);
  /** The part of the viewport that the photo covers from top to bottom, as distances from both its edges. */
  readonly above = $derived(Math.max(0, this.height / 2 + this.y - (this.sheetHeight * this.zoom) / 2));
  readonly below = $derived(Math.max(0, this.height / 2 - this.y - (this.sheetHeight * this.zoom) / 2));
  /** Where the split is, in pixels from the left of the viewport. */
  readonly splitX = $derived(this.width / 2 + this.x + (this.split - 0.5) * this.sheetWidth * this.zoom);

  constructor(photoWidth: number, photoHeight: number) {
    this.photoWidth = photoWidth;
    this.photoHeight = photoHeight;
  }

  /** Zoom so that the point (px, py) of the viewport stays where it is. */
  zoomBy(factor: number, px = this.width / 2, py = this.height / 2): void {
    const zoom = Math.min(LARGEST, Math.max(1, this.zoom * factor));
    const ratio = zoom / this.zoom;
    const cx = px - this.width / 2;
    const cy = py - this.height / 2;
    this.zoom = zoom;
    this.moveTo(cx - (cx - this.x) * ratio, cy - (cy - this.y) * ratio);
  }

  moveBy(dx: number, dy: number): void {
    this.moveTo(this.x + dx, this.y + dy);
  }

  reset(): void {
    this.zoom = 1;
    this.x = this.y = 0;
  }

  splitAt(px: number): void {
    const share = (px - this.width / 2 - this.x) / (this.sheetWidth * this.zoom) + 0.5;
    this.split = Math.min(1, Math.max(0, share));
  }

  toggle(compare: Compare): void {
    this.compare = this.compare === compare ? "off" : compare;
  }

  private moveTo(x: number, y: number): void {
    const room = (size: number, space: number) => Math.max(0, (size * this.zoom - space) / 2 + (this.zoom > 1 ? 24 : 0));
    const limitX = room(this.sheetWidth, this.width);
    const limitY = room(this.sheetHeight, this.height);
    this.x = Math.min(limitX, Math.max(-limitX, x));
    this.y = Math.min(limitY, Math.max(-limitY, y));
  }
}
