import { expect, test } from "vitest";
import { autopopulated, initialValues, isVisible, leaves, placeErrors, requestOf, toParams, validate, withoutUser } from "../src/lib/force";
import type { ForceField } from "../src/lib/types";

function field(name: string, type: string, extra: Partial<ForceField> = {}): ForceField {
  return {
    name,
    fullName: name,
    label: name,
    tablabel: name,
    type,
    default: "",
    required: false,
    multiple: false,
    regex: null,
    hide: false,
    maxsize: null,
    autopopulate: null,
    tooltip: "",
    ...extra,
  };
}

const nested = (name: string, fields: ForceField[]): ForceField =>
  field(name, "nested", { fullName: name === "" ? null : name, layout: "vertical", columns: 1, fields });

const form: ForceField[] = [
  nested("", [field("username", "username"), field("reason", "text", { default: "forced" }), field("priority", "int", { default: 0 })]),
  nested("", [field("branch", "text", { default: "main" }), field("project", "fixed", { default: "alpha", hide: true })]),
  field("tag", "text", { default: "none", maxsize: 5, required: true, label: "Tag:" }),
  field("verbose", "bool", { default: true }),
  field("mode", "list", { choices: ["debug", "release"], strict: true, default: "release" }),
  field("free", "list", { choices: ["a"], strict: false, default: null }),
  field("targets", "list", { choices: ["x86", "arm"], multiple: true, strict: true, default: ["x86"] }),
  nested("opts", [field("one", "text", { fullName: "opts_one", default: "1" }), field("n", "int", { fullName: "opts_n", default: null })]),
];

test("values are keyed by full name, at any depth, with their defaults", () => {
  expect(leaves(form).length).toBe(12);
  expect(initialValues(form)).toEqual({
    username: "",
    reason: "forced",
    priority: "0",
    branch: "main",
    project: "alpha",
    tag: "none",
    verbose: true,
    mode: "release",
    free: "",
    targets: ["x86"],
    opts_one: "1",
    opts_n: "",
  });
});

test("groups of hidden fields are hidden", () => {
  expect(isVisible(nested("", [field("p", "fixed"), field("q", "text", { hide: true })]))).toBe(false);
  expect(isVisible(form[1] as ForceField)).toBe(true);
});

test("all that is wrong is said at once", () => {
  const values = { ...initialValues(form), tag: "  ", priority: "1.5", opts_n: "x", targets: ["mips"], mode: "odd" };
  expect(Object.keys(validate(form, values)).sort()).toEqual(["mode", "opts_n", "priority", "tag", "targets"]);
  expect(validate(form, values)["tag"]).toBe("Tag needs to be specified.");
  expect(validate(form, { ...initialValues(form), tag: "too long" })["tag"]).toContain("at most 5");
  expect(validate(form, initialValues(form))).toEqual({});
});

test("patterns are named with what else is wrong, and are the server's business otherwise", () => {
  const fields = [
    field("branch", "text", { regex: "[a-z]+$" }),
    field("odd", "text", { regex: "(?P<name>" }),
    field("reason", "text", { required: true }),
  ];
  const values = { branch: "X1", odd: "x", reason: "" };
  expect(Object.keys(validate(fields, values)).sort()).toEqual(["branch", "reason"]);
  expect(validate(fields, values)["branch"]).toContain("[a-z]+$");
  expect(Object.keys(validate(fields, { ...values, branch: "x" }))).toEqual(["reason"]);
  expect(validate(fields, { ...values, reason: "why" })).toEqual({});
});

test("what is sent: typed values, no fixed ones, this builder only", () => {
  const params = toParams(form, { ...initialValues(form), opts_n: " 7 " }, 3);
  expect(params).toMatchObject({ builderid: 3, priority: 0, opts_n: 7, verbose: true, targets: ["x86"], opts_one: "1" });
  expect(params).not.toHaveProperty("project");
});

test("a choice can fill in others", () => {
  const choice = field("env", "list", { choices: ["live"], autopopulate: { live: { opts_one: "9", tag: "live" } } });
  expect(autopopulated(choice, "live", form)).toEqual({ opts_one: "9", tag: "live" });
  expect(autopopulated(choice, "other", form)).toEqual({});
});

test("errors of fields that are not shown go to the form", () => {
  expect(placeErrors(form, { tag: "bad", project: "odd", nope: "what" })).toEqual({
    byField: { tag: "bad" },
    general: ["project: odd", "nope: what"],
  });
});

test("the request of a builder is found in the answer", () => {
  expect(requestOf([4, { "2": 11, "3": 12 }], 3)).toBe(12);
  expect(requestOf([4, {}], 3)).toBeNull();
  expect(requestOf(null, 3)).toBeNull();
});

test("somebody who is logged in is not asked for a name", () => {
  const names = leaves(withoutUser(form)).map((one) => one.name);
  expect(names).toEqual(leaves(form).map((one) => one.name).filter((name) => name !== "username"));
});
