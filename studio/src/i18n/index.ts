/** Words of the page, in the language that was chosen; reading them in a component makes it follow the choice. */
import { preferences, type Locale } from "../state/preferences.svelte";
import de from "./de.json";
import en from "./en.json";
import es from "./es.json";

export type Key = keyof typeof en;
type Values = Record<string, string | number>;

const catalogues: Record<Locale, Record<string, string>> = { en, de, es };

const lookUp = (key: string): string | undefined => catalogues[preferences.locale][key] ?? catalogues.en[key];

const fill = (text: string, values: Values): string =>
  text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));

export const t = (key: Key, values: Values = {}): string => fill(lookUp(key) ?? key, values);

/** The form for `count`: `key.one` or `key.other`. */
export function counted(key: string, count: number, values: Values = {}): string {
  const form = new Intl.PluralRules(preferences.locale).select(count) === "one" ? "one" : "other";
  return fill(lookUp(`${key}.${form}`) ?? key, { count: decimal(count), ...values });
}

/** A name that came from the server, if the catalogue knows it; else as it came, made to look like a word. */
export function named(kind: "direction" | "end" | "group" | "preset" | "twin" | "sample" | "error", name: string, fallback = name): string {
  const known = lookUp(`${kind}.${name}`);
  if (known !== undefined) return known;
  const words = fallback.replaceAll(/[-_]/g, " ");
  return words.charAt(0).toLocaleUpperCase(preferences.locale) + words.slice(1);
}

const SAID = new Map(Object.entries(en).flatMap(([key, text]) => (key.startsWith("said.") ? [[text, key]] : [])));

/** A sentence of the server, in the chosen language if the catalogue knows it; else as it came. */
export function said(sentence: string): string {
  const key = SAID.get(sentence);
  return (key && lookUp(key)) ?? sentence;
}

export const decimal = (value: number, digits = 0): string =>
  new Intl.NumberFormat(preferences.locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);

/** With a sign, for amounts; 0 has none. */
export const signed = (value: number, digits = 1): string =>
  new Intl.NumberFormat(preferences.locale, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
    signDisplay: "exceptZero",
  }).format(value);

export const percent = (value: number): string =>
  new Intl.NumberFormat(preferences.locale, { style: "percent" }).format(value);

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** "2 hours ago". */
export function ago(time: string): string {
  const passed = Date.parse(time) - Date.now();
  const format = new Intl.RelativeTimeFormat(preferences.locale, { numeric: "auto" });
  for (const [unit, length] of UNITS) if (-passed >= length) return format.format(Math.round(passed / length), unit);
  return format.format(0, "second");
}

export function fileSize(bytes: number): string {
  const mega = bytes >= 1_000_000;
  return new Intl.NumberFormat(preferences.locale, {
    style: "unit",
    unit: mega ? "megabyte" : "kilobyte",
    maximumFractionDigits: mega ? 1 : 0,
  }).format(bytes / (mega ? 1_000_000 : 1000));
}
