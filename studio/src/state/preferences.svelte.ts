/** What a person chose for this browser: language and theme. */
export const LOCALES = { en: "English", de: "Deutsch", es: "Español" } as const;
export type Locale = keyof typeof LOCALES;
export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

function stored(key: string): string | null {
  try {
    return localStorage.getItem(`faceloom.${key}`);
  } catch {
    return null; // storage may be forbidden; the choice then lasts as long as the page
  }
}

function store(key: string, value: string): void {
  try {
    localStorage.setItem(`faceloom.${key}`, value);
  } catch {
    // as above
  }
}

const isLocale = (value: string): value is Locale => value in LOCALES;
const isTheme = (value: string | null): value is Theme => THEMES.includes(value as Theme);

function firstLocale(): Locale {
  const wished = [stored("locale"), ...navigator.languages].map((tag) => tag?.slice(0, 2).toLowerCase() ?? "");
  return wished.find(isLocale) ?? "en";
}

class Preferences {
  #locale = $state<Locale>(firstLocale());
  #theme = $state<Theme>(isTheme(stored("theme")) ? (stored("theme") as Theme) : "system");

  get locale(): Locale {
    return this.#locale;
  }
  set locale(value: Locale) {
    this.#locale = value;
    store("locale", value);
  }
  get theme(): Theme {
    return this.#theme;
  }
  set theme(value: Theme) {
    this.#theme = value;
    store("theme", value);
  }

  /** Show the choice on the document; call it in an effect. */
  apply(): void {
    document.documentElement.lang = this.#locale;
    document.documentElement.dataset["theme"] = this.#theme;
  }
}

export const preferences = new Preferences();
