//! `buildguild force`: fills in a force scheduler's form from the command line, and sends it.

use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::client::{Builder, Client, ClientError, ServerArgs, execute};
use super::report::Report;
use super::target::Target;
use super::wait::wait;

/// Start a build of a builder
///
/// With --wait it exits as `buildguild wait` does; otherwise with 0 once the request is accepted.
#[derive(Debug, clap::Args)]
pub(crate) struct ForceArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,

    /// The builder's name or id
    #[arg(value_name = "BUILDER")]
    pub(crate) builder: String,

    /// The force scheduler, if the builder has several
    #[arg(long, value_name = "NAME")]
    pub(crate) scheduler: Option<String>,

    /// The branch to build
    #[arg(long)]
    pub(crate) branch: Option<String>,

    /// The revision to build
    #[arg(long)]
    pub(crate) revision: Option<String>,

    /// Why this build is forced
    #[arg(long)]
    pub(crate) reason: Option<String>,

    /// A value of the form, by the field's name; lists are separated by commas, files are named by their path
    #[arg(long = "property", short = 'p', value_name = "NAME=VALUE", value_parser = parse_property)]
    pub(crate) properties: Vec<(String, String)>,

    /// Wait for the build to end
    #[arg(long, short)]
    pub(crate) wait: bool,
}

fn parse_property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// A force scheduler and its form.
#[derive(Debug, Deserialize)]
struct ForceScheduler {
    name: String,
    enabled: bool,
    all_fields: Vec<Field>,
}

/// A field of the form, or a group of fields.
#[derive(Debug, Clone, Deserialize)]
struct Field {
    name: String,
    #[serde(rename = "fullName")]
    full_name: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    multiple: bool,
    #[serde(default)]
    default: Value,
    #[serde(default)]
    fields: Vec<Field>,
}

impl Field {
    fn key(&self) -> &str {
        self.full_name.as_deref().unwrap_or(&self.name)
    }

    /// The value as the form would send it.
    fn value_of(&self, text: &str) -> Result<Value, ClientError> {
        Ok(match self.kind.as_str() {
            "bool" => match text.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Value::Bool(true),
                "false" | "off" | "no" | "0" => Value::Bool(false),
                _ => return Err(ClientError::Usage(format!("{}: `{text}` is neither true nor false", self.key()))),
            },
            "int" => text.trim().parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
            "list" if self.multiple => text.split(',').filter(|part| !part.is_empty()).map(Value::from).collect(),
            "file" => std::fs::read_to_string(text)
                .map(Value::from)
                .map_err(|error| ClientError::Usage(format!("{}: cannot read {text}: {error}", self.key())))?,
            _ => Value::from(text),
        })
    }
}

/// The fields that take a value, out of all groups. Fixed ones are the master's business.
fn leaves(fields: &[Field]) -> Vec<&Field> {
    fields
        .iter()
        .flat_map(|field| if field.kind == "nested" { leaves(&field.fields) } else { vec![field] })
        .filter(|field| field.kind != "fixed")
        .collect()
}

impl ForceArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// If the runtime cannot start; all else becomes an exit code.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        execute(run(&self))
    }
}

async fn run(args: &ForceArgs) -> Result<u8, ClientError> {
    let client = Client::connect(&args.server).await?;
    let report = Report::new();
    let builder: Builder = client.one(&["builders", &args.builder]).await?;
    let scheduler = find_scheduler(&client, &builder, args.scheduler.as_deref()).await?;
    let params = fill_in(&scheduler.all_fields, args, builder.builderid)?;
    let result = client.control(&["forceschedulers", &scheduler.name], "force", &params).await?;
    let request = result[1][builder.builderid.to_string()].as_i64();
    let (Some(buildset), Some(request)) = (result[0].as_i64(), request) else {
        return Err(ClientError::Refused(format!("the answer names no request of builder {}: {result}", builder.name)));
    };
    let page = client.page(&format!("buildrequests/{request}"));
    report.line(&format!("request {request} (buildset {buildset}) of {}: {page}", builder.name))?;
    if args.wait { wait(&client, &Target::Request(request), &report).await } else { Ok(0) }
}

async fn find_scheduler(
    client: &Client,
    builder: &Builder,
    wanted: Option<&str>,
) -> Result<ForceScheduler, ClientError> {
    let id = builder.builderid.to_string();
    let mut found: Vec<ForceScheduler> = client.list(&["builders", &id, "forceschedulers"], &[]).await?;
    let names =
        |found: &[ForceScheduler]| found.iter().map(|scheduler| scheduler.name.clone()).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = wanted {
        let all = names(&found);
        return found.into_iter().find(|scheduler| scheduler.name == wanted).ok_or_else(|| ClientError::NotFound {
            what: format!("force scheduler {wanted}"),
            message: format!("builder {} has: {}", builder.name, if all.is_empty() { "none" } else { &all }),
        });
    }
    found.retain(|scheduler| scheduler.enabled);
    match found.len() {
        0 => Err(ClientError::Usage(format!(
            "builder {} cannot be forced: no enabled ForceScheduler in master.cfg names it",
            builder.name
        ))),
        1 => Ok(found.remove(0)),
        _ => Err(ClientError::Usage(format!(
            "builder {} has several force schedulers ({}): choose one with --scheduler",
            builder.name,
            names(&found)
        ))),
    }
}

