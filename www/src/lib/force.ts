/**
 * The model behind a force form: which fields there are, their values, what is wrong with them, and what is sent.
 *
 * The server has the last word on every value; what is checked here only saves a round trip.
 */

import type { ForceField } from "./types";

export type FieldValue = string | boolean | string[];
export type Values = Record<string, FieldValue>;
export type FieldErrors = Record<string, string>;

/** The key under which a value is sent. */
export function fieldKey(field: ForceField): string {
  return field.fullName ?? field.name;
}

/** The field's name for people. */
export function labelOf(field: ForceField): string {
  return (field.label === "" ? field.name : field.label).replace(/:$/, "");
}

/** The form of somebody who is logged in: the server knows who that is, and believes nobody else. */
export function withoutUser(fields: readonly ForceField[]): ForceField[] {
  return fields
    .filter((field) => field.type !== "username")
    .map((field) => (field.fields ? { ...field, fields: withoutUser(field.fields) } : field));
}

/** All fields that have a value: the leaves of the nested groups. */
export function leaves(fields: readonly ForceField[]): ForceField[] {
  return fields.flatMap((field) => (field.type === "nested" ? leaves(field.fields ?? []) : [field]));
}

/** Whether anything of this field is to be shown. */
export function isVisible(field: ForceField): boolean {
  if (field.hide) return false;
  return field.type === "nested" ? (field.fields ?? []).some(isVisible) : field.type !== "fixed";
}

function initialValue(field: ForceField): FieldValue {
  const value = field.default;
  if (field.type === "bool") return value === true;
  if (field.type === "list" && field.multiple) {
    if (Array.isArray(value)) return value.map(String);
    return value === null || value === undefined || value === "" ? [] : [String(value)];
  }
  if (field.type === "list" && (value === null || value === undefined || value === "")) {
    return field.strict === false ? "" : (field.choices?.[0] ?? "");
  }
  if (Array.isArray(value)) return value.map(String).join("\n");
  return value === null || value === undefined ? "" : String(value);
}

export function initialValues(fields: readonly ForceField[]): Values {
  return Object.fromEntries(leaves(fields).map((field) => [fieldKey(field), initialValue(field)]));
}

/** The values that choosing `value` in `field` fills in elsewhere. */
export function autopopulated(field: ForceField, value: FieldValue, fields: readonly ForceField[]): Values {
  const wanted = typeof value === "string" ? field.autopopulate?.[value] : undefined;
  if (wanted === undefined) return {};
  const known = leaves(fields);
  const filled: Values = {};
  for (const [name, next] of Object.entries(wanted)) {
    const target = known.find((one) => fieldKey(one) === name || one.name === name);
    if (target) filled[fieldKey(target)] = initialValue({ ...target, default: next });
  }
  return filled;
}

function isBlank(value: FieldValue | undefined): boolean {
  if (value === undefined) return true;
  return typeof value === "string" ? value.trim() === "" : Array.isArray(value) && value.length === 0;
}

function problem(field: ForceField, value: FieldValue | undefined): string | null {
  const name = labelOf(field);
  if (isBlank(value)) return field.required && field.type !== "bool" ? `${name} needs to be specified.` : null;
  if (field.type === "int" && typeof value === "string" && !/^\s*[+-]?[0-9]+\s*$/.test(value)) {
    return `${name} must be a whole number.`;
  }
  if (field.maxsize !== null && typeof value === "string" && value.length > field.maxsize) {
    return `${name} is too long: ${value.length} characters, at most ${field.maxsize}.`;
  }
  if (field.type === "list" && field.strict === true && field.choices) {
    const chosen = Array.isArray(value) ? value : [String(value)];
    const odd = chosen.find((one) => !field.choices?.includes(one));
    if (odd !== undefined) return `${name}: “${odd}” is not among the choices.`;
  }
  return null;
}

/** What the server will say of a text that its pattern does not match; nothing where this browser cannot tell. */
function mismatch(field: ForceField, value: FieldValue | undefined): string | null {
  if (field.regex === null || typeof value !== "string" || isBlank(value)) return null;
  let pattern;
  try {
    pattern = new RegExp(`^(?:${field.regex})`, "u");
  } catch {
    return null;
  }
  return pattern.test(value) ? null : `${labelOf(field)} does not match the pattern ${field.regex}`;
}

export function validate(fields: readonly ForceField[], values: Values): FieldErrors {
  const errors: FieldErrors = {};
  const visible = leaves(fields).filter(isVisible);
  const note = (check: typeof problem): void => {
    for (const field of visible) {
      const text = check(field, values[fieldKey(field)]);
      if (text !== null) errors[fieldKey(field)] ??= text;
    }
  };
  note(problem);
  // The server's patterns are of another dialect, so they alone keep nobody from asking it. But whoever has to mend something
  // else learns of them at the same time.
  if (Object.keys(errors).length > 0) note(mismatch);
  return errors;
}

/** The parameters of the `force` call. Fixed fields are the server's business. */
export function toParams(fields: readonly ForceField[], values: Values, builderid: number): Record<string, unknown> {
  const params: Record<string, unknown> = {};
  for (const field of leaves(fields)) {
    if (field.type === "fixed") continue;
    const value = values[fieldKey(field)];
    if (value === undefined) continue;
    if (field.type === "int" && typeof value === "string" && value.trim() !== "") {
      params[fieldKey(field)] = Number(value);
      continue;
    }
    params[fieldKey(field)] = value;
  }
  return { ...params, builderid };
}

/** Splits refused values into those shown by a field and those that only the form can show. */
export function placeErrors(
  fields: readonly ForceField[],
  errors: FieldErrors,
): { byField: FieldErrors; general: string[] } {
  const shown = new Set(leaves(fields).filter(isVisible).map(fieldKey));
  const byField: FieldErrors = {};
  const general: string[] = [];
  for (const [name, text] of Object.entries(errors)) {
    if (shown.has(name)) byField[name] = text;
    else general.push(`${name}: ${text}`);
  }
  return { byField, general };
}

/** The result of a force call: `[bsid, {builderid: buildrequestid}]` → the request of this builder. */
export function requestOf(result: unknown, builderid: number): number | null {
  if (!Array.isArray(result)) return null;
  const requests: unknown = result[1];
  if (typeof requests !== "object" || requests === null) return null;
  const id: unknown = (requests as Record<string, unknown>)[String(builderid)];
  return typeof id === "number" ? id : null;
}
