import type { Direction, Preset, Recipe } from "../api/types";

export const amountOf = (recipe: Recipe, direction: string): number =>
  recipe.edits.find((edit) => edit.direction === direction)?.amount ?? 0;

/** A copy in which `direction` has this amount; an amount of 0 takes the edit out. */
export function withAmount(recipe: Recipe, direction: string, amount: number): Recipe {
  const known = recipe.edits.some((edit) => edit.direction === direction);
  const edits = known
    ? recipe.edits.map((edit) => (edit.direction === direction ? { direction, amount } : edit))
    : [...recipe.edits, { direction, amount }];
  return { ...recipe, edits: edits.filter((edit) => edit.amount !== 0) };
}

/**
 * A copy with the edits of a preset, `strength` times, in place of what those directions had; kept within their ranges.
 * `readings` are what the face has of each direction: a preset with a mirror goes to its other side.
 */
export function withPreset(
  recipe: Recipe,
  preset: Preset,
  strength: number,
  directions: Direction[],
  readings: Record<string, number>,
): Recipe {
  return preset.edits.reduce((result, edit) => {
    const range = directions.find((direction) => direction.name === edit.direction)?.range;
    if (!range) return result;
    const away = (readings[edit.direction] ?? 0) > 0 ? -Math.abs(edit.amount) : Math.abs(edit.amount);
    const wished = (edit.direction === preset.mirror ? away : edit.amount) * strength;
    const amount = Math.min(range[1], Math.max(range[0], wished));
    return withAmount(result, edit.direction, Math.round(amount * 100) / 100);
  }, recipe);
}

/** Whether the recipe leaves the photo as it is. */
export const isOriginal = (recipe: Recipe): boolean =>
  recipe.paste === "transfer" && recipe.edits.length === 0 && (recipe.twin === "" || recipe.degree === 0);

export function sameRecipe(one: Recipe, other: Recipe): boolean {
  const twin = (recipe: Recipe) => (recipe.twin && recipe.degree ? `${recipe.twin} ${recipe.degree}` : "");
  return (
    one.model === other.model &&
    one.paste === other.paste &&
    one.balance === other.balance &&
    twin(one) === twin(other) &&
    changed(one, other).length === 0
  );
}

/** The directions whose amounts differ. */
export function changed(one: Recipe, other: Recipe): string[] {
  const names = new Set([...one.edits, ...other.edits].map((edit) => edit.direction));
  return [...names].filter((name) => amountOf(one, name) !== amountOf(other, name));
}
