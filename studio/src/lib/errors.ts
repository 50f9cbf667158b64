/** The server refused; `code` names why, `message` says it in English. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The server does not answer, or does not know this page any more. */
export class Unreachable extends Error {}

export const wasAborted = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";
