/** Where in the page one is; in the address, so that a reload and the back button keep it. */
export type Place = { at: "start" } | { at: "photo"; id: string } | { at: "project"; id: string };

function read(): Place {
  const [, at, id] = /^#\/(photo|project)\/([0-9a-f]{16})$/.exec(location.hash) ?? [];
  return id && (at === "photo" || at === "project") ? { at, id } : { at: "start" };
}

class Route {
  place = $state.raw<Place>(read());

  constructor() {
    addEventListener("hashchange", () => (this.place = read()));
  }

  go(place: Place, replace = false): void {
    const hash = place.at === "start" ? "#/" : `#/${place.at}/${place.id}`;
    if (replace) history.replaceState(null, "", hash);
    else history.pushState(null, "", hash);
    this.place = place;
  }
}

export const route = new Route();
