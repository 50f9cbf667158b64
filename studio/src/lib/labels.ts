import type { Recipe, Step } from "../api/types";
import { named, percent, signed, t } from "../i18n";
import { server } from "../state/server.svelte";
import { amountOf, changed, isOriginal } from "./recipe";

export const twinTitle = (name: string): string => {
  const known = server.status?.twins.find((twin) => twin.name === name);
  return named("twin", name, known?.title ?? name);
};

/** What was done between two recipes, in the chosen language. */
export function describe(from: Recipe, to: Recipe): string {
  const names = changed(from, to);
  const twinChanged = from.twin !== to.twin;
  if (isOriginal(to)) return t("history.reset");
  if (names.length === 0 && from.balance !== to.balance) return t(to.balance ? "history.only" : "history.notonly");
  if (names.length === 0 && twinChanged) return to.twin ? twinTitle(to.twin) : t("history.notwin");
  if (names.length === 0) return `${twinTitle(to.twin)} ${percent(to.degree)}`;
  const first = names[0] ?? "";
  const label = `${named("direction", first)} ${signed(amountOf(to, first))}`;
  return names.length === 1 && !twinChanged ? label : t("history.several", { count: names.length + Number(twinChanged) });
}

/** A step's name: one that says more than we can tell from the recipes stays as it was given. */
export function stepLabel(step: Step, parent: Step | undefined): string {
  if (!parent) return t("history.original");
  const simple = changed(parent.recipe, step.recipe).length + Number(parent.recipe.twin !== step.recipe.twin) <= 1;
  return simple ? describe(parent.recipe, step.recipe) : step.label;
}