/// The parameters of the call: what was given, by full name, and the defaults of what is required.
fn fill_in(fields: &[Field], args: &ForceArgs, builderid: i64) -> Result<Map<String, Value>, ClientError> {
    let leaves = leaves(fields);
    let mut params = Map::new();
    for field in leaves.iter().filter(|field| field.required) {
        params.insert(field.key().to_owned(), field.default.clone());
    }
    let options = [("branch", &args.branch), ("revision", &args.revision), ("reason", &args.reason)];
    let given = options.iter().filter_map(|(name, value)| value.as_ref().map(|value| (*name, value.as_str())));
    let properties = args.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in given.chain(properties) {
        let field = find_field(&leaves, name)?;
        params.insert(field.key().to_owned(), field.value_of(value)?);
    }
    params.insert("builderid".to_owned(), Value::from(builderid));
    Ok(params)
}

/// The field of this full name, or the only one of this name (`branch` of the only code base).
fn find_field<'a>(leaves: &[&'a Field], name: &str) -> Result<&'a Field, ClientError> {
    if let Some(field) = leaves.iter().find(|field| field.key() == name) {
        return Ok(field);
    }
    let named: Vec<&&Field> = leaves.iter().filter(|field| field.name == name).collect();
    match named.as_slice() {
        [field] => Ok(field),
        [] => {
            let all: Vec<&str> = leaves.iter().map(|field| field.key()).collect();
            Err(ClientError::Usage(format!("the force form has no field `{name}`; its fields are: {}", all.join(", "))))
        }
        several => {
            let all: Vec<&str> = several.iter().map(|field| field.key()).collect();
            Err(ClientError::Usage(format!(
                "the force form has several fields `{name}`: set one with --property ({}=VALUE)",
                all.join("=VALUE, ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ForceArgs,
    }

    fn form() -> Vec<Field> {
        let text = |name: &str, full: &str| json!({ "name": name, "fullName": full, "type": "text", "default": "" });
        serde_json::from_value(json!([
            { "name": "", "fullName": null, "type": "nested", "fields": [text("reason", "reason")] },
            { "name": "", "fullName": null, "type": "nested", "fields": [
                text("branch", "branch"), text("revision", "revision"),
                { "name": "project", "fullName": "project", "type": "fixed", "default": "alpha" } ] },
            { "name": "tag", "fullName": "tag", "type": "text", "required": true, "default": "none" },
            { "name": "jobs", "fullName": "jobs", "type": "int", "default": 2 },
            { "name": "verbose", "fullName": "verbose", "type": "bool", "default": false },
            { "name": "targets", "fullName": "targets", "type": "list", "multiple": true, "default": ["x86"] },
            { "name": "opts", "fullName": "opts", "type": "nested", "fields": [text("one", "opts_one")] },
        ]))
        .unwrap()
    }

    fn filled(fields: &[Field], line: &[&str]) -> Result<Value, ClientError> {
        let args = Line::parse_from(["force", "runtests"].iter().chain(line)).args;
        fill_in(fields, &args, 3).map(Value::Object)
    }

    #[test]
    fn options_and_properties_become_typed_values_by_full_name() {
        let line = [
            "--branch",
            "main",
            "--reason",
            "why",
            "-p",
            "jobs=7",
            "-p",
            "verbose=yes",
            "-p",
            "targets=x86,arm",
            "-p",
            "one=a=b",
        ];
        assert_eq!(
            filled(&form(), &line).unwrap(),
            json!({ "tag": "none", "branch": "main", "reason": "why", "jobs": 7, "verbose": true,
                    "targets": ["x86", "arm"], "opts_one": "a=b", "builderid": 3 })
        );
    }

    #[test]
    fn a_number_that_is_none_is_left_to_the_master_to_refuse() {
        assert_eq!(filled(&form(), &["-p", "jobs=many"]).unwrap()["jobs"], "many");
    }

    #[test]
    fn unknown_and_fixed_fields_are_refused_with_what_there_is() {
        for name in ["nope", "project"] {
            let error = filled(&form(), &["-p", &format!("{name}=x")]).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("opts_one"), "{error}");
        }
    }

    #[test]
    fn a_branch_of_two_code_bases_has_to_be_named_in_full() {
        let two: Vec<Field> = serde_json::from_value(json!([
            { "name": "branch", "fullName": "a_branch", "type": "text" },
            { "name": "branch", "fullName": "b_branch", "type": "text" },
        ]))
        .unwrap();
        let error = filled(&two, &["--branch", "main"]).unwrap_err().to_string();
        assert!(error.contains("a_branch=VALUE, b_branch=VALUE"), "{error}");
        assert_eq!(filled(&two, &["-p", "b_branch=x"]).unwrap()["b_branch"], "x");
    }

    #[test]
    fn properties_need_a_name_and_a_value() {
        assert!(Line::try_parse_from(["force", "b", "-p", "novalue"]).is_err());
        assert!(Line::try_parse_from(["force", "b", "-p", "=x"]).is_err());
    }
}
