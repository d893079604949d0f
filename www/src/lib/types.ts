/**
 * Names for the API's resource types. They are generated from the server's OpenAPI document (`npm run api`), except for
 * what that leaves open. Times are seconds since the epoch.
 */

import type { components } from "./api.gen";

type Schemas = components["schemas"];

/** Result codes of builds, steps and requests. */
export type Results = 0 | 1 | 2 | 3 | 4 | 5 | 6;

export type Builder = Schemas["builder"];
export type Build = Schemas["build"];
export type BuildRequest = Schemas["buildrequest"];
export type Buildset = Schemas["buildset"];
export type Change = Schemas["change"];
export type ForceField = Schemas["force_field"];
export type ForceScheduler = Schemas["forcescheduler"];
export type Log = Schemas["log"];
/** `s` stream (lines carry a letter), `t` text, `h` HTML, `d` deleted. */
export type LogType = Log["type"];
export type LogChunk = Schemas["logchunk"];
export type Master = Schemas["master"];
/** Name → [value, source]. */
export type Properties = Schemas["sourcedproperties"];
export type Scheduler = Schemas["scheduler"];
export type SourceStamp = Schemas["sourcestamp"];
export type Step = Schemas["step"];
export type Worker = Schemas["worker"];

/** What `GET /config` says, as far as the page reads it. */
export interface SiteConfig {
  title: string;
  titleURL: string;
  buildbotURL: string;
  multiMaster: boolean;
  versions: [string, string][];
  auth: { name: string };
  user: { anonymous?: boolean; username?: string; full_name?: string; email?: string };
}
