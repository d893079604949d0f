/** The API's resource types, as far as the page reads them (REST `/api/v2`; times are seconds since the epoch). */

/** Result codes of builds, steps and requests. */
export type Results = 0 | 1 | 2 | 3 | 4 | 5 | 6;

export interface Builder {
  builderid: number;
  name: string;
  description: string | null;
  masterids: number[];
  projectid: number | null;
  tags: string[];
}

/** Name → [value, source]. */
export type Properties = Record<string, [unknown, string]>;

export interface Build {
  buildid: number;
  number: number;
  builderid: number;
  buildrequestid: number;
  workerid: number;
  masterid: number;
  started_at: number;
  complete: boolean;
  complete_at: number | null;
  results: number | null;
  state_string: string;
  properties: Properties;
}

export interface BuildRequest {
  buildrequestid: number;
  buildsetid: number;
  builderid: number;
  priority: number;
  claimed: boolean;
  claimed_at: number | null;
  complete: boolean;
  complete_at: number | null;
  results: number | null;
  submitted_at: number;
  waited_for: boolean;
}

export interface SourceStamp {
  ssid: number;
  branch: string | null;
  revision: string | null;
  repository: string;
  project: string;
  codebase: string;
}

export interface Buildset {
  bsid: number;
  reason: string;
  parent_buildid: number | null;
  rebuilt_buildid: number | null;
  submitted_at: number;
  sourcestamps: SourceStamp[];
}

export interface Step {
  stepid: number;
  buildid: number;
  number: number;
  name: string;
  started_at: number | null;
  complete: boolean;
  complete_at: number | null;
  results: number | null;
  state_string: string;
  hidden: boolean;
  urls: { name: string; url: string }[];
}

/** `s` stream (lines carry a letter), `t` text, `h` HTML, `d` deleted. */
export type LogType = "s" | "t" | "h" | "d";

export interface Log {
  logid: number;
  stepid: number;
  name: string;
  slug: string;
  type: LogType;
  num_lines: number;
  complete: boolean;
}

export interface LogChunk {
  logid: number;
  firstline: number;
  content: string;
}

export interface Change {
  changeid: number;
  author: string;
  comments: string;
  branch: string | null;
  revision: string | null;
  revlink: string | null;
  repository: string;
  project: string;
  files: string[];
  when_timestamp: number;
}

export interface Worker {
  workerid: number;
  name: string;
  configured_on: { builderid: number; masterid: number }[];
  connected_to: { masterid: number }[];
  paused: boolean;
  pause_reason: string | null;
  graceful: boolean;
  workerinfo: Record<string, unknown>;
}

/** A field of a force form. Which of the optional members exist depends on `type`. */
export interface ForceField {
  name: string;
  fullName: string | null;
  label: string;
  tablabel: string;
  type: string;
  default: unknown;
  required: boolean;
  multiple: boolean;
  regex: string | null;
  hide: boolean;
  maxsize: number | null;
  autopopulate: Record<string, Record<string, unknown>> | null;
  tooltip: string;
  size?: number;
  cols?: number;
  rows?: number;
  choices?: string[];
  strict?: boolean;
  layout?: string;
  columns?: number;
  fields?: ForceField[];
}

export interface ForceScheduler {
  name: string;
  label: string;
  button_name: string;
  builder_names: string[];
  enabled: boolean;
  all_fields: ForceField[];
}

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
