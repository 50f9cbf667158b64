import type { Step } from "../api/types";

export interface Row {
  step: Step;
  /** 0 for the trunk; a branch that was left is one deeper than where it began. */
  depth: number;
}

/** The steps as rows: the newest child of a step goes on straight, older ones come before it, indented. */
export function rows(steps: Step[]): Row[] {
  const children = new Map<string | null, Step[]>();
  for (const step of steps) children.set(step.parent, [...(children.get(step.parent) ?? []), step]);
  const result: Row[] = [];
  const visit = (start: Step, startDepth: number): void => {
    for (let step: Step | undefined = start; step; ) {
      result.push({ step, depth: startDepth });
      const next: Step[] = children.get(step.id) ?? [];
      for (const branch of next.slice(0, -1)) visit(branch, startDepth + 1);
      step = next.at(-1);
    }
  };
  for (const root of children.get(null) ?? []) visit(root, 0);
  return result;
}

/** The steps from the root to `id`. */
export function pathTo(steps: Step[], id: string): Step[] {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const path: Step[] = [];
  for (let step = byId.get(id); step; step = step.parent ? byId.get(step.parent) : undefined) path.unshift(step);
  return path;
}
