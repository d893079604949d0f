/** Event keys and the paths that are subscribed: parts joined by `/`, where `*` stands for exactly one part. */

export interface LiveEvent {
  /** Parts of the key; the last one is what happened (`new`, `finished`, ...). */
  key: string[];
  body: unknown;
}

export function matches(path: string, key: readonly string[]): boolean {
  const parts = path.split("/");
  return parts.length === key.length && parts.every((part, i) => part === "*" || part === key[i]);
}
