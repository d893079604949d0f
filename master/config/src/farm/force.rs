//! `ForceScheduler` and its parameters.

use buildguild_types::farm::{CodebaseParameter, ForceConfig, ForceParameter, ForceParameterKind};
use buildguild_types::identifier::is_identifier;
use buildguild_types::limits::FILE_BYTES;
use buildguild_types::render::Renderable;
use serde_json::Value;

use super::{Lower, strings};
use crate::lang::{Node, ObjectNode};

impl Lower<'_> {
    pub(super) fn force(&self, o: &ObjectNode) -> ForceConfig {
        let name = o.name().unwrap_or("").to_owned();
        if !is_identifier(50, &name) {
            let message = format!("the name of a ForceScheduler must be an identifier, not `{name}`");
            self.report.string(o, "name", &name, message, None);
        }
        let username = match o.arg("username") {
            Some(node) => self.parameter_or_fixed(o, "username", node),
            None => plain("username", "Your name:", ForceParameterKind::Username { size: 30, need_email: true }),
        };
        let reason = match o.arg("reason") {
            Some(node) => self.parameter_or_fixed(o, "reason", node),
            None => ForceParameter {
                default: Renderable::literal("force build"),
                ..plain("reason", "reason", ForceParameterKind::String { size: 20 })
            },
        };
        let priority = match o.arg("priority") {
            Some(node) => self.parameter_or_fixed(o, "priority", node),
            None => ForceParameter {
                default: Renderable::literal(0),
                ..plain("priority", "priority", ForceParameterKind::Int { size: 10 })
            },
        };
        let codebases = match o.arg("codebases") {
            Some(Node::List(items)) => items
                .iter()
                .filter_map(|item| match item {
                    Node::Str(codebase) => Some(default_codebase(codebase)),
                    Node::Object(p) if p.class.name == "CodebaseParameter" => Some(self.codebase(p)),
                    Node::Object(p) => {
                        let message = format!("codebases takes CodebaseParameter only, not {}", p.class.name);
                        self.report.argument(p, "", message, None);
                        None
                    }
                    _ => None,
                })
                .collect(),
            _ => vec![default_codebase("")],
        };
        self.force_codebases(o);
        let properties = self.parameters(o, "properties");
        for item in &properties {
            let shared = [&username.name, &reason.name, &priority.name].into_iter().find(|name| **name == item.name);
            if let Some(name) = shared.filter(|name| !name.is_empty()) {
                let message = format!("the parameter `{name}` shares its field with the scheduler's own `{name}`");
                self.report.argument_warning(o, "properties", message, Some("give it another name".to_owned()));
            }
        }
        let reason_string = self.str(o, "reasonString");
        ForceConfig {
            label: self.opt_str(o, "label").unwrap_or_else(|| name.clone()),
            button_name: self.opt_str(o, "buttonName").unwrap_or(name),
            reason_string,
            username,
            reason,
            priority,
            codebases,
            properties,
        }
    }

    fn force_codebases(&self, o: &ObjectNode) {
        let Some(Node::List(items)) = o.arg("codebases") else {
            return;
        };
        if items.is_empty() {
            self.report.argument(
                o,
                "codebases",
                "ForceScheduler: `codebases` cannot be empty",
                Some("use [util.CodebaseParameter('', hide=True)] if there is nothing to ask".to_owned()),
            );
        }
        let mut seen: Vec<&str> = Vec::new();
        for item in items {
            let name = match item {
                Node::Str(name) => name.as_str(),
                Node::Object(p) => match p.arg("codebase") {
                    Some(Node::Str(name)) => name.as_str(),
                    _ => continue,
                },
                _ => continue,
            };
            if seen.contains(&name) {
                let message = format!("ForceScheduler: the code base `{name}` is named twice");
                self.report.string(o, "codebases", name, message, None);
            }
            seen.push(name);
        }
    }

    fn parameters(&self, o: &ObjectNode, argument: &str) -> Vec<ForceParameter> {
        let Some(Node::List(items)) = o.arg(argument) else {
            return Vec::new();
        };
        let mut out: Vec<ForceParameter> = Vec::new();
        for item in items {
            let Node::Object(p) = item else {
                continue;
            };
            if p.class.name == "CodebaseParameter" {
                self.report.argument(p, "", "a CodebaseParameter belongs into `codebases`", None);
                continue;
            }
            let Some(parameter) = self.parameter(p) else {
                continue;
            };
            if !parameter.name.is_empty() && out.iter().any(|q| q.name == parameter.name) {
                let message = format!("there are two parameters named `{}`", parameter.name);
                self.report.string(p, "name", &parameter.name, message, None);
            }
            out.push(parameter);
        }
        out
    }

    /// A parameter, or a plain value that stands for a fixed one.
    fn parameter_or_fixed(&self, owner: &ObjectNode, name: &str, node: &Node) -> ForceParameter {
        match node {
            Node::Object(p) => self.parameter(p).unwrap_or_else(|| plain(name, name, ForceParameterKind::Fixed)),
            value => ForceParameter {
                default: self.renderable(value, owner, name),
                ..plain(name, name, ForceParameterKind::Fixed)
            },
        }
    }

    fn parameter(&self, o: &ObjectNode) -> Option<ForceParameter> {
        let name = match self.opt_str(o, "name") {
            Some(name) => name,
            None if o.class.param("name").is_some_and(|p| p.default == crate::schema::Default::Required) => {
                return None;
            }
            None => String::new(),
        };
        let label = self.opt_str(o, "label").unwrap_or_else(|| name.clone());
        if let Some(regex) = self.opt_str(o, "regex") {
            self.check_regex(o, "regex", &regex);
        }
        let kind = self.parameter_kind(o);
        let default = self.opt_renderable(o, "default").unwrap_or_else(|| Renderable::literal(""));
        self.check_default(o, &kind, &default);
        Some(ForceParameter {
            tablabel: self.opt_str(o, "tablabel").unwrap_or_else(|| label.clone()),
            label,
            default,
            required: self.bool(o, "required"),
            multiple: self.bool(o, "multiple"),
            regex: self.opt_str(o, "regex"),
            hide: self.bool(o, "hide"),
            maxsize: self.unsigned(o, "maxsize"),
            autopopulate: o.arg("autopopulate").and_then(|n| Self::json(n).ok()),
            tooltip: self.str(o, "tooltip"),
            kind,
            name,
        })
    }

    fn parameter_kind(&self, o: &ObjectNode) -> ForceParameterKind {
        let size = |default: u64| self.unsigned(o, "size").unwrap_or(default);
        match o.class.name {
            "StringParameter" => ForceParameterKind::String { size: size(10) },
            "TextParameter" => ForceParameterKind::Text {
                cols: self.unsigned(o, "cols").unwrap_or(80),
                rows: self.unsigned(o, "rows").unwrap_or(20),
            },
            "IntParameter" => ForceParameterKind::Int { size: size(10) },
            "BooleanParameter" => ForceParameterKind::Bool,
            "UserNameParameter" => {
                ForceParameterKind::Username { size: size(30), need_email: self.bool(o, "need_email") }
            }
            "ChoiceStringParameter" => ForceParameterKind::Choice {
                choices: match o.arg("choices") {
                    Some(Node::List(items)) => strings(items),
                    _ => Vec::new(),
                },
                strict: self.bool(o, "strict"),
            },
            "InheritBuildParameter" => {
                ForceParameterKind::InheritBuild { compatible_builds: self.callable(o, "compatible_builds") }
            }
            "WorkerChoiceParameter" => ForceParameterKind::WorkerChoice,
            "FileParameter" => ForceParameterKind::File,
            "NestedParameter" | "ParameterGroup" => {
                let layout = self.str(o, "layout");
                if !["simple", "vertical", "tabs"].contains(&layout.as_str()) {
                    let message = format!("`{layout}` is no layout");
                    let help = Some("use 'simple', 'vertical' or 'tabs'".to_owned());
                    self.report.argument(o, "layout", message, help);
                }
                let fields = self.parameters(o, "fields");
                let visible = fields.iter().filter(|p| !p.hide && p.kind != ForceParameterKind::Fixed).count();
                let columns = self.unsigned(o, "columns").or(Some(if visible >= 4 { 2 } else { 1 }));
                ForceParameterKind::Nested { form_type: "nested".to_owned(), layout, columns, fields }
            }
            "AnyPropertyParameter" => ForceParameterKind::Nested {
                form_type: "any_property".to_owned(),
                layout: "vertical".to_owned(),
                columns: Some(1),
                fields: vec![
                    plain("name", "Name:", ForceParameterKind::String { size: 10 }),
                    plain("value", "Value:", ForceParameterKind::String { size: 10 }),
                ],
            },
            "PatchParameter" => self.patch(o),
            _ => ForceParameterKind::Fixed,
        }
    }

    fn patch(&self, o: &ObjectNode) -> ForceParameterKind {
        let field = |name: &str, default: Value, kind: ForceParameterKind| match o.arg(name) {
            Some(node) => self.parameter_or_fixed(o, name, node),
            None => ForceParameter {
                default: Renderable::Literal { value: default },
                maxsize: (kind == ForceParameterKind::File).then_some(FILE_BYTES as u64),
                ..plain(name, name, kind)
            },
        };
        ForceParameterKind::Nested {
            form_type: "nested".to_owned(),
            layout: self.str(o, "layout"),
            columns: self.unsigned(o, "columns").or(Some(1)),
            fields: vec![
                field("body", "".into(), ForceParameterKind::File),
                field("level", 1.into(), ForceParameterKind::Int { size: 10 }),
                field("author", "".into(), ForceParameterKind::String { size: 10 }),
                field("comment", "".into(), ForceParameterKind::String { size: 10 }),
                field("subdir", ".".into(), ForceParameterKind::String { size: 10 }),
            ],
        }
    }

    fn check_default(&self, o: &ObjectNode, kind: &ForceParameterKind, default: &Renderable) {
        let Some(value) = default.as_literal() else {
            return;
        };
        let problem = match kind {
            ForceParameterKind::Choice { choices, strict: true } if o.arg("default").is_some() => {
                let given: Vec<&str> = match value {
                    Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
                    Value::String(s) => vec![s],
                    _ => Vec::new(),
                };
                given
                    .iter()
                    .find(|g| !g.is_empty() && !choices.iter().any(|c| c == *g))
                    .map(|g| format!("the default `{g}` is not among the choices"))
            }
            ForceParameterKind::Int { .. } if o.arg("default").is_some() => {
                let number = value.is_i64() || value.as_str().is_some_and(|s| s.is_empty() || s.parse::<i64>().is_ok());
                (!number).then(|| "the default is no integer".to_owned())
            }
            _ => None,
        };
        if let Some(problem) = problem {
            self.report.argument(o, "default", format!("{}: {problem}", o.class.name), None);
        }
    }

    fn codebase(&self, o: &ObjectNode) -> CodebaseParameter {
        let codebase = self.str(o, "codebase");
        let default = default_codebase(&codebase);
        let field = |name: &str, default: Option<ForceParameter>| {
            if !o.is_given(name) {
                return default;
            }
            // Given as None: no such field in the form, and an empty value.
            o.arg(name).map(|node| self.parameter_or_fixed(o, name, node))
        };
        CodebaseParameter {
            label: self.opt_str(o, "label").unwrap_or(default.label),
            branch: field("branch", default.branch),
            revision: field("revision", default.revision),
            repository: field("repository", default.repository),
            project: field("project", default.project),
            patch: field("patch", None),
            codebase,
        }
    }
}

fn plain(name: &str, label: &str, kind: ForceParameterKind) -> ForceParameter {
    ForceParameter {
        name: name.to_owned(),
        label: label.to_owned(),
        tablabel: label.to_owned(),
        default: Renderable::literal(""),
        required: false,
        multiple: false,
        regex: None,
        hide: false,
        maxsize: None,
        autopopulate: None,
        tooltip: String::new(),
        kind,
    }
}

fn default_codebase(codebase: &str) -> CodebaseParameter {
    let field = |name: &str, label: &str| Some(plain(name, label, ForceParameterKind::String { size: 10 }));
    CodebaseParameter {
        codebase: codebase.to_owned(),
        label: if codebase.is_empty() { String::new() } else { format!("Codebase: {codebase}") },
        branch: field("branch", "Branch:"),
        revision: field("revision", "Revision:"),
        repository: field("repository", "Repository:"),
        project: field("project", "Project:"),
        patch: None,
    }
}
