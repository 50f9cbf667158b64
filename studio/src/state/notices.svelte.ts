/** Short messages at the edge of the page, read out by screen readers. */
import { named, said, t } from "../i18n";
import { Refused, Unreachable, wasAborted } from "../lib/errors";

export interface Notice {
  id: number;
  kind: "info" | "error";
  text: string;
}

const SHOWN_MS = { info: 4000, error: 12000 };

class Notices {
  list = $state<Notice[]>([]);
  private next = 1;

  info(text: string): void {
    this.add("info", text);
  }

  /** Say what went wrong; nothing for what we stopped ourselves or what the banner says already. */
  failed(error: unknown): void {
    if (wasAborted(error) || error instanceof Unreachable) return;
    this.add("error", explain(error));
  }

  refused(text: string): void {
    this.add("error", text);
  }

  dismiss(id: number): void {
    this.list = this.list.filter((notice) => notice.id !== id);
  }

  private add(kind: Notice["kind"], text: string): void {
    if (this.list.some((notice) => notice.text === text)) return;
    const id = this.next++;
    this.list = [...this.list.slice(-2), { id, kind, text }];
    setTimeout(() => this.dismiss(id), SHOWN_MS[kind]);
  }
}

export function explain(error: unknown): string {
  if (error instanceof Refused) return named("error", error.code, said(error.message));
  return error instanceof Error && error.message ? error.message : t("error.unknown");
}

export const notices = new Notices();
